"""Zenodo: whether it has the pinned archive, sends parts of it, and how fast."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus

from isles_assets.doctor.lines import Line, Status, Topic, fine, lines_of
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_bytes, readable_time
from isles_assets.lib.secrets import without_secrets
from isles_assets.settings.setup import Setup
from isles_assets.source.listing import BRIEF
from isles_assets.source.partial import arrived_size
from isles_assets.source.patience import TransientError, not_downloaded
from isles_assets.source.zenodo import SEE_ENDPOINT, Zenodo, content_range, get

_MOST_MEASURED = 16_000_000
"""Bytes."""

_MEASURED_FOR = 1.0
"""Seconds."""

_SLOW = 24 * 60 * 60
"""Seconds of downloading from which a note says so."""

_CHECK_NETWORK = "check network and proxies, and see ISLES_ZENODO_ENDPOINT; or set ISLES_RAW_ROOT to an extracted tree"


@dataclass(frozen=True)
class Rate:
    """Bytes that arrived, and the seconds that it took."""

    size: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.size / max(self.seconds, 1e-6)


def why_not_asked(setup: Setup) -> str:
    """Return why a run needs nothing from Zenodo; empty if it downloads the archive."""
    if not setup.uses_zenodo:
        return f"the tree comes from {setup.origin}"
    if setup.tree.exists():
        return f"the extracted tree is there: {setup.tree}"
    return f"the archive is there: {setup.folder.archive}" if setup.folder.archive.exists() else ""


def record_lines(setup: Setup) -> Iterator[Line]:
    """Yield whether Zenodo has the pinned record and archive, and whether there is a newer version."""
    if why := why_not_asked(setup):
        yield fine(Topic.ZENODO, f"not asked: {why}")
        return
    record = setup.dataset.release.record
    try:
        zenodo = Zenodo(setup.zenodo_endpoint, BRIEF)
        zenodo.check_once(record)
        what = f"record {record.record}, {record.version}: {record.archive}, {readable_bytes(record.size)}"
        yield fine(Topic.ZENODO, f"{what}, md5 as pinned")
        newest = zenodo.newest(record.record)
    except (Refusal, TransientError) as error:
        yield from _of(setup, error)
        return
    if newest.record != record.record:
        what = f"a newer version is there: {newest.version} of {newest.date}, {newest.url}; {record.version} is used"
        yield Line(Topic.ZENODO, Status.NOTE, what)


def rate_lines(setup: Setup) -> Iterator[Line]:
    """Yield whether Zenodo sends ranges of bytes, the measured rate, and how long the rest of the archive takes."""
    if why_not_asked(setup):
        return
    record = setup.dataset.release.record
    try:
        rate = measure_rate(Zenodo(setup.zenodo_endpoint, BRIEF), record.record, record.archive, record.size)
    except (Refusal, TransientError) as error:
        yield from _of(setup, error)
        return
    left = record.size - arrived_size(setup.folder.archive)
    seconds = left / rate.per_second
    what = f"sends ranges; {readable_bytes(rate.per_second)}/s (measured on {readable_bytes(rate.size)}): "
    what += f"{readable_bytes(left)} take {readable_time(seconds)}"
    if seconds > _SLOW:
        mend = "measure again at another time of day, or fetch the archive elsewhere and put it into downloads/"
        yield Line(Topic.ZENODO, Status.NOTE, what, mend)
    else:
        yield fine(Topic.ZENODO, what)


def measure_rate(zenodo: Zenodo, record: str, archive: str, size: int) -> Rate:
    """Return the rate at which bytes from the middle of the archive arrive, from at most `_MOST_MEASURED` of them.

    Raises:
        TransientError: Zenodo does not answer.
        Refusal: It sends no ranges, or denies.
    """
    url, start = zenodo.content_url(record, archive), size // 2
    stop = min(start + _MOST_MEASURED, size)
    with get(url, zenodo.patience, {"Range": f"bytes={start}-{stop - 1}"}, stream=True) as response:
        stated = content_range(response)
        if response.status_code != HTTPStatus.PARTIAL_CONTENT or stated is None or stated.first != start:
            problem = f"was asked for a range of bytes, and answers {response.status_code} {response.reason}"
            raise not_downloaded(f"{problem}: a download could not resume", SEE_ENDPOINT, path=url)
        begin, arrived = time.monotonic(), 0
        while arrived < stop - start and time.monotonic() - begin < _MEASURED_FOR:
            chunk = response.raw.read1(stop - start - arrived, decode_content=False)
            if not chunk:
                raise TransientError("the connection ended early")
            arrived += len(chunk)
        return Rate(arrived, time.monotonic() - begin)


def _of(setup: Setup, error: Refusal | TransientError) -> list[Line]:
    if isinstance(error, Refusal):
        return lines_of(Topic.ZENODO, Status.BLOCKER, error)
    return [Line(Topic.ZENODO, Status.BLOCKER, without_secrets(f"{setup.zenodo_endpoint}: {error}"), _CHECK_NETWORK)]
