"""The table of digests: what each volume was when it was last read to its end.

Kept apart from the manifest, whose bytes are a version of the data: a file that is only copied has another inode, and
another time of its status, and is no other data for that.
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
    """The SHA-256 of a file of the tree by its `path` there, and its status when it began to be read."""

    path: str
    status: FileStatus
    sha256: str


class Digests:
    """What is known of files, by their paths in the tree. Threads may share one.

    Nothing is forgotten: a file that vanished and comes back with the size and the time that it had is another one
    by ctime or inode, and read again.
    """

    def __init__(self, known: Iterable[Digest] = ()):
        self._known = {digest.path: digest for digest in known}

    def __iter__(self) -> Iterator[Digest]:
        return iter(sorted(self._known.values(), key=attrgetter("path")))

    def of(self, file: TreeFile) -> str | None:
        """The digest that a file of this path, size and time had when it was last read; None where it never was."""
        digest = self._known.get(file.path)
        same = digest and (digest.status.size, digest.status.mtime_ns) == (file.size, file.mtime_ns)
        return digest.sha256 if digest and same else None

    def is_doubtful(self, root: Path, file: TreeFile) -> bool:
        """Whether the digest `of` the file may be no longer its own: it was written into, replaced, copied, linked."""
        if not self.of(file):
            return False
        try:
            return status_of(root / file.path) != self._known[file.path].status
        except OSError:
            return True

    def note(self, path: str, status: FileStatus, sha256: str) -> None:
        """Remember the digest of a file, which had this `status` before its first byte was read."""
        self._known[path] = Digest(path, status, sha256)


def write_digests(folder: DataFolder, digests: Digests) -> None:
    """One row a file, sorted by path; no table where nothing is known."""
    if rows := [_row(digest) for digest in digests]:
        write_table(folder.digests, pa.Table.from_pylist(rows, _SCHEMA))


def read_digests(folder: DataFolder, *, anew: bool = False) -> Digests:
    """What `write_digests` wrote; nothing where it never did.

    Raises `Refusal` for a table that cannot be read, unless all of it is to be made `anew`.
    """
    if not folder.digests.exists():
        return Digests()
    try:
        rows = read_table(folder.digests, _ASSET, _SCHEMA).to_pylist()
    except Refusal as refusal:
        if anew:
            return Digests()
        (finding,) = refusal.findings
        raise Refusal.of(
            "What is known of the volumes is lost.", finding.problem, _MEND, path=finding.path
        ) from refusal
    return Digests(Digest(row["path"], _status(row), row["sha256"]) for row in rows)


def _row(digest: Digest) -> dict[str, str | int]:
    return {"path": digest.path, **asdict(digest.status), "sha256": digest.sha256}


def _status(row: Mapping[str, int]) -> FileStatus:
    return FileStatus(**{field.name: row[field.name] for field in fields(FileStatus)})
