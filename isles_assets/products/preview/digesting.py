"""Files that are digested while they are written, and notes of their digests to compare with later."""

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isles_assets.lib.files import sha256_of


@dataclass(frozen=True)
class FileDigest:
    """Size of a file in bytes, and its SHA-256."""

    size: int
    sha256: str

    @property
    def note(self) -> bytes:
        """Content of the note that is stored beside the file."""
        return json.dumps(asdict(self)).encode()


def digest_of(path: Path) -> FileDigest:
    """Read a file to its end and return its digest.

    Raises:
        OSError: The file cannot be read.
    """
    return FileDigest(path.stat().st_size, sha256_of(path))


class DigestingWriter(io.FileIO):
    """A new file to write to. `written` is the digest of the bytes it was given, not of those on the disk."""

    def __init__(self, path: Path):
        super().__init__(path, "w")
        self._size, self._digest = 0, hashlib.sha256()

    def write(self, piece: Any) -> int:
        count = super().write(piece)
        self._digest.update(memoryview(piece)[:count])
        self._size += count
        return count

    @property
    def written(self) -> FileDigest:
        return FileDigest(self._size, self._digest.hexdigest())
