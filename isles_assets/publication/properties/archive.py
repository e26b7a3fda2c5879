"""Properties of the archive's listing, and of the tree, workbooks and volumes that are compared with it."""

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from isles_assets.lib.findings import Finding
from isles_assets.lib.words import counted
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties.words import ANOTHER, NOTHING_TO_DO, OF_BYTES
from isles_assets.publication.property import enforced
from isles_assets.reading.names import judge_names
from isles_assets.reading.tree import Inventory, TreeFile
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release


def _listing_looked_at(evidence: Evidence) -> str:
    listing = evidence.listing
    return listing.compared(f"names of {len(listing.members):,} files")


def _files_looked_at(evidence: Evidence) -> str:
    return evidence.listing.compared(f"{counted(len(_there(evidence)), 'file')} by name and size")


def _workbooks_looked_at(evidence: Evidence) -> str:
    return evidence.listing.compared("workbooks by CRC-32, as they were read,")


def _volumes_looked_at(evidence: Evidence) -> str:
    listed = sum(source.path in evidence.listing.members for one in evidence.shards for source in one.sources.values())
    return evidence.listing.compared(f"{listed:,} volumes by CRC-32")


@enforced("archive_listing", blocking=True, on_card=False, looked_at=_listing_looked_at)
def listed_as_expected(evidence: Evidence) -> Iterator[Finding]:
    """The archive lists the {volumes} volumes and {workbooks} workbooks of all {subjects} subjects, rightly named."""
    release, listing = evidence.release, evidence.listing
    if listing.why_not:
        return
    if not listing.members:
        problem = f"holds no file below `{release.record.top}`, but {listing.outside} elsewhere"
        yield Problem.NOT_LISTED.finding(problem, ANOTHER, path=release.record.archive)
        return
    listed = {
        path: TreeFile(path, member.size, member.mtime_ns)
        for path, member in listing.members.items()
        if not release.is_part or release.subject_of(path) in ("", *release.subjects)
    }
    yield from _not_listed(release, listed)
    yield from _extra(release, listed)


def _not_listed(release: Release, listed: Inventory) -> Iterator[Finding]:
    missing = [path for path in release.expected_paths() if path not in listed or not listed[path].size]
    renamed = judge_names(release, listed).renamed if missing else {}
    for path in missing:
        problem = "is empty in the archive" if path in listed else "is not in the archive"
        if path in renamed:
            problem += f", which has {renamed[path]}"
        yield Problem.NOT_LISTED.finding(problem, ANOTHER, path=path, subject=release.subject_of(path))


def _extra(release: Release, listed: Inventory) -> Iterator[Finding]:
    """Yield notes on files that are not part of the release, one for each subject or folder."""
    known = {file.path: file.what for file in release.stray_files}
    together: dict[str, list[str]] = {}
    for path in sorted(listed.keys() - {*release.expected_paths()}):
        if path in known:
            yield Problem.LISTED_EXTRA.finding(f"is {known[path]}", NOTHING_TO_DO, path=path)
        else:
            together.setdefault(release.subject_of(path) or str(PurePosixPath(path).parent), []).append(path)
    for first, *others in together.values():
        beside = counted(len(others), "more file", "more files")
        more = f", as {'is' if len(others) == 1 else 'are'} {beside} beside it" if others else ""
        yield Problem.LISTED_EXTRA.finding(f"is not part of the release{more}", NOTHING_TO_DO, path=first)


@enforced("raw_tree", on_card=False, looked_at=_files_looked_at)
def as_listed(evidence: Evidence) -> Iterator[Finding]:
    """Every file has the size that the archive's listing says."""
    release, extracted = evidence.release, evidence.extracted
    for file in _there(evidence):
        subject = release.subject_of(file.path)
        if finding := evidence.listing.difference(file.path, file.size, subject=subject, extracted=extracted):
            yield finding


def _there(evidence: Evidence) -> list[TreeFile]:
    """Return the files of the release that are both in the tree and in the listing."""
    inventory, members = evidence.inventory, evidence.listing.members
    paths = (path for path in evidence.release.expected_paths() if path in inventory and path in members)
    return [inventory[path] for path in paths if not inventory[path].fault]


@enforced("clinical_table", looked_at=_workbooks_looked_at)
def workbooks_of_archive(evidence: Evidence) -> Iterable[Finding]:
    """Every clinical workbook, and the dictionary, has the size and CRC-32 that the archive's listing says."""
    return [finding for finding in evidence.clinical_findings if finding.code in OF_BYTES]


@enforced("subject_shard", looked_at=_volumes_looked_at)
def bytes_of_archive(evidence: Evidence) -> Iterator[Finding]:
    """Every volume that is packed has the size and CRC-32 that the archive's listing says."""
    for sidecar in evidence.shards:
        for source in sidecar.sources.values():
            finding = evidence.listing.difference(
                source.path, source.size, source.crc32, subject=sidecar.subject, extracted=evidence.extracted
            )
            if finding:
                yield finding
