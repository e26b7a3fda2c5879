"""Volumes out of published shards, each under its path in the release's tree: whole and verified, or not at all."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from isles_assets.hub.reading import Unavailable
from isles_assets.hub.restoring.shards import PackedVolume
from isles_assets.lib.files import explained, lack_of_room, sha256_of, written_whole
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.lib.threads import each_in_threads

TREE = "TREE"
"""What messages call the folder that volumes are restored to."""

_OVERWRITE = "move it away, name another TREE, or use --overwrite"


@dataclass
class Restored:
    """How many files were `written`, there and `kept`, `left` as none could be read; what was refused, and why."""

    written: int = 0
    kept: int = 0
    left: int = 0
    findings: list[Finding] = field(default_factory=list)


def restore_volumes(
    volumes: Sequence[PackedVolume], root: Path, *, overwrite: bool, workers: int, log: Callable[[str], None]
) -> Restored:
    """Make `root` hold `volumes`, `workers` at a time; what cannot be restored does not stop the others.

    A file that is there with the right size and SHA-256 is kept; one of other content is refused, or with `overwrite`
    replaced. Raises `Refusal` if the disk has no room for what is missing, before anything is read.
    """
    restored = Restored()
    there = [volume for volume in volumes if os.path.lexists(root / volume.path)]
    progress = Progress(
        "file compared", len(there), log, plural="files compared", size=sum(volume.size for volume in there)
    )
    settled = set()
    for volume, same in each_in_threads(partial(_is_same, root, progress, overwrite), there, workers):
        if same is False:
            continue
        settled.add(volume.path)
        if isinstance(same, Refusal):
            restored.findings.extend(same.findings)
        else:
            restored.kept += 1
    missing = [volume for volume in volumes if volume.path not in settled]
    _check_room(root, missing, workers)
    progress = Progress("file", len(missing), log, size=sum(volume.size for volume in missing))
    stop, reasons = Event(), list[Finding]()
    for _, outcome in each_in_threads(partial(_fetch, root, progress, stop), missing, workers, stop):
        if isinstance(outcome, Unavailable):
            restored.left += 1
            reasons = reasons or list(outcome.findings)
        elif isinstance(outcome, Refusal):
            restored.findings.extend(outcome.findings)
        else:
            restored.written += 1
    restored.findings.extend(reasons)
    return restored


def _is_same(root: Path, progress: Progress, overwrite: bool, volume: PackedVolume) -> bool:
    """Whether `volume` is there. Raises `Refusal` for no file, one that cannot be read, or one not to `overwrite`."""
    path = root / volume.path
    if path.is_dir():
        raise _refused(volume, "is a folder", "move it away, or name another TREE")
    try:
        same = path.is_file() and path.stat().st_size == volume.size and sha256_of(path) == volume.sha256
    except OSError as error:
        raise _refused(volume, f"is there and cannot be read: {error.strerror}", _OVERWRITE) from error
    progress.advance(volume.size)
    if not same and not overwrite:
        raise _refused(volume, "is there with other content", _OVERWRITE)
    return same


def _check_room(root: Path, volumes: Sequence[PackedVolume], workers: int) -> None:
    """Raise `Refusal` unless `volumes` fit beside what is there; a file gives way when its successor is complete."""
    sizes = {volume.path: volume.size for volume in volumes}
    with explained(root, TREE):
        replaced = {path: (root / path).lstat().st_size for path in sizes if os.path.lexists(root / path)}
        needed = sum(sizes.values()) - sum(replaced.values()) + sum(sorted(replaced.values())[-workers:])
        problem = lack_of_room(root, needed)
    if problem:
        mend = "free space, set TREE to a larger disk, or choose subjects or volumes"
        raise Refusal.of("No volume was restored.", problem, mend, path=root)


def _fetch(root: Path, progress: Progress, stop: Event, volume: PackedVolume) -> None:
    """Bring `volume` under its path. Raises `Refusal`, leaving nothing, for other bytes; `Unavailable` stops all."""
    digest, size = hashlib.sha256(), 0
    try:
        _go_on(stop)
        with written_whole(root / volume.path, TREE) as temporary:
            with temporary.open("wb") as file:
                for piece in volume.file.read(volume.offset, volume.size):
                    _go_on(stop)
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                    progress.pass_bytes(len(piece))
            _check(volume, size, digest.hexdigest())
    except Unavailable:
        stop.set()
        raise
    progress.advance(0)


def _go_on(stop: Event) -> None:
    if stop.is_set():
        raise Unavailable("Others were stopped.")


def _check(volume: PackedVolume, size: int, sha256: str) -> None:
    """Raise `Refusal` unless `size` and digest are those that `volume` was packed with."""
    if (size, sha256) == (volume.size, volume.sha256):
        return
    what = f"its SHA-256 is {sha256}" if size == volume.size else f"{size} of {volume.size} bytes"
    mend = "run again; if it recurs, the published shard is damaged: tell its publisher"
    raise _refused(volume, f"is not published as it was packed: {what}", mend)


def _refused(volume: PackedVolume, problem: str, mend: str) -> Refusal:
    return Refusal.of("A file could not be restored.", problem, mend, path=volume.path, subject=volume.subject)
