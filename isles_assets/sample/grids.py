"""The grids of a subject's volumes, at the release's scale or about a tenth of it along each axis.

Both scales picture the same space: the small one has fewer and larger voxels. Shapes and spacings follow the fact
sheet, section 4.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from nibabel.eulerangles import euler2mat
from numpy.typing import NDArray

from isles_assets.release.oddities import Trait
from isles_assets.release.release import Release
from isles_assets.sample.anatomy import centre, stream

AXIS_ALIGNED_SHARE = 36 / 149
SLICES = {"sub-stroke0040": (177, 0.8), "sub-stroke0158": (101, 2.0)}
"""Slices and their spacing in mm of the two subjects with more than 100; 0040 is the largest of the release."""

WIDE_CTP = {"sub-stroke0040": 25}
"""Native CTP slices of 5 mm, where more than usual: with them 0040's registered CTP is as large as the release's."""

_COLUMNS, _SMALL_COLUMNS = 512, 48
_SMALL_SLICES = (8, 14)
_HEAD_BELOW_MIDDLE_MM = 8.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lattice:
    """Where voxels lie: `shape` (x, y, z) and the (4, 4) `affine` from voxel indices to mm, RAS+."""

    shape: tuple[int, int, int]
    affine: Matrix

    @cached_property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel edge lengths (3,) in mm."""
        edges: NDArray[np.float64] = voxel_sizes(self.affine)
        return edges

    @property
    def middle(self) -> NDArray[np.float64]:
        """The centre of the field of view (3,) in mm."""
        middle: NDArray[np.float64] = apply_affine(self.affine, (np.array(self.shape) - 1) / 2)
        return middle

    def moved(self, shift: NDArray[np.float64]) -> "Lattice":
        """The same voxels, said to lie `shift` (3,) mm away."""
        affine = self.affine.copy()
        affine[:3, 3] += shift
        return Lattice(self.shape, affine)


@dataclass(frozen=True, eq=False)
class Geometry:
    """All grids of one subject.

    `head` (4, 4) takes head coordinates to the mm of the lattices. `cta` and `ctp` are where the native scans
    truly lie; their headers are `cta_shift` and `ctp_shift` (3,) mm off. `seconds` (frames,) are the times of the
    CTP frames.
    """

    head: Matrix
    ncct: Lattice
    cta: Lattice
    ctp: Lattice
    cta_shift: NDArray[np.float64]
    ctp_shift: NDArray[np.float64]
    seconds: NDArray[np.float64]


def draw_geometry(
    release: Release, subject: str, seed: int, *, release_scale: bool, ncct: Lattice | None = None
) -> Geometry:
    """The grids of `subject`; `ncct` replaces the NCCT grid that would be drawn."""
    rng = stream(seed, subject, "geometry")
    drawn = _draw_ncct(subject, rng, release_scale, oblique=subject in release.subjects_with(Trait.OBLIQUE))
    ncct = ncct or drawn
    head = _head_on(ncct, rng)

    slices = WIDE_CTP.get(subject, 16 if rng.random() < 0.85 else 8)
    frames = int(rng.integers(50, 60))
    ctp_middle = head[:3, :3] @ (0, 0, 10) + head[:3, 3]
    cta_middle = head[:3, :3] @ (0, 0, -2) + head[:3, 3]
    if release_scale:
        ctp = _lattice((220, 220, slices), (1, 1, 5), ctp_middle)
        cta = _lattice((512, 512, 140), (0.45, 0.45, 1), cta_middle)
        seconds = np.arange(frames, dtype=float)
    else:
        ctp = _lattice((28, 28, 4), (220 / 28, 220 / 28, slices * 5 / 4), ctp_middle)
        cta = _lattice((40, 40, 12), (5.76, 5.76, 140 / 12), cta_middle)
        seconds = np.linspace(0, frames, 6, endpoint=False)
    return Geometry(
        head, ncct, cta, ctp,
        cta_shift=rng.uniform(2, 6, 3) * rng.choice((-1, 1), 3),
        ctp_shift=rng.uniform(2, 12, 3) * rng.choice((-1, 1), 3),
        seconds=seconds,
    )  # fmt: skip


def _draw_ncct(subject: str, rng: np.random.Generator, release_scale: bool, oblique: bool) -> Lattice:
    in_plane = float(rng.triangular(0.369, 0.41, 0.5625))
    drawn_slices = (int(rng.integers(60, 81)), 2.0) if centre(subject) == 1 else (int(rng.integers(36, 49)), 2.5)
    slices, spacing = SLICES.get(subject, drawn_slices)
    tilt, yaw, roll = np.radians((rng.uniform(8, 26), rng.uniform(3, 8), rng.uniform(3, 8)))
    aligned = rng.random() < AXIS_ALIGNED_SHARE
    tilt = 0.0 if aligned and not oblique else tilt
    turn = euler2mat(z=yaw, y=roll, x=tilt) if oblique else euler2mat(x=tilt)
    signs = rng.choice(((-1, 1), (1, 1), (-1, -1)))

    columns = _COLUMNS
    if not release_scale:
        depth = slices * spacing
        columns, in_plane = _SMALL_COLUMNS, in_plane * _COLUMNS / _SMALL_COLUMNS
        slices = int(np.clip(round(slices / 6), *_SMALL_SLICES))
        spacing = depth / slices
    # A tilted stack resampled to an upright box needs more rows: this is why Y is not 512 in most of the release.
    rows = int(np.ceil(columns * np.cos(tilt) + slices * spacing / in_plane * np.sin(tilt)))
    signed = (signs[0] * in_plane, signs[1] * in_plane, spacing)
    return _lattice((columns, rows, slices), signed, rng.uniform((-25, -90, -130), (25, 150, 160)), turn)


def _lattice(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    middle: NDArray[np.float64],
    turn: NDArray[np.float64] | None = None,
) -> Lattice:
    linear = (np.eye(3) if turn is None else turn) @ np.diag(spacing)
    return Lattice(shape, from_matvec(linear, middle - linear @ ((np.array(shape) - 1) / 2)))


def _head_on(ncct: Lattice, rng: np.random.Generator) -> Matrix:
    """A head that lies nearly straight in the NCCT's field of view, as the gantry is tilted to achieve."""
    directions = ncct.affine[:3, :3] / ncct.spacing
    upright = directions * np.sign(np.diag(directions))
    turn = upright @ euler2mat(*np.radians(rng.uniform(-4, 4, 3)))
    head: Matrix = from_matvec(turn, ncct.middle - turn @ (0, 0, _HEAD_BELOW_MIDDLE_MM))
    return head
