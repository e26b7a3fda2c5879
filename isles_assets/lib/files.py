"""Files that appear whole or not at all, their digests, and what shows that they have changed."""

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
"""Seconds without a change after which a temporary file of another machine is taken for a leftover."""

_ASKED_EVERY, _SAID_EVERY = 0.05, 60.0
"""Seconds after which a process that waits for a lock looks again, and says again that it waits."""

_INT64 = 2**63


@dataclass(frozen=True)
class FileStatus:
    """What a file system says of a file, by which a change of its bytes shows: size (bytes), times (ns), inode.

    `ctime_ns` is another one also after a rename, a new link, another mode or a copy. So a difference says that the
    file has to be read again, and no more.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    def is_of_file(self, earlier: "FileStatus | None") -> bool:
        """Whether it is of the same file as `earlier`, whose size and modification time are what they were."""
        return earlier is not None and replace(self, ctime_ns=earlier.ctime_ns) == earlier


def status_of(file: Path | IO[bytes]) -> FileStatus:
    """The status of the file at a path, links followed, or of an open one. Raises `OSError`."""
    status = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    return FileStatus(status.st_size, mtime_ns(status), status.st_ctime_ns, status.st_ino)


def doubt(path: Path) -> None:
    """Give the file at `path` another status, its bytes and times as they are, so that nobody trusts what was noted.

    Bytes that a disk has lost show in no status; who has read them can tell the others so. Without the right to do
    that, nothing is done.
    """
    status = path.stat()
    with suppress(PermissionError):
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def mtime_ns(status: os.stat_result) -> int:
    """The modification time in ns since 1970, or the nearest that fits into int64: years 1677 to 2262."""
    return max(-_INT64, min(_INT64 - 1, status.st_mtime_ns))


@contextmanager
def written_whole(path: Path, setting: str = DATA_DIR) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; on success its file is synced and renamed to `path`.

    On an exception the temporary file is removed and `path` is as before. A process that is killed leaves the
    temporary file behind, which `sweep` removes. Raises `Refusal` where the disk is full or does not let write,
    naming the `setting` that says where files go.
    """
    with explained(path, setting):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
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
    """See that what was written to `file` is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def temporary_beside(path: Path) -> Path:
    """A name in the same folder for what is to become `path`; it says which process is at work on it."""
    return path.with_name(f".{path.name}{_owner_suffix(os.getpid())}")


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """See that all that is in `folder` is on the disk: the bytes of every file, and every name.

    Files that are on the disk already cost little: one journal entry of the file system covers them all.
    """
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            with Path(path, name).open("rb") as file:
                sync(file)
        sync_folder(Path(path))


def make_folder(folder: Path) -> None:
    """Make `folder` with those above it, if they are not there, and their names durable."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold the lock `path`, a file that stays, which one process or thread has at a time, and none that is dead.

    `waiting` is called as soon as another one has it, and then once a minute.
    """
    with path.open("ab") as file:
        said = -_SAID_EVERY
        while not lock(file):
            if time.monotonic() - said >= _SAID_EVERY:
                waiting()
                said = time.monotonic()
            time.sleep(_ASKED_EVERY)
        yield


def lock(file: IO[bytes]) -> bool:
    """Lock `file` for this process until it is closed; whether no other process has it locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sweep(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left in `folder`.

    Whether a process of this machine lives can be asked. Of another's (`folder` may be shared), only what has not
    been changed for a day is removed.
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
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def free_space(path: Path) -> int:
    """Bytes that are free on the disk where `path` is or would be."""
    return shutil.disk_usage(existing(path)).free


def lack_of_room(path: Path, needed: int) -> str:
    """What is wrong with the disk where `path` is or would be if `needed` bytes do not fit; empty if they do."""
    free = free_space(path)
    return f"has {readable_bytes(free)} free, and {readable_bytes(needed)} are needed" if needed > free else ""


@contextmanager
def explained(path: Path, setting: str = DATA_DIR, *, headline: str = "Nothing was written.") -> Iterator[None]:
    """Turn the system's refusal to write at `path`, where `setting` put it, into a `Refusal` that says what to do."""
    mends = {
        errno.ENOSPC: ("the disk is full", f"free space, or set {setting} to a larger disk; then run again"),
        errno.EDQUOT: ("the disk quota is used up", f"free space, or set {setting} elsewhere; then run again"),
        errno.EFBIG: ("the file would be larger than this system allows", "raise the file size limit; then run again"),
        errno.EROFS: ("the file system is read-only", f"set {setting} to a folder that can be written to"),
        errno.EACCES: ("writing is not permitted", f"set {setting} to a folder that can be written to"),
        errno.EPERM: ("writing is not permitted", f"set {setting} to a folder that can be written to"),
        errno.ENOLCK: ("its file system has no locks", f"set {setting} to a folder of another one"),
        errno.ENOTSUP: ("its file system has no locks", f"set {setting} to a folder of another one"),
        errno.ENOSYS: ("its file system has no locks", f"set {setting} to a folder of another one"),
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
    """The refusal to raise for what this machine cannot do, wherever it happened; None if `error` is anything else."""
    if not isinstance(error, OSError) or error.errno not in _OF_MACHINE:
        return None
    return Refusal.of("This machine could not do it.", *_OF_MACHINE[error.errno], path=error.filename or "")


def _concerns(error: OSError, path: Path) -> bool:
    """Whether `error` is about writing `path`, not about some file that is read on the way."""
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
    """Says on which machine and, as containers may share its name, in which of its process tables."""
    table = Path("/proc/self/ns/pid")
    host = f"{socket.gethostname()}-{table.stat().st_ino}" if table.exists() else socket.gethostname()
    return f".{host}-{process}.tmp"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
