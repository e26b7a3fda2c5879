"""The part of a download that has arrived: kept beside the future file, and continued by the next process.

`<name>.part` holds the bytes. `<name>.part.json` notes which file they are of, its ETag, and the MD5 of the bytes up to
every 256 MiB. The state of a digest cannot be stored, so the next process reads the part once. It keeps the bytes up to
the last MD5 that agrees: a power failure may have lost or zeroed bytes that the system had not written to the disk.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import pydantic

from isles_assets.lib.files import atomic_write, lock, sync_folder, write_errors_refused
from isles_assets.lib.progress import ByteProgress, readable_bytes
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.patience import not_downloaded
from isles_assets.source.verified import note_beside, write_note

NOTED_EVERY = 256 << 20
"""Bytes between two notes of the digest."""

_CHUNK_SIZE = 4 << 20
_IDENTITY = ("record", "archive", "size", "md5")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_md5 = partial(hashlib.md5, usedforsecurity=False)

Position = Annotated[int, pydantic.Field(gt=0)]


class _Note(pydantic.BaseModel):
    """The content of `<name>.part.json`. `digests` has the MD5 of so many bytes from the start."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid")

    record: str
    archive: str
    size: int
    md5: str
    etag: str | None = None
    boot: str | None = None
    digests: dict[Position, str] = {}

    def is_of(self, record: ZenodoRecord) -> bool:
        return all(getattr(self, name) == getattr(record, name) for name in _IDENTITY)


class Partial:
    """The first `size` bytes of the archive of `record`, open in this process alone. See `opened`."""

    def __init__(self, path: Path, record: ZenodoRecord, file: BinaryIO, log: Callable[[str], None], noted_every: int):
        self._path, self._record, self._file, self._log = path, record, file, log
        self._part = part_beside(path)
        self._noted_every = noted_every
        self.size, self._digest = 0, _md5()
        self._note = self._new_note(None)

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, record: ZenodoRecord, log: Callable[[str], None], noted_every: int = NOTED_EVERY
    ) -> Iterator["Partial"]:
        """Open the part of `path`. Read the bytes that are there once, and drop them if they are of another file.

        Raises:
            Refusal: Another process has it open or has just completed it, or the disk is full or not writable.
        """
        part = part_beside(path)
        with write_errors_refused(part, headline="The release was not downloaded; what has arrived is kept."):
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("a+b", buffering=0) as file:
                if not lock(file):
                    raise not_downloaded("another process is downloading it", "wait for it, or end it", path=part)
                if path.exists():  # the file that is open here may be this one, renamed
                    raise not_downloaded("another process has just completed it", "run again", path=path)
                opened = cls(path, record, file, log, noted_every)
                opened._resume()
                yield opened

    @property
    def etag(self) -> str | None:
        """The server's ETag of the file; None if it sent none."""
        return self._note.etag

    def begin(self, etag: str | None) -> None:
        """Drop all bytes, and start with the file that has this `etag`."""
        self._truncate(0, _md5())
        self._note = self._new_note(etag)
        self._write_note()

    def append(self, chunk: bytes) -> None:
        """Write the next bytes."""
        view = memoryview(chunk)
        while view:
            count = self._file.write(view[: self._noted_every - self.size % self._noted_every])
            self._digest.update(view[:count])
            self.size += count
            view = view[count:]
            if self.size % self._noted_every == 0:
                self._note.digests[self.size] = self._digest.hexdigest()
                self._write_note()

    def finish(self) -> None:
        """Give the complete file its name. Raise `Refusal`, and remove it, if it has another MD5."""
        md5 = self._digest.hexdigest()
        if md5 != self._record.md5:
            self._part.unlink()
            note_beside(self._part).unlink(missing_ok=True)
            problem = f"arrived with md5 {md5} instead of {self._record.md5}, and was not kept"
            raise not_downloaded(problem, "run again; if it recurs, check network and disk", path=self._path)
        os.fsync(self._file.fileno())
        write_note(self._path, self._part, md5)
        self._part.rename(self._path)
        sync_folder(self._path.parent)
        note_beside(self._part).unlink(missing_ok=True)

    def _resume(self) -> None:
        """Keep the bytes that are known to be right."""
        size = self._part.stat().st_size
        if not size:
            return
        note = self._read_note()
        if note is None or not note.is_of(self._record) or size > self._record.size:
            origin = f"record {note.record}, {note.size} bytes, md5 {note.md5}" if note else "something unknown"
            drops = f"Dropping {readable_bytes(size)} in {self._part}"
            self._log(f"{drops}: they are of {origin}, not of the pinned archive")
            return self._truncate(0, _md5())
        self._note = note
        self._log(f"Reading the {readable_bytes(size)} that have arrived before, to compute their MD5")
        self._read(size, trusted=note.boot is not None and note.boot == _boot_id())
        if self.size < size:
            self._log(f"Dropping {readable_bytes(size - self.size)} at their end, which a crash may have damaged")
        self._note.boot = _boot_id()
        self._write_note()

    def _read(self, size: int, *, trusted: bool) -> None:
        """Read the part. Keep it up to the last digest that agrees, or all of it if all agree and it is `trusted`."""
        progress = ByteProgress(self._part.name, size, self._log)
        digests = self._note.digests | {self._record.size: self._record.md5}
        good, good_digest = 0, _md5()
        self._file.seek(0)
        for end in [*sorted(end for end in digests if end <= size), size]:
            while self.size < end and (chunk := self._file.read(min(_CHUNK_SIZE, end - self.size))):
                self._digest.update(chunk)
                self.size += len(chunk)
                progress.set_done(self.size)
            if digests[end] == self._digest.hexdigest() if end in digests else trusted:
                good, good_digest = end, self._digest.copy()
            else:
                break
        self._note.digests = {end: digest for end, digest in self._note.digests.items() if end <= good}
        self._truncate(good, good_digest)

    def _truncate(self, size: int, digest: "hashlib._Hash") -> None:
        self._file.truncate(size)
        self.size, self._digest = size, digest

    def _new_note(self, etag: str | None) -> _Note:
        identity = {name: getattr(self._record, name) for name in _IDENTITY}
        return _Note(**identity, etag=etag, boot=_boot_id())

    def _read_note(self) -> _Note | None:
        try:
            return _Note.model_validate_json(note_beside(self._part).read_bytes())
        except (FileNotFoundError, pydantic.ValidationError):
            return None

    def _write_note(self) -> None:
        with atomic_write(note_beside(self._part)) as temporary:
            temporary.write_text(self._note.model_dump_json())


def part_beside(path: Path) -> Path:
    """Return where the bytes are kept until `path` is complete."""
    return path.with_name(f"{path.name}.part")


def arrived_size(path: Path) -> int:
    """Return how many bytes of `path` have arrived."""
    with suppress(FileNotFoundError):
        return part_beside(path).stat().st_size
    return 0


def _boot_id() -> str | None:
    """Return the id of this run of the system, None if unknown. Unsynced bytes of an earlier run may be lost."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return None
