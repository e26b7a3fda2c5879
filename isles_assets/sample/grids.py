"""The grids of a subject's volumes, at the release's scale or at about a tenth of it along each axis.

Both scales cover the same space: the small one has fewer and larger voxels. Shapes and spacings follow the fact sheet,
section 4.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from nibabel.eulerangles import euler2mat
from numpy.typing import NDArray

from isles_assets.sample import peculiar
from isles_assets.sample.anatomy import centre, stream

ALIGNED_SHARE_1 = 22 / 89
"""Share of aligned NCCTs of centre 1 among those not known to be aligned or tilted. 36 of all 149 are aligned."""

_COLUMNS, _SMALL_COLUMNS = 512, 48
_SMALL_SLICES, _SMALL_SLICE_MM = (8, 14), 13.0
_CIRCLE_SLICES, _CIRCLE_DEPTH_MM = 50, 150.0
_HEAD_BELOW_MIDDLE_MM = 8.0

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lattice:
    """A grid of voxels: its shape (x, y, z), and its affine, shape (4, 4), from voxel indices to mm, RAS+."""

    shape: tuple[int, int, int]
    affine: Matrix

    @cached_property
    def spacing(self) -> NDArray[np.float64]:
        """Voxel edge lengths in mm, shape (3,)."""
        edges: NDArray[np.float64] = voxel_sizes(self.affine)
        return edges

    @property
    def middle(self) -> NDArray[np.float64]:
        """Centre of the field of view in mm, shape (3,)."""
        middle: NDArray[np.float64] = apply_affine(self.affine, (np.array(self.shape) - 1) / 2)
        return middle

    def moved(self, shift: NDArray[np.float64]) -> "Lattice":
        """Return the same grid with its affine moved by `shift`, in mm, shape (3,)."""
        affine = self.affine.copy()
        affine[:3, 3] += shift
        return Lattice(self.shape, affine)


@dataclass(frozen=True, eq=False)
class Geometry:
    """All grids of one subject. The headers of native CTA and CTP state shifted grids."""

    head: Matrix  # from head coordinates to the mm of the lattices, shape (4, 4)
    ncct: Lattice
    cta: Lattice  # true position
    ctp: Lattice  # true position
    circle: Lattice  # of the circle-of-Willis mask
    cta_shift: NDArray[np.float64]  # of the header, mm, shape (3,)
    ctp_shift: NDArray[np.float64]  # of the header, mm, shape (3,)
    seconds: NDArray[np.float64]  # times of the CTP frames, shape (frames,)


def draw_geometry(subject: str, seed: int, *, release_scale: bool, ncct: Lattice | None = None) -> Geometry:
    """Return the grids of `subject`. `ncct` replaces the drawn NCCT grid."""
    rng = stream(seed, subject, "geometry")
    drawn = _draw_ncct(subject, rng, release_scale)
    ncct = ncct or drawn
    head = _head_on(ncct, rng)

    slices = peculiar.WIDE_CTP.get(subject, 16 if rng.random() < 0.85 else 8)
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
        circle=_upright_beside(ncct, head) if subject in peculiar.OTHER_CIRCLE_GRID else ncct,
        cta_shift=rng.uniform(2, 6, 3) * rng.choice((-1, 1), 3),
        ctp_shift=rng.uniform(2, 12, 3) * rng.choice((-1, 1), 3),
        seconds=seconds,
    )  # fmt: skip


def _draw_ncct(subject: str, rng: np.random.Generator, release_scale: bool) -> Lattice:
    """Return an NCCT grid like those of the subject's centre. The small one covers the same box."""
    in_1 = centre(subject) == 1
    thin = in_1 or subject in peculiar.AXIS_ALIGNED_2
    in_plane = float(rng.triangular(*((0.369, 0.41, 0.5625) if thin else (0.305, 0.34, 0.445))))
    drawn_slices = (int(rng.integers(60, 81)), 2.0) if thin else (int(rng.integers(36, 49)), 4.0)
    tilt, yaw, roll = np.radians((rng.uniform(8, 26), rng.uniform(3, 8), rng.uniform(3, 8)))
    aligned = _is_aligned(subject, rng.random())
    slices, spacing = peculiar.SLICES.get(subject, drawn_slices)
    oblique = subject in peculiar.OBLIQUE_1 if in_1 else subject not in peculiar.TILTED_2
    turn = np.eye(3) if aligned else euler2mat(z=yaw, y=roll, x=tilt) if oblique else euler2mat(x=tilt)
    signs = rng.choice(((-1, 1), (1, 1), (-1, -1)))
    middle = rng.uniform((-25, -90, -130), (25, 150, 160))
    # Most NCCTs of centre 1 have more than 512 rows, because a tilted stack was resampled to an upright box.
    upright = int(np.ceil(_COLUMNS * np.cos(tilt) + slices * spacing / in_plane * np.sin(tilt)))
    rows = peculiar.ROWS.get(subject, upright) if in_1 else int(rng.integers(573, 687))
    rows = _COLUMNS if aligned else rows

    columns = _COLUMNS
    if not release_scale:
        depth = slices * spacing
        columns, in_plane = _SMALL_COLUMNS, in_plane * _COLUMNS / _SMALL_COLUMNS
        rows = int(np.ceil(rows * _SMALL_COLUMNS / _COLUMNS))
        slices = int(np.clip(round(depth / _SMALL_SLICE_MM), *_SMALL_SLICES))
        spacing = depth / slices
    drawn = _lattice((columns, rows, slices), (signs[0] * in_plane, signs[1] * in_plane, spacing), middle, turn)
    far = peculiar.FAR.get(subject)
    return drawn if far is None else drawn.moved(np.array((0, 0, far - drawn.affine[2, 3])))


def _is_aligned(subject: str, chance: float) -> bool:
    """Return whether the NCCT's axes are the scanner's. `chance`, from 0 to 1, decides if the fact is not known."""
    if subject in peculiar.FAR or subject in peculiar.AXIS_ALIGNED_2:
        return True
    known_tilt = subject in peculiar.ROWS or subject in peculiar.OBLIQUE_1
    return centre(subject) == 1 and not known_tilt and chance < ALIGNED_SHARE_1


def _upright_beside(ncct: Lattice, head: Matrix) -> Lattice:
    """Return an upright grid about the head's middle. Columns and rows are as many as the NCCT's columns."""
    columns = ncct.shape[0]
    slices = _CIRCLE_SLICES if columns == _COLUMNS else _SMALL_SLICES[0]
    in_plane = float(ncct.spacing[0])
    return _lattice((columns, columns, slices), (in_plane, in_plane, _CIRCLE_DEPTH_MM / slices), head[:3, 3])


def _lattice(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    middle: NDArray[np.float64],
    turn: NDArray[np.float64] | None = None,
) -> Lattice:
    linear = (np.eye(3) if turn is None else turn) @ np.diag(spacing)
    return Lattice(shape, from_matvec(linear, middle - linear @ ((np.array(shape) - 1) / 2)))


def _head_on(ncct: Lattice, rng: np.random.Generator) -> Matrix:
    """Return the matrix of a head that is nearly straight in the NCCT: a gantry is tilted for that."""
    directions = ncct.affine[:3, :3] / ncct.spacing
    upright = directions * np.sign(np.diag(directions))
    turn = upright @ euler2mat(*np.radians(rng.uniform(-4, 4, 3)))
    head: Matrix = from_matvec(turn, ncct.middle - turn @ (0, 0, _HEAD_BELOW_MIDDLE_MM))
    return head
