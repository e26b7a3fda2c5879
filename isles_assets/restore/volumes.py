"""Volumes out of published shards, each under its path in the release's tree: whole and verified, or not at all."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from isles_assets.files import explained, free_space, sha256_of, written_whole
from isles_assets.findings import Finding, Refusal
from isles_assets.hub.reading import Unavailable
from isles_assets.progress import Progress, readable_bytes
from isles_assets.restore.shards import PackedVolume
from isles_assets.restore.threads import each_in_threads

TREE = "TREE"
"""What messages call the folder that volumes are restored to."""

_OVERWRITE = "move it away, name another TREE, or use --overwrite"


@dataclass
class Restored:
    """The outcome: numbers of files `written`, found there and `kept`, and `left` because nothing more could be read.

    `findings` say which were refused and why.
    """

    written: int = 0
    kept: int = 0
    left: int = 0
    findings: list[Finding] = field(default_factory=list)


def restore_volumes(
    volumes: Sequence[PackedVolume], root: Path, *, overwrite: bool, workers: int, say: Callable[[str], None]
) -> Restored:
    """Make `root` hold `volumes`, `workers` at a time; what cannot be restored does not stop the others.

    A file that is there with the right size and SHA-256 is kept; one of other content is refused, or with `overwrite`
    replaced. Raises `Refusal` if the disk has no room for what is missing, before anything is read.
    """
    restored = Restored()
    there = [volume for volume in volumes if os.path.lexists(root / volume.path)]
    progress = Progress("files compared", len(there), say, size=sum(volume.size for volume in there))
    settled = set()
    for volume, same in each_in_threads(partial(_is_same, root, progress), there, workers):
        if isinstance(same, Refusal):
            restored.findings.extend(same.findings)
        elif same:
            restored.kept += 1
        elif overwrite:
            continue
        else:
            restored.findings.append(Finding(volume.subject, volume.path, "is there with other content", _OVERWRITE))
        settled.add(volume.path)
    if missing := [volume for volume in volumes if volume.path not in settled]:
        _check_room(root, missing, workers)
        _fetch_all(missing, root, workers, say, restored)
    return restored


def _fetch_all(
    volumes: Sequence[PackedVolume], root: Path, workers: int, say: Callable[[str], None], restored: Restored
) -> None:
    stop = Event()
    progress = Progress("files", len(volumes), say, size=sum(volume.size for volume in volumes))
    tried = 0
    for _, outcome in each_in_threads(partial(_fetch, root, progress, stop), volumes, workers, stop):
        tried += 1
        if not isinstance(outcome, Refusal):
            restored.written += 1
            continue
        restored.findings.extend(outcome.findings)
        if isinstance(outcome, Unavailable):
            restored.left = len(volumes) - tried
            return


def _is_same(root: Path, progress: Progress, volume: PackedVolume) -> bool:
    """Whether what is under the path of `volume` is it. Raises `Refusal` for what is no file or cannot be read."""
    path = root / volume.path
    if path.is_dir():
        finding = Finding(volume.subject, volume.path, "is a folder", "move it away, or name another TREE")
        raise Refusal("A file could not be restored.", [finding])
    try:
        same = path.is_file() and path.stat().st_size == volume.size and sha256_of(path) == volume.sha256
    except OSError as error:
        finding = Finding(volume.subject, volume.path, f"is there and cannot be read: {error.strerror}", _OVERWRITE)
        raise Refusal("A file could not be restored.", [finding]) from error
    progress.advance(volume.size)
    return same


def _check_room(root: Path, volumes: Sequence[PackedVolume], workers: int) -> None:
    """Raise `Refusal` unless `volumes` fit beside what is there; a file gives way when its successor is complete."""
    sizes = {volume.path: volume.size for volume in volumes}
    with explained(root, TREE):
        replaced = {path: (root / path).lstat().st_size for path in sizes if os.path.lexists(root / path)}
        needed = sum(sizes.values()) - sum(replaced.values()) + sum(sorted(replaced.values())[-workers:])
        free = free_space(root)
    if needed > free:
        problem = f"has {readable_bytes(free)} free, and {readable_bytes(needed)} are needed"
        mend = "free space, set TREE to a larger disk, or choose subjects or volumes"
        raise Refusal("Nothing was restored.", [Finding("", str(root), problem, mend)])


class _StoppedError(Exception):
    """Another volume's end is the end of all."""


def _fetch(root: Path, progress: Progress, stop: Event, volume: PackedVolume) -> None:
    """Bring `volume` under its path. Raises `Refusal`, and leaves nothing, if it is not the bytes that it should be."""
    digest, size = hashlib.sha256(), 0
    with written_whole(root / volume.path, TREE) as temporary:
        with temporary.open("wb") as file:
            for piece in volume.file.read(volume.offset, volume.size):
                if stop.is_set():
                    raise _StoppedError
                file.write(piece)
                digest.update(piece)
                size += len(piece)
                progress.pass_bytes(len(piece))
        if (size, digest.hexdigest()) != (volume.size, volume.sha256):
            problem = f"is not published as it was packed: {size} of {volume.size} bytes"
            if size == volume.size:
                problem = f"is not published as it was packed: its SHA-256 is {digest.hexdigest()}"
            mend = "run again; if it recurs, the published shard is damaged: tell its publisher"
            raise Refusal("A file could not be restored.", [Finding(volume.subject, volume.path, problem, mend)])
    progress.advance(0)
