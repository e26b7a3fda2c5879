"""The table `archive_listing`: what the archive's own header says of its files, and what a tree is compared with."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from isles_assets.lib.files import status_of
from isles_assets.lib.findings import Finding, InOrder, Materialize, Refusal
from isles_assets.reading.nifti import SYNTHETIC_MARK, NiftiError, read_header
from isles_assets.reading.workbooks import ClinicalRow, WorkbookError, read_file
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release
from isles_assets.source.archive import Member
from isles_assets.source.listing import (
    UnansweredError,
    members_at_zenodo,
    members_of,
    own_listing,
    read_own_listing,
)
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables import TAKE_STOCK
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_previous_manifest
from isles_assets.tables.storage import read_table, write_table

_ASSET = "archive_listing"
_SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "size": pa.int64(),
        "crc32": pa.uint32(),
        "mtime_ns": pa.int64(),
        "method": pa.string(),
        "block": pa.int32(),
    }
)
_KEY = b"isles_assets.listing"


@dataclass(frozen=True)
class Listing:
    """What the archive holds below its top folder, by path relative to that; a member's name is that path.

    `origin` is whose word it is: the archive's address or path, or a synthetic tree's own listing. `of` is the MD5 of
    the archive, empty for a synthetic tree. `outside` counts the files beside the top folder. Where there is no
    listing, `members` is empty and `why_not` says why.
    """

    members: Mapping[str, Member] = field(default_factory=lambda: MappingProxyType({}))
    origin: str = ""
    of: str = ""
    outside: int = 0
    why_not: str = ""

    @property
    def crc32s(self) -> dict[str, int]:
        """The CRC-32 of every file that has one."""
        return {path: member.crc32 for path, member in self.members.items() if member.crc32 is not None}

    def compared(self, what: str) -> str:
        """That `what` was compared with it, or was not, and why, for people."""
        if self.why_not:
            return f"not compared with the archive: {self.why_not}"
        return f"{what} compared with the listing of {self.origin}"

    def difference(
        self, path: str, size: int, crc32: int | None = None, *, subject: str, extracted: bool
    ) -> Finding | None:
        """A finding if the file at `path` of the tree has not the size, or the CRC-32 if that is known, of the archive.

        `extracted`: the tree is what this package has extracted from the archive, and was not given.
        """
        member = self.members.get(path)
        if member is None or (member.size == size and crc32 in (None, member.crc32)):
            return None
        kind = Problem.OTHER_BYTES_EXTRACTED if extracted else Problem.OTHER_BYTES
        problem = f"has {_told(size, crc32)}, and the archive's listing says {_told(member.size, member.crc32)}"
        restore = "restore it from the release archive"
        again = Materialize((_ASSET, *TAKE_STOCK))
        steps = (restore, again, Materialize(("subject_shard",), subject)) if subject else (restore, again)
        return kind.finding(problem, InOrder(steps), path=path, subject=subject, found=_told(size, crc32))


def take_listing(folder: DataFolder, tree: Path, zenodo: Zenodo | None) -> Listing:
    """The listing that `tree`, which need not be there yet, is to be compared with.

    A synthetic tree that was given is compared with its own. Otherwise it is the archive's: as it was read before, for
    a record never changes; or of the archive on the disk; or by a question to `zenodo`, if that may be asked. Raises
    `Refusal` where the header is damaged.
    """
    release = folder.release
    own = own_listing(tree)
    if tree != folder.tree and _is_synthetic(folder, tree, wholly=not own.exists()):
        members = read_own_listing(tree)
        if members is None:
            return Listing(why_not="the tree is synthetic, and has no listing of its own beside it")
        return Listing({member.name: member for member in members}, str(own))
    if (kept := _kept(folder)) and kept.of == release.record.md5:
        return kept
    if folder.archive.is_file() and folder.archive.stat().st_size == release.record.size:
        return _listing_of(release, members_of(folder.archive), str(folder.archive))
    if zenodo is None:
        return Listing(why_not="ISLES_LISTING is off")
    try:
        members = members_at_zenodo(release.record, zenodo)
    except UnansweredError as refusal:
        return Listing(why_not="; ".join(f"{one.path} {one.problem}" for one in refusal.findings))
    return _listing_of(release, members, zenodo.content_url(release.record.record, release.record.archive))


def write_listing(folder: DataFolder, listing: Listing) -> pa.Table:
    """Write one row a file: path, size (bytes), CRC-32, modification time (ns), method, and number of its block."""
    rows = [{**asdict(member), "path": path} for path, member in sorted(listing.members.items())]
    about = {"origin": listing.origin, "of": listing.of, "outside": listing.outside, "why_not": listing.why_not}
    table = pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    write_table(folder.listing, table)
    return table


def read_listing(folder: DataFolder, tree: Path | None = None) -> Listing:
    """The listing as `archive_listing` wrote it, or why there is none; of a `tree`, if given, not another tree's own.

    Raises `Refusal` if the table cannot be read.
    """
    if not folder.listing.exists():
        return Listing(why_not=f"{_ASSET} was not materialized")
    table = read_table(folder.listing, _ASSET, _SCHEMA)
    rows = table.to_pylist()
    members = {row["path"]: Member(row.pop("path"), **row) for row in rows}
    listing = Listing(members, **json.loads((table.schema.metadata or {}).get(_KEY, b"{}")))
    if tree and members and not listing.of and listing.origin != str(own_listing(tree)):
        return Listing(why_not=f"{_ASSET} was materialized of another synthetic tree, see {listing.origin}")
    return listing


def other_workbooks(
    release: Release, root: Path, rows: Iterable[ClinicalRow], listing: Listing, *, extracted: bool
) -> list[Finding]:
    """Findings on workbooks whose size or CRC-32 is not what the `listing` says: those of `rows`, and the dictionary.

    `extracted` as of `Listing.difference`.
    """
    files = [(row.subject, file) for row in rows for file in row.files]
    if release.dictionary and listing.members:
        with suppress(WorkbookError):  # which is told where the dictionary is compared with the variables
            files.append(("", read_file(root, release.dictionary.path)[1]))
    found = (
        listing.difference(file.path, file.size, file.crc32, subject=subject, extracted=extracted)
        for subject, file in files
    )
    return [finding for finding in found if finding]


def _kept(folder: DataFolder) -> Listing | None:
    """The listing that is there, if it can be read."""
    try:
        return read_listing(folder)
    except Refusal:
        return None


def _listing_of(release: Release, members: list[Member], origin: str) -> Listing:
    top = f"{release.record.top}/"
    below = [replace(one, name=one.name.removeprefix(top)) for one in members if one.name.startswith(top)]
    return Listing({one.name: one for one in below}, origin, release.record.md5, len(members) - len(below))


def listing_of_sample(folder: DataFolder) -> Path:
    """What is written beside the sample when it is made."""
    return own_listing(folder.sample)


def _is_synthetic(folder: DataFolder, tree: Path, *, wholly: bool) -> bool:
    """Whether any subject says of itself that the sample generator made it; `wholly`: all of them."""
    marks = _marks(folder, tree)
    return next(marks, False) and all(marks) if wholly else any(marks)


def _marks(folder: DataFolder, tree: Path) -> Iterator[bool]:
    """Whether the reference volume of a subject bears the mark, for each that has one whose header can be read.

    It is not read if the manifest has its header, as its size and time say.
    """
    reference, known = folder.release.reference, read_previous_manifest(folder)
    for subject in folder.release.subjects:
        path = tree / reference.path(subject)
        entry = known[subject].volumes[reference.column] if subject in known else None
        try:
            status = status_of(path)
            if entry and (entry.size, entry.mtime_ns) == (status.size, status.mtime_ns) and not entry.fault:
                yield entry.synthetic
            else:
                yield any(text.startswith(SYNTHETIC_MARK) for _, text in read_header(path).text)
        except (OSError, NiftiError):
            continue


def _told(size: int, crc32: int | None) -> str:
    return f"{size} bytes" if crc32 is None else f"{size} bytes with CRC-32 {crc32:08x}"
