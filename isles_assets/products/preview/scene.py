"""The axial slice that a subject's pictures show, taken from its volumes while they are decoded.

Of no volume more than one plane is ever in memory. So the one that decides which slice is shown, the lesion mask or,
where that is empty, the NCCT, is read twice: for the areas of its slices, and for the slice.
"""

from collections.abc import Callable, Container, Mapping
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

_MARK_TOLERANCE = 1e-3  # of a number that was scaled by rounded factors

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]


def soft_tissue(hounsfield: NDArray[Any]) -> Mask:
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

    @property
    def plane_size(self) -> int:
        """Voxels in an axial slice."""
        return prod(self.shape) // self.shape[self.axial]

    def slice_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The axial slices of the voxels with these `numbers` in the file's order, in which x runs fastest."""
        return numbers // self._stride % self.shape[self.axial]

    def place_of(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in their slice these voxels lie, in the file's order."""
        return numbers % self._stride + numbers // (self._stride * self.shape[self.axial]) * self._stride

    def within(self, slices: range, start: int, count: int) -> NDArray[np.int64]:
        """The numbers of those of `count` voxels from number `start` that lie in `slices`."""
        if self.axial == 2:  # the slices lie one after the other
            return np.arange(max(start, slices.start * self._stride), min(start + count, slices.stop * self._stride))
        numbers = np.arange(start, start + count)
        index = self.slice_of(numbers)
        return numbers[(index >= slices.start) & (index < slices.stop)]

    def plane(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """A slice in the file's order as radiologists see it: (rows, columns) from anterior and from the right."""
        shape = [1 if axis == self.axial else size for axis, size in enumerate(self.shape)]
        return np.asarray(apply_orientation(voxels.reshape(shape, order="F"), self.to_lps)[:, :, 0].T)

    @property
    def _stride(self) -> int:
        """How many voxels lie between two that are neighbours along the axial axis."""
        return prod(self.shape[: self.axial])


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


def read_scene(axes: Axes, thickness: Mapping[str, float], read: Read, left_out: Container[str] = ()) -> Scene:
    """Keep of each volume what the pictures show of it: volumes on the NCCT's grid, whose axes are `axes`.

    `thickness` are the volumes to show and how many mm of each are seen at once, as their maximum; 0 for one slice. The
    slice is that of the largest lesion area or, in a subject without lesion, the one with the most soft tissue in the
    NCCT (0 to 100 HU), which is about where the brain is largest. Volumes that are `left_out` are not read and not in
    the scene, which is as that of a subject without lesion if the lesion mask is one. Raises what `read` raises.
    """

    def largest(column: str, counted: Callable[[Header, NDArray[Any]], Mask]) -> int | None:
        areas = _Areas(axes, counted)
        if column not in left_out:
            read(column, areas)
        return int(areas.counts.argmax()) if areas.counts.any() else None

    def slab(column: str, slices: range, values: Callable[[Header, NDArray[Any]], NDArray[Any]]) -> Plane:
        kept = _Slab(axes, slices, values)
        read(column, kept)
        return axes.plane(kept.voxels)

    marked = largest(LESION, _marked)
    shown = largest(REFERENCE, _soft) if marked is None else marked
    if shown is None:
        shown = axes.slices[len(axes.slices) // 2]
    if marked is None:
        lesion = axes.plane(np.zeros(axes.plane_size, bool))
    else:
        lesion = slab(LESION, range(shown, shown + 1), _marked) > 0
    slabs = {column: axes.slab(shown, mm) for column, mm in thickness.items() if column not in left_out}
    planes = {column: slab(column, slices, _scaled) for column, slices in slabs.items()}
    thick = {column: len(slices) * axes.spacing[axes.axial] for column, slices in slabs.items()}
    return Scene(shown, axes.plane_spacing, lesion, planes, thick)


def _scaled(header: Header, stored: NDArray[Any]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return stored.astype(np.float64) * header.slope + header.intercept


def _marked(header: Header, stored: NDArray[Any]) -> Mask:
    """What is not 0, as it is counted where masks are decoded."""
    return ~(np.abs(_scaled(header, stored)) <= _MARK_TOLERANCE)


def _soft(header: Header, stored: NDArray[Any]) -> Mask:
    return soft_tissue(_scaled(header, stored))


class _Areas:
    """Counts in each axial slice, as voxels are decoded, those that are `counted`."""

    def __init__(self, axes: Axes, counted: Callable[[Header, NDArray[Any]], Mask]):
        self._axes, self._counted = axes, counted
        self.counts = np.zeros(len(axes.slices), np.int64)

    def __call__(self, header: Header, start: int, stored: NDArray[Any]) -> None:
        numbers = start + np.flatnonzero(self._counted(header, stored))
        self.counts += np.bincount(self._axes.slice_of(numbers), minlength=len(self.counts))


class _Slab:
    """The largest of the `values` through some axial slices, as voxels are decoded; NaN where none is a number."""

    def __init__(self, axes: Axes, slices: range, values: Callable[[Header, NDArray[Any]], NDArray[Any]]):
        self._axes, self._slices, self._values = axes, slices, values
        self.voxels = np.full(axes.plane_size, np.nan, np.float32)

    def __call__(self, header: Header, start: int, stored: NDArray[Any]) -> None:
        numbers = self._axes.within(self._slices, start, stored.size)
        with np.errstate(all="ignore"):  # what is beyond the numbers of 32 bits becomes infinite
            values = self._values(header, stored[numbers - start]).astype(np.float32)
        np.fmax.at(self.voxels, self._axes.place_of(numbers), values)
