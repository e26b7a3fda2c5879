"""NIfTI-1 files written block by block, encoded in the several ways the release's files are."""

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
    """How voxels are stored: little-endian `dtype`; voxel values are stored values times `slope`, where given.

    `stored_true` is what a mask's 1 is stored as. `qform_only` leaves the sform unset (code 0). Nearly all files of the
    release have `gzip_level` 1.
    """

    dtype: str
    slope: float | None = None
    stored_true: int = 1
    qform_only: bool = False
    gzip_level: int = 1


INT16 = Encoding("<i2")
UINT8 = Encoding("<u1")
FLOAT32 = Encoding("<f4")


def header(
    shape: tuple[int, ...], affine: NDArray[np.float64], encoding: Encoding, *, frame_seconds: float | None = None
) -> Nifti1Header:
    """The header of a single-file NIfTI-1 image; `affine` (4, 4) in mm, `frame_seconds` for a time series.

    Seconds of 0 are not known, and no unit of time is given then.
    """
    made = Nifti1Header(endianness="<")
    made.set_data_dtype(np.dtype(encoding.dtype))
    made.set_data_shape(shape)
    made.set_xyzt_units("mm", "sec" if frame_seconds else None)
    made.set_qform(affine, code=SCANNER if encoding.qform_only else ALIGNED)
    if not encoding.qform_only:
        made.set_sform(affine, code=SCANNER)
    if frame_seconds is not None:
        made.set_zooms((*made.get_zooms()[:3], frame_seconds))
    if encoding.slope is not None:
        made.set_slope_inter(encoding.slope, 0)
    made["descrip"] = SYNTHETIC_MARK.encode()
    return made


def write(path: Path, made: Nifti1Header, blocks: Iterable[NDArray[Any]], encoding: Encoding) -> None:
    """Write flat `blocks` (file order, together the header's shape) to `path`: gzip if it ends in `.gz`.

    Equal voxels give equal bytes: the gzip header holds neither time nor name, and the stream is zlib's. (ISA-L's is
    faster to make, but was seen to differ once for the same voxels.)
    """
    with ExitStack() as opened:
        file: Any = opened.enter_context(path.open("wb"))
        if path.suffix == ".gz":
            packed = gzip.GzipFile(filename="", mode="wb", compresslevel=encoding.gzip_level, fileobj=file, mtime=0)
            file = opened.enter_context(packed)
        made.write_to(file)
        for block in blocks:
            stored = block.astype(encoding.dtype, copy=False)
            if encoding.stored_true != 1:
                stored = stored * np.array(encoding.stored_true, dtype=encoding.dtype)
            file.write(stored.data)
