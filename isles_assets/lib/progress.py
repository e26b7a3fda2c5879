"""Progress of long loops and streams, in words for people."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from isles_assets.lib.words import counted

LOOP_INTERVAL = 5.0
"""Seconds between two messages on a loop."""

STREAM_INTERVAL = 30.0
"""Seconds between two messages on a stream."""

WAIT_INTERVAL = 60.0
"""Seconds between two messages on work whose progress cannot be seen."""


def readable_bytes(size: float) -> str:
    """Return `size` with a decimal unit: 1500 -> `1.5 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def readable_time(seconds: float) -> str:
    """Return `seconds` in the units that matter: 90 -> `90 s`, 1500 -> `25 min`, 12000 -> `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


@contextmanager
def announced(words: str, log: Callable[[str], None], every: float = WAIT_INTERVAL) -> Iterator[None]:
    """Log what the block does, and then how long it has taken so far, in a thread, until the block ends."""
    log(words)
    start, ended = time.monotonic(), threading.Event()

    def repeat() -> None:
        while not ended.wait(every):
            log(f"{words}: {readable_time(time.monotonic() - start)} so far")

    threading.Thread(target=repeat, daemon=True).start()
    try:
        yield
    finally:
        ended.set()


class Progress:
    """The progress of a loop, logged every few seconds and at its end. Threads may share one.

    Args:
        noun: What one item of the loop is called.
        total: Number of items.
        size: Bytes of all items. If it is given, the time left follows from bytes, else from items.
    """

    def __init__(
        self,
        noun: str,
        total: int,
        log: Callable[[str], None],
        every: float = LOOP_INTERVAL,
        *,
        size: int | None = None,
        plural: str = "",
    ):
        self._noun, self._total, self._log, self._every, self._size = noun, total, log, every, size
        self._plural = plural
        self._done, self._bytes = 0, 0
        self._start = self._logged = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, size: int, items: int = 1) -> None:
        """Count so many more items as done, with `size` bytes that `pass_bytes` has not counted."""
        self._count(items, size)

    def pass_bytes(self, size: int) -> None:
        """Count `size` more bytes of an item that is not done yet."""
        self._count(0, size)

    def _count(self, done: int, size: int) -> None:
        with self._lock:
            self._done += done
            self._bytes += size
            now = time.monotonic()
            if now - self._logged >= self._every or (done and self._done == self._total):
                self._logged = now
                self._log(self._state(now - self._start))

    def _state(self, seconds: float) -> str:
        words = [f"{self._done} of {counted(self._total, self._noun, self._plural)}"]
        if self._bytes:
            words += [readable_bytes(self._bytes), f"{readable_bytes(self._bytes / max(seconds, 1e-9))}/s"]
        done, total = (self._done, self._total) if self._size is None else (self._bytes, self._size)
        if self._done < self._total:
            words.append(
                f"about {readable_time((total - done) * seconds / done)} left" if done else "time left unknown"
            )
        return ", ".join(words)


class ByteProgress:
    """The progress of one stream of bytes, logged every half minute and at its end.

    Rate and time left follow from the bytes since the last message, because a stream may pause for long.
    """

    def __init__(
        self, name: str, total: int, log: Callable[[str], None], *, done: int = 0, every: float = STREAM_INTERVAL
    ):
        self._name, self._total, self._log, self._every = name, total, log, every
        self._done = self._done_when_logged = done
        self._logged = time.monotonic()

    def advance(self, size: int) -> None:
        """Count `size` more bytes as done."""
        self.set_done(self._done + size)

    def set_done(self, done: int) -> None:
        """Set the number of bytes that are done; it may be smaller than before."""
        self._done = done
        now = time.monotonic()
        if now - self._logged < self._every and done < self._total:
            return
        rate = max(done - self._done_when_logged, 0) / max(now - self._logged, 1e-9)
        words = f"{self._name}: {readable_bytes(done)} of {readable_bytes(self._total)}, {readable_bytes(rate)}/s"
        if rate and done < self._total:
            words += f", about {readable_time((self._total - done) / rate)} left"
        self._log(words)
        self._logged, self._done_when_logged = now, done
