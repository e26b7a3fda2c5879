"""Messages to a chat: one POST of `{"text": ...}` to an incoming webhook, as of Slack or Mattermost.

The address is a secret, because whoever has it can post. No message and no record contains it.
"""

import os
from urllib.parse import urlsplit

import requests
import urllib3

from isles_assets.lib.findings import Refusal

VARIABLE = "ISLES_WEBHOOK_URL"
_SECONDS = 10.0
_ATTEMPTS = urllib3.Retry(
    total=2, backoff_factor=0.5, allowed_methods=["POST"], status_forcelist=[429, 500, 502, 503, 504], redirect=0
)


def address() -> str:
    """Return the address of the webhook; empty if it is unset."""
    return os.environ.get(VARIABLE, "")


def post(text: str) -> None:
    """Send `text` to the address in `ISLES_WEBHOOK_URL`.

    Raises:
        Refusal: The address is unset or invalid, or the server did not take the message. Names only the host.
    """
    host = urlsplit(address()).hostname
    if urlsplit(address()).scheme not in ("http", "https") or not host:
        problem = "is not the address of a web server" if address() else "is not set"
        raise _refusal(problem, "set it to the address of an incoming webhook")
    try:
        status = _send(text)
    except requests.RequestException as error:
        problem = f"cannot be reached at {host}: {type(error).__name__}"
        raise _refusal(problem, "check that the server is up") from None  # the error and its causes name the address
    if not 200 <= status < 300:
        mend = "make a new webhook there if this one no longer exists"
        raise _refusal(f"did not take it: {host} answered {status}", mend)


def _refusal(problem: str, mend: str) -> Refusal:
    return Refusal.of("The message was not posted.", problem, mend, path=VARIABLE)


def _send(text: str) -> int:
    """Return the status of the server's answer."""
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=_ATTEMPTS))
        return session.post(address(), json={"text": text}, timeout=_SECONDS, allow_redirects=False).status_code
