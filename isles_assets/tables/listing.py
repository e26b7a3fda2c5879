"""The table `archive_listing`: the files that the archive's header lists. Trees are compared with it."""

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
from isles_assets.tables import TREE_ASSETS
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
    """The files below the archive's top folder, or why there is no listing."""

    members: Mapping[str, Member] = field(default_factory=lambda: MappingProxyType({}))
    """Files by path relative to the top folder. A member's name is that path, too."""
    origin: str = ""
    """Address or path of the archive, or path of a synthetic tree's own listing."""
    of: str = ""
    """MD5 of the archive; empty for a synthetic tree."""
    outside: int = 0
    """Number of files beside the top folder."""
    why_not: str = ""
    """Why there is no listing; empty if there is one."""

    @property
    def crc32s(self) -> dict[str, int]:
        """The CRC-32 by path, of the files that have one."""
        return {path: member.crc32 for path, member in self.members.items() if member.crc32 is not None}

    def compared(self, files: str) -> str:
        """Return a sentence for people: `files` were compared with the listing, or why they were not."""
        if self.why_not:
            return f"not compared with the archive: {self.why_not}"
        return f"{files} compared with the listing of {self.origin}"

    def difference(
        self, path: str, size: int, crc32: int | None = None, *, subject: str, extracted: bool
    ) -> Finding | None:
        """Return a finding if a file of the tree differs from the archive's; None if not, or if it is not listed.

        Args:
            path: Path relative to the tree.
            size: Size of the tree's file in bytes.
            crc32: CRC-32 of the tree's file; None: compare only the size.
            subject: Subject of the file; empty for a file of the whole release.
            extracted: This package extracted the tree from the archive; nobody else provided it.
        """
        member = self.members.get(path)
        if member is None or (member.size == size and crc32 in (None, member.crc32)):
            return None
        kind = Problem.OTHER_BYTES_EXTRACTED if extracted else Problem.OTHER_BYTES
        actual, listed = _size_and_crc32(size, crc32), _size_and_crc32(member.size, member.crc32)
        problem = f"has {actual}, and the archive's listing says {listed}"
        restore = "restore it from the release archive"
        again = Materialize((_ASSET, *TREE_ASSETS))
        steps = (restore, again, Materialize(("subject_shard",), subject)) if subject else (restore, again)
        return kind.finding(problem, InOrder(steps), path=path, subject=subject, found=actual)


def obtain_listing(folder: DataFolder, tree: Path, zenodo: Zenodo | None) -> Listing:
    """Return the listing to compare `tree` with. The tree need not exist yet.

    A synthetic tree has its own listing, unless this package extracted it. Otherwise the listing is the archive's: the
    stored one, because a record never changes; else from the archive on the disk; else from Zenodo.

    Args:
        zenodo: The server to ask; None: do not ask.

    Returns:
        The listing, or why there is none, such as that Zenodo did not answer.

    Raises:
        Refusal: The archive's header, or the synthetic tree's listing, is damaged.
    """
    release = folder.release
    own = own_listing(tree)
    if tree != folder.tree and _is_synthetic(folder, tree, every_subject=not own.exists()):
        members = read_own_listing(tree)
        if members is None:
            return Listing(why_not="the tree is synthetic, and has no listing of its own beside it")
        return Listing({member.name: member for member in members}, str(own))
    if (stored := _stored_listing(folder)) and stored.of == release.record.md5:
        return stored
    if folder.archive.is_file() and folder.archive.stat().st_size == release.record.size:
        return _listing_of(release, members_of(folder.archive), str(folder.archive))
    if zenodo is None:
        return Listing(why_not="ISLES_LISTING is off")
    try:
        members = members_at_zenodo(release.record, zenodo)
    except UnansweredError as refusal:
        return Listing(why_not="; ".join(f"{finding.path} {finding.problem}" for finding in refusal.findings))
    return _listing_of(release, members, zenodo.content_url(release.record.record, release.record.archive))


def write_listing(folder: DataFolder, listing: Listing) -> pa.Table:
    """Write one row per file: path, size (bytes), CRC-32, modification time (ns), method, and number of its block.

    Returns:
        The table as it was written.

    Raises:
        Refusal: The table cannot be written.
    """
    rows = [{**asdict(member), "path": path} for path, member in sorted(listing.members.items())]
    about = {"origin": listing.origin, "of": listing.of, "outside": listing.outside, "why_not": listing.why_not}
    table = pa.Table.from_pylist(rows, _SCHEMA).replace_schema_metadata({_KEY: json.dumps(about).encode()})
    write_table(folder.listing, table)
    return table


def read_listing(folder: DataFolder, tree: Path | None = None) -> Listing:
    """Return the stored listing, or why there is none.

    Args:
        tree: The tree to compare with it: the listing of another synthetic tree does not count. None: any counts.

    Raises:
        Refusal: The table cannot be read.
    """
    if not folder.listing.exists():
        return Listing(why_not=f"{_ASSET} was not materialized")
    table = read_table(folder.listing, _ASSET, _SCHEMA)
    rows = table.to_pylist()
    members = {row["path"]: Member(row.pop("path"), **row) for row in rows}
    listing = Listing(members, **json.loads((table.schema.metadata or {}).get(_KEY, b"{}")))
    if tree and members and not listing.of and listing.origin != str(own_listing(tree)):
        return Listing(why_not=f"{_ASSET} was materialized for another synthetic tree, see {listing.origin}")
    return listing


def workbook_findings(
    release: Release, root: Path, rows: Iterable[ClinicalRow], listing: Listing, *, extracted: bool
) -> list[Finding]:
    """Return findings on the workbooks of `rows`, and on the dictionary, that differ from the archive's.

    Args:
        root: The tree.
        extracted: See `Listing.difference`.
    """
    files = [(row.subject, file) for row in rows for file in row.files]
    if release.dictionary and listing.members:
        with suppress(WorkbookError):  # reported by the check that compares the dictionary with the variables
            files.append(("", read_file(root, release.dictionary.path)[1]))
    differences = (
        listing.difference(file.path, file.size, file.crc32, subject=subject, extracted=extracted)
        for subject, file in files
    )
    return [finding for finding in differences if finding]


def sample_listing_path(folder: DataFolder) -> Path:
    """Return the path of the listing that is written beside the sample."""
    return own_listing(folder.sample)


def _stored_listing(folder: DataFolder) -> Listing | None:
    """Return the stored listing; None if it cannot be read."""
    try:
        return read_listing(folder)
    except Refusal:
        return None


def _listing_of(release: Release, members: list[Member], origin: str) -> Listing:
    top = f"{release.record.top}/"
    below = [replace(member, name=member.name.removeprefix(top)) for member in members if member.name.startswith(top)]
    return Listing({member.name: member for member in below}, origin, release.record.md5, len(members) - len(below))


def _is_synthetic(folder: DataFolder, tree: Path, *, every_subject: bool) -> bool:
    """Return whether any subject, or `every_subject`, is marked as made by the sample generator."""
    marks = _synthetic_marks(folder, tree)
    return next(marks, False) and all(marks) if every_subject else any(marks)


def _synthetic_marks(folder: DataFolder, tree: Path) -> Iterator[bool]:
    """Yield for each subject with a readable reference volume whether that has the mark of the sample generator.

    A volume that has the size and time of its manifest entry is not read.
    """
    reference, manifest = folder.release.reference, read_previous_manifest(folder)
    for subject in folder.release.subjects:
        path = tree / reference.path(subject)
        entry = manifest[subject].volumes[reference.column] if subject in manifest else None
        try:
            status = status_of(path)
            if entry and (entry.size, entry.mtime_ns) == (status.size, status.mtime_ns) and not entry.fault:
                yield entry.synthetic
            else:
                yield any(text.startswith(SYNTHETIC_MARK) for _, text in read_header(path).text)
        except (OSError, NiftiError):
            continue


def _size_and_crc32(size: int, crc32: int | None) -> str:
    return f"{size} bytes" if crc32 is None else f"{size} bytes with CRC-32 {crc32:08x}"
