"""A message to where people look, such as a chat: one POST of `{"text": ...}`, as Slack and Mattermost take it.

The address is a secret, for whoever has it can post. It is read where it is used, and in no message of ours.
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
    """Where messages go; empty if nowhere."""
    return os.environ.get(VARIABLE, "")


def post(text: str) -> None:
    """Send `text` to the address in `ISLES_WEBHOOK_URL`.

    Raises `Refusal`, which names the host alone, where it is not set or did not take the message.
    """
    to = urlsplit(address())
    if to.scheme not in ("http", "https") or not to.hostname:
        problem = "is not the address of a web server" if address() else "is not set"
        raise _refusal(problem, "set it to the address of an incoming webhook")
    try:
        status = _send(text)
    except requests.RequestException as error:
        # The error, and all that it was raised from, names the address.
        problem = f"cannot be reached at {to.hostname}: {type(error).__name__}"
        raise _refusal(problem, "see whether it is up") from None
    if not 200 <= status < 300:
        mend = "make a new webhook there, if this one has ended"
        raise _refusal(f"did not take it: {to.hostname} answered {status}", mend)


def _refusal(problem: str, mend: str) -> Refusal:
    return Refusal.of("The message was not posted.", problem, mend, path=VARIABLE)


def _send(text: str) -> int:
    """The status that the server answers with."""
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=_ATTEMPTS))
        return session.post(address(), json={"text": text}, timeout=_SECONDS, allow_redirects=False).status_code
