"""`isles24 restore DATASET TREE`: write a published dataset's volumes as the files of the release that they are."""

import argparse
import difflib
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from isles_assets.cli.words import REFUSED, in_words
from isles_assets.hub.reading import open_revision
from isles_assets.hub.restoring.clinical import write_clinical
from isles_assets.hub.restoring.shards import Selection, ShardIndex, index_shards
from isles_assets.hub.restoring.volumes import Restored, restore_volumes
from isles_assets.lib.findings import Finding, Refusal, name_some, summarize
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.words import counted
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release

_ALL = "all"

log = logging.getLogger("isles_assets.restore")


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command; 0 if all that was asked for is there, 1 with the reasons on stderr if anything was refused."""
    chosen = _arguments(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("isles_assets").setLevel(logging.INFO)
    stopped = "Stopped. What is complete stays; run the same again to go on."
    return in_words(lambda: _tell(_restore(release, chosen)), stopped)


def _tell(findings: Sequence[Finding]) -> int:
    """Say what was refused, when all else is done; the exit code."""
    if not findings:
        return 0
    log.error("%s", "\n  ".join([f"{counted(len(findings), 'problem')}:", *summarize(findings, most=len(findings))]))
    return REFUSED


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="isles24 restore",
        description="Write the volumes of a published dataset as the release's own .nii.gz files, byte for byte, under "
        "their own paths. Run again after a break: what is there is kept.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="repo id on the Hub, or a folder laid out as the repo")
    parser.add_argument("tree", metavar="TREE", type=Path, nargs="?", help="folder for raw_data/ and derivatives/")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the Hub (main)")
    parser.add_argument("--subject", nargs="+", action="extend", metavar="ID", help="only these (all)")
    parser.add_argument(
        "--volume", nargs="+", action="extend", metavar="COLUMN", help="only these, such as ncct lesion_mask (all)"
    )
    parser.add_argument(
        "--clinical", type=Path, metavar="FILE",
        help="write the clinical variables to this CSV file; a text that a spreadsheet program would calculate, as it "
        "begins with = or the like, gets a ' before it",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace files of other content")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="files at a time (4)")
    chosen = parser.parse_args(arguments)
    if chosen.workers < 1:
        parser.error("--workers must be at least 1")
    if chosen.tree is None and chosen.clinical is None:
        parser.error("name a TREE for the volumes, or a file for --clinical")
    if chosen.tree is None and chosen.volume:
        parser.error("--volume needs a TREE")
    return chosen


def _restore(release: Release, chosen: argparse.Namespace) -> list[Finding]:
    """What was refused, when all else is done."""
    unknown = [*_unknown(chosen.subject, release.subjects, "subject")]
    unknown += _unknown(chosen.volume, release.by_column, "volume")
    if unknown:
        raise Refusal("Nothing was restored.", unknown)
    columns = release.by_column if _ALL in (chosen.volume or [_ALL]) else chosen.volume
    volumes = [volume for volume in release.volumes if chosen.tree and volume.column in columns]
    selection = Selection(release, volumes, clinical=chosen.clinical is not None)
    revision = open_revision(chosen.dataset, chosen.revision)
    log.info("%s", revision.name)
    index = index_shards(revision, selection, chosen.subject, chosen.workers, log.info)
    log.info("%s", _described(release, index))
    findings = list(index.findings)
    if chosen.clinical:
        findings += _write_clinical(release, chosen.clinical, index, overwrite=chosen.overwrite)
    if chosen.tree:
        restored = restore_volumes(
            index.volumes, chosen.tree, overwrite=chosen.overwrite, workers=chosen.workers, log=log.info
        )
        log.info("%s", _summary(restored, chosen.tree))
        findings += restored.findings
    return findings


def _unknown(names: Sequence[str] | None, known: Collection[str], what: str) -> Iterator[Finding]:
    for name in names or ():
        if name not in known and (name, what) != (_ALL, "volume"):
            close = difflib.get_close_matches(name, known, n=3) or list(known)
            yield Finding(f"is no {what} of the release", f"choose among {name_some(close, most=18)}", path=name)


def _described(release: Release, index: ShardIndex) -> str:
    parts = [f"{len(index.subjects)} of the release's {counted(len(release.subjects), 'subject')}"]
    if volumes := index.volumes:
        parts.append(f"{counted(len(volumes), 'volume')}, {readable_bytes(sum(volume.size for volume in volumes))}")
    lines = [", ".join(parts)]
    if any(shard.footer.synthetic for shard in index.shards):
        sample = "SYNTHETIC SAMPLE: computed phantoms and invented clinical values"
        lines.append(f"{sample}, not the {release.label} release")
    if others := sorted({shard.footer.release for shard in index.shards} - {release.version}):
        lines.append(f"It is of {', '.join(map(repr, others))}; this version of isles-assets knows {release.version}.")
    return "\n".join(lines)


def _write_clinical(release: Release, path: Path, index: ShardIndex, *, overwrite: bool) -> list[Finding]:
    if missing := [subject for subject in index.subjects if subject not in index.clinical]:
        problem = f"is not written: the clinical values of {name_some(missing)} could not be read"
        return [Finding(problem, "see the reasons, or choose other subjects", path=str(path))]
    try:
        written = write_clinical(release, path, index.clinical, overwrite=overwrite)
    except Refusal as refusal:
        return list(refusal.findings)
    rows = counted(len(index.clinical), "clinical row")
    log.info("%s %s %s", rows, "written to" if written else "there already in", path)
    return []


def _summary(restored: Restored, tree: Path) -> str:
    kept = f", {restored.kept} there already and kept" if restored.kept else ""
    left = f", {restored.skipped} not reached" if restored.skipped else ""
    return f"Files: {restored.written} restored to {tree}{kept}{left}"
