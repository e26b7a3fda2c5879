"""7z archives: the list of their files, and the extraction of some of them.

py7zr reads the format and decompresses, but does not extract. Its extraction reads 1 MB more for each file, however
small, which piles up in memory. At a damaged archive it waits for ever for bytes that are not there.
"""

import errno
import os
import re
import threading
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import py7zr
from py7zr.compressor import get_methods_names

from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import ByteProgress

NOT_EXTRACTED = "The release was not extracted."
MEND_OTHER = "do not use this archive: it is not the release's, or somebody has changed it"
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
        files = _members_of(content)
    if findings := [*_unsafe(entries), *_clashes(entries)]:
        raise Refusal(NOT_EXTRACTED, findings)
    return files


def extract(
    archive: Path,
    wanted: Iterable[Member],
    target: Path,
    *,
    workers: int,
    progress: ByteProgress,
    kept: Collection[str] = frozenset(),
) -> None:
    """Write the members `wanted` below `target`, check size and CRC-32 of each, and sync all.

    Args:
        workers: Number of threads. Each decompresses one block at a time, and needs the memory of the block's
            dictionary and some MB.
        kept: Names of members that are below `target` already. They are not written. A block is read up to its last
            other member.

    Raises:
        Refusal: A member is damaged, or the archive is no longer the one whose `members` are `wanted`.
    """
    output = _Output(target, wanted, kept, progress)
    blocks: dict[int, set[str]] = {}
    for member in output.missing.values():
        if member.block is not None:
            blocks.setdefault(member.block, set()).add(member.name)
    with archive.open("rb") as file, _opened(archive, file) as content, ThreadPoolExecutor(workers) as executor:
        if not set(output.wanted.values()) <= set(_members_of(content)):
            raise Refusal.of(NOT_EXTRACTED, "was replaced meanwhile", "run again", path=archive)
        for member in output.missing.values():
            if member.block is None:
                with output.file(member.name):
                    pass
        tasks = [
            executor.submit(_extract_block, file.fileno(), content, block, names, output)
            for block, names in blocks.items()
        ]
        try:
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            for task in done:
                task.result()
        except BaseException:
            output.stopped = True
            executor.shutdown(cancel_futures=True)
            raise
    os.sync()  # once: syncing many small files one by one takes longer than writing them


def _extract_block(
    descriptor: int, content: py7zr.SevenZipFile, block: int, names: set[str], output: "_Output"
) -> None:
    """Decompress a block from its start, which is the only way in, to the last member of `names`."""
    streams = _streams(content)
    folder, pack = streams.unpackinfo.folders[block], streams.packinfo
    packed = _SmallReads(descriptor, content.afterheader + pack.packpos + pack.packpositions[block])
    decompressor = _decompressor(folder, pack.packsizes[block])
    left = set(names)
    for entry in folder.files:
        with output.file(entry.filename) as write:
            _decompress_next(decompressor, packed, entry, write)
        left.discard(entry.filename)
        if not left:
            break


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
    """An open file from a position on. Threads may share its descriptor.

    It returns little at a time, because the decompressor keeps in memory all that it does not need yet.
    """

    def __init__(self, descriptor: int, position: int):
        self._descriptor, self._position = descriptor, position

    def read(self, size: int) -> bytes:
        chunk = os.pread(self._descriptor, min(size, _READ_SIZE), self._position)
        self._position += len(chunk)
        return chunk

    def tell(self) -> int:
        return self._position


class _Output:
    """Writes the members `wanted` below `target`, but for those `kept`, and drops all others. Threads share it."""

    def __init__(self, target: Path, wanted: Iterable[Member], kept: Collection[str], progress: ByteProgress):
        self.wanted = {member.name: member for member in wanted}
        self.missing = {name: member for name, member in self.wanted.items() if name not in kept}
        self.stopped = False
        self._target, self._progress, self._lock = target, progress, threading.Lock()

    @contextmanager
    def file(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Yield a function that writes bytes of the member `name`. All of them must be written inside the block."""
        if not (member := self.missing.get(name)):
            yield lambda chunk: self._count(0)
            return
        path = self._target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb", buffering=0) as file:

                def write(chunk: bytes) -> None:
                    view = memoryview(chunk)
                    while view:
                        view = view[file.write(view) :]
                    self._count(len(chunk))

                yield write
                set_mtime(file.fileno(), member)
        except BaseException:
            path.unlink(missing_ok=True)  # nobody needs a half file, and the disk may be full
            raise

    def _count(self, size: int) -> None:
        """Count bytes that were written. Raise `_StoppedError` if another block has failed."""
        if self.stopped:
            raise _StoppedError
        with self._lock:
            self._progress.advance(size)


def set_mtime(file: int | Path, member: Member) -> None:
    """Give a file, open or at a path, the time that the archive states."""
    os.utime(file, ns=(member.mtime_ns, member.mtime_ns))


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


def _members_of(content: py7zr.SevenZipFile) -> list[Member]:
    blocks = {id(folder): number for number, folder in enumerate(_streams(content).unpackinfo.folders)}
    return [_member(entry, blocks) for entry in content.files if not entry.is_directory]


def _member(entry: Any, blocks: dict[int, int]) -> Member:
    time = _UNIX_EPOCH if entry.lastwritetime is None else int(entry.lastwritetime)
    block = None if entry.emptystream else blocks[id(entry.folder)]
    method = "" if block is None else "+".join(map(_method, entry.folder.coders))
    return Member(entry.filename, entry.uncompressed, entry.crc32, (time - _UNIX_EPOCH) * 100, block, method)


def _method(coder: dict[str, Any]) -> str:
    """Return the name of a method, or its number if py7zr does not know it."""
    return next(iter(get_methods_names([[coder]])), coder["method"].hex())


def _unsafe(entries: Iterable[Any]) -> Iterator[Finding]:
    """Yield findings on entries that could write elsewhere, are no files, or cannot be checked."""
    for entry in entries:
        if problem := _problem_of_name(entry.filename):
            yield Finding(problem, MEND_OTHER, path=repr(entry.filename))
        elif not entry.is_directory and not entry.is_file:
            yield Finding("is a link or a device", MEND_OTHER, path=entry.filename)
        elif not entry.is_directory and not entry.emptystream and entry.crc32 is None:
            yield Finding("has no CRC-32", MEND_OTHER, path=entry.filename)


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
            yield Finding(f"is the same as {seen[normalized]} for some file systems", MEND_OTHER, path=name)
        seen.setdefault(normalized, name)
