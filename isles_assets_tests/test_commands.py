"""Every documented command, run as a user runs it: a process of its own in the root of a checkout."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest

from isles_assets_tests.processes import REPOSITORY, environment, free_port, shown
from isles_assets_tests.toy import CONFIGS, TOY

pytestmark = pytest.mark.slow

TOP_LEVEL = ("Makefile", "constraints.txt", "dagster.yaml", "demo.yaml", "pyproject.toml", "workspace.yaml")
HUB = "data/hub/hugging-science/isles24-stroke"
TOY_MODULE = "isles_assets_tests.toy"
TOY_HUB = f"data/hub/{TOY.repo}"
TOY_SAMPLE = f"data/sample/{TOY.record.top}"


def run(checkout: Path, *command: str, **variables: str) -> tuple[int, str]:
    """Exit code and what a terminal would show."""
    return shown(*command, cwd=checkout, env=environment(**variables))


def run_toy(checkout: Path, *command: str, **variables: str) -> tuple[int, str]:
    """The same for a command that is on the toy release."""
    return run(checkout, *command, PYTHONPATH=str(REPOSITORY), **variables)


@pytest.fixture(scope="session")
def checkout(made_once):
    """A checkout with this environment in the place of .venv, in which `make demo` has run; nobody runs more in it."""
    return made_once("checkout", run_demo)


def run_demo(folder: Path) -> None:
    check_out(folder)
    (folder / ".env").write_text("ISLES_RAW_ROOT=/nowhere/of/the/user\nISLES_SOURCE=zenodo\n")
    code, output = run(
        folder, "make", "--no-print-directory", "demo", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready"
    )
    assert code == 0, output
    (folder / ".env").unlink()
    (folder / "demo.txt").write_text(output)


def check_out(folder: Path) -> None:
    for name in TOP_LEVEL:
        shutil.copy(REPOSITORY / name, folder)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "isles_assets", folder / "isles_assets", ignore=ignored)


@pytest.fixture
def copy(checkout, tmp_path):
    """A copy, to change, of the checkout with all that the demo made."""
    return copied(checkout, tmp_path / "copy")


@pytest.fixture(scope="session")
def toy_checkout(made_once):
    """A checkout in which the job `build` has run on the toy release; nobody runs more in it."""
    return made_once("toy_checkout", build_toy)


def build_toy(folder: Path) -> None:
    check_out(folder)
    code, output = run_toy(folder, "dagster", "job", "execute", "-m", TOY_MODULE, "-j", "build")
    assert code == 0, output


@pytest.fixture
def toy_copy(toy_checkout, tmp_path):
    """A copy, to change, of that."""
    return copied(toy_checkout, tmp_path / "copy")


@pytest.fixture
def bare(tmp_path):
    """A checkout in which nothing has run."""
    check_out(tmp_path)
    return tmp_path


def copied(checkout: Path, folder: Path) -> Path:
    shutil.copytree(checkout, folder, symlinks=True, copy_function=link_or_copy)
    return folder


def link_or_copy(source: str, target: str) -> None:
    """Dagster's databases are written in place, all else as new files."""
    if source.endswith(".db"):
        shutil.copy(source, target)
    else:
        os.link(source, target)


def test_make_demo_runs_everything_quietly_and_shows_the_result(checkout):
    output = (checkout / "demo.txt").read_text()
    assert "149 of 149 subjects" in output
    assert f"Published {checkout}/{HUB}" in output
    assert "default: 149 subjects, sub-stroke0001 to sub-stroke0189" in output
    assert "ctp_ncct: 149 subjects" in output
    assert not re.search("DEBUG|Warning", output)
    assert len([line for line in output.splitlines() if "left" not in line]) < 50


def test_history_is_kept_without_a_dagster_home(toy_copy, monkeypatch):
    monkeypatch.chdir(toy_copy)
    partitions = dg.StaticPartitionsDefinition(TOY.subjects)
    with dg.DagsterInstance.from_config(str(toy_copy)) as instance:
        assert {run.job_name for run in instance.get_runs()} >= {"build"}
        states = instance.get_status_by_partition(dg.AssetKey("subject_shard"), TOY.subjects, partitions)
    assert {state.name for state in states.values()} == {"MATERIALIZED"}


def test_job_build_again_has_nothing_to_do(toy_copy):
    code, output = run_toy(toy_copy, "dagster", "job", "execute", "-m", TOY_MODULE, "-j", "build")
    assert code == 0, output
    assert "6 subjects are up to date, nothing to do" in output
    assert "Nothing has changed" in output


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["--select", "hub_dataset"], {"DAGSTER_CLI_ASSET_MATERIALIZE_MODULE_NAME": TOY_MODULE}),
        (["--select", "hub_dataset"], {"DAGSTER_MODULE_NAME": TOY_MODULE}),
        (["-m", TOY_MODULE, "--select", "hub_dataset"], {}),
    ],
)
def test_hub_dataset_publishes_from_the_shards_that_are_there(toy_copy, arguments, variables):
    shutil.rmtree(toy_copy / "data" / "hub")
    code, output = run_toy(toy_copy, "dagster", "asset", "materialize", *arguments, **variables)
    assert code == 0, output
    assert "Found 6 subjects" in output
    assert len(list((toy_copy / TOY_HUB).rglob("*.parquet"))) == len(CONFIGS) * 6


def test_hub_dataset_refuses_while_a_shard_is_missing_and_one_command_mends_it(copy):
    (copy / "data/shards/default/sub-stroke0014.parquet").unlink()
    variables = {"DAGSTER_MODULE_NAME": "isles_assets"}
    publish = ("dagster", "asset", "materialize", "--select", "hub_dataset")
    code, output = run(copy, *publish, **variables)
    assert code == 1
    assert "1 of 149 shards missing or stale: sub-stroke0014" in output
    mend = "dagster asset materialize -m isles_assets --select subject_shard --partition sub-stroke0014"
    assert mend in output
    code, output = run(copy, *mend.split())
    assert code == 0, output
    code, output = run(copy, *publish, **variables)
    assert code == 0, output
    assert "Found 149 subjects" in output
    assert len(list((copy / HUB).rglob("*.parquet"))) == 2 * 149 + 1


def test_a_range_of_partitions_is_built_in_one_run(toy_copy):
    shutil.rmtree(toy_copy / "data" / "shards")
    code, output = run_toy(
        toy_copy, "dagster", "asset", "materialize", "--select", "subject_shard",
        "--partition-range", "sub-a02...sub-a08", DAGSTER_MODULE_NAME=TOY_MODULE,
    )  # fmt: skip
    assert code == 0, output
    names = sorted(path.stem for path in (toy_copy / "data/shards/default").iterdir())
    assert names == ["sub-a02", "sub-a03", "sub-a05", "sub-a08"]


def test_dry_run_publishes_nothing(toy_copy):
    shutil.rmtree(toy_copy / "data" / "hub")
    config = {"ops": {"hub_dataset": {"config": {"dry_run": True}}}}
    code, output = run_toy(
        toy_copy, "dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "hub_dataset",
        "--config-json", json.dumps(config),
    )  # fmt: skip
    assert code == 0, output
    assert "Found 6 subjects" in output
    assert "Dry run complete. Dataset built but not pushed." in output
    assert not (toy_copy / "data" / "hub").exists()


def take_stock(checkout: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    command = ("dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "raw_tree")
    return run_toy(checkout, *command, *arguments, **variables)


def test_a_setting_in_the_launchpad_outranks_the_environment(toy_copy):
    config = json.dumps({"resources": {"settings": {"config": {"raw_root": "/nowhere"}}}})
    code, output = take_stock(toy_copy, "--config-json", config, ISLES_RAW_ROOT=str(toy_copy / TOY_SAMPLE))
    assert code == 1
    assert "/nowhere: there is no such folder" in output


def test_a_wrong_raw_root_is_refused_with_the_level_that_is_meant(toy_copy):
    code, output = take_stock(toy_copy, ISLES_RAW_ROOT=str(toy_copy / "data/sample"))
    assert code == 1
    assert f"is too high a level -> set ISLES_RAW_ROOT to {toy_copy}/{TOY_SAMPLE}" in output


def test_a_data_folder_that_cannot_be_written_is_refused(toy_copy):
    (toy_copy / "file").write_text("")
    code, output = take_stock(toy_copy, ISLES_RAW_ROOT=str(toy_copy / TOY_SAMPLE), ISLES_DATA_DIR="file")
    assert code == 1
    assert "set ISLES_DATA_DIR to a folder" in output


def test_a_target_that_does_not_exist_is_refused(toy_copy):
    code, output = run_toy(
        toy_copy, "dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "hub_dataset",
        ISLES_HUB_TARGET="moon",
    )  # fmt: skip
    assert code == 1
    assert "ISLES_HUB_TARGET" in output and "is 'moon'" in output


@pytest.mark.parametrize(
    "command",
    [
        ("dagster", "definitions", "validate"),
        ("dg", "check", "defs"),
        ("dg", "list", "defs", "--json"),
    ],
)
def test_the_project_is_found_without_arguments(bare, command):
    code, output = run(bare, *command)
    assert code == 0, output
    if "--json" in command:
        assert "hub_dataset" in output


def test_dagster_dev_serves_the_graph_and_sees_the_runs_of_the_command_line(toy_copy):
    port = free_port()
    query = "{ assetNodes { assetKey { path } } runsOrError { ... on Runs { count } } }"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"content-type": "application/json"},
    )
    with subprocess.Popen(
        ["dagster", "dev", "-p", str(port)],
        cwd=toy_copy, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            answer = {}
            deadline = time.monotonic() + 90
            while not answer.get("assetNodes") and time.monotonic() < deadline:
                time.sleep(0.5)
                with contextlib.suppress(OSError):
                    answer = json.load(urllib.request.urlopen(request, timeout=10))["data"]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert {node["assetKey"]["path"][0] for node in answer["assetNodes"]} >= {"raw_tree", "hub_dataset"}
    assert answer["runsOrError"]["count"] >= 1


def test_sample_command_writes_chosen_subjects_and_refuses_an_existing_root(tmp_path):
    arguments = ("isles24", "sample", str(tmp_path / "train"), "--subject", "sub-stroke0014")
    assert run(tmp_path, *arguments)[0] == 0
    assert len(list((tmp_path / "train").rglob("*.nii.gz"))) == 18
    code, output = run(tmp_path, *arguments)
    assert code == 1 and "exists already" in output


def test_readme_shows_no_command_that_is_not_tested_here():
    readme = (REPOSITORY / "README.md").read_text()
    shown = set(re.findall(r"^(?:dagster|dg|make|python -m) .*$", readme, re.MULTILINE))
    tested = Path(__file__).read_text() + Path(__file__).with_name("test_publish.py").read_text()
    for command in shown:
        words = [word for word in command.split() if re.fullmatch(r"[a-z_.]+", word)]
        assert all(f'"{word}"' in tested or word in ("test", "ui", "lint", "setup") for word in words), command


def revisions(storage: Path) -> dict[str, list[str]]:
    """What Alembic says of each database."""
    found = {}
    for path in storage.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            found[path.name] = [str(row[0]) for row in database.execute("SELECT version_num FROM alembic_version")]
    return found


def test_after_setup_commands_that_start_at_once_all_succeed(bare):
    code, output = run(bare, "make", "setup", f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready")
    assert code == 0, output
    storage = bare / ".dagster" / "storage"
    made = revisions(storage)
    assert set(made) == {"runs.db", "index.db", "schedules.db"}
    command = ("dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "archive_listing")
    with ThreadPoolExecutor(3) as executor:
        results = list(executor.map(lambda data: run_toy(bare, *command, ISLES_DATA_DIR=data), "abc"))
    assert [code for code, _ in results] == [0] * 3, results
    after = revisions(storage)
    assert made.items() <= after.items()
    assert len(after) == 6 and all(len(heads) == 1 for heads in after.values())
