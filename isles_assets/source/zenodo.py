"""Client of Zenodo, or of a mirror: what it states of a record, and where it has the files.

API: https://developers.zenodo.org and https://inveniordm.docs.cern.ch/reference/rest_api_drafts_records/
"""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import IncompleteRead
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3

from isles_assets import __version__
from isles_assets.lib.findings import Refusal, name_some
from isles_assets.lib.project import code_url
from isles_assets.lib.secrets import without_secrets
from isles_assets.lib.waiting import requested_pause
from isles_assets.release.zenodo_record import ZenodoRecord, record_url
from isles_assets.source.patience import SHORT, Patience, TransientError, not_downloaded, retry

ENDPOINT = "https://zenodo.org"
SEE_ENDPOINT = "see ISLES_ZENODO_ENDPOINT and proxies"
LOOK_AT_RECORD = "look at the record in a browser"

_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_MENDS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the record is not open to everybody: look at it in a browser",
    HTTPStatus.FORBIDDEN: "either the record is not open, which a browser shows, or Zenodo blocks this address for a "
    "while: run again in some hours; what has arrived is kept",
    HTTPStatus.NOT_FOUND: "see ISLES_ZENODO_ENDPOINT, and whether a newer isles-assets pins another record",
    HTTPStatus.GONE: "the record was withdrawn: see whether a newer isles-assets pins another one",
}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_SIZE = re.compile("[0-9]{1,18}")
_CHECKSUM = re.compile("(?:md5:)?([0-9a-f]{32})")
_LATER_VERSION = re.compile(r"/records/(\d+)/?$")
_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class ZenodoFile:
    """A file of a record. Size and MD5 are None if the record states none that can be read."""

    key: str  # its name
    size: int | None  # bytes
    md5: str | None


@dataclass(frozen=True)
class PublishedRecord:
    """A record as Zenodo's API describes it. Version and date are empty if it does not state them."""

    record: str  # its id
    version: str
    date: str  # of publication, such as 2025-11-20
    files: tuple[ZenodoFile, ...]

    @property
    def url(self) -> str:
        """Its page for people, at Zenodo itself."""
        return record_url(self.record)


@dataclass(frozen=True)
class Zenodo:
    """Zenodo at `endpoint`. All addresses are built from it, because a mirror's answers name the original's addresses.

    Raises:
        Refusal: The endpoint is no address of a web server.
    """

    endpoint: str = ENDPOINT
    patience: Patience = SHORT
    log: Callable[[str], None] = lambda words: None

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            may_hold_password = "@" in self.endpoint
            problem = "is no address of a web server" if may_hold_password else f"is {self.endpoint!r}"
            mend = f"set it to one like {ENDPOINT}"
            raise Refusal.of("The settings cannot be used.", problem, mend, path="ISLES_ZENODO_ENDPOINT")

    def content_url(self, record: str, key: str) -> str:
        """Return the address of the bytes of a record's file."""
        return f"{self._record_url(record)}/files/{quote(key)}/content"

    def check(self, record: ZenodoRecord) -> None:
        """Check that Zenodo's record and its archive are the pinned ones. Ask again while Zenodo does not answer.

        Raises:
            Refusal: They are other ones, or patience is at an end.
        """
        retry(lambda: self.check_once(record), self.patience, self.log, self._record_url(record.record))

    def check_once(self, record: ZenodoRecord) -> None:
        """Check the same without retries.

        Raises:
            TransientError: Zenodo does not answer.
            Refusal: The record or its archive is another one.
        """
        url = self._record_url(record.record)
        published = self._published(url)
        pinned = f"{record.version}, {record.size} bytes, md5 {record.md5}, is pinned"
        if published.record != record.record:
            problem = f"is record {published.record}, and {record.record} is pinned"
            raise not_downloaded(problem, LOOK_AT_RECORD, path=url)
        file = next((file for file in published.files if file.key == record.archive), None)
        if file is None:
            names = name_some([file.key for file in published.files]) or "no file"
            raise not_downloaded(f"holds {names}, and {record.archive} of {pinned}", LOOK_AT_RECORD, path=url)
        if file.size is None and file.md5 is None:
            problem = f"states neither size nor MD5 of its {record.archive}; {pinned}"
            raise not_downloaded(problem, LOOK_AT_RECORD, path=url)
        # If it states only one of them, the other is checked when the archive has arrived.
        if file.size not in (None, record.size) or file.md5 not in (None, record.md5):
            stated = [f"of {file.size} bytes"] * (file.size is not None) + [f"md5 {file.md5}"] * (file.md5 is not None)
            problem = f"holds a {record.archive} {', '.join(stated)}; {pinned}"
            raise not_downloaded(problem, "see whether a newer isles-assets pins that; do not mix the two", path=url)

    def newer(self, record: ZenodoRecord) -> PublishedRecord | None:
        """Return the newest version, None if it is `record`. Return None, and log why, if Zenodo does not state it."""
        try:
            newest = self.newest(record.record)
        except (TransientError, Refusal) as error:
            self.log(f"It is not known whether there is a version after {record.version}: {error}")
            return None
        return None if newest.record == record.record else newest

    def newest(self, record: str) -> PublishedRecord:
        """Return the newest version of `record`, without retries.

        Raises:
            TransientError: Zenodo does not answer.
            Refusal: The answer cannot be used.
        """
        url = f"{self._record_url(record)}/versions/latest"
        with get(url, self.patience, redirects=False) as response:
            if not response.is_redirect:
                return _published(url, response)
        later = _LATER_VERSION.search(urlsplit(response.headers["Location"]).path)
        return self._published(self._record_url(later[1]) if later else url)

    def _record_url(self, record: str) -> str:
        return f"{self.endpoint.rstrip('/')}/api/records/{record}"

    def _published(self, url: str) -> PublishedRecord:
        with get(url, self.patience) as response:
            return _published(url, response)


@contextmanager
def get(
    url: str,
    patience: Patience,
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    stream: bool = False,
    redirects: bool = True,
) -> Iterator[requests.Response]:
    """Yield the answer to a GET, if its status is good or 416. With `stream`, the block reads the body.

    Raises:
        TransientError: A later attempt may succeed. The block raises it, too, while it reads the body.
        Refusal: A later attempt would fail as well.
    """
    # Both errors are raised `from None`: the client's own error may name an address with a secret in it.
    sent = {"User-Agent": _user_agent(), "Accept-Encoding": "identity", **headers}
    try:
        with requests.get(
            url, headers=sent, timeout=patience.timeout, stream=stream, allow_redirects=redirects
        ) as response:
            if not response.ok and response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _error_of(url, response)
            yield response
    except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
        raise not_downloaded(str(error), SEE_ENDPOINT, path=url) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = _innermost(error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            mend = "see REQUESTS_CA_BUNDLE, and which server answers there"
            raise not_downloaded(reason.verify_message, mend, path=url) from None
        raise TransientError(without_secrets(_words_of(reason))) from None


def _user_agent() -> str:
    """Return the name of this program, and the address where Zenodo's people find out more."""
    return f"isles-assets/{__version__} (+{code_url()})"


@dataclass(frozen=True)
class ContentRange:
    """The bytes that an answer holds, `first` and `last` included; `size` is that of the whole file, if stated."""

    first: int
    last: int
    size: int | None


def content_range(response: requests.Response) -> ContentRange | None:
    """Return the range that the header of `response` states; None if it states none that can be read."""
    if not (stated := _RANGE.fullmatch(response.headers.get("Content-Range", ""))):
        return None
    return ContentRange(int(stated[1]), int(stated[2]), None if stated[3] == "*" else int(stated[3]))


def check_not_compressed(url: str, response: requests.Response) -> None:
    """Raise `Refusal` if the body of `response` is compressed: then its bytes are not those of the file."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise not_downloaded("compresses what it sends", SEE_ENDPOINT, path=url)


def _error_of(url: str, response: requests.Response) -> TransientError | Refusal:
    """Return the error to raise for an answer with a bad status."""
    status = f"{response.status_code} {response.reason}"
    if response.status_code in _TRANSIENT or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(f"answers {status}", requested_pause(response.headers))
    message = _message_in(response)
    problem = f"answers {status}: {message}" if message else f"answers {status}"
    return not_downloaded(problem, _MENDS.get(response.status_code, LOOK_AT_RECORD), path=url)


def _message_in(response: requests.Response) -> str:
    """Return the API's message for people on an error, "" if there is none."""
    try:
        content = response.json()
    except (requests.RequestException, ValueError):
        return ""
    message = content.get("message") if isinstance(content, dict) else None
    return message[:_LONGEST_MESSAGE] if isinstance(message, str) else ""


def _published(url: str, response: requests.Response) -> PublishedRecord:
    """Return the record that `response` describes, in any form that Zenodo has used. Only its id is required."""
    try:
        content = response.json()
    except (requests.RequestException, ValueError, RecursionError):
        content = None
    record = _text(_first_of(content, "id", "recid", "record_id"))
    if not record:
        why = "it has no id" if isinstance(content, dict) else "it is no JSON object"
        problem = f"returned no record of Zenodo's: {why}"
        raise not_downloaded(problem, _MENDS[HTTPStatus.NOT_FOUND], path=url)
    metadata, files = _first_of(content, "metadata"), _first_of(content, "files")
    version, date = _text(_first_of(metadata, "version")), _text(_first_of(metadata, "publication_date"))
    return PublishedRecord(record, version, date, tuple(_files(files)))


def _files(content: Any) -> Iterator[ZenodoFile]:
    """Yield the files of a record: from a list, or from `entries`, a list or an object by name. Skip anything else."""
    entries = _first_of(content, "entries") if isinstance(content, dict) else content
    named = entries.items() if isinstance(entries, dict) else (("", entry) for entry in _list(entries))
    for name, entry in named:
        key, size = _first_of(entry, "key", "filename") or name, _text(_first_of(entry, "size", "filesize"))
        checksum = _CHECKSUM.fullmatch(_text(_first_of(entry, "checksum")).lower())
        if isinstance(entry, dict) and isinstance(key, str):
            yield ZenodoFile(key, int(size) if _SIZE.fullmatch(size) else None, checksum[1] if checksum else None)


def _first_of(content: Any, *names: str) -> Any:
    """Return the value of the first of `names` that the JSON object `content` has; None if it has none."""
    values = (content.get(name) for name in names) if isinstance(content, dict) else ()
    return next((value for value in values if value is not None), None)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    """Return a text or number as text, "" for anything else."""
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _words_of(reason: BaseException) -> str:
    if isinstance(reason, IncompleteRead):
        return "the connection ended early"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _innermost(error: BaseException) -> BaseException:
    """Return the first cause of `error`, which requests and urllib3 wrap in errors of their own."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
