"""A deployment as `make ui` starts it, on the committed `dagster.yaml`, driven through the API that the UI uses.

What the UI sends was read off it in a browser: `Materialize all` over assets of which some are partitioned is a
backfill of all of them, `Materialize` on others is a run, and "failed and missing" are the partitions by name.
"""

import contextlib
import json
import os
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
from uuid import uuid4

import dagster as dg
import yaml

from isles_assets.graph.settings import Settings
from isles_assets.release.isles24 import ISLES24
from isles_assets.release.release import Release
from isles_assets_tests.processes import LONG, REPOSITORY, environment, free_port
from isles_assets_tests.project import MEMORY, Project
from isles_assets_tests.running import Run, eventually, running

OFTEN = {
    "run_coordinator": {
        "module": "dagster",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    }
}
"""For an instance: how often the daemon looks for runs to start."""

# The daemon looks at backfills each 30 s, which no setting changes.
DAEMON = """
import dagster._daemon.controller
from dagster._daemon.cli import main
dagster._daemon.controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1
main()
"""
LAUNCHED = "... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }"


@dataclass(frozen=True)
class Deployment:
    """The processes that `dagster dev` starts, and the project that they serve."""

    project: Project
    url: str
    code_location: Run

    @property
    def subjects(self) -> tuple[str, ...]:
        return self.project.release.subjects

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

    def launch(self, *assets: str, partitions: Sequence[str] | None = None, **tags: str) -> str:
        """Launch a backfill of `assets` over `partitions`, or all; its id."""
        answer = self.ask(
            f"""mutation ($params: LaunchBackfillParams!) {{
                launchPartitionBackfill(backfillParams: $params) {{ {LAUNCHED} }} }}""",
            params={
                "assetSelection": [{"path": [asset]} for asset in assets],
                "partitionNames": list(self.subjects if partitions is None else partitions),
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            },
        )
        return str(answer["backfillId"])

    def reexecute_from_failure(self, backfill: str) -> str:
        """Launch what the UI's button `Re-execute from failure` on a backfill launches; its id."""
        answer = self.ask(
            f"""mutation ($params: ReexecutionParams!) {{
                reexecutePartitionBackfill(reexecutionParams: $params) {{ {LAUNCHED} }} }}""",
            params={"parentRunId": backfill, "strategy": "FROM_FAILURE"},
        )
        return str(answer["backfillId"])

    def start(self, *assets: str) -> str:
        """Launch a run of unpartitioned assets with their checks, as the UI's button `Materialize` does; its id."""
        nodes = self.ask(
            """query ($keys: [AssetKeyInput!]) { assetNodes(assetKeys: $keys) {
                repository { name location { name } }
                assetChecksOrError { ... on AssetChecks { checks { name assetKey { path } } } } } }""",
            keys=[{"path": [asset]} for asset in assets],
        )
        checks = [check for node in nodes for check in node["assetChecksOrError"]["checks"]]
        selector = {
            "repositoryLocationName": nodes[0]["repository"]["location"]["name"],
            "repositoryName": nodes[0]["repository"]["name"],
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]} for asset in assets],
            "assetCheckSelection": [{"name": c["name"], "assetKey": {"path": c["assetKey"]["path"]}} for c in checks],
        }
        answer = self.ask(
            """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
                ... on LaunchRunSuccess { run { id } } ... on PythonError { message } } }""",
            params={"selector": selector, "runConfigData": {}},
        )
        return str(answer["run"]["id"])

    def materialize(self, *assets: str) -> str:
        """Launch a run of `assets` and wait for it; how it ended."""
        run = self.start(*assets)
        eventually(lambda: self.status(run) in ("SUCCESS", "FAILURE", "CANCELED"), every=0.2)
        return self.status(run)

    def status(self, run: str) -> str:
        return str(self.ask("query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run)["status"])

    def times(self, run: str) -> tuple[float, float]:
        """When a run began and ended."""
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { startTime endTime } } }"
        seen = self.ask(query, id=run)
        return seen["startTime"], seen["endTime"]

    def kill_runs(self) -> None:
        """Kill -9 the processes of all runs that the code location has started, as the system does for its memory."""
        for process in self.code_location.states():
            if process != self.code_location.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    def end(self, backfill: str) -> tuple[str, dict[str, tuple[int, int]]]:
        """How a backfill ended, and how many partitions of each partitioned asset it materialized and failed."""
        query = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
            status assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
                assetKey { path } numPartitionsMaterialized numPartitionsFailed } } } } } }"""

        def ended() -> Any:
            seen = self.ask(query, id=backfill)
            return seen["status"] not in ("REQUESTED", "CANCELING", "FAILING") and seen

        answer = eventually(ended, every=0.2)
        return answer["status"], {
            counts["assetKey"]["path"][0]: (counts["numPartitionsMaterialized"], counts["numPartitionsFailed"])
            for counts in answer["assetBackfillData"]["assetBackfillStatuses"]
            if counts
        }

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

    def switch_on(self, sensor: str) -> None:
        """What the UI's switch beside a sensor does."""
        (repository,) = self.ask("""{ repositoriesOrError { ... on RepositoryConnection {
            nodes { name location { name } } } } }""")["nodes"]
        answer = self.ask(
            """mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) {
                ... on Sensor { sensorState { status } } ... on PythonError { message } } }""",
            selector={
                "repositoryLocationName": repository["location"]["name"],
                "repositoryName": repository["name"],
                "sensorName": sensor,
            },
        )
        assert answer["sensorState"]["status"] == "RUNNING", answer

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
            found.append(list(self.subjects[self.subjects.index(first) : self.subjects.index(last) + 1]))
        return sorted(found)

    def states(self, asset: str = "subject_shard") -> dict[str, set[str]]:
        """The partitions of `asset` by state, as the UI lists them in three places."""
        (node,) = self.ask(
            """query ($key: AssetKeyInput!) { assetNodes(assetKeys: [$key]) {
                partitionStats { numMaterialized numFailed numMaterializing }
                assetPartitionStatuses { ... on DefaultPartitionStatuses {
                    materializedPartitions failedPartitions materializingPartitions } } } }""",
            key={"path": [asset]},
        )
        states = {key.removesuffix("Partitions"): set(keys) for key, keys in node["assetPartitionStatuses"].items()}
        stats = node["partitionStats"]
        assert stats["numFailed"] == len(states["failed"]) and stats["numMaterializing"] == len(states["materializing"])
        return states

    def failed_and_missing(self, asset: str = "subject_shard") -> list[str]:
        """What the UI selects by `Failed and missing`."""
        return sorted(set(self.subjects) - self.states(asset)["materialized"])

    def published(self) -> list[tuple[str, bool]]:
        """The revisions of `hub_dataset`, oldest first, and whether each was new then."""
        records = self.project.instance.fetch_materializations(dg.AssetKey("hub_dataset"), limit=100).records
        facts = [record.asset_materialization.metadata for record in records if record.asset_materialization]
        return [(str(fact["revision"].value), bool(fact["changed"].value)) for fact in reversed(facts)]


@contextlib.contextmanager
def instance_on(tree: Path) -> Iterator[tuple[Path, Settings]]:
    """The home of an instance on the committed `dagster.yaml`, and settings for `tree`; nothing is materialized."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as home, tempfile.TemporaryDirectory() as data:
        config = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
        config["run_monitoring"]["poll_interval_seconds"] = 1
        Path(home, "dagster.yaml").write_text(yaml.safe_dump(config | OFTEN))
        yield Path(home), Settings(raw_root=str(tree), data_dir=data, workers=2)


@contextlib.contextmanager
def served_on(
    tree: Path, release: Release = ISLES24, module: str = "isles_assets", **variables: str
) -> Iterator[Deployment]:
    """Serves a project on `tree`, nothing materialized, on the committed `dagster.yaml`, with further variables."""
    with instance_on(tree) as (home, settings), served(home, settings, release, module, **variables) as deployment:
        yield deployment


@contextlib.contextmanager
def served(
    home: Path, settings: Settings, release: Release = ISLES24, module: str = "isles_assets", **variables: str
) -> Iterator[Deployment]:
    """Serves a project with `settings` on the instance whose `dagster.yaml` lies in `home`; then kill -9 to all.

    `module` is the one whose code location is that of `release`.
    """
    with contextlib.ExitStack() as stack:
        code = home / f"code-{uuid4().hex[:8]}"
        (home / "workspace.yaml").write_text(json.dumps({"load_from": [{"grpc_server": {"socket": str(code)}}]}))
        stack.enter_context(contextlib.chdir(home))  # to which the committed instance's storage is relative
        project = Project(settings, stack.enter_context(dg.DagsterInstance.from_config(str(home))), release)
        setup = project.setup
        variables = {
            "DAGSTER_HOME": str(home),
            "PYTHONPATH": str(REPOSITORY),
            "ISLES_RAW_ROOT": str(setup.tree),
            "ISLES_DATA_DIR": str(setup.folder.root),
            "ISLES_WORKERS": str(setup.workers),
            **variables,
        }
        log = stack.enter_context((home / "log").open("ab"))

        def start(*command: str) -> Run:
            process = subprocess.Popen(
                command, cwd=home, env=environment(**variables), stdout=log, stderr=log, start_new_session=True
            )
            return stack.enter_context(running(process))

        code_location = start("dagster", "api", "grpc", "-m", module, "--socket", str(code))
        eventually(lambda: listens(code), every=0.05)
        port = free_port()
        start("dagster-webserver", "-w", "workspace.yaml", "-p", str(port))
        start(sys.executable, "-c", DAEMON, "run", "-w", "workspace.yaml")
        new = Deployment(project, f"http://127.0.0.1:{port}/graphql", code_location)
        eventually(new.is_up, every=0.2)
        yield new


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.connect(str(path))
        return True
    return False
