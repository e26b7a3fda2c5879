"""How far a long loop is, for people."""

import threading
import time
from collections.abc import Callable


def readable_bytes(size: float) -> str:
    """`size` with a decimal unit: 1500 -> `1.5 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


class Progress:
    """Says how far a long loop is, every few seconds and at its end.

    With `size`, the bytes of all, the time left is told by bytes, else by how many are done. Threads may share one.
    """

    def __init__(
        self, what: str, total: int, say: Callable[[str], None], every: float = 5.0, *, size: int | None = None
    ):
        self._what, self._total, self._say, self._every, self._size = what, total, say, every, size
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
                self._say(self._state(now - self._start))

    def _state(self, seconds: float) -> str:
        passed, rate = readable_bytes(self._bytes), readable_bytes(self._bytes / max(seconds, 1e-9))
        done, total = (self._done, self._total) if self._size is None else (self._bytes, self._size)
        left = f"about {(total - done) * seconds / done:.0f} s left" if done else "time left unknown"
        return f"{self._done} of {self._total} {self._what}, {passed}, {rate}/s, {left}"
