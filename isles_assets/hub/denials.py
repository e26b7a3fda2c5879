"""Denials: which server denied a request, in which words, and what to do about it.

The client raises the same exception for a refused token, for exhausted storage and for an expired address of a store.
Here the token is blamed only if it is at fault.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils import parse_ratelimit_headers

from isles_assets.hub.xet import answer_in, asked_again
from isles_assets.lib.findings import Refusal, TransientRefusal
from isles_assets.lib.progress import readable_time
from isles_assets.lib.secrets import without_secrets
from isles_assets.lib.waiting import requested_pause

Result = TypeVar("Result")

DENIED = (401, 403)
_PASSING = frozenset({408, 409, 412, 423, 425, 429})
"""HTTP statuses from 400 to 499 that may pass with time."""

_LONGEST_PAUSE = 900.0
"""Seconds. The Hub counts requests in windows of 300."""

_LATER = "run the same again later, which resumes"
_ENDPOINT = "HF_ENDPOINT"
_TRIES = 3
_LONGEST = 500
"""Number of characters of a server's words that are shown."""

_OF_THE_HUB = re.compile(r"/api/|\.git/info/lfs/|/resolve/")
"""Matches paths at the Hub, at any address, but not those at its stores."""

_STORAGE = re.compile(r"storage|quota|billing|payment|subscri|upgrade|your plan|credits", re.IGNORECASE)
_RIGHTS = re.compile(
    r"token|credential|authori[sz]|authenticat|password|username|permission|rights?\b|role\b|scope|forbidden"
    r"|write access|not allowed|create_pr|repository not found",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(r"disabled|suspended|blocked|banned|rate.?limit|gated", re.IGNORECASE)
_OF_FILES = re.compile("Encountered error for file with OID [^:]*: `(.*?)`?$", re.MULTILINE)
"""Matches the text of huggingface_hub for an answer on several files that has an error for one of them."""

_ELEMENT = re.compile(r"<(Code|Message)>([^<]*)</")


@dataclass(frozen=True)
class Denial:
    """A server's denial of a request."""

    status: int | None
    """HTTP status; None for an error on one file in an answer on several."""
    who: str
    """The server, for people."""
    said: str
    """Its words; empty if it gave none."""
    by_store: bool
    """Whether a store denied an address that the Hub had signed."""
    has_granted: bool = False
    """Whether a Xet store denied a token that the Hub had granted for it."""
    pause: float | None = None
    """Seconds that the server asks to wait; None if it does not ask."""

    def __str__(self) -> str:
        return ": ".join(part for part in (f"{self.who} answers {self.status or ''}".strip(), self.said) if part)

    @property
    def is_of_storage(self) -> bool:
        """Whether storage or payment is missing."""
        return not self.by_store and (self.status in (402, 507) or bool(_STORAGE.search(self.said)))

    @property
    def is_of_token(self) -> bool:
        """Whether another token may help: the Hub refuses this one, or does not say why it denies."""
        if self.by_store or self.has_granted:
            return False
        if self.status not in (*DENIED, None) or self.is_of_storage or _OTHERWISE.search(self.said):
            return False
        return self.status == 401 or not self.said or bool(_RIGHTS.search(self.said))

    @property
    def may_pass(self) -> bool:
        """Whether the request may succeed later. After a store's denial it may, because the Hub gives new addresses."""
        if self.status is None:
            return False
        return self.by_store or self.status in _PASSING or not 400 <= self.status < 500


def denial_of(error: BaseException) -> Denial | None:
    """Return the server's denial behind `error` or behind an exception that led to it; None if there is none."""
    for cause in _raised_from(error):
        if isinstance(cause, HfHubHTTPError | httpx2.HTTPStatusError) and cause.response is not None:
            return _denial(cause.response)
        if isinstance(cause, ValueError) and (words := _OF_FILES.findall(str(cause))):
            return Denial(None, "the Hub", without_secrets("; ".join(dict.fromkeys(words)))[:_LONGEST], by_store=False)
    return None


def _raised_from(error: BaseException) -> Iterator[BaseException]:
    """Yield `error`, the exception that it was raised from, and so on."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def words_of(response: httpx2.Response) -> str:
    """Return a server's words on an error, from its JSON, XML, header or text; in one line and without secrets."""
    try:
        text = response.read().decode(errors="replace").strip()
    except (httpx2.HTTPError, httpx2.StreamError):
        text = ""
    said = _in_json(text) or ": ".join(match[2] for match in _ELEMENT.finditer(text))
    if not said:
        said = response.headers.get("X-Error-Message", "")
    if not said and "html" not in response.headers.get("Content-Type", "").lower() and text[:1] not in ("<", "{"):
        said = text
    return one_line(said)


def one_line(text: str) -> str:
    """Return `text` in one line, cut and without secrets."""
    return without_secrets(" ".join(text.split()))[:_LONGEST]


def as_asked(attempt: Callable[[], Result], log: Callable[[str], None]) -> Result:
    """Return what `attempt` returns. Try `_TRIES` times if the server asks to wait, up to `_LONGEST_PAUSE` each."""
    for tries_left in reversed(range(_TRIES)):
        try:
            return attempt()
        except HfHubHTTPError as error:
            denial = denial_of(error)
            pause = denial.pause if denial and denial.may_pass else None
            if pause is None or pause > _LONGEST_PAUSE or not tries_left:
                raise
            log(f"{denial}. Waiting {readable_time(pause)}, as it asks")
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")


@contextmanager
def denials_explained(repo: str, headline: str = "Not published.", endpoint: str | None = None) -> Iterator[None]:
    """Turn a server's denial of work on `repo`, or its silence, into a `Refusal`. Nothing sent is lost.

    It is a `TransientRefusal` if a store denied, because the Hub gives new addresses, if the server failed or said how
    long to wait, or if nobody answered. Exceptions that are about no server are raised as they are. `hf_xet` hides the
    server's words, so the Hub at `endpoint` (None: `HF_ENDPOINT`) and the store are asked for them.
    """
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        refusal = _refusal(error, repo, headline, endpoint or constants.ENDPOINT)
        if refusal is None:
            raise
        raise refusal from None


def check_token(headline: str, *, is_needed: bool = False) -> None:
    """Raise `Refusal` if there is a token that cannot be sent, or if the client will not send one that `is_needed`."""
    if is_needed and constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        problem = "keeps the client from sending the token"
        raise Refusal.of(headline, problem, "unset it", path="HF_HUB_DISABLE_IMPLICIT_TOKEN")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    if token is not None and not all("!" <= character <= "~" for character in token):
        problem = "the token holds a character that no token has: one that is no ASCII, or a space"
        mend = "copy it anew from the Hub's settings into HF_TOKEN, or use `hf auth login`"
        raise Refusal.of(headline, problem, mend, path="HF_TOKEN")


def _refusal(error: Exception, repo: str, headline: str, endpoint: str) -> Refusal | None:
    """Return what to raise instead of `error`; None to raise it as it is."""
    if isinstance(error, OfflineModeIsEnabled):
        return Refusal.of(headline, "keeps the client from the network", "unset it", path="HF_HUB_OFFLINE")
    if isinstance(error, LocalTokenNotFoundError):
        return Refusal.of(headline, "there is no token", f"set HF_TOKEN to one that may write to {repo}", path=repo)
    denial = denial_of(error) or _denial_by_xet(error, f"{endpoint}/api/datasets/{repo}/xet-write-token/main")
    if denial is None:
        return _unanswered(error, repo, headline, endpoint)
    if denial.may_pass and denial.status not in DENIED:
        if denial.pause is None:
            return TransientRefusal.of(headline, f"{denial}", _LATER, path=repo)
        return _to_wait_for(denial, denial.pause, repo, headline)
    if denial.may_pass:
        mend = "publish again, which resumes, with new addresses; if it recurs, see the proxies on the way there"
        return TransientRefusal.of(headline, f"{denial}", mend, path=repo)
    return Refusal.of(headline, f"{denial}", _mend(denial, repo, error), path=repo)


def _to_wait_for(denial: Denial, pause: float, repo: str, headline: str) -> Refusal:
    kind = Refusal if pause > _LONGEST_PAUSE else TransientRefusal
    problem = f"{denial}; it asks to wait {readable_time(pause)}"
    refusal = kind.of(headline, problem, "publish again then, which resumes", path=repo)
    if isinstance(refusal, TransientRefusal):
        refusal.pause = pause
    return refusal


def _unanswered(error: Exception, repo: str, headline: str, endpoint: str) -> Refusal | None:
    """Return what to raise instead of `error` if no server gave a usable answer; None if it is about no server.

    `hf_xet` raises builtin exceptions for failures of the network, and huggingface_hub a `JSONDecodeError` for an
    answer that is not JSON.
    """
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL):
        problem = f"is {without_secrets(endpoint)!r}, which is no address of a web server"
        return Refusal.of(headline, problem, "unset it, or set it to one like https://huggingface.co", path=_ENDPOINT)
    of_client = isinstance(error, httpx2.RequestError | RuntimeError)
    cause = next((e for e in _raised_from(error) if isinstance(e, httpx2.RequestError)), None)
    if of_client and cause:
        problem = f"{_asked(cause, endpoint)} gives no answer: {_told(cause)}"
    elif isinstance(error, ConnectionError | TimeoutError):
        answer = answer_in(error)
        no_answer = f"the Xet store gives no answer: {_told(error)}"
        problem = f"the Xet store at {_place(httpx2.URL(answer[1]))} answers {answer[0]}" if answer else no_answer
    elif isinstance(error, json.JSONDecodeError):
        problem = f"{_hub_at(endpoint)} answers what is no answer of the Hub's: {_told(error)}"
    else:
        return None
    return TransientRefusal.of(headline, problem, f"check network, proxies and {_ENDPOINT}; {_LATER}", path=repo)


def _asked(error: httpx2.RequestError, endpoint: str) -> str:
    """Return who was asked, for people: the Hub, or one of its stores."""
    try:
        url = error.request.url
    except RuntimeError:  # the error has no request
        return _hub_at(endpoint)
    return f"the {'Hub' if _OF_THE_HUB.search(url.path) else 'store'} at {_place(url)}"


def _hub_at(endpoint: str) -> str:
    return f"the Hub at {_place(httpx2.URL(endpoint))}"


def _told(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__


def _mend(denial: Denial, repo: str, error: Exception) -> str:
    again = "publish again, which resumes"
    if isinstance(error, GatedRepoError):
        return f"ask for access on the repo's page, as the user that the token is of; {again}"
    if denial.is_of_storage:
        return f"have the storage of {repo.partition('/')[0]} enlarged, or make room in it; {again}"
    if denial.is_of_token:
        why = "it is wrong, revoked or expired" if denial.status == 401 else "it may lack a right"
        return f"set HF_TOKEN to a token with write access to {repo}, for this one is refused: {why}; {again}"
    return f"{'do as it says, or ask the Hub' if denial.said else 'ask the Hub why'}; {again}"


def _denial_by_xet(error: Exception, token_url: str) -> Denial | None:
    """Return the denial behind an exception of `hf_xet`; None if there is none, or it may pass."""
    answer = answer_in(error)
    if answer is None or not 400 <= answer[0] < 500 or answer[0] in _PASSING:
        return None
    status, url = answer
    by_hub = "/xet-write-token/" in url
    try:
        response = asked_again(url, status, token_url)
    except HfHubHTTPError as refused:
        return _denial(refused.response)
    said = "" if response is None else words_of(response)
    who = f"the {'Hub' if by_hub else 'Xet store'} at {_place(httpx2.URL(url))}"
    return Denial(status, who, said, by_store=False, has_granted=not by_hub)


def _place(url: httpx2.URL) -> str:
    return url.host if url.port is None else f"{url.host}:{url.port}"


def _denial(response: httpx2.Response) -> Denial:
    request = response.request
    body = response.headers.get("Content-Type", "").lower()
    by_store = "xml" in body or not _OF_THE_HUB.search(request.url.path)
    said = words_of(response)
    who = f"the {'store' if by_store else 'Hub'} at {_place(request.url)}"
    return Denial(response.status_code, who, said, by_store, pause=_pause(response))


def _pause(response: httpx2.Response) -> float | None:
    """Return the seconds that an answer asks to wait. If the limit of requests is used up, until it is reset."""
    limit = parse_ratelimit_headers(response.headers)
    return float(limit.reset_in_seconds) if limit and not limit.remaining else requested_pause(response.headers)


def _in_json(text: str) -> str:
    """Return the words in `text` if it is JSON in the form of the Hub or a store; else empty."""
    try:
        content = json.loads(text)
    except ValueError:
        return ""
    if not isinstance(content, dict):
        return ""
    errors = content.get("errors")
    said = [content.get("error"), content.get("error_description"), content.get("message")]
    said += [each.get("message") for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    texts = [str(part) for each in said for part in (each if isinstance(each, list) else [each]) if part]
    return "; ".join(dict.fromkeys(texts))
