"""What must hold before anything is published, whatever ran before and whichever checks were skipped."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from isles_assets.commands import BUILD, TAKE_STOCK, materialize_shard
from isles_assets.dataset.folder import DataFolder
from isles_assets.dataset.manifest import SubjectManifest
from isles_assets.dataset.publication import Publication, assemble
from isles_assets.dataset.shard import ShardRecord, holds_release, shard_state
from isles_assets.dataset.tables import clinical_table, clinical_values
from isles_assets.findings import Finding, Refusal, fatal, found, name_some
from isles_assets.properties import PROPERTIES, Evidence
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.workbooks import read_clinical_rows


def publication_of(root: Path, folder: DataFolder, repo: str) -> Publication:
    """The publication of all 149 subjects from the shards that are there.

    Raises `Refusal` if a blocking property does not hold of the tree as it is now, if a table is out of date, or
    if any shard is missing or stale. Nothing is written, no volume is read.
    """
    evidence = Evidence(root, folder, fresh_tree=True)
    blocking = [prop for prop in PROPERTIES if prop.blocking]
    broken = list(dict.fromkeys(finding for prop in blocking for finding in fatal(found(partial(prop.find, evidence)))))
    broken = broken or found(partial(_out_of_date, evidence))
    records, unfit = _shards(evidence)
    reasons = []
    if broken:
        reasons.append(f"{len(broken)} problems in the tree and its tables")
    if unfit:
        subjects = name_some([finding.subject for finding in unfit])
        reasons.append(f"{len(unfit)} of {len(SUBJECT_IDS)} shards missing or stale: {subjects}")
    if reasons:
        raise Refusal(f"Not published: {'; '.join(reasons)}.", [*broken, *unfit])
    return assemble(folder, repo, records)


def recorded_publication(folder: DataFolder, repo: str) -> Publication:
    """The publication of the shards that are up to date with the manifest, without a look at the tree.

    Raises `Refusal` if any is missing or stale.
    """
    records, unfit = _shards(Evidence(Path(), folder))
    if unfit:
        raise Refusal(f"{len(unfit)} of {len(SUBJECT_IDS)} shards are missing or stale.", unfit)
    return assemble(folder, repo, records)


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


def _shards(evidence: Evidence) -> tuple[dict[str, ShardRecord], list[Finding]]:
    """The records of all shards that are up to date, and a finding for each subject without."""
    manifest = evidence.manifest if evidence.folder.manifest.exists() else {}
    records: dict[str, ShardRecord] = {}
    stale: dict[str, str] = {}
    for subject in SUBJECT_IDS:
        row = manifest.get(subject)
        state = shard_state(evidence.folder, row) if row else None
        if state and state.record:
            records[subject] = state.record
        else:
            stale[subject] = state.reason if state else "is not in the manifest"
    mend = materialize_shard if len(stale) <= 10 else lambda _: BUILD
    return records, [Finding(subject, "", reason, mend(subject)) for subject, reason in stale.items()]
