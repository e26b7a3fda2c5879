"""The whole graph at release scale, with `free_disk`, to the loopback Hub over Xet; also killed on the way.

One round: it takes as long as a day's work here can. The Hub runs in this process, on the same cores.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.clients import REPO
from benchmarks.loopback import TOKEN, hub
from benchmarks.material import Material, read
from benchmarks.measure import Comparison, Sample, in_child
from benchmarks.project import REPOSITORY, write_instance
from benchmarks.watching import Watched, disk_used, watch
from isles_assets.lib.workers import available_cores
from isles_assets.release.isles24 import ISLES24
from isles_assets_tests.hub_server import HubServer

WHOLE = "whole graph, `free_disk`, to the Hub by Xet"
KILLED = "the same, killed at 60 % of the shards (kill -9)"
RESUMED = "the same command again after that"
PLAIN = "the plain work on as many cores: decompress, one SHA-256, write"
STAGES = ("tables", "subject_preview", "subject_shard", "quality_report", "hub_dataset", "checks")
MEMORY, FILES, PROCESSES, DISK, HISTORY, COMMITS, MOVES, REQUESTS, SENT, BUILT = (
    *("memory", "open files", "processes", "disk", "history", "commits", "moves of main", "requests", "bytes sent"),
    "shards built",
)
_KILLED_AT = 0.6
_CONFIG = {
    "ops": {
        "subject_shard": {"config": {"free_disk": True, "allow_synthetic": True}},
        "hub_dataset": {"config": {"allow_synthetic": True}},
    }
}


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """Two publications: one that goes through, and one that is killed and goes on."""
    tree = material.all_large
    files = [path for path in tree.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    samples = {PLAIN: [_plain(material)]}
    with material.scratch() as folder, hub(folder / "hub", xet=True) as server:
        samples[WHOLE] = [_Publication(folder, tree, server).run(lambda: False)]
    with material.scratch() as folder, hub(folder / "hub", xet=True) as server:
        publication = _Publication(folder, tree, server)
        enough = _KILLED_AT * len(ISLES24.subjects)
        samples[KILLED] = [publication.run(lambda: publication.finished >= enough)]
        samples[RESUMED] = [publication.run(lambda: False)]
    for name, (sample,) in samples.items():
        print(f"release scale: {name}: {sample.wall:.0f} s, {sample.counts}", flush=True)
    yield Comparison(f"149 subjects, {len(files)} files", size, samples)


def _plain(material: Material) -> Sample:
    """The plain work on each kind of subject, times the number of such subjects, over the cores."""
    wall = cpu = 0.0
    for subject, number in material.numbers_of_large().items():
        files = [material.all_large / volume.path(subject) for volume in ISLES24.volumes]
        read(files)
        with material.scratch() as folder:
            sample = in_child(plain_work, files, folder)
        wall, cpu = wall + number * sample.wall, cpu + number * sample.cpu
    return Sample(round(wall / available_cores(), 1), round(cpu, 1))


def plain_work(files: list[Path], folder: Path) -> None:
    """Decompress each file, digest it once, and write it and sync."""
    import hashlib

    from isal import igzip

    for number, path in enumerate(files):
        with igzip.open(path, "rb") as stream:
            while stream.read(1 << 22):
                pass
        digest = hashlib.sha256()
        with path.open("rb") as source, (folder / str(number)).open("wb") as target:
            while piece := source.read(1 << 22):
                digest.update(piece)
                target.write(piece)
            target.flush()
            os.fsync(target.fileno())


@dataclass
class _Publication:
    """A data folder, an instance and a Hub, for one run or for several that go on with each other."""

    folder: Path
    tree: Path
    server: HubServer

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def records(self) -> Path:
        return self.data / "shards" / "records"

    @property
    def finished(self) -> int:
        """How many shards are complete."""
        return len(list(self.records.glob("[!.]*.json"))) if self.records.exists() else 0

    def run(self, stop: Callable[[], bool]) -> Sample:
        """Run the job `build`, watched. A run that is killed is not expected to succeed."""
        home, config = self.folder / "home", self.folder / "run.yaml"
        write_instance(home)
        config.write_text(yaml.safe_dump(_CONFIG))
        asked = len(self.server.requests)
        environment = {
            **self.server.environment(self.folder / "hf", TOKEN),
            "DAGSTER_HOME": str(home),
            "ISLES_RAW_ROOT": str(self.tree),
            "ISLES_DATA_DIR": str(self.data),
            "ISLES_HUB_TARGET": "huggingface",
            "ISLES_WORKERS": str(available_cores()),
            "PYTHONPATH": str(REPOSITORY),
        }
        command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "isles_assets", "-j", "build"]
        log = self.folder / "log"
        seen = watch([*command, "-c", str(config)], self.folder, environment, [self.data], log, stop)
        was_killed = seen.code < 0
        if seen.code and not was_killed:
            raise RuntimeError(f"the run failed: {log.read_text()[-3000:]}")
        built = _built(log, self.finished, was_killed)
        counts = {BUILT: built, **_seen(seen), **_of_hub(self.server, asked), **_of_history(home)}
        return Sample(round(seen.wall, 1), 0.0, counts=counts)


def _seen(seen: Watched) -> dict[str, int]:
    return {MEMORY: seen.memory, FILES: seen.open_files, PROCESSES: seen.processes, DISK: seen.disk}


def _of_hub(server: HubServer, asked: int) -> dict[str, int]:
    """Return what the Hub saw after its first `asked` requests; `main` moves from the repo's first commit on."""
    requests = server.requests[asked:]
    commits = [record for record in requests if "/commit/" in record.path and record.status == 200]
    moves = [move for move in server.ref_moves(REPO) if move.ref == "refs/heads/main" and move.old]
    sent = sum(record.bytes_in for record in requests)
    return {COMMITS: len(commits), MOVES: len(moves), REQUESTS: len(requests), SENT: sent}


_TO_BUILD = re.compile(r"subject_shard: \d+ of (\d+) subjects")


def _built(log: Path, finished: int, was_killed: bool) -> int:
    """Return how many shards a run built: of one that was killed those that were complete, else those it had to."""
    numbers = _TO_BUILD.findall(log.read_text())
    return finished if was_killed else int(numbers[-1]) if numbers else 0


def _of_history(home: Path) -> dict[str, int]:
    """Return the size of the run database, and the seconds of each stage of the last run by its steps."""
    import dagster as dg

    with dg.DagsterInstance.from_config(str(home)) as instance:
        (run,) = instance.get_runs(limit=1)
        steps = instance.get_run_step_stats(run.run_id)
    seconds = dict.fromkeys(STAGES, 0.0)
    for step in steps:
        if step.start_time and step.end_time:
            name = step.step_key.partition("[")[0]
            stage = name if name in STAGES else "tables" if name in _TABLES else "checks"
            seconds[stage] += step.end_time - step.start_time
    return {HISTORY: disk_used(home), **{stage: round(value) for stage, value in seconds.items()}}


_TABLES = ("archive_listing", "zenodo_archive", "raw_tree", "clinical_table", "subject_manifest")
