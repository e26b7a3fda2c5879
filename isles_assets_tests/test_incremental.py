"""Only what has changed is done again, and Dagster's UI says truly what is stale."""

import dataclasses
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from isles_assets.products.building import state_of
from isles_assets.products.sidecar import Sidecar
from isles_assets.tables import manifest
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.listing import read_listing
from isles_assets.tables.manifest import read_manifest, read_previous_manifest, survey
from isles_assets_tests.isles24 import BY_COLUMN, CONFIGS, PREVIEW, SHARD, SMALL, VOLUMES
from isles_assets_tests.processes import python
from isles_assets_tests.project import OF_TABLES, PARTITIONED, Project, failure, replace, spoil_unseen

pytestmark = pytest.mark.slow

SUBJECTS = SMALL.subjects
ALL, SUBJECT = len(SUBJECTS), SUBJECTS[2]
PATH = BY_COLUMN["dwi"].path(SUBJECT)
NEIGHBOURS = SUBJECTS[1:5]
"""Four subjects, of which `SUBJECT` is one."""
FULL = {"ops": {"subject_manifest": {"config": {"full": True}}}}
QUICK = {"ops": {"subject_shard": {"config": {"decode": False}}}}


def staleness(project: Project, *, code_version: str | None = None) -> Counter[tuple[str, str]]:
    """How many assets and partitions are fresh, stale or missing, by asset, as the UI is told."""
    defs = project.defs
    if code_version:
        defs = defs.map_asset_specs(func=lambda spec: spec.replace_attributes(code_version=code_version))
    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(project.instance, graph, LoadingContextForTest(project.instance))
    found: Counter[tuple[str, str]] = Counter()
    for key in graph.get_all_asset_keys():
        for partition in SUBJECTS if graph.get(key).is_partitioned else [None]:
            found[key.to_user_string(), resolver.get_status(key, partition).name] += 1
    return found


def all_are(status: str) -> dict[tuple[str, str], int]:
    alone = dict.fromkeys(
        ((name, status) for name in ("archive_listing", "zenodo_archive", *OF_TABLES, "quality_report", "hub_dataset")),
        1,
    )
    return alone | dict.fromkeys(((name, status) for name in PARTITIONED), ALL)


def written(project: Project, asset: str = "subject_shard") -> dict[str, int]:
    folder = PREVIEW.root(project.folder) if asset == "subject_preview" else SHARD.root(project.folder) / "default"
    return {path.name: path.stat().st_ino for path in folder.glob("*.parquet")}


def rewritten(project: Project, before: dict[str, int], asset: str = "subject_shard") -> set[str]:
    now = written(project, asset)
    return {name.removesuffix(".parquet") for name, inode in now.items() if before.get(name) != inode}


def stale(project: Project) -> dict[str, str]:
    """Why a shard is not what the manifest asks for, by subject."""
    states = {subject: state_of(SHARD, project.folder, row) for subject, row in read_manifest(project.folder).items()}
    return {subject: state.reason for subject, state in states.items() if state.reason}


@pytest.mark.long
@pytest.mark.history
def test_staleness_is_that_of_the_content(small_built_copy, small_tree):
    assert staleness(small_built_copy) == all_are("FRESH")
    assert small_built_copy.materialize(*OF_TABLES).success
    assert staleness(small_built_copy) == all_are("FRESH")
    assert staleness(small_built_copy, code_version="another") == all_are("STALE")

    replace(small_tree / PATH, (small_tree / BY_COLUMN["adc"].path(SUBJECT)).read_bytes())
    assert small_built_copy.materialize(*OF_TABLES).success
    before = staleness(small_built_copy)
    assert before["hub_dataset", "STALE"] == 1
    for asset in PARTITIONED:
        assert before[asset, "STALE"] == ALL
        inodes = written(small_built_copy, asset)
        assert small_built_copy.materialize(asset, partitions=SUBJECTS).success
        assert rewritten(small_built_copy, inodes, asset) == {SUBJECT}
    after = staleness(small_built_copy)
    assert {asset: after[asset, "FRESH"] for asset in PARTITIONED} == dict.fromkeys(PARTITIONED, ALL)
    assert small_built_copy.materialize("quality_report", "hub_dataset").success
    assert staleness(small_built_copy) == all_are("FRESH")


def test_partitions_of_a_run_that_failed_for_others_are_as_fresh_and_as_stale(small_unbuilt, small_tree):
    bad = small_tree / PATH
    good = bad.read_bytes()
    others, elsewhere = len(NEIGHBOURS) - 1, ALL - len(NEIGHBOURS)

    def shards(**options: str) -> dict[str, int]:
        found = staleness(small_unbuilt, **options)
        return {status: n for (asset, status), n in found.items() if asset == "subject_shard"}

    replace(bad, good[:-100])
    assert small_unbuilt.materialize(*OF_TABLES, checks=False).success
    assert not small_unbuilt.materialize("subject_shard", partitions=NEIGHBOURS).success
    assert shards() == {"FRESH": others, "MISSING": elsewhere + 1}
    assert small_unbuilt.materialize("raw_tree").success
    assert shards() == {"FRESH": others, "MISSING": elsewhere + 1}
    assert shards(code_version="another") == {"STALE": others, "MISSING": elsewhere + 1}
    replace(bad, good)
    assert small_unbuilt.materialize(*OF_TABLES, checks=False).success
    assert shards() == {"STALE": others, "MISSING": elsewhere + 1}
    assert small_unbuilt.materialize("subject_shard", partitions=[SUBJECT]).success
    assert shards() == {"FRESH": 1, "STALE": others, "MISSING": elsewhere}


def test_a_run_with_nothing_changed_opens_no_volume_and_writes_nothing(small_built_copy, small_tree):
    for root in (small_tree, small_built_copy.folder.root / "shards", small_built_copy.folder.root / "previews"):
        for path in filter(Path.is_file, root.rglob("*")):  # links, which others' tests give new statuses meanwhile
            shutil.copy2(path, copy := path.with_name(f"copy of {path.name}"))
            copy.rename(path)
    before = written(small_built_copy)
    for asset in PARTITIONED:  # other files now, which are read again, once
        assert small_built_copy.materialize(asset, partitions=SUBJECTS).success
    opened: list[str] | None = []
    sys.addaudithook(lambda event, args: opened is not None and event == "open" and opened.append(str(args[0])))
    result = small_built_copy.build()
    names, opened = opened, None
    assert result.success
    (published,) = result.asset_materializations_for_node("hub_dataset")
    assert published.metadata["changed"].value is False
    of_tree = {Path(name).suffix for name in names if name.startswith(str(small_tree))}
    assert ".xlsx" in of_tree and ".gz" not in of_tree
    assert rewritten(small_built_copy, before) == set()


def test_manifest_reads_only_headers_of_files_that_changed(small_built_copy, small_tree):
    replace(small_tree / PATH, (small_tree / PATH).read_bytes())
    known = read_previous_manifest(small_built_copy.folder)
    assert known.keys() == set(SUBJECTS)
    assert small_built_copy.materialize("raw_tree").success
    code = f"""
import sys
from pathlib import Path
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.listing import read_listing
from isles_assets.tables.manifest import read_previous_manifest, survey
from isles_assets_tests.isles24 import SMALL
folder = DataFolder(Path(sys.argv[2]), SMALL)
known = read_previous_manifest(folder)
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
clinical = {{s: row.clinical for s, row in known.items()}}
listed = read_listing(folder).crc32s
rows = survey(SMALL, Path(sys.argv[1]), read_inventory(folder), clinical, known, crc32s=listed)
assert [row.subject for row in rows if row != known[row.subject]] == ["{SUBJECT}"]
print(*(name for name in opened if name.endswith(".nii.gz")))
"""
    assert python(code, small_tree, small_built_copy.folder.root).stdout.split() == [str(small_tree / PATH)]


@pytest.mark.parametrize("was", ["another version's", "unreadable", "missing"])
def test_a_manifest_that_cannot_be_trusted_is_made_anew(small_built_copy, was, monkeypatch):
    before = small_built_copy.folder.manifest.read_bytes()
    if was == "another version's":
        monkeypatch.setattr(manifest, "CODE_VERSION", 0)
    elif was == "unreadable":
        replace(small_built_copy.folder.manifest, before[:-50])
    else:
        small_built_copy.folder.manifest.unlink()
    assert read_previous_manifest(small_built_copy.folder) == {}
    monkeypatch.undo()
    assert small_built_copy.materialize("subject_manifest").success
    assert small_built_copy.folder.manifest.read_bytes() == before


@pytest.mark.long
def test_what_size_and_time_do_not_tell_is_read_again(small_built_copy, small_tree):
    spoil_unseen(small_tree / PATH)
    before = written(small_built_copy)
    assert small_built_copy.materialize(*OF_TABLES).success
    assert stale(small_built_copy) == {}
    assert not small_built_copy.materialize("hub_dataset").success
    for asset in PARTITIONED:
        assert small_built_copy.materialize(asset, partitions=NEIGHBOURS).success
    assert rewritten(small_built_copy, before) == {SUBJECT}
    assert small_built_copy.materialize("hub_dataset").success


@pytest.mark.long
def test_full_finds_what_size_and_time_do_not_tell(small_built_copy, small_tree):
    spoil_unseen(small_tree / PATH)
    before = written(small_built_copy)
    assert small_built_copy.materialize("subject_manifest", run_config=FULL).success
    assert stale(small_built_copy) == {SUBJECT: "has a shard made before these changed: dwi"}
    assert small_built_copy.materialize("subject_shard", partitions=NEIGHBOURS).success
    assert rewritten(small_built_copy, before) == {SUBJECT}
    assert small_built_copy.materialize("subject_manifest").success
    assert "1 of 6 previews missing or stale" in failure(small_built_copy.materialize("hub_dataset"), "hub_dataset")
    assert small_built_copy.materialize("subject_preview", partitions=NEIGHBOURS).success
    assert small_built_copy.materialize("hub_dataset").success


@pytest.mark.long
def test_full_spares_what_was_only_touched(small_built_copy, small_tree):
    for volume in VOLUMES:
        path = small_tree / volume.path(SUBJECT)
        replace(path, path.read_bytes())
    before = {asset: written(small_built_copy, asset) for asset in PARTITIONED}
    assert small_built_copy.materialize(*OF_TABLES, run_config=FULL).success
    for asset in PARTITIONED:
        assert small_built_copy.materialize(asset, partitions=NEIGHBOURS).success
    assert small_built_copy.materialize("subject_manifest").success
    for asset in PARTITIONED:
        assert small_built_copy.materialize(asset, partitions=NEIGHBOURS).success
        assert rewritten(small_built_copy, before[asset], asset) == set()
    assert small_built_copy.materialize("hub_dataset").success


def test_full_is_the_same_manifest_with_digests(small_built, small_sample_tree):
    quick = read_manifest(small_built.folder)
    said: list[str] = []
    clinical = {subject: row.clinical for subject, row in quick.items()}
    inventory = read_inventory(small_built.folder)
    listed = read_listing(small_built.folder).crc32s
    options = {"crc32s": listed, "full": True, "workers": 2, "log": said.append}
    rows = survey(SMALL, small_sample_tree, inventory, clinical, **options)
    for row in rows:
        record = Sidecar.from_json(SHARD.sidecar_path(small_built.folder, row.subject).read_text())
        assert {c: f.sha256 for c, f in row.volumes.items()} == {c: s.sha256 for c, s in record.sources.items()}
        without = {c: dataclasses.replace(f, sha256=None) for c, f in row.volumes.items()}
        assert without == quick[row.subject].volumes
    every = ALL * len(VOLUMES)
    assert said[-1].startswith(f"{every} of {every} volumes")


def test_another_format_builds_every_shard_again(small_built_copy):
    path = SHARD.sidecar_path(small_built_copy.folder, SUBJECT)
    older = dataclasses.replace(Sidecar.from_json(path.read_text()), version="3.0123456789ab")
    replace(path, older.to_json().encode())
    state = state_of(SHARD, small_built_copy.folder, read_manifest(small_built_copy.folder)[SUBJECT])
    assert state.reason == f"has a shard of format 3.0123456789ab, which is now {SHARD.version}"


@pytest.mark.long
def test_without_decoding_the_check_says_so_and_a_usual_run_makes_it_good(small_built, small_project):
    assert small_project.materialize(*OF_TABLES).success
    result = small_project.materialize("subject_shard", partitions=SUBJECTS[:3], run_config=QUICK)
    assert result.success
    checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
    assert {name for name, check in checks.items() if not check.passed} == {"notes"}
    check = checks["volumes_decoded"]
    assert [r.data["subject"] for r in check.metadata["findings"].records] == list(SUBJECTS[:3])
    metadata = result.asset_materializations_for_node("subject_shard")[0].metadata
    assert metadata["decode check"].value == "not done" and "lesion_ml" not in metadata
    assert "not decoded" in metadata["sources"].value

    before = written(small_project)
    assert small_project.materialize("subject_shard", partitions=SUBJECTS[:3], run_config=QUICK).success
    assert rewritten(small_project, before) == set()
    result = small_project.materialize("subject_shard", partitions=SUBJECTS[:3])
    assert rewritten(small_project, before) == set(SUBJECTS[:3])
    decoded = {check.check_name: check for check in result.get_asset_check_evaluations()}["volumes_decoded"]
    assert decoded.passed and "notes" not in decoded.metadata
    for config in CONFIGS:
        for subject in SUBJECTS[:3]:
            ours, usual = (SHARD.path(p.folder, config, subject).read_bytes() for p in (small_project, small_built))
            assert ours == usual


@pytest.mark.long
def test_without_decoding_damage_inside_a_volume_is_not_seen_and_with_it_it_is(small_unbuilt, small_tree):
    path = small_tree / PATH
    content = path.read_bytes()
    replace(path, content[: len(content) // 2])
    assert small_unbuilt.materialize(*OF_TABLES).success
    assert small_unbuilt.materialize("subject_shard", partitions=[SUBJECT], run_config=QUICK).success
    assert "is cut short" in failure(small_unbuilt.materialize("subject_shard", partitions=[SUBJECT]), "subject_shard")
