"""What Zenodo, or a mirror of it, says of a record, and where it has the files.

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
from isles_assets.lib.secrets import without_secrets
from isles_assets.lib.waiting import pause_asked
from isles_assets.release.zenodo_record import ZenodoRecord, record_url
from isles_assets.source.patience import SHORT, PassingError, Patience, not_downloaded, patiently

ENDPOINT = "https://zenodo.org"

_PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_MENDS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the record is not open to everybody: look at it in a browser",
    HTTPStatus.FORBIDDEN: "either the record is not open, which a browser shows, or Zenodo blocks this address for a "
    "while: run again in some hours; what has arrived is kept",
    HTTPStatus.NOT_FOUND: "see ISLES_ZENODO_ENDPOINT, and whether a newer isles-assets pins another record",
    HTTPStatus.GONE: "the record was withdrawn: see whether a newer isles-assets pins another one",
}
_NOTHING_TO_DO = "look at the record in a browser"
_SIZE = re.compile("[0-9]{1,18}")
_CHECKSUM = re.compile("(?:md5:)?([0-9a-f]{32})")
_LATER_VERSION = re.compile(r"/records/(\d+)/?$")
_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class ZenodoFile:
    """A file of a record: its name, its `size` in bytes and its MD5, if the record says them in a known way."""

    key: str
    size: int | None
    md5: str | None


@dataclass(frozen=True)
class PublishedRecord:
    """A record as Zenodo's API describes it, published on a `date` such as 2025-11-20; what is not said is empty."""

    record: str
    version: str
    date: str
    files: tuple[ZenodoFile, ...]

    @property
    def url(self) -> str:
        """Its page, for people, at Zenodo itself."""
        return record_url(self.record)


@dataclass(frozen=True)
class Zenodo:
    """Zenodo at `endpoint`. All addresses are built from that, because a mirror's answers name the original's.

    `log` is told about waiting and progress. Raises `Refusal` for an endpoint that is no address.
    """

    endpoint: str = ENDPOINT
    patience: Patience = SHORT
    log: Callable[[str], None] = lambda words: None

    def __post_init__(self) -> None:
        parts = urlsplit(self.endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            told = "is no address of a web server" if "@" in self.endpoint else f"is {self.endpoint!r}"
            problem, mend = told, f"set it to one like {ENDPOINT}"
            raise Refusal.of("The settings cannot be used.", problem, mend, path="ISLES_ZENODO_ENDPOINT")

    def content_url(self, record: str, key: str) -> str:
        """Where the bytes of a record's file are."""
        return f"{self._record_url(record)}/files/{quote(key)}/content"

    def check(self, record: ZenodoRecord) -> None:
        """Raise `Refusal` unless Zenodo's record and its archive are the pinned ones; waits for Zenodo's answer."""
        patiently(lambda: self.check_now(record), self.patience, self.log, self._record_url(record.record))

    def check_now(self, record: ZenodoRecord) -> None:
        """The same, but raises `PassingError` where Zenodo does not answer at once."""
        url = self._record_url(record.record)
        published = self._published(url)
        pinned = f"{record.version}, {record.size} bytes, md5 {record.md5}, is pinned"
        if published.record != record.record:
            problem = f"is record {published.record}, and {record.record} is pinned"
            raise not_downloaded(problem, _NOTHING_TO_DO, path=url)
        file = next((file for file in published.files if file.key == record.archive), None)
        if file is None:
            names = name_some([file.key for file in published.files]) or "no file"
            raise not_downloaded(f"holds {names}, and {record.archive} of {pinned}", _NOTHING_TO_DO, path=url)
        if file.size is None and file.md5 is None:
            problem = f"does not say what its {record.archive} is; {pinned}"
            raise not_downloaded(problem, _NOTHING_TO_DO, path=url)
        # What is not said is seen when the archive has arrived.
        if file.size not in (None, record.size) or file.md5 not in (None, record.md5):
            said = [f"of {file.size} bytes"] * (file.size is not None) + [f"md5 {file.md5}"] * (file.md5 is not None)
            problem = f"holds a {record.archive} {', '.join(said)}; {pinned}"
            raise not_downloaded(problem, "see whether a newer isles-assets pins that; do not mix the two", path=url)

    def newer(self, record: ZenodoRecord) -> PublishedRecord | None:
        """The newest version if that is not `record`; None, too, where Zenodo does not say, which `log` is told."""
        try:
            newest = self.newest(record.record)
        except (PassingError, Refusal) as error:
            self.log(f"Not known whether there is a version after {record.version}: {error}")
            return None
        return None if newest.record == record.record else newest

    def newest(self, record: str) -> PublishedRecord:
        """The newest version of `record`, asked for once. Raises `PassingError` or `Refusal` if that is not said."""
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
    """The answer to a GET, if it is a good one; with `stream` its body is still to be read, inside the block.

    Raises `PassingError`, from inside the block as well, for what may go better at another time, else `Refusal`.
    Neither is raised from what the client has raised, for that names addresses, with their secrets.
    """
    asked = {"User-Agent": f"isles-assets/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        with requests.get(
            url, headers=asked, timeout=patience.timeout, stream=stream, allow_redirects=redirects
        ) as response:
            if not response.ok and response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise _not_ok(url, response)
            yield response
    except (requests.exceptions.InvalidURL, requests.exceptions.TooManyRedirects) as error:
        raise not_downloaded(str(error), "see ISLES_ZENODO_ENDPOINT and proxies", path=url) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        reason = _innermost(error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            mend = "see REQUESTS_CA_BUNDLE, and who answers there"
            raise not_downloaded(reason.verify_message, mend, path=url) from None
        raise PassingError(without_secrets(_words(reason))) from None


def _not_ok(url: str, response: requests.Response) -> PassingError | Refusal:
    status = f"{response.status_code} {response.reason}"
    if response.status_code in _PASSING or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return PassingError(f"answers {status}", pause_asked(response.headers))
    message = _message(response)
    problem = f"answers {status}: {message}" if message else f"answers {status}"
    return not_downloaded(problem, _MENDS.get(response.status_code, _NOTHING_TO_DO), path=url)


def _message(response: requests.Response) -> str:
    """What the API says of an error; empty where it says nothing that is for people."""
    try:
        content = response.json()
    except (requests.RequestException, ValueError):
        return ""
    message = content.get("message") if isinstance(content, dict) else None
    return message[:_LONGEST_MESSAGE] if isinstance(message, str) else ""


def _published(url: str, response: requests.Response) -> PublishedRecord:
    """The record that `response` describes, in any form that Zenodo has had. Only its number must be there."""
    try:
        said = response.json()
    except (requests.RequestException, ValueError, RecursionError):
        said = None
    record = _text(_first(said, "id", "recid", "record_id"))
    if not record:
        why = "it has no id" if isinstance(said, dict) else "it is no JSON object"
        problem = f"answers what is no record of Zenodo's: {why}"
        raise not_downloaded(problem, _MENDS[HTTPStatus.NOT_FOUND], path=url)
    metadata, files = _first(said, "metadata"), _first(said, "files")
    version, date = _text(_first(metadata, "version")), _text(_first(metadata, "publication_date"))
    return PublishedRecord(record, version, date, tuple(_files(files)))


def _files(said: Any) -> Iterator[ZenodoFile]:
    """The files of a record: a list of them, or one in `entries`, or by name; other things are no files."""
    entries = _first(said, "entries") if isinstance(said, dict) else said
    named = entries.items() if isinstance(entries, dict) else (("", entry) for entry in _list(entries))
    for name, entry in named:
        key, size = _first(entry, "key", "filename") or name, _text(_first(entry, "size", "filesize"))
        checksum = _CHECKSUM.fullmatch(_text(_first(entry, "checksum")).lower())
        if isinstance(entry, dict) and isinstance(key, str):
            yield ZenodoFile(key, int(size) if _SIZE.fullmatch(size) else None, checksum[1] if checksum else None)


def _first(said: Any, *names: str) -> Any:
    """What an object of JSON says under the first of `names` that it has; None for none."""
    return next((said[name] for name in names if said.get(name) is not None), None) if isinstance(said, dict) else None


def _list(said: Any) -> list[Any]:
    return said if isinstance(said, list) else []


def _text(said: Any) -> str:
    """A text or number as text; empty for anything else."""
    return str(said) if isinstance(said, str | int | float) and not isinstance(said, bool) else ""


def _words(reason: BaseException) -> str:
    if isinstance(reason, IncompleteRead):
        return "the connection ended early"
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _innermost(error: BaseException) -> BaseException:
    """What happened, without what requests and urllib3 wrap it in."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error
