"""What publishes to a Hub is killed at any moment, then run again: nothing is mixed or lost, and it ends right.

Moments are requests at the Hub, in any of their phases, and changes in the data folder, counted in a run that nobody
disturbs. So a kill falls where it shall also on a busy machine. ROUNDS says how often each work is killed in the long
test, each time in another part of its length; SEED has the same moments again.
"""

import hashlib
import logging
import os
import random
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from isles_assets.hub.huggingface import MAIN, HuggingFaceHub
from isles_assets.hub.ownership import BACKUP_TAG, tag_of
from isles_assets.hub.reading import digest_of
from isles_assets.hub.staging import stage_and_free
from isles_assets.lib.files import sha256_of
from isles_assets.products.building import STAGE_SIZE, build_subjects, read_sidecars
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import Build
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_manifest
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.hub_server.faults import Fault, How
from isles_assets_tests.hub_server.http import Call, DroppedError, Response
from isles_assets_tests.processes import LONG
from isles_assets_tests.project import build_all, linked, part_of
from isles_assets_tests.running import TABLES, WARM, eventually, running, temporary_files
from isles_assets_tests.toy import TOY

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("ROUNDS", "4"))
log = logging.getLogger(__name__)

TWELVE = replace(TOY, subjects=tuple(f"sub-a{number:02}" for number in range(1, 13)))
"""The toy release with so many subjects that they are staged, and sent in three groups."""

SUBJECTS = TWELVE.subjects
DATASET = Dataset.of(TWELVE)
(SHARD,) = DATASET.products
OLD, MADE = SUBJECTS[:4], SUBJECTS[: STAGE_SIZE - 1]
"""Subjects that were published before, and those whose shards are there when all are made and staged."""

REPO = TWELVE.repo
TOKEN = "hf_w"
PEERS = {"data/train-00000-of-00001.parquet": b"PAR1 theirs", "README.md": b"# Theirs\n"}

Files = Mapping[str, str]
"""SHA-256 by path."""


# The works, each as a process does it


def publish(target: HuggingFaceHub, folder: DataFolder, tree: Path) -> None:
    target.publish(recorded_publication(DATASET, folder, REPO))


def build_and_publish(target: HuggingFaceHub, folder: DataFolder, tree: Path) -> None:
    """Make what is missing, stage and free all, and publish."""
    target.prepare_staging()
    stage = partial(stage_and_free, target, SHARD, folder, lambda sidecar: [])
    build = Build(tree, folder, {config.name: annotated_schema(config) for config in SHARD.configs})
    rows = list(read_manifest(folder).values())
    for outcome in build_subjects(SHARD, build, rows, workers=1, log=lambda words: None, stage=stage):
        if isinstance(outcome.result, Exception):
            raise outcome.result
    publish(target, folder, tree)


def roll_back(to: str, target: HuggingFaceHub, folder: DataFolder, tree: Path) -> None:
    target.roll_back(to)


Do = Callable[[HuggingFaceHub, DataFolder, Path], None]


@dataclass(frozen=True)
class Work:
    """What a process shall `do`, which is to be killed.

    `main` may be what it was, `before`, or what it shall be, `after`; at the end there are the `tags`, each with its
    files, and no other ref. Shards are `freed` on the way, or none.
    """

    do: Do
    target: HuggingFaceHub
    folder: DataFolder
    tree: Path
    hub: HubServer
    before: Files
    after: Files
    tags: Mapping[str, Files]
    freed: bool


def as_process(do: Do, target: HuggingFaceHub, folder: DataFolder, tree: Path, how: "Process") -> None:
    """Do it with the clients that know one Hub only, and be killed at the change in the data folder that is said."""
    os.setsid()
    os.environ.clear()
    os.environ.update(how.environment)
    constants.HF_HUB_DISABLE_XET = how.environment["HF_HUB_DISABLE_XET"] == "1"
    sys.addaudithook(partial(_count, str(folder.root), how))
    try:
        do(target, folder, tree)
    except BaseException:
        how.report.write_text(traceback.format_exc())
        raise


@dataclass(frozen=True)
class Process:
    """What a process of a work is told: its `environment`, at which of its `changes` it dies, where to `report`."""

    environment: Mapping[str, str]
    changes: Any
    dies_at: int
    report: Path


def _count(root: str, how: Process, event: str, arguments: tuple[Any, ...]) -> None:
    """Count what is about to change below `root`, in this process; die before the change that is said."""
    if event not in ("open", "os.rename", "os.remove") or not str(arguments[0]).startswith(root):
        return
    if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")):
        return
    how.changes.value += 1
    if how.changes.value == how.dies_at:
        os.kill(os.getpid(), signal.SIGKILL)


# The moments


@dataclass
class Kill(How):
    """Kill the process that sends the request, in a phase of it."""

    phase: str
    process: Any = None

    def before(self, hub: HubServer, call: Call, fault: Fault) -> None:
        if self.phase == "arrives":
            self._kill_and_drop()
        elif self.phase == "is half sent":
            call.body.at(int(call.headers.get("Content-Length", 0)) // 2, self._kill_and_drop)

    def after(self, hub: HubServer, call: Call, response: Response) -> None:
        if self.phase == "is done":
            self._kill_and_drop()
        elif self.phase == "is answered":
            threading.Timer(0.001, self._kill).start()

    def _kill(self) -> None:
        eventually(lambda: self.process.pid)
        with suppress(ProcessLookupError):  # it may have ended with the answer
            os.kill(self.process.pid, signal.SIGKILL)

    def _kill_and_drop(self) -> None:
        self._kill()
        raise DroppedError


PHASES = ("arrives", "is half sent", "is done", "is answered")

Moment = tuple[str, int]
"""A phase of a request or `changes`, and the number of it."""


def moments_of(requests: int, changes: int) -> list[Moment]:
    """All of a work, those of requests in their order, then those of the changes."""
    of_requests = [(phase, number) for number in range(requests) for phase in PHASES]
    return of_requests + [("changes", number) for number in range(1, changes + 1)]


def chosen(moments: list[Moment], rounds: int, moment_of: random.Random) -> list[Moment]:
    """One of each part of the length."""
    bounds = [len(moments) * number // rounds for number in range(rounds + 1)]
    return [moments[moment_of.randrange(first, max(last, first + 1))] for first, last in pairwise(bounds)]


def run(work: Work, place: Path, moment: Moment | None = None) -> tuple[bool, int, int]:
    """Do the work in a process, killed at the moment if one is given: whether it was; its requests and changes."""
    phase, number = moment or ("", 0)
    environment = work.hub.environment(place / "home", TOKEN)
    changes, before = WARM.Value("i", 0, lock=False), len(work.hub.requests)  # who is killed leaves a lock locked
    how = Process(environment, changes, number if phase == "changes" else 0, place / "report")
    how.report.touch()
    process = WARM.Process(target=as_process, args=(work.do, work.target, work.folder, work.tree, how))
    kill = Kill(phase, process)
    if phase in PHASES:
        fault = work.hub.fail(how=kill, after=number)
    process.start()
    with running(process) as all_of_it:
        process.join(LONG)
        eventually(lambda: not all_of_it.states(), every=0.01)  # its workers end by themselves
    if phase in PHASES:
        fault.times = fault.hits
    work.hub.quiet()
    assert process.exitcode in (0, -signal.SIGKILL), how.report.read_text()
    return process.exitcode != 0, len(work.hub.requests) - before, changes.value


# What is there


def read(target: HuggingFaceHub) -> Files:
    """What comes back of every file that `main` lists."""
    pinned = target.pinned()
    stored = {path: file for path, file in pinned.stored().items() if path != ".gitattributes"}
    if not stored:
        return {}
    revision = pinned.opened()
    return {path: digest_of(revision.file(path, file.size)) for path, file in stored.items()}


def files_of(publication: Publication) -> Files:
    return {file.path: file.sha256 for file in publication.files}


def is_held(hub: HubServer, path: str, sha256: str) -> bool:
    """Whether a branch or tag has the file, and its bytes are there."""
    repo = hub.store.repos[REPO]
    held = [repo.commits[oid].files.get(path) for oid in repo.refs.values()]
    return (
        any(file and file.sha256 == sha256 for file in held)
        and hashlib.sha256(hub.object_bytes(sha256)).hexdigest() == sha256
    )


def assert_nothing_freed_is_lost(work: Work) -> None:
    for sidecar in read_sidecars(SHARD, work.folder):
        for config in SHARD.configs:
            path, sha256 = SHARD.path(work.folder, config, sidecar.subject), sidecar.files[config.name].sha256
            if path.exists():
                assert sha256_of(path) == sha256
            else:
                assert sidecar.freed and is_held(work.hub, config.path(sidecar.subject), sha256)


def assert_ended_right(work: Work, moves: int) -> None:
    assert read(work.target) == work.after
    assert moves_of_main(work.hub) == moves + 1
    refs = work.hub.store.repos[REPO].refs
    tagged = {f"refs/tags/{tag}": files for tag, files in work.tags.items()}
    assert refs.keys() == {f"refs/heads/{MAIN}", *tagged}
    for ref, files in tagged.items():
        there = {path: file.sha256 for path, file in work.hub.store.repos[REPO].commits[refs[ref]].files.items()}
        assert {path: sha256 for path, sha256 in there.items() if path != ".gitattributes"} == files
    assert {sidecar.subject for sidecar in read_sidecars(SHARD, work.folder)} == set(SUBJECTS)
    assert not temporary_files(work.folder.root)
    assert_nothing_freed_is_lost(work)
    here = [{path.stem for path in (SHARD.root(work.folder) / c.name).iterdir()} for c in SHARD.configs]
    assert all(of_config == here[0] for of_config in here), "a subject is freed in part"
    assert len(here[0]) < STAGE_SIZE if work.freed else len(here[0]) == len(SUBJECTS)


def moves_of_main(hub: HubServer) -> int:
    repo = hub.store.repos.get(REPO)
    return sum(move.ref == f"refs/heads/{MAIN}" and move.old is not None for move in repo.moves) if repo else 0


# The works, set up


@pytest.fixture(scope="session")
def twelve(made_once):
    """The folder with tree and data of all of these subjects, which is not to be changed."""
    return made_once("twelve_toys", partial(build_all, TWELVE))


@dataclass(frozen=True)
class Ground:
    """Where a work begins: a Hub of its own, and a data folder with the shards of some subjects."""

    place: Path
    data: DataFolder
    tree: Path
    hub: HubServer
    whole: Publication

    @property
    def target(self) -> HuggingFaceHub:
        return HuggingFaceHub(REPO, DATASET, endpoint=self.hub.endpoint)

    def folder(self, subjects: tuple[str, ...] = SUBJECTS) -> DataFolder:
        folder = linked(DATASET, self.data, self.place / "data", subjects)
        shutil.copytree(self.data.root / TABLES, folder.root / TABLES)
        return folder

    def publish_old(self) -> Publication:
        old = part_of(self.whole, self.data, self.place / "old", OLD)
        self.target.publish(old)
        return old

    def work(self, do: Do, folder: DataFolder, *, freed: bool = False, **others: Any) -> Work:
        """One that leads from nothing to the whole publication, but for what is said otherwise."""
        whole = files_of(self.whole)
        usual = Work(do, self.target, folder, self.tree, self.hub, {}, whole, {tag_of(self.whole): whole}, freed)
        return replace(usual, **others)


def publication_after_another(ground: Ground) -> Work:
    old = ground.publish_old()
    tags = {tag_of(each): files_of(each) for each in (old, ground.whole)}
    return ground.work(publish, ground.folder(), before=files_of(old), tags=tags)


def publication_in_place_of_somebody_elses(ground: Ground) -> Work:
    head = ground.hub.put_commit(REPO, PEERS)
    theirs = read(ground.target)
    tags = {BACKUP_TAG: theirs, tag_of(ground.whole): files_of(ground.whole)}
    target = replace(ground.target, take_over=head)
    return ground.work(publish, ground.folder(), target=target, before=theirs, tags=tags)


def staging(ground: Ground) -> Work:
    return ground.work(build_and_publish, ground.folder(MADE), freed=True)


def freeing(ground: Ground) -> Work:
    """All is staged, and nothing freed yet."""
    folder = ground.folder()
    ground.target.prepare_staging()
    sidecars = read_sidecars(SHARD, folder)
    ground.target.stage([file for sidecar in sidecars for file in SHARD.files_of(folder, sidecar)])
    return ground.work(build_and_publish, folder, freed=True)


def rollback(ground: Ground) -> Work:
    old = ground.publish_old()
    ground.target.publish(ground.whole)
    before, after = files_of(ground.whole), files_of(old)
    tags = {tag_of(old): after, tag_of(ground.whole): before}
    return ground.work(partial(roll_back, tag_of(old)), ground.folder(), before=before, after=after, tags=tags)


@contextmanager
def begun(work: Callable[[Ground], Work], place: Path, twelve: Path, *, xet: bool) -> Iterator[Work]:
    data = DataFolder(twelve / "data", TWELVE)
    place.mkdir()
    with HubServer(place / "hub", tokens={TOKEN: Token("ada", orgs={"toys": "write"})}, xet=xet) as hub:
        whole = recorded_publication(DATASET, data, REPO)
        yield work(Ground(place, data, twelve / TWELVE.record.top, hub, whole))


WORKS = {
    "LFS": (publication_after_another, False),
    "Xet": (publication_after_another, True),
    "taking over": (publication_in_place_of_somebody_elses, False),
    "staging": (staging, False),
    "freeing": (freeing, False),
    "rollback": (rollback, False),
}


@pytest.mark.parametrize(
    ("work", "xet", "rounds"),
    [
        *(pytest.param(*WORKS[name], 1, id=name) for name in ("LFS", "freeing")),
        *(pytest.param(*work, ROUNDS, id=f"{name}-{ROUNDS}", marks=pytest.mark.long) for name, work in WORKS.items()),
    ],
)
def test_killed_at_any_moment_main_is_whole_nothing_is_lost_and_the_next_run_ends_right(
    twelve, tmp_path, monkeypatch, work, xet, rounds
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    log.warning("SEED=%d", seed)
    with begun(work, tmp_path / "undisturbed", twelve, xet=xet) as ready:
        moves = moves_of_main(ready.hub)
        _, requests, changes = run(ready, tmp_path / "undisturbed")
        assert_ended_right(ready, moves)
    log.warning("%d requests, %d changes in the data folder", requests, changes)
    kills = 0
    for number, moment in enumerate(chosen(moments_of(requests, changes), rounds, random.Random(seed))):
        place = tmp_path / f"round {number}"
        with begun(work, place, twelve, xet=xet) as begun_work:
            moves = moves_of_main(begun_work.hub)
            killed, *done = run(begun_work, place, moment)
            kills += killed
            log.warning("%s: %s after %s", moment, "killed" if killed else "ended before", done)
            assert read(begun_work.target) in (begun_work.before, begun_work.after)
            assert_nothing_freed_is_lost(begun_work)
            run(begun_work, place)
            assert_ended_right(begun_work, moves)
    assert kills
