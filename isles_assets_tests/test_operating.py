"""The graph as an operator lives with it: a real webserver and daemon, asked through the UI's own API."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG

from isles_assets.graph import launcher
from isles_assets.products.dataset import Dataset
from isles_assets_tests.deployment import Deployment, instance_on, served, served_on
from isles_assets_tests.isles24 import BY_COLUMN
from isles_assets_tests.project import OF_TABLES, PARTITIONED, replace
from isles_assets_tests.running import (
    FIRST,
    RECORDS,
    SHARDS,
    TABLES,
    Changes,
    copy_all_but_shards,
    eventually,
    finished,
    identities,
    rewritten,
)
from isles_assets_tests.test_automation import Chat
from isles_assets_tests.test_definitions import CHECKS, CONTRACT
from isles_assets_tests.thirty import THIRTY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a run's processes are found in /proc"),
]

SUBJECTS, CODE_LOCATION = THIRTY.subjects, (THIRTY, "isles_assets_tests.thirty")
N, ALL = len(SUBJECTS), set(SUBJECTS)
NONE: set[str] = set()
BAD = [SUBJECTS[10], SUBJECTS[11], SUBJECTS[20]]


@pytest.fixture
def deployment(thirty_tree: Path) -> Iterator[Deployment]:
    """A backfill is one run."""
    with served_on(thirty_tree, *CODE_LOCATION) as new:
        yield new


class Damage:
    """A truncated CTA in each of some subjects."""

    def __init__(self, tree: Path, subjects: Sequence[str]):
        self._good = {tree / BY_COLUMN["cta"].path(s): (tree / BY_COLUMN["cta"].path(s)).read_bytes() for s in subjects}
        for path, content in self._good.items():
            replace(path, content[:-2000])

    def mend(self, number: int | None = None) -> None:
        """Mend the first `number` of those that are left, or all."""
        for path in list(self._good)[:number]:
            replace(path, self._good.pop(path))


@pytest.fixture
def of_isles24(tmp_path: Path) -> Iterator[Deployment]:
    """The code location of the package, without a tree."""
    with served_on(tmp_path / "nowhere") as new:
        yield new


@pytest.mark.long
def test_the_graph_its_checks_and_what_can_be_automated_are_shown(of_isles24):
    deployment = of_isles24
    nodes = deployment.ask("""{ assetNodes { assetKey { path } isPartitioned groupName
        assetChecksOrError { ... on AssetChecks { checks { name blocking } } } } }""")
    assert {node["assetKey"]["path"][0] for node in nodes} == set(CONTRACT)
    assert {node["assetKey"]["path"][0] for node in nodes if node["isPartitioned"]} == set(PARTITIONED)
    checks = {
        node["assetKey"]["path"][0]: {
            check["name"]: check["blocking"] for check in node["assetChecksOrError"].get("checks", [])
        }
        for node in nodes
    }
    assert all(expected.items() <= checks[asset].items() for asset, expected in CHECKS.items())
    (repository,) = deployment.ask("""{ repositoriesOrError { ... on RepositoryConnection { nodes {
        sensors { name sensorState { status } } schedules { name scheduleState { status } } } } } }""")["nodes"]
    assert {s["name"]: s["sensorState"]["status"] for s in repository["sensors"]} == {
        "failed_checks": "STOPPED",
        "failed_runs": "STOPPED",
        "newer_release": "STOPPED",
        "publish_when_complete": "STOPPED",
    }
    assert {s["name"]: s["scheduleState"]["status"] for s in repository["schedules"]} == {"nightly_verify": "STOPPED"}


@pytest.mark.long
def test_all_is_materialized_from_nothing_and_later_only_what_failed(deployment, thirty_tree):
    project = deployment.project
    assert deployment.end(deployment.launch(*CONTRACT)) == ("COMPLETED_SUCCESS", dict.fromkeys(PARTITIONED, (N, 0)))
    assert [deployment.states(asset)["materialized"] for asset in PARTITIONED] == [ALL, ALL]
    assert [changed for _, changed in deployment.published()] == [True]

    damage = Damage(thirty_tree, BAD)
    assert deployment.materialize(*OF_TABLES) == "SUCCESS"
    everything = deployment.launch("subject_shard")
    assert deployment.end(everything) == ("COMPLETED_FAILED", {"subject_shard": (N - 3, 3)})
    assert deployment.partitions(everything) == [list(SUBJECTS)]
    assert deployment.states() == {"materialized": ALL - set(BAD), "failed": set(BAD), "materializing": NONE}
    assert deployment.materialize("hub_dataset") == "FAILURE"

    damage.mend(2)
    assert deployment.materialize(*OF_TABLES) == "SUCCESS"
    before = identities(project.folder.root / SHARDS)
    again = deployment.reexecute_from_failure(everything)
    assert deployment.end(again) == ("COMPLETED_FAILED", {"subject_shard": (2, 1)})
    assert deployment.partitions(again) == [BAD[:2], BAD[2:]]
    assert rewritten(project, before) == set(BAD[:2])

    damage.mend()
    assert deployment.materialize(*OF_TABLES) == "SUCCESS"
    before = identities(project.folder.root / SHARDS)
    assert deployment.failed_and_missing() == BAD[2:]
    rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (1, 0)})
    assert deployment.partitions(rest) == [BAD[2:]]
    assert deployment.states() == {"materialized": ALL, "failed": NONE, "materializing": NONE}
    assert rewritten(project, before) == set(BAD[2:])

    one, other = deployment.start("hub_dataset"), deployment.start("hub_dataset")
    eventually(lambda: deployment.status(one) == deployment.status(other) == "SUCCESS", every=0.2)
    (began, ended), (began_too, ended_too) = deployment.times(one), deployment.times(other)
    assert ended <= began_too or ended_too <= began
    (first, _), *later = deployment.published()
    assert later == [(first, False)] * 2  # all is again as it was


@pytest.mark.long
def test_all_is_not_published_while_a_blocking_check_fails(deployment, thirty_tree):
    """Dagster itself goes on after a failed check, since each layer of a backfill is a run of its own."""
    wrong = thirty_tree / "raw_data" / BAD[0] / "ses-01"
    wrong.rename(wrong.with_name("ses-0001"))
    status, _ = deployment.end(deployment.launch(*CONTRACT))
    assert status == "COMPLETED_FAILED"
    assert deployment.published() == [] and not deployment.project.folder.hub.exists()


@pytest.mark.long
def test_runs_of_seven_are_cancelled_and_started_again_and_publish_by_themselves_when_all_is_there(
    thirty_built, thirty_tree
):
    """With messages about what failed."""
    variables = {"ISLES_PARTITIONS_PER_RUN": "7", "ISLES_WORKERS": "1"}
    with (
        Chat() as chat,
        served_on(thirty_tree, *CODE_LOCATION, **variables, ISLES_WEBHOOK_URL=chat.url) as deployment,
    ):
        project = deployment.project
        copy_all_but_shards(thirty_built, project.folder)
        damage = Damage(thirty_tree, BAD)
        assert deployment.materialize(*OF_TABLES) == "SUCCESS"

        everything = deployment.launch("subject_shard")
        eventually(lambda: len(finished(project.folder)) > 8, every=0.01)
        deployment.cancel(everything)
        assert deployment.end(everything)[0] == "CANCELED"
        runs = deployment.partitions(everything)
        assert [len(partitions) for partitions in runs] == [7] * 4 + [2]
        done = deployment.states()["materialized"]
        assert done == finished(project.folder) and 8 < len(done) < N - len(BAD)

        before = identities(project.folder.root / SHARDS)
        rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
        assert deployment.end(rest) == ("COMPLETED_FAILED", {"subject_shard": (N - len(done) - 3, 3)})
        assert all(len(partitions) <= 7 for partitions in deployment.partitions(rest))
        assert deployment.states() == {"materialized": ALL - set(BAD), "failed": set(BAD), "materializing": NONE}
        assert rewritten(project, before) == ALL - done - set(BAD)
        eventually(lambda: all(any(bad in text for text in chat.texts) for bad in BAD), every=0.2)

        damage.mend()
        assert deployment.materialize(*OF_TABLES) == "SUCCESS"
        deployment.switch_on("publish_when_complete")
        assert project.materialize("subject_preview", partitions=SUBJECTS).success
        assert not deployment.published()
        last = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
        assert deployment.end(last) == ("COMPLETED_SUCCESS", {"subject_shard": (3, 0)})
        eventually(deployment.published, every=0.2)
        time.sleep(2)
        assert [changed for _, changed in deployment.published()] == [True]


@pytest.mark.long
def test_a_backfill_cancelled_in_the_ui_keeps_what_is_finished_and_the_rest_runs_alone(deployment, thirty_built):
    project = deployment.project
    shutil.copytree(thirty_built.folder.root / TABLES, project.folder.root / TABLES)
    changes = Changes(project.folder)
    stopped: set[int] = set()

    def both_workers_stand() -> bool:
        """Each is stopped while it writes, after some subjects are done, so that the run cannot end by itself."""
        for worker in changes.begun(FIRST).values() if len(changes.new(RECORDS)) > 5 else ():
            stopped.add(worker)
            os.kill(worker, signal.SIGSTOP)
        return len(stopped) == 2

    everything = deployment.launch("subject_shard")
    eventually(both_workers_stand)
    deployment.cancel(everything)
    status, counts = deployment.end(everything)
    done = finished(project.folder)
    assert (status, counts) == ("CANCELED", {"subject_shard": (len(done), N - len(done))})
    assert [run["status"] for run in deployment.runs(everything)] == ["CANCELED"]
    assert 5 < len(done) < 20
    assert deployment.states() == {"materialized": done, "failed": NONE, "materializing": NONE}
    assert not any(Path("/proc", str(worker)).exists() for worker in stopped)

    before = identities(project.folder.root / SHARDS)
    rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (N - len(done), 0)})
    assert {key for keys in deployment.partitions(rest) for key in keys} == ALL - done
    assert deployment.states() == {"materialized": ALL, "failed": NONE, "materializing": NONE}
    assert rewritten(project, before) == ALL - done


@pytest.mark.long
def test_a_run_that_is_killed_is_failed_and_what_it_had_finished_is_not_made_again(deployment, thirty_built):
    project = deployment.project
    shutil.copytree(thirty_built.folder.root / TABLES, project.folder.root / TABLES)
    everything = deployment.launch("subject_shard")
    eventually(lambda: len(finished(project.folder)) > 5)
    deployment.kill_runs()
    assert deployment.end(everything) == ("COMPLETED_FAILED", {"subject_shard": (0, N)})
    (run,) = deployment.runs(everything)
    assert run["status"] == "FAILURE"

    done, before = finished(project.folder), identities(project.folder.root / SHARDS)
    assert 5 < len(done) < N
    rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (N, 0)})
    assert rewritten(project, before) == ALL - done


@pytest.mark.long
def test_a_run_that_ended_with_the_computer_is_failed_once_the_ui_is_back(thirty_tree, thirty_built):
    with instance_on(thirty_tree) as (home, settings):
        folder = settings.setup(Dataset.of(THIRTY)).folder
        shutil.copytree(thirty_built.folder.root / TABLES, folder.root / TABLES)
        with served(home, settings, *CODE_LOCATION) as deployment:
            everything = deployment.launch("subject_shard")
            eventually(lambda: len(finished(folder)) > 5)
        done, before = finished(folder), identities(folder.root / SHARDS)
        with served(home, settings, *CODE_LOCATION) as deployment:
            assert deployment.end(everything) == ("COMPLETED_FAILED", {"subject_shard": (0, N)})
            assert [run["status"] for run in deployment.runs(everything)] == ["FAILURE"]
            rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
            assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (N, 0)})
            assert rewritten(deployment.project, before) == ALL - done


def test_only_a_run_whose_server_surely_has_ended_is_taken_for_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_TIMEOUT", 0.2)

    def is_lost(**server: object) -> bool:
        run = dg.DagsterRun("build", tags={GRPC_INFO_TAG: json.dumps(server)} if server else {})
        status = launcher.MonitoredRunLauncher().check_run_worker_health(run).status
        assert status in (WorkerStatus.RUNNING, WorkerStatus.NOT_FOUND)
        return bool(status is WorkerStatus.NOT_FOUND)

    assert not is_lost()  # of the command line
    with socket.create_server(("127.0.0.1", 0), backlog=1) as busy:  # accepts nobody
        port = busy.getsockname()[1]
        assert [is_lost(host="localhost", port=port) for _ in range(5)] == [False] * 5
    assert is_lost(host="localhost", port=port)
    assert not is_lost(host="elsewhere.invalid", port=port)
    with socket.socket(socket.AF_UNIX) as server:
        path = str(tmp_path / "server")
        assert is_lost(host="localhost", socket=path)
        server.bind(path)
        server.listen()
        assert not is_lost(host="localhost", socket=path)
    assert is_lost(host="localhost", socket=path)
