"""What must hold before anything is published, whatever ran before and whichever checks were skipped."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from isles_assets.graph.commands import BUILD, TAKE_STOCK, materialize_partition
from isles_assets.lib.findings import Finding, Refusal, fatal, found, name_some
from isles_assets.products.preview.preview import PreviewRecord, preview_state
from isles_assets.products.shard import ShardRecord, holds_release, shard_state
from isles_assets.products.sidecars import Record, State
from isles_assets.publication.assembling import assemble
from isles_assets.publication.properties import PROPERTIES, Evidence
from isles_assets.publication.publication import Publication
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import SubjectManifest
from isles_assets.tables.storage import clinical_table, clinical_values


def publication_of(root: Path, folder: DataFolder, repo: str) -> Publication:
    """The publication of all 149 subjects from the shards and previews that are there.

    Raises `Refusal` if a blocking property does not hold of the tree as it is now, if a table is out of date, or
    if any shard or preview is missing or stale. No volume is read.
    """
    evidence = Evidence(root, folder, fresh_tree=True)
    blocking = [prop for prop in PROPERTIES if prop.blocking]
    broken = list(dict.fromkeys(finding for prop in blocking for finding in fatal(found(partial(prop.find, evidence)))))
    broken = broken or found(partial(_out_of_date, evidence))
    made = _partitions(evidence)
    reasons = [f"{len(broken)} problems in the tree and its tables"] if broken else []
    if reasons or made.unfit:
        raise Refusal(f"Not published: {'; '.join([*reasons, *made.reasons])}.", [*broken, *made.unfit])
    return assemble(folder, repo, made.shards, made.previews)


def recorded_publication(folder: DataFolder, repo: str) -> Publication:
    """The publication of what is up to date with the manifest, without a look at the tree.

    Raises `Refusal` if any shard or preview is missing or stale.
    """
    made = _partitions(Evidence(Path(), folder))
    if made.unfit:
        raise Refusal(f"{'; '.join(made.reasons)}.", made.unfit)
    return assemble(folder, repo, made.shards, made.previews)


def keep_release_from_sample(folder: DataFolder) -> None:
    """Raise `Refusal` if `folder` holds shards of a real tree, which those of a sample would replace."""
    if holds_release(folder):
        mend = (
            "set ISLES_RAW_ROOT to the release's tree, or ISLES_SOURCE=zenodo, or ISLES_DATA_DIR to another folder for "
            "the sample"
        )
        finding = Finding("", str(folder.root), "holds shards of a real release", mend)
        raise Refusal("The sample was not used.", [finding])


def keep_sample_from_hub(repo: str, subjects: Iterable[SubjectManifest | ShardRecord], *, allowed: bool) -> None:
    """Raise `Refusal` if any of `subjects` is synthetic, unless that is `allowed`."""
    if not allowed and any(subject.synthetic for subject in subjects):
        mend = "set ISLES_SOURCE=zenodo, or ISLES_RAW_ROOT to the release's tree, or allow_synthetic in the run config"
        raise Refusal("Nothing was sent.", [Finding("", repo, "would show a synthetic sample to the public", mend)])


def _out_of_date(evidence: Evidence) -> Iterator[Finding]:
    """Tables that no longer say what the tree holds."""
    recorded = Evidence(evidence.root, evidence.folder).inventory
    for path in sorted(recorded.keys() | evidence.inventory.keys()):
        now, then = evidence.inventory.get(path), recorded.get(path)
        if now != then:
            subject = (now or recorded[path]).subject
            yield Finding(subject, path, "has changed since raw_tree was materialized", TAKE_STOCK)
    current = clinical_table(read_clinical_rows(evidence.root, SUBJECT_IDS))
    if not current.equals(evidence.clinical):
        yield Finding("", "", "clinical_table is not what the workbooks say now", TAKE_STOCK)
    values = clinical_values(current)
    for subject, row in evidence.manifest.items():
        for facts in row.volumes.values():
            entry = evidence.inventory.get(facts.path) if facts else None
            if facts and entry and (facts.size, facts.mtime_ns) != (entry.size, entry.mtime_ns):
                yield Finding(subject, facts.path, "has changed since subject_manifest was materialized", TAKE_STOCK)
        if row.clinical != values.get(subject):
            yield Finding(subject, "", "has other clinical values than in subject_manifest", TAKE_STOCK)


@dataclass(frozen=True)
class _Partitions:
    """What is up to date of the partitioned assets, by subject, and the findings on the rest by asset."""

    shards: Mapping[str, ShardRecord]
    previews: Mapping[str, PreviewRecord]
    unfit_shards: list[Finding]
    unfit_previews: list[Finding]

    @property
    def unfit(self) -> list[Finding]:
        return [*self.unfit_shards, *self.unfit_previews]

    @property
    def reasons(self) -> list[str]:
        """A phrase for each asset of which something is missing or stale."""
        return [
            f"{len(unfit)} of {len(SUBJECT_IDS)} {what} missing or stale: {name_some([f.subject for f in unfit])}"
            for what, unfit in (("shards", self.unfit_shards), ("previews", self.unfit_previews))
            if unfit
        ]


def _partitions(evidence: Evidence) -> _Partitions:
    manifest = evidence.manifest if evidence.folder.manifest.exists() else {}
    shards, unfit_shards = _up_to_date("subject_shard", manifest, partial(shard_state, evidence.folder))
    previews, unfit_previews = _up_to_date("subject_preview", manifest, partial(preview_state, evidence.folder))
    return _Partitions(shards, previews, unfit_shards, unfit_previews)


def _up_to_date(
    asset: str, manifest: Mapping[str, SubjectManifest], state_of: Callable[[SubjectManifest], State[Record]]
) -> tuple[dict[str, Record], list[Finding]]:
    """The records of all partitions of `asset` that are up to date, and a finding for each subject without."""
    records: dict[str, Record] = {}
    stale: dict[str, str] = {}
    for subject in SUBJECT_IDS:
        state = state_of(manifest[subject]) if subject in manifest else State[Record](None, "is not in the manifest")
        if state.record is not None:
            records[subject] = state.record
        else:
            stale[subject] = state.reason
    mend = partial(materialize_partition, asset) if len(stale) <= 10 else lambda _: BUILD
    return records, [Finding(subject, "", reason, mend(subject)) for subject, reason in stale.items()]
