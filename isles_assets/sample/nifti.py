"""NIfTI-1 files, written block by block in the encodings of the release's files."""

import gzip
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from isles_assets.reading.nifti import SYNTHETIC_MARK

SCANNER, ALIGNED = 1, 2


@dataclass(frozen=True)
class Encoding:
    """How voxels are stored. The default `gzip_level` is that of nearly all files of the release."""

    dtype: str  # little-endian
    slope: float | None = None  # voxel values are stored values times this
    stored_true: int = 1  # stored value of a mask's 1
    qform_only: bool = False  # the sform's code is 0
    gzip_level: int = 1


INT16 = Encoding("<i2")
UINT8 = Encoding("<u1")
FLOAT32 = Encoding("<f4")


def header(
    shape: tuple[int, ...], affine: NDArray[np.float64], encoding: Encoding, *, frame_seconds: float | None = None
) -> Nifti1Header:
    """Return the header of a single-file NIfTI-1 image.

    Args:
        affine: From voxel indices to mm, shape (4, 4).
        frame_seconds: Time between the frames of a series. 0 if it is not known: then no unit of time is stated.
    """
    result = Nifti1Header(endianness="<")
    result.set_data_dtype(np.dtype(encoding.dtype))
    result.set_data_shape(shape)
    result.set_xyzt_units("mm", "sec" if frame_seconds else None)
    result.set_qform(affine, code=SCANNER if encoding.qform_only else ALIGNED)
    if not encoding.qform_only:
        result.set_sform(affine, code=SCANNER)
    if frame_seconds is not None:
        result.set_zooms((*result.get_zooms()[:3], frame_seconds))
    if encoding.slope is not None:
        result.set_slope_inter(encoding.slope, 0)
    result["descrip"] = SYNTHETIC_MARK.encode()
    return result


def write(path: Path, volume_header: Nifti1Header, blocks: Iterable[NDArray[Any]], encoding: Encoding) -> None:
    """Write a volume to `path`, gzipped if it ends in `.gz`. Equal voxels give equal bytes.

    Args:
        blocks: Voxels in file order, in flat arrays.
    """
    # The gzip header holds neither time nor name. zlib compresses, because ISA-L, though faster, once gave other bytes
    # for the same voxels.
    with ExitStack() as opened:
        file: Any = opened.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=encoding.gzip_level, fileobj=file, mtime=0)
            file = opened.enter_context(packed)
        volume_header.write_to(file)
        for block in blocks:
            stored = block.astype(encoding.dtype, copy=False)
            if encoding.stored_true != 1:
                stored = stored * np.array(encoding.stored_true, dtype=encoding.dtype)
            file.write(stored.data)
