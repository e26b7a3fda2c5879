"""How far a long loop is, for people."""

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
    """Says how far a long loop is, every few seconds and at its end."""

    def __init__(self, what: str, total: int, say: Callable[[str], None], every: float = 5.0):
        self._what, self._total, self._say, self._every = what, total, say, every
        self._done, self._bytes = 0, 0
        self._start = self._said = time.monotonic()

    def advance(self, size: int) -> None:
        """One more is done, of `size` bytes."""
        self._done += 1
        self._bytes += size
        now = time.monotonic()
        if now - self._said < self._every and self._done < self._total:
            return
        self._said = now
        rate = self._bytes / max(now - self._start, 1e-9)
        left = (self._total - self._done) * (now - self._start) / self._done
        self._say(
            f"{self._done} of {self._total} {self._what}, {readable_bytes(self._bytes)}, {readable_bytes(rate)}/s, "
            f"about {left:.0f} s left"
        )
