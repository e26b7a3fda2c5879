"""Xet storage: files as lists of chunks, chunks in xorbs. The formats on the wire, and the stored state.

A client cuts a file into chunks of about 64 KB at places that the content determines. It packs the chunks that are new
to it into xorbs of up to 64 MB and uploads these. It then uploads a shard: the list of chunks and xorbs that make up
each file. To read a file, a client requests this list, with addresses from which to fetch the ranges of the xorbs.

The formats are those of Xet's protocol specification (huggingface.co/docs/xet: xorb, shard), as hf_xet 1.8 writes them.
"""

import hashlib
import struct
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from isles_assets_tests.hub_server.store import Repo, check_digest

# A shard: a header, then entries of one size. A run of them ends with an entry whose hash is all ones.
SHARD_TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
SHARD_HEADER = 48
ENTRY = struct.Struct("<32s4I")
LAST = b"\xff" * 32
WITH_VERIFICATION, WITH_SHA256 = 1 << 31, 1 << 30

# A xorb: a header before each chunk, and optionally a footer, which begins with `XORB_FOOTER`.
CHUNK_HEADER = 8
XORB_FOOTER = b"XETBLOB"
PLAIN, LZ4, GROUPED_LZ4 = range(3)

HOUR = 3600


class MalformedError(Exception):
    """A xorb or a shard is malformed."""


class Frame(NamedTuple):
    """The place of a chunk and its header in a xorb, and the chunk's unpacked length, all in bytes."""

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
    """Return a hash as Xet writes it in addresses: four little-endian numbers of eight bytes each, in hex."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))


def frames(xorb: bytes) -> list[Frame]:
    """Return the chunks of a xorb.

    Raises:
        MalformedError: It is no sequence of chunks.
    """
    chunks, at = [], 0
    while at < len(xorb) and not xorb.startswith(XORB_FOOTER, at):
        packed, length = (int.from_bytes(xorb[at + n : at + n + 3], "little") for n in (1, 5))
        end = at + CHUNK_HEADER + packed
        if xorb[at] != 0 or end > len(xorb) or not length:
            raise MalformedError(f"no chunk begins at byte {at} of the xorb")
        chunks.append(Frame(at, end, length))
        at = end
    return chunks


def unpacked(frame: bytes) -> bytes:
    """Return the bytes of a chunk.

    Raises:
        MalformedError: It cannot be unpacked.
    """
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
    # The bytes are grouped by their position modulo four. Put them back in order.
    whole, at = np.empty(length, np.uint8), 0
    for place in range(4):
        count = len(whole[place::4])
        whole[place::4] = np.frombuffer(content, np.uint8, count, at)
        at += count
    return whole.tobytes()


def plain_frame(content: bytes) -> bytes:
    """Return an uncompressed chunk with its header."""
    size = len(content).to_bytes(3, "little")
    return bytes([0]) + size + bytes([PLAIN]) + size + content


def files_of(shard: bytes) -> Iterator[XetFile]:
    """Yield the files that a shard describes. Its entries about xorbs are not read, because the xorbs are stored.

    Raises:
        MalformedError: It is no shard, ends too early, or states no SHA-256 for a file.
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
        if flags & WITH_VERIFICATION:  # a hash for each segment, which proves that the client has its bytes
            entries(count)
        if not flags & WITH_SHA256:
            raise MalformedError("a file is described without its SHA-256")
        yield XetFile(hexadecimal(xet_hash), hexadecimal(entries(1)[0][0]), segments)


def merged(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments with those that overlap or touch joined."""
    joined: list[Segment] = []
    for segment in sorted(segments):
        if joined and joined[-1].xorb == segment.xorb and segment.first <= joined[-1].end:
            joined[-1] = joined[-1]._replace(end=max(joined[-1].end, segment.end))
        else:
            joined.append(segment)
    return joined


class Grant(NamedTuple):
    """The right that an access token of the storage gives for an hour."""

    repo: Repo
    writes: bool
    expires: int


class Arriving(NamedTuple):
    """A xorb whose upload was granted, and the path that it is written to."""

    xorb: str
    size: int
    path: Path


class Cas:
    """The storage: xorbs in a folder, and the lists of chunks and files in memory. Threads may share one object.

    The SHA-256 of an uploaded file is verified at once. No file is stored as a whole, and a xorb that several share is
    stored once.
    """

    def __init__(self, root: Path, *, believed: bool) -> None:
        self.grants: dict[str, Grant] = {}
        self.signed: dict[str, tuple[str, range | None]] = {}
        self.uploads: dict[str, Arriving] = {}
        self._root, self._believed = root / "xorbs", believed
        self._root.mkdir(parents=True, exist_ok=True)
        self._frames: dict[str, list[Frame]] = {}
        self._files: dict[str, XetFile] = {}
        self._by_sha256: dict[str, XetFile] = {}
        self._lock = threading.Lock()

    # Rights

    def grant(self, repo: Repo, *, writes: bool) -> tuple[str, Grant]:
        """Return a new access token and its grant."""
        token = f"xet_{uuid.uuid4().hex}"
        self.grants[token] = Grant(repo, writes, int(time.time()) + HOUR)
        return token, self.grants[token]

    def sign(self, path: str, wanted: range | None = None) -> str:
        """Return the path with a signature that gives the right to use it, or only that range of its bytes."""
        signature = uuid.uuid4().hex
        self.signed[signature] = path, wanted
        return f"{path}?X-Xet-Signature={signature}"

    # Writing

    def has(self, xorb: str) -> bool:
        return xorb in self._frames

    def put(self, xorb: str, arrived: Path) -> bool:
        """Store the xorb in the file `arrived`, remove that file, and return whether the xorb was new.

        Its hash is not checked, because BLAKE3 is not installed. Wrong bytes show when a file is assembled.

        Raises:
            MalformedError: It is no xorb.
        """
        try:
            chunks = frames(arrived.read_bytes())
            with self._lock:
                if xorb in self._frames:
                    return False
                arrived.rename(self.path(xorb))
                self._frames[xorb] = chunks
                return True
        finally:
            arrived.unlink(missing_ok=True)

    def register(self, shard: bytes, repo: Repo) -> list[str]:
        """Add the files that a shard describes to the repository, and return their SHA-256.

        Raises:
            MalformedError: The shard is malformed, or names chunks that are not stored.
            store.WrongBytesError: A file has another SHA-256 than the stated one.
        """
        files = list(files_of(shard))
        for file in files:
            self._verify(file)
            with self._lock:
                self._files[file.xet_hash] = self._by_sha256[file.sha256] = file
            repo.objects.add(file.sha256)
        return [file.sha256 for file in files]

    def _verify(self, file: XetFile) -> None:
        digest = hashlib.sha256()
        for segment in file.segments:
            digest.update(self._unpacked(segment))
        if not self._believed:
            check_digest(digest.hexdigest(), file.sha256)

    def _unpacked(self, segment: Segment) -> bytes:
        with self._lock:
            listed = self._frames.get(segment.xorb, [])[segment.first : segment.end]
        if not listed or len(listed) != segment.end - segment.first:
            raise MalformedError(f"the chunks {segment.first} to {segment.end} of xorb {segment.xorb} are not stored")
        with self.path(segment.xorb).open("rb") as file:
            file.seek(listed[0].start)
            packed = file.read(listed[-1].end - listed[0].start)
        return b"".join(unpacked(packed[start - listed[0].start : end - listed[0].start]) for start, end, _ in listed)

    # Reading

    def path(self, xorb: str) -> Path:
        return self._root / xorb

    def xet_hash(self, sha256: str) -> str | None:
        """Return Xet's hash of a large file; None if it was not uploaded by Xet."""
        file = self._by_sha256.get(sha256)
        return file and file.xet_hash

    def content(self, sha256: str, wanted: range) -> bytes:
        """Return a range of the bytes of a file."""
        skipped, segments = self.segments(self._by_sha256[sha256].xet_hash, wanted)
        return b"".join(map(self._unpacked, segments))[skipped : skipped + len(wanted)]

    def total(self) -> int:
        """Return the bytes of all files; shared chunks count in each."""
        return sum(map(self.size, tuple(self._files)))

    def forget(self, sha256: str) -> None:
        """Forget the file, but keep its chunks."""
        with self._lock:
            del self._files[self._by_sha256.pop(sha256).xet_hash]

    def may_read(self, xet_hash: str, repo: Repo) -> bool:
        """Return whether the file is in the repository."""
        return xet_hash in self._files and self._files[xet_hash].sha256 in repo.objects

    def size(self, xet_hash: str) -> int:
        return sum(self.length(segment) for segment in self._files[xet_hash].segments)

    def length(self, segment: Segment) -> int:
        """Return the unpacked length of a segment in bytes."""
        return sum(frame.length for frame in self._frames[segment.xorb][segment.first : segment.end])

    def place(self, segment: Segment) -> range:
        """Return the byte range of a segment in its xorb."""
        chunks = self._frames[segment.xorb][segment.first : segment.end]
        return range(chunks[0].start, chunks[-1].end)

    def segments(self, xet_hash: str, wanted: range) -> tuple[int, list[Segment]]:
        """Return the chunks that hold the `wanted` bytes of a file, and how many bytes of the first precede them."""
        selected: list[Segment] = []
        skipped = position = 0
        for xorb, first, end in self._files[xet_hash].segments:
            inside: list[int] = []
            for index in range(first, end):
                start, position = position, position + self._frames[xorb][index].length
                if start < wanted.stop and position > wanted.start:
                    skipped = max(skipped, wanted.start - start)  # positive for the first chunk only
                    inside.append(index)
            if inside:
                selected.append(Segment(xorb, inside[0], inside[-1] + 1))
        return skipped, selected

    # Damage

    def flip(self, sha256: str, at: int) -> None:
        """Invert all bits of a byte of a file that was uploaded by Xet, in every file that shares its chunk.

        The chunk is stored again without compression, so it can still be unpacked.
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


@dataclass(frozen=True)
class XetObject:
    """A file that was uploaded by Xet."""

    cas: Cas
    sha256: str

    def __len__(self) -> int:
        return self.cas.size(self.cas.xet_hash(self.sha256) or "")

    def read(self, wanted: range) -> bytes:
        """Return a range of its bytes."""
        return self.cas.content(self.sha256, wanted)
