"""Reading and changing the voxels of one volume of the release, for an export. The file itself is never written to."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip
from numpy.typing import NDArray

from isles_assets.published.grids import Affine, Lattice, lattice_of
from isles_assets.reading.nifti import DigestingReader, Header, NiftiError, VoxelSink, inspect, is_numeric
from isles_assets.release.volumes import Content, Volume

_LEVEL = 3
"""Best compression of ISA-L."""

_EXTENSION_FLAG = 4
"""Bytes between header and voxels that say whether there are extensions."""

LARGEST = float(np.finfo(np.float32).max)
"""Largest voxel that networks, which compute in float32, can read."""

FOREGROUND = 0.5
"""Mask voxels above this are foreground: in some subjects a mask decodes to 0.99999857."""


VoxelFunction = Callable[[NDArray[np.float64]], np.ndarray]


@dataclass(frozen=True)
class Scanned:
    """A volume whose file was read to its end: sound gzip, with all its voxels."""

    lattice: Lattice
    unusable: int
    """Number of voxels that are NaN, infinite, or too large for float32."""


def scan(path: Path) -> Scanned:
    """Return grid and unusable voxels of the file at `path`, decoded from start to end.

    Raises:
        NiftiError: The file is damaged, cannot be read, or its voxels are no real numbers.
    """
    unusable = 0

    def count(header: Header, done: int, stored: np.ndarray) -> None:
        nonlocal unusable
        if stored.dtype.kind == "f":
            unusable += int(np.count_nonzero(_is_unusable(stored, header)))

    header = _decode(path, count)
    if not is_numeric(header.dtype) or np.dtype(header.dtype).kind == "c":
        raise NiftiError(f"stores voxels of type {header.dtype}, which are no real numbers")
    return Scanned(lattice_of(path, header), unusable)


def _is_unusable(stored: np.ndarray, header: Header) -> NDArray[np.bool_]:
    with np.errstate(all="ignore"):
        scaled = stored * header.slope + header.intercept
        return ~(np.abs(scaled) <= LARGEST)


def rewrite(source: Path, target: Path, volume: Volume, lattice: Lattice, reference: Lattice) -> None:
    """Write `source` to `target` with the grid of `reference`, and background in place of unusable voxels.

    All other voxels keep their stored bytes, type, byte order and scaling.

    Args:
        lattice: The grid of `source`, which has been scanned.
    """
    header = lattice.header
    with igzip.open(source) as file:
        start = bytearray(file.read(header.data_offset))
    raw = lattice.raw.copy()
    reference.copy_to(raw)
    start[: len(raw.binaryblock)] = raw.binaryblock
    background = (volume.background - header.intercept) / header.slope
    with target.open("wb") as file, igzip.IGzipFile("", "wb", _LEVEL, file, 0) as output:
        output.write(start)

        def copy(header: Header, done: int, stored: np.ndarray) -> None:
            if stored.dtype.kind == "f" and (unusable := _is_unusable(stored, header)).any():
                stored = stored.copy()
                stored[unusable] = background
            output.write(stored.data)

        _decode(source, copy)


def read_voxels(path: Path, lattice: Lattice, function: VoxelFunction, dtype: npt.DTypeLike) -> np.ndarray:
    """Return `function` of the scaled voxels of a volume, shape (x, y, z), without holding these in memory.

    Args:
        function: Takes some voxels as float64, and returns as many values.
    """
    result = np.empty(prod(lattice.shape), dtype)

    def add(header: Header, done: int, stored: np.ndarray) -> None:
        values = stored.astype(np.float64) * header.slope + header.intercept
        result[done : done + stored.size] = function(values)

    _decode(path, add)
    return result.reshape(lattice.shape, order="F")


def read_labels(path: Path, lattice: Lattice, content: Content) -> tuple[NDArray[np.uint8], int]:
    """Return a mask's voxels as whole numbers, and how many are NaN or infinite, which become background.

    Args:
        content: Of a binary mask, all voxels above 0.5 are 1. Those of a label mask are rounded.

    Raises:
        NiftiError: A label mask has numbers that do not fit into uint8.
    """
    unusable, largest = 0, 1 if content is Content.MASK else np.iinfo(np.uint8).max

    def label(values: NDArray[np.float64]) -> NDArray[np.float64]:
        nonlocal unusable
        finite = np.isfinite(values)
        unusable += int(finite.size - np.count_nonzero(finite))
        rounded = np.maximum(np.ceil(np.where(finite, values, 0) - FOREGROUND), 0)
        if content is Content.MASK:
            return np.minimum(rounded, largest)
        if rounded.max(initial=0) > largest:
            raise NiftiError(f"has label {rounded.max():g}")
        return rounded

    return read_voxels(path, lattice, label, np.uint8), unusable


def _decode(path: Path, sink: VoxelSink) -> Header:
    """Pass all voxels of a file to `sink`, and return its header. Raise `NiftiError` if the file is damaged."""
    with DigestingReader(path) as file:
        return inspect(file, Content.MRI, sink).header


def write_volume(target: Path, values: np.ndarray, reference: Lattice) -> None:
    """Write voxels of shape (x, y, z) on the grid of `reference`, unscaled, in their own type."""
    raw = nib.Nifti1Header(endianness="<")
    raw.set_data_dtype(values.dtype)
    reference.copy_to(raw)
    raw["vox_offset"], raw["scl_slope"], raw["scl_inter"] = 352, 1, 0
    _write(target, raw.binaryblock + bytes(_EXTENSION_FLAG) + values.tobytes(order="F"))


def resample(values: NDArray[np.float64], affine: Affine, reference: Lattice, volume: Volume) -> NDArray[np.float64]:
    """Return `values` on the grid of `reference`: the nearest voxel of a mask, trilinear for an image.

    Places outside the volume get its background.

    Args:
        affine: Voxel to RAS+ of `values`, in mm.
    """
    nearest = volume.content.is_mask
    to_source = np.linalg.inv(affine) @ reference.affine
    padded = np.pad(values, 1, constant_values=volume.background)
    result = np.empty(reference.shape)
    columns, rows, slices = reference.shape
    plane = np.stack(np.meshgrid(np.arange(columns), np.arange(rows), indexing="ij"))
    for z in range(slices):
        places = np.tensordot(to_source[:3, :2], plane, 1) + (to_source[:3, 2] * z + to_source[:3, 3])[:, None, None]
        if nearest:
            result[..., z] = padded[_inside(np.rint(places), values.shape)]
            continue
        low = np.floor(places)
        part, total = places - low, np.zeros((columns, rows))
        for corner in np.ndindex(2, 2, 2):
            step = np.reshape(corner, (3, 1, 1))
            weight = np.prod(np.where(step, part, 1 - part), axis=0)
            total += weight * padded[_inside(low + step, values.shape)]
        result[..., z] = total
    return result


def _inside(places: NDArray[np.float64], shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
    """Return indices into an array padded by one voxel; places outside lead to the padding."""
    return tuple(np.clip(axis + 1, 0, size + 1).astype(np.intp) for axis, size in zip(places, shape, strict=True))


def _write(target: Path, content: bytes | bytearray) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(igzip.compress(content, _LEVEL, mtime=0))
