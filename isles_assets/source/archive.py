"""The release's archive: its list of files, and its extraction into a tree that appears whole or not at all.

py7zr reads the format and decompresses, but does not extract. Its extraction reads 1 MB more for each file, however
small, which piles up in memory. At a damaged archive it waits for ever for bytes that are not there.
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

from isles_assets.lib.files import lack_of_space, remove_leftovers, sync_folder, temporary_beside, write_errors_refused
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import ByteProgress
from isles_assets.release.release import Release

NOT_EXTRACTED = "The release was not extracted."
_MEND_OTHER = "do not use this archive: it is not the release's, or somebody has changed it"
_MEND_UNKNOWN = "extract it with 7-Zip, and set ISLES_RAW_ROOT to the extracted top folder"
_MEND_DAMAGED = f"remove it and materialize zenodo_archive again; if it recurs, check the disk, or {_MEND_UNKNOWN}"

_READ_SIZE = 1 << 16
_CHUNK_SIZE = 1 << 20
_LONGEST_NAME = 255
_DECOMPRESSOR_ERRNOS = (None, errno.EINVAL)
"""`errno` of an `OSError` that bz2 or py7zr raises, not the system."""

_UNSUPPORTED = (TypeError, AttributeError, LookupError, NameError, ArithmeticError, AssertionError, NotImplementedError)
"""py7zr fails with these at a feature that it does not know, rather than at damage."""

_UNIX_EPOCH = 116_444_736_000_000_000
"""1970 in the archive's time: 100 ns since 1601."""


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str  # with forward slashes
    size: int  # bytes
    crc32: int | None
    mtime_ns: int  # of modification, since 1970
    block: int | None  # number of the compressed stream that holds it; None if it is empty
    method: str = ""  # of compression; "" if it is empty


def members(archive: Path) -> list[Member]:
    """Return the files of a 7z archive in its order. All of them can be extracted.

    Raises:
        Refusal: As in `members_in`, or py7zr does not know the method of compression.
    """
    with archive.open("rb") as file:
        return members_in(file, archive, to_extract=True)


def members_in(file: BinaryIO, archive: object, *, to_extract: bool = False) -> list[Member]:
    """Return the files of the 7z archive that is open in `file`, in its order. Read its header only.

    Args:
        archive: Path or address of the archive, for messages.
        to_extract: Check that py7zr knows the methods of compression, too.

    Raises:
        Refusal: It is no 7z archive, is damaged or encrypted, or holds links, devices, names that lead out of the
            target folder, or two names that are the same for some file systems.
    """
    with _opened(archive, file) as content:
        entries = list(content.files)
        folders = _streams(content).unpackinfo.folders
        for folder in folders if to_extract else ():
            _decompressor(folder, 0)
        blocks = {id(folder): number for number, folder in enumerate(folders)}
        files = [_member(entry, blocks) for entry in entries if not entry.is_directory]
    if findings := [*_unsafe(entries), *_clashes(entries)]:
        raise Refusal(NOT_EXTRACTED, findings)
    return files


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

    Files get the archive's modification times.

    Args:
        extra_files: Contents of more files to write into `tree`, by name.

    Raises:
        Refusal: The archive lacks files of the release, is unsafe or damaged, or the disk is too small. Nothing is
            left behind.
    """
    if tree.exists():
        raise Refusal.of(NOT_EXTRACTED, "exists already", "move it away", path=tree)
    top = release.record.top
    by_name = {member.name: member for member in members(archive)}
    wanted = [member for name, member in by_name.items() if name.startswith(f"{top}/")]
    _check_release(archive, release, by_name)
    if others := [name for name in by_name if not name.startswith(f"{top}/")]:
        log(f"Leaving out files outside `{top}`: {name_some(others)}")
    size = sum(member.size for member in wanted)
    with write_errors_refused(tree, headline=NOT_EXTRACTED):
        tree.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(tree.parent)
        if problem := lack_of_space(tree, size):
            mend = "free space, or set ISLES_DATA_DIR to a larger disk; then run again"
            raise Refusal.of(NOT_EXTRACTED, problem, mend, path=tree.parent)
        partial = temporary_beside(tree)
        try:
            extract(archive, wanted, partial, workers=workers, progress=ByteProgress("Extracted", size, log))
            for name, content in extra_files.items():
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
    """Write the members `wanted` below `target`, check size and CRC-32 of each, and sync all.

    Args:
        workers: Number of threads. Each decompresses one block at a time, and needs the memory of the block's
            dictionary and some MB.

    Raises:
        Refusal: A member is damaged.
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
    os.sync()  # once: syncing many small files one by one takes longer than writing them


def _extract_block(archive: Path, block: int, output: "_Output") -> None:
    """Decompress one block from start to end. A block cannot be entered in the middle."""
    with archive.open("rb", buffering=0) as file, _opened(archive, file) as content:
        streams = _streams(content)
        folder, pack = streams.unpackinfo.folders[block], streams.packinfo
        file.seek(content.afterheader + pack.packpos + pack.packpositions[block])
        decompressor, packed = _decompressor(folder, pack.packsizes[block]), _SmallReads(file)
        for entry in folder.files:
            with output.file(entry.filename) as write:
                _decompress_next(decompressor, packed, entry, write)


def _decompressor(folder: Any, packed: int) -> Any:
    """Return py7zr's decompressor of a block of `packed` bytes. Raise `_UnknownError` for an unknown method."""
    try:
        return folder.get_decompressor(packed)
    except MemoryError:
        raise
    except Exception as error:  # no byte of the block has been read, so none is damaged
        methods = ", ".join(coder["method"].hex() for coder in folder.coders)
        raise _UnknownError(
            f"is compressed with a method that py7zr does not know: {methods} ({_first_sentence(error)})"
        ) from error
    finally:
        folder.decompressor = None  # py7zr's objects form a cycle, which would keep the dictionary in memory


def _decompress_next(decompressor: Any, packed: "_SmallReads", entry: Any, write: Callable[[bytes], None]) -> None:
    """Decompress the next file of a block. Raise `_DamageError` unless it has the stated size and CRC-32."""
    left, crc = entry.uncompressed, 0
    while left:
        before = packed.tell()
        chunk = decompressor.decompress(packed, min(left, _CHUNK_SIZE))
        if not chunk and packed.tell() == before:
            raise _DamageError(f"{entry.filename} ends {left} bytes early")
        write(chunk)
        crc = zlib.crc32(chunk, crc)
        left -= len(chunk)
    if crc != entry.crc32:
        raise _DamageError(f"{entry.filename} has CRC-32 {crc:08x} instead of {entry.crc32:08x}")


class _SmallReads:
    """A file that returns little at a time, because the decompressor keeps in memory all that it does not need yet."""

    def __init__(self, file: BinaryIO):
        self._file, self.tell = file, file.tell

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, _READ_SIZE))


class _Output:
    """Writes the members `wanted` below `target`, and drops all others. Threads share it."""

    def __init__(self, target: Path, wanted: Iterable[Member], progress: ByteProgress):
        self.wanted = {member.name: member for member in wanted}
        self.stopped = False
        self._target, self._progress, self._lock = target, progress, threading.Lock()

    @contextmanager
    def file(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Yield a function that writes bytes of the member `name`. All of them must be written inside the block."""
        if not (member := self.wanted.get(name)):
            yield lambda chunk: None
            return
        path = self._target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb", buffering=0) as file:

            def write(chunk: bytes) -> None:
                if self.stopped:
                    raise _StoppedError
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
                with self._lock:
                    self._progress.advance(len(chunk))

            yield write
            os.utime(file.fileno(), ns=(member.mtime_ns, member.mtime_ns))


class _DamageError(Exception):
    """Bytes are not those that the archive states."""


class _UnknownError(Exception):
    """The archive is sound, but py7zr cannot read this kind."""


class _StoppedError(Exception):
    """Another block has failed."""


@contextmanager
def _opened(archive: object, file: BinaryIO) -> Iterator[py7zr.SevenZipFile]:
    """Yield py7zr's view of the archive in `file`. Raise `Refusal` for whatever py7zr raises at bytes it cannot read.

    These are its own exceptions, those of the decompressors, and Python's where numbers make no sense.
    """
    try:
        with py7zr.SevenZipFile(file) as content:
            if content.needs_password():
                raise _UnknownError("is encrypted")
            yield content
    except (Refusal, MemoryError, _StoppedError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno not in _DECOMPRESSOR_ERRNOS:
            raise
        raise Refusal.of(NOT_EXTRACTED, *_problem_and_mend(error), path=archive) from error


def _problem_and_mend(error: Exception) -> tuple[str, str]:
    match error:
        case _UnknownError():
            return str(error), _MEND_UNKNOWN
        case _DamageError():
            return str(error), _MEND_DAMAGED
        case py7zr.exceptions.PasswordRequired():
            return "is encrypted", _MEND_UNKNOWN
        case py7zr.exceptions.UnsupportedCompressionMethodError():
            return f"is compressed with a method that py7zr does not know: {_first_sentence(error)}", _MEND_UNKNOWN
        case _ if isinstance(error, _UNSUPPORTED):
            return f"cannot be read by py7zr ({_first_sentence(error)})", _MEND_UNKNOWN
    return f"is damaged, or no 7z archive ({_first_sentence(error)})", _MEND_DAMAGED


def _first_sentence(error: Exception) -> str:
    message = getattr(error, "message", f"{type(error).__name__}: {error}")
    return message.partition(". ")[0].rstrip(".")


def _streams(content: py7zr.SevenZipFile) -> Any:
    """Return where the compressed blocks of an archive are."""
    if (streams := content.header.main_streams) is None:
        raise _DamageError("is empty")
    return streams


def _member(entry: Any, blocks: dict[int, int]) -> Member:
    time = _UNIX_EPOCH if entry.lastwritetime is None else int(entry.lastwritetime)
    block = None if entry.emptystream else blocks[id(entry.folder)]
    method = "" if block is None else "+".join(map(_method, entry.folder.coders))
    return Member(entry.filename, entry.uncompressed, entry.crc32, (time - _UNIX_EPOCH) * 100, block, method)


def _method(coder: dict[str, Any]) -> str:
    """Return the name of a method, or its number if py7zr does not know it."""
    return next(iter(get_methods_names([[coder]])), coder["method"].hex())


def _check_release(archive: Path, release: Release, names: Container[str]) -> None:
    """Raise `Refusal` unless `names` has all files of the release. More are allowed."""
    expected = (f"{release.record.top}/{path}" for path in release.expected_paths())
    if missing := [name for name in expected if name not in names]:
        findings = [Finding("is not in the archive", _MEND_OTHER, path=name) for name in missing]
        raise Refusal(f"{NOT_EXTRACTED} {archive} does not hold it.", findings)


def _unsafe(entries: Iterable[Any]) -> Iterator[Finding]:
    """Yield findings on entries that could write elsewhere, are no files, or cannot be checked."""
    for entry in entries:
        if problem := _problem_of_name(entry.filename):
            yield Finding(problem, _MEND_OTHER, path=repr(entry.filename))
        elif not entry.is_directory and not entry.is_file:
            yield Finding("is a link or a device", _MEND_OTHER, path=entry.filename)
        elif not entry.is_directory and not entry.emptystream and entry.crc32 is None:
            yield Finding("has no CRC-32", _MEND_OTHER, path=entry.filename)


def _problem_of_name(name: str) -> str:
    """Return the problem of a member's name, "" for none."""
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
    return next((problem for problem, applies in problems.items() if applies), "")


def _clashes(entries: Iterable[Any]) -> Iterator[Finding]:
    """Yield findings on names that are the same for file systems that ignore case or normalize Unicode."""
    files = [entry.filename for entry in entries if not entry.is_directory]
    folders = {str(folder) for name in files for folder in PurePosixPath(name).parents}
    folders |= {entry.filename for entry in entries if entry.is_directory}
    seen: dict[str, str] = {}
    for name in [*files, *sorted(folders)]:
        normalized = unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())
        if normalized in seen:
            yield Finding(f"is the same as {seen[normalized]} for some file systems", _MEND_OTHER, path=name)
        seen.setdefault(normalized, name)
