"""Atomic writes, durability, locks, digests and the status by which a change of a file shows."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_bytes

DATA_DIR = "ISLES_DATA_DIR"

_ABANDONED = 24 * 60 * 60
"""Seconds without a change after which a temporary file of another machine counts as a leftover."""

_RETRY_LOCK, _REPORT_WAIT = 0.05, 60.0
"""Seconds between two attempts to get a lock, and between two messages that this process waits for it."""

_INT64 = 2**63


@dataclass(frozen=True)
class FileStatus:
    """Size (bytes), times (ns) and inode of a file; a change of its bytes changes at least one of them.

    A rename, a new link, another mode or a copy changes `ctime_ns`, too. So a difference only means that the file has
    to be read again.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def same_but_for_ctime(self, earlier: "FileStatus | None") -> bool:
        """Return whether inode, size and modification time are those of `earlier`."""
        return earlier is not None and replace(self, ctime_ns=earlier.ctime_ns) == earlier


def status_of(file: Path | IO[bytes]) -> FileStatus:
    """Return the status of an open file, or of the file at a path; symlinks are followed.

    Raises:
        OSError: There is no such file, or its folder cannot be searched.
    """
    status = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    return FileStatus(status.st_size, mtime_ns(status), status.st_ctime_ns, status.st_ino)


def invalidate_status(path: Path) -> None:
    """Change the ctime of the file at `path`, so that nobody trusts its recorded status; bytes and times stay.

    Whoever reads bytes that the disk has damaged calls this, because damage changes no status. It does nothing
    without the right to set times.

    Raises:
        OSError: There is no such file.
    """
    status = path.stat()
    with suppress(PermissionError):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def mtime_ns(status: os.stat_result) -> int:
    """Return the modification time in ns since 1970, or the nearest int64: years 1677 to 2262."""
    return max(-_INT64, min(_INT64 - 1, status.st_mtime_ns))


@contextmanager
def atomic_write(path: Path, setting: str = DATA_DIR) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success sync its file and rename it to `path`.

    On an exception the temporary file is removed and `path` stays as it was. A process that is killed leaves the
    temporary file behind; `remove_leftovers` removes it.

    Args:
        setting: The setting that says where files go; a refusal names it.

    Raises:
        Refusal: The disk is full, or writing is not permitted.
    """
    with write_errors_refused(path, setting):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        temporary = temporary_beside(path)
        try:
            yield temporary
            with temporary.open("rb") as file:
                sync(file)
            temporary.rename(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync(file: IO[bytes]) -> None:
    """Flush `file`, and wait until its bytes are on the disk."""
    file.flush()
    os.fsync(file.fileno())


def temporary_beside(path: Path) -> Path:
    """Return a path in the same folder for a file that will become `path`; its name holds the writing process."""
    return path.with_name(f".{path.name}{_owner_suffix(os.getpid())}")


def sync_folder(folder: Path) -> None:
    """Wait until the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until the bytes of every file below `folder`, and every name, are on the disk.

    Files that are on the disk already cost little: one journal entry of the file system covers them all.
    """
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            with Path(path, name).open("rb") as file:
                sync(file)
        sync_folder(Path(path))


def make_folder(folder: Path) -> None:
    """Make `folder` and its parents where they are missing; wait until their names are on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


@contextmanager
def locked(path: Path, report_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock file at `path`, which one process or thread at a time can hold.

    The system frees the lock when its holder dies. The file stays.

    Args:
        report_wait: Called as soon as somebody else holds the lock, and then once a minute.
    """
    with path.open("ab") as file:
        reported = -_REPORT_WAIT
        while not lock(file):
            if time.monotonic() - reported >= _REPORT_WAIT:
                report_wait()
                reported = time.monotonic()
            time.sleep(_RETRY_LOCK)
        yield


def lock(file: IO[bytes]) -> bool:
    """Lock `file` until it is closed; return False if somebody else has locked it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all in it. Links are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in `folder`.

    The system tells whether a process of this machine lives. Other machines may share `folder`: their temporary files
    are removed after a day without a change.
    """
    for leftover in folder.glob(".*.tmp"):
        owner = re.search(r"-(\d+)\.tmp$", leftover.name)
        if not owner or not _is_leftover(leftover, int(owner[1])):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file at `path` in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def nearest_existing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    return next(candidate for candidate in (path, *path.absolute().parents) if candidate.exists())


def free_space(path: Path) -> int:
    """Return the free bytes of the disk where `path` is or would be."""
    return shutil.disk_usage(nearest_existing(path)).free


def lack_of_space(path: Path, needed: int) -> str:
    """Return the problem with the disk of `path` if `needed` bytes do not fit; empty if they do."""
    free = free_space(path)
    return f"has {readable_bytes(free)} free, and {readable_bytes(needed)} are needed" if needed > free else ""


@contextmanager
def write_errors_refused(
    path: Path, setting: str = DATA_DIR, *, headline: str = "Nothing was written."
) -> Iterator[None]:
    """Turn an `OSError` about writing at `path` into a `Refusal` that says what to do.

    Args:
        setting: The setting that `path` comes from; the refusal names it.

    Raises:
        Refusal: The disk is full, or writing is not permitted. Any other `OSError` passes.
    """
    mends = {
        errno.ENOSPC: ("the disk is full", f"free space, or set {setting} to a larger disk; then run again"),
        errno.EDQUOT: ("the disk quota is used up", f"free space, or set {setting} elsewhere; then run again"),
        errno.EFBIG: ("the file would be larger than this system allows", "raise the file size limit; then run again"),
        errno.EROFS: ("the file system is read-only", f"set {setting} to a folder that can be written to"),
        errno.EACCES: ("writing is not permitted", f"set {setting} to a folder that can be written to"),
        errno.EPERM: ("writing is not permitted", f"set {setting} to a folder that can be written to"),
        errno.ENOLCK: ("its file system has no locks", f"set {setting} to a folder on another file system"),
        errno.ENOTSUP: ("its file system has no locks", f"set {setting} to a folder on another file system"),
        errno.ENOSYS: ("its file system has no locks", f"set {setting} to a folder on another file system"),
        errno.ENOTDIR: ("a file stands where a folder is needed", f"set {setting} to a folder"),
        errno.EEXIST: ("a file stands where a folder is needed", f"set {setting} to a folder"),
    }
    try:
        yield
    except OSError as error:
        if error.errno not in mends or not _concerns(error, path):
            raise
        raise Refusal.of(headline, *mends[error.errno], path=path) from error


_FREE = "free space where ISLES_DATA_DIR, TMPDIR and HF_HOME are; then run again"
_OF_MACHINE = {
    errno.ENOSPC: ("a disk is full", _FREE),
    errno.EDQUOT: ("a disk quota is used up", _FREE),
    errno.EIO: ("cannot be read or written there", "look at the disk, and at the system's log; then run again"),
    errno.EMFILE: ("too many files are open", "raise the limit (`ulimit -n`), or lower ISLES_WORKERS; then run again"),
    errno.ENFILE: ("too many files are open", "close other programs, or lower ISLES_WORKERS; then run again"),
    errno.ENOMEM: ("there is too little memory", "lower ISLES_WORKERS; then run again"),
}


def of_machine(error: BaseException) -> Refusal | None:
    """Return the refusal for an error of this machine (disk, memory, open files), wherever it happened; else None."""
    if not isinstance(error, OSError) or error.errno not in _OF_MACHINE:
        return None
    return Refusal.of("This machine could not do it.", *_OF_MACHINE[error.errno], path=error.filename or "")


def _concerns(error: OSError, path: Path) -> bool:
    """Return whether `error` is about writing `path`, not about a file that is read meanwhile."""
    named = [Path(name) for name in (error.filename, error.filename2) if isinstance(name, str)]
    return not named or any(name.is_relative_to(path.parent) or path.is_relative_to(name) for name in named)


def _is_leftover(temporary: Path, owner: int) -> bool:
    if temporary.name.endswith(_owner_suffix(owner)):
        return not _alive(owner)
    try:
        return time.time() - temporary.lstat().st_mtime > _ABANDONED
    except FileNotFoundError:  # its owner has just finished it
        return False


def _owner_suffix(process: int) -> str:
    """Return the end of a temporary file's name: machine, process table (containers may share a name) and process."""
    table = Path("/proc/self/ns/pid")
    host = f"{socket.gethostname()}-{table.stat().st_ino}" if table.exists() else socket.gethostname()
    return f".{host}-{process}.tmp"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives, and is another user's
        pass
    return not _has_ended(process)


def _has_ended(process: int) -> bool:
    """Return whether a process that still has a number has ended: nobody has asked for its exit code yet."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):  # no Linux, or it has just gone
        return False
    return state in ("Z", "X")
