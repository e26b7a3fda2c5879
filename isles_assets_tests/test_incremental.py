"""Only what has changed is done again, and Dagster's UI says truly what is stale."""

import dataclasses
import os
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from isles_assets.definitions import build_defs
from isles_assets.products.schema import CONFIGS
from isles_assets.products.shard import FORMAT_VERSION, ShardRecord, shard_state
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.volumes import BY_COLUMN, VOLUMES
from isles_assets.tables.manifest import read_manifest, read_previous_manifest, survey
from isles_assets.tables.storage import read_inventory
from isles_assets_tests.processes import python
from isles_assets_tests.project import OF_TABLES, PARTITIONED, Project, failure, replace

pytestmark = pytest.mark.slow

SUBJECT = "sub-stroke0033"
PATH = BY_COLUMN["dwi"].path(SUBJECT)
NEIGHBOURS = SUBJECT_IDS[SUBJECT_IDS.index(SUBJECT) - 5 :][:10]
"""Ten subjects, of which `SUBJECT` is one."""
FULL = {"ops": {"subject_manifest": {"config": {"full": True}}}}
QUICK = {"ops": {"subject_shard": {"config": {"decode": False}}}}


def staleness(project: Project, *, code_version: str | None = None) -> Counter[tuple[str, str]]:
    """How many assets and partitions are fresh, stale or missing, by asset, as the UI is told."""
    defs = build_defs(project.settings)
    if code_version:
        defs = defs.map_asset_specs(func=lambda spec: spec.replace_attributes(code_version=code_version))
    graph = defs.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(project.instance, graph, LoadingContextForTest(project.instance))
    found: Counter[tuple[str, str]] = Counter()
    for key in graph.get_all_asset_keys():
        for partition in SUBJECT_IDS if graph.get(key).is_partitioned else [None]:
            found[key.to_user_string(), resolver.get_status(key, partition).name] += 1
    return found


def all_are(status: str) -> dict[tuple[str, str], int]:
    alone = dict.fromkeys(((name, status) for name in ("zenodo_archive", *OF_TABLES, "hub_dataset")), 1)
    return alone | dict.fromkeys(((name, status) for name in PARTITIONED), 149)


def written(project: Project, asset: str = "subject_shard") -> dict[str, int]:
    folder = project.folder.previews if asset == "subject_preview" else project.folder.shards / "default"
    return {path.name: path.stat().st_ino for path in folder.glob("*.parquet")}


def rewritten(project: Project, before: dict[str, int], asset: str = "subject_shard") -> set[str]:
    now = written(project, asset)
    return {name.removesuffix(".parquet") for name, inode in now.items() if before.get(name) != inode}


def spoil_unseen(path: Path) -> None:
    """Other bytes, the same size and time."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[9] ^= 1  # the operating system in the gzip header: the file decodes as before
    replace(path, bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def stale(project: Project) -> dict[str, str]:
    """Why a shard is not what the manifest asks for, by subject."""
    states = {subject: shard_state(project.folder, row) for subject, row in read_manifest(project.folder).items()}
    return {subject: state.reason for subject, state in states.items() if state.reason}


def test_staleness_is_that_of_the_content(built_copy, tree):
    assert staleness(built_copy) == all_are("FRESH")
    assert built_copy.materialize(*OF_TABLES).success
    assert staleness(built_copy) == all_are("FRESH")
    assert staleness(built_copy, code_version="another") == all_are("STALE")

    replace(tree / PATH, (tree / BY_COLUMN["adc"].path(SUBJECT)).read_bytes())
    assert built_copy.materialize(*OF_TABLES).success
    before = staleness(built_copy)
    assert before["hub_dataset", "STALE"] == 1
    for asset in PARTITIONED:
        assert before[asset, "STALE"] == 149
        inodes = written(built_copy, asset)
        assert built_copy.materialize(asset, partitions=SUBJECT_IDS).success
        assert rewritten(built_copy, inodes, asset) == {SUBJECT}
    after = staleness(built_copy)
    assert {asset: after[asset, "FRESH"] for asset in PARTITIONED} == dict.fromkeys(PARTITIONED, 149)
    assert built_copy.materialize("hub_dataset").success
    assert staleness(built_copy) == all_are("FRESH")


def test_partitions_of_a_run_that_failed_for_others_are_as_fresh_and_as_stale(tree, tmp_path):
    bad = tree / PATH
    good = bad.read_bytes()
    with Project.temporary(tree, tmp_path / "data") as project:

        def shards(**options: str) -> dict[str, int]:
            return {
                status: n for (asset, status), n in staleness(project, **options).items() if asset == PARTITIONED[0]
            }

        replace(bad, good[:-100])
        assert project.materialize(*OF_TABLES, checks=False).success
        assert not project.materialize("subject_shard", partitions=NEIGHBOURS).success
        assert shards() == {"FRESH": 9, "MISSING": 140}
        assert project.materialize("raw_tree").success
        assert shards() == {"FRESH": 9, "MISSING": 140}
        assert shards(code_version="another") == {"STALE": 9, "MISSING": 140}
        replace(bad, good)
        assert project.materialize(*OF_TABLES, checks=False).success
        assert shards() == {"STALE": 9, "MISSING": 140}
        assert project.materialize("subject_shard", partitions=[SUBJECT]).success
        assert shards() == {"FRESH": 1, "STALE": 9, "MISSING": 139}


OPENED = """
import sys
from pathlib import Path
from isles_assets_tests.project import Project
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
with Project.temporary(Path(sys.argv[1]), Path(sys.argv[2])) as project:
    result = project.build()
assert result.success
(published,) = result.asset_materializations_for_node("hub_dataset")
assert published.metadata["changed"].value is False
print(sorted({Path(name).name for name in opened if name.startswith(sys.argv[1])}))
"""


def test_a_run_with_nothing_changed_opens_no_volume_and_writes_nothing(built_copy, tree):
    before = written(built_copy)
    opened = python(OPENED, tree, built_copy.folder.root).stdout
    assert ".xlsx" in opened and ".nii" not in opened
    assert rewritten(built_copy, before) == set()


def test_manifest_reads_only_headers_of_files_that_changed(built_copy, tree):
    replace(tree / PATH, (tree / PATH).read_bytes())
    known = read_previous_manifest(built_copy.folder)
    assert known.keys() == set(SUBJECT_IDS)
    assert built_copy.materialize("raw_tree").success
    code = f"""
import sys
from pathlib import Path
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_previous_manifest, survey
from isles_assets.tables.storage import read_inventory
folder = DataFolder(Path(sys.argv[2]))
known = read_previous_manifest(folder)
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
rows = survey(Path(sys.argv[1]), read_inventory(folder), {{s: row.clinical for s, row in known.items()}}, known)
assert [row.subject for row in rows if row != known[row.subject]] == ["{SUBJECT}"]
print(*(name for name in opened if name.endswith(".nii.gz")))
"""
    assert python(code, tree, built_copy.folder.root).stdout.split() == [str(tree / PATH)]


@pytest.mark.parametrize("was", ["another version's", "unreadable", "missing"])
def test_a_manifest_that_cannot_be_trusted_is_made_anew(built_copy, was, monkeypatch):
    before = built_copy.folder.manifest.read_bytes()
    if was == "another version's":
        monkeypatch.setattr("isles_assets.tables.manifest.MANIFEST_VERSION", 0)
    elif was == "unreadable":
        replace(built_copy.folder.manifest, before[:-50])
    else:
        built_copy.folder.manifest.unlink()
    assert read_previous_manifest(built_copy.folder) == {}
    monkeypatch.undo()
    assert built_copy.materialize("subject_manifest").success
    assert built_copy.folder.manifest.read_bytes() == before


def test_full_finds_what_size_and_time_do_not_tell(built_copy, tree):
    spoil_unseen(tree / PATH)
    before = written(built_copy)
    assert built_copy.materialize(*OF_TABLES).success
    assert stale(built_copy) == {}
    assert built_copy.materialize("subject_shard", partitions=NEIGHBOURS).success
    assert rewritten(built_copy, before) == set()
    assert built_copy.materialize("subject_manifest", run_config=FULL).success
    assert stale(built_copy) == {SUBJECT: "has a shard made before these changed: dwi"}
    assert built_copy.materialize("subject_shard", partitions=NEIGHBOURS).success
    assert rewritten(built_copy, before) == {SUBJECT}
    assert built_copy.materialize("subject_manifest").success
    assert built_copy.materialize("hub_dataset").success


def test_full_spares_what_was_only_touched(built_copy, tree):
    for volume in VOLUMES:
        path = tree / volume.path(SUBJECT)
        replace(path, path.read_bytes())
    before = {asset: written(built_copy, asset) for asset in PARTITIONED}
    assert built_copy.materialize(*OF_TABLES, run_config=FULL).success
    for asset in PARTITIONED:
        assert built_copy.materialize(asset, partitions=NEIGHBOURS).success
    assert built_copy.materialize("subject_manifest").success
    for asset in PARTITIONED:
        assert built_copy.materialize(asset, partitions=NEIGHBOURS).success
        assert rewritten(built_copy, before[asset], asset) == set()
    assert built_copy.materialize("hub_dataset").success


def test_full_is_the_same_manifest_with_digests(built, sample_tree, tmp_path):
    quick = read_manifest(built.folder)
    said: list[str] = []
    clinical = {subject: row.clinical for subject, row in quick.items()}
    rows = survey(sample_tree, read_inventory(built.folder), clinical, full=True, workers=2, say=said.append)
    for row in rows:
        record = ShardRecord.from_json(built.folder.shard_record(row.subject).read_text())
        assert {c: f.sha256 for c, f in row.volumes.items()} == {c: s.sha256 for c, s in record.sources.items()}
        without = {c: dataclasses.replace(f, sha256=None) for c, f in row.volumes.items()}
        assert without == quick[row.subject].volumes
    assert said[-1].startswith("149 of 149 subjects")


def test_another_format_builds_every_shard_again(built_copy):
    record = built_copy.folder.shard_record(SUBJECT)
    older = dataclasses.replace(ShardRecord.from_json(record.read_text()), format=FORMAT_VERSION - 1)
    replace(record, older.to_json().encode())
    state = shard_state(built_copy.folder, read_manifest(built_copy.folder)[SUBJECT])
    assert state.reason == f"has a shard of format {FORMAT_VERSION - 1}, which is now {FORMAT_VERSION}"


def test_without_decoding_the_check_says_so_and_a_usual_run_makes_it_good(built, project):
    assert project.materialize(*OF_TABLES).success
    result = project.materialize("subject_shard", partitions=SUBJECT_IDS[:3], run_config=QUICK)
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed, check.severity) == (
        "volumes_decoded",
        False,
        dg.AssetCheckSeverity.WARN,
    )
    assert [r.data["subject"] for r in check.metadata["findings"].records] == list(SUBJECT_IDS[:3])
    metadata = result.asset_materializations_for_node("subject_shard")[0].metadata
    assert metadata["decode check"].value == "not done" and "lesion_mask ml" not in metadata
    assert "not decoded" in metadata["sources"].value

    before = written(project)
    assert project.materialize("subject_shard", partitions=SUBJECT_IDS[:3], run_config=QUICK).success
    assert rewritten(project, before) == set()
    result = project.materialize("subject_shard", partitions=SUBJECT_IDS[:3])
    assert rewritten(project, before) == set(SUBJECT_IDS[:3])
    (check,) = result.get_asset_check_evaluations()
    assert check.passed
    for config in CONFIGS:
        for subject in SUBJECT_IDS[:3]:
            ours, usual = (p.folder.shard(config, subject).read_bytes() for p in (project, built))
            assert ours == usual


def test_without_decoding_damage_inside_a_volume_is_not_seen_and_with_it_it_is(tree, tmp_path):
    path = tree / PATH
    content = path.read_bytes()
    with Project.temporary(tree, tmp_path / "data") as project:
        replace(path, content[: len(content) // 2])
        assert project.materialize(*OF_TABLES).success
        assert project.materialize("subject_shard", partitions=[SUBJECT], run_config=QUICK).success
        assert "is cut short" in failure(project.materialize("subject_shard", partitions=[SUBJECT]), "subject_shard")
