"""The listing of a release's archive, as its own header states it: read without the rest of the archive.

A 7z archive has 32 bytes at its start that say where its header is, and the header at its end. Of one at Zenodo only
these are asked for, as ranges of bytes. A synthetic tree has a listing of its own beside it.
"""

import io
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import requests
from pydantic import TypeAdapter

from isles_assets.lib.files import written_whole
from isles_assets.lib.findings import Refusal
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.archive import Member, members_in
from isles_assets.source.patience import PassingError, Patience, not_downloaded, patiently
from isles_assets.source.zenodo import Zenodo, get

Answer = TypeVar("Answer")

MOST_READ = 2_000_000
"""Bytes that are read of an archive at Zenodo. The header of a release with some thousand files has well under 1 MB."""

BRIEF = Patience(in_all=10.0, first=0.5, longest=4.0, connect=4.0, stall=4.0)
"""For a question without whose answer work goes on as well."""

_AT_ONCE = 1 << 16
"""Bytes that are asked for at least."""

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MEMBERS = TypeAdapter(list[Member])
_NOT_USED = "The archive's listing cannot be used."
_GO_ON = "To go on without it, set ISLES_LISTING=off: then the tree is not compared with the archive."


class UnansweredError(Refusal):
    """Zenodo did not say what is in the archive, which is no fault of the archive's."""


def members_of(archive: Path) -> list[Member]:
    """What the header of the `archive` on the disk says of its files. Raises `Refusal` where it cannot be read."""
    try:
        with archive.open("rb") as file:
            return members_in(file, archive)
    except Refusal as refusal:
        raise Refusal(_NOT_USED, refusal.findings) from refusal


def members_at_zenodo(record: ZenodoRecord, zenodo: Zenodo, patience: Patience = BRIEF) -> list[Member]:
    """What the header of the archive of `record` says of its files, by ranges of at most `MOST_READ` bytes.

    Raises `UnansweredError` if Zenodo has no such archive, gives no ranges or does not answer within `patience`, and
    `Refusal` if what it gives is no sound header.
    """
    question = _Question(zenodo.content_url(record.record, record.archive), zenodo.log, patience)
    question.ask(lambda: zenodo.check_now(record))
    try:
        return members_in(cast(BinaryIO, _Ranges(question, record.size)), question.url)
    except UnansweredError:
        raise
    except Refusal as refusal:
        mend = "run again; if it recurs, look at the record in a browser, and see ISLES_ZENODO_ENDPOINT and proxies"
        raise Refusal(_NOT_USED, [replace(one, mend=mend) for one in refusal.findings], _GO_ON) from refusal


@dataclass
class _Question:
    """What is asked at `url`, in one or more requests that share one `patience`."""

    url: str
    log: Callable[[str], None]
    patience: Patience

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.patience.in_all

    @property
    def is_over(self) -> bool:
        """Whether all patience is at an end."""
        return time.monotonic() > self._end

    def ask(self, attempt: Callable[[], Answer]) -> Answer:
        """What `attempt` returns in the end. Raises `UnansweredError` where it raises `Refusal` or goes on for long."""
        rest = replace(self.patience, in_all=self._end - time.monotonic())
        try:
            return patiently(attempt, rest, self.log, self.url)
        except Refusal as refusal:
            raise UnansweredError(refusal.headline, refusal.findings) from refusal


class _Ranges(io.BufferedIOBase):
    """A file of `size` bytes of which only those are fetched that are read; what was fetched is kept."""

    def __init__(self, question: _Question, size: int):
        self._question, self._size = question, size
        self._place = self._asked = 0
        self._kept: list[tuple[int, bytes]] = []

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes. Raises `UnansweredError` where they do not come, or are more than should be read."""
        end = self._size if size is None or size < 0 else min(self._place + size, self._size)
        start, self._place = self._place, max(end, self._place)
        if end <= start:
            return b""
        for there, piece in self._kept:
            if there <= start and end <= there + len(piece):
                return piece[start - there : end - there]
        first, last = start, min(max(end, start + _AT_ONCE), self._size)
        if last - first < _AT_ONCE:  # near the end, where all that is wanted lies close together
            first = max(last - _AT_ONCE, 0)
        self._asked += last - first
        if self._asked > MOST_READ:
            problem = f"would have {self._asked:,} bytes read for its header, which are not more than {MOST_READ:,}"
            refusal = not_downloaded(problem, "look at the record in a browser", path=self._question.url)
            raise UnansweredError(refusal.headline, refusal.findings)
        piece = self._fetched(first, last)
        self._kept.append((first, piece))
        return piece[start - first : end - first]

    def _fetched(self, start: int, end: int) -> bytes:
        """The bytes from `start` to before `end`. After a break only those are asked for that have not come."""
        arrived = bytearray()

        def attempt() -> None:
            asked = {"Range": f"bytes={start + len(arrived)}-{end - 1}"}
            with get(self._question.url, self._question.patience, asked, stream=True) as response:
                self._check(response, start + len(arrived), end)
                while len(arrived) < end - start:
                    piece = response.raw.read1(end - start - len(arrived), decode_content=False)
                    if not piece:
                        raise PassingError("the connection ended early")
                    arrived.extend(piece)
                    if self._question.is_over:
                        raise PassingError("sends too slowly")

        self._question.ask(attempt)
        return bytes(arrived)

    def _check(self, response: requests.Response, start: int, end: int) -> None:
        """Raise `Refusal`, before a byte of it is read, unless `response` is the range that was asked for."""
        stated = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        problem = ""
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            problem = f"was asked for a range of bytes, and answers {response.status_code} {response.reason}"
        elif response.headers.get("Content-Encoding", "identity") != "identity":
            problem = "compresses what it sends"
        elif not stated or tuple(map(int, stated.groups())) != (start, end - 1, self._size):
            said = response.headers.get("Content-Range", "no range")
            problem = f"was asked for bytes {start}-{end - 1} of {self._size}, and answers {said}"
        if problem:
            raise not_downloaded(problem, "see ISLES_ZENODO_ENDPOINT and proxies", path=self._question.url)


def own_listing(tree: Path) -> Path:
    """Where the listing of a synthetic `tree` is: beside it, so that it is none of its files."""
    tree = tree.resolve()
    return tree.with_name(f"{tree.name}.listing.json")


def write_own_listing(tree: Path, members: Sequence[Member]) -> None:
    """Write what a synthetic `tree` holds, whole or not at all."""
    with written_whole(own_listing(tree)) as temporary:
        temporary.write_bytes(_MEMBERS.dump_json(sorted(members, key=lambda member: member.name)))


def read_own_listing(tree: Path) -> list[Member] | None:
    """What a synthetic `tree` held when it was made; None where nothing was written. Raises `Refusal` for nonsense."""
    path = own_listing(tree)
    try:
        return _MEMBERS.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        mend = "make the sample anew, in another folder"
        raise Refusal.of(_NOT_USED, "is no listing of a synthetic tree", mend, path=path) from error
