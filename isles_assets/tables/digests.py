"""The table of digests: what each volume was when it was last read to its end.

Kept apart from the manifest, whose bytes are a version of the data: a file that is only copied has another inode, and
another time of its status, and is no other data for that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

import pyarrow as pa

from isles_assets.lib.files import FileStatus, status_of
from isles_assets.lib.findings import Refusal
from isles_assets.reading.tree import TreeFile
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import read_table, write_table

_ASSET = "subject_manifest"
_SCHEMA = pa.schema(
    [("path", pa.string()), *((name, pa.int64()) for name in ("size", "mtime_ns", "ctime_ns", "inode")),
     ("sha256", pa.string())]
)  # fmt: skip
_MEND = f"materialize {_ASSET} with `full: true` in its run config, which reads every volume again"


@dataclass(frozen=True)
class Digest:
    """The SHA-256 of a file of the tree, and what the file was when it began to be read."""

    path: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
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
        return digest.sha256 if digest and (digest.size, digest.mtime_ns) == (file.size, file.mtime_ns) else None

    def is_doubtful(self, root: Path, file: TreeFile) -> bool:
        """Whether the digest `of` the file may be no longer its own: it was written into, replaced, copied, linked."""
        if not self.of(file):
            return False
        digest = self._known[file.path]
        try:
            status = status_of(root / file.path)
        except OSError:
            return True
        return (status.ctime_ns, status.inode) != (digest.ctime_ns, digest.inode)

    def note(self, file: TreeFile, status: FileStatus, sha256: str) -> None:
        """Remember the digest of the file, which had this `status` before its first byte was read."""
        digest = Digest(file.path, file.size, file.mtime_ns, status.ctime_ns, status.inode, sha256)
        self._known[file.path] = digest


def write_digests(folder: DataFolder, digests: Digests) -> None:
    """One row a file, sorted by path; no table where nothing is known."""
    if rows := [asdict(digest) for digest in digests]:
        write_table(folder.digests, pa.Table.from_pylist(rows, _SCHEMA))


def read_digests(folder: DataFolder, *, anew: bool = False) -> Digests:
    """What `write_digests` wrote; nothing where it never did.

    Raises `Refusal` for a table that cannot be read, unless all of it is to be made `anew`.
    """
    if not folder.digests.exists():
        return Digests()
    try:
        return Digests(Digest(**row) for row in read_table(folder.digests, _ASSET, _SCHEMA).to_pylist())
    except Refusal as refusal:
        if anew:
            return Digests()
        (finding,) = refusal.findings
        raise Refusal.of(
            "What is known of the volumes is lost.", finding.problem, _MEND, path=finding.path
        ) from refusal
