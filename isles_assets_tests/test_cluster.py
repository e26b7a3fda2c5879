"""Runs on several machines: a real Ray cluster and PostgreSQL, backfills over two machines, and one of them lost.

A machine is a `ray start` with all its processes and a working folder of its own; the machines share the data folder,
the folder of the instance, PostgreSQL and Ray's head. To lose one is to end all its processes at once by kill -9. The
instance is that of `deploy/ray`, but asks more often whether runs live.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from isles_assets.graph.settings import Settings
from isles_assets_tests.deployment import OFTEN, Deployment, served
from isles_assets_tests.isles24 import CONFIGS, SHARD, SUBJECT_IDS, folder_at
from isles_assets_tests.processes import NOBODY, REPOSITORY, environment, free_port, reachable_folder
from isles_assets_tests.running import (
    FIRST,
    RECORDS,
    Changes,
    copy_all_but_shards,
    eventually,
    finished,
    identities,
    rewritten,
)

MISSING = [name for name in ("dagster_postgres", "dagster_ray", "ray") if not importlib.util.find_spec(name)]
BINARIES = os.pathsep.join([os.environ["PATH"], *map(str, Path("/usr/lib/postgresql").glob("*/bin"))])
INITDB, POSTGRES = (shutil.which(name, path=BINARIES) for name in ("initdb", "postgres"))

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: pip install '.[cluster]'"),
    pytest.mark.skipif(not (INITDB and POSTGRES), reason="needs PostgreSQL: apt-get install postgresql"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="a machine's processes are found in /proc"),
]

EXAMPLE = REPOSITORY / "deploy" / "ray" / "dagster.yaml"
MONITORED_OFTEN = {"run_monitoring": {"enabled": True, "poll_interval_seconds": 2, "start_timeout_seconds": 60}}
PER_RUN = 38
NO_RETRY = {"dagster/max_retries": "0"}
QUICKLY = {"RAY_health_check_period_ms": "500"}  # of which Ray waits for five; its own is 3 s
FOUND_DEAD = "Detected run worker status FAILED"
NEVER_BEGAN = "longer than 60 seconds to start"  # sent to a machine before Ray knew that it was lost
MARK = "TEST_MACHINE"


@dataclass(frozen=True)
class Machine:
    """A machine of a Ray cluster: whatever was started by its `ray start`, below `folder`."""

    folder: Path
    environ: Mapping[str, str]

    @property
    def _mark(self) -> str:
        return f"{MARK}={self.folder}"

    def join(self, *options: str) -> None:
        """Become a part of the cluster."""
        command = ["ray", "start", "--block", "--disable-usage-stats", f"--object-store-memory={80 << 20}", *options]
        environ = {**self.environ, MARK: str(self.folder)}
        self.folder.mkdir(exist_ok=True)
        with self._log.open("wb") as log:
            subprocess.Popen(command, cwd=self.folder, env=environ, stdout=log, stderr=log, start_new_session=True)
        eventually(lambda: "Ray runtime started" in self._log.read_text(), every=0.1)

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def runs(self, process: int) -> bool:
        """Whether the process is this machine's, by its environment or, where its title overwrote that, its folder."""
        with contextlib.suppress(OSError):
            seen = Path("/proc", str(process))
            environ = (seen / "environ").read_bytes().split(b"\0")
            return self._mark.encode() in environ or (seen / "cwd").readlink() == self.folder
        return False

    def lose(self) -> None:
        """End all its processes at once, so that none has the time to say anything to anybody."""
        stopped: set[int] = set()
        while found := {process for process in map(int, _processes()) if self.runs(process)} - stopped:
            for process in found:
                _send(process, signal.SIGSTOP)
            stopped |= found
        for process in stopped:
            _send(process, signal.SIGKILL)


def _processes() -> Iterator[str]:
    return (entry.name for entry in Path("/proc").glob("[0-9]*"))


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


@dataclass(frozen=True)
class Cluster:
    """Two machines that execute runs, and the deployment that launches them."""

    deployment: Deployment
    machines: tuple[Machine, ...]

    def lose_a_machine_at_work(self, after: int) -> None:
        """Lose one whose process is writing a shard and has finished another, once more than `after` are done."""
        changes = Changes(self.deployment.project.folder)
        makers: dict[str, int] = {}

        def at_work() -> Machine | None:
            begun, done = changes.begun(FIRST), changes.new(RECORDS)
            makers.update(begun)
            useful = {makers[subject] for subject in done if subject in makers} if len(done) > after else set()
            return next((m for process in useful & {*begun.values()} for m in self.machines if m.runs(process)), None)

        eventually(at_work).lose()


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of an empty database, served for this test by a user that is not root, as PostgreSQL demands."""
    with reachable_folder() as folder:
        data, port = folder / "data", free_port()
        data.mkdir()
        rights: dict[str, Any] = {}
        if os.getuid() == 0:
            os.chown(data, NOBODY, NOBODY)
            rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        assert INITDB and POSTGRES
        make = [INITDB, "-D", str(data), "-A", "trust", "-U", "dagster", "--no-sync"]
        subprocess.run(make, check=True, cwd=folder, stdout=subprocess.DEVNULL, **rights)
        serve = [POSTGRES, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(serve, cwd=folder, stdout=log, stderr=log, **rights) as process,
        ):
            eventually(lambda: accepts(port), every=0.05)
            yield f"postgresql+psycopg2://dagster@127.0.0.1:{port}/postgres"
            process.send_signal(signal.SIGQUIT)


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture
def cluster(built, sample_tree, postgres, monkeypatch) -> Iterator[Cluster]:
    """Serves a project on the sample of which all but the shards is made."""
    with reachable_folder() as folder, contextlib.ExitStack() as stack:
        home, data = folder / "home", folder_at(folder / "data")
        home.mkdir()
        config = yaml.safe_load(EXAMPLE.read_text())
        (home / "dagster.yaml").write_text(yaml.safe_dump(config | OFTEN | MONITORED_OFTEN))
        copy_all_but_shards(built, data)
        ray, dashboard = f"127.0.0.1:{free_port()}", free_port()
        variables = {
            "ISLES_PARTITIONS_PER_RUN": str(PER_RUN),
            "ISLES_POSTGRES_URL": postgres,
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }
        settings = Settings(raw_root=str(sample_tree), data_dir=str(data.root), workers=2)
        environ = environment(
            **variables, ISLES_RAW_ROOT=str(sample_tree), ISLES_DATA_DIR=str(data.root), ISLES_WORKERS="2"
        )
        head, *machines = (Machine(folder / name, environ | QUICKLY) for name in ("head", "one", "two"))
        for machine in (head, *machines):
            stack.callback(machine.lose)
        head.join(
            "--head",
            f"--port={ray.rpartition(':')[2]}",
            "--num-cpus=0",
            f"--temp-dir={folder / 'ray'}",
            f"--dashboard-port={dashboard}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--ray-client-server-port={free_port()}",
        )
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        deployment = stack.enter_context(served(home, settings, **variables))
        for machine in machines:
            port = free_port()  # Ray's own is for one machine a computer
            machine.join(f"--address={ray}", "--num-cpus=1", f"--dashboard-agent-listen-port={port}")
        yield Cluster(deployment, tuple(machines))


def failed_runs(deployment: Deployment, backfill: str) -> list[tuple[set[str], str]]:
    """The partitions of each run that failed, and why it did."""
    found = []
    for run in deployment.runs(backfill):
        if run["status"] == "FAILURE":
            ends = (run["tags"][f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
            first, last = map(SUBJECT_IDS.index, ends)
            (event,) = deployment.project.instance.all_logs(run["id"], of_type=dg.DagsterEventType.RUN_FAILURE)
            found.append((set(SUBJECT_IDS[first : last + 1]), event.message))
    return found


def test_a_machine_is_lost_but_no_shard_and_all_is_published_once(cluster, built):
    deployment = cluster.deployment
    project, everything = deployment.project, set(SUBJECT_IDS)

    backfill = deployment.launch("subject_shard", **NO_RETRY)
    cluster.lose_a_machine_at_work(after=10)
    ended = deployment.end(backfill)
    failed = failed_runs(deployment, backfill)
    of_lost: set[str] = set().union(*(partitions for partitions, _ in failed))
    assert ended == ("COMPLETED_FAILED", {"subject_shard": (len(everything - of_lost), len(of_lost))})
    assert any(FOUND_DEAD in reason for _, reason in failed)
    assert all(FOUND_DEAD in reason or NEVER_BEGAN in reason for _, reason in failed)
    assert deployment.states() == {"materialized": everything - of_lost, "failed": of_lost, "materializing": set()}
    done = finished(project.folder)
    assert everything - of_lost < done < everything

    before = identities(SHARD.root(project.folder))
    rest = deployment.reexecute_from_failure(backfill)
    assert deployment.end(rest) == ("COMPLETED_SUCCESS", {"subject_shard": (len(of_lost), 0)})
    assert {key for keys in deployment.partitions(rest) for key in keys} == of_lost
    assert deployment.states() == {"materialized": everything, "failed": set(), "materializing": set()}
    assert rewritten(project, before) == everything - done
    for config in CONFIGS:
        for subject in SUBJECT_IDS:
            ours, undisturbed = (SHARD.path(p.folder, config, subject) for p in (project, built))
            assert ours.read_bytes() == undisturbed.read_bytes()
    assert not list(project.folder.root.rglob("*.tmp"))

    assert [deployment.materialize("hub_dataset") for _ in range(2)] == ["SUCCESS", "SUCCESS"]
    (first, first_changed), (second, second_changed) = deployment.published()
    assert first == second and first_changed and not second_changed
