"""The graph on real Dagster instances: what is recorded, what fails, what is rebuilt, what is refused."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import dagster as dg
import openpyxl
import pyarrow.parquet as pq
import pytest

from isles_assets.graph.resources import Settings
from isles_assets.products.schema import CONFIGS, OF_ALL_SUBJECTS
from isles_assets.release.clinical import BASELINE, DICTIONARY, OUTCOME
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.volumes import BY_COLUMN
from isles_assets_tests.project import DRY_RUN, OF_TABLES, Project, failure, replace

pytestmark = pytest.mark.slow

BAD = ("sub-stroke0055", "sub-stroke0101")


def written(project: Project) -> dict[str, int]:
    """Inode of every shard: a file that was written again has another."""
    return {path.name: path.stat().st_ino for path in (project.folder.shards / "default").iterdir()}


def contents(root: Path) -> dict[str, str]:
    """Digest of every file below `root`, the local hub's links followed."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def truncate(path: Path) -> None:
    replace(path, path.read_bytes()[:-2000])


@pytest.fixture
def unbuilt(tree: Path, tmp_path: Path):
    """A project on a tree to damage, nothing materialized."""
    with Project.temporary(tree, tmp_path / "data") as new:
        yield new


def test_build_materializes_every_partition_with_metadata_of_its_own(built):
    assert built.partition_states() == dict.fromkeys(SUBJECT_IDS, "MATERIALIZED")
    records = built.instance.fetch_materializations(dg.AssetKey("subject_shard"), limit=1000).records
    assert len(records) == 149
    digests = set()
    for record in records:
        metadata = record.asset_materialization.metadata
        assert metadata["file default"].value.endswith(f"{record.partition_key}.parquet")
        assert metadata["bytes"].value > 0
        assert metadata["synthetic"].value
        digests.add(metadata["sources"].value)
    assert len(digests) == 149


@pytest.mark.parametrize(
    ("asset", "facts"),
    [
        ("raw_tree", {"subjects": 149, "files": 2982, "dagster/row_count": 2982}),
        ("clinical_table", {"dagster/row_count": 149}),
        ("subject_manifest", {"dagster/row_count": 149, "volumes": 149 * 18, "synthetic subjects": 149}),
        ("hub_dataset", {"subjects": 149, "files": 149 * 2 + len(OF_ALL_SUBJECTS), "synthetic": True, "changed": True}),
    ],
)
def test_metadata_says_what_a_person_wants_to_see(built, asset, facts):
    metadata = built.instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization.metadata
    assert {name: metadata[name].value for name in facts} == facts
    if asset != "hub_dataset":
        assert "| --- |" in metadata["preview"].value
        assert metadata["dagster/column_schema"].value.columns
        assert Path(metadata["file"].value).is_file()


def test_all_checks_pass_on_the_sample_but_the_odd_value_is_named(built):
    (run,) = built.instance.get_runs()
    events = built.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    evaluations = {check.check_name: check for check in checks}
    assert {name for name, e in evaluations.items() if not e.passed} == {"value_ranges"}
    odd = evaluations["value_ranges"]
    assert odd.severity == dg.AssetCheckSeverity.WARN
    assert [record.data["problem"] for record in odd.metadata["findings"].records] == [
        "`Hyperlipidemia` is 2, outside 0, 1"
    ]
    stray = evaluations["release_layout"].metadata["findings"].records
    assert [record.data["path"].endswith("sub-stroke0142_ses-02_lesion-msk.nii") for record in stray] == [True]


def test_repeated_identical_row_is_reported(built):
    event = built.instance.get_latest_materialization_event(dg.AssetKey("clinical_table"))
    repeated = event.asset_materialization.metadata["identical rows taken once"].value
    assert repeated == [BASELINE.path("sub-stroke0180"), OUTCOME.path("sub-stroke0180")]


def test_a_change_of_time_content_or_a_clinical_value_rebuilds_exactly_its_shard(built_copy, tree):
    touched, exchanged = (tree / BY_COLUMN["dwi"].path(subject) for subject in ("sub-stroke0033", "sub-stroke0099"))
    replace(touched, touched.read_bytes())
    replace(exchanged, (tree / BY_COLUMN["adc"].path("sub-stroke0099")).read_bytes())
    path = tree / OUTCOME.path("sub-stroke0043")
    book = openpyxl.load_workbook(path)
    book.active.cell(2, 1).value = "2c" if book.active.cell(2, 1).value != "2c" else "2b"
    path.unlink()
    book.save(path)

    before = written(built_copy)
    assert built_copy.materialize(*OF_TABLES).success
    assert built_copy.materialize("subject_shard", partitions=SUBJECT_IDS).success
    after = written(built_copy)
    assert {name for name in before if before[name] != after[name]} == {
        "sub-stroke0033.parquet", "sub-stroke0043.parquet", "sub-stroke0099.parquet"
    }  # fmt: skip
    table = pq.read_table(built_copy.folder.shard(CONFIGS[0], "sub-stroke0099"), columns=["dwi"])
    assert table.column("dwi")[0].as_py()["bytes"] == exchanged.read_bytes()


def test_bad_subjects_fail_alone_are_mended_alone_and_the_same_tree_gives_the_same_bytes(unbuilt, tree, built):
    good = {}
    for subject, column in zip(BAD, ("cta", "lesion_mask"), strict=True):
        path = tree / BY_COLUMN[column].path(subject)
        good[path] = path.read_bytes(), path.stat()
        replace(path, path.read_bytes()[: path.stat().st_size // 2])

    result = unbuilt.build()
    assert not result.success
    message = failure(result, "subject_shard")
    assert message.startswith("2 of 149 subjects failed: sub-stroke0055, sub-stroke0101. The other 147 are done.")
    assert BY_COLUMN["cta"].path("sub-stroke0055") in message
    assert Counter(unbuilt.partition_states().values()) == {"MATERIALIZED": 147, "FAILED": 2}
    assert {key for key, state in unbuilt.partition_states().items() if state == "FAILED"} == set(BAD)
    assert not unbuilt.settings.folder.hub.exists()

    refused = unbuilt.materialize("hub_dataset")
    message = failure(refused, "hub_dataset")
    assert "2 of 149 shards missing or stale: sub-stroke0055, sub-stroke0101" in message
    assert "--select subject_shard --partition sub-stroke0055" in message

    for path, (content, status) in good.items():
        replace(path, content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert unbuilt.materialize(*OF_TABLES).success
    for subject in BAD:
        before = written(unbuilt)
        assert unbuilt.materialize("subject_shard", partitions=[subject]).success
        after = written(unbuilt)
        assert {name for name in after if after[name] != before.get(name)} == {f"{subject}.parquet"}
    assert unbuilt.partition_states() == dict.fromkeys(SUBJECT_IDS, "MATERIALIZED")

    (drawn,) = [key for key, state in unbuilt.partition_states("subject_preview").items() if state == "FAILED"]
    assert drawn == "sub-stroke0101"  # of the other no volume is bad that is looked at
    message = failure(unbuilt.materialize("hub_dataset"), "hub_dataset")
    assert "Not published: 1 of 149 previews missing or stale: sub-stroke0101." in message
    assert "--select subject_preview --partition sub-stroke0101" in message
    assert unbuilt.materialize("subject_preview", partitions=[drawn]).success
    assert unbuilt.materialize("hub_dataset").success

    assert contents(unbuilt.folder.root) == contents(built.folder.root)


def test_a_range_of_partitions_is_one_run(unbuilt):
    assert unbuilt.materialize(*OF_TABLES, checks=False).success
    assert unbuilt.materialize("subject_shard", partitions=SUBJECT_IDS[10:13]).success
    assert unbuilt.partition_states() == dict.fromkeys(SUBJECT_IDS[10:13], "MATERIALIZED")


def remove_subject(tree: Path) -> None:
    for path in [p for p in tree.rglob("*") if "sub-stroke0009" in p.name and p.is_file()]:
        path.unlink()


def rename_session(tree: Path) -> None:
    (tree / "derivatives/sub-stroke0009/ses-02").rename(tree / "derivatives/sub-stroke0009/ses-0002")


def empty_volume(tree: Path) -> None:
    replace(tree / BY_COLUMN["tmax"].path("sub-stroke0009"), b"")


def remove_phenotype(tree: Path) -> None:
    for workbook in (BASELINE, OUTCOME):
        (tree / workbook.path("sub-stroke0009")).unlink()


def rename_in_dictionary(tree: Path) -> None:
    path = tree / DICTIONARY.path
    book = openpyxl.load_workbook(path)
    (cell,) = [cell for row in book[DICTIONARY.sheet].iter_rows() for cell in row if cell.value == "Statins"]
    cell.value = "Fibrates"
    path.unlink()
    book.save(path)


def take_grid_of_another(tree: Path) -> None:
    replace(
        tree / BY_COLUMN["adc"].path("sub-stroke0009"), (tree / BY_COLUMN["cta"].path("sub-stroke0010")).read_bytes()
    )


DAMAGES = [
    ("subject_count", remove_subject, "raw_tree"),
    ("session_naming", rename_session, "raw_tree"),
    ("release_layout", empty_volume, "raw_tree"),
    ("one_row_per_subject", remove_phenotype, "clinical_table"),
    ("dictionary_agreement", rename_in_dictionary, "clinical_table"),
    ("all_modalities", empty_volume, "subject_manifest"),
    ("ncct_grid", take_grid_of_another, "subject_manifest"),
]


@pytest.mark.parametrize(("check", "damage", "asset"), DAMAGES)
def test_a_damaged_tree_fails_its_check_and_is_not_published(built_copy, tree, check, damage, asset):
    damage(tree)
    if upstream := OF_TABLES[: OF_TABLES.index(asset)]:
        assert built_copy.materialize(*upstream, checks=False).success
    result = built_copy.materialize(asset)
    evaluation = {e.check_name: e for e in result.get_asset_check_evaluations()}[check]
    assert not evaluation.passed and evaluation.blocking
    assert not result.success
    finding = evaluation.metadata["findings"].records[0].data
    assert "sub-stroke0009" in finding["path"] + finding["subject"] or check == "dictionary_agreement"
    assert finding["mend"]

    before = contents(built_copy.folder.hub)
    refused = built_copy.materialize("hub_dataset", checks=False)
    assert "Not published" in failure(refused, "hub_dataset")
    assert contents(built_copy.folder.hub) == before


def test_a_failed_blocking_check_stops_the_same_run(unbuilt, tree):
    rename_session(tree)
    result = unbuilt.build()
    assert not result.success
    assert not unbuilt.folder.clinical.exists()
    assert "MATERIALIZED" not in unbuilt.partition_states().values()
    assert not unbuilt.folder.shards.exists()


def test_the_guard_refuses_although_the_tables_were_made_without_checks(built_copy, tree):
    take_grid_of_another(tree)
    assert built_copy.materialize(*OF_TABLES, checks=False).success
    assert built_copy.materialize("subject_shard", partitions=["sub-stroke0009"]).success
    before = contents(built_copy.folder.hub)
    message = failure(built_copy.materialize("hub_dataset"), "hub_dataset")
    assert BY_COLUMN["adc"].path("sub-stroke0009") in message
    assert "its NCCT" in message
    assert contents(built_copy.folder.hub) == before


def test_a_wrong_raw_root_is_refused_with_the_level_that_is_meant(built_copy, tree):
    tables = contents(built_copy.folder.root / "tables")
    for root, says in {
        tree / "nothing": "there is no such folder",
        built_copy.folder.raw_tree: "is not a folder",
        tree.parent: f"is too high a level -> set ISLES_RAW_ROOT to {tree}",
        tree / "derivatives": "is too low",
        built_copy.folder.shards: "does not hold the release",
    }.items():
        settings = Settings(raw_root=str(root), data_dir=built_copy.settings.data_dir)
        assert says in failure(Project(settings, built_copy.instance).materialize("raw_tree"), "raw_tree")
        assert contents(built_copy.folder.root / "tables") == tables


def test_the_guard_refuses_a_tree_that_changed_after_its_tables_were_made(built_copy, tree):
    path = tree / BY_COLUMN["cbv"].path("sub-stroke0027")
    replace(path, path.read_bytes())
    message = failure(built_copy.materialize("hub_dataset"), "hub_dataset")
    assert f"{BY_COLUMN['cbv'].path('sub-stroke0027')}: has changed since raw_tree was materialized" in message
    assert "--select raw_tree,clinical_table,subject_manifest" in message


def test_the_guard_refuses_a_shard_that_is_not_the_recorded_one(built_copy):
    shard = built_copy.folder.shard(CONFIGS[1], "sub-stroke0027")
    replace(shard, shard.read_bytes()[:-1])
    message = failure(built_copy.materialize("hub_dataset"), "hub_dataset")
    assert "1 of 149 shards missing or stale: sub-stroke0027" in message


def test_nothing_made_yet_is_refused_with_the_command_that_makes_it(project):
    message = failure(project.materialize("hub_dataset"), "hub_dataset")
    assert "149 of 149 shards missing or stale: sub-stroke0001, sub-stroke0002" in message
    assert "clinical.parquet: does not exist yet" in message and "manifest.parquet: does not exist yet" in message
    assert "dagster job execute -m isles_assets -j build" in message
    assert not project.folder.root.exists()


def test_a_sample_never_replaces_the_shards_of_a_release(built_copy):
    record = built_copy.folder.shard_record("sub-stroke0001")
    replace(record, record.read_bytes().replace(b'"synthetic": true', b'"synthetic": false'))
    tables = contents(built_copy.folder.root / "tables")
    sample = Project(Settings(data_dir=str(built_copy.folder.root)), built_copy.instance)
    assert "holds shards of a real release" in failure(sample.materialize("raw_tree"), "raw_tree")
    assert contents(built_copy.folder.root / "tables") == tables
    assert not built_copy.folder.sample.exists()


def test_a_table_of_another_version_is_refused_with_the_command_that_renews_it(built_copy):
    path = built_copy.folder.manifest
    table = pq.read_table(path).drop_columns(["tmax_native"])
    path.unlink()
    pq.write_table(table, path)
    message = failure(built_copy.materialize("subject_shard", partitions=["sub-stroke0001"]), "subject_shard")
    assert "was written by another version" in message and "--select subject_manifest" in message


def test_the_first_row_is_decoded_once_for_the_same_content_and_always_by_verify(built_copy):
    published = Path(built_copy.settings.target().location) / CONFIGS[0].path(SUBJECT_IDS[0])
    content = bytearray(published.read_bytes())
    content[len(content) // 2] ^= 1
    replace(published, bytes(content))

    def passed(result):
        return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}["loads"]

    assert passed(built_copy.evaluate("hub_dataset", "loads"))
    assert not passed(built_copy.run("verify"))
    assert passed(built_copy.materialize("hub_dataset"))
    assert passed(built_copy.run("verify"))


def test_dry_run_publishes_nothing(built_copy):
    hub = built_copy.folder.hub
    before = contents(hub)
    shard = built_copy.folder.shard(CONFIGS[0], "sub-stroke0001")
    result = built_copy.materialize("hub_dataset", run_config=DRY_RUN)
    assert result.success
    assert not result.asset_materializations_for_node("hub_dataset")
    assert not result.get_asset_check_evaluations()
    (observation,) = [e for e in result.all_events if e.event_type_value == "ASSET_OBSERVATION"]
    assert observation.asset_observation_data.asset_observation.metadata["subjects"].value == 149
    assert contents(hub) == before and shard.exists()


def test_an_unreadable_workbook_fails_and_names_every_offender(built_copy, tree):
    before = pq.read_table(built_copy.folder.clinical)
    for subject in BAD:
        replace(tree / BASELINE.path(subject), b"no workbook")
    built_copy.materialize("raw_tree")
    message = failure(built_copy.materialize("clinical_table"), "clinical_table")
    assert all(BASELINE.path(subject) in message for subject in BAD)
    assert pq.read_table(built_copy.folder.clinical).equals(before)


def test_published_folder_is_what_the_hub_would_hold(built):
    folder = Path(built.settings.target().location)
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert paths == {config.path(subject) for config in CONFIGS for subject in SUBJECT_IDS} | set(OF_ALL_SUBJECTS)
