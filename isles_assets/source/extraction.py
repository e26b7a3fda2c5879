"""The extraction of the release into a tree that appears whole or not at all, and that can stop and go on.

Files are extracted to `.<tree>.part`, which stays when a run is killed or its disk is full. The next run keeps a file
there if its bytes have the size and the CRC-32 that the archive states. It reads them for that: nothing notes what
was finished, so a kill, a power failure or damage on the disk cannot make such a note wrong.
"""

import errno
import hashlib
import json
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple
from pathlib import Path
from threading import Lock
from types import MappingProxyType

from isles_assets.lib.files import (
    atomic_write,
    lack_of_space,
    lock,
    remove,
    remove_leftovers,
    sync,
    sync_folder,
    write_errors_refused,
)
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import ByteProgress, readable_bytes
from isles_assets.lib.words import counted
from isles_assets.release.release import Release
from isles_assets.source.archive import MEND_OTHER, NOT_EXTRACTED, Member, extract, members, set_mtime
from isles_assets.source.verified import read_note

_NOTE, _LOCK = "archive.json", "lock"
_READ_SIZE = 1 << 20


def extract_release(
    release: Release,
    archive: Path,
    tree: Path,
    *,
    workers: int,
    extra_files: Mapping[str, bytes] = MappingProxyType({}),
    log: Callable[[str], None] = lambda words: None,
) -> None:
    """Extract the top folder of the archive of `release` to `tree`, which appears when it is complete.

    Files get the archive's modification times. Files that an earlier run has extracted from the same archive are kept,
    once their CRC-32 is computed again.

    Args:
        extra_files: Contents of more files to write into `tree`, by name.

    Raises:
        Refusal: The archive lacks files of the release, is unsafe or damaged, the disk is too small, or another
            process extracts it. Nothing is left behind of an archive that is not as it should be. What was extracted
            before the disk was full is kept.
    """
    if tree.exists():
        raise Refusal.of(NOT_EXTRACTED, "exists already", "move it away", path=tree)
    top = release.record.top
    listed = members(archive)
    by_name = {member.name: member for member in listed}
    wanted = [member for name, member in by_name.items() if name.startswith(f"{top}/")]
    _check_release(archive, release, by_name)
    if others := [name for name in by_name if not name.startswith(f"{top}/")]:
        log(f"Leaving out files outside `{top}`: {name_some(others)}")
    size = sum(member.size for member in wanted)
    part = part_beside(tree)
    with write_errors_refused(tree, headline=f"{NOT_EXTRACTED} What was extracted is kept."):
        tree.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(tree.parent)
        if problem := lack_of_space(tree, size - extracted_size(tree)):
            mend = "free space, or set ISLES_DATA_DIR to a larger disk; then run again"
            raise Refusal.of(NOT_EXTRACTED, problem, mend, path=tree.parent)
        with _opened(tree, _identity(release, listed), log):
            try:
                kept = keep_sound_files(part, wanted, workers, log)
                progress = ByteProgress("Extracted", size, log, done=sum(member.size for member in kept))
                names = {member.name for member in kept}
                extract(archive, wanted, part, workers=workers, progress=progress, kept=names)
            except Refusal:
                shutil.rmtree(part, ignore_errors=True)
                raise
            for name, content in extra_files.items():
                with (part / top / name).open("wb") as file:
                    file.write(content)
                    sync(file)
            sync_folder(part / top)
            (part / top).rename(tree)
            sync_folder(tree.parent)
            shutil.rmtree(part, ignore_errors=True)


def part_beside(tree: Path) -> Path:
    """Return the folder that holds what is extracted until `tree` is complete."""
    return tree.with_name(f".{tree.name}.part")


def extracted_size(tree: Path) -> int:
    """Return how many bytes an extraction of `tree` that has not ended holds on the disk."""
    return sum(status.st_size for status in _files(part_beside(tree)))


def remove_part(tree: Path, log: Callable[[str], None]) -> None:
    """Remove what an extraction left beside `tree`, which is there, unless a process is at it."""
    part = part_beside(tree)
    with suppress(FileNotFoundError), (part / _LOCK).open("ab") as file:
        if lock(file):
            log(f"Removing {part}, which an extraction has left")
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _opened(tree: Path, identity: Mapping[str, str], log: Callable[[str], None]) -> Iterator[None]:
    """Hold the part of `tree` in this process alone. Empty it if it is of another archive than that of `identity`.

    Raises:
        Refusal: Another process holds it, or has just completed the tree.
    """
    part = part_beside(tree)
    with _locked(part):
        if tree.exists():
            shutil.rmtree(part, ignore_errors=True)
            raise Refusal.of(NOT_EXTRACTED, "another process has just completed it", "run again", path=tree)
        note = read_note(part / _NOTE)
        if note != identity:
            if size := extracted_size(tree):
                origin = f"another archive, {note}" if note else "something unknown"
                log(f"Dropping {readable_bytes(size)} in {part}: they are of {origin}")
            (part / _NOTE).unlink(missing_ok=True)  # first: what a kill leaves of the rest is of something unknown
            sync_folder(part)
            for path in part.iterdir():
                if path.name != _LOCK:
                    remove(path)
            with atomic_write(part / _NOTE) as temporary:
                temporary.write_text(json.dumps(identity))
        yield


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Make the folder `part`, and hold its lock, which goes with the folder."""
    while True:
        part.mkdir(exist_ok=True)
        try:
            file = (part / _LOCK).open("ab")
        except FileNotFoundError:  # another process has just removed the folder
            continue
        with file:
            if not lock(file):
                raise Refusal.of(NOT_EXTRACTED, "another process is extracting it", "wait for it, or end it", path=part)
            with suppress(FileNotFoundError):
                if os.path.samestat((part / _LOCK).stat(), os.fstat(file.fileno())):
                    yield
                    return


def _identity(release: Release, listed: Sequence[Member]) -> dict[str, str]:
    """Return what tells archives apart: which is pinned, and a digest of what this one states of its files."""
    listing = json.dumps([astuple(member) for member in listed])
    return {
        "version": release.record.version,
        "md5": release.record.md5,
        "listing": hashlib.sha256(listing.encode()).hexdigest(),
    }


def keep_sound_files(part: Path, wanted: Sequence[Member], workers: int, log: Callable[[str], None]) -> list[Member]:
    """Return the members of `wanted` that are in `part`, by size and CRC-32. Remove all other files there."""
    by_path = {part / member.name: member for member in wanted}
    _remove_others(part, by_path)
    candidates = [member for path, member in by_path.items() if path.exists()]
    if not candidates:
        return []
    size = sum(member.size for member in candidates)
    log(f"Reading the {readable_bytes(size)} that were extracted before, to compare their CRC-32")
    progress, one = ByteProgress("Read again", size, log), Lock()

    def advance(count: int) -> None:
        with one:
            progress.advance(count)

    def is_sound(member: Member) -> bool:
        path = part / member.name
        if problem := _problem_of(path, member, advance):
            log(f"Extracting {member.name} again: {problem}")
            path.unlink()
            return False
        set_mtime(path, member)
        return True

    with ThreadPoolExecutor(workers) as executor:
        try:
            sound = list(executor.map(is_sound, candidates))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
    kept = [member for member, is_kept in zip(candidates, sound, strict=True) if is_kept]
    log(_said_of_kept(wanted, kept))
    return kept


def _remove_others(part: Path, by_path: Mapping[Path, Member]) -> None:
    """Remove all in `part` but complete files of `by_path`, and the folders that hold some. Links are not followed."""
    folders = {folder for path in by_path for folder in path.parents}
    spared = {part / _NOTE, part / _LOCK}
    for root, names, files in os.walk(part):
        for name in [*names, *files]:
            path = Path(root, name)
            status = path.lstat()
            is_folder = stat.S_ISDIR(status.st_mode) and path in folders
            is_file = stat.S_ISREG(status.st_mode) and path in by_path and status.st_size == by_path[path].size
            if not (is_folder or is_file or path in spared):
                remove(path)
                if name in names:
                    names.remove(name)


def _said_of_kept(wanted: Sequence[Member], kept: Sequence[Member]) -> str:
    """Return in words what is kept, and what has to be decompressed again all the same."""
    names = {member.name for member in kept}
    size = sum(member.size for member in kept)
    total = sum(member.size for member in wanted)
    words = (
        f"Keeping {counted(len(kept), 'file')} of {len(wanted)}, {readable_bytes(size)} of {readable_bytes(total)}, "
        "that were extracted before"
    )
    if again := _decompressed_again(wanted, names):
        words += (
            f"; {readable_bytes(again)} of them lie before missing files of their blocks and are decompressed again"
        )
    return words


def _decompressed_again(wanted: Iterable[Member], kept: Container[str]) -> int:
    """Return the bytes of kept files that precede a missing one in a block: a block cannot be entered in the middle."""
    before: dict[int, int] = {}
    again = 0
    for member in wanted:
        if member.block is None:
            continue
        if member.name in kept:
            before[member.block] = before.get(member.block, 0) + member.size
        else:
            again += before.pop(member.block, 0)
    return again


def _problem_of(path: Path, member: Member, advance: Callable[[int], None]) -> str:
    """Return what is wrong with the bytes of the file at `path`, "" if nothing is."""
    crc = 0
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(_READ_SIZE):
                crc = zlib.crc32(chunk, crc)
                advance(len(chunk))
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return "the disk cannot read it"
    return "" if crc == (member.crc32 or 0) else "its CRC-32 is not the archive's"


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Yield the status of each file below `folder`. Links are not followed."""
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # another process has just renamed or removed it
                yield Path(root, name).lstat()


def _check_release(archive: Path, release: Release, names: Container[str]) -> None:
    """Raise `Refusal` unless `names` has all files of the release. More are allowed."""
    expected = (f"{release.record.top}/{path}" for path in release.expected_paths())
    if missing := [name for name in expected if name not in names]:
        findings = [Finding("is not in the archive", MEND_OTHER, path=name) for name in missing]
        raise Refusal(f"{NOT_EXTRACTED} {archive} does not hold it.", findings)
