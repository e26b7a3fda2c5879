"""Waiting for a server that may do better later, and giving up on one that will not."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_time
from isles_assets.lib.secrets import without_secrets

Result = TypeVar("Result")

NOT_DOWNLOADED = "The release was not downloaded."


def not_downloaded(problem: str, mend: str, *, path: object) -> Refusal:
    """The refusal for one reason, at the address or file `path`; no secret of an address is told."""
    return Refusal.of(NOT_DOWNLOADED, without_secrets(problem), mend, path=without_secrets(str(path)))


LEAST_PROGRESS = 1 << 16
"""Bytes that a connection must bring to count as alive, and an attempt to count as progress."""


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for, in seconds.

    `in_all`: from the last progress to giving up. `first` and `longest`: pauses between attempts, each twice the one
    before, or what the server asks for if that is longer. `connect`: for a connection. `stall`: for `LEAST_PROGRESS`
    bytes.
    """

    in_all: float = 3600.0
    first: float = 1.0
    longest: float = 300.0
    connect: float = 30.0
    stall: float = 60.0

    @property
    def timeout(self) -> tuple[float, float]:
        """For a connection, and for each time that a byte is waited for."""
        return self.connect, self.stall


LONG = Patience()
"""For hours of downloading."""

SHORT = Patience(in_all=120.0, connect=10.0, stall=20.0)
"""For a question with which work begins."""


class PassingError(Exception):
    """What may go better at another time; `pause` is what the server asks to wait, in seconds."""

    def __init__(self, reason: str, pause: float | None = None):
        super().__init__(reason)
        self.pause = pause


def patiently(
    attempt: Callable[[], Result],
    patience: Patience,
    log: Callable[[str], None],
    url: str,
    reached: Callable[[], int] = lambda: 0,
) -> Result:
    """What `attempt` returns once it raises no `PassingError`.

    `reached` tells how far the attempts have come, in bytes; whenever that is `LEAST_PROGRESS` further than ever
    before, all patience is back. Raises `Refusal` when it is at an end.
    """
    furthest, since, pause = reached(), time.monotonic(), patience.first
    while True:
        try:
            return attempt()
        except PassingError as error:
            now = time.monotonic()
            if reached() >= furthest + LEAST_PROGRESS:
                furthest, since, pause = reached(), now, patience.first
            rest = max(pause, error.pause or 0)
            if now + rest > since + patience.in_all:
                problem = f"{error}; this went on for {readable_time(now - since)}"
                if error.pause is not None:
                    problem += f", and the server asks to wait for {readable_time(error.pause)}"
                mend = "run again later: what has arrived is kept" if reached() else "run again later"
                raise not_downloaded(problem, mend, path=url) from None
            log(without_secrets(f"{url}: {error}; going on in {readable_time(rest)}"))
            time.sleep(rest)
            pause = min(2 * pause, patience.longest)
