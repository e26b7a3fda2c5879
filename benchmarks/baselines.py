"""The plain ways to do what the project does, with which it is compared."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from isal import igzip

from benchmarks.measure import Sample, command

CAT = "`cat` of the files piped to `sha256sum`"
GZIP = "`gzip -t` of the files"
ISAL = "decompressing the files by ISA-L, and nothing else"

_BUFFER = 4 << 20
_DECOMPRESSED = 1 << 20


def cat_to_sha256sum(files: Sequence[Path]) -> Sample:
    """The shell's way to read and hash."""
    return command("sh", "-c", 'cat "$@" | sha256sum', "cat", *files)


def gzip_test(files: Sequence[Path]) -> Sample:
    """The shell's way to know that compressed files are sound, on one core."""
    return command("gzip", "--test", *files)


def decompress_by_isal(files: Sequence[Path]) -> None:
    """Decompress all files on one core; gzip's CRC and length are checked on the way."""
    buffer = memoryview(bytearray(_DECOMPRESSED))
    for path in files:
        with igzip.open(path, "rb") as file:
            while file.readinto(buffer):
                pass


def hash_in_python(files: Sequence[Path]) -> None:
    """SHA-256 over all files by Python's hashlib."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_BUFFER))
    for path in files:
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])
    digest.hexdigest()


def copy(files: Sequence[Path], target: Path) -> None:
    """Write the bytes of all files to `target`, without waiting for the disk."""
    buffer = memoryview(bytearray(_BUFFER))
    with target.open("wb") as output:
        for path in files:
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    output.write(buffer[:count])


def copy_synced(files: Sequence[Path], target: Path) -> None:
    """Write the bytes of all files to `target` and wait until the disk has them."""
    copy(files, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
