"""Reading NIfTI files: the header alone, or the whole file once.

All streams: memory is a few MB whatever the volume. Intensities are never converted; only masks are scaled, by
the header's slope and intercept, because their stored integers need not be 0 and 1. What can be read is read, and what
is odd in it noted; what that means for a release is said elsewhere.
"""

import hashlib
import io
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from math import inf, prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel.affines import voxel_sizes
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import ArrayLike, NDArray

from isles_assets.lib.files import FileStatus, status_of
from isles_assets.reading.gunzip import MAGIC, Gunzip, GzipError, Member
from isles_assets.reading.text import Excerpt, TextSeeker, printable
from isles_assets.release.volumes import Content

_CHUNK = 1 << 18
_PIECE, _HEADER_PIECE = 1 << 18, 1 << 14
_FARTHEST_DATA = 1 << 26
_LABEL_TOLERANCE = 1e-3
_NO_LABELS = (
    "fractions",
    "negative numbers",
    "very large numbers",
    "complex numbers",
    "values that are NaN or infinite",
)
_FEW_VALUES = 16
_LARGEST_LABEL = np.iinfo(np.int32).max
_FLAT = 1e-3  # of the volume of a box with the same edges: rounding leaves less
_SMALLEST_EXTENSION, _MOST_TEXTS = 16, 50
_TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
# An OverflowError is that of a data offset at infinity.
_INVALID = (HeaderDataError, WrapStructError, ValueError, OverflowError)

MOST_LABELS = 256
"""So many labels of a mask are listed; an image in its place has thousands."""

SYNTHETIC_MARK = "SYNTHETIC isles-assets sample"
"""Begins `descrip` of every NIfTI file of the sample, so that no reader mistakes it for a release."""


class NiftiError(Exception):
    """The file is not a volume that can be published; the message says why."""


@dataclass(frozen=True)
class Header:
    """What a header says: `shape` in voxels, `affine` 4 x 4 row by row in mm (voxel to RAS+).

    `spacing` is that of the affine in mm, None if that is not finite, and `pixdim` the three voxel sizes in mm that
    are stored beside it. `transform` says why the affine cannot be used, None if it can. `qform_mm` is how far a corner
    of the volume is at most from where the qform has it, None unless qform and sform are both set and the affine can be
    used; infinite where the qform cannot. `dtype` is the stored type's numpy name. `gzip_name` is the file name in the
    gzip header, None if it is the file's own. `text` is all free text before the first voxel that is not empty, as
    (field, text). `data_offset` is the position of the first voxel in the uncompressed file.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    pixdim: tuple[float, ...]
    affine: tuple[float, ...]
    transform: str | None
    qform_mm: float | None
    dtype: str
    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    gzip_name: str | None
    text: tuple[tuple[str, str], ...]
    data_offset: int

    @property
    def frames(self) -> int:
        """Number of 3-D volumes: the product of all axes beyond the third."""
        return prod(self.shape[3:])


def is_numeric(dtype: str) -> bool:
    """Whether voxels of the numpy type `dtype` are numbers; colours are none."""
    return np.dtype(dtype).kind in "iufc"


def voxel_ml(affine: Sequence[float]) -> float:
    """Volume in millilitres of a voxel under `affine`, 16 numbers row by row in mm."""
    return float(abs(np.linalg.det(np.reshape(affine, (4, 4))[:3, :3]))) / 1000


def displacement(affine: ArrayLike, other: ArrayLike, shape: Sequence[int]) -> float:
    """The greatest distance in mm between the places where two affines have a corner of a volume of this `shape`."""
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in (*shape, 1, 1, 1)[:3]), (1,))))
    difference = np.reshape(affine, (4, 4)) - np.reshape(other, (4, 4))
    return float(np.linalg.norm((corners @ difference.T)[:, :3], axis=1).max())


@dataclass(frozen=True)
class Inspection:
    """What decoding a whole file showed.

    `non_finite` counts NaN and infinite voxels. The others of the first five are of masks, after scaling: `marked`
    counts the voxels that are not 0, `labels` are the distinct whole numbers from 1, and at most `MOST_LABELS` of them
    if there are `more_labels`; `no_labels` says in words which values are none of these, empty for no such.

    `surplus` counts the bytes after the last voxel, `trailing` those after the end of the gzip stream, and `garbage`
    those of them from the first that is not zero: at it the datasets library stops. `text` is what can be read in any
    of these or in the headers of later gzip members, as (field, text).
    """

    header: Header
    non_finite: int
    marked: int
    labels: tuple[int, ...]
    more_labels: bool
    no_labels: str
    surplus: int
    trailing: int
    garbage: int
    text: tuple[tuple[str, str], ...]


See = Callable[[Header, int, np.ndarray], None]
"""Takes voxels as they are decoded: the header, how many came before in file order (x fastest), and the next ones.

They are a flat array of the stored type, before slope and intercept, and last only until it returns.
"""


def read_header(path: Path) -> Header:
    """The header of a `.nii.gz` file, by its first kilobytes alone. Raises `NiftiError` if they hold no sound one."""
    with DigestingReader(path) as file:
        try:
            return _header(_gunzip(file, _HEADER_PIECE))
        except GzipError as error:
            raise NiftiError(str(error)) from error


class DigestingReader(io.RawIOBase):
    """A file that is read once from start to end, whose bytes are digested and handed to `sink` as they pass.

    `size`, `sha256` and `crc32` are of what has passed, `status` is that of the file when it was opened. Raises
    `NiftiError` where the system cannot read.
    """

    def __init__(self, path: Path, sink: Callable[[memoryview], None] = lambda piece: None):
        try:
            self._file = path.open("rb", buffering=0)
            self.status: FileStatus = status_of(self._file)
            self.name = path.name
        except OSError as error:
            super().close()  # else the finalizer would close a file that was never opened
            raise NiftiError(f"cannot be read: {error.strerror}") from error
        self._sink = sink
        self._digest = hashlib.sha256()
        self.size = self.crc32 = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            count = self._file.readinto(buffer) or 0
        except OSError as error:
            raise NiftiError(f"cannot be read: {error.strerror}") from error
        piece = memoryview(buffer)[:count]
        self._digest.update(piece)
        self.crc32 = isal_zlib.crc32(piece, self.crc32)
        self._sink(piece)
        self.size += count
        return count

    def drain(self) -> None:
        """Read what is left."""
        buffer = bytearray(_CHUNK)
        while self.readinto(buffer):
            pass

    def close(self) -> None:
        self._file.close()
        super().close()


def inspect(file: BinaryIO | DigestingReader, content: Content, see: See = lambda *voxels: None) -> Inspection:
    """Decode a `.nii.gz` file from start to end: gzip CRC and length, data length, and what the voxels hold.

    `see` is shown the voxels on the way; what it saw is of a sound file only once `inspect` has returned.

    Raises `NiftiError` for a damaged file, and for data shorter than the header says. Whatever else the voxels or the
    end of the file hold is noted.
    """
    seen, non_finite, marks = 0, 0, _Marks()
    try:
        stream = _gunzip(file, _PIECE)
        header = _header(stream)
        for chunk in _data(stream, header):
            stored = np.frombuffer(chunk, header.dtype)
            if stored.dtype.kind in "fc":
                non_finite += stored.size - int(np.count_nonzero(np.isfinite(stored)))
            if content in (Content.MASK, Content.LABELS) and is_numeric(header.dtype):
                marks.add(header, stored)
            see(header, seen, stored)
            seen += stored.size
        surplus, text = _surplus(stream)
    except GzipError as error:
        raise NiftiError(str(error)) from error
    return Inspection(
        header=header,
        non_finite=non_finite,
        marked=marks.marked,
        labels=tuple(sorted(marks.labels)),
        more_labels=marks.more,
        no_labels=marks.others(),
        surplus=surplus,
        trailing=stream.trailing,
        garbage=stream.garbage,
        text=(*text, *stream.text()),
    )


class _Marks:
    """What the voxels of a mask hold, gathered piece by piece."""

    def __init__(self) -> None:
        self.marked, self.more, self._many = 0, False, False
        self.labels: set[int] = set()
        self._others: set[str] = set()

    def add(self, header: Header, stored: np.ndarray) -> None:
        if not (stored.any() or header.intercept):
            return
        values = stored if self._many else np.unique(stored)
        self._many |= len(values) > MOST_LABELS
        few = len(values) <= _FEW_VALUES and (values == values).all()  # NaN is not equal to itself
        if not few:
            values = stored
        with np.errstate(all="ignore"):
            scaled = values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)
            scaled = scaled * header.slope + header.intercept
            marking = ~(np.abs(scaled) <= _LABEL_TOLERANCE)
        counts = (np.count_nonzero(stored == value) for value in values[marking]) if few else [marking.sum()]
        self.marked += int(sum(counts))
        scaled = scaled[marking]
        finite = np.isfinite(scaled)
        is_real = np.abs(scaled.imag) <= _LABEL_TOLERANCE
        real = scaled[finite & is_real].real
        whole = np.rint(real)
        is_whole, is_large = np.abs(real - whole) <= _LABEL_TOLERANCE, whole > _LARGEST_LABEL
        others = (~is_whole & (real > 0), real < 0, is_large, finite & ~is_real, ~finite)
        self._others.update(kind for kind, which in zip(_NO_LABELS, others, strict=True) if which.any())
        if not self.more:
            self.labels.update(map(int, np.unique(whole[is_whole & ~is_large & (whole > 0)])))
            if len(self.labels) > MOST_LABELS:
                self.labels, self.more = set(sorted(self.labels)[:MOST_LABELS]), True

    def others(self) -> str:
        """The kinds of values that are no labels, in words."""
        *most, last = [kind for kind in _NO_LABELS if kind in self._others] or [""]
        return f"{', '.join(most)} and {last}" if most else last


def _gunzip(file: BinaryIO | DigestingReader, piece: int) -> Gunzip:
    return Gunzip(cast(BinaryIO, file), Path(str(getattr(file, "name", ""))).name, piece)


def _header(stream: Gunzip) -> Header:
    try:
        return _parse(stream)
    except _INVALID as error:
        raise NiftiError(f"has an invalid NIfTI header: {error}") from error


def _parse(stream: Gunzip) -> Header:
    start = _read(stream, 4)
    if start.startswith(MAGIC):
        raise NiftiError("is compressed twice: it is a gzip file in a gzip file")
    if start in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        raise NiftiError("is NIfTI-2, which the datasets library cannot decode")
    block = start + _read(stream, 348)
    if len(block) < 352:
        raise NiftiError(f"ends after {len(block)} bytes, inside the NIfTI header")
    header = nib.Nifti1Header(block[:348])
    if bytes(header["magic"])[:3] != b"n+1":
        raise NiftiError("is not a NIfTI-1 file: the header's magic is missing")
    offset = int(header["vox_offset"])
    if not len(block) <= offset <= _FARTHEST_DATA:
        raise NiftiError(f"says that its data starts at byte {offset}, which cannot be")
    rest = _read(stream, offset - len(block))
    if len(rest) < offset - len(block):
        raise NiftiError("ends before its data starts")
    shape = tuple(map(int, header.get_data_shape()))
    if not shape or min(shape) < 1:
        raise NiftiError(f"has shape {shape}")
    slope, intercept = header.get_slope_inter()
    affine = header.get_best_affine()
    transform = _flaw(affine)
    return Header(
        shape=shape,
        spacing=tuple(map(float, voxel_sizes(affine))) if np.isfinite(affine).all() else None,
        pixdim=tuple(map(float, nib.Nifti1Header(block[:348], check=False)["pixdim"][1:4])),
        affine=tuple(map(float, affine.ravel())),
        transform=transform,
        qform_mm=None if transform else _qform_mm(header, affine, shape),
        dtype=header.get_data_dtype().str,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        gzip_name=printable(stream.first.name) or None,
        text=tuple(_text(header, stream.first, block, rest)),
        data_offset=offset,
    )


def _flaw(affine: NDArray[np.float64]) -> str | None:
    """Why an affine cannot be used, if so; to follow "has an affine that"."""
    if not np.isfinite(affine).all():
        return "is not finite"
    linear = affine[:3, :3]
    if not linear.any():
        return "is zero: it puts every voxel at one point"
    lengths = np.linalg.norm(linear, axis=0)
    if not lengths.all() or abs(np.linalg.det(linear / lengths)) < _FLAT:
        return "is flat: it puts all voxels on a plane or a line"
    return None


def _qform_mm(header: nib.Nifti1Header, affine: NDArray[np.float64], shape: tuple[int, ...]) -> float | None:
    """How far the qform is from the sform, as `Header` has it."""
    if not (header["qform_code"] and header["sform_code"]):
        return None
    try:
        qform = header.get_qform()
    except (HeaderDataError, ValueError):  # no rotation
        return inf
    return inf if _flaw(qform) else displacement(affine, qform, shape)


def _text(header: nib.Nifti1Header, member: Member, block: bytes, rest: bytes) -> Iterator[tuple[str, str]]:
    """All text that is not empty. So many extensions that no tool writes them are one."""
    found, further = 0, Excerpt()
    places = chain(
        ((field, bytes(header[field])) for field in _TEXT_FIELDS),
        (("gzip comment", member.comment), ("gzip extra field", member.extra)),
        _before_voxels(block, rest, header.endianness),
    )
    for place, raw in places:
        if found >= _MOST_TEXTS:
            further.add(raw)
        elif text := printable(raw):
            found += 1
            yield place, text
    if text := str(further):
        yield "further bytes before the first voxel", text


def _before_voxels(block: bytes, rest: bytes, order: str) -> Iterator[tuple[str, bytes]]:
    """The extensions in `rest`, what comes before the voxels, as nibabel finds them, and then the other bytes there.

    `block` is the header and the four bytes after it, the first of which says whether there are extensions. Raises
    `NiftiError` for extensions at which nibabel stops.
    """
    at, flag = 0, block[348]
    while len(rest) - at >= _SMALLEST_EXTENSION:
        size, code = struct.unpack_from(f"{order}ii", rest, at)
        if not 8 <= size <= len(rest) - at:
            if flag:
                raise NiftiError(f"has an invalid NIfTI header: an extension says that it is {size} bytes long")
            break
        yield f"extension {code}{'' if flag else ' behind a flag that says there is none'}", rest[at + 8 : at + size]
        at += size
    yield "bytes before the first voxel", block[349:] + rest[at:]


def _read(stream: Gunzip, count: int) -> bytes:
    """The next `count` bytes, or what is left."""
    data = bytearray()
    while len(data) < count and (piece := stream.read(count - len(data))):
        data += piece
    return bytes(data)


def _data(stream: Gunzip, header: Header) -> Iterator[memoryview]:
    """The voxels in order, in pieces of whole voxels; raises `NiftiError` if there are fewer than the header says."""
    itemsize = np.dtype(header.dtype).itemsize
    left = prod(header.shape) * itemsize
    buffer = memoryview(bytearray(min(_CHUNK // itemsize * itemsize, left)))
    while left:
        piece = buffer[: min(len(buffer), left)]
        filled = 0
        while filled < len(piece):
            data = stream.read(len(piece) - filled)
            if not data:
                raise NiftiError(f"ends {left - filled} bytes before the end of the data that its header promises")
            piece[filled : filled + len(data)] = data
            filled += len(data)
        yield piece
        left -= filled


def _surplus(stream: Gunzip) -> tuple[int, list[tuple[str, str]]]:
    """How many bytes follow the last voxel, and the text in them; the stream is read to its end."""
    count, seeker = 0, TextSeeker()
    while data := stream.read(_CHUNK):
        count += len(data)
        if data.strip(b"\0"):
            seeker.feed(data)
    text = seeker.end()
    return count, [("end of the file, after its last voxel,", text)] if text else []
