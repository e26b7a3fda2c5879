"""The release's file tree: its root, and the files in it.

`release` has the files that it should hold, `names` what their names mean, and `publication.properties` judges them.
"""

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from pathlib import Path, PurePosixPath

from isles_assets.lib.files import mtime_ns
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.release.release import Release
from isles_assets.release.zenodo_record import ORIGIN_NOTE


class Fault(StrEnum):
    """Why an entry of the tree cannot be used as a file, or as a folder of files. Inventories store these words."""

    BROKEN_LINK = "is a symlink to nothing"
    LEAVES_TREE = "is a symlink that leaves the tree"
    LINKED_FOLDER = "is a symlink to a folder"
    UNREADABLE = "cannot be read with the rights of this process"
    NOT_A_FILE = "is not a regular file"
    FOLDER = "is a folder"
    EMPTY_FOLDER = "is an empty folder"
    UNSEEN = "cannot be looked at"
    UNLISTED = "is a folder that cannot be listed"
    TOO_DEEP = "holds paths too long to be listed"


@dataclass(frozen=True)
class TreeFile:
    r"""A file in the tree: `path` relative to the root, `size` in bytes, modification time in ns.

    A folder is listed only if it has a `fault`; its size and time are 0. Bytes of a name that are not UTF-8 are escaped
    in `path`, as `\xe4`; no name of a release has such.
    """

    path: str
    size: int
    mtime_ns: int
    fault: Fault | None = None


Inventory = Mapping[str, TreeFile]
"""All files of the tree by relative path, sorted by it."""


def check_root(release: Release, root: Path) -> Path:
    """Return `root` resolved, if it looks like the root of the release's tree.

    Raises:
        Refusal: It does not exist, is not a folder, cannot be listed, or is too high or too low a level.
    """
    tops = ", ".join(release.tops)
    mend_root = f"set ISLES_RAW_ROOT to the extracted `{release.record.top}` folder, the one that holds {tops}"

    def refuse(problem: str, mend: str = mend_root) -> Refusal:
        return Refusal.of("The release tree cannot be used.", problem, mend, path=_printable(str(root)))

    try:
        if not root.exists():
            raise refuse("there is no such folder")
        if not root.is_dir():
            raise refuse("is not a folder")
        children = sorted(root.iterdir())
    except OSError as error:
        raise refuse(*_not_listed(error)) from error
    if any(_is_folder(root / top) for top in release.tops):
        return root.resolve()
    for candidate in (*children, *(path for child in children if _is_folder(child) for path in _entries_of(child))):
        if _holds_release(release, candidate):
            raise refuse("is too high a level", f"set ISLES_RAW_ROOT to {_printable(str(candidate))}")
    for parent in root.resolve().parents:
        if _holds_release(release, parent):
            problem = "is too low a level: it lies inside the release's tree"
            raise refuse(problem, f"set ISLES_RAW_ROOT to {_printable(str(parent))}")
    raise refuse(f"does not hold the release: none of {tops} is there")


def _not_listed(error: OSError) -> tuple[str, str]:
    """Return problem and mend for a folder or file that the system does not show."""
    if isinstance(error, PermissionError):
        return "cannot be listed with the rights of this process", "grant read and search rights"
    return f"cannot be read: {error.strerror}", "see whether the disk or mount is there"


def _printable(path: str) -> str:
    """Return `path` with escapes for bytes that are not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _holds_release(release: Release, folder: Path) -> bool:
    """Return whether `folder` has two of the release's folders; one, such as `derivatives`, is common elsewhere."""
    return sum(_is_folder(folder / top) for top in release.tops) > 1


def _is_folder(path: Path) -> bool:
    """Return `path.is_dir()`, or False if the system refuses to tell."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _entries_of(folder: Path) -> list[Path]:
    """Return the entries of `folder`; none if it cannot be listed."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def take_inventory(release: Release, root: Path) -> Inventory:
    """List all files below `root`, and the folders that have a fault.

    It reads folders and file attributes, never a file. Symlinks are followed only to judge them. Entries that vanish
    meanwhile, the note that extracting leaves in the root, and the subjects that a part of a release leaves out, are
    not listed.

    Raises:
        Refusal: The root is not usable, or folders of the release cannot be listed. Other such folders have a fault.
    """
    root = check_root(release, root)
    walk = _Walk(root, release)
    inventory = {entry.path: entry for entry in sorted(walk.entries(), key=attrgetter("path"))}
    if walk.unlisted:
        raise Refusal("The release tree cannot be read.", walk.unlisted)
    return inventory


class _Walk:
    """A walk through the tree at `root`. `unlisted` gets a finding for each folder of the release that is closed."""

    def __init__(self, root: Path, release: Release):
        self.unlisted: list[Finding] = []
        self._root = root
        expected = release.expected_paths()
        self._files = set(expected)
        self._release, self._left_out = release, frozenset(release.left_out)
        self._folders = {folder.as_posix() for path in expected for folder in PurePosixPath(path).parents}

    def entries(self) -> Iterator[TreeFile]:
        pending = [self._root]
        while pending:
            folder = pending.pop()
            try:
                files, folders = self._list(folder)
            except OSError as error:
                name = self._name(folder)
                if name in self._folders and (folder == self._root or not _vanished(error)):
                    self.unlisted.append(Finding(*_not_listed(error), path=name))
                elif not _vanished(error):
                    yield TreeFile(name, 0, 0, Fault.UNLISTED)
                continue
            yield from files
            pending += folders

    def _list(self, folder: Path) -> tuple[list[TreeFile], list[Path]]:
        """Return files with faulty folders, and all folders. Raise `OSError` without the right to list or search."""
        with os.scandir(folder) as scan:
            items = [Path(item.path) for item in scan]
        files, folders = [], []
        if not items and (name := self._name(folder)) in self._folders:
            files.append(TreeFile(name, 0, 0, Fault.EMPTY_FOLDER))
        for item in items:
            name = self._name(item)
            if self._left_out and self._release.subject_of(name) in self._left_out:
                continue
            try:
                status = item.lstat()
                if stat.S_ISREG(status.st_mode) and name == ORIGIN_NOTE:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    files.append(_entry(self._root, item, name, status))
                    continue
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    files.append(TreeFile(self._name(folder), 0, 0, Fault.TOO_DEEP))
                elif _vanished(error):
                    pass
                elif name not in self._files and name not in self._folders:
                    files.append(TreeFile(name, 0, 0, Fault.UNSEEN))
                elif isinstance(error, PermissionError):
                    raise
                else:
                    self.unlisted.append(Finding(*_not_listed(error), path=name))
                continue
            folders.append(item)
            if name in self._files:
                files.append(TreeFile(name, 0, 0, Fault.FOLDER))
        return files, folders

    def _name(self, path: Path) -> str:
        return _printable(path.relative_to(self._root).as_posix())


def _vanished(error: OSError) -> bool:
    return isinstance(error, FileNotFoundError | NotADirectoryError)


def _entry(root: Path, path: Path, name: str, lstat: os.stat_result) -> TreeFile:
    """Return the entry for `path`, which is not a folder; raise `FileNotFoundError` if it has vanished."""
    if not stat.S_ISLNK(lstat.st_mode):
        return TreeFile(name, lstat.st_size, mtime_ns(lstat), _fault(path, lstat))
    try:
        status = path.stat()
    except OSError as error:
        path.lstat()  # raises if it has vanished
        is_broken = _vanished(error) or error.errno in (errno.ELOOP, errno.ENAMETOOLONG)
        denied = Fault.UNREADABLE if isinstance(error, PermissionError) else Fault.UNSEEN
        return TreeFile(name, 0, mtime_ns(lstat), Fault.BROKEN_LINK if is_broken else denied)
    leaves = not path.resolve().is_relative_to(root)
    return TreeFile(name, status.st_size, mtime_ns(status), Fault.LEAVES_TREE if leaves else _fault(path, status))


def _fault(path: Path, status: os.stat_result) -> Fault | None:
    if stat.S_ISDIR(status.st_mode):
        return Fault.LINKED_FOLDER
    if not stat.S_ISREG(status.st_mode):
        return Fault.NOT_A_FILE
    if os.access(path, os.R_OK):
        return None
    path.stat()  # raises if it has vanished
    return Fault.UNREADABLE
