"""Reading gzip files (RFC 1952): the content of all members as one stream, and everything else in the file."""

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
    """A file that cannot be decompressed; the message says why."""


@dataclass(frozen=True)
class Member:
    """The optional fields of a member's header; a field that is not there is empty."""

    name: bytes
    """Empty, too, if it is the file's own name, with or without `.gz`."""

    comment: bytes
    extra: bytes
    """Without the block size that blocked gzip (BGZF) stores here."""


class Gunzip:
    """A gzip file that is read once from start to end. CRC and length of each member are verified.

    Attributes:
        first: The first member.
        trailing: Number of bytes outside members, complete once all is read.
        garbage: Number of the trailing bytes from the first that is not zero. Python's `gzip.decompress`, and so the
            datasets library, skips zeros but fails at other bytes.

    Args:
        name: Name of the file.
        buffer_size: Bytes of the file that are in memory at a time.

    Raises:
        GzipError: The file is not a gzip file, or damaged. `read` raises it, too.
    """

    def __init__(self, file: BinaryIO, name: str, buffer_size: int):
        self._file = file
        self._own_names = {os.fsencode(own) for own in (name, name.removesuffix(".gz"))}
        self._buffer = memoryview(bytearray(buffer_size))
        self._position = self._end = 0
        self._later, self._tail = {field.name: Excerpt() for field in fields(Member)}, TextSeeker()
        self.trailing = self.garbage = 0
        self._feed_size = 0
        magic = self._up_to(len(MAGIC))
        if not magic:
            raise GzipError("is empty")
        if magic != MAGIC:
            raise GzipError(_CUT_SHORT if MAGIC.startswith(magic) else "is not a gzip file")
        self.first = self._member()

    def read(self, most: int) -> bytes:
        """Return the next bytes of the content, at most `most`; none only at its end."""
        while self._inflating or self._next_member():
            if data := self._inflated(most):
                return data
        return b""

    def text(self) -> Iterator[tuple[str, str]]:
        """Yield text in later members' headers and in trailing bytes, as (place, text), once all is read."""
        for field, excerpt in self._later.items():
            if text := str(excerpt):
                yield f"{field} in the header of a later gzip member", text
        if text := self._tail.end():
            yield "end of the file, after its gzip stream,", text

    def _inflated(self, most: int) -> bytes:
        """Return the next bytes of this member; perhaps none, also before its end."""
        piece = memoryview(b"")
        if self._inflate.needs_input:
            piece = self._take(self._feed_size)
            if not piece:
                raise GzipError(_CUT_SHORT)
            self._feed_size = min(2 * self._feed_size, len(self._buffer))  # so little is read past a small member
        try:
            data = self._inflate.decompress(piece, most)
        except _ERROR as error:
            if "checksum" in str(error):
                raise GzipError("is damaged: its content does not match its gzip CRC and length") from error
            raise GzipError(f"is damaged inside its gzip stream: {error}") from error
        if self._inflate.eof:
            self._position -= len(self._inflate.unused_data)
            self._inflating = False
        return data

    def _next_member(self) -> bool:
        """Start the next member and return True; without one, read the file to its end and return False."""
        while piece := self._take(_PADDING):
            rest = bytes(piece).lstrip(b"\0")
            self.trailing += len(piece) - len(rest)
            if rest:
                self._position -= len(rest)
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
        """Read a member's header after its magic, and start to decompress."""
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
        self._inflating, self._feed_size = True, _FIRST_FEED
        return Member(b"" if name in self._own_names else name, comment, _without_block_size(extra))

    def _take(self, most: int) -> memoryview:
        """Return the next compressed bytes, at most `most`, valid until the next call; none at the file's end."""
        if self._position == self._end:
            self._position, self._end = 0, self._file.readinto(self._buffer) or 0  # type: ignore[attr-defined]
        piece = self._buffer[self._position : min(self._position + most, self._end)]
        self._position += len(piece)
        return piece

    def _up_to(self, count: int) -> bytes:
        """Return the next `count` compressed bytes, or all that are left."""
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
                self._position -= len(piece) - end - 1
                return bytes(data + piece[:end])
            data += piece
        raise GzipError("has a gzip header that is too long" if piece else _CUT_SHORT)


def _without_block_size(extra: bytes) -> bytes:
    """Return an extra field without its subfields BC; unchanged if it does not consist of subfields."""
    kept, start = b"", 0
    while start < len(extra):
        end = start + 4 + int.from_bytes(extra[start + 2 : start + 4], "little")
        if end > len(extra):
            return extra
        if (extra[start : start + 2], end - start) != (b"BC", 6):
            kept += extra[start:end]
        start = end
    return kept
