"""The listing of a release's archive, read from the archive's header alone.

A 7z archive has its header at its end, and 32 bytes at its start that state where. Of an archive at Zenodo only these
are requested, as ranges of bytes. A synthetic tree has a listing of its own beside it.
"""

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import requests
from pydantic import TypeAdapter

from isles_assets.lib.files import atomic_write
from isles_assets.lib.findings import Refusal
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.archive import Member, members_in
from isles_assets.source.patience import Patience, TransientError, not_downloaded, retry
from isles_assets.source.zenodo import (
    LOOK_AT_RECORD,
    SEE_ENDPOINT,
    ContentRange,
    Zenodo,
    check_not_compressed,
    content_range,
    get,
)

Answer = TypeVar("Answer")

MOST_READ = 2_000_000
"""Bytes to read of an archive at Zenodo. The header of a release with some thousand files has well under 1 MB."""

BRIEF = Patience(in_all=10.0, first=0.5, longest=4.0, connect=4.0, stall=4.0)
"""For a request without which work can go on."""

_LEAST_REQUEST = 1 << 16  # bytes
_MEMBERS = TypeAdapter(list[Member])
_NOT_USED = "The archive's listing cannot be used."
_GO_ON = "To go on without it, set ISLES_LISTING=off: then the tree is not compared with the archive."


class UnansweredError(Refusal):
    """Zenodo did not send the archive's header. The archive may be sound."""


def members_of(archive: Path) -> list[Member]:
    """Return the files of the `archive` on the disk, as its header lists them. Raise `Refusal` if it is unreadable."""
    try:
        with archive.open("rb") as file:
            return members_in(file, archive)
    except Refusal as refusal:
        raise Refusal(_NOT_USED, refusal.findings) from refusal


def members_at_zenodo(record: ZenodoRecord, zenodo: Zenodo, patience: Patience = BRIEF) -> list[Member]:
    """Return the files of the archive of `record` at Zenodo, as its header lists them. Read at most `MOST_READ` bytes.

    Raises:
        UnansweredError: Zenodo has no such archive, sends no ranges, or does not answer within `patience`.
        Refusal: The header is damaged.
    """
    client = _Client(zenodo.content_url(record.record, record.archive), zenodo.log, patience)
    client.request(lambda: zenodo.check_once(record))
    try:
        return members_in(cast(BinaryIO, _RangeFile(client, record.size)), client.url)
    except UnansweredError:
        raise
    except Refusal as refusal:
        mend = "run again; if it recurs, look at the record in a browser, and see ISLES_ZENODO_ENDPOINT and proxies"
        findings = [replace(finding, mend=mend) for finding in refusal.findings]
        raise Refusal(_NOT_USED, findings, _GO_ON) from refusal


@dataclass
class _Client:
    """Sends requests to `url` that share one `patience`."""

    url: str
    log: Callable[[str], None]
    patience: Patience

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.patience.in_all

    @property
    def has_timed_out(self) -> bool:
        return time.monotonic() > self._end

    def request(self, attempt: Callable[[], Answer]) -> Answer:
        """Retry `attempt`, and return its result. Raise `UnansweredError` if it is refused or patience is at an end."""
        rest = replace(self.patience, in_all=self._end - time.monotonic())
        try:
            return retry(attempt, rest, self.log, self.url)
        except Refusal as refusal:
            raise UnansweredError(refusal.headline, refusal.findings) from refusal


class _RangeFile(io.BufferedIOBase):
    """A remote file of `size` bytes. It fetches the bytes that are read, and keeps them."""

    def __init__(self, client: _Client, size: int):
        self._client, self._size = client, size
        self._position = self._requested = 0
        self._fetched: list[tuple[int, bytes]] = []

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes. Raise `UnansweredError` if they do not arrive, or exceed `MOST_READ` in all."""
        end = self._size if size is None or size < 0 else min(self._position + size, self._size)
        start, self._position = self._position, max(end, self._position)
        if end <= start:
            return b""
        for offset, content in self._fetched:
            if offset <= start and end <= offset + len(content):
                return content[start - offset : end - offset]
        first, stop = start, min(max(end, start + _LEAST_REQUEST), self._size)
        if stop - first < _LEAST_REQUEST:  # near the end, where the parts of the header are close together
            first = max(stop - _LEAST_REQUEST, 0)
        self._requested += stop - first
        if self._requested > MOST_READ:
            problem = f"needs {self._requested:,} bytes read for its header; the limit is {MOST_READ:,}"
            refusal = not_downloaded(problem, LOOK_AT_RECORD, path=self._client.url)
            raise UnansweredError(refusal.headline, refusal.findings)
        content = self._fetch(first, stop)
        self._fetched.append((first, content))
        return content[start - first : end - first]

    def _fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` to before `stop`. After a break, request only those that are missing."""
        arrived = bytearray()

        def attempt() -> None:
            headers = {"Range": f"bytes={start + len(arrived)}-{stop - 1}"}
            with get(self._client.url, self._client.patience, headers, stream=True) as response:
                self._check(response, start + len(arrived), stop)
                while len(arrived) < stop - start:
                    chunk = response.raw.read1(stop - start - len(arrived), decode_content=False)
                    if not chunk:
                        raise TransientError("the connection ended early")
                    arrived.extend(chunk)
                    if self._client.has_timed_out:
                        raise TransientError("sends too slowly")

        self._client.request(attempt)
        return bytes(arrived)

    def _check(self, response: requests.Response, start: int, stop: int) -> None:
        """Raise `Refusal` unless `response` is the requested range. Its body is not read yet."""
        url = self._client.url
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            problem = f"was asked for a range of bytes, and answers {response.status_code} {response.reason}"
            raise not_downloaded(problem, SEE_ENDPOINT, path=url)
        check_not_compressed(url, response)
        if content_range(response) != ContentRange(start, stop - 1, self._size):
            answer = response.headers.get("Content-Range", "no range")
            problem = f"was asked for bytes {start}-{stop - 1} of {self._size}, and answers {answer}"
            raise not_downloaded(problem, SEE_ENDPOINT, path=url)


def own_listing(tree: Path) -> Path:
    """Return the path of the listing of a synthetic `tree`: beside it, because it is no file of the release."""
    tree = tree.resolve()
    return tree.with_name(f"{tree.name}.listing.json")


def write_own_listing(tree: Path, members: Sequence[Member]) -> None:
    """Write the listing of a synthetic `tree`, whole or not at all."""
    with atomic_write(own_listing(tree)) as temporary:
        temporary.write_bytes(_MEMBERS.dump_json(sorted(members, key=lambda member: member.name)))


def read_own_listing(tree: Path) -> list[Member] | None:
    """Return the listing of a synthetic `tree`, None if there is none. Raise `Refusal` if it cannot be read."""
    path = own_listing(tree)
    try:
        return _MEMBERS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        mend = "make the sample anew, in another folder"
        raise Refusal.of(_NOT_USED, "is no listing of a synthetic tree", mend, path=path) from error
