"""Reading NIfTI files: the header alone, or the whole file once, with everything it must satisfy.

All streams: memory is a few MB whatever the volume. Intensities are never converted; only masks are scaled, by
the header's slope and intercept, because their stored integers need not be 0 and 1.
"""

import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from isal import igzip, isal_zlib
from nibabel.nifti1 import Nifti1Extension, Nifti1Extensions
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from isles_assets.release.volumes import Content

_CHUNK = 1 << 20
_FARTHEST_DATA = 1 << 26
_MASK_TOLERANCE = 1e-3
_TEXT_FIELDS = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
_ISAL_ERROR = cast(type[Exception], isal_zlib.error)
# An OverflowError is that of a data offset at infinity.
_BROKEN = (EOFError, gzip.BadGzipFile, _ISAL_ERROR, HeaderDataError, WrapStructError, ValueError, OverflowError)

SYNTHETIC_MARK = "SYNTHETIC isles-assets sample"
"""Begins `descrip` of every NIfTI file of the sample, so that no reader mistakes it for a release."""


class NiftiError(Exception):
    """The file is not a volume that can be published; the message says why."""


@dataclass(frozen=True)
class Header:
    """What a header says: `shape` in voxels, `spacing` in mm, `affine` 4 x 4 row by row in mm (voxel to RAS+).

    `dtype` is the stored type's numpy name, `text` every free-text field and extension that is not empty as
    (field, text), `data_offset` the position of the first voxel in the uncompressed file.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    affine: tuple[float, ...]
    dtype: str
    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    text: tuple[tuple[str, str], ...]
    data_offset: int

    @property
    def frames(self) -> int:
        """Number of 3-D volumes: the product of all axes beyond the third."""
        return prod(self.shape[3:])


def voxel_ml(affine: tuple[float, ...]) -> float:
    """Volume in millilitres of a voxel under `affine`, 16 numbers row by row in mm."""
    return float(abs(np.linalg.det(np.reshape(affine, (4, 4))[:3, :3]))) / 1000


@dataclass(frozen=True)
class Inspection:
    """What decoding a whole file showed.

    `non_finite` counts NaN and infinite voxels. `labels` are the distinct values of a mask other than 0 and `marked`
    the number of voxels holding one; both are empty for other contents.
    """

    header: Header
    non_finite: int
    marked: int
    labels: tuple[int, ...]


See = Callable[[Header, int, np.ndarray], None]
"""Takes voxels as they are decoded: the header, how many came before in file order (x fastest), and the next ones.

They are a flat array of the stored type, before slope and intercept, and last only until it returns.
"""


def read_header(path: Path) -> Header:
    """The header of a `.nii.gz` file, by its first kilobytes alone. Raises `NiftiError` if they hold no sound one."""
    try:
        with DigestingReader(path) as file:
            return _parse(_decompressed(file))
    except _BROKEN as error:
        raise NiftiError(_reason(error)) from error


class DigestingReader(io.RawIOBase):
    """A file that is read once from start to end, whose bytes are digested and handed to `sink` as they pass.

    `size` and `sha256` are of what has passed. Raises `NiftiError` where the system cannot read.
    """

    def __init__(self, path: Path, sink: Callable[[memoryview], None] = lambda piece: None):
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            super().close()  # else the finalizer would close a file that was never opened
            raise NiftiError(f"cannot be read: {error.strerror}") from error
        self._sink = sink
        self._digest = hashlib.sha256()
        self.size = 0

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
    """Decode a `.nii.gz` file from start to end: gzip CRC and length, data length, and the voxels' validity.

    `see` is shown the voxels on the way; what it saw is of a sound file only once `inspect` has returned.

    Raises `NiftiError` for a damaged file, for data longer or shorter than the header says, for a binary mask
    holding anything but 0 and 1 after scaling, and for a label mask holding a fraction or a negative number.
    """
    seen, non_finite, marked = 0, 0, Counter[int]()
    try:
        stream = _decompressed(file)
        header = _parse(stream)
        for chunk in _data(stream, header):
            stored = np.frombuffer(chunk, header.dtype)
            if stored.dtype.kind in "fc":
                non_finite += stored.size - int(np.count_nonzero(np.isfinite(stored)))
            if content in (Content.MASK, Content.LABELS):
                marked.update(_marked(header, content, stored))
            see(header, seen, stored)
            seen += stored.size
    except _BROKEN as error:
        raise NiftiError(_reason(error)) from error
    return Inspection(header, non_finite, marked.total(), tuple(sorted(marked)))


def _marked(header: Header, content: Content, stored: np.ndarray) -> dict[int, int]:
    """How many voxels of a mask hold each label other than 0."""
    marked: dict[int, int] = {}
    for value in np.unique(stored) if stored.any() else stored[:1]:
        scaled = float(value) * header.slope + header.intercept
        label = round(scaled) if np.isfinite(scaled) else -1
        if abs(scaled - label) > _MASK_TOLERANCE or label < 0 or (content is Content.MASK and label > 1):
            wanted = "0 and 1" if content is Content.MASK else "whole numbers from 0"
            raise NiftiError(f"holds {scaled:g} after scaling where a {content} holds {wanted}")
        if label:
            marked[label] = marked.get(label, 0) + int(np.count_nonzero(stored == value))
    return marked


def _decompressed(file: BinaryIO | DigestingReader) -> BinaryIO:
    return cast(BinaryIO, igzip.IGzipFile(fileobj=file, mode="rb"))


def _parse(stream: BinaryIO) -> Header:
    start = stream.read(4)
    if start in (b"\x1c\x02\x00\x00", b"\x00\x00\x02\x1c"):
        raise NiftiError("is NIfTI-2, which the datasets library cannot decode")
    block = start + stream.read(348)
    if len(block) < 352:
        raise NiftiError(f"ends after {len(block)} bytes, inside the NIfTI header")
    header = nib.Nifti1Header.from_fileobj(io.BytesIO(block[:348]))
    if bytes(header["magic"])[:3] != b"n+1":
        raise NiftiError("is not a NIfTI-1 file: the header's magic is missing")
    offset = int(header["vox_offset"])
    if not len(block) <= offset <= _FARTHEST_DATA:
        raise NiftiError(f"says that its data starts at byte {offset}, which cannot be")
    rest = stream.read(offset - len(block))
    if len(rest) < offset - len(block):
        raise NiftiError("ends before its data starts")
    swapped = header.endianness == ">"
    extensions = Nifti1Extensions.from_fileobj(io.BytesIO(rest), len(rest), swapped) if block[348] else ()
    slope, intercept = header.get_slope_inter()
    dtype = header.get_data_dtype()
    if dtype.fields is not None or dtype.kind not in "iufc":
        raise NiftiError(f"stores voxels of type {dtype}, which is not numeric")
    shape = tuple(map(int, header.get_data_shape()))
    if not shape or min(shape) < 1:
        raise NiftiError(f"has shape {shape}")
    affine, spacing = header.get_best_affine(), header.get_zooms()[:3]
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all()):
        raise NiftiError("has an affine or spacing that is not finite")
    return Header(
        shape=shape,
        spacing=tuple(map(float, spacing)),
        affine=tuple(map(float, affine.ravel())),
        dtype=dtype.str,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        text=tuple(_text(header, extensions)),
        data_offset=offset,
    )


def _text(header: nib.Nifti1Header, extensions: Iterable[Nifti1Extension]) -> Iterator[tuple[str, str]]:
    for field in _TEXT_FIELDS:
        if text := _printable(bytes(header[field])):
            yield field, text
    for extension in extensions:
        yield f"extension {extension.get_code()}", _printable(extension.content)


def _printable(raw: bytes) -> str:
    return raw.strip(b"\0 \r\n\t").decode("latin-1").encode("unicode_escape").decode("ascii")


def _data(stream: BinaryIO, header: Header) -> Iterator[memoryview]:
    """The voxels in order, in pieces of whole voxels; checks that there are as many as the header says."""
    left = prod(header.shape) * np.dtype(header.dtype).itemsize
    buffer = memoryview(bytearray(min(_CHUNK, left)))
    while left:
        piece = buffer[: min(len(buffer), left)]
        filled = 0
        while filled < len(piece):
            count = stream.readinto(piece[filled:])  # type: ignore[attr-defined]
            if not count:
                raise NiftiError(f"ends {left - filled} bytes before the end of the data that its header promises")
            filled += count
        yield piece
        left -= filled
    if stream.read(1):
        raise NiftiError("holds more data than its header promises")


def _reason(error: Exception) -> str:
    if isinstance(error, NiftiError):
        return str(error)
    if isinstance(error, EOFError):
        return "is cut short: the gzip stream has no end"
    if isinstance(error, gzip.BadGzipFile | _ISAL_ERROR):
        return f"is not a sound gzip file: {error}"
    return f"has an invalid NIfTI header: {error}"
