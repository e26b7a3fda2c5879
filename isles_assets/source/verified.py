"""Large files that are read once to verify their MD5, which is then noted beside them."""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from isles_assets.lib.files import atomic_write, write_errors_refused
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import ByteProgress
from isles_assets.release.release import Release
from isles_assets.release.zenodo_record import ZenodoRecord

_CHUNK_SIZE = 4 << 20
_not_used = partial(Refusal.of, "The archive that is there was not used.")
_MEND = "remove it, or move it away, to have the pinned one downloaded"


def note_beside(path: Path) -> Path:
    """Return the path of the note on `path`."""
    return path.with_name(f"{path.name}.json")


def write_note(path: Path, current: Path, md5: str) -> None:
    """Note that the file, which is at `current` now and will be at `path`, has this `md5`."""
    with atomic_write(note_beside(path)) as temporary:
        temporary.write_text(json.dumps(_note_of(current, md5)))


def is_verified(path: Path, record: ZenodoRecord) -> bool:
    """Return whether `path` was verified to be the archive of `record`, and has the same size and time since."""
    has_size = path.is_file() and path.stat().st_size == record.size
    return has_size and read_note(note_beside(path)) == _note_of(path, record.md5)


def read_note(path: Path) -> object:
    """Return the JSON at `path`, None if there is no file or no JSON in it."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def verify(path: Path, release: Release, log: Callable[[str], None]) -> None:
    """Check that `path` is the archive of `release`, and note it. Read it only if there is no such note yet.

    Raises:
        Refusal: It is something else. It stays as it is.
    """
    record = release.record
    if is_verified(path, record):
        return
    with write_errors_refused(path):
        size = path.stat().st_size
        if not path.is_file():
            raise _not_used("is not a file", _MEND, path=path)
        if size != record.size:
            raise _not_used(f"has {size} bytes, which is {_version_of(release, size)}", _MEND, path=path)
        log(f"Reading {path} to check that it is the pinned archive")
        md5 = md5_of(path, ByteProgress(path.name, record.size, log))
        if md5 != record.md5:
            problem = f"has the size of {record.version}, but md5 {md5} instead of {record.md5}"
            raise _not_used(problem, _MEND, path=path)
        write_note(path, path, md5)


def md5_of(path: Path, progress: ByteProgress) -> str:
    """Return the hex digest of a file's bytes."""
    digest = hashlib.md5(usedforsecurity=False)
    buffer = memoryview(bytearray(_CHUNK_SIZE))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            progress.advance(count)
    return digest.hexdigest()


def _note_of(path: Path, md5: str) -> dict[str, int | str]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "md5": md5}


def _version_of(release: Release, size: int) -> str:
    """Return in words which version of the archive has `size` bytes, and which one is pinned."""
    pinned = f"{release.version}, of {release.record.size}, is pinned"
    version = next((earlier.version for earlier in release.earlier if earlier.size == size), None)
    return f"{version}; {pinned}" if version else f"no version that is known; {pinned}"
