"""How far a long loop is, for people."""

import threading
import time
from collections.abc import Callable

from isles_assets.lib.words import counted

EACH_SECONDS = 5.0
"""How often it is told how many things are done."""

EACH_SECONDS_OF_BYTES = 30.0
"""How often it is told how far one long stream is."""


def readable_bytes(size: float) -> str:
    """`size` with a decimal unit: 1500 -> `1.5 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def readable_time(seconds: float) -> str:
    """`seconds` in the units that matter: 90 -> `90 s`, 1500 -> `25 min`, 12000 -> `3 h 20 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """Says how far a long loop over things that are each a `what` is, every few seconds and at its end.

    With `size`, the bytes of all, the time left is told by bytes, else by how many are done. Threads may share one.
    """

    def __init__(
        self,
        what: str,
        total: int,
        log: Callable[[str], None],
        every: float = EACH_SECONDS,
        *,
        size: int | None = None,
        plural: str = "",
    ):
        self._what, self._total, self._log, self._every, self._size = what, total, log, every, size
        self._plural = plural
        self._done, self._bytes = 0, 0
        self._start = self._said = time.monotonic()
        self._lock = threading.Lock()

    def advance(self, size: int) -> None:
        """One more is done, of `size` bytes that have not passed yet."""
        self._count(1, size)

    def pass_bytes(self, size: int) -> None:
        """So many bytes have passed of one that is not done yet."""
        self._count(0, size)

    def _count(self, done: int, size: int) -> None:
        with self._lock:
            self._done += done
            self._bytes += size
            now = time.monotonic()
            if now - self._said >= self._every or (done and self._done == self._total):
                self._said = now
                self._log(self._state(now - self._start))

    def _state(self, seconds: float) -> str:
        words = [f"{self._done} of {counted(self._total, self._what, self._plural)}"]
        if self._bytes:
            words += [readable_bytes(self._bytes), f"{readable_bytes(self._bytes / max(seconds, 1e-9))}/s"]
        done, total = (self._done, self._total) if self._size is None else (self._bytes, self._size)
        if self._done < self._total:
            words.append(
                f"about {readable_time((total - done) * seconds / done)} left" if done else "time left unknown"
            )
        return ", ".join(words)


class ByteProgress:
    """Says how far one long stream of bytes is, every half minute and at its end.

    Rate and time left are those of the bytes since it last said so, because a stream may rest for long and go on.
    """

    def __init__(
        self, what: str, total: int, log: Callable[[str], None], *, done: int = 0, every: float = EACH_SECONDS_OF_BYTES
    ):
        self._what, self._total, self._log, self._every = what, total, log, every
        self._done = self._said_of = done
        self._said = time.monotonic()

    def advance(self, size: int) -> None:
        """So many more bytes are done."""
        self.reach(self._done + size)

    def reach(self, done: int) -> None:
        """So many bytes are done in all; they may be fewer than before."""
        self._done = done
        now = time.monotonic()
        if now - self._said < self._every and done < self._total:
            return
        rate = max(done - self._said_of, 0) / max(now - self._said, 1e-9)
        words = f"{self._what}: {readable_bytes(done)} of {readable_bytes(self._total)}, {readable_bytes(rate)}/s"
        if rate and done < self._total:
            words += f", about {readable_time((self._total - done) / rate)} left"
        self._log(words)
        self._said, self._said_of = now, done
