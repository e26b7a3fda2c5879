"""The part of a file that has arrived so far: kept beside where the file will be, and continued by the next process.

`<name>.part` holds the bytes. `<name>.part.json` says what they are the beginning of, by which ETag the server knew it,
and every 256 MiB which MD5 the bytes had up to there. A process that continues it reads it once, because the state of
a digest cannot be stored, and keeps what agrees with these: a power failure may have taken or blanked what the system
had not put on the disk yet, and costs that much and not the whole.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Annotated, BinaryIO

import pydantic

from isles_assets.lib.files import explained, lock, sync_folder, written_whole
from isles_assets.lib.progress import ByteProgress, readable_bytes
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.patience import not_downloaded
from isles_assets.source.verified import note_beside, remember

NOTED_EVERY = 256 << 20
"""Bytes after which the digest is noted."""

_BUFFER = 4 << 20
_IDENTITY = ("record", "archive", "size", "md5")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_md5 = partial(hashlib.md5, usedforsecurity=False)

Position = Annotated[int, pydantic.Field(gt=0)]


class _Note(pydantic.BaseModel):
    """What is known of a part: of which file, and the MD5 of so many bytes from its start."""

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
    """The beginning of the archive of `record`, open in this process alone; see `opened`.

    `size`: the bytes that are there. `etag`: the server's name for the file that they are of, None if it has none.
    """

    def __init__(self, path: Path, record: ZenodoRecord, file: BinaryIO, log: Callable[[str], None], noted_every: int):
        self._path, self._record, self._file, self._log = path, record, file, log
        self._part = part_beside(path)
        self._noted_every = noted_every
        self.size, self._digest = 0, _md5()
        self._note = self._blank(None)

    @classmethod
    @contextmanager
    def opened(
        cls, path: Path, record: ZenodoRecord, log: Callable[[str], None], noted_every: int = NOTED_EVERY
    ) -> Iterator["Partial"]:
        """The part of what will be `path`, and what is there of it: read once, and dropped if it is of another file.

        Raises `Refusal` while another process has it open, and where the disk is full or does not let write.
        """
        part = part_beside(path)
        with explained(part, headline="The release was not downloaded; what has arrived is kept."):
            part.parent.mkdir(parents=True, exist_ok=True)
            with part.open("a+b", buffering=0) as file:
                if not lock(file):
                    raise not_downloaded("another process is downloading it", "wait for it, or end it", path=part)
                if path.exists():  # and then what is open here may be that file
                    raise not_downloaded("another process has just completed it", "run again", path=path)
                opened = cls(path, record, file, log, noted_every)
                opened._take_over()
                yield opened

    @property
    def etag(self) -> str | None:
        return self._note.etag

    def begin(self, etag: str | None) -> None:
        """Start at the first byte of what the server calls `etag`; what was there is dropped."""
        self._cut(0, _md5())
        self._note = self._blank(etag)
        self._write_note()

    def append(self, piece: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(piece)
        while view:
            count = self._file.write(view[: self._noted_every - self.size % self._noted_every])
            self._digest.update(view[:count])
            self.size += count
            view = view[count:]
            if self.size % self._noted_every == 0:
                self._note.digests[self.size] = self._digest.hexdigest()
                self._write_note()

    def finish(self) -> None:
        """Give the file, which has arrived in full, its name. Raises `Refusal`, and drops it, if it has another MD5."""
        md5 = self._digest.hexdigest()
        if md5 != self._record.md5:
            self._part.unlink()
            note_beside(self._part).unlink(missing_ok=True)
            problem = f"arrived with md5 {md5} instead of {self._record.md5}, and was not kept"
            raise not_downloaded(problem, "run again; if it recurs, check network and disk", path=self._path)
        os.fsync(self._file.fileno())
        remember(self._path, self._part, md5)
        self._part.rename(self._path)
        sync_folder(self._path.parent)
        note_beside(self._part).unlink(missing_ok=True)

    def _take_over(self) -> None:
        """Keep of what is there all that is known to be right."""
        there = self._part.stat().st_size
        if not there:
            return
        note = self._read_note()
        if note is None or not note.is_of(self._record) or there > self._record.size:
            what = f"record {note.record}, {note.size} bytes, md5 {note.md5}" if note else "something unknown"
            drops = f"Dropping {readable_bytes(there)} in {self._part}"
            self._log(f"{drops}: they are of {what}, not of the pinned archive")
            return self._cut(0, _md5())
        self._note = note
        self._log(f"Reading the {readable_bytes(there)} that have arrived before, for their MD5")
        self._read(there, trusted=note.boot is not None and note.boot == _boot())
        if self.size < there:
            self._log(f"Dropping {readable_bytes(there - self.size)} at their end, which a crash may have damaged")
        self._note.boot = _boot()
        self._write_note()

    def _read(self, there: int, *, trusted: bool) -> None:
        """Read the part; keep it up to the last digest that agrees, or to the end if all do and it is `trusted`."""
        progress = ByteProgress(self._part.name, there, self._log)
        digests = self._note.digests | {self._record.size: self._record.md5}
        good, good_digest = 0, _md5()
        self._file.seek(0)
        for end in [*sorted(end for end in digests if end <= there), there]:
            while self.size < end and (piece := self._file.read(min(_BUFFER, end - self.size))):
                self._digest.update(piece)
                self.size += len(piece)
                progress.reach(self.size)
            if digests[end] == self._digest.hexdigest() if end in digests else trusted:
                good, good_digest = end, self._digest.copy()
            else:
                break
        self._note.digests = {end: digest for end, digest in self._note.digests.items() if end <= good}
        self._cut(good, good_digest)

    def _cut(self, size: int, digest: "hashlib._Hash") -> None:
        self._file.truncate(size)
        self.size, self._digest = size, digest

    def _blank(self, etag: str | None) -> _Note:
        identity = {name: getattr(self._record, name) for name in _IDENTITY}
        return _Note(**identity, etag=etag, boot=_boot())

    def _read_note(self) -> _Note | None:
        try:
            return _Note.model_validate_json(note_beside(self._part).read_bytes())
        except (FileNotFoundError, pydantic.ValidationError):
            return None

    def _write_note(self) -> None:
        with written_whole(note_beside(self._part)) as temporary:
            temporary.write_text(self._note.model_dump_json())


def part_beside(path: Path) -> Path:
    """Where the bytes are kept until `path` is complete."""
    return path.with_name(f"{path.name}.part")


def size_so_far(path: Path) -> int:
    """Bytes of `path` that have arrived."""
    with suppress(FileNotFoundError):
        return part_beside(path).stat().st_size
    return 0


def _boot() -> str | None:
    """What tells one run of the system from the next, between which unsynced bytes may be lost; None if unknown."""
    with suppress(OSError):
        return _BOOT.read_text().strip()
    return None
