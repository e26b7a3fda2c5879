"""The release's archive: what is in it, and its extraction into a tree that appears whole or not at all.

The format is read and decompressed by py7zr, but not extracted by it: it reads 1 MB more for each file however small,
which piles up in memory, and waits for ever for bytes that a damaged archive does not have.
"""

import errno
import os
import re
import shutil
import threading
import unicodedata
import zlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO

import py7zr
from py7zr.compressor import get_methods_names

from isles_assets.lib.files import explained, lack_of_room, sweep, sync_folder, temporary_beside
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import ByteProgress
from isles_assets.release.release import Release

NOT_EXTRACTED = "The release was not extracted."
_MEND_OTHER = "do not use this archive: it is not the release's, or somebody has changed it"
_MEND_UNKNOWN = "extract it with 7-Zip, and set ISLES_RAW_ROOT to the extracted top folder"
_MEND_DAMAGED = f"remove it and materialize zenodo_archive again; if it recurs, check the disk, or {_MEND_UNKNOWN}"

_PACKED_PIECE = 1 << 16
_PIECE = 1 << 20
_LONGEST_NAME = 255
_OF_DECOMPRESSORS = (None, errno.EINVAL)
"""Numbers of an `OSError` that is none of the system's but bz2's or py7zr's."""

_UNFORESEEN = (TypeError, AttributeError, LookupError, NameError, ArithmeticError, AssertionError, NotImplementedError)
"""What programs raise where something is new to them, rather than damaged."""

_UNIX_EPOCH = 116_444_736_000_000_000
"""1970 in the archive's time, which counts 100 ns since 1601."""


@dataclass(frozen=True)
class Member:
    """A file in an archive: `name` with forward slashes, `size` in bytes, modification time in ns since 1970.

    `block` numbers the stream that it is compressed in, after others, and `method` names what it is compressed by;
    None and empty for a file without bytes.
    """

    name: str
    size: int
    crc32: int | None
    mtime_ns: int
    block: int | None
    method: str = ""


def members(archive: Path) -> list[Member]:
    """The files in a 7z archive, in its order, each of which can be extracted.

    Raises `Refusal` as `members_in` does, and for an archive that is compressed in a way that is not known.
    """
    with archive.open("rb") as file:
        return members_in(file, archive, to_extract=True)


def members_in(file: BinaryIO, archive: object, *, to_extract: bool = False) -> list[Member]:
    """The files in the 7z archive that is open in `file` and called `archive`, in its order. Its header alone is read.

    Raises `Refusal` for what is no such archive, for one that is encrypted, and for one that holds links or devices,
    names that leave the folder that they are extracted to, or two names that are one for some file system.
    """
    with _opened(archive, file) as content:
        entries = list(content.files)
        folders = _streams(content).unpackinfo.folders
        for folder in folders if to_extract else ():
            _decompressor(folder, 0)
        blocks = {id(folder): number for number, folder in enumerate(folders)}
        found = [_member(entry, blocks) for entry in entries if not entry.is_directory]
    if findings := [*_unsafe(entries), *_clashes(entries)]:
        raise Refusal(NOT_EXTRACTED, findings)
    return found


def extract_release(
    release: Release,
    archive: Path,
    tree: Path,
    *,
    workers: int,
    notes: Mapping[str, bytes] = MappingProxyType({}),
    log: Callable[[str], None] = lambda words: None,
) -> None:
    """Extract what is below the top folder of the `archive` of `release` to `tree`, which appears when it is complete.

    Files have the archive's modification times. `notes` are files beside them in `tree`, by name. Raises `Refusal`,
    with nothing left behind, for an archive that does not hold the release, is unsafe or damaged, and for a disk that
    is too small.
    """
    if tree.exists():
        raise Refusal.of(NOT_EXTRACTED, "exists already", "move it away", path=tree)
    top = release.record.top
    found = {member.name: member for member in members(archive)}
    wanted = [member for name, member in found.items() if name.startswith(f"{top}/")]
    _check_release(archive, release, found)
    if others := [name for name in found if not name.startswith(f"{top}/")]:
        log(f"Leaving out what is not in `{top}`: {name_some(others)}")
    size = sum(member.size for member in wanted)
    with explained(tree, headline=NOT_EXTRACTED):
        tree.parent.mkdir(parents=True, exist_ok=True)
        sweep(tree.parent)
        if problem := lack_of_room(tree, size):
            mend = "free space, or set ISLES_DATA_DIR to a larger disk; then run again"
            raise Refusal.of(NOT_EXTRACTED, problem, mend, path=tree.parent)
        partial = temporary_beside(tree)
        try:
            extract(archive, wanted, partial, workers=workers, progress=ByteProgress("Extracted", size, log))
            for name, content in notes.items():
                with (partial / top / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            sync_folder(partial / top)
            (partial / top).rename(tree)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        sync_folder(tree.parent)


def extract(archive: Path, wanted: Iterable[Member], target: Path, *, workers: int, progress: ByteProgress) -> None:
    """Write the members `wanted` below `target`, each with the size and CRC-32 that the archive states, and sync all.

    Up to `workers` blocks are decompressed at a time, in a thread each, which needs the memory of the block's
    dictionary and some MB. Raises `Refusal` naming what is damaged.
    """
    output = _Output(target, wanted, progress)
    blocks = sorted({member.block for member in output.wanted.values() if member.block is not None})
    for member in output.wanted.values():
        if member.block is None:
            with output.file(member.name):
                pass
    with ThreadPoolExecutor(workers) as executor:
        tasks = [executor.submit(_extract_block, archive, block, output) for block in blocks]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            output.stopped = True
            executor.shutdown(cancel_futures=True)
            raise
    os.sync()  # once: to sync each of many small files would take longer than to write them


def _extract_block(archive: Path, block: int, output: "_Output") -> None:
    """Decompress one block from its start, which is the only way, to its end."""
    with archive.open("rb", buffering=0) as file, _opened(archive, file) as content:
        streams = _streams(content)
        folder, pack = streams.unpackinfo.folders[block], streams.packinfo
        file.seek(content.afterheader + pack.packpos + pack.packpositions[block])
        decompressor, packed = _decompressor(folder, pack.packsizes[block]), _Paced(file)
        for entry in folder.files:
            with output.file(entry.filename) as sink:
                _pour(decompressor, packed, entry, sink)


def _decompressor(folder: Any, packed: int) -> Any:
    """What decompresses a block of `packed` bytes. Raises `_UnknownError` for a method that py7zr does not know."""
    try:
        return folder.get_decompressor(packed)
    except MemoryError:
        raise
    except Exception as error:  # of any kind: the bytes of the block have not been looked at, so no damage
        methods = ", ".join(coder["method"].hex() for coder in folder.coders)
        raise _UnknownError(
            f"is compressed with a method that py7zr does not know: {methods} ({_said(error)})"
        ) from error
    finally:
        folder.decompressor = None  # the listing is a cycle of references, which would keep the dictionary for long


def _pour(decompressor: Any, packed: "_Paced", entry: Any, sink: Callable[[bytes], None]) -> None:
    """Decompress the next file of a block. Raises `_DamageError` unless it has the size and CRC-32 that are stated."""
    left, crc = entry.uncompressed, 0
    while left:
        before = packed.tell()
        piece = decompressor.decompress(packed, min(left, _PIECE))
        if not piece and packed.tell() == before:
            raise _DamageError(f"{entry.filename} ends {left} bytes early")
        sink(piece)
        crc = zlib.crc32(piece, crc)
        left -= len(piece)
    if crc != entry.crc32:
        raise _DamageError(f"{entry.filename} has CRC-32 {crc:08x} instead of {entry.crc32:08x}")


class _Paced:
    """A file that gives little at a time, whatever is asked for, to a decompressor that keeps what it does not need."""

    def __init__(self, file: BinaryIO):
        self._file, self.tell = file, file.tell

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, _PACKED_PIECE))


class _Output:
    """Where the bytes of members go: below `target` if they are `wanted`, else nowhere. Threads share it."""

    def __init__(self, target: Path, wanted: Iterable[Member], progress: ByteProgress):
        self.wanted = {member.name: member for member in wanted}
        self.stopped = False
        self._target, self._progress, self._lock = target, progress, threading.Lock()

    @contextmanager
    def file(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """A function that takes the bytes of the member `name`, which is complete at the end of the block."""
        if not (member := self.wanted.get(name)):
            yield lambda piece: None
            return
        path = self._target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb", buffering=0) as file:

            def write(piece: bytes) -> None:
                if self.stopped:
                    raise _StoppedError
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
                with self._lock:
                    self._progress.advance(len(piece))

            yield write
            os.utime(file.fileno(), ns=(member.mtime_ns, member.mtime_ns))


class _DamageError(Exception):
    """Bytes that are not what the archive says of them."""


class _UnknownError(Exception):
    """A sound archive of a kind that py7zr cannot read."""


class _StoppedError(Exception):
    """Another block has failed."""


@contextmanager
def _opened(archive: object, file: BinaryIO) -> Iterator[py7zr.SevenZipFile]:
    """The archive in `file`. Whatever py7zr makes of damaged bytes, or of what it does not know, is refused.

    It raises exceptions of its own, those of the decompressors, and Python's where numbers make no sense.
    """
    try:
        with py7zr.SevenZipFile(file) as content:
            if content.needs_password():
                raise _UnknownError("is encrypted")
            yield content
    except (Refusal, MemoryError, _StoppedError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _OF_DECOMPRESSORS:
            raise
        raise Refusal.of(NOT_EXTRACTED, *_explained(error), path=archive) from error


def _explained(error: Exception) -> tuple[str, str]:
    """What is wrong with an archive that cannot be read, and the mend."""
    match error:
        case _UnknownError():
            return str(error), _MEND_UNKNOWN
        case _DamageError():
            return str(error), _MEND_DAMAGED
        case py7zr.exceptions.PasswordRequired():
            return "is encrypted", _MEND_UNKNOWN
        case py7zr.exceptions.UnsupportedCompressionMethodError():
            return f"is compressed with a method that py7zr does not know: {_said(error)}", _MEND_UNKNOWN
        case _ if isinstance(error, _UNFORESEEN):
            return f"cannot be read by py7zr ({_said(error)})", _MEND_UNKNOWN
    return f"is damaged, or no 7z archive ({_said(error)})", _MEND_DAMAGED


def _said(error: Exception) -> str:
    """The first sentence of an error of py7zr's."""
    said = getattr(error, "message", f"{type(error).__name__}: {error}")
    return said.partition(". ")[0].rstrip(".")


def _streams(content: py7zr.SevenZipFile) -> Any:
    """The blocks of packed bytes that an archive is made of."""
    if (streams := content.header.main_streams) is None:
        raise _DamageError("is empty")
    return streams


def _member(entry: Any, blocks: dict[int, int]) -> Member:
    since_1601 = _UNIX_EPOCH if entry.lastwritetime is None else int(entry.lastwritetime)
    block = None if entry.emptystream else blocks[id(entry.folder)]
    method = "" if block is None else "+".join(map(_method, entry.folder.coders))
    return Member(entry.filename, entry.uncompressed, entry.crc32, (since_1601 - _UNIX_EPOCH) * 100, block, method)


def _method(coder: dict[str, Any]) -> str:
    """The name of a method, or its number where py7zr does not know it."""
    return next(iter(get_methods_names([[coder]])), coder["method"].hex())


def _check_release(archive: Path, release: Release, names: Container[str]) -> None:
    """Raise `Refusal` unless all files of the release are there; more may be."""
    expected = (f"{release.record.top}/{path}" for path in release.expected_paths())
    if missing := [name for name in expected if name not in names]:
        findings = [Finding("is not in the archive", _MEND_OTHER, path=name) for name in missing]
        raise Refusal(f"{NOT_EXTRACTED} {archive} does not hold it.", findings)


def _unsafe(entries: Iterable[Any]) -> Iterator[Finding]:
    """Entries that could write elsewhere, or are no files, or cannot be checked."""
    for entry in entries:
        if problem := _problem_of(entry.filename):
            yield Finding(problem, _MEND_OTHER, path=repr(entry.filename))
        elif not entry.is_directory and not entry.is_file:
            yield Finding("is a link or a device", _MEND_OTHER, path=entry.filename)
        elif not entry.is_directory and not entry.emptystream and entry.crc32 is None:
            yield Finding("has no CRC-32", _MEND_OTHER, path=entry.filename)


def _problem_of(name: str) -> str:
    """What is wrong with a member's name; empty for nothing."""
    parts = name.split("/")
    problems = {
        "is an absolute path": name.startswith("/") or re.match("[A-Za-z]:", name),
        "leads out of the folder": ".." in parts,
        "has a character that no name of the release has": "\\" in name or not name.isprintable(),
        "is no plain path": "" in parts or "." in parts,
        "is longer than file systems allow": any(
            len(part.encode(errors="surrogatepass")) > _LONGEST_NAME for part in parts
        ),
    }
    return next((problem for problem, is_so in problems.items() if is_so), "")


def _clashes(entries: Iterable[Any]) -> Iterator[Finding]:
    """Files and folders that are one for a file system that ignores case or normalizes Unicode."""
    files = [entry.filename for entry in entries if not entry.is_directory]
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    folders |= {entry.filename for entry in entries if entry.is_directory}
    seen: dict[str, str] = {}
    for name in [*files, *sorted(folders)]:
        one = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
        if one in seen:
            yield Finding(f"is the same as {seen[one]} for some file systems", _MEND_OTHER, path=name)
        seen.setdefault(one, name)
