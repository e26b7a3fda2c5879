"""The axial slice in a subject's pictures, taken from its volumes while they are decoded.

At most one plane of a volume is in memory. So the volume that decides which slice is shown is read twice: to measure
its slices, and to take one. It is the lesion mask or, if that is empty, the NCCT.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from isles_assets.reading.nifti import Header, NiftiError, VoxelSink

REFERENCE, LESION = "ncct", "lesion_mask"
"""The columns that decide which slice is shown."""

_MARK_TOLERANCE = 1e-3  # absolute, because voxels are scaled by rounded factors

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def soft_tissue(hounsfield: NDArray[Any]) -> Mask:
    """Return the mask of brain and other soft tissue: 0 to 100 HU, so neither air, fat nor bone."""
    return (hounsfield > 0) & (hounsfield < 100)


@dataclass(frozen=True, eq=False)
class Axes:
    """The voxel axes of a volume, each taken for the anatomical axis closest to it."""

    shape: tuple[int, int, int]
    """Number of voxels along x, y, z."""
    spacing: tuple[float, float, float]
    """Voxel spacing in mm along x, y, z."""
    axial: int
    """The voxel axis closest to inferior-superior."""
    to_lps: NDArray[np.float64]
    """Orientation transform to LPS, as nibabel defines it, shape (3, 2)."""

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: tuple[float, ...]) -> "Axes":
        """Return the axes of a volume.

        Args:
            shape: Number of voxels along x, y, z, and further axes.
            affine: 16 numbers row by row, voxels to mm, RAS+.

        Raises:
            NiftiError: The affine maps two axes onto one.
        """
        matrix = np.reshape(affine, (4, 4))
        orientation = io_orientation(matrix)
        if np.isnan(orientation).any():
            raise NiftiError("has an affine that does not span space")
        x, y, z = shape[:3]
        dx, dy, dz = map(float, voxel_sizes(matrix))
        axial = int(np.flatnonzero(orientation[:, 0] == 2)[0])
        return cls((x, y, z), (dx, dy, dz), axial, ornt_transform(orientation, axcodes2ornt("LPS")))

    @property
    def slices(self) -> range:
        """Indices of all axial slices along `axial`."""
        return range(self.shape[self.axial])

    @property
    def plane_spacing(self) -> tuple[float, float]:
        """Distance of a plane's rows and of its columns in mm."""
        left, posterior = (int(np.flatnonzero(self.to_lps[:, 0] == axis)[0]) for axis in (0, 1))
        return self.spacing[posterior], self.spacing[left]

    def slab(self, middle: int, mm: float) -> range:
        """Return a slab of slices around `middle`, about `mm` thick, or thinner at the ends of the volume."""
        per_side = max(0, round((mm / self.spacing[self.axial] - 1) / 2))
        return self.slices[max(0, middle - per_side) : middle + per_side + 1]

    @property
    def plane_size(self) -> int:
        """Voxels in an axial slice."""
        return prod(self.shape) // self.shape[self.axial]

    def slice_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the axial slice of each voxel, given its number in file order (x fastest)."""
        return numbers // self._stride % self.shape[self.axial]

    def place_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of each voxel within its slice, given its number in the file."""
        return numbers % self._stride + numbers // (self._stride * self.shape[self.axial]) * self._stride

    def within(self, slices: range, start: int, count: int) -> NDArray[np.int64]:
        """Return the numbers of the voxels that lie in `slices`, out of `count` voxels from number `start`."""
        if self.axial == 2:  # slices follow one another in the file
            return np.arange(max(start, slices.start * self._stride), min(start + count, slices.stop * self._stride))
        numbers = np.arange(start, start + count)
        index = self.slice_of(numbers)
        return numbers[(index >= slices.start) & (index < slices.stop)]

    def plane(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """Return a slice as radiologists see it.

        Args:
            voxels: Voxels of the slice in file order, shape (n,).

        Returns:
            Rows from anterior to posterior, columns from the patient's right to left.
        """
        shape = [1 if axis == self.axial else size for axis, size in enumerate(self.shape)]
        return np.asarray(apply_orientation(voxels.reshape(shape, order="F"), self.to_lps)[:, :, 0].T)

    @property
    def _stride(self) -> int:
        """Distance in the file, in voxels, of two neighbours along the axial axis."""
        return prod(self.shape[: self.axial])


@dataclass(frozen=True, eq=False)
class Scene:
    """One slice of a subject, from which its pictures are drawn.

    Planes have shape (rows, columns), with anterior up and the patient's right on the left.
    """

    slice: int
    """Index of the slice along the voxel axis closest to inferior-superior."""
    spacing: tuple[float, float]
    """Distance of rows and of columns in mm."""
    lesion: Mask
    planes: Mapping[str, Plane]
    """Planes by column of the volume. Infinite and NaN voxels are kept."""
    thickness: Mapping[str, float]
    """Thickness in mm of each plane, by column."""


ReadVolume = Callable[[str, VoxelSink], object]
"""Decodes the volume of a column to its end, and passes on its voxels. Raises for a volume that cannot be used."""


def read_scene(axes: Axes, thickness: Mapping[str, float], read: ReadVolume, left_out: Container[str] = ()) -> Scene:
    """Read the volumes, and keep the slice with the largest lesion area.

    Without lesion, it is the slice with the most soft tissue in the NCCT, which is about where the brain is largest.

    Args:
        axes: Axes of the NCCT grid, on which all volumes lie.
        thickness: The volumes to show, and how many mm of each to show at once, as their maximum; 0 for one slice.
        read: Reads a volume. Its errors are passed on.
        left_out: Volumes that are not read. If the lesion mask is among them, there is no lesion.
    """

    def largest(column: str, is_counted: Callable[[Header, NDArray[Any]], Mask]) -> int | None:
        areas = _Areas(axes, is_counted)
        if column not in left_out:
            read(column, areas)
        return int(areas.counts.argmax()) if areas.counts.any() else None

    def slab(column: str, slices: range, values: Callable[[Header, NDArray[Any]], NDArray[Any]]) -> Plane:
        maximum = _Slab(axes, slices, values)
        read(column, maximum)
        return axes.plane(maximum.voxels)

    largest_lesion = largest(LESION, _is_marked)
    index = largest(REFERENCE, _is_soft_tissue) if largest_lesion is None else largest_lesion
    if index is None:
        index = axes.slices[len(axes.slices) // 2]
    if largest_lesion is None:
        lesion = axes.plane(np.zeros(axes.plane_size, bool))
    else:
        lesion = slab(LESION, range(index, index + 1), _is_marked) > 0
    slabs = {column: axes.slab(index, mm) for column, mm in thickness.items() if column not in left_out}
    planes = {column: slab(column, slices, _scaled) for column, slices in slabs.items()}
    actual_thickness = {column: len(slices) * axes.spacing[axes.axial] for column, slices in slabs.items()}
    return Scene(index, axes.plane_spacing, lesion, planes, actual_thickness)


def _scaled(header: Header, stored: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return stored.astype(np.float64) * header.slope + header.intercept


def _is_marked(header: Header, stored: NDArray[Any]) -> Mask:
    """Return which voxels are not 0, by the rule by which `reading.nifti` counts them."""
    return ~(np.abs(_scaled(header, stored)) <= _MARK_TOLERANCE)


def _is_soft_tissue(header: Header, stored: NDArray[Any]) -> Mask:
    return soft_tissue(_scaled(header, stored))


class _Areas:
    """Counts voxels in each axial slice while they are decoded."""

    def __init__(self, axes: Axes, is_counted: Callable[[Header, NDArray[Any]], Mask]):
        self._axes, self._is_counted = axes, is_counted
        self.counts = np.zeros(len(axes.slices), np.int64)

    def __call__(self, header: Header, start: int, stored: NDArray[Any]) -> None:
        numbers = start + np.flatnonzero(self._is_counted(header, stored))
        self.counts += np.bincount(self._axes.slice_of(numbers), minlength=len(self.counts))


class _Slab:
    """Keeps the largest of the `values` through some axial slices while voxels are decoded; NaN if none is a number."""

    def __init__(self, axes: Axes, slices: range, values: Callable[[Header, NDArray[Any]], NDArray[Any]]):
        self._axes, self._slices, self._values = axes, slices, values
        self.voxels = np.full(axes.plane_size, np.nan, np.float32)

    def __call__(self, header: Header, start: int, stored: NDArray[Any]) -> None:
        numbers = self._axes.within(self._slices, start, stored.size)
        with np.errstate(all="ignore"):  # values too large for 32 bits become infinite
            values = self._values(header, stored[numbers - start]).astype(np.float32)
        np.fmax.at(self.voxels, self._axes.place_of(numbers), values)
