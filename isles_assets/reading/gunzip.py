"""Gzip files taken apart (RFC 1952): the content of their members as one stream, and what else such a file can hold."""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import BinaryIO, cast

from isal import igzip_lib

from isles_assets.reading.text import Excerpt, TextSeeker

MAGIC = b"\x1f\x8b"

_DEFLATE = 8
_CHECKED, _EXTRA, _NAMED, _COMMENTED, _RESERVED = 0x02, 0x04, 0x08, 0x10, 0xE0
_LONGEST_FIELD = 1 << 16
_FIRST_FEED, _PADDING = 1 << 10, 1 << 12
_ERROR = cast(type[Exception], igzip_lib.error)
_CUT_SHORT = "is cut short: the gzip stream has no end"


class GzipError(Exception):
    """The file cannot be decompressed; the message says why."""


@dataclass(frozen=True)
class Member:
    """The optional fields of a member's header, each empty if it is not there.

    So is `name` if it is the file's own, with or without `.gz`, and the block size in `extra` that blocked gzip (BGZF)
    notes.
    """

    name: bytes
    comment: bytes
    extra: bytes


class Gunzip:
    """The content of a gzip file `called` so, read once from start to end in memory of `piece` bytes.

    Each member's CRC and length are verified. `first` is its first member. `trailing` counts the bytes that belong to
    no member, and `garbage` those of them from the first on that is not zero: Python's `gzip.decompress`, and so the
    datasets library, skips zeros but stops at others. Both are complete once all is read.

    Raises `GzipError` for what is no gzip file and for a damaged one.
    """

    def __init__(self, file: BinaryIO, called: str, piece: int):
        self._file = file
        self._own_names = {os.fsencode(name) for name in (called, called.removesuffix(".gz"))}
        self._buffer = memoryview(bytearray(piece))
        self._at = self._end = 0
        self._later, self._tail = {field.name: Excerpt() for field in fields(Member)}, TextSeeker()
        self.trailing = self.garbage = 0
        self._feed = 0
        magic = self._up_to(len(MAGIC))
        if not magic:
            raise GzipError("is empty")
        if magic != MAGIC:
            raise GzipError(_CUT_SHORT if MAGIC.startswith(magic) else "is not a gzip file")
        self.first = self._member()

    def read(self, most: int) -> bytes:
        """The next bytes, at most `most`; none only at the end of the file."""
        while self._inflating or self._next_member():
            if data := self._inflated(most):
                return data
        return b""

    def text(self) -> Iterator[tuple[str, str]]:
        """Text that the file's first bytes do not show, as (place, text), once all is read."""
        for field, excerpt in self._later.items():
            if text := str(excerpt):
                yield f"{field} in the header of a later gzip member", text
        if text := self._tail.end():
            yield "end of the file, after its gzip stream,", text

    def _inflated(self, most: int) -> bytes:
        """The next bytes of this member; perhaps none, also before its end."""
        piece = memoryview(b"")
        if self._inflate.needs_input:
            piece = self._take(self._feed)
            if not piece:
                raise GzipError(_CUT_SHORT)
            self._feed = min(2 * self._feed, len(self._buffer))  # little is read beyond the end of a small member
        try:
            data = self._inflate.decompress(piece, most)
        except _ERROR as error:
            if "checksum" in str(error):
                raise GzipError("is damaged: its content is not what its gzip CRC and length say") from error
            raise GzipError(f"is damaged inside its gzip stream: {error}") from error
        if self._inflate.eof:
            self._at -= len(self._inflate.unused_data)
            self._inflating = False
        return data

    def _next_member(self) -> bool:
        """Go on to the member that follows, if one does; else read the file to its end."""
        while piece := self._take(_PADDING):
            rest = bytes(piece).lstrip(b"\0")
            self.trailing += len(piece) - len(rest)
            if rest:
                self._at -= len(rest)
                break
        rest = self._up_to(len(MAGIC))
        if rest == MAGIC:
            member = self._member()
            for field, excerpt in self._later.items():
                if (text := getattr(member, field)) != getattr(self.first, field):
                    excerpt.add(text)
            return True
        while rest:
            self.garbage += len(rest)
            self.trailing += len(rest)
            self._tail.feed(rest)
            rest = bytes(self._take(len(self._buffer)))
        return False

    def _member(self) -> Member:
        """Read a member's header, of which the magic is read."""
        head = self._exactly(8)
        method, flags = head[0], head[1]
        if method != _DEFLATE or flags & _RESERVED:
            raise GzipError("is not a gzip file that can be read: its gzip header names an unknown method or flag")
        extra = name = comment = b""
        if flags & _EXTRA:
            size = self._exactly(2)
            extra = self._exactly(int.from_bytes(size, "little"))
            head += size + extra
        if flags & _NAMED:
            name = self._until_zero()
            head += name + b"\0"
        if flags & _COMMENTED:
            comment = self._until_zero()
            head += comment + b"\0"
        if flags & _CHECKED and int.from_bytes(self._exactly(2), "little") != zlib.crc32(MAGIC + head) & 0xFFFF:
            raise GzipError("is damaged: the CRC of its gzip header is wrong")
        self._inflate = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP_NO_HDR_VER, igzip_lib.MAX_HIST_BITS)
        self._inflating, self._feed = True, _FIRST_FEED
        return Member(b"" if name in self._own_names else name, comment, _without_block_size(extra))

    def _take(self, most: int) -> memoryview:
        """The next bytes of the file as it is, at most `most`, until the next call; none at its end."""
        if self._at == self._end:
            self._at, self._end = 0, self._file.readinto(self._buffer) or 0  # type: ignore[attr-defined]
        piece = self._buffer[self._at : min(self._at + most, self._end)]
        self._at += len(piece)
        return piece

    def _up_to(self, count: int) -> bytes:
        """The next `count` bytes of the file as it is, or what is left of it."""
        data = bytearray()
        while len(data) < count and (piece := self._take(count - len(data))):
            data += piece
        return bytes(data)

    def _exactly(self, count: int) -> bytes:
        data = self._up_to(count)
        if len(data) < count:
            raise GzipError(_CUT_SHORT)
        return data

    def _until_zero(self) -> bytes:
        data = bytearray()
        while (piece := self._take(_PADDING)) and len(data) < _LONGEST_FIELD:
            end = bytes(piece).find(b"\0")
            if end >= 0:
                self._at -= len(piece) - end - 1
                return bytes(data + piece[:end])
            data += piece
        raise GzipError("has a gzip header that is too long to be one" if piece else _CUT_SHORT)


def _without_block_size(extra: bytes) -> bytes:
    """An extra field without the subfields BC; as it is where it is not made of subfields."""
    kept, at = b"", 0
    while at < len(extra):
        end = at + 4 + int.from_bytes(extra[at + 2 : at + 4], "little")
        if end > len(extra):
            return extra
        if (extra[at : at + 2], end - at) != (b"BC", 6):
            kept += extra[at:end]
        at = end
    return kept
