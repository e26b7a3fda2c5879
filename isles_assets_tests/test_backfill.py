"""Backfills as the UI launches them: a real webserver and daemon, asked through the UI's own GraphQL API."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from isles_assets.graph.resources import Settings
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.release.volumes import BY_COLUMN
from isles_assets_tests.project import Project, replace
from isles_assets_tests.running import (
    FIRST,
    LONG,
    RECORDS,
    TABLES,
    Changes,
    Identity,
    eventually,
    finished,
    identities,
    running,
)
from isles_assets_tests.test_commands import environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a run's processes are found in /proc"),
]

CONFIG = """
telemetry: {enabled: false}
run_coordinator:
  module: dagster
  class: QueuedRunCoordinator
  config: {dequeue_interval_seconds: 1}
"""
# The daemon looks at backfills each 30 s, which no setting changes.
DAEMON = """
import dagster._daemon.controller
from dagster._daemon.cli import main
dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
main()
"""
OF_TABLES = ("raw_tree", "clinical_table", "subject_manifest")
ALL = set(SUBJECT_IDS)
BAD = [SUBJECT_IDS[40], SUBJECT_IDS[41], SUBJECT_IDS[100]]


@dataclass(frozen=True)
class Deployment:
    """The processes that `dagster dev` starts, and the project that they serve."""

    project: Project
    url: str

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer to the only field of `query`."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=LONG) as response:
            content = json.load(response)
        assert "errors" not in content, content
        (answer,) = content["data"].values()
        return answer

    def is_up(self) -> bool:
        with contextlib.suppress(OSError):
            return bool(self.ask("{ assetNodes { id } }"))
        return False

    def launch(self, partitions: Sequence[str], **tags: str) -> str:
        """Launch a backfill of `subject_shard`; its id."""
        answer = self.ask(
            """mutation ($params: LaunchBackfillParams!) {
                launchPartitionBackfill(backfillParams: $params) {
                    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={
                "assetSelection": [{"path": ["subject_shard"]}],
                "partitionNames": list(partitions),
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            },
        )
        return str(answer["backfillId"])

    def reexecute_from_failure(self, backfill: str) -> str:
        """Launch what the UI's button `Re-execute from failure` on a backfill launches; its id."""
        answer = self.ask(
            """mutation ($params: ReexecutionParams!) {
                reexecutePartitionBackfill(reexecutionParams: $params) {
                    ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            params={"parentRunId": backfill, "strategy": "FROM_FAILURE"},
        )
        return str(answer["backfillId"])

    def materialize(self, asset: str) -> str:
        """Launch a run of an asset, as the UI's button `Materialize` does, and wait for it; how it ended."""
        (node,) = self.ask(
            """query ($key: AssetKeyInput!) { assetNodes(assetKeys: [$key]) {
                repository { name location { name } } } }""",
            key={"path": [asset]},
        )
        selector = {
            "repositoryLocationName": node["repository"]["location"]["name"],
            "repositoryName": node["repository"]["name"],
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
            "assetCheckSelection": [],
        }
        answer = self.ask(
            """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
                ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }""",
            params={"selector": selector, "runConfigData": {}},
        )

        def ended() -> Any:
            query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
            status = self.ask(query, id=answer["run"]["id"])["status"]
            return status in ("SUCCESS", "FAILURE", "CANCELED") and status

        return str(eventually(ended, every=0.2))

    def end(self, backfill: str) -> tuple[str, int, int]:
        """How a backfill ended, and how many partitions it materialized and failed."""
        query = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
            status assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
                numPartitionsMaterialized numPartitionsFailed } } } } } }"""

        def ended() -> Any:
            seen = self.ask(query, id=backfill)
            return seen["status"] not in ("REQUESTED", "CANCELING", "FAILING") and seen

        answer = eventually(ended, every=0.2)
        (counts,) = answer["assetBackfillData"]["assetBackfillStatuses"]
        return answer["status"], counts["numPartitionsMaterialized"], counts["numPartitionsFailed"]

    def cancel(self, backfill: str) -> None:
        """What the UI's button `Cancel` on a backfill does, again if the daemon overwrites it while it looks on."""
        status = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) {
            ... on PartitionBackfill { status } } }"""
        while self.ask(status, id=backfill)["status"] == "REQUESTED":
            self.ask(
                """mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) {
                    ... on CancelBackfillSuccess { backfillId } ... on PythonError { message } } }""",
                id=backfill,
            )
            time.sleep(1)

    def runs(self, backfill: str) -> list[dict[str, Any]]:
        """The runs of a backfill, with id, status and tags."""
        answer = self.ask(
            """query ($filter: RunsFilter!) { runsOrError(filter: $filter) { ... on Runs {
                results { id status tags { key value } } } } }""",
            filter={"tags": [{"key": "dagster/backfill", "value": backfill}]},
        )
        return [run | {"tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in answer["results"]]

    def partitions(self, backfill: str) -> list[list[str]]:
        """The partitions of each run of a backfill."""
        found = []
        for run in self.runs(backfill):
            one = run["tags"].get("dagster/partition")
            first = run["tags"].get("dagster/asset_partition_range_start", one)
            last = run["tags"].get("dagster/asset_partition_range_end", one)
            found.append(list(SUBJECT_IDS[SUBJECT_IDS.index(first) : SUBJECT_IDS.index(last) + 1]))
        return sorted(found)

    def states(self) -> dict[str, set[str]]:
        """The partitions by state, as the UI lists them in three places."""
        (node,) = self.ask("""{ assetNodes(assetKeys: [{path: ["subject_shard"]}]) {
            partitionStats { numMaterialized numFailed numMaterializing }
            assetPartitionStatuses { ... on DefaultPartitionStatuses {
                materializedPartitions failedPartitions materializingPartitions } } } }""")
        states = {key.removesuffix("Partitions"): set(keys) for key, keys in node["assetPartitionStatuses"].items()}
        stats = node["partitionStats"]
        assert stats["numFailed"] == len(states["failed"]) and stats["numMaterializing"] == len(states["materializing"])
        return states


@pytest.fixture
def deployment(tree: Path) -> Iterator[Deployment]:
    """Serves a project on `tree`, nothing materialized."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "dagster.yaml").write_text(CONFIG)
        with served(Path(name), Settings(raw_root=str(tree), data_dir=f"{name}/data", workers=2)) as new:
            yield new


@contextlib.contextmanager
def served(home: Path, settings: Settings, **variables: str) -> Iterator[Deployment]:
    """Serves a project with `settings` on the instance whose `dagster.yaml` lies in `home`."""
    with contextlib.ExitStack() as stack:
        (home / "workspace.yaml").write_text(json.dumps({"load_from": [{"grpc_server": {"socket": f"{home}/code"}}]}))
        project = Project(settings, stack.enter_context(dg.DagsterInstance.from_config(str(home))))
        environ = environment(
            DAGSTER_HOME=str(home),
            ISLES_RAW_ROOT=str(settings.tree),
            ISLES_DATA_DIR=str(settings.folder.root),
            ISLES_WORKERS=str(settings.processes),
            **variables,
        )
        log = stack.enter_context((home / "log").open("wb"))

        def start(*command: str) -> None:
            stack.enter_context(
                running(
                    subprocess.Popen(command, cwd=home, env=environ, stdout=log, stderr=log, start_new_session=True)
                )
            )

        start("dagster", "api", "grpc", "-m", "isles_assets", "--socket", f"{home}/code")
        eventually(lambda: listens(home / "code"), every=0.05)
        port = free_port()
        start("dagster-webserver", "-w", "workspace.yaml", "-p", str(port))
        start(sys.executable, "-c", DAEMON, "run", "-w", "workspace.yaml")
        new = Deployment(project, f"http://127.0.0.1:{port}/graphql")
        eventually(new.is_up, every=0.2)
        yield new


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(path))
        return True
    return False


def rewritten(project: Project, before: dict[Path, Identity]) -> set[str]:
    """Subjects of which a file was written since."""
    return {path.stem for path, seen in identities(project.folder.shards).items() if before.get(path) != seen}


def test_failed_partitions_are_shown_and_they_alone_run_again(deployment, tree):
    project = deployment.project
    good = {path: path.read_bytes() for path in (tree / BY_COLUMN["cta"].path(subject) for subject in BAD)}
    for path, content in good.items():
        replace(path, content[:-2000])
    assert project.materialize(*OF_TABLES, checks=False).success

    everything = deployment.launch(SUBJECT_IDS)
    assert deployment.end(everything) == ("COMPLETED_FAILED", 146, 3)
    assert deployment.partitions(everything) == [list(SUBJECT_IDS)]
    assert deployment.states() == {"materialized": ALL - set(BAD), "failed": set(BAD), "materializing": set()}

    mended, still_bad = BAD[:2], BAD[2:]
    for path in list(good)[:2]:
        replace(path, good[path])
    assert project.materialize(*OF_TABLES, checks=False).success
    before = identities(project.folder.shards)
    again = deployment.reexecute_from_failure(everything)
    assert deployment.end(again) == ("COMPLETED_FAILED", 2, 1)
    assert deployment.partitions(again) == [mended, still_bad]
    assert deployment.states() == {
        "materialized": ALL - set(still_bad),
        "failed": set(still_bad),
        "materializing": set(),
    }
    assert rewritten(project, before) == set(mended)

    for path, content in good.items():
        if path.read_bytes() != content:
            replace(path, content)
    assert project.materialize(*OF_TABLES, checks=False).success
    before = identities(project.folder.shards)
    rest = deployment.launch(sorted(deployment.states()["failed"]))
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", 1, 0)
    assert deployment.partitions(rest) == [still_bad]
    assert deployment.states() == {"materialized": ALL, "failed": set(), "materializing": set()}
    assert rewritten(project, before) == set(still_bad)


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

    everything = deployment.launch(SUBJECT_IDS)
    eventually(both_workers_stand)
    deployment.cancel(everything)
    status, *numbers = deployment.end(everything)
    done = finished(project.folder)
    assert (status, *numbers) == ("CANCELED", len(done), 149 - len(done))
    assert [run["status"] for run in deployment.runs(everything)] == ["CANCELED"]
    assert 20 < len(done) < 100
    assert deployment.states() == {"materialized": done, "failed": set(), "materializing": set()}
    assert not any(Path("/proc", str(worker)).exists() for worker in stopped)

    before = identities(project.folder.shards)
    rest = deployment.launch(sorted(ALL - done))
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", 149 - len(done), 0)
    assert {key for keys in deployment.partitions(rest) for key in keys} == ALL - done
    assert deployment.states() == {"materialized": ALL, "failed": set(), "materializing": set()}
    assert rewritten(project, before) == ALL - done
