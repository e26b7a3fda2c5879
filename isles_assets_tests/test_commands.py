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
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isles_assets.cli import reset_demo
from isles_assets.graph.environment import variables
from isles_assets.source.listing import own_listing
from isles_assets_tests.isles24 import SMALL
from isles_assets_tests.processes import LONG, REPOSITORY, environment, free_port, shown
from isles_assets_tests.project import Project, failure
from isles_assets_tests.running import eventually
from isles_assets_tests.toy import CONFIGS, TOY

pytestmark = pytest.mark.slow

TOP_LEVEL = ("Makefile", "constraints.txt", "dagster.yaml", "demo.yaml", "pyproject.toml", "workspace.yaml")
HUB = "data/hub/hugging-science/isles24-stroke"
MODULE = "DAGSTER_CLI_JOB_EXECUTE_MODULE_NAME"
TOY_MODULE = "isles_assets_tests.toy"
TOY_HUB = f"data/hub/{TOY.repo}"
TOY_SAMPLE = f"data/sample/{TOY.record.top}"


def run(checkout: Path, *command: str, **more: str) -> tuple[int, str]:
    """Exit code and what a terminal would show."""
    return shown(*command, cwd=checkout, env=environment(**more))


def run_toy(checkout: Path, *command: str, **variables: str) -> tuple[int, str]:
    """The same for a command that is on the toy release."""
    return run(checkout, *command, PYTHONPATH=str(REPOSITORY), **variables)


OF_SIX = f"""\
from isles_assets.release.isles24 import ISLES24
RELEASE = ISLES24.only({SMALL.subjects})
"""
"""The module `release.default` of a checkout that is for six subjects of the release, and all else as it is."""


@pytest.fixture(scope="session")
def checkout(made_once):
    """A checkout of a release of six subjects in which `make demo` has run; nobody runs more in it.

    It has this environment in the place of .venv.
    """

    def fill(folder: Path) -> None:
        check_out(folder)
        (folder / "isles_assets/release/default.py").write_text(OF_SIX)
        run_demo(folder)

    return made_once("checkout", fill)


@pytest.fixture(scope="session", params=["six", "all"])
def demo(request, made_once):
    """The checkout in which `make demo` has run, of six subjects, in the long tests of all; how many they are."""
    if request.param == "six":
        return request.getfixturevalue("checkout"), len(SMALL.subjects)

    def fill(folder: Path) -> None:
        check_out(folder)
        run_demo(folder)

    return made_once("whole_checkout", fill), 149


def run_demo(folder: Path) -> None:
    (folder / ".env").write_text("ISLES_RAW_ROOT=/nowhere/of/the/user\nISLES_SOURCE=zenodo\n")
    (folder / "home").mkdir()
    code, output = make(folder, "demo", HOME=str(folder / "home"))
    assert code == 0, output
    (folder / ".env").unlink()
    (folder / "demo.txt").write_text(output)


def make(folder: Path, target: str, **variables: str) -> tuple[int, str]:
    """The same for a target of make, with this environment in the place of .venv."""
    command = ("make", "--no-print-directory", target, f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.ready")
    return run(folder, *command, **variables)


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_out(folder: Path) -> None:
    for name in TOP_LEVEL:
        shutil.copy(REPOSITORY / name, folder)
    shutil.copytree(REPOSITORY / "isles_assets", folder / "isles_assets")


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


@pytest.mark.long
def test_make_demo_says_that_it_worked_what_was_made_and_where_to_look(demo):
    checkout, number = demo
    output = (checkout / "demo.txt").read_text()
    lines = output.splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= 120, output
    assert "synthetic sample" in lines[0]
    assert f"{number} of {number} subjects" in output
    assert f"Published {HUB}" in output
    assert "It worked" in output
    assert f"default: {number} subjects, sub-stroke0001 to sub-stroke01" in output
    assert f"ctp_ncct: {number} subjects" in output
    assert not re.search("DEBUG|warning", output, re.IGNORECASE)
    where = "\n".join(lines[lines.index("Where to look next:") :])
    named = [checkout / path for path in re.findall(r"\bdata/[-\w./]+", where)]
    assert checkout / HUB / "README.md" in named and all(path.exists() for path in named)


@pytest.mark.long
def test_make_demo_writes_nothing_outside_the_folder_and_little_history(demo):
    checkout, _ = demo
    assert not list((checkout / "home").iterdir())
    added = {path.name for path in checkout.iterdir()} - {*TOP_LEVEL, "isles_assets", "home", "demo.txt"}
    assert added == {"data", ".dagster"}
    assert size_of(checkout / ".dagster") <= 10e6


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="this is no checkout")
def test_what_commands_of_readme_and_guide_write_is_ignored_by_git():
    written = ["data/", ".dagster/", ".env", ".venv/", ".tmp_dagster_home_a/", "tree/", "train/", "clinical.csv"]
    written += [f"{name}.yaml" for name in ("rollback", "free-disk", "rehearsal")]
    code, output = run(REPOSITORY, "git", "check-ignore", "--no-index", *written)
    assert code == 0 and output.split() == written


def test_history_is_kept_without_a_dagster_home(toy_copy, monkeypatch):
    monkeypatch.chdir(toy_copy)
    partitions = dg.StaticPartitionsDefinition(TOY.subjects)
    with dg.DagsterInstance.from_config(str(toy_copy)) as instance:
        assert {run.job_name for run in instance.get_runs()} >= {"build"}
        states = instance.get_status_by_partition(dg.AssetKey("subject_shard"), TOY.subjects, partitions)
    assert {state.name for state in states.values()} == {"MATERIALIZED"}


@pytest.mark.long
def test_job_build_again_has_nothing_to_do(toy_copy):
    code, output = run_toy(toy_copy, "dagster", "job", "execute", "-m", TOY_MODULE, "-j", "build")
    assert code == 0, output
    assert "6 subjects are up to date, nothing to do" in output
    assert "Nothing has changed" in output
    assert output.count("published at: ") == 1
    assert output.count("SYNTHETIC") == 1


@pytest.fixture(scope="session")
def told(toy_checkout, made_once):
    """A virtual environment that knows `toy_checkout` by its activate scripts, and has the commands of this one."""

    def tell(folder: Path) -> None:
        commands = f"-m venv --without-pip {folder}", f"-m isles_assets.graph.environment {folder}"
        for command in commands:
            code, output = run(toy_checkout, sys.executable, *command.split())
            assert code == 0, output

    return made_once("told", tell)


def activated(told: Path, checkout: Path, script: str, shell: str = "bash", **variables: str) -> str:
    """What `script` prints in a shell in `checkout` in which that environment was activated; it must succeed."""
    ending = {"fish": ".fish", "tcsh": ".csh"}.get(shell, "")
    verb = {"fish": "source", "tcsh": "set prompt = there\nsource"}.get(shell, ".")
    code, output = run(checkout, shell, "-c", f"{verb} {told}/bin/activate{ending}\n{script}", **variables)
    assert code == 0, output
    return output


SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"there is no {shell}"))
    for shell in ("bash", "dash", "zsh", "fish", "tcsh")
]


@pytest.mark.parametrize("shell", SHELLS)
def test_an_environment_tells_commands_of_the_checkout_until_it_is_deactivated(toy_checkout, told, shell):
    def seen(script: str, **variables: str) -> dict[str, str]:
        lines = activated(told, toy_checkout, f"{script}\nenv", shell, **variables).splitlines()
        pairs = [line.split("=", 1) for line in lines if re.match(r"_?(ISLES_)?(DAGSTER|PYTHONWARNINGS)\w*=", line)]
        return dict(pairs)

    assert seen("true") == variables(toy_checkout)
    assert seen("deactivate") == {}
    own = {"DAGSTER_HOME": "/a home", "PYTHONWARNINGS": "error"}
    assert {name: seen("true", **own)[name] for name in own} == own
    assert seen("deactivate", **own) == own


@pytest.mark.long
def test_bare_commands_work_as_printed_in_an_activated_environment(told, copy, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    words = {"DAGSTER_HOME": str(copy), "HOME": str(home)}
    shutil.rmtree(copy / "data/hub")
    output = activated(told, copy, "dagster asset materialize --select hub_dataset", **words)
    assert "Found 6 subjects" in output and (copy / HUB / "README.md").exists()
    assert not re.search("supersed|temporary|warn", output, re.IGNORECASE), output
    runs = activated(told, copy, "dagster run list", **words)
    assert runs.count("Run: ") == 2 and "Job: build" in runs, "one history"
    output = activated(told, copy, "dg launch --assets hub_dataset", **words)
    assert "Nothing has changed" in output and not re.search("telemetry|temporary", output), output
    assert activated(told, copy, "dagster run list", **words).count("Run: ") == 3
    assert not list(home.iterdir()) and not list(copy.glob(".tmp_dagster_home_*"))


@pytest.mark.long
def test_the_report_is_made_by_one_command(toy_copy):
    report = toy_copy / "data" / "report" / "index.html"
    report.unlink()
    command = ("dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "quality_report")
    code, output = run_toy(toy_copy, *command)
    assert code == 0 and f"The report: {report}" in output, output
    assert "sub-" in report.read_text()


@pytest.mark.long
def test_hub_dataset_publishes_from_the_shards_that_are_there(toy_copy):
    shutil.rmtree(toy_copy / "data" / "hub")
    code, output = run_toy(toy_copy, "dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "hub_dataset")
    assert code == 0, output
    assert "Found 6 subjects" in output
    assert len(list((toy_copy / TOY_HUB).rglob("*.parquet"))) == len(CONFIGS) * 6


@pytest.mark.long
def test_hub_dataset_refuses_while_a_shard_is_missing_and_one_command_mends_it(copy):
    (copy / "data/shards/default/sub-stroke0014.parquet").unlink()
    told = variables(copy)
    publish = ("dagster", "asset", "materialize", "--select", "hub_dataset")
    code, output = run(copy, *publish, **told)
    assert code == 1
    assert "1 of 6 shards missing or stale: sub-stroke0014" in output
    mend = "dagster asset materialize --select subject_shard --partition sub-stroke0014"
    assert mend in output
    code, output = run(copy, *mend.split(), **told)
    assert code == 0, output
    code, output = run(copy, *publish, **told)
    assert code == 0, output
    assert "Found 6 subjects" in output
    assert len(list((copy / HUB).rglob("*.parquet"))) == 2 * 6 + 2


@pytest.mark.long
def test_a_range_of_partitions_is_built_in_one_run(toy_copy):
    for subject in ("sub-a03", "sub-a05"):
        (toy_copy / "data/shards/default" / f"{subject}.parquet").unlink()
    code, output = run_toy(
        toy_copy, "dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "subject_shard",
        "--partition-range", "sub-a02...sub-a03",
    )  # fmt: skip
    assert code == 0, output
    names = {path.stem for path in (toy_copy / "data/shards/default").iterdir()}
    assert {*TOY.subjects} - names == {"sub-a05"}


def take_stock(checkout: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    command = ("dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "raw_tree")
    return run_toy(checkout, *command, *arguments, **variables)


@pytest.mark.long
def test_a_setting_in_the_launchpad_outranks_the_environment(toy_copy):
    config = json.dumps({"resources": {"settings": {"config": {"raw_root": "/nowhere"}}}})
    code, output = take_stock(toy_copy, "--config-json", config, ISLES_RAW_ROOT=str(toy_copy / TOY_SAMPLE))
    assert code == 1
    assert "/nowhere: there is no such folder" in output


@pytest.mark.long
def test_the_brief_logger_says_once_what_failed_and_not_what_that_stopped(toy_copy):
    config = {"loggers": {"brief": {}}, "resources": {"settings": {"config": {"raw_root": "/nowhere"}}}}
    (toy_copy / "config.yaml").write_text(json.dumps(config))
    command = ("dagster", "job", "execute", "-j", "build", "-c", "config.yaml")
    code, output = run_toy(toy_copy, *command, **dict(variables(toy_copy)) | {MODULE: TOY_MODULE})
    assert code == 1
    assert output.count("/nowhere: there is no such folder") == 1
    assert "Not executing" not in output and "Traceback" not in output
    assert len(output.splitlines()) < 12, output


def test_a_data_folder_that_cannot_be_written_is_refused(toy_sample_tree, tmp_path):
    (tmp_path / "file").write_text("")
    with Project.temporary(toy_sample_tree, tmp_path / "file", release=TOY) as project:
        said = failure(project.materialize("raw_tree"), "raw_tree")
    assert "set ISLES_DATA_DIR to a folder" in said


@pytest.mark.parametrize(
    "command",
    [
        ("dagster", "definitions", "validate"),
        pytest.param(("dg", "check", "defs"), marks=pytest.mark.long),
        pytest.param(("dg", "list", "defs", "--json"), marks=pytest.mark.long),
    ],
)
def test_the_project_is_found_without_arguments(bare, command):
    code, output = run(bare, *command)
    assert code == 0, output
    if "--json" in command:
        assert "hub_dataset" in output


def answer_to(request: urllib.request.Request) -> dict[str, Any] | None:
    """What it is answered once assets are known."""
    with contextlib.suppress(OSError):
        answer: dict[str, Any] = json.load(urllib.request.urlopen(request, timeout=LONG))["data"]
        return answer if answer.get("assetNodes") else None
    return None


@pytest.mark.long
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
        cwd=toy_copy, env=environment(**variables(toy_copy)),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            answer = eventually(lambda: answer_to(request), every=0.5)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    assert {node["assetKey"]["path"][0] for node in answer["assetNodes"]} >= {"raw_tree", "hub_dataset"}
    assert answer["runsOrError"]["count"] >= 1


def test_make_alone_lists_what_it_makes(bare):
    code, output = run(bare, "make")
    assert code == 0
    makefile = (bare / "Makefile").read_text()
    assert set(re.findall(r"^make ([a-z-]+) +\S", output, re.MULTILINE)) == set(
        re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    )


def test_make_clean_removes_what_tools_leave_behind_and_never_data(bare):
    leftovers = [
        ".ruff_cache",
        "dist",
        "site",
        "isles_assets.egg-info",
        ".tmp_dagster_home_x",
        "isles_assets/__pycache__",
    ]
    kept = ["build/data", "build/data/shards/__pycache__", ".dagster/storage", ".venv/lib/__pycache__"]
    for name in (*leftovers, *kept):
        (bare / name).mkdir(parents=True, exist_ok=True)
    code, output = run(bare, "make", "--no-print-directory", "clean", ISLES_DATA_DIR="build/data")
    assert code == 0, output
    assert not [name for name in leftovers if (bare / name).exists()]
    assert not [name for name in kept if not (bare / name).exists()]
    assert all(f"removing {name}\n" in output for name in leftovers[:-1])


@pytest.mark.long
def test_make_reset_demo_removes_the_sample_and_what_was_made_of_it(copy):
    code, output = make(copy, "reset-demo")
    assert code == 0, output
    assert not list((copy / "data").iterdir())
    assert (copy / ".dagster").exists()
    assert make(copy, "reset-demo") == (0, "There was nothing to remove.\n")


def test_reset_demo_refuses_where_anything_else_is(small_built_folder, small_sample_tree, tmp_path, caplog):
    data = copied(small_built_folder / "data", tmp_path / "data")
    copied(small_sample_tree, data / "sample" / "train")
    own_listing(data / "sample" / "train").write_bytes(own_listing(small_sample_tree).read_bytes())
    before = {*data.rglob("*")}
    for strange in ("waivers.yaml", "downloads", "hub/mine", "hub/hugging-science/mine/1", "sample/mine"):
        (data / strange).mkdir(parents=True)
        (data / strange / "file").write_text("mine")
        caplog.clear()
        assert reset_demo.main([str(data)], SMALL)
        assert "Nothing was removed." in caplog.text
        assert str(data / Path(strange).parts[0]) in caplog.text
        assert before < {*data.rglob("*")}
        shutil.rmtree(data / strange)
    shutil.rmtree(data / "hub/hugging-science/mine")
    own_listing(data / "sample" / "train").unlink()
    assert reset_demo.main([str(data)], SMALL)
    assert "it has no listing" in caplog.text


def test_sample_command_writes_chosen_subjects_and_refuses_an_existing_root(tmp_path):
    arguments = ("isles24", "sample", str(tmp_path / "train"), "--subject", "sub-stroke0014")
    assert run(tmp_path, *arguments)[0] == 0
    assert len(list((tmp_path / "train").rglob("*.nii.gz"))) == 18
    code, output = run(tmp_path, *arguments)
    assert code == 1 and "exists already" in output


@pytest.mark.parametrize("page", ["README.md", "docs/operating.md", "docs/hub.md", "docs/reading.md"])
def test_no_command_is_shown_that_is_not_tested_here(page):
    text = (REPOSITORY / page).read_text()
    shown = set(re.findall(r"^(?:dagster|dg|make|python -m) .*$", text, re.MULTILINE))
    shown |= set(re.findall(r"^\| [^|]* \| `((?:dagster|dg|make) [^`]*)`", text, re.MULTILINE))
    others = ("test_publish.py", "test_pilot.py")
    tested = "".join(Path(__file__).with_name(name).read_text() for name in (Path(__file__).name, *others))
    for command in shown:
        words = [word for word in command.split() if re.fullmatch(r"[a-z_.]+", word)]
        known = ("test", "ui", "lint", "setup", "rehearsal.yaml", "pilot.yaml")  # test_docs validates these configs
        assert f'"{command}"' in tested or all(f'"{word}"' in tested or word in known for word in words), command


def revisions(storage: Path) -> dict[str, list[str]]:
    """What Alembic says of each database."""
    found = {}
    for path in storage.rglob("*.db"):
        with contextlib.closing(sqlite3.connect(path)) as database:
            found[path.name] = [str(row[0]) for row in database.execute("SELECT version_num FROM alembic_version")]
    return found


@pytest.fixture
def after_setup(bare):
    """A checkout in which `make setup` has made Dagster's instance, and nothing else has run."""
    code, output = make(bare, "setup")
    assert code == 0, output
    return bare


def test_setup_makes_the_databases_of_the_instance(after_setup):
    made = revisions(after_setup / ".dagster" / "storage")
    assert set(made) == {"runs.db", "index.db", "schedules.db"}
    assert all(len(heads) == 1 for heads in made.values())


@pytest.mark.long
def test_after_setup_commands_that_start_at_once_all_succeed(after_setup):
    bare = after_setup
    storage = bare / ".dagster" / "storage"
    made = revisions(storage)
    command = ("dagster", "asset", "materialize", "-m", TOY_MODULE, "--select", "archive_listing")
    with ThreadPoolExecutor(3) as executor:
        results = list(executor.map(lambda data: run_toy(bare, *command, ISLES_DATA_DIR=data), "abc"))
    assert [code for code, _ in results] == [0] * 3, results
    after = revisions(storage)
    assert made.items() <= after.items()
    assert len(after) == 6 and all(len(heads) == 1 for heads in after.values())
