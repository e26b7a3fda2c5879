"""Restoring volumes from published shards to their paths in the release's tree: whole and verified, or not at all."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event

from isles_assets.hub.reading import Unavailable
from isles_assets.hub.restoring.shards import PackedVolume
from isles_assets.lib.files import atomic_write, lack_of_space, sha256_of, write_errors_refused
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.lib.threads import map_in_threads

TREE = "TREE"
"""Name, in messages, of the folder that volumes are restored to."""

_OVERWRITE = "move it away, name another TREE, or use --overwrite"


@dataclass
class Restored:
    """Numbers of files, and findings of those that were refused."""

    written: int = 0
    kept: int = 0
    """They were there already."""
    skipped: int = 0
    """The dataset could not be read any more."""
    findings: list[Finding] = field(default_factory=list)


def restore_volumes(
    volumes: Sequence[PackedVolume], root: Path, *, overwrite: bool, workers: int, log: Callable[[str], None]
) -> Restored:
    """Restore `volumes` below `root`, `workers` at a time. One that cannot be restored does not stop the others.

    An existing file is kept if it has the right size and SHA-256. One with other content is refused, or replaced with
    `overwrite`.

    Raises:
        Refusal: The disk has no room for the missing files. Nothing was read.
    """
    restored = Restored()
    existing = [volume for volume in volumes if os.path.lexists(root / volume.path)]
    progress = Progress(
        "file compared", len(existing), log, plural="files compared", size=sum(volume.size for volume in existing)
    )
    done = set()
    for volume, same in map_in_threads(partial(_is_same, root, progress, overwrite), existing, workers):
        if same is False:
            continue
        done.add(volume.path)
        if isinstance(same, Refusal):
            restored.findings.extend(same.findings)
        else:
            restored.kept += 1
    missing = [volume for volume in volumes if volume.path not in done]
    _check_room(root, missing, workers)
    progress = Progress("file", len(missing), log, size=sum(volume.size for volume in missing))
    stop, reasons = Event(), list[Finding]()
    for _, outcome in map_in_threads(partial(_fetch, root, progress, stop), missing, workers, stop):
        if isinstance(outcome, Unavailable):
            restored.skipped += 1
            reasons = reasons or list(outcome.findings)
        elif isinstance(outcome, Refusal):
            restored.findings.extend(outcome.findings)
        else:
            restored.written += 1
    restored.findings.extend(reasons)
    return restored


def _is_same(root: Path, progress: Progress, overwrite: bool, volume: PackedVolume) -> bool:
    """Return whether the file at the path of `volume` is that volume.

    Raises `Refusal` if it is a folder, cannot be read, or differs and must not be overwritten.
    """
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
    """Raise `Refusal` unless `volumes` fit on the disk. A file is replaced only when the new one is complete."""
    sizes = {volume.path: volume.size for volume in volumes}
    with write_errors_refused(root, TREE):
        replaced = {path: (root / path).lstat().st_size for path in sizes if os.path.lexists(root / path)}
        needed = sum(sizes.values()) - sum(replaced.values()) + sum(sorted(replaced.values())[-workers:])
        problem = lack_of_space(root, needed)
    if problem:
        mend = "free space, set TREE to a larger disk, or choose subjects or volumes"
        raise Refusal.of("No volume was restored.", problem, mend, path=root)


def _fetch(root: Path, progress: Progress, stop: Event, volume: PackedVolume) -> None:
    """Write `volume` to its path. Raises `Refusal`, and writes no file, for wrong bytes; `Unavailable` stops all."""
    digest, size = hashlib.sha256(), 0
    try:
        _check_stop(stop)
        with atomic_write(root / volume.path, TREE) as temporary:
            with temporary.open("wb") as file:
                for piece in volume.file.read(volume.offset, volume.size):
                    _check_stop(stop)
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                    progress.pass_bytes(len(piece))
            _check(volume, size, digest.hexdigest())
    except Unavailable:
        stop.set()
        raise
    progress.advance(0)


def _check_stop(stop: Event) -> None:
    if stop.is_set():
        raise Unavailable("Others were stopped.")


def _check(volume: PackedVolume, size: int, sha256: str) -> None:
    """Raise `Refusal` unless size and digest are those of `volume` when it was packed."""
    if (size, sha256) == (volume.size, volume.sha256):
        return
    difference = f"its SHA-256 is {sha256}" if size == volume.size else f"{size} of {volume.size} bytes"
    mend = "run again; if it recurs, the published shard is damaged: tell its publisher"
    raise _refused(volume, f"is not published as it was packed: {difference}", mend)


def _refused(volume: PackedVolume, problem: str, mend: str) -> Refusal:
    return Refusal.of("A file could not be restored.", problem, mend, path=volume.path, subject=volume.subject)
