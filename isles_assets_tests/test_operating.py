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
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.volumes import BY_COLUMN
from isles_assets_tests.deployment import Deployment, instance_on, served, served_on
from isles_assets_tests.project import OF_TABLES, PARTITIONED, replace
from isles_assets_tests.running import (
    FIRST,
    RECORDS,
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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a run's processes are found in /proc"),
]

ALL = set(SUBJECT_IDS)
NONE: set[str] = set()
BAD = [SUBJECT_IDS[40], SUBJECT_IDS[41], SUBJECT_IDS[100]]


@pytest.fixture
def deployment(tree: Path) -> Iterator[Deployment]:
    """A backfill is one run."""
    with served_on(tree) as new:
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


def test_the_graph_its_checks_and_what_can_be_automated_are_shown(deployment):
    nodes = deployment.ask("""{ assetNodes { assetKey { path } isPartitioned groupName
        assetChecksOrError { ... on AssetChecks { checks { name blocking } } } } }""")
    assert {node["assetKey"]["path"][0] for node in nodes} == set(CONTRACT)
    assert {node["assetKey"]["path"][0] for node in nodes if node["isPartitioned"]} == set(PARTITIONED)
    assert {
        check["name"]: (node["assetKey"]["path"][0], check["blocking"])
        for node in nodes
        for check in node["assetChecksOrError"]["checks"]
    } == CHECKS
    (repository,) = deployment.ask("""{ repositoriesOrError { ... on RepositoryConnection { nodes {
        sensors { name sensorState { status } } schedules { name scheduleState { status } } } } } }""")["nodes"]
    assert {s["name"]: s["sensorState"]["status"] for s in repository["sensors"]} == {
        "failed_checks": "STOPPED",
        "failed_runs": "STOPPED",
        "newer_release": "STOPPED",
        "publish_when_complete": "STOPPED",
    }
    assert {s["name"]: s["scheduleState"]["status"] for s in repository["schedules"]} == {"nightly_verify": "STOPPED"}


def test_all_is_materialized_from_nothing_and_later_only_what_failed(deployment, tree):
    project = deployment.project
    assert deployment.end(deployment.launch(*CONTRACT)) == ("COMPLETED_SUCCESS", dict.fromkeys(PARTITIONED, (149, 0)))
    assert [deployment.states(asset)["materialized"] for asset in PARTITIONED] == [ALL, ALL]
    assert [changed for _, changed in deployment.published()] == [True]

    damage = Damage(tree, BAD)
    assert deployment.materialize(*OF_TABLES) == "SUCCESS"
    everything = deployment.launch("subject_shard")
    assert deployment.end(everything) == ("COMPLETED_FAILED", {"subject_shard": (146, 3)})
    assert deployment.partitions(everything) == [list(SUBJECT_IDS)]
    assert deployment.states() == {"materialized": ALL - set(BAD), "failed": set(BAD), "materializing": NONE}
    assert deployment.materialize("hub_dataset") == "FAILURE"

    damage.mend(2)
    assert deployment.materialize(*OF_TABLES) == "SUCCESS"
    before = identities(project.folder.shards)
    again = deployment.reexecute_from_failure(everything)
    assert deployment.end(again) == ("COMPLETED_FAILED", {"subject_shard": (2, 1)})
    assert deployment.partitions(again) == [BAD[:2], BAD[2:]]
    assert rewritten(project, before) == set(BAD[:2])

    damage.mend()
    assert deployment.materialize(*OF_TABLES) == "SUCCESS"
    before = identities(project.folder.shards)
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


def test_all_is_not_published_while_a_blocking_check_fails(deployment, tree):
    """Dagster itself goes on after a failed check, since each layer of a backfill is a run of its own."""
    wrong = tree / "raw_data" / BAD[0] / "ses-01"
    wrong.rename(wrong.with_name("ses-0001"))
    status, _ = deployment.end(deployment.launch(*CONTRACT))
    assert status == "COMPLETED_FAILED"
    assert deployment.published() == [] and not deployment.project.folder.hub.exists()


@pytest.mark.long
def test_runs_of_ten_are_cancelled_and_started_again_and_publish_by_themselves_when_all_is_there(built, tree):
    """With messages about what failed."""
    with (
        Chat() as chat,
        served_on(tree, ISLES_PARTITIONS_PER_RUN="10", ISLES_WEBHOOK_URL=chat.url, ISLES_WORKERS="1") as deployment,
    ):
        project = deployment.project
        copy_all_but_shards(built, project.folder)
        damage = Damage(tree, BAD)
        assert deployment.materialize(*OF_TABLES) == "SUCCESS"

        everything = deployment.launch("subject_shard")
        eventually(lambda: len(finished(project.folder)) > 20, every=0.01)
        deployment.cancel(everything)
        assert deployment.end(everything)[0] == "CANCELED"
        runs = deployment.partitions(everything)
        assert [len(partitions) for partitions in runs] == [10] * 14 + [9]
        done = deployment.states()["materialized"]
        assert done == finished(project.folder) and 20 < len(done) < 149 - len(BAD)

        before = identities(project.folder.shards)
        rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
        assert deployment.end(rest) == ("COMPLETED_FAILED", {"subject_shard": (149 - len(done) - 3, 3)})
        assert all(len(partitions) <= 10 for partitions in deployment.partitions(rest))
        assert deployment.states() == {"materialized": ALL - set(BAD), "failed": set(BAD), "materializing": NONE}
        assert rewritten(project, before) == ALL - done - set(BAD)
        eventually(lambda: all(any(bad in text for text in chat.texts) for bad in BAD), every=0.2)

        damage.mend()
        assert deployment.materialize(*OF_TABLES) == "SUCCESS"
        deployment.switch_on("publish_when_complete")
        assert project.materialize("subject_preview", partitions=SUBJECT_IDS).success
        assert not deployment.published()
        last = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
        assert deployment.end(last) == ("COMPLETED_SUCCESS", {"subject_shard": (3, 0)})
        eventually(deployment.published, every=0.2)
        time.sleep(2)
        assert [changed for _, changed in deployment.published()] == [True]


def test_a_backfill_cancelled_in_the_ui_keeps_what_is_finished_and_the_rest_runs_alone(deployment, built):
    project = deployment.project
    shutil.copytree(built.folder.root / TABLES, project.folder.root / TABLES)
    changes = Changes(project.folder)
    stopped: set[int] = set()

    def both_workers_stand() -> bool:
        """Each is stopped while it writes, after some subjects are done, so that the run cannot end by itself."""
        for worker in changes.begun(FIRST).values() if len(changes.new(RECORDS)) > 20 else ():
            stopped.add(worker)
            os.kill(worker, signal.SIGSTOP)
        return len(stopped) == 2

    everything = deployment.launch("subject_shard")
    eventually(both_workers_stand)
    deployment.cancel(everything)
    status, counts = deployment.end(everything)
    done = finished(project.folder)
    assert (status, counts) == ("CANCELED", {"subject_shard": (len(done), 149 - len(done))})
    assert [run["status"] for run in deployment.runs(everything)] == ["CANCELED"]
    assert 20 < len(done) < 100
    assert deployment.states() == {"materialized": done, "failed": NONE, "materializing": NONE}
    assert not any(Path("/proc", str(worker)).exists() for worker in stopped)

    before = identities(project.folder.shards)
    rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (149 - len(done), 0)})
    assert {key for keys in deployment.partitions(rest) for key in keys} == ALL - done
    assert deployment.states() == {"materialized": ALL, "failed": NONE, "materializing": NONE}
    assert rewritten(project, before) == ALL - done


def test_a_run_that_is_killed_is_failed_and_what_it_had_finished_is_not_made_again(deployment, built):
    project = deployment.project
    shutil.copytree(built.folder.root / TABLES, project.folder.root / TABLES)
    everything = deployment.launch("subject_shard")
    eventually(lambda: len(finished(project.folder)) > 20)
    deployment.kill_runs()
    assert deployment.end(everything) == ("COMPLETED_FAILED", {"subject_shard": (0, 149)})
    (run,) = deployment.runs(everything)
    assert run["status"] == "FAILURE"

    done, before = finished(project.folder), identities(project.folder.shards)
    assert 20 < len(done) < 149
    rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (149, 0)})
    assert rewritten(project, before) == ALL - done


def test_a_run_that_ended_with_the_computer_is_failed_once_the_ui_is_back(tree, built):
    with instance_on(tree) as (home, settings):
        shutil.copytree(built.folder.root / TABLES, settings.folder.root / TABLES)
        with served(home, settings) as deployment:
            everything = deployment.launch("subject_shard")
            eventually(lambda: len(finished(settings.folder)) > 20)
        done, before = finished(settings.folder), identities(settings.folder.shards)
        with served(home, settings) as deployment:
            assert deployment.end(everything) == ("COMPLETED_FAILED", {"subject_shard": (0, 149)})
            assert [run["status"] for run in deployment.runs(everything)] == ["FAILURE"]
            rest = deployment.launch("subject_shard", partitions=deployment.failed_and_missing())
            assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (149, 0)})
            assert rewritten(deployment.project, before) == ALL - done


def test_only_a_run_whose_server_surely_has_ended_is_taken_for_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "_SECONDS", 0.2)

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
