"""The table of digests: the SHA-256 of each volume, and its status when it was last read to its end.

The table is not part of the manifest, because the manifest's bytes are a version of the data. A mere copy of a file
changes its inode and ctime, but not the data.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from pathlib import Path

import pyarrow as pa

from isles_assets.lib.files import FileStatus, status_of
from isles_assets.lib.findings import Refusal
from isles_assets.reading.tree import TreeFile
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import read_table, write_table

_ASSET = "subject_manifest"
_TIME = pa.int64()
_SCHEMA = pa.schema(
    {"path": pa.string(), "size": pa.int64(), "mtime_ns": _TIME, "ctime_ns": _TIME, "inode": pa.uint64(),
     "sha256": pa.string()}
)  # fmt: skip
_MEND = f"materialize {_ASSET} with `full: true` in its run config, which reads every volume again"


@dataclass(frozen=True)
class Digest:
    """The SHA-256 of a file of the tree."""

    path: str
    """Path relative to the tree."""
    status: FileStatus
    """The file's status before its first byte was read."""
    sha256: str


class Digests:
    """The digests of the tree's files by path. Threads may share one object.

    Digests of vanished files are kept. A file that comes back has another ctime or inode, so it is read again.
    """

    def __init__(self, digests: Iterable[Digest] = ()):
        self._digests = {digest.path: digest for digest in digests}

    def __iter__(self) -> Iterator[Digest]:
        return iter(sorted(self._digests.values(), key=attrgetter("path")))

    def of(self, file: TreeFile) -> str | None:
        """Return the digest noted for this path, size and modification time; None if there is none."""
        digest = self._digests.get(file.path)
        same = digest and (digest.status.size, digest.status.mtime_ns) == (file.size, file.mtime_ns)
        return digest.sha256 if digest and same else None

    def may_be_outdated(self, root: Path, file: TreeFile) -> bool:
        """Return whether a file with a digest may have other bytes: it was written to, replaced, copied or linked."""
        if not self.of(file):
            return False
        try:
            return status_of(root / file.path) != self._digests[file.path].status
        except OSError:
            return True

    def note(self, path: str, status: FileStatus, sha256: str) -> None:
        """Remember the digest of a file, which had this `status` before its first byte was read."""
        self._digests[path] = Digest(path, status, sha256)


def write_digests(folder: DataFolder, digests: Digests) -> None:
    """Write one row per file, sorted by path; without digests, write no table.

    Raises:
        Refusal: The table cannot be written.
    """
    if rows := [_row(digest) for digest in digests]:
        write_table(folder.digests, pa.Table.from_pylist(rows, _SCHEMA))


def read_digests(folder: DataFolder, *, ignore_damage: bool = False) -> Digests:
    """Return the stored digests; none if there is no table.

    Args:
        ignore_damage: Return no digests if the table cannot be read, because all volumes are about to be read again.

    Raises:
        Refusal: The table cannot be read.
    """
    if not folder.digests.exists():
        return Digests()
    try:
        rows = read_table(folder.digests, _ASSET, _SCHEMA).to_pylist()
    except Refusal as refusal:
        if ignore_damage:
            return Digests()
        (finding,) = refusal.findings
        raise Refusal.of(
            "The digests of the volumes cannot be read.", finding.problem, _MEND, path=finding.path
        ) from refusal
    return Digests(Digest(row["path"], _status(row), row["sha256"]) for row in rows)


def _row(digest: Digest) -> dict[str, str | int]:
    return {"path": digest.path, **asdict(digest.status), "sha256": digest.sha256}


def _status(row: Mapping[str, int]) -> FileStatus:
    return FileStatus(**{field.name: row[field.name] for field in fields(FileStatus)})
