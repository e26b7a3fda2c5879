"""The data folder: what its file system can do, and whether it has room for what a run still writes."""

import errno
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from isles_assets.doctor.lines import Line, Status, Topic, fine, lines_of
from isles_assets.lib.files import free_space, lock, nearest_existing, write_errors_refused
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.products.building import MAX_LOCAL_SUBJECTS
from isles_assets.publication.guard import keep_release_from_sample
from isles_assets.settings.setup import Setup
from isles_assets.source.arrival import room_needed

_SAMPLE_BYTES = 70_000_000
"""Bytes of the synthetic sample, and of the shards made of it, each."""

_TABLES_AND_PREVIEWS = 100_000_000
"""Bytes of all that is made beside the shards."""

_ELSEWHERE = "set ISLES_DATA_DIR to a folder on another file system"


def folder_lines(setup: Setup) -> Iterator[Line]:
    """Yield what the file system of the data folder can do, and its room. Leaves nothing behind."""
    root = setup.folder.root
    there = nearest_existing(root)
    if not there.is_dir():
        yield Line(Topic.FOLDER, Status.BLOCKER, f"{there} is a file", "set ISLES_DATA_DIR to a folder")
        return
    try:
        with write_errors_refused(there / "file"), tempfile.TemporaryDirectory(prefix=".doctor-", dir=there) as probe:
            abilities = list(_abilities(Path(probe), publishes_by_links=not setup.publishes_to_hub))
    except Refusal as refusal:
        yield from lines_of(Topic.FOLDER, Status.BLOCKER, refusal)
        return
    where = f"{root}{'' if root.exists() else ', which will be made'}"
    can = [line.what for line in abilities if line.status is Status.FINE]
    yield fine(Topic.FOLDER, f"{where}: can be written to; {', '.join(can)}")
    yield from (line for line in abilities if line.status is not Status.FINE)
    links = any(line.what == _LINKS for line in abilities)
    yield from room_lines(setup, copies=not links and not setup.publishes_to_hub)
    if setup.tree.exists() and _disk(setup.tree) != _disk(root):
        yield fine(Topic.FOLDER, f"the tree is on another disk: {setup.tree}")
    if setup.uses_sample:
        try:
            keep_release_from_sample(setup.folder)
        except Refusal as refusal:
            yield from lines_of(Topic.FOLDER, Status.BLOCKER, refusal)


_LINKS = "hard links"


def _abilities(probe: Path, *, publishes_by_links: bool) -> Iterator[Line]:
    """Yield what the file system can do, as tried in the empty folder `probe`."""
    (probe / "a").write_bytes(b"x")
    try:
        (probe / "link").hardlink_to(probe / "a")
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        what = "its file system has no hard links" + (
            ": the local target copies every shard, which needs their room again" if publishes_by_links else ""
        )
        yield Line(Topic.FOLDER, Status.NOTE, what, _ELSEWHERE if publishes_by_links else "")
    else:
        yield fine(Topic.FOLDER, _LINKS)
    try:
        with (probe / "a").open("ab") as file:
            lock(file)
    except OSError as error:
        what = f"its file system has no locks: {error.strerror}"
        yield Line(Topic.FOLDER, Status.BLOCKER, what, _ELSEWHERE)
    else:
        yield fine(Topic.FOLDER, "locks")
    if (probe / "A").exists():
        what = "its file system does not tell `a` from `A`: misspelled names of the release are not noticed"
        yield Line(Topic.FOLDER, Status.NOTE, what, _ELSEWHERE)
    else:
        yield fine(Topic.FOLDER, "tells `a` from `A`")


def room_lines(setup: Setup, *, copies: bool = False) -> Iterator[Line]:
    """Yield a line on the room of each disk that a run still writes to.

    Args:
        copies: The local target copies the shards, because it cannot link to them.
    """
    release = setup.dataset.release
    shards = bytes_of_shards(setup)
    full = _needed(setup, shards * (2 if copies else 1))
    freed = _needed(setup, shards * min(MAX_LOCAL_SUBJECTS, len(release.subjects)) // len(release.subjects))
    for disk in dict.fromkeys(map(_disk, full)):
        paths = [path for path in full if _disk(path) == disk]
        free = free_space(paths[0])
        all_at_once, by_freeing = (sum(needed[path] for path in paths) for needed in (full, freed))
        parts = ", ".join(f"{path.name} {readable_bytes(full[path])}" for path in paths if full[path])
        what = f"{nearest_existing(paths[0])} has {readable_bytes(free)} free; a run still writes " + (
            f"{readable_bytes(all_at_once)}: {parts}" if parts else "next to nothing"
        )
        if setup.publishes_to_hub and by_freeing < all_at_once:
            what += f"; {readable_bytes(by_freeing)} with free_disk"
        larger = "free space, or set ISLES_DATA_DIR to a larger disk"
        if all_at_once <= free:
            yield fine(Topic.FOLDER, what)
        elif setup.publishes_to_hub and by_freeing <= free:
            both = "zenodo_archive and subject_shard" if setup.uses_zenodo else "subject_shard"
            yield Line(Topic.FOLDER, Status.NOTE, what, f"set free_disk in the run config of {both}; or {larger}")
        else:
            yield Line(Topic.FOLDER, Status.BLOCKER, what, larger)


def bytes_of_shards(setup: Setup) -> int:
    """Return the bytes that all shards take: those of the tree's volumes, or of the archive until there is a tree."""
    release = setup.dataset.release
    if setup.tree.is_dir():
        paths = [setup.tree / volume.path(subject) for subject in release.subjects for volume in release.volumes]
        return sum(size for path in paths if (size := _size(path)))
    return _SAMPLE_BYTES if setup.uses_sample else release.record.size


def _size(path: Path) -> int:
    """Return the size of a file; 0 if it cannot be seen, which the lines on the tree tell."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _needed(setup: Setup, shards: int) -> Mapping[Path, int]:
    """Return the bytes that a run still writes, by path, if the shards take `shards` bytes."""
    places, previews = setup.places, setup.folder.root / "previews"
    needed = room_needed(setup.dataset.release.record, places, shards=shards)
    if not setup.uses_zenodo:
        needed = {setup.tree: 0, places.shards: needed[places.shards]}
        if setup.uses_sample and not setup.tree.exists():
            needed[setup.tree] = _SAMPLE_BYTES
    small = 0 if previews.exists() else min(_TABLES_AND_PREVIEWS, max(shards, _SAMPLE_BYTES))
    ours = {path: size for path, size in needed.items() if path != setup.tree or size}
    return {**ours, previews: small}


def _disk(path: Path) -> int:
    return nearest_existing(path).stat().st_dev
