"""What people see of the graph: before they press a button, in the first line of a run, and on the pages of assets."""

import re

import dagster as dg
import pytest

from isles_assets.definitions import build_defs
from isles_assets.graph.reporting import of_rehearsal
from isles_assets.graph.run_start import tags_of_all_partitions
from isles_assets.graph.settings import Settings
from isles_assets.hub.rehearsal import rehearse
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.properties import Evidence, properties_of
from isles_assets.release.clinical import Known
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.isles24 import ISLES24
from isles_assets_tests.project import DRY_RUN, Project, failure
from isles_assets_tests.toy import TOY

EVENT = dg.DagsterEventType
IN_FORCE = ["source", "tree", "data folder", "target", "repo", "published at", "synthetic sample"]
ONE = "dagster/partition"
PICTURE = "](data:image/jpeg;base64,"


def shown_of(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dg.MetadataValue]:
    """What the page of an asset shows after a run."""
    (materialization,) = result.asset_materializations_for_node(asset)
    return dict(materialization.metadata)


def materialized(project: Project, asset: str) -> dict[str, dg.MetadataValue]:
    """What the page of an asset shows of its latest materialization."""
    event = project.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event and event.asset_materialization
    return dict(event.asset_materialization.metadata)


def said(project: Project, result: dg.ExecuteInProcessResult) -> list[str]:
    """The lines of a run's log that are ours."""
    return [entry.user_message for entry in project.instance.all_logs(result.run_id) if not entry.is_dagster_event]


def observed(result: dg.ExecuteInProcessResult) -> dict[str, dg.MetadataValue]:
    """What a dry run has observed."""
    (event,) = [event for event in result.all_events if event.event_type is EVENT.ASSET_OBSERVATION]
    return dict(event.asset_observation_data.asset_observation.metadata)


# The job `build`


def test_job_build_asks_for_no_partition():
    """The Launchpad shows a field for a partition, and warns of an empty one, of a job that has partitions."""
    repository = build_defs(ISLES24, Settings()).get_repository_def()
    assert repository.get_job("build").partitions_def is None
    assert {"Launch Run", "Materialize all"} <= set(repository.get_job("build").description.split("**"))


def test_job_build_over_all_partitions_records_what_it_plans(toy_built):
    (record,) = toy_built.instance.get_run_records()
    events = dict.fromkeys((EVENT.ASSET_MATERIALIZATION_PLANNED, EVENT.ASSET_MATERIALIZATION), 0)
    for entry in toy_built.instance.all_logs(record.dagster_run.run_id):
        if entry.dagster_event_type in events:
            events[entry.dagster_event_type] += 1
    planned, made = events.values()
    assert record.dagster_run.is_success and made == planned == 7 + len(TOY.subjects)


def test_a_partition_chosen_for_job_build_is_refused_before_any_step(toy_project):
    job = toy_project.defs.resolve_job_def("build")
    chosen = {ONE: TOY.subjects[1]}
    result = job.execute_in_process(instance=toy_project.instance, tags=chosen, raise_on_error=False)
    events = toy_project.instance.all_logs(result.run_id)
    kinds = {entry.dagster_event_type for entry in events}
    assert not result.success and EVENT.STEP_START not in kinds and EVENT.ASSET_MATERIALIZATION not in kinds
    (told,) = [str(entry.dagster_event) for entry in events if entry.dagster_event_type is EVENT.RUN_FAILURE]
    assert f"{TOY.subjects[1]}: is chosen, and so are all from {TOY.subjects[0]} to {TOY.subjects[-1]}" in told
    assert not toy_project.folder.root.exists()


def test_products_of_no_subject_are_refused_in_words(toy_built_copy):
    job = dg.define_asset_job("alone", selection=dg.AssetSelection.assets("subject_shard").without_checks())
    defs = dg.Definitions.merge(toy_built_copy.defs, dg.Definitions(jobs=[job]))
    result = defs.resolve_job_def("alone").execute_in_process(instance=toy_built_copy.instance, raise_on_error=False)
    assert "subject_shard: no subject was chosen -> " in failure(result, "subject_shard")


@pytest.mark.parametrize("asset", ["subject_shard", "subject_preview", "hub_dataset"])
def test_where_people_could_materialize_all_they_read_that_the_job_is_quicker(asset):
    node = build_defs(ISLES24, Settings()).resolve_asset_graph().get(dg.AssetKey(asset))
    assert "job `build`" in node.description and "**Materialize all**" in node.description


# What is in force


def test_each_asset_says_before_a_run_what_is_in_force(monkeypatch, tmp_path):
    for name, value in {"SOURCE": "zenodo", "HUB_TARGET": "huggingface", "HUB_REPO": "me/mine"}.items():
        monkeypatch.setenv(f"ISLES_{name}", value)
    monkeypatch.delenv("ISLES_RAW_ROOT", raising=False)
    specs = list(build_defs(TOY, Settings(data_dir=str(tmp_path))).resolve_all_asset_specs())
    assert len(specs) == 8
    for spec in specs:
        rows = [line.strip("| ").split(" | ") for line in spec.metadata["in force"].value.splitlines()[2:]]
        shown = {name: what.replace("\\", "") for name, what in rows}
        assert list(shown) == IN_FORCE
        assert shown["source"].startswith(f"zenodo: the release, {TOY.version}, ") and shown["synthetic sample"] == "no"
        assert (shown["tree"], shown["data folder"]) == (str(tmp_path / "release" / TOY.record.top), str(tmp_path))
        assert (shown["target"], shown["repo"]) == ("huggingface", "me/mine")
        assert shown["published at"].endswith("/datasets/me/mine")


def test_the_page_of_the_settings_says_what_null_means(monkeypatch, tmp_path):
    monkeypatch.setenv("ISLES_HUB_REPO", "me/mine")
    defs = build_defs(TOY, Settings(data_dir=str(tmp_path)))
    words = defs.get_repository_def().get_top_level_resources()["settings"].description
    assert "`null`" in words and "`ISLES_HUB_REPO`" in words and "| me/mine |" in words
    assert defs.get_repository_def().get_job("build").metadata["repo"].value == "me/mine"


def test_what_is_in_force_holds_no_password_of_an_address(monkeypatch):
    monkeypatch.delenv("ISLES_RAW_ROOT", raising=False)
    settings = Settings(source="zenodo", zenodo_endpoint="https://ada:5ecret@mirror.example")
    shown = settings.effective(Dataset.of(TOY))
    assert "mirror.example" in shown["source"] and "5ecret" not in str(shown)


def test_settings_that_cannot_be_used_are_said_where_a_person_would_start_a_run(monkeypatch):
    monkeypatch.setenv("ISLES_SOURCE", "zenodi")
    shown = build_defs(TOY, Settings()).resolve_asset_graph().get(dg.AssetKey("raw_tree")).metadata
    assert "is 'zenodi'" in shown["in force"].value


def test_the_first_line_of_a_run_says_what_is_in_force_in_it_and_only_the_first(toy_project):
    first, *others = said(toy_project, toy_project.materialize("archive_listing", "zenodo_archive", "raw_tree"))
    assert first.startswith("source: ISLES_RAW_ROOT: a tree that was given; tree: ")
    assert f"published at: {toy_project.folder.hub / TOY.repo}" in first
    assert not [line for line in others if "published at" in line]


# A dry run


def test_a_dry_run_at_a_target_that_holds_nothing_would_add_all(toy_built_copy):
    (toy_built_copy.folder.hub / TOY.repo).unlink()
    shown = observed(toy_built_copy.materialize("hub_dataset", run_config=DRY_RUN))
    publication_size, files = shown["bytes"].value, shown["files"].value
    assert (shown["files added"].value, shown["files changed"].value, shown["files deleted"].value) == (files, 0, 0)
    assert shown["bytes to send"].value == publication_size


def test_a_dry_run_says_what_publishing_would_change_and_shows_the_card(toy_built_copy):
    hub = toy_built_copy.folder.hub / TOY.repo
    shards = sorted((hub / "data").rglob("*.parquet")) or sorted(hub.rglob("*sub-*.parquet"))
    shards[0].unlink()
    changed = shards[1].read_bytes() + b"0"
    shards[1].unlink()
    shards[1].write_bytes(changed)
    (shards[2].with_name("sub-nobody.parquet")).write_bytes(b"of nobody")
    result = toy_built_copy.materialize("hub_dataset", run_config=DRY_RUN)
    shown, lines = observed(result), "\n".join(said(toy_built_copy, result))
    assert [shown[f"files {kind}"].value for kind in ("added", "changed", "deleted")] == [1, 1, 1]
    assert 0 < shown["bytes to send"].value < shown["bytes"].value
    card = toy_built_copy.folder.dry_run / "README.md"
    assert shown["card file"].value == str(card) and card.read_text().startswith("---\n")
    assert shown["card"].value.strip() in card.read_text() and "SYNTHETIC" in shown["card"].value
    for words in (f"target: {hub}", "files deleted: 1: ", "bytes to send: ", "waived findings: ", f"card: {card}"):
        assert words in lines


# Pages of assets


def test_columns_of_the_manifest_are_of_the_type_volume_which_is_explained(toy_built):
    shown = materialized(toy_built, "subject_manifest")
    types = {column.name: column.type for column in shown["dagster/column_schema"].value.columns}
    assert {types[volume.column] for volume in TOY.volumes} == {"volume"}
    assert "| spacing | list" in shown["type volume"].value.replace("\\", "")


def test_columns_of_the_clinical_table_say_their_unit_and_whether_they_are_outcomes(toy_built):
    columns = materialized(toy_built, "clinical_table")["dagster/column_schema"].value.columns
    words = {column.name: column.description for column in columns}
    for variable in TOY.variables:
        assert words[variable.column].startswith("**Outcome**") == (variable.known is Known.OUTCOME)
        assert (words[variable.column][-1] == "]") == (variable.unit is not None)


def test_what_is_shown_of_masks_has_the_names_of_the_facts_and_labels_take_one_line(toy_built):
    shown = materialized(toy_built, "subject_shard")
    masks = [name.removesuffix("_voxels") for name in shown if name.endswith("_voxels")]
    assert masks and not [name for name in shown if "mask" in name]
    assert all(isinstance(shown[f"{mask}_labels"], dg.TextMetadataValue) for mask in masks)


def test_the_page_of_the_dataset_says_how_to_load_it_in_short_lines(toy_built):
    shown = materialized(toy_built, "hub_dataset")
    lines = [*shown["load"].value.splitlines(), *shown["digest"].value.splitlines()]
    assert max(map(len, lines)) <= 40
    assert "".join(re.findall(r'^    "(.*?)",?$', shown["load"].value, re.MULTILINE)) == str(
        toy_built.folder.hub / TOY.repo
    )


def test_pictures_of_the_card_are_shown_with_the_dataset_and_by_a_dry_run(small_built, tmp_path):
    assert PICTURE.replace("jpeg", "webp") in materialized(small_built, "hub_dataset")["picture"].value  # a small one
    folder, release = small_built.folder, small_built.release
    publication = recorded_publication(Dataset.of(release), folder, release.repo)
    rehearsal = rehearse(small_built.setup.target(), publication, DataFolder(tmp_path, release))
    assert PICTURE in of_rehearsal(rehearsal)["card"].value and "(preview/" not in of_rehearsal(rehearsal)["card"].value
    assert (tmp_path / "dry_run" / "preview" / "overview.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert rehearsal.to_send == 0 and rehearsal.changes is not None and not rehearsal.changes


def test_every_property_says_what_was_looked_at(toy_built):
    evidence = Evidence(toy_built.setup.tree, toy_built.folder)
    told = {prop.name: prop.looked_at(evidence) for prop in properties_of(TOY)}
    assert not [name for name, words in told.items() if not any(character.isdigit() for character in words)]
    number = len(TOY.subjects) * len(TOY.volumes)
    assert told["all_modalities"] == f"{number} of {number} volumes"


def test_a_check_that_passes_shows_what_was_looked_at_and_notes_are_warnings(toy_built_copy):
    (check,) = toy_built_copy.evaluate("subject_manifest", "all_modalities").get_asset_check_evaluations()
    assert check.passed and check.description.startswith("Looked at: ")
    assert f"Looked at: {check.metadata['looked at'].value}" == check.description
    (notes,) = toy_built_copy.evaluate("subject_shard", "notes").get_asset_check_evaluations()
    assert notes.passed or notes.severity is dg.AssetCheckSeverity.WARN
    records = notes.metadata["findings"].records if not notes.passed else []
    assert {record.data["level"] for record in records} <= {"note"}


def test_tags_over_all_partitions_are_those_of_the_release():
    assert list(tags_of_all_partitions(Dataset.of(TOY)).values()) == [TOY.subjects[0], TOY.subjects[-1]]
