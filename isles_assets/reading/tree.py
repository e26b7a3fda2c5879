"""The release's file tree: where its root is, and which files it holds.

Which files it should hold is in `release`; what is wrong with those that it holds is said in `publication.properties`.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from pathlib import Path

from isles_assets.lib.findings import Refusal
from isles_assets.release.release import Release

_UNLISTED, _MEND_RIGHTS = "cannot be listed with the rights of this process", "grant read and search rights"


class Fault(StrEnum):
    """What keeps a file from being used."""

    BROKEN_LINK = "is a symlink to nothing"
    LEAVES_TREE = "is a symlink that leaves the tree"
    LINKED_FOLDER = "is a symlink to a folder"
    UNREADABLE = "cannot be read with the rights of this process"
    NOT_A_FILE = "is not a regular file"


@dataclass(frozen=True)
class TreeFile:
    """A file found in the tree: `path` relative to the root, `size` in bytes, modification time in ns."""

    path: str
    size: int
    mtime_ns: int
    fault: Fault | None = None


Inventory = Mapping[str, TreeFile]
"""Every file of the tree by its relative path, in the order of the paths."""


def check_root(release: Release, root: Path) -> Path:
    """`root` resolved, if it looks like the root of the release's tree.

    Raises `Refusal` where it does not exist, is no folder, cannot be listed, or is too high or too low a level.
    """
    tops = ", ".join(release.tops)
    mend_root = f"set ISLES_RAW_ROOT to the extracted `{release.record.top}` folder, the one that holds {tops}"

    def refuse(problem: str, mend: str = mend_root) -> Refusal:
        return Refusal.of("The release tree cannot be used.", problem, mend, path=root)

    try:
        if not root.exists():
            raise refuse("there is no such folder")
        if not root.is_dir():
            raise refuse("is not a folder")
        below = sorted(root.iterdir())
    except PermissionError as error:
        raise refuse(_UNLISTED, _MEND_RIGHTS) from error
    if any(_is_folder(root / top) for top in release.tops):
        return root.resolve()
    for candidate in (*below, *(path for child in below if _is_folder(child) for path in _list(child))):
        if _holds_release(release, candidate):
            raise refuse("is too high a level", f"set ISLES_RAW_ROOT to {candidate}")
    for parent in root.resolve().parents:
        if _holds_release(release, parent):
            raise refuse("is too low a level: it lies inside the release's tree", f"set ISLES_RAW_ROOT to {parent}")
    raise refuse(f"does not hold the release: none of {tops} is there")


def _holds_release(release: Release, folder: Path) -> bool:
    """Whether `folder` is what was meant; one of the names alone, such as `derivatives`, is common elsewhere."""
    return sum(_is_folder(folder / top) for top in release.tops) > 1


def _is_folder(path: Path) -> bool:
    """`Path.is_dir`, and False for what the process may not look at."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def _list(folder: Path) -> list[Path]:
    """What is in `folder`; nothing if the process may not look."""
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []


def take_inventory(release: Release, root: Path) -> Inventory:
    """Every file below `root`; folders are not listed, links are followed only to name what is wrong with them.

    Reads folders and file attributes, never a file. Raises `Refusal` naming a folder that cannot be listed.
    """
    root = check_root(release, root)
    return {entry.path: entry for entry in sorted(_walk(root, root), key=attrgetter("path"))}


def _walk(root: Path, folder: Path) -> Iterator[TreeFile]:
    try:
        with os.scandir(folder) as scan:
            found = list(scan)
        files = [_entry(root, Path(item.path)) for item in found if not item.is_dir(follow_symlinks=False)]
    except PermissionError as error:
        where, headline = folder.relative_to(root).as_posix(), "The release tree cannot be read."
        raise Refusal.of(headline, _UNLISTED, _MEND_RIGHTS, path=where) from error
    yield from files
    for item in found:
        if item.is_dir(follow_symlinks=False):
            yield from _walk(root, Path(item.path))


def _entry(root: Path, path: Path) -> TreeFile:
    name = path.relative_to(root).as_posix()
    own = path.lstat()
    if not stat.S_ISLNK(own.st_mode):
        return TreeFile(name, own.st_size, own.st_mtime_ns, _fault(path, own))
    try:
        status = path.stat()
    except PermissionError:
        return TreeFile(name, 0, own.st_mtime_ns, Fault.UNREADABLE)
    except OSError:  # to nothing, or to itself
        return TreeFile(name, 0, own.st_mtime_ns, Fault.BROKEN_LINK)
    leaves = not path.resolve().is_relative_to(root)
    return TreeFile(name, status.st_size, status.st_mtime_ns, Fault.LEAVES_TREE if leaves else _fault(path, status))


def _fault(path: Path, status: os.stat_result) -> Fault | None:
    if stat.S_ISDIR(status.st_mode):
        return Fault.LINKED_FOLDER
    if not stat.S_ISREG(status.st_mode):
        return Fault.NOT_A_FILE
    return None if os.access(path, os.R_OK) else Fault.UNREADABLE
