"""A small disk that is filled, to be given a little room again and again."""

import contextlib
import itertools
from pathlib import Path


def fill(disk: Path) -> list[Path]:
    """Fill the disk; the files that do. Without any one of them there is room for a block and a name more."""
    fillers: list[Path] = []
    with contextlib.suppress(OSError):
        for number in itertools.count():
            filler = disk / f"filler {number}"
            if not filler.exists():
                fillers.append(filler)
                filler.write_bytes(bytes(4096))
    return fillers
