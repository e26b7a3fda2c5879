"""The contract of the graph: what a user, a saved link or an automation relies on by name."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from isles_assets.definitions import build_defs
from isles_assets.graph.settings import DefinitionSettings, Settings
from isles_assets.hub.local import LocalHub
from isles_assets.lib.findings import Refusal
from isles_assets.settings.fields import variables
from isles_assets_tests.isles24 import DATASET, ISLES24, SUBJECT_IDS
from isles_assets_tests.processes import REPOSITORY
from isles_assets_tests.project import Project, failure
from isles_assets_tests.toy import TOY

CONTRACT = {
    "raw_tree": {"deps": {"zenodo_archive"}, "group": "isles24", "kinds": {"nifti", "parquet"}, "partitions": 0},
    "archive_listing": {"deps": set(), "group": "isles24", "kinds": {"zenodo", "7z", "parquet"}, "partitions": 0},
    "zenodo_archive": {"deps": {"archive_listing"}, "group": "isles24", "kinds": {"zenodo", "7z"}, "partitions": 0},
    "clinical_table": {"deps": {"raw_tree"}, "group": "isles24", "kinds": {"excel", "parquet"}, "partitions": 0},
    "subject_manifest": {
        "deps": {"raw_tree", "clinical_table"},
        "group": "isles24",
        "kinds": {"nifti", "parquet"},
        "partitions": 0,
    },
    "subject_shard": {"deps": {"subject_manifest"}, "group": "isles24", "kinds": {"parquet"}, "partitions": 149},
    "subject_preview": {
        "deps": {"subject_manifest"},
        "group": "isles24",
        "kinds": {"image", "parquet"},
        "partitions": 149,
    },
    "quality_report": {
        "deps": {"clinical_table", "subject_manifest", "subject_preview"},
        "group": "isles24",
        "kinds": {"html"},
        "partitions": 0,
    },
    "hub_dataset": {
        "deps": {"subject_manifest", "subject_shard", "subject_preview"},
        "group": "isles24",
        "kinds": {"huggingface"},
        "partitions": 0,
    },
}

CHECKS = {  # by asset: name, and whether it is blocking; there may be others, but these keep their names
    "archive_listing": {"listed_as_expected": True, "notes": False},
    "raw_tree": {
        "subject_count": True,
        "session_naming": True,
        "release_layout": True,
        "no_look_alikes": False,
        "as_listed": False,
        "notes": False,
    },
    "clinical_table": {
        "one_row_per_subject": True,
        "all_variables": False,
        "readable_workbooks": False,
        "dictionary_agreement": False,
        "value_ranges": False,
        "workbooks_of_archive": False,
        "notes": False,
    },
    "subject_manifest": {
        "all_modalities": True,
        "ncct_grid": False,
        "readable_headers": False,
        "usable_transforms": False,
        "no_identifying_text": False,
        "notes": False,
    },
    "subject_shard": {
        "volumes_decoded": False,
        "mask_labels": False,
        "finite_voxels": False,
        "nothing_appended": False,
        "bytes_of_archive": False,
        "notes": False,
    },
    "hub_dataset": {"remote_matches_local": True, "loads": True, "card_valid": True},
}


@pytest.fixture(scope="module")
def graph():
    return build_defs(ISLES24, Settings()).resolve_asset_graph()


def test_assets_and_their_dependencies_are_those_of_the_contract(graph):
    found = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        found[key.to_user_string()] = {
            "deps": {parent.to_user_string() for parent in node.parent_keys},
            "group": node.group_name,
            "kinds": node.kinds,
            "partitions": len(node.partitions_def.get_partition_keys()) if node.partitions_def else 0,
        }
        assert node.description
    assert found == CONTRACT


def test_one_run_publishes_at_a_time():
    pool = build_defs(ISLES24, Settings()).resolve_assets_def("hub_dataset").op.pool
    pools = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())["concurrency"]["pools"]
    assert pool and pools["default_limit"] == 1


def test_partitions_are_the_149_subjects_and_a_backfill_is_one_run(graph):
    shard = graph.get(dg.AssetKey("subject_shard"))
    assert tuple(shard.partitions_def.get_partition_keys()) == SUBJECT_IDS
    assert shard.backfill_policy == dg.BackfillPolicy.single_run()


def test_checks_and_their_blocking_are_those_of_the_contract(graph):
    found: dict[str, dict[str, bool]] = {}
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), {})[key.name] = graph.get_check_spec(key).blocking
    assert all(checks.items() <= found[asset].items() for asset, checks in CHECKS.items())
    assert all(graph.get_check_spec(key).description for key in graph.asset_check_keys)


def test_jobs_are_those_of_the_guide():
    names = {job.name for job in build_defs(ISLES24, Settings()).jobs}
    assert names == {"build", "verify", "rollback", "doctor", "pilot"}
    guide = (Path(__file__).parent.parent / "docs" / "operating.md").read_text()
    assert all(f"-j {name}" in guide for name in names)


def test_job_build_covers_everything_over_all_partitions():
    job = build_defs(ISLES24, Settings()).resolve_job_def("build")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == set(CONTRACT)
    covered = {(key.asset_key.to_user_string(), key.name) for key in job.asset_layer.asset_graph.asset_check_keys}
    every = build_defs(ISLES24, Settings()).resolve_asset_graph().asset_check_keys
    assert covered == {(key.asset_key.to_user_string(), key.name) for key in every}
    assert job.tags["dagster/asset_partition_range_start"] == "sub-stroke0001"
    assert job.tags["dagster/asset_partition_range_end"] == "sub-stroke0189"


@pytest.mark.parametrize(("number", "per_run"), [("1", 1), ("10", 10)])
def test_partitions_per_run_splits_a_backfill(monkeypatch, number, per_run):
    monkeypatch.setenv("ISLES_PARTITIONS_PER_RUN", number)
    assert DefinitionSettings.from_environment().backfill_policy == dg.BackfillPolicy.multi_run(per_run)


@pytest.mark.parametrize("number", ["0", "-1", "ten", "1.5"])
def test_partitions_per_run_refuses_what_is_no_number(monkeypatch, number):
    monkeypatch.setenv("ISLES_PARTITIONS_PER_RUN", number)
    with pytest.raises(ValueError, match="ISLES_PARTITIONS_PER_RUN"):
        DefinitionSettings.from_environment()


@pytest.fixture
def no_variables(monkeypatch):
    for variable in variables():
        monkeypatch.delenv(variable.name, raising=False)


def test_settings_have_the_documented_defaults(no_variables):
    setup = Settings().setup(DATASET)
    assert setup.uses_sample and setup.tree == setup.folder.sample
    assert setup.folder.root == Path("data").absolute()
    assert setup.target() == LocalHub(setup.folder.hub, "hugging-science/isles24-stroke")
    assert setup.workers >= 1 and not setup.publishes_to_hub


def test_settings_come_from_the_environment_and_one_given_leaves_the_others(no_variables, monkeypatch):
    values = {"RAW_ROOT": "/x", "DATA_DIR": "/y", "HUB_REPO": "me/mine", "WORKERS": "3", "HUB_TARGET": "huggingface"}
    values |= {"ZENODO_ENDPOINT": "https://mirror.example"}
    for name, value in values.items():
        monkeypatch.setenv(f"ISLES_{name}", value)
    seen = []

    @dg.asset
    def probe(settings: Settings) -> None:
        setup = settings.setup(DATASET)
        hub, endpoint = setup.publishes_to_hub, setup.zenodo().endpoint
        seen.append((str(setup.tree), str(setup.folder.root), setup.repo, setup.workers, hub, endpoint))

    one_given = {"resources": {"settings": {"config": {"data_dir": "/z"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        for config in ({}, one_given):
            dg.materialize([probe], resources={"settings": Settings()}, instance=instance, run_config=config)
    rest = ("me/mine", 3, True, "https://mirror.example")
    assert seen == [("/x", "/y", *rest), ("/x", "/z", *rest)]


@pytest.mark.parametrize(
    ("raw_root", "source", "tree", "sample"),
    [
        ("", "", "data/sample/train", True),
        ("", "sample", "data/sample/train", True),
        ("", "zenodo", "data/release/train", False),
        ("mine", "zenodo", "mine", False),
        ("mine", "nonsense", "mine", False),
    ],
)
def test_the_tree_is_where_the_release_comes_from(no_variables, monkeypatch, raw_root, source, tree, sample):
    monkeypatch.setenv("ISLES_RAW_ROOT", raw_root)
    monkeypatch.setenv("ISLES_SOURCE", source)
    setup = Settings().setup(DATASET)
    assert setup.tree == Path(tree).absolute() and setup.uses_sample == sample
    assert setup.uses_zenodo == (source == "zenodo" and not raw_root)


def test_a_source_that_does_not_exist_is_refused(no_variables, monkeypatch):
    monkeypatch.setenv("ISLES_SOURCE", "zenodi")
    with pytest.raises(Refusal, match="ISLES_SOURCE: is 'zenodi' -> set it to sample or zenodo"):
        Settings().setup(DATASET)


@pytest.mark.parametrize("number", ["0", "-2", "many"])
def test_workers_that_are_no_number_are_refused(no_variables, monkeypatch, number):
    monkeypatch.setenv("ISLES_WORKERS", number)
    with pytest.raises(Refusal, match="ISLES_WORKERS"):
        Settings().setup(DATASET)


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("ISLES_SOURCE", "zenodi", "set it to sample or zenodo"),
        ("ISLES_HUB_TARGET", "hub", "set it to local or huggingface"),
        ("ISLES_WORKERS", "many", "set it to a whole number from 1, or unset it"),
    ],
)
def test_a_setting_that_cannot_be_used_fails_the_run_before_anything_is_done(
    no_variables, monkeypatch, tmp_path, name, value, mend
):
    monkeypatch.setenv(name, value)
    with Project.of(Settings(data_dir=str(tmp_path / "data")), release=TOY) as project:
        result = project.build()
    assert not result.success and not result.get_step_success_events()
    (step,) = result.get_step_failure_events()
    assert f"{name}: is {value!r} -> {mend}" in failure(result, step.step_key)
    assert not (tmp_path / "data").exists()


def test_what_the_docs_say_of_the_code_is_what_it_declares():
    """If not: `make reference`."""
    command = [sys.executable, "docs/reference.py", "--check"]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def test_every_field_of_the_settings_is_declared_with_its_variable():
    fields = {**Settings.model_fields, **DefinitionSettings.model_fields}
    assert len(list(variables())) == len(fields)
    assert len({variable.name for variable in variables()}) == len(fields)
    assert all(variable.meaning and variable.name.startswith("ISLES_") for variable in variables())
