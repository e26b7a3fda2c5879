"""Files that are digested as they are written, and what was written noted, so that what is there can be compared."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isles_assets.lib.files import sha256_of


@dataclass(frozen=True)
class Identity:
    """Of a file: `size` in bytes and SHA-256."""

    size: int
    sha256: str

    @property
    def note(self) -> bytes:
        """As it is stored beside the file."""
        return json.dumps(asdict(self)).encode()


def identity_of(path: Path) -> Identity:
    """What a file is now, read to its end."""
    return Identity(path.stat().st_size, sha256_of(path))


class DigestingWriter(io.FileIO):
    """A file to write to from its start; `written` is what it was given so far, not what the disk makes of it."""

    def __init__(self, path: Path):
        super().__init__(path, "w")
        self._size, self._digest = 0, hashlib.sha256()

    def write(self, piece: Any) -> int:
        count = super().write(piece)
        self._digest.update(memoryview(piece)[:count])
        self._size += count
        return count

    @property
    def written(self) -> Identity:
        return Identity(self._size, self._digest.hexdigest())
