"""Runs in other processes, which tests freeze, inspect and kill, and the changes that they make to the data folder."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from isles_assets.graph.settings import Settings
from isles_assets.products.config import MAIN_CONFIG
from isles_assets.release.release import Release
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.processes import LONG
from isles_assets_tests.project import Project

WARM = multiprocessing.get_context("forkserver")
WARM.set_forkserver_preload([__name__, "isles_assets.definitions", "datasets"])

TABLES, SHARDS, PREVIEWS = "tables", "shards", "previews"
FIRST, SECOND = f"{SHARDS}/{MAIN_CONFIG}", f"{SHARDS}/ctp_ncct"
RECORDS = f"{SHARDS}/records"
"""Folders of the data folder. The second config is one of ISLES'24."""

Identity = tuple[int, int]


def eventually(condition: Callable[[], Any], *, every: float = 0.001) -> Any:
    """Call `condition` until its result is true, and return that. Fail after `LONG` seconds."""
    deadline = time.monotonic() + LONG
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(every)
    return value


@dataclass(frozen=True)
class Run:
    """A run: all processes of the process group that `process` leads."""

    process: Any

    @property
    def over(self) -> bool:
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll() is not None
        return not self.process.is_alive()

    def states(self) -> dict[int, str]:
        """Return the state of each living process by id: running (R), sleeping (S, D) or stopped (T)."""
        states = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.process.pid and state not in "ZX":
                    states[int(folder.name)] = state
        return states

    def workers(self) -> set[int]:
        """Return the ids of the processes that build shards."""
        workers = set()
        for process in self.states():
            with contextlib.suppress(OSError):
                if b"spawn_main" in Path("/proc", str(process), "cmdline").read_bytes():
                    workers.add(process)
        return workers

    def send(self, number: int) -> None:
        """Send a signal to all processes."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def freeze_when(self, condition: Callable[[], Any]) -> Any:
        """Stop all processes once `condition` is true, and return its result; None if the run ends before."""
        deadline = time.monotonic() + LONG
        while not self.over:
            if condition():
                self.send(signal.SIGSTOP)
                if self._all_stopped() and not self.over and (value := condition()):
                    return value
                self.send(signal.SIGCONT)
            assert time.monotonic() < deadline, "the condition never came true"
            time.sleep(0.0005)
        return None

    def _all_stopped(self) -> bool:
        """Return whether all processes stop within a second. One that is starting another stops only afterwards."""
        deadline = time.monotonic() + 1
        while (moving := set(self.states().values()) - {"T"}) and time.monotonic() < deadline:
            time.sleep(0.0005)
        return not moving

    def wait(self) -> None:
        """Wait until no process is left."""
        eventually(lambda: self.over and not self.states())

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()


@contextlib.contextmanager
def running(process: Any) -> Iterator[Run]:
    """Yield the run of `process`. Its processes are killed at the end of the block."""
    run = Run(process)
    try:
        yield run
    finally:
        run.kill()


@contextlib.contextmanager
def forked(function: Callable[..., None], *args: Any) -> Iterator[Any]:
    """Call `function(*args)` in a process that starts at once. It is killed at the end of the block."""
    process = WARM.Process(target=function, args=args)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@contextlib.contextmanager
def materializing(
    project: Project, *assets: str, partitions: Sequence[str] | None = None, remembered: bool = True
) -> Iterator[Run]:
    """Yield a run of `assets` without checks. It starts at once, because its process is forked after all imports.

    Args:
        partitions: Subjects; None for all.
        remembered: Whether Dagster's instance records the run. A test that needs no record saves time without.
    """
    settings = (project.settings.raw_root, project.settings.data_dir)
    instance = project.instance.get_ref() if remembered else None
    partitions = project.release.subjects if partitions is None else partitions
    args = (instance, project.release, *settings, assets, partitions)
    process = WARM.Process(target=_materialize, args=args)
    process.start()
    eventually(lambda: process.pid and os.getpgid(process.pid) == process.pid)
    with running(process) as run:
        yield run
    process.close()


def _materialize(
    ref: Any, release: Release, raw_root: str, data_dir: str, assets: Sequence[str], partitions: Sequence[str]
) -> None:
    os.setsid()
    with dg.DagsterInstance.from_ref(ref) if ref else dg.DagsterInstance.ephemeral() as instance:
        project = Project(Settings(raw_root=raw_root, data_dir=data_dir, workers=2), instance, release)
        project.materialize(*assets, checks=False, partitions=partitions)


def identity(path: Path) -> Identity:
    """Return what tells a file from later ones of its name: inode and modification time; zeros if there is no file."""
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return 0, 0


def identities(root: Path) -> dict[Path, Identity]:
    """Return the identity of each file below `root`, without temporary files."""
    return {path: identity(path) for path in root.rglob("[!.]*") if path.is_file()}


def rewritten(project: Project, before: dict[Path, Identity]) -> set[str]:
    """Return the subjects with a file written since `before` was taken."""
    return {path.stem for path, seen in identities(project.folder.root / SHARDS).items() if before.get(path) != seen}


class Changes:
    """Changes in a data folder since this object was made. Files are named by their stem: a subject or a table."""

    def __init__(self, folder: DataFolder):
        self._root = folder.root
        self._before = identities(folder.root)

    def begun(self, where: str) -> dict[str, int]:
        """Return the files that are being written, and the id of the process that writes each."""
        names = [path.name for path in self.files(where) if path.name.startswith(".")]
        return {name[1:].split(".")[0]: int(name.removesuffix(".tmp").rpartition("-")[2]) for name in names}

    def new(self, where: str) -> set[str]:
        """Return the files that were written, anew or again."""
        files = [path for path in self.files(where) if not path.name.startswith(".")]
        return {path.stem for path in files if path not in self._before or self._before[path] != identity(path)}

    def gone(self, where: str) -> set[str]:
        """Return the files that were removed."""
        before = {path.stem for path in self._before if path.parent == self._root / where}
        return before - {path.stem for path in self.files(where)}

    def files(self, where: str) -> list[Path]:
        """Return the paths of all files, temporary ones included."""
        with contextlib.suppress(FileNotFoundError):
            return list((self._root / where).iterdir())
        return []


def copy_all_but_shards(built: Project, folder: DataFolder) -> None:
    """Link the tables and previews of `built` into `folder`."""
    for made in filter(lambda name: (built.folder.root / name).exists(), (TABLES, PREVIEWS)):
        shutil.copytree(built.folder.root / made, folder.root / made, copy_function=os.link)


def finished(folder: DataFolder) -> set[str]:
    """Return the subjects whose shards are complete."""
    return {path.stem for path in (folder.root / RECORDS).glob("[!.]*")}


def temporary_files(root: Path) -> list[Path]:
    return list(root.rglob("*.tmp"))
