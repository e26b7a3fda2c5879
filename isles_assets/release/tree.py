"""The release's file tree: where its root is, which files it must hold, and which it does hold."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from isles_assets.findings import Finding, Refusal
from isles_assets.release.clinical import DICTIONARY, WORKBOOKS
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.volumes import VOLUMES

TOPS = ("raw_data", "derivatives", "phenotype")
SUBJECT_IN_PATH = re.compile(rf"(?:{'|'.join(TOPS)})/(sub-[^/]+)")
_MEND_ROOT = "set ISLES_RAW_ROOT to the extracted `train` folder, the one that holds raw_data, derivatives, phenotype"


class Fault(StrEnum):
    """What keeps a file from being used."""

    BROKEN_LINK = "is a symlink to nothing"
    LEAVES_TREE = "is a symlink that leaves the tree"
    LINKED_FOLDER = "is a symlink to a folder"
    UNREADABLE = "cannot be read with the rights of this process"
    NOT_A_FILE = "is not a regular file"


@dataclass(frozen=True)
class Entry:
    """A file found in the tree: `path` relative to the root, `size` in bytes, modification time in ns."""

    path: str
    size: int
    mtime_ns: int
    fault: Fault | None = None

    @property
    def subject(self) -> str:
        """The subject whose file it is, by its folder; empty for none."""
        match = SUBJECT_IN_PATH.match(self.path)
        return match.group(1) if match else ""


Inventory = Mapping[str, Entry]
"""Every file of the tree by its relative path, in the order of the paths."""


def subject_paths(subject: str) -> list[str]:
    """The 18 volumes and 2 workbooks of `subject`, relative to the root."""
    return [*(volume.path(subject) for volume in VOLUMES), *(workbook.path(subject) for workbook in WORKBOOKS)]


def expected_paths() -> list[str]:
    """Every file that the release must hold: 149 x 20 and the dictionary workbook."""
    return [DICTIONARY.path, *(path for subject in SUBJECT_IDS for path in subject_paths(subject))]


def check_root(root: Path) -> Path:
    """`root` resolved, if it looks like the release's `train` folder.

    Raises `Refusal` where it does not exist, is no folder, or is one level too high or too low.
    """

    def refuse(problem: str, mend: str = _MEND_ROOT) -> Refusal:
        return Refusal("The release tree cannot be used.", [Finding("", str(root), problem, mend)])

    if not root.exists():
        raise refuse("there is no such folder")
    if not root.is_dir():
        raise refuse("is not a folder")
    resolved = root.resolve()
    try:
        names = {child.name for child in resolved.iterdir()}
    except PermissionError as error:
        raise refuse("cannot be listed with the rights of this process", "grant read and search rights") from error
    if names & set(TOPS):
        return resolved
    for child in sorted(names):
        if any((resolved / child / top).is_dir() for top in TOPS):
            raise refuse("is one level too high", f"set ISLES_RAW_ROOT to {root / child}")
    for parent in list(resolved.parents)[:4]:
        if parent.name in TOPS or resolved.name in TOPS:
            level = resolved.parent if resolved.name in TOPS else parent.parent
            raise refuse("is too low: it lies inside the release's tree", f"set ISLES_RAW_ROOT to {level}")
    raise refuse("does not hold the release: none of raw_data, derivatives, phenotype is there")


def take_inventory(root: Path) -> Inventory:
    """Every file below `root`; folders are not listed, links are followed only to name what is wrong with them.

    Reads folders and file attributes, never a file. Raises `Refusal` naming a folder that cannot be listed.
    """
    root = check_root(root)
    return {entry.path: entry for entry in sorted(_walk(root, root), key=lambda entry: entry.path)}


def _walk(root: Path, folder: Path) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as scan:
            found = list(scan)
    except PermissionError as error:
        where = folder.relative_to(root).as_posix()
        finding = Finding("", where, "cannot be listed with the rights of this process", "grant read and search rights")
        raise Refusal("The release tree cannot be read.", [finding]) from error
    for item in found:
        path = Path(item.path)
        if item.is_dir(follow_symlinks=False):
            yield from _walk(root, path)
        else:
            yield _entry(root, path)


def _entry(root: Path, path: Path) -> Entry:
    name = path.relative_to(root).as_posix()
    link = path.is_symlink()
    if link and not path.exists():
        return Entry(name, 0, path.lstat().st_mtime_ns, Fault.BROKEN_LINK)
    status = path.stat()
    fault = None
    if link and not path.resolve().is_relative_to(root):
        fault = Fault.LEAVES_TREE
    elif path.is_dir():
        fault = Fault.LINKED_FOLDER
    elif not path.is_file():
        fault = Fault.NOT_A_FILE
    elif not os.access(path, os.R_OK):
        fault = Fault.UNREADABLE
    return Entry(name, status.st_size, status.st_mtime_ns, fault)
