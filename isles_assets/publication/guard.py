"""The conditions for publishing. They are checked again here, whichever checks of earlier runs were skipped."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from isles_assets.lib.findings import Finding, Materialize, Refusal, findings_of, name_some
from isles_assets.lib.words import counted
from isles_assets.lib.workers import available_cores
from isles_assets.products.building import State, read_sidecars, states_of
from isles_assets.products.dataset import Dataset
from isles_assets.products.shard.product import Shard
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.assembling import assemble
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.judging import judge_recorded, stopping, undecoded
from isles_assets.publication.publication import Publication
from isles_assets.publication.waivers import how_to_waive
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.tables import TREE_ASSETS
from isles_assets.tables.clinical import clinical_table, clinical_values
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow

_FEW = 10
"""How many subjects a person would materialize one by one, at most."""


def publication_of(dataset: Dataset, root: Path, folder: DataFolder, repo: str) -> Publication:
    """Return the publication of all subjects of the release. Reads no volume.

    Raises:
        Refusal: A finding on the tree as it is now, on a table or on a shard stops publication and is not waived; a
            table is out of date; or a product of a subject is missing or stale.
    """
    evidence = Evidence(root, folder, fresh_tree=True)
    broken = stopping(evidence) or findings_of(partial(_out_of_date, evidence))
    made, reasons, unfit = _made(dataset, evidence)
    if broken:
        reasons.insert(0, f"{counted(len(broken), 'problem')} in the release and its tables")
    if reasons:
        how = how_to_waive(dataset.release, broken, folder.waivers)
        raise Refusal(f"Not published: {'; '.join(reasons)}.", [*broken, *unfit], how)
    return assemble(dataset, folder, repo, made, evidence.manifest, judge_recorded(evidence))


def recorded_publication(dataset: Dataset, folder: DataFolder, repo: str) -> Publication:
    """Return the publication of what the manifest describes. Does not look at the tree.

    Raises:
        Refusal: A product of a subject is missing or stale.
    """
    evidence = Evidence(Path(), folder)
    made, reasons, unfit = _made(dataset, evidence)
    if reasons:
        raise Refusal(f"{'; '.join(reasons)}.", unfit)
    return assemble(dataset, folder, repo, made, evidence.manifest, judge_recorded(evidence))


def keep_release_from_sample(folder: DataFolder) -> None:
    """Raise `Refusal` if `folder` holds shards of a real release, which a sample's shards would replace."""
    if all(sidecar.synthetic for sidecar in read_sidecars(Shard(folder.release), folder)):
        return
    tree = "set ISLES_RAW_ROOT to the release's tree, or ISLES_SOURCE=zenodo"
    mend = f"{tree}, or ISLES_DATA_DIR to another folder for the sample"
    raise Refusal.of("The sample was not used.", "holds shards of a real release", mend, path=folder.root)


def keep_sample_from_hub(repo: str, subjects: Iterable[ManifestRow | Sidecar], *, allowed: bool) -> None:
    """Raise `Refusal` if any of `subjects` is synthetic, unless that is `allowed`."""
    if not allowed and any(subject.synthetic for subject in subjects):
        mend = "set ISLES_SOURCE=zenodo, or ISLES_RAW_ROOT to the release's tree, or allow_synthetic in the run config"
        raise Refusal.of("Nothing was sent.", "would show a synthetic sample to the public", mend, path=repo)


def keep_undecoded_from_hub(evidence: Evidence, publication: Publication) -> None:
    """Raise `Refusal` if any shard of `publication` was packed without decoding and that is not waived."""
    shards = publication.made[Shard.name].values()
    if findings := undecoded(evidence, shards):
        how = how_to_waive(evidence.release, findings, evidence.folder.waivers)
        raise Refusal("Nothing was sent.", findings, how)


def _out_of_date(evidence: Evidence) -> Iterator[Finding]:
    """Yield a finding for each table that does not describe the tree as it is now."""
    release, mend = evidence.release, Materialize(TREE_ASSETS)
    recorded = Evidence(evidence.root, evidence.folder).inventory
    for path in release.expected_paths():
        if evidence.inventory.get(path) != recorded.get(path):
            subject = release.subject_of(path)
            yield Finding("has changed since raw_tree was materialized", mend, path, subject)
    current = clinical_table(release, read_clinical_rows(release, evidence.root, release.subjects))
    if not current.equals(evidence.clinical):
        yield Finding("clinical_table is not what the workbooks say now", mend)
    values = clinical_values(current)
    for subject, row in evidence.manifest.items():
        for entry in row.volumes.values():
            file = evidence.inventory.get(entry.path) if entry else None
            if entry and file and (entry.size, entry.mtime_ns) != (file.size, file.mtime_ns):
                yield Finding("has changed since subject_manifest was materialized", mend, entry.path, subject)
        if row.clinical != values.get(subject):
            yield Finding("has other clinical values than in subject_manifest", mend, subject=subject)


def _made(dataset: Dataset, evidence: Evidence) -> tuple[dict[str, dict[str, Sidecar]], list[str], list[Finding]]:
    """Return up-to-date sidecars by product and subject, a reason for each incomplete product, and findings."""
    manifest = evidence.manifest if evidence.folder.manifest.exists() else {}
    rows = {subject: manifest.get(subject) for subject in dataset.release.subjects}
    there, tree = [row for row in rows.values() if row], evidence.root if evidence.fresh_tree else None
    made, reasons, findings = {}, [], []
    for product in dataset.products:
        known = states_of(product, evidence.folder, there, tree, workers=available_cores())
        states = {subject: known.get(subject) or State(None, "is not in the manifest") for subject in rows}
        made[product.name] = {subject: state.sidecar for subject, state in states.items() if state.sidecar}
        if stale := {subject: state.reason for subject, state in states.items() if not state.sidecar}:
            of = f"{len(stale)} of {len(states)} {product.plural}"
            reasons.append(f"{of} missing or stale: {name_some(list(stale))}")
        for subject, reason in stale.items():
            mend = Materialize((product.asset,), subject) if len(stale) <= _FEW else Materialize()
            findings.append(Finding(reason, mend, subject=subject))
    return made, reasons, findings
