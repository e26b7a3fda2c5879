"""7z archives to extract: as somebody packs the release, and such as nobody should."""

import io
import stat
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import py7zr

LZMA2 = [{"id": py7zr.FILTER_LZMA2, "preset": 0}]
COPY = [{"id": py7zr.FILTER_COPY}]


def pack(archive: Path, folder: Path, parts: Mapping[str, Any] = MappingProxyType({".": LZMA2})) -> Path:
    """Put `parts` of `folder` into `archive` below its own name: each as a block of its own, by these filters."""
    for part, filters in parts.items():
        with py7zr.SevenZipFile(archive, "a" if archive.exists() else "w", filters=filters) as content:
            content.writeall(folder / part, str(Path(folder.name, part)))
    return archive


def craft(archive: Path, contents: Mapping[str, bytes], **fields: Any) -> Path:
    """An archive of these names as they are, which a decent program would not write, with `fields` in every entry."""
    with py7zr.SevenZipFile(archive, "w", filters=LZMA2) as content:
        for number, (name, data) in enumerate(contents.items()):
            content.writef(io.BytesIO(data), f"innocent {number}")
            content.files.files_list[-1].update({"filename": name, **fields})
    return archive


def patch_listing(archive: Path, old: bytes, new: bytes) -> Path:
    """Replace `old` in the plain listing of `archive`, whose checksums are then right."""
    content = archive.read_bytes()
    offset, size = struct.unpack_from("<QQ", content, 12)
    listing = content[32 + offset :][:size]
    assert listing.count(old) == 1
    listing = listing.replace(old, new)
    start = struct.pack("<QQI", offset, len(listing), zlib.crc32(listing))
    archive.write_bytes(
        content[:8] + struct.pack("<I", zlib.crc32(start)) + start + content[32 : 32 + offset] + listing
    )
    return archive


BZIP2 = [{"id": py7zr.FILTER_BZIP2}]
RELEASE_PARTS = {"raw_data": COPY, "derivatives": COPY, "phenotype": LZMA2, "clinical_data-description.xlsx": COPY}
"""Four blocks, most bytes of which need no time to pack."""

LINK = {"attributes": 0x8000 | (stat.S_IFLNK | 0o777) << 16}
PIPE = {"attributes": 0x8000 | (stat.S_IFIFO | 0o644) << 16}


def hollow(archive: Path, path: Path, size: int) -> Path:
    """An archive at `path` that seems to have `size` bytes: the start and the header of `archive`, and a hole between.

    The header is packed, as 7-Zip's are, and lies at the end.
    """
    content = archive.read_bytes()
    offset, length = struct.unpack_from("<QQ", content, 12)
    header = content[32 + offset :][:length]
    assert header[:2] == b"\x17\x06", "a packed header, and where it is"
    width = 1 + next(count for count in range(9) if not header[2] & (0x80 >> count))
    place = int.from_bytes(header[3 : 2 + width], "little") | (header[2] & (0xFF >> width)) << 8 * (width - 1)
    packed = content[32 + place : 32 + offset]
    patched = 9 - width + length
    header = header[:2] + b"\xff" + struct.pack("<Q", size - 32 - patched - len(packed)) + header[2 + width :]
    start = struct.pack("<QQI", size - 32 - len(header), len(header), zlib.crc32(header))
    with path.open("wb") as file:
        file.write(content[:8] + struct.pack("<I", zlib.crc32(start)) + start)
        file.truncate(size)
        file.seek(size - len(header) - len(packed))
        file.write(packed + header)
    return path
