"""Retries: how long to wait for a server, and when to give up."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_time
from isles_assets.lib.secrets import without_secrets

Result = TypeVar("Result")

NOT_DOWNLOADED = "The release was not downloaded."

LEAST_PROGRESS = 1 << 16
"""Bytes that must arrive for a connection to count as alive, and for an attempt to count as progress."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds.

    Each pause between attempts is twice the one before, or what the server asks for if that is longer.
    """

    in_all: float = 3600.0  # from the last progress to giving up
    first: float = 1.0  # first pause
    longest: float = 300.0  # longest pause
    connect: float = 30.0  # for a connection
    stall: float = 60.0  # for `LEAST_PROGRESS` bytes

    @property
    def timeout(self) -> tuple[float, float]:
        """For a connection, and for the next byte, as requests takes it."""
        return self.connect, self.stall


LONG = Patience()
"""For hours of downloading."""

SHORT = Patience(in_all=120.0, connect=10.0, stall=20.0)
"""For a request without which work cannot begin."""


class TransientError(Exception):
    """A later attempt may succeed. `pause` is how long the server asks to wait, in seconds."""

    def __init__(self, reason: str, pause: float | None = None):
        super().__init__(reason)
        self.pause = pause


def not_downloaded(problem: str, mend: str, *, path: object) -> Refusal:
    """Return a refusal for one reason, at the address or file `path`. It holds no secret of an address."""
    return Refusal.of(NOT_DOWNLOADED, without_secrets(problem), mend, path=without_secrets(str(path)))


def retry(
    attempt: Callable[[], Result],
    patience: Patience,
    log: Callable[[str], None],
    url: str,
    arrived: Callable[[], int] = lambda: 0,
) -> Result:
    """Call `attempt` until it raises no `TransientError`, and return what it returns.

    Args:
        arrived: Returns the bytes that have arrived so far. After `LEAST_PROGRESS` more bytes patience starts afresh.

    Raises:
        Refusal: Patience is at an end.
    """
    furthest, since, pause = arrived(), time.monotonic(), patience.first
    while True:
        try:
            return attempt()
        except TransientError as error:
            now = time.monotonic()
            if arrived() >= furthest + LEAST_PROGRESS:
                furthest, since, pause = arrived(), now, patience.first
            wait = max(pause, error.pause or 0)
            if now + wait > since + patience.in_all:
                problem = f"{error}; this went on for {readable_time(now - since)}"
                if error.pause is not None:
                    problem += f", and the server asks to wait for {readable_time(error.pause)}"
                mend = "run again later: what has arrived is kept" if arrived() else "run again later"
                raise not_downloaded(problem, mend, path=url) from None
            log(without_secrets(f"{url}: {error}; going on in {readable_time(wait)}"))
            time.sleep(wait)
            pause = min(2 * pause, patience.longest)
