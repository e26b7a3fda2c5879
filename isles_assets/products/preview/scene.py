"""The axial slice that a subject's pictures show, taken from its volumes while they are decoded, each once.

Of most volumes only that slice, or a few around it, is ever in memory. The lesion mask is kept whole, one byte a voxel,
because it decides which slice that is; where it is empty the NCCT decides, and is kept whole.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from nibabel.affines import voxel_sizes
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from isles_assets.reading.nifti import Header, NiftiError, See

REFERENCE, LESION = "ncct", "lesion_mask"
"""The columns that decide which slice is shown."""

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def soft_tissue(hounsfield: Plane) -> Mask:
    """Brain, and what else is neither air, fat nor bone: 0 to 100 HU."""
    return (hounsfield > 0) & (hounsfield < 100)


@dataclass(frozen=True, eq=False)
class Axes:
    """How the voxel axes of a volume lie in the head, each taken for the anatomical axis that it is closest to.

    `shape` (x, y, z) voxels, `spacing` (3,) mm, `axial` the voxel axis from inferior to superior or back.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axial: int
    to_lps: NDArray[np.float64]

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: tuple[float, ...]) -> "Axes":
        """Of a shape and affine (16 numbers, voxels to mm, RAS+). Raises `NiftiError` if it maps two axes onto one."""
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
        """All axial slices, by their index along `axial`."""
        return range(self.shape[self.axial])

    @property
    def plane_spacing(self) -> tuple[float, float]:
        """Distance in mm of a plane's rows and of its columns."""
        left, posterior = (int(np.flatnonzero(self.to_lps[:, 0] == axis)[0]) for axis in (0, 1))
        return self.spacing[posterior], self.spacing[left]

    def slab(self, middle: int, mm: float) -> range:
        """`middle` and as many slices on both sides of it as are together about `mm` thick, where there are such."""
        aside = max(0, round((mm / self.spacing[self.axial] - 1) / 2))
        return self.slices[max(0, middle - aside) : middle + aside + 1]

    def largest(self, mask: Mask) -> int | None:
        """The first axial slice of those in which `mask` (x, y, z) marks the most; None if it marks nothing."""
        areas = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {self.axial}))
        return int(areas.argmax()) if areas.any() else None

    def plane(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """A slice (x, y, z), one voxel thick, as radiologists see it: (rows, columns) from anterior and from right."""
        return np.asarray(apply_orientation(voxels, self.to_lps)[:, :, 0].T)


@dataclass(frozen=True, eq=False)
class Scene:
    """What the pictures of a subject are drawn from.

    Planes are (rows, columns), anterior up and the patient's right on the left, rows and columns `spacing` mm apart.
    `planes` are by column of the volume, with infinite and NaN voxels as they are, `thickness` (mm) of each likewise.
    `slice` is the index of the shown slice along the voxel axis closest to superior-inferior.
    """

    slice: int
    spacing: tuple[float, float]
    lesion: Mask
    planes: Mapping[str, Plane]
    thickness: Mapping[str, float]


Read = Callable[[str, See], object]
"""Decode the volume of a column to its end, or raise, and show its voxels."""


def read_scene(axes: Axes, thickness: Mapping[str, float], read: Read) -> Scene:
    """Read each volume once and keep what the pictures show of it: volumes on the NCCT's grid, whose axes are `axes`.

    `thickness` are the volumes to show and how many mm of each are seen at once, as their maximum; 0 for one slice. The
    slice is that of the largest lesion area or, in a subject without lesion, the one with the most soft tissue in the
    NCCT (0 to 100 HU), which is about where the brain is largest. Raises what `read` raises.
    """
    lesion = _Kept(axes, axes.slices, np.bool_)
    read(LESION, lesion)
    shown = axes.largest(lesion.voxels)
    ncct = _Kept(axes, axes.slices if shown is None else range(shown, shown + 1), np.float32)
    read(REFERENCE, ncct)
    if shown is None:
        shown = axes.largest(soft_tissue(ncct.voxels))
    if shown is None:
        shown = axes.slices[len(axes.slices) // 2]
    planes, thick = {REFERENCE: ncct.plane(shown)}, {REFERENCE: axes.spacing[axes.axial]}
    for column, mm in thickness.items():
        if column == REFERENCE:
            continue
        slab = axes.slab(shown, mm)
        kept = _Kept(axes, slab, np.float32)
        read(column, kept)
        planes[column] = axes.plane(np.fmax.reduce(kept.voxels, axis=axes.axial, keepdims=True))
        thick[column] = len(slab) * axes.spacing[axes.axial]
    return Scene(shown, axes.plane_spacing, lesion.plane(shown), planes, thick)


class _Kept:
    """The voxels of some axial slices, scaled as they are decoded; of `dtype` bool, which of them are marked."""

    def __init__(self, axes: Axes, slices: range, dtype: type[np.generic]):
        self._axes, self._slices = axes, slices
        shape = list(axes.shape)
        shape[axes.axial] = len(slices)
        self._flat: NDArray[Any] = np.empty(prod(shape), dtype)
        self._filled = 0
        self.voxels = self._flat.reshape(shape, order="F")

    def __call__(self, header: Header, start: int, stored: NDArray[Any]) -> None:
        taken = stored[self._wanted(start, stored.size)].astype(np.float32)
        if (header.slope, header.intercept) != (1, 0):
            taken = taken * np.float32(header.slope) + np.float32(header.intercept)
        self._flat[self._filled : self._filled + taken.size] = taken > 0.5 if self._flat.dtype == bool else taken
        self._filled += taken.size

    def _wanted(self, start: int, count: int) -> slice | Mask:
        """Which of `count` voxels, the first of which is number `start` of the file, lie in the slices."""
        first, stop = self._slices.start, self._slices.stop
        stride = prod(self._axes.shape[: self._axes.axial])
        if self._axes.axial == 2:  # the slices lie one after the other
            return slice(max(0, first * stride - start), max(0, stop * stride - start))
        index = np.arange(start, start + count) // stride % self._axes.shape[self._axes.axial]
        return (index >= first) & (index < stop)

    def plane(self, index: int) -> NDArray[Any]:
        """One of the slices, as `Axes.plane` lays it out."""
        return self._axes.plane(np.take(self.voxels, [index - self._slices.start], axis=self._axes.axial))
