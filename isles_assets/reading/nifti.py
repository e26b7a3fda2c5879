"""Reading NIfTI files: the header alone, or the whole file once.

Files are streamed: memory is a few MB, whatever the volume. Intensities are never converted. Only masks are scaled, by
the header's slope and intercept, because their stored integers need not be 0 and 1. Oddities are recorded here;
`publication.properties` judges them.
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
_NON_LABELS = (
    "fractions",
    "negative numbers",
    "very large numbers",
    "complex numbers",
    "values that are NaN or infinite",
)
_FEW_VALUES = 16
_LARGEST_LABEL = np.iinfo(np.int32).max
_FLAT = 1e-3  # of the volume of a box with the same edges; rounding errors of a flat affine stay below
_SMALLEST_EXTENSION, _MOST_TEXTS = 16, 50
_TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
_INVALID = (HeaderDataError, WrapStructError, ValueError, OverflowError)  # the last: an infinite data offset

MOST_LABELS = 256
"""Most labels of a mask that are listed. An image instead of a mask has thousands."""

SYNTHETIC_MARK = "SYNTHETIC isles-assets sample"
"""The start of `descrip` in every NIfTI file of the sample, so that no reader mistakes it for a release."""


class NiftiError(Exception):
    """A file that is not a volume that can be published; the message says why."""


@dataclass(frozen=True)
class Header:
    """The contents of a NIfTI-1 header, and of the gzip header before it."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...] | None
    """Voxel sizes of the affine in mm; None if it is not finite."""

    pixdim: tuple[float, ...]
    """Voxel sizes in mm as stored beside the affine, shape (3,)."""

    affine: tuple[float, ...]
    """Voxel to RAS+ in mm, 4 x 4 row by row."""

    transform: str | None
    """Why the affine cannot be used, to follow "has an affine that"; None if it can."""

    qform_mm: float | None
    """Greatest distance of a corner of the volume between qform and sform, in mm; infinite if the qform is unusable.

    None unless both are set and the affine can be used.
    """

    dtype: str
    """Numpy name of the stored type."""

    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    gzip_name: str | None
    """File name in the gzip header; None if it is the file's own."""

    text: tuple[tuple[str, str], ...]
    """All free text before the first voxel that is not empty, as (field, text)."""

    data_offset: int
    """Position of the first voxel in the uncompressed file, in bytes."""

    @property
    def frames(self) -> int:
        """Number of 3-D volumes: the product of all axes after the third."""
        return prod(self.shape[3:])


def is_numeric(dtype: str) -> bool:
    """Return whether voxels of the numpy type `dtype` are numbers; colours are not."""
    return np.dtype(dtype).kind in "iufc"


def voxel_ml(affine: Sequence[float]) -> float:
    """Return the volume of a voxel in ml under `affine`, 4 x 4 row by row in mm."""
    return float(abs(np.linalg.det(np.reshape(affine, (4, 4))[:3, :3]))) / 1000


def displacement(affine: ArrayLike, other: ArrayLike, shape: Sequence[int]) -> float:
    """Return the greatest distance in mm between the positions of a corner of the volume under two affines."""
    corners = np.array(list(product(*((-0.5, size - 0.5) for size in (*shape, 1, 1, 1)[:3]), (1,))))
    difference = np.reshape(affine, (4, 4)) - np.reshape(other, (4, 4))
    return float(np.linalg.norm((corners @ difference.T)[:, :3], axis=1).max())


@dataclass(frozen=True)
class Inspection:
    """The result of decoding a whole file. Marks and labels are those of masks, after scaling."""

    header: Header
    non_finite: int
    """Number of NaN and infinite voxels."""

    marked: int
    """Number of voxels that are not 0."""

    labels: tuple[int, ...]
    """Distinct whole numbers from 1 up: all, or `MOST_LABELS` of them if there are `more_labels`."""

    more_labels: bool
    inexact_labels: bool
    """Whether labels are whole numbers only up to rounding, so that a comparison such as `== 1` misses them."""
    no_labels: str
    """The kinds of values that are neither 0 nor a label, in words; empty for none."""

    surplus: int
    """Number of bytes after the last voxel."""

    trailing: int
    """Number of bytes after the gzip stream."""

    garbage: int
    """Number of trailing bytes from the first that is not zero, at which the datasets library fails."""

    text: tuple[tuple[str, str], ...]
    """Text after the last voxel, after the gzip stream and in later gzip headers, as (field, text)."""


VoxelSink = Callable[[Header, int, np.ndarray], None]
"""Takes the header, the number of voxels before in file order (x fastest), and the next voxels as they are decoded.

The voxels are a flat array of the stored type, before slope and intercept. It is valid only during the call.
"""


def read_header(path: Path) -> Header:
    """Return the header of a `.nii.gz` file, by its first kilobytes alone.

    Raises:
        NiftiError: The file cannot be read, or its header is damaged or not one of NIfTI-1.
    """
    with DigestingReader(path) as file:
        try:
            return _header(_gunzip(file, _HEADER_PIECE))
        except GzipError as error:
            raise NiftiError(str(error)) from error


class DigestingReader(io.RawIOBase):
    """A file that is read once from start to end; its bytes are digested and passed to `sink`.

    Attributes:
        status: Status of the file when it was opened.
        size: Number of bytes read so far; `sha256` and `crc32` are of these.

    Raises:
        NiftiError: The system cannot read the file.
    """

    def __init__(self, path: Path, sink: Callable[[memoryview], None] = lambda piece: None):
        try:
            self._file = path.open("rb", buffering=0)
            self.status: FileStatus = status_of(self._file)
            self.name = path.name
        except OSError as error:
            super().close()  # or the finalizer would close a file that was never opened
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
        """Read the rest of the file."""
        buffer = bytearray(_CHUNK)
        while self.readinto(buffer):
            pass

    def close(self) -> None:
        self._file.close()
        super().close()


def inspect(file: BinaryIO | DigestingReader, content: Content, sink: VoxelSink = lambda *voxels: None) -> Inspection:
    """Decode a `.nii.gz` file from start to end; verify gzip CRC and length and the data's length.

    Args:
        content: What the voxels are; those of masks are counted by label.
        sink: Gets all voxels. They are certainly sound only once this function has returned.

    Raises:
        NiftiError: The file is damaged, or has less data than its header says.
    """
    done, non_finite, marks = 0, 0, _Marks()
    try:
        stream = _gunzip(file, _PIECE)
        header = _header(stream)
        for chunk in _data(stream, header):
            stored = np.frombuffer(chunk, header.dtype)
            if stored.dtype.kind in "fc":
                non_finite += stored.size - int(np.count_nonzero(np.isfinite(stored)))
            if content.is_mask and is_numeric(header.dtype):
                marks.add(header, stored)
            sink(header, done, stored)
            done += stored.size
        surplus, text = _surplus(stream)
    except GzipError as error:
        raise NiftiError(str(error)) from error
    return Inspection(
        header=header,
        non_finite=non_finite,
        marked=marks.marked,
        labels=tuple(sorted(marks.labels)),
        more_labels=marks.more,
        inexact_labels=marks.inexact,
        no_labels=marks.non_labels(),
        surplus=surplus,
        trailing=stream.trailing,
        garbage=stream.garbage,
        text=(*text, *stream.text()),
    )


class _Marks:
    """The marked voxels and labels of a mask, gathered piece by piece."""

    def __init__(self) -> None:
        self.marked, self.more, self.inexact, self._many = 0, False, False, False
        self.labels: set[int] = set()
        self._non_labels: set[str] = set()

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
        rounded = np.rint(real)
        is_integer, is_large = np.abs(real - rounded) <= _LABEL_TOLERANCE, rounded > _LARGEST_LABEL
        self.inexact |= bool((real[is_integer] != rounded[is_integer]).any())
        non_labels = (~is_integer & (real > 0), real < 0, is_large, finite & ~is_real, ~finite)
        self._non_labels.update(kind for kind, mask in zip(_NON_LABELS, non_labels, strict=True) if mask.any())
        if not self.more:
            self.labels.update(map(int, np.unique(rounded[is_integer & ~is_large & (rounded > 0)])))
            if len(self.labels) > MOST_LABELS:
                self.labels, self.more = set(sorted(self.labels)[:MOST_LABELS]), True

    def non_labels(self) -> str:
        """Return the kinds of values that are not labels, in words."""
        *first, last = [kind for kind in _NON_LABELS if kind in self._non_labels] or [""]
        return f"{', '.join(first)} and {last}" if first else last


def _gunzip(file: BinaryIO | DigestingReader, buffer_size: int) -> Gunzip:
    return Gunzip(cast(BinaryIO, file), Path(str(getattr(file, "name", ""))).name, buffer_size)


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
        raise NiftiError(f"says that its data starts at byte {offset}, which is impossible")
    rest = _read(stream, offset - len(block))
    if len(rest) < offset - len(block):
        raise NiftiError("ends before its data starts")
    shape = tuple(map(int, header.get_data_shape()))
    if not shape or min(shape) < 1:
        raise NiftiError(f"has shape {shape}")
    slope, intercept = header.get_slope_inter()
    affine = header.get_best_affine()
    transform = _defect(affine)
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


def _defect(affine: NDArray[np.float64]) -> str | None:
    """Return why an affine cannot be used, as `Header.transform` has it."""
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
    """Return the distance between qform and sform, as `Header.qform_mm` has it."""
    if not (header["qform_code"] and header["sform_code"]):
        return None
    try:
        qform = header.get_qform()
    except (HeaderDataError, ValueError):  # its quaternion is no rotation
        return inf
    return inf if _defect(qform) else displacement(affine, qform, shape)


def _text(header: nib.Nifti1Header, member: Member, block: bytes, rest: bytes) -> Iterator[tuple[str, str]]:
    """Yield all text that is not empty, as (field, text). Texts after the first `_MOST_TEXTS` are joined."""
    count, further = 0, Excerpt()
    fields = chain(
        ((field, bytes(header[field])) for field in _TEXT_FIELDS),
        (("gzip comment", member.comment), ("gzip extra field", member.extra)),
        _before_voxels(block, rest, header.endianness),
    )
    for field, raw in fields:
        if count >= _MOST_TEXTS:
            further.add(raw)
        elif text := printable(raw):
            count += 1
            yield field, text
    if text := str(further):
        yield "further bytes before the first voxel", text


def _before_voxels(block: bytes, rest: bytes, order: str) -> Iterator[tuple[str, bytes]]:
    """Yield the extensions as nibabel finds them, then all other bytes before the voxels, as (field, bytes).

    Args:
        block: The header and the four bytes after it; the first of the four says whether there are extensions.
        rest: The bytes between `block` and the voxels.

    Raises:
        NiftiError: An extension has a length at which nibabel fails.
    """
    start, flag = 0, block[348]
    while len(rest) - start >= _SMALLEST_EXTENSION:
        size, code = struct.unpack_from(f"{order}ii", rest, start)
        if not 8 <= size <= len(rest) - start:
            if flag:
                raise NiftiError(f"has an invalid NIfTI header: an extension says that it is {size} bytes long")
            break
        field = f"extension {code}{'' if flag else ' behind a flag that says there is none'}"
        yield field, rest[start + 8 : start + size]
        start += size
    yield "bytes before the first voxel", block[349:] + rest[start:]


def _read(stream: Gunzip, count: int) -> bytes:
    """Return the next `count` bytes, or all that are left."""
    data = bytearray()
    while len(data) < count and (piece := stream.read(count - len(data))):
        data += piece
    return bytes(data)


def _data(stream: Gunzip, header: Header) -> Iterator[memoryview]:
    """Yield the voxels in order, in pieces of whole voxels. Raise `NiftiError` if the header says more."""
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
    """Read the stream to its end; return the number of bytes after the last voxel, and the text in them."""
    count, seeker = 0, TextSeeker()
    while data := stream.read(_CHUNK):
        count += len(data)
        if data.strip(b"\0"):
            seeker.feed(data)
    text = seeker.end()
    return count, [("end of the file, after its last voxel,", text)] if text else []
