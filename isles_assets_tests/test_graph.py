"""The graph on real Dagster instances: what is recorded, what fails, what is rebuilt, what is refused."""

import dataclasses
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import openpyxl
import pyarrow.parquet as pq
import pytest

from isles_assets.graph import hub_asset
from isles_assets.graph.settings import Settings
from isles_assets.products.sidecar import Sidecar
from isles_assets_tests.isles24 import BASELINE, BY_COLUMN, DATASET, DICTIONARY, OUTCOME, SHARD, SMALL
from isles_assets_tests.processes import URLS
from isles_assets_tests.project import DRY_RUN, OF_TABLES, PARTITIONED, Project, contents, failure, replace
from isles_assets_tests.thirty import THIRTY
from isles_assets_tests.toy import CLINIC, PERFUSION, T1, TOY
from isles_assets_tests.toy import SHARD as TOY_SHARD

pytestmark = pytest.mark.slow

SUBJECT, BAD = "sub-stroke0014", ("sub-stroke0141", "sub-stroke0158")
TOYS = TOY.subjects


def written(project: Project) -> dict[str, int]:
    """Inode of every shard: a file that was written again has another."""
    return {path.name: path.stat().st_ino for path in (SHARD.root(project.folder) / "default").iterdir()}


def truncate(path: Path) -> None:
    replace(path, path.read_bytes()[:-2000])


def test_build_materializes_every_partition_with_metadata_of_its_own(toy_built):
    assert toy_built.partition_states() == dict.fromkeys(TOYS, "MATERIALIZED")
    records = toy_built.instance.fetch_materializations(dg.AssetKey("subject_shard"), limit=1000).records
    assert len(records) == len(TOYS)
    digests = set()
    for record in records:
        metadata = record.asset_materialization.metadata
        assert metadata["file default"].value.endswith(f"{record.partition_key}.parquet")
        assert metadata["bytes"].value > 0
        assert metadata["synthetic"].value
        digests.add(metadata["sources"].value)
    assert len(digests) == len(TOYS)


N, FILES = len(SMALL.subjects), len(SMALL.expected_paths())


@pytest.mark.parametrize(
    ("asset", "facts"),
    [
        ("raw_tree", {"subjects": N, "files": FILES, "dagster/row_count": FILES}),
        ("clinical_table", {"dagster/row_count": N}),
        ("subject_manifest", {"dagster/row_count": N, "volumes": N * 18, "synthetic subjects": N}),
        (
            "hub_dataset",
            {"subjects": N, "files": N * 2 + len(DATASET.common_files), "synthetic": True, "changed": True},
        ),
    ],
)
def test_metadata_says_what_a_person_wants_to_see(small_built, asset, facts):
    metadata = small_built.instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization.metadata
    assert {name: metadata[name].value for name in facts} == facts
    if asset != "hub_dataset":
        assert "| --- |" in metadata["preview"].value
        assert metadata["dagster/column_schema"].value.columns
        assert Path(metadata["file"].value).is_file()


def evaluations_of(project: Project) -> dict[str, Any]:
    """What the only run of the project found by each check."""
    (run,) = project.instance.get_runs()
    events = project.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    checks = [event.get_dagster_event().asset_check_evaluation_data for event in events]
    return {check.check_name: check for check in checks}


def test_all_checks_pass_on_the_sample_but_there_are_notes(six_or_all):
    evaluations = evaluations_of(six_or_all)
    assert {name for name, e in evaluations.items() if not e.passed} == {"notes"}
    assert {e.severity for e in evaluations.values() if not e.passed} == {dg.AssetCheckSeverity.WARN}


@pytest.mark.long
def test_what_is_odd_in_the_whole_sample_is_named(built):
    """Property by property `test_properties` shows it each time."""
    evaluations = evaluations_of(built)
    odd = evaluations["value_ranges"].metadata["findings"].records
    assert "`Hyperlipidemia` is 2, outside 0, 1" in [record.data["problem"] for record in odd]
    (waived,) = evaluations["ncct_grid"].metadata["findings"].records
    assert (waived.data["subject"], waived.data["level"]) == ("sub-stroke0016", "waived")
    stray = evaluations["release_layout"].metadata["findings"].records
    assert [record.data["path"].endswith("sub-stroke0142_ses-02_lesion-msk.nii") for record in stray] == [True]


def test_repeated_identical_row_is_reported(small_built):
    event = small_built.instance.get_latest_materialization_event(dg.AssetKey("clinical_table"))
    repeated = event.asset_materialization.metadata["identical rows taken once"].value
    assert repeated == [BASELINE.path("sub-stroke0180"), OUTCOME.path("sub-stroke0180")]


def test_a_change_of_content_or_of_a_clinical_value_rebuilds_exactly_its_shard(small_built_copy, small_tree):
    project = small_built_copy
    touched, exchanged, revalued = "sub-stroke0141", "sub-stroke0145", "sub-stroke0158"
    path = small_tree / BY_COLUMN["dwi"].path(touched)
    replace(path, path.read_bytes())
    other = (small_tree / BY_COLUMN["adc"].path(exchanged)).read_bytes()
    replace(small_tree / BY_COLUMN["dwi"].path(exchanged), other)
    path = small_tree / OUTCOME.path(revalued)
    book = openpyxl.load_workbook(path)
    book.active.cell(2, 1).value = "2c" if book.active.cell(2, 1).value != "2c" else "2b"
    path.unlink()
    book.save(path)

    before = written(project)
    assert project.materialize(*OF_TABLES).success
    assert project.materialize("subject_shard", partitions=SMALL.subjects).success
    after = written(project)
    assert {name for name in before if before[name] != after[name]} == {
        f"{subject}.parquet" for subject in (exchanged, revalued)
    }
    table = pq.read_table(SHARD.path(project.folder, SHARD.configs[0], exchanged), columns=["dwi"])
    assert table.column("dwi")[0].as_py()["bytes"] == other


@pytest.mark.long
def test_bad_subjects_fail_alone_are_mended_alone_and_the_same_tree_gives_the_same_bytes(
    small_unbuilt, small_tree, small_built
):
    project, good = small_unbuilt, {}
    for subject, column in zip(BAD, ("cta", "lesion_mask"), strict=True):
        path = small_tree / BY_COLUMN[column].path(subject)
        good[path] = path.read_bytes(), path.stat()
        replace(path, path.read_bytes()[: path.stat().st_size // 2])

    result = project.build()
    assert not result.success
    message = failure(result, "subject_shard")
    assert message.startswith(f"2 of 6 subjects failed: {', '.join(BAD)}. The other 4 are done.")
    assert BY_COLUMN["cta"].path(BAD[0]) in message
    stock, again = f"--select {','.join(OF_TABLES)}", f"--select subject_shard --partition {BAD[0]}"
    assert re.search(f"restore the file from the release archive; then .*{stock}; then .*{again}", message)
    assert Counter(project.partition_states().values()) == {"MATERIALIZED": 4, "FAILED": 2}
    assert {key for key, state in project.partition_states().items() if state == "FAILED"} == set(BAD)
    assert not project.folder.hub.exists()
    assert project.materialize("quality_report").success
    report = project.folder.report.read_text()
    assert "4 of 6 shards" in re.sub(r"<dt>(\w+)</dt><dd>([^<]*)</dd>", r"\2 \1", report)
    assert all(re.search(f">{subject}</a>.*?missing or stale.*?has no shard yet", report, re.DOTALL) for subject in BAD)

    refused = project.materialize("hub_dataset")
    message = failure(refused, "hub_dataset")
    assert f"2 of 6 shards missing or stale: {', '.join(BAD)}" in message
    assert f"--select subject_shard --partition {BAD[0]}" in message

    for path, (content, status) in good.items():
        replace(path, content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert project.materialize(*OF_TABLES).success
    for subject in BAD:
        before = written(project)
        assert project.materialize("subject_shard", partitions=[subject]).success
        after = written(project)
        assert {name for name in after if after[name] != before.get(name)} == {f"{subject}.parquet"}
    assert project.partition_states() == dict.fromkeys(SMALL.subjects, "MATERIALIZED")

    (drawn,) = [key for key, state in project.partition_states("subject_preview").items() if state == "FAILED"]
    assert drawn == BAD[1]  # of the other no volume is bad that is looked at
    message = failure(project.materialize("hub_dataset"), "hub_dataset")
    assert f"Not published: 1 of 6 previews missing or stale: {drawn}." in message
    assert f"--select subject_preview --partition {drawn}" in message
    assert project.materialize("subject_preview", partitions=[drawn]).success
    assert project.materialize("hub_dataset").success

    # Only the other tree has a listing, and each report names its tree.
    of_its_tree = {"tables/manifest.parquet", "tables/archive_listing.parquet", "report/index.html"}
    found, others = contents(project.folder.root), contents(small_built.folder.root)
    assert {name for name in {*found, *others} if found.get(name) != others.get(name)} == of_its_tree


def test_a_range_of_partitions_is_one_run(toy_unbuilt):
    assert toy_unbuilt.materialize(*OF_TABLES, checks=False).success
    assert toy_unbuilt.materialize("subject_shard", partitions=TOYS[1:4]).success
    assert toy_unbuilt.partition_states() == dict.fromkeys(TOYS[1:4], "MATERIALIZED")


def remove_subject(tree: Path) -> None:
    for path in [p for p in tree.rglob("*") if SUBJECT in p.name and p.is_file()]:
        path.unlink()


def rename_session(tree: Path) -> None:
    session = tree / "derivatives" / SUBJECT / "ses-02"
    session.rename(session.with_name("ses-0002"))


def empty_volume(tree: Path) -> None:
    replace(tree / BY_COLUMN["tmax"].path(SUBJECT), b"")


def remove_phenotype(tree: Path) -> None:
    for workbook in (BASELINE, OUTCOME):
        (tree / workbook.path(SUBJECT)).unlink()


def change_unit_in_dictionary(tree: Path) -> None:
    path = tree / DICTIONARY.path
    book = openpyxl.load_workbook(path)
    (row,) = [row for row in book[DICTIONARY.sheet].iter_rows() if row[1].value == "Glucose"]
    row[2].value = "mmol/l"
    path.unlink()
    book.save(path)


def take_grid_of_another(tree: Path) -> None:
    replace(tree / BY_COLUMN["adc"].path(SUBJECT), (tree / BY_COLUMN["cta"].path(BAD[0])).read_bytes())


DAMAGES = [
    ("subject_count", remove_subject, "raw_tree"),
    ("session_naming", rename_session, "raw_tree"),
    ("release_layout", empty_volume, "raw_tree"),
    ("one_row_per_subject", remove_phenotype, "clinical_table"),
    ("dictionary_agreement", change_unit_in_dictionary, "clinical_table"),
    ("all_modalities", empty_volume, "subject_manifest"),
    ("ncct_grid", take_grid_of_another, "subject_manifest"),
]


@pytest.mark.parametrize(("check", "damage", "asset"), DAMAGES)
def test_a_damaged_tree_fails_its_check_and_is_not_published(small_built_copy, small_tree, check, damage, asset):
    damage(small_tree)
    if upstream := OF_TABLES[: OF_TABLES.index(asset)]:
        assert small_built_copy.materialize(*upstream, checks=False).success
    result = small_built_copy.materialize(asset)
    evaluation = {e.check_name: e for e in result.get_asset_check_evaluations()}[check]
    assert not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
    assert result.success is not evaluation.blocking
    finding = evaluation.metadata["findings"].records[0].data
    assert SUBJECT in finding["path"] + finding["subject"] or check == "dictionary_agreement"
    assert finding["mend"]

    before = contents(small_built_copy.folder.hub)
    refused = small_built_copy.materialize("hub_dataset", checks=False)
    assert "Not published" in failure(refused, "hub_dataset")
    assert contents(small_built_copy.folder.hub) == before


def test_a_failed_blocking_check_stops_the_same_run(small_unbuilt, small_tree):
    rename_session(small_tree)
    result = small_unbuilt.build()
    assert not result.success
    assert not small_unbuilt.folder.clinical.exists()
    for asset in PARTITIONED:
        assert "MATERIALIZED" not in small_unbuilt.partition_states(asset).values()
    assert not SHARD.root(small_unbuilt.folder).exists()


def test_the_guard_refuses_although_the_tables_were_made_without_checks(small_built_copy, small_tree):
    take_grid_of_another(small_tree)
    assert small_built_copy.materialize(*OF_TABLES, checks=False).success
    small_built_copy.materialize("subject_shard", partitions=[SUBJECT])
    before = contents(small_built_copy.folder.hub)
    message = failure(small_built_copy.materialize("hub_dataset"), "hub_dataset")
    assert BY_COLUMN["adc"].path(SUBJECT) in message
    assert "its NCCT" in message
    assert contents(small_built_copy.folder.hub) == before


def test_a_wrong_raw_root_is_refused_with_the_level_that_is_meant(toy_built_copy, toy_tree):
    tables = contents(toy_built_copy.folder.root / "tables")
    for root, says in {
        toy_tree / "nothing": "there is no such folder",
        toy_built_copy.folder.raw_tree: "is not a folder",
        toy_tree.parent: f"is too high a level -> set ISLES_RAW_ROOT to {toy_tree}",
        toy_tree / "derivatives": "is too low",
        TOY_SHARD.root(toy_built_copy.folder): "does not hold the release",
    }.items():
        settings = Settings(raw_root=str(root), data_dir=toy_built_copy.settings.data_dir)
        assert says in failure(Project(settings, toy_built_copy.instance, TOY).materialize("raw_tree"), "raw_tree")
        assert contents(toy_built_copy.folder.root / "tables") == tables


def test_the_guard_refuses_a_tree_that_changed_after_its_tables_were_made(toy_built_copy, toy_tree):
    path = toy_tree / T1.path(TOYS[2])
    replace(path, path.read_bytes())
    message = failure(toy_built_copy.materialize("hub_dataset"), "hub_dataset")
    assert f"{T1.path(TOYS[2])}: has changed since raw_tree was materialized" in message
    assert "--select raw_tree,clinical_table,subject_manifest" in message


def test_the_guard_refuses_a_shard_that_is_not_the_recorded_one(toy_built_copy):
    shard = TOY_SHARD.path(toy_built_copy.folder, TOY_SHARD.configs[1], TOYS[2])
    replace(shard, shard.read_bytes()[:-1])
    message = failure(toy_built_copy.materialize("hub_dataset"), "hub_dataset")
    assert f"1 of 6 shards missing or stale: {TOYS[2]}" in message


def test_nothing_made_yet_is_refused_with_the_command_that_makes_it(thirty_sample_tree, tmp_path):
    """One for all, since they are more than anybody would make one by one."""
    with Project.temporary(thirty_sample_tree, tmp_path / "data", release=THIRTY) as project:
        message = failure(project.materialize("hub_dataset"), "hub_dataset")
    assert "30 of 30 shards missing or stale: sub-stroke0001, sub-stroke0002" in message
    assert "clinical.parquet: does not exist yet" in message and "manifest.parquet: does not exist yet" in message
    assert "dagster job execute -j build" in message
    assert not project.folder.root.exists()


def test_a_sample_never_replaces_the_shards_of_a_release(toy_built_copy):
    record = TOY_SHARD.sidecar_path(toy_built_copy.folder, TOYS[0])
    of_release = dataclasses.replace(Sidecar.from_json(record.read_text()), synthetic=False)
    replace(record, of_release.to_json().encode())
    tables = contents(toy_built_copy.folder.root / "tables")
    sample = Project(Settings(data_dir=str(toy_built_copy.folder.root)), toy_built_copy.instance, TOY)
    assert "holds shards of a real release" in failure(sample.materialize("raw_tree"), "raw_tree")
    assert contents(toy_built_copy.folder.root / "tables") == tables
    assert not toy_built_copy.folder.sample.exists()


def test_a_table_of_another_version_is_refused_with_the_command_that_renews_it(toy_built_copy):
    path = toy_built_copy.folder.manifest
    table = pq.read_table(path).drop_columns([PERFUSION.column])
    path.unlink()
    pq.write_table(table, path)
    message = failure(toy_built_copy.materialize("subject_shard", partitions=TOYS[:1]), "subject_shard")
    assert "was written by another version" in message and "--select subject_manifest" in message


def test_the_first_row_of_another_target_is_decoded_anew(toy_built_copy):
    given = toy_built_copy.settings
    elsewhere = Settings(raw_root=given.raw_root, data_dir=given.data_dir, hub_repo="toys/again")
    other = dataclasses.replace(toy_built_copy, settings=elsewhere)
    assert other.materialize("hub_dataset", checks=False).success
    published = Path(other.setup.target().location) / TOY_SHARD.configs[0].path(TOYS[0])
    content = bytearray(published.read_bytes())
    content[len(content) // 2] ^= 1
    replace(published, bytes(content))
    (evaluation,) = other.evaluate("hub_dataset", "loads").get_asset_check_evaluations()
    assert not evaluation.passed


def test_the_first_row_is_decoded_once_for_the_same_content_and_always_by_verify(toy_built_copy):
    def passed(result):
        return {e.check_name: e.passed for e in result.get_asset_check_evaluations()}["loads"]

    assert passed(toy_built_copy.evaluate("hub_dataset", "loads"))
    published = Path(toy_built_copy.setup.target().location) / TOY_SHARD.configs[0].path(TOYS[0])
    content = bytearray(published.read_bytes())
    content[len(content) // 2] ^= 1
    replace(published, bytes(content))
    assert passed(toy_built_copy.evaluate("hub_dataset", "loads"))
    assert not passed(toy_built_copy.run("verify"))
    assert passed(toy_built_copy.materialize("hub_dataset"))
    assert passed(toy_built_copy.run("verify"))


def test_dry_run_publishes_nothing(toy_built_copy, capfd):
    hub = toy_built_copy.folder.hub
    before = contents(hub)
    shard = TOY_SHARD.path(toy_built_copy.folder, TOY_SHARD.configs[0], TOYS[0])
    result = toy_built_copy.materialize("hub_dataset", run_config=DRY_RUN)
    assert result.success
    assert not result.asset_materializations_for_node("hub_dataset")
    assert not result.get_asset_check_evaluations()
    (observation,) = [e for e in result.all_events if e.event_type_value == "ASSET_OBSERVATION"]
    assert observation.asset_observation_data.asset_observation.metadata["subjects"].value == len(TOYS)
    assert contents(hub) == before and shard.exists()
    said = capfd.readouterr().err
    assert "Found 6 subjects" in said and "Dry run complete. Dataset built but not pushed." in said


def test_damaged_workbooks_are_named_and_what_was_made_of_their_subjects_stays(toy_built_copy, toy_tree):
    before = contents(TOY_SHARD.root(toy_built_copy.folder))
    for subject in TOYS[1:3]:
        replace(toy_tree / CLINIC.path(subject), b"no workbook")
    result = toy_built_copy.build()
    assert all(CLINIC.path(subject) in failure(result, "subject_shard") for subject in TOYS[1:3])
    assert toy_built_copy.partition_states() == {
        subject: "FAILED" if subject in TOYS[1:3] else "MATERIALIZED" for subject in TOYS
    }
    assert contents(TOY_SHARD.root(toy_built_copy.folder)) == before


def test_a_fault_of_the_program_is_not_tried_again(toy_built_copy, monkeypatch):
    def stumble(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr(hub_asset, "publication_of", stumble)
    result = toy_built_copy.materialize("hub_dataset", checks=False)
    said = failure(result, "hub_dataset")
    assert "IndexError: list index out of range. This is a fault of isles-assets" in said
    assert f"report it: {URLS['Repository']}/issues" in said
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]


def test_published_folder_is_what_the_hub_would_hold(small_built):
    folder = Path(small_built.setup.target().location)
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert paths == {config.path(subject) for config in SHARD.configs for subject in SMALL.subjects} | {
        *DATASET.common_files
    }
