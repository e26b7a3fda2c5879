"""Download of a record's archive: resumed after any break, verified while it arrives."""

import re
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import requests

from isles_assets.lib.progress import ByteProgress
from isles_assets.lib.secrets import without_secrets
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.partial import Partial
from isles_assets.source.patience import LEAST_PROGRESS, LONG, PassingError, Patience, not_downloaded, patiently
from isles_assets.source.zenodo import Zenodo, get

MOST_BEGINNINGS = 3
"""Times that a download is begun anew because the file has changed on the server."""

_PIECE = 1 << 20
_MEND = "see ISLES_ZENODO_ENDPOINT and proxies"
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class _ChangedError(Exception):
    """What the server has is not what the bytes that have arrived are of."""


def download(record: ZenodoRecord, path: Path, zenodo: Zenodo, *, patience: Patience = LONG) -> None:
    """Put the archive of `record` at `path`, where nothing is yet; `zenodo.say` is told the progress.

    What an earlier attempt left is continued. Raises `Refusal` if Zenodo has no such archive (any more), if `patience`
    is at an end, or if what arrived has not the pinned MD5.
    """
    zenodo.check(record)
    with Partial.opened(path, record, zenodo.log) as partial:
        arrival = _Arrival(record, partial, zenodo, patience)
        for _ in range(MOST_BEGINNINGS):
            try:
                patiently(arrival.go_on, patience, zenodo.log, arrival.url, lambda: partial.size)
                break
            except _ChangedError as change:
                zenodo.log(f"Beginning anew: {change}")
                partial.begin(None)
        else:
            problem = f"was another file each of {MOST_BEGINNINGS} times"
            raise not_downloaded(problem, "run again later, or use another endpoint", path=arrival.url)
        partial.finish()


class _Arrival:
    """The archive on its way from the server into its part."""

    def __init__(self, record: ZenodoRecord, partial: Partial, zenodo: Zenodo, patience: Patience):
        self._record, self._partial, self._zenodo, self._patience = record, partial, zenodo, patience
        self._progress = ByteProgress(record.archive, record.size, zenodo.log, done=partial.size)
        self.url = zenodo.content_url(record.record, record.archive)

    def go_on(self) -> None:
        """Ask for what is missing, once. Raises `PassingError`, `_ChangedError` or `Refusal` if not all of it comes."""
        part = self._partial
        if part.size == self._record.size:
            return
        headers = {}
        if part.size:
            headers["Range"] = f"bytes={part.size}-"
            if part.etag:
                headers["If-Range"] = part.etag
        with get(self.url, self._patience, headers, stream=True) as response:
            known = self._place(response)
            for piece in self._pieces(response):
                new = piece[known:]
                known -= len(piece) - len(new)
                if part.size + len(new) > self._record.size:
                    raise not_downloaded("sends more bytes than the file has", _MEND, path=self.url)
                part.append(new)
                self._progress.reach(part.size)
        if part.size < self._record.size:
            raise PassingError("the connection ended early")

    def _place(self, response: requests.Response) -> int:
        """See what the answer is; return how many bytes at its start are there already."""
        part, etag = self._partial, response.headers.get("ETag")
        if etag and not etag.startswith('"'):  # a weak one, which does not promise the same bytes
            etag = None
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise not_downloaded("compresses what it sends", _MEND, path=self.url)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise self._changed("it has fewer bytes now")
        in_part = response.status_code == HTTPStatus.PARTIAL_CONTENT
        whole = 0, int(response.headers.get("Content-Length", self._record.size))
        start, size = self._range(response) if in_part else whole
        if size != self._record.size:
            raise self._changed(f"it has {size} bytes now")
        if in_part:
            if etag and part.etag and etag != part.etag:
                raise self._changed(f"its ETag is {etag} now")
            if start != part.size:
                problem = f"was asked for bytes from {part.size} on, and answers those from {start} on"
                raise not_downloaded(problem, _MEND, path=self.url)
            return 0
        if not part.size:
            part.begin(etag)
        elif not etag:
            raise self._changed("it is sent from the start, by a server that does not say whether it is the same")
        elif etag != part.etag:
            raise self._changed(f"its ETag is {etag} now")
        return part.size

    def _changed(self, how: str) -> Exception:
        """What to raise: a refusal by Zenodo's own word if it has another archive now."""
        self._zenodo.check_now(self._record)
        if not self._partial.size:
            return not_downloaded(f"is not the file that Zenodo's record describes: {how}", _MEND, path=self.url)
        return _ChangedError(without_secrets(f"{self.url} has changed on the server: {how}"))

    def _range(self, response: requests.Response) -> tuple[int, int]:
        """First byte and size of the whole that a partial answer states."""
        stated = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not stated:
            raise not_downloaded("answers a part of the file and does not say which", _MEND, path=self.url)
        return int(stated[1]), self._record.size if stated[2] == "*" else int(stated[2])

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it comes. Raises `PassingError` if hardly anything does."""
        since, count = time.monotonic(), 0
        while piece := response.raw.read1(_PIECE, decode_content=False):
            yield piece
            count += len(piece)
            if (now := time.monotonic()) - since > self._patience.stall:
                if count < LEAST_PROGRESS:
                    raise PassingError(f"only {count} bytes came in {now - since:.0f} s")
                since, count = now, 0
