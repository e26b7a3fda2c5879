"""`isles24 restore DATASET TREE`: write a published dataset's volumes back as the release's own files."""

import argparse
import difflib
import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from isles_assets.cli.exit_codes import REFUSED, exit_code_of
from isles_assets.hub.reading import open_revision
from isles_assets.hub.restoring.clinical import write_clinical
from isles_assets.hub.restoring.shards import Selection, ShardIndex, index_shards
from isles_assets.hub.restoring.volumes import Restored, restore_volumes
from isles_assets.lib.findings import Finding, Refusal, name_some, summarize
from isles_assets.lib.progress import readable_bytes
from isles_assets.lib.words import counted
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.tables.storage import SUBJECT_COLUMN

_ALL = "all"

log = logging.getLogger("isles_assets.restore")


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command, and return its exit code."""
    options = _arguments(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("isles_assets").setLevel(logging.INFO)
    interrupted = "Stopped. Complete files stay; run the same command again to continue."
    return exit_code_of(lambda: _log_findings(_restore(release, options)), interrupted)


def _log_findings(findings: Sequence[Finding]) -> int:
    """Log what was refused, and return the exit code."""
    if not findings:
        return 0
    log.error("%s", "\n  ".join([f"{counted(len(findings), 'problem')}:", *summarize(findings, most=len(findings))]))
    return REFUSED


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="isles24 restore",
        description="Write the volumes of a published dataset as the release's own .nii.gz files, byte for byte, under "
        "their own paths. After an interruption, run it again: complete files are kept.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="repo id on the Hub, or a folder laid out as the repo")
    parser.add_argument("tree", metavar="TREE", type=Path, nargs="?", help="folder for raw_data/ and derivatives/")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the Hub (main)")
    parser.add_argument("--subject", nargs="+", action="extend", metavar="ID", help="only these subjects (all)")
    parser.add_argument(
        "--volume",
        nargs="+",
        action="extend",
        metavar="COLUMN",
        help="only these volumes, such as ncct lesion_mask (all)",
    )
    parser.add_argument(
        "--clinical", type=Path, metavar="FILE",
        help="write the clinical variables to this CSV file; a text that a spreadsheet program would take for a "
        "formula, because it begins with = or the like, gets a ' before it",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace files with other content")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="number of files read at the same time (4)")
    options = parser.parse_args(arguments)
    if options.workers < 1:
        parser.error("--workers must be at least 1")
    if options.tree is None and options.clinical is None:
        parser.error("name a TREE for the volumes, or a file for --clinical")
    if options.tree is None and options.volume:
        parser.error("--volume needs a TREE")
    return options


def _restore(release: Release, options: argparse.Namespace) -> list[Finding]:
    """Restore what can be restored, and return findings of the rest."""
    unknown = [*unknown_names(options.subject, release.subjects, "subject")]
    unknown += unknown_names(options.volume, release.by_column, "volume")
    if unknown:
        raise Refusal("Nothing was restored.", unknown)
    columns = release.by_column if _ALL in (options.volume or [_ALL]) else options.volume
    volumes = [volume for volume in release.volumes if options.tree and volume.column in columns]
    selection = Selection(release, volumes, clinical=options.clinical is not None)
    revision = open_revision(options.dataset, options.revision)
    log.info("%s", revision.name)
    index = index_shards(revision, selection, options.subject, options.workers, log.info)
    log.info("%s", _description(release, index))
    findings = list(index.findings)
    if options.clinical:
        findings += _write_clinical(release, options.clinical, index, overwrite=options.overwrite)
    if options.tree:
        restored = restore_volumes(
            index.volumes, options.tree, overwrite=options.overwrite, workers=options.workers, log=log.info
        )
        log.info("%s", _summary(restored, options.tree))
        findings += restored.findings
    return findings


def unknown_names(names: Sequence[str] | None, valid: Collection[str], kind: str) -> Iterator[Finding]:
    """Yield a finding on each of `names` that is not among `valid`, with names that are like it."""
    for name in names or ():
        if name not in valid and (name, kind) != (_ALL, "volume"):
            close = difflib.get_close_matches(name, valid, n=3) or list(valid)
            yield Finding(f"is no {kind} of the release", f"choose among {name_some(close, most=18)}", path=name)


def _description(release: Release, index: ShardIndex) -> str:
    parts = [f"{len(index.subjects)} of the release's {counted(len(release.subjects), 'subject')}"]
    if volumes := index.volumes:
        parts.append(f"{counted(len(volumes), 'volume')}, {readable_bytes(sum(volume.size for volume in volumes))}")
    lines = [", ".join(parts)]
    if any(shard.footer.synthetic for shard in index.shards):
        sample = "SYNTHETIC SAMPLE: computed phantoms and invented clinical values"
        lines.append(f"{sample}, not the {release.label} release")
    if others := sorted({shard.footer.release for shard in index.shards} - {release.version}):
        versions = ", ".join(map(repr, others))
        lines.append(f"It was made from {versions}; this version of isles-assets knows {release.version}.")
    return "\n".join(lines)


def _write_clinical(release: Release, path: Path, index: ShardIndex, *, overwrite: bool) -> list[Finding]:
    if missing := [subject for subject in index.subjects if subject not in index.clinical]:
        problem = f"is not written: the clinical values of {name_some(missing)} could not be read"
        return [Finding(problem, "see the reasons, or choose other subjects", path=str(path))]
    from isles_assets.published.clinical_frame import clinical_frame  # imports pandas, which takes half a second

    values = [{SUBJECT_COLUMN: subject, **of_one} for subject, of_one in sorted(index.clinical.items())]
    try:
        table = pa.Table.from_pandas(clinical_frame(values, release=release).reset_index(), preserve_index=False)
        written = write_clinical(path, table, overwrite=overwrite)
    except Refusal as refusal:
        return list(refusal.findings)
    rows = counted(len(index.clinical), "clinical row")
    log.info("%s %s %s", rows, "written to" if written else "already in", path)
    return []


def _summary(restored: Restored, tree: Path) -> str:
    kept = f", {restored.kept} there already and kept" if restored.kept else ""
    left = f", {restored.skipped} not reached" if restored.skipped else ""
    return f"Files: {restored.written} restored to {tree}{kept}{left}"
