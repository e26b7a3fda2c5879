"""What Xet stores: files as lists of chunks, chunks in xorbs. The formats on the wire, and the state behind them.

A client cuts a file into chunks of some 64 KB where the content says so, and packs the chunks that it has not met
before into xorbs of up to 64 MB, which it uploads. It then uploads a shard: which chunks of which xorbs make up which
file. A file is read by asking for the same list back, with addresses from which those ranges of the xorbs are fetched.

The formats are those of Xet's protocol specification (huggingface.co/docs/xet: xorb, shard), as hf_xet 1.8 writes them.
"""

import struct
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from isles_assets_tests.hub_server.store import Objects, Repo

# A shard: a header, then entries of one size. A run of them ends with an entry whose hash is all ones.
SHARD_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
SHARD_HEADER = 48
ENTRY = struct.Struct("<32s4I")
LAST = b"\xff" * 32
WITH_VERIFICATION, WITH_SHA256 = 1 << 31, 1 << 30

# A xorb: chunks one after the other, each after a header; a footer may follow, which begins with a word of its own.
CHUNK_HEADER = 8
XORB_FOOTER = b"XETBLOB"
PLAIN, LZ4, GROUPED_LZ4 = range(3)

HOUR = 3600


class MalformedError(Exception):
    """A xorb or a shard is not what it should be."""


class Frame(NamedTuple):
    """Where a chunk lies in its xorb, with its header, and how long it is when it is unpacked."""

    start: int
    end: int
    length: int


class Segment(NamedTuple):
    """A piece of a file: the chunks `first` to `end` (exclusive) of a xorb."""

    xorb: str
    first: int
    end: int


class XetFile(NamedTuple):
    """A file as a shard describes it."""

    xet_hash: str
    sha256: str
    segments: tuple[Segment, ...]


def hexadecimal(digest: bytes) -> str:
    """A hash as Xet writes it in addresses: as four numbers, each of eight bytes of which the lowest comes first."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def frames(xorb: bytes) -> list[Frame]:
    """The chunks of a xorb. Raises `MalformedError`."""
    found, at = [], 0
    while at < len(xorb) and not xorb.startswith(XORB_FOOTER, at):
        packed, length = (int.from_bytes(xorb[at + n : at + n + 3], "little") for n in (1, 5))
        end = at + CHUNK_HEADER + packed
        if xorb[at] != 0 or end > len(xorb) or not length:
            raise MalformedError(f"no chunk begins at byte {at} of the xorb")
        found.append(Frame(at, end, length))
        at = end
    return found


def unpacked(frame: bytes) -> bytes:
    """The bytes of a chunk. Raises `MalformedError`."""
    scheme, length, content = frame[4], int.from_bytes(frame[5:8], "little"), frame[CHUNK_HEADER:]
    if scheme == PLAIN:
        return content
    try:
        content = bytes(pa.Codec("lz4").decompress(content, decompressed_size=length))
    except (pa.ArrowException, OSError) as error:
        raise MalformedError(f"a chunk cannot be unpacked: {error}") from error
    if scheme == LZ4:
        return content
    if scheme != GROUPED_LZ4:
        raise MalformedError(f"a chunk is packed by an unknown scheme: {scheme}")
    # All bytes whose place is a multiple of four, then all after those, and so on: put them where they were.
    whole, at = np.empty(length, np.uint8), 0
    for place in range(4):
        count = len(whole[place::4])
        whole[place::4] = np.frombuffer(content, np.uint8, count, at)
        at += count
    return whole.tobytes()


def plain_frame(content: bytes) -> bytes:
    """A chunk that is not compressed, with its header."""
    size = len(content).to_bytes(3, "little")
    return bytes([0]) + size + bytes([PLAIN]) + size + content


def files_of(shard: bytes) -> Iterator[XetFile]:
    """The files that a shard describes. Raises `MalformedError`.

    What it says of xorbs is not read: they are here and speak for themselves.
    """
    if not shard.startswith(SHARD_TAG):
        raise MalformedError("this is no shard")
    at = SHARD_HEADER

    def entries(count: int) -> list[tuple[bytes, int, int, int, int]]:
        nonlocal at
        start, at = at, at + count * ENTRY.size
        if at > len(shard):
            raise MalformedError("the shard ends too early")
        return list(ENTRY.iter_unpack(shard[start:at]))

    while (header := entries(1)[0])[0] != LAST:
        xet_hash, flags, count = header[:3]
        segments = tuple(Segment(hexadecimal(xorb), first, end) for xorb, _, _, first, end in entries(count))
        if flags & WITH_VERIFICATION:  # a hash for each segment, which shows that the client knows its bytes
            entries(count)
        if not flags & WITH_SHA256:
            raise MalformedError("a file is described without its SHA-256")
        yield XetFile(hexadecimal(xet_hash), hexadecimal(entries(1)[0][0]), segments)


def merged(segments: Iterable[Segment]) -> list[Segment]:
    """The same chunks, each once: segments that overlap or touch are one."""
    found: list[Segment] = []
    for segment in sorted(segments):
        if found and found[-1].xorb == segment.xorb and segment.first <= found[-1].end:
            found[-1] = found[-1]._replace(end=max(found[-1].end, segment.end))
        else:
            found.append(segment)
    return found


class Grant(NamedTuple):
    """What the bearer of an access token of the storage may do, which the Hub gives for an hour."""

    repo: Repo
    writes: bool
    expires: int


class Arriving(NamedTuple):
    """A xorb for which an upload was granted, and the file into which it goes."""

    xorb: str
    size: int
    path: Path


class Cas:
    """The storage: xorbs in a folder, and in memory what is known of them and of the files.

    Its methods may be called from many threads. Whole files are in `objects` as well, by their SHA-256: what is
    uploaded is put together there at once, so that it is known to be what it was announced as.
    """

    def __init__(self, root: Path, objects: Objects) -> None:
        self.grants: dict[str, Grant] = {}
        self.signed: dict[str, tuple[str, range | None]] = {}
        self.uploads: dict[str, Arriving] = {}
        self._root, self._objects = root / "xorbs", objects
        self._root.mkdir(parents=True, exist_ok=True)
        self._frames: dict[str, list[Frame]] = {}
        self._files: dict[str, XetFile] = {}
        self._by_sha256: dict[str, XetFile] = {}
        self._lock = threading.Lock()

    # Rights

    def grant(self, repo: Repo, *, writes: bool) -> tuple[str, Grant]:
        """A new access token, and what it stands for."""
        token = f"xet_{uuid.uuid4().hex}"
        self.grants[token] = Grant(repo, writes, int(time.time()) + HOUR)
        return token, self.grants[token]

    def sign(self, path: str, wanted: range | None = None) -> str:
        """The path with a signature that is the right to read it, or that range of its bytes."""
        signature = uuid.uuid4().hex
        self.signed[signature] = path, wanted
        return f"{path}?X-Xet-Signature={signature}"

    # Writing

    def has(self, xorb: str) -> bool:
        return xorb in self._frames

    def put(self, xorb: str, arrived: Path) -> bool:
        """Store the xorb that is in the file `arrived`, which is gone afterwards; whether it was new.

        Its hash is not computed, for want of BLAKE3: what is wrong is seen when a file is put together.
        Raises `MalformedError`.
        """
        try:
            found = frames(arrived.read_bytes())
            with self._lock:
                if xorb in self._frames:
                    return False
                arrived.rename(self.path(xorb))
                self._frames[xorb] = found
                return True
        finally:
            arrived.unlink(missing_ok=True)

    def register(self, shard: bytes, repo: Repo) -> list[str]:
        """Take the files that a shard describes into the repository; their SHA-256.

        Raises `MalformedError` if it names chunks that are not here, and `store.WrongBytesError` if a file does not
        have the SHA-256 that is stated for it.
        """
        files = list(files_of(shard))
        for file in files:
            whole = self._whole(file)
            self._objects.accept([whole], file.sha256, whole.stat().st_size)
            with self._lock:
                self._files[file.xet_hash] = self._by_sha256[file.sha256] = file
            repo.objects.add(file.sha256)
        return [file.sha256 for file in files]

    def _whole(self, file: XetFile) -> Path:
        """A new file of that content."""
        whole = self._objects.incoming()
        try:
            with whole.open("wb") as target:
                for segment in file.segments:
                    target.write(self._unpacked(segment))
        except MalformedError:
            whole.unlink()
            raise
        return whole

    def _unpacked(self, segment: Segment) -> bytes:
        with self._lock:
            listed = self._frames.get(segment.xorb, [])[segment.first : segment.end]
        if not listed or len(listed) != segment.end - segment.first:
            raise MalformedError(f"the chunks {segment.first} to {segment.end} of xorb {segment.xorb} are not here")
        with self.path(segment.xorb).open("rb") as file:
            file.seek(listed[0].start)
            packed = file.read(listed[-1].end - listed[0].start)
        return b"".join(unpacked(packed[start - listed[0].start : end - listed[0].start]) for start, end, _ in listed)

    # Reading

    def path(self, xorb: str) -> Path:
        return self._root / xorb

    def xet_hash(self, sha256: str) -> str | None:
        """Xet's own hash of a large file, if it came by Xet."""
        file = self._by_sha256.get(sha256)
        return file and file.xet_hash

    def forget(self, sha256: str) -> None:
        """The file is not there any more; its chunks are."""
        with self._lock:
            if (file := self._by_sha256.pop(sha256, None)) is not None:
                del self._files[file.xet_hash]

    def may_read(self, xet_hash: str, repo: Repo) -> bool:
        """Whether the file is in that repository."""
        return xet_hash in self._files and self._files[xet_hash].sha256 in repo.objects

    def size(self, xet_hash: str) -> int:
        return sum(self.length(segment) for segment in self._files[xet_hash].segments)

    def length(self, segment: Segment) -> int:
        """How many bytes of a file a segment is."""
        return sum(frame.length for frame in self._frames[segment.xorb][segment.first : segment.end])

    def place(self, segment: Segment) -> range:
        """The bytes of its xorb where a segment lies."""
        chunks = self._frames[segment.xorb][segment.first : segment.end]
        return range(chunks[0].start, chunks[-1].end)

    def segments(self, xet_hash: str, wanted: range) -> tuple[int, list[Segment]]:
        """The chunks that hold the `wanted` bytes of a file, and how many bytes of the first are before those."""
        found: list[Segment] = []
        skipped = position = 0
        for xorb, first, end in self._files[xet_hash].segments:
            inside: list[int] = []
            for index in range(first, end):
                start, position = position, position + self._frames[xorb][index].length
                if start < wanted.stop and position > wanted.start:
                    skipped = max(skipped, wanted.start - start)  # more than nothing for the first only
                    inside.append(index)
            if inside:
                found.append(Segment(xorb, inside[0], inside[-1] + 1))
        return skipped, found

    # Damage

    def flip(self, sha256: str, at: int) -> None:
        """Turn over all bits of a byte of a file that came by Xet, in the chunk that holds it: wherever that is used.

        The chunk is stored anew without compression: it can be unpacked, and only what comes of it is wrong.
        """
        file = self._by_sha256[sha256]
        skipped, (segment,) = self.segments(file.xet_hash, range(at, at + 1))
        xorb, index, _ = segment
        content = bytearray(self._unpacked(segment))
        content[skipped] ^= 0xFF
        with self._lock:
            whole, frame = self.path(xorb).read_bytes(), self._frames[xorb][index]
            whole = whole[: frame.start] + plain_frame(bytes(content)) + whole[frame.end :]
            self.path(xorb).write_bytes(whole)
            self._frames[xorb] = frames(whole)
            using = [file for file in self._files.values() if any(_has(each, xorb, index) for each in file.segments)]
        for file in using:
            self._whole(file).rename(self._objects.path(file.sha256))


def _has(segment: Segment, xorb: str, index: int) -> bool:
    return segment.xorb == xorb and segment.first <= index < segment.end
