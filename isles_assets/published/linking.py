"""Making a file of an export out of one of the release, without a second copy of its bytes where that is possible."""

import errno
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from isles_assets.lib.words import counted

_NO_HARD_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NO_SYMLINK = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class How(StrEnum):
    """How a file of an export came about."""

    HARD_LINK = "hard link"
    SYMLINK = "symlink"
    COPY = "copy"
    WRITTEN = "written anew"


def link(source: Path, target: Path) -> How:
    """Make `target` the same file as `source`, or else lead to it, or else a copy; return which.

    A hard link is refused across file systems, and for another user's file that one may not write. The bytes of
    `source` are never touched.

    Raises:
        OSError: The disk is full, or writing is not permitted.
    """
    source = source.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
        return How.HARD_LINK
    except OSError as error:
        if error.errno not in _NO_HARD_LINK:
            raise
    try:
        target.symlink_to(source)
        return How.SYMLINK
    except OSError as error:
        if error.errno not in _NO_SYMLINK:
            raise
    shutil.copyfile(source, target)
    return How.COPY


def describe(ways: Mapping[How, int]) -> str:
    """Return the numbers of files by how they came about, in words."""
    plurals = {How.COPY: "copies", How.WRITTEN: str(How.WRITTEN)}
    counts = Counter(ways)
    return ", ".join(counted(counts[way], way, plurals.get(way, "")) for way in How if counts[way]) or "no file"
