"""Download of a record's archive: resumed after any break, verified while it arrives."""

import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import requests

from isles_assets.lib.progress import ByteProgress
from isles_assets.lib.secrets import without_secrets
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.partial import Partial
from isles_assets.source.patience import LEAST_PROGRESS, LONG, Patience, TransientError, not_downloaded, retry
from isles_assets.source.zenodo import SEE_ENDPOINT, Zenodo, check_not_compressed, content_range, get

MOST_STARTS = 3
"""How often a download starts from the first byte because the file has changed on the server."""

_CHUNK_SIZE = 1 << 20


class _ChangedError(Exception):
    """The bytes that have arrived are of another file than the server has now."""


def download(record: ZenodoRecord, path: Path, zenodo: Zenodo, *, patience: Patience = LONG) -> None:
    """Download the archive of `record` to `path`, where nothing is yet. Resume an earlier attempt if there is one.

    Raises:
        Refusal: Zenodo does not have this archive, patience is at an end, or the bytes have another MD5.
    """
    zenodo.check(record)
    with Partial.opened(path, record, zenodo.log) as partial:
        request = _Download(record, partial, zenodo, patience)
        for _ in range(MOST_STARTS):
            try:
                retry(request.fetch_rest, patience, zenodo.log, request.url, lambda: partial.size)
                break
            except _ChangedError as change:
                zenodo.log(f"Starting again from the first byte: {change}")
                partial.begin(None)
        else:
            problem = f"changed on the server in each of {MOST_STARTS} attempts"
            raise not_downloaded(problem, "run again later, or use another endpoint", path=request.url)
        partial.finish()


class _Download:
    """The archive on its way from the server to `partial`."""

    def __init__(self, record: ZenodoRecord, partial: Partial, zenodo: Zenodo, patience: Patience):
        self._record, self._partial, self._zenodo, self._patience = record, partial, zenodo, patience
        self._progress = ByteProgress(record.archive, record.size, zenodo.log, done=partial.size)
        self.url = zenodo.content_url(record.record, record.archive)

    def fetch_rest(self) -> None:
        """Request the missing bytes once. Raise `TransientError`, `_ChangedError` or `Refusal` unless all arrive."""
        partial = self._partial
        if partial.size == self._record.size:
            return
        headers = {}
        if partial.size:
            headers["Range"] = f"bytes={partial.size}-"
            if partial.etag:
                headers["If-Range"] = partial.etag
        with get(self.url, self._patience, headers, stream=True) as response:
            to_skip = self._check(response)
            for chunk in self._chunks(response):
                new = chunk[to_skip:]
                to_skip -= len(chunk) - len(new)
                if partial.size + len(new) > self._record.size:
                    raise not_downloaded("sends more bytes than the file has", SEE_ENDPOINT, path=self.url)
                partial.append(new)
                self._progress.set_done(partial.size)
        if partial.size < self._record.size:
            raise TransientError("the connection ended early")

    def _check(self, response: requests.Response) -> int:
        """Check that `response` is of the same file. Return how many bytes at its start have arrived before."""
        partial, etag = self._partial, response.headers.get("ETag")
        if etag and not etag.startswith('"'):  # a weak one, which does not promise the same bytes
            etag = None
        check_not_compressed(self.url, response)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise self._changed("it has fewer bytes now")
        is_range = response.status_code == HTTPStatus.PARTIAL_CONTENT
        full = 0, int(response.headers.get("Content-Length", self._record.size))
        start, size = self._range(response) if is_range else full
        if size != self._record.size:
            raise self._changed(f"it has {size} bytes now")
        if is_range:
            if etag and partial.etag and etag != partial.etag:
                raise self._changed(f"its ETag is {etag} now")
            if start != partial.size:
                problem = f"was asked for bytes from {partial.size} on, and answers those from {start} on"
                raise not_downloaded(problem, SEE_ENDPOINT, path=self.url)
            return 0
        if not partial.size:
            partial.begin(etag)
        elif not etag:
            raise self._changed("it is sent from the start, by a server that does not say whether it is the same")
        elif etag != partial.etag:
            raise self._changed(f"its ETag is {etag} now")
        return partial.size

    def _changed(self, how: str) -> Exception:
        """Return the error to raise for another file. Raise a `Refusal` if Zenodo's record has changed, too."""
        self._zenodo.check_once(self._record)
        if not self._partial.size:
            return not_downloaded(f"is not the file that Zenodo's record describes: {how}", SEE_ENDPOINT, path=self.url)
        return _ChangedError(without_secrets(f"{self.url} has changed on the server: {how}"))

    def _range(self, response: requests.Response) -> tuple[int, int]:
        """Return the first byte that a partial answer states, and the size of the whole file."""
        if not (stated := content_range(response)):
            problem = "answers a part of the file and does not say which"
            raise not_downloaded(problem, SEE_ENDPOINT, path=self.url)
        return stated.first, self._record.size if stated.size is None else stated.size

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body as it arrives. Raise `TransientError` if hardly anything does."""
        since, count = time.monotonic(), 0
        while chunk := response.raw.read1(_CHUNK_SIZE, decode_content=False):
            yield chunk
            count += len(chunk)
            if (now := time.monotonic()) - since > self._patience.stall:
                if count < LEAST_PROGRESS:
                    raise TransientError(f"only {count} bytes came in {now - since:.0f} s")
                since, count = now, 0
