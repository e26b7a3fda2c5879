"""The local target while others publish and read, and after a process was killed or the disk was full."""

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isles_assets.hub.local import KEPT_FOR_READERS, LocalHub
from isles_assets.hub.verification import remote_matches_local
from isles_assets.lib.files import locked, sha256_of, status_of
from isles_assets.lib.findings import Refusal
from isles_assets.products.product import PublicationFile
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets_tests.full_disk import fill
from isles_assets_tests.processes import LONG, on_small_disk
from isles_assets_tests.running import WARM, eventually, forked
from isles_assets_tests.toy import DATASET, TOY, folder_at

REPO = TOY.repo
SECONDS = 1.0
ROUNDS = int(os.environ.get("ROUNDS", "3"))

Files = dict[str, str]
"""Digests by path."""


def variant(publication: Publication, folder: Path, mark: bytes) -> Publication:
    """Files under the paths of `publication`, each of them with other bytes, which lie in `folder`."""

    def of(file: PublicationFile) -> PublicationFile:
        content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
        assert content is not None
        made = PublicationFile.of_bytes(file.path, content + mark)
        if isinstance(file.content, bytes):
            return made
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + mark)
        return replace(made, content=path, noted=status_of(path))

    return replace(publication, files=tuple(map(of, publication.files)))


def files_of(publication: Publication) -> Files:
    return {file.path: file.sha256 for file in publication.files}


def files_in(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def publications(toy_built, tmp_path) -> list[Publication]:
    """Four that have their paths in common, and no bytes."""
    whole = recorded_publication(DATASET, toy_built.folder, REPO)
    return [variant(whole, tmp_path / mark, mark.encode()) for mark in ("first", "second", "third", "fourth")]


@pytest.fixture
def hub(tmp_path) -> LocalHub:
    return LocalHub(tmp_path / "hub", REPO)


def revisions(hub: LocalHub) -> list[Path]:
    return list(hub.folder.with_name(f".{hub.folder.name}").iterdir())


def assert_nothing_else_is_there(hub: LocalHub, *known: Publication) -> None:
    """But the link, the lock and whole revisions."""
    name = hub.folder.name
    assert {path.name for path in hub.folder.parent.iterdir()} == {name, f".{name}", f".{name}.lock"}
    assert {path.name for path in revisions(hub)} <= {publication.digest[:40] for publication in known}
    assert all(files_in(path) in map(files_of, known) for path in revisions(hub))


def publish_again_and_again(hub: LocalHub, publications: list[Publication], done: Any, times: Any) -> None:
    while not done.is_set():
        for publication in publications:
            hub.publish(publication)
            times.release()
            time.sleep(0.01)  # the others have waited


def look(hub: LocalHub, known: list[Publication]) -> None:
    """What readers see: one that follows the link once, one that follows it for each file, and our own."""
    assert files_in(hub.folder.resolve()) in map(files_of, known)
    for path in files_of(known[0]):
        assert sha256_of(hub.folder / path) in {files_of(one)[path] for one in known}
    pinned = hub.pinned()
    assert sum(not remote_matches_local(pinned, one) for one in known) == 1


@pytest.mark.parametrize("number", [2, pytest.param(3, marks=pytest.mark.long)])
def test_readers_see_whole_datasets_while_several_processes_publish(hub, publications, number):
    known, latest = publications[:number], publications[number]
    hub.publish(known[0])
    done, times = WARM.Event(), [WARM.Semaphore(0) for _ in known]
    with contextlib.ExitStack() as stack:
        publishers = [
            stack.enter_context(forked(publish_again_and_again, hub, [one], done, of_one))
            for one, of_one in zip(known, times, strict=True)
        ]
        for of_one in times:
            assert of_one.acquire(timeout=LONG)
        deadline, looks = time.monotonic() + SECONDS, 0
        while time.monotonic() < deadline:
            look(hub, known)
            looks += 1
        done.set()
        for publisher in publishers:
            publisher.join()
            assert publisher.exitcode == 0
    assert looks
    assert all(of_one.acquire(block=False) for of_one in times)
    hub.publish(latest)
    assert files_in(hub.folder) == files_of(latest)
    assert_nothing_else_is_there(hub, *known, latest)


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.long) for number in range(1, ROUNDS))])
def test_killed_at_any_moment_all_is_whole_and_the_next_publication_leaves_nothing_behind(hub, publications, number):
    *turns, latest = publications
    moments = random.Random(number)
    for turn in range(5):
        times = WARM.Semaphore(0)
        with forked(publish_again_and_again, hub, turns, WARM.Event(), times) as process:
            assert times.acquire(timeout=LONG)
            time.sleep(moments.uniform(0, 0.1))
            assert process.is_alive()
        look(hub, publications)
        hub.publish([latest, turns[0]][turn % 2])
        assert files_in(hub.folder) == files_of([latest, turns[0]][turn % 2])
        assert_nothing_else_is_there(hub, *publications)


def test_one_waits_for_another_and_says_so_once(hub, publications):
    hub.publish(publications[0])
    said: list[str] = []
    waiting = replace(hub, log=said.append)
    with locked(hub.folder.with_name(f".{hub.folder.name}.lock"), lambda: None):
        thread = threading.Thread(target=waiting.publish, args=[publications[1]])
        thread.start()
        eventually(lambda: said)
        time.sleep(0.2)
        assert files_in(hub.folder) == files_of(publications[0])
    thread.join()
    assert said == [f"Waiting: another process publishes to {hub.folder}"]
    assert files_in(hub.folder) == files_of(publications[1])


def test_a_file_that_is_not_there_when_all_were_placed_stops_the_publication(hub, publications):
    hub.publish(publications[0])
    many = [PublicationFile.of_bytes(f"data/file-{number:04}", b"x") for number in range(2000)]

    def remove_the_first() -> None:
        path = eventually(lambda: list(hub.folder.parent.glob(f".*/*/{many[0].path}")))[0]
        path.unlink()

    thread = threading.Thread(target=remove_the_first)
    thread.start()
    with pytest.raises(Refusal, match="did not arrive") as refusal:
        hub.publish(replace(publications[1], files=tuple(many)))
    thread.join()
    assert [finding.path for finding in refusal.value.findings] == [many[0].path]
    assert files_in(hub.folder) == files_of(publications[0])
    assert_nothing_else_is_there(hub, publications[0])


@pytest.fixture
def calls(monkeypatch) -> Iterator[list[tuple[str, Any]]]:
    """Every inode that was synced, and every name that was given, in their order."""
    made: list[tuple[str, Any]] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        fsync(descriptor)
        made.append(("synced", os.fstat(descriptor).st_ino))

    def noted_rename(source: Any, target: Any, **options: Any) -> None:
        rename(source, target, **options)
        made.append(("renamed", Path(target)))

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    yield made


def test_every_file_and_folder_is_synced_before_the_link_is_there_and_the_link_after(hub, publications, calls):
    for again in (False, True, True):  # the third finds the revision of the first
        calls.clear()
        hub.publish(publications[int(again and hub.folder.resolve().name == publications[0].digest[:40])])
        switched = calls.index(("renamed", hub.folder))
        synced = {inode for what, inode in calls[:switched] if what == "synced"}
        revision = hub.folder.resolve()
        assert {path.stat().st_ino for path in (revision, *revision.rglob("*"))} <= synced
        if not again:
            above = [revision.parent, hub.folder.parent, hub.root, hub.root.parent]
            assert {path.stat().st_ino for path in above} <= synced
        assert calls[switched + 1 :] == [("synced", hub.folder.parent.stat().st_ino)]


def test_who_follows_the_link_keeps_the_old_revision_until_a_later_publication(hub, publications):
    old, new, _, _ = publications
    hub.publish(old)
    reader = hub.folder.resolve()
    hub.publish(new)
    hub.publish(new)
    assert files_in(reader) == files_of(old)
    late = time.time() - KEPT_FOR_READERS - 1
    os.utime(reader, (late, late))
    assert not hub.publish(new).changed
    assert revisions(hub) == [hub.folder.resolve()]


def test_a_revision_that_was_spoiled_since_is_not_used_again(hub, publications):
    old, new, _, _ = publications
    hub.publish(old)
    (hub.folder / old.files[0].path).unlink()
    hub.publish(new)
    assert hub.publish(old).changed
    assert files_in(hub.folder) == files_of(old)
    assert not hub.publish(old).changed


def test_links_that_are_removed_make_no_file_suspect(hub, publications):
    """The file is taken for what was recorded, which it is not: so it was not read."""
    old, new, _, _ = publications
    hub.publish(old)
    hub.publish(new)
    late = time.time() - KEPT_FOR_READERS - 1
    for revision in revisions(hub):
        os.utime(revision, (late, late))
    first = next(file for file in old.files if isinstance(file.content, Path))
    claimed = replace(first, sha256="0" * 64, noted=status_of(first.content))
    hub.publish(replace(old, files=(claimed,)))
    assert len(revisions(hub)) == 2 and (hub.folder / first.path).samefile(first.content)


FULL = (
    f"import sys; from pathlib import Path; from {__name__} import on_a_full_disk as run; run(*map(Path, sys.argv[1:]))"
)


@pytest.mark.parametrize("size", [pytest.param("8m", marks=pytest.mark.long), "8m,nr_inodes=200"])
def test_a_disk_that_is_full_at_any_write_leaves_all_as_it_was(toy_built, tmp_path, size):
    disk = tmp_path / "disk"
    disk.mkdir()
    on_small_disk(disk, size, FULL, toy_built.folder.root, tmp_path / "variants", disk)


def on_a_full_disk(data: Path, folder: Path, disk: Path) -> None:
    """Publish with room for one block, or one file, more each time, until it fits."""
    whole = recorded_publication(DATASET, folder_at(data), REPO)
    old, new = (variant(whole, folder / mark, mark.encode()) for mark in ("old", "new"))
    hub = LocalHub(disk / "hub", REPO)
    fillers = fill(disk)
    refused = _refusals(hub, old, fillers, lambda: not hub.folder.exists())
    fillers += fill(disk)
    refused += _refusals(hub, new, fillers, lambda: files_in(hub.folder) == files_of(old))
    assert refused > 20
    for filler in fillers:
        filler.unlink()
    assert files_in(hub.folder) == files_of(new)
    assert_nothing_else_is_there(hub, old, new)


def _refusals(hub: LocalHub, publication: Publication, fillers: list[Path], is_as_before: Callable[[], bool]) -> int:
    for number in range(len(fillers)):
        try:
            hub.publish(publication)
        except Refusal as refusal:
            assert "the disk is full" in str(refusal)
            assert is_as_before()
            assert not list(hub.root.rglob("*.tmp"))
            fillers.pop().unlink(missing_ok=True)
        else:
            return number
    raise AssertionError("it never fitted")
