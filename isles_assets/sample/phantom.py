"""An analytic head with a stroke, as the volumes of a subject.

The head is rasterized once per grid into tissue labels. A volume is a table look-up on the labels, plus noise. It comes
in flat blocks in file order (x fastest), so a CTP of several GB needs the memory of its labels (one byte a voxel of one
frame) and of one block.
"""

from collections.abc import Iterator
from dataclasses import replace
from enum import IntEnum
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

from isles_assets.release.volumes import Content, Grid, Volume
from isles_assets.sample import peculiar
from isles_assets.sample.anatomy import Anatomy, Ellipsoid, draw_anatomy, stream
from isles_assets.sample.grids import Geometry, Lattice, Matrix, draw_geometry

BLOCK = 1 << 19
"""Most voxels in one block."""

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Block = NDArray[Any]


class Tissue(IntEnum):
    """Tissue labels. A deficit is 2 above its healthy tissue, an infarct 4 above."""

    OUTSIDE = 0  # no data: outside the scanned slab
    AIR = 1
    SCALP = 2
    SKULL = 3
    CSF = 4
    GREY = 5
    WHITE = 6
    GREY_DEFICIT = 7
    WHITE_DEFICIT = 8
    GREY_LESION = 9
    WHITE_LESION = 10
    ARTERY = 11
    VEIN = 12
    CLOT = 13


_TO_DEFICIT = Tissue.GREY_DEFICIT - Tissue.GREY
_TO_LESION = Tissue.GREY_LESION - Tissue.GREY_DEFICIT


class Look(NamedTuple):
    """How a tissue looks in each modality."""

    ncct: float  # HU
    cta: float  # HU
    dwi: float
    adc: float
    cbf: float
    cbv: float
    mtt: float
    tmax: float
    peak: float  # of the bolus, HU
    arrival: float  # of the bolus, s


_LOOKS = {
    Tissue.OUTSIDE:       Look(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    Tissue.AIR:           Look(-1000, -1000, 0, 0, 0, 0, 0, 0, 0, 0),
    Tissue.SCALP:         Look(15, 25, 60, 350, 0, 0, 0, 0, 4, 8),
    Tissue.SKULL:         Look(900, 900, 15, 120, 0, 0, 0, 0, 0, 0),
    Tissue.CSF:           Look(8, 9, 90, 2900, 4, 0.5, 6.5, 2, 1, 8),
    Tissue.GREY:          Look(37, 44, 320, 830, 62, 4.2, 4.1, 1.3, 14, 6),
    Tissue.WHITE:         Look(28, 31, 250, 740, 26, 2.1, 5, 2, 6, 7),
    Tissue.GREY_DEFICIT:  Look(35, 40, 330, 820, 24, 3.9, 10, 8, 9, 14),
    Tissue.WHITE_DEFICIT: Look(26.5, 29, 260, 730, 11, 1.9, 11, 9, 4, 15),
    Tissue.GREY_LESION:   Look(32, 34, 780, 440, 9, 1.2, 13, 13, 3, 18),
    Tissue.WHITE_LESION:  Look(24, 25, 700, 410, 5, 0.8, 14, 14, 2, 18),
    Tissue.ARTERY:        Look(42, 300, 120, 900, 105, 12, 2.8, 0.4, 260, 4),
    Tissue.VEIN:          Look(45, 190, 120, 900, 90, 11, 4, 2.5, 200, 10),
    Tissue.CLOT:          Look(65, 68, 200, 800, 8, 1, 12, 12, 0, 0),
}  # fmt: skip

_LOOK_TABLE = Look(*np.array([_LOOKS[tissue] for tissue in Tissue], dtype=np.float32).T)
"""The same by modality: each field is an array, shape (tissues,), indexed by label."""

_DEFAULT_MODALITY = {Content.CT: "ncct", Content.CT_SERIES: "ctp", Content.MAP: "cbf", Content.MRI: "dwi"}
_PERFUSION = (Content.CT_SERIES, Content.MAP)
_WITHOUT_FLOW = [Tissue.OUTSIDE, Tissue.AIR, Tissue.SCALP, Tissue.SKULL]
"""Maps have their background here."""

_CTP_PADDING = -1000
"""Value of the registered CTP outside the scanned slab."""

_HU_NOISE = {"ncct": 3.0, "cta": 6.0, "ctp": 7.0}
_RELATIVE_NOISE = 0.12
_FINEST = {Content.MAP: 1 / 64, Content.MRI: 1 / 2}
"""Values are rounded to multiples of this. Noise in all bits of a float would not compress like the release."""

_RIGHT_SIDE = {
    "PCA": ((0, -12, -14), (14, -16, -12), (22, -42, -4)),
    "ICA": ((14, 0, -38), (12, 6, -12)),
    "MCA": ((12, 6, -12), (30, 8, -9), (46, 13, -2), (52, 2, 16), (50, -22, 28)),
    "Pcom": ((12, 6, -12), (12, -14, -12)),
    "ACA": ((12, 6, -12), (3, 18, -10), (2, 34, 6), (2, 26, 34)),
}
_RADIUS_MM = {"BA": 1.9, "PCA": 1.4, "ICA": 2.3, "MCA": 1.7, "Pcom": 0.9, "Acom": 0.9, "ACA": 1.3, "A2": 1.0}
_CLOT_RADIUS_MM, _CLOT_EXTENT = 2.3, (0.12, 0.28)


def _segment(kind: str, side: int) -> tuple[str, NDArray[np.float64]]:
    return kind, np.array(_RIGHT_SIDE[kind], dtype=float) * (side, 1, 1)


CIRCLE: dict[int, tuple[str, NDArray[np.float64]]] = {
    1: ("BA", np.array([(0, -12, -38), (0, -12, -14)], dtype=float)),
    2: _segment("PCA", 1),
    3: _segment("PCA", -1),
    4: _segment("ICA", 1),
    5: _segment("MCA", 1),
    6: _segment("ICA", -1),
    7: _segment("MCA", -1),
    8: _segment("Pcom", 1),
    9: _segment("Pcom", -1),
    10: ("Acom", np.array([(3, 18, -10), (-3, 18, -10)], dtype=float)),
    11: _segment("ACA", 1),
    12: _segment("ACA", -1),
    15: ("A2", np.array([(0, 18, -10), (0, 34, 6), (0, 26, 34)], dtype=float)),
}
"""Circle of Willis by label (TopCoW's numbers): kind of segment, and its course in head mm, shape (points, 3)."""

RIGHT_MCA, LEFT_MCA = 5, 7


class Phantom:
    """The volumes of one subject. A volume of an unknown column looks like another of the same content.

    Equal arguments give equal volumes, in whatever order they are made.

    Args:
        ncct: Replaces the drawn NCCT grid.
        lesion: Replaces the drawn lesion, shape of the NCCT grid.
    """

    def __init__(
        self,
        subject: str,
        seed: int,
        *,
        release_scale: bool = False,
        ncct: Lattice | None = None,
        lesion: Mask | None = None,
    ):
        self.geometry = draw_geometry(subject, seed, release_scale=release_scale, ncct=ncct)
        side = None if lesion is None else _side(self.geometry, lesion)
        anatomy = draw_anatomy(subject, seed, side)
        self._seed, self._subject = seed, subject

        on_ncct = anatomy if lesion is None else replace(anatomy, lesion=None)
        labels = _tissues(on_ncct, self.geometry.head, self.geometry.ncct)
        self._segments, self._occlusion = _vessels(anatomy, self.geometry.head, self.geometry.ncct)
        if lesion is None and subject in peculiar.TINY_LESION:
            lesion = _three_voxels(anatomy, self.geometry)
        if lesion is None:
            lesion = (labels == Tissue.GREY_LESION) | (labels == Tissue.WHITE_LESION)
        else:
            _infarct(labels, lesion)
        self._lesion = lesion
        _add_vessels(labels, anatomy, self._segments, self._occlusion)
        self._labels, self._anatomy = labels, anatomy
        largest = max(int(np.prod(lattice.shape)) for lattice in (self.geometry.ncct, self.geometry.cta))
        self._pool = stream(seed, subject, "noise").standard_normal(2 * min(BLOCK, largest), dtype=np.float32)

    @cached_property
    def _in_slab(self) -> Labels:
        """Labels on the NCCT grid; OUTSIDE where the perfusion scan does not reach."""
        ncct, ctp, labels = self.geometry.ncct, self.geometry.ctp, self._labels.T.copy()
        for slab, indices in _slabs(ncct, np.linalg.inv(ctp.affine) @ ncct.affine):
            for index, count in zip(indices, ctp.shape, strict=True):
                labels[slab][(index < -0.5) | (index > count - 0.5)] = Tissue.OUTSIDE
        return labels.T

    @cached_property
    def _native_ctp(self) -> Labels:
        return self._draw_native(self.geometry.ctp)

    def _draw_native(self, lattice: Lattice) -> Labels:
        labels = _tissues(self._anatomy, self.geometry.head, lattice)
        _add_vessels(labels, self._anatomy, *_vessels(self._anatomy, self.geometry.head, lattice))
        return labels

    def lattice(self, volume: Volume) -> Lattice:
        """Return the grid that the volume's header states."""
        if volume.content is Content.LABELS:
            return self.geometry.circle
        if volume.grid is Grid.COMMON:
            return self.geometry.ncct
        if volume.content not in _PERFUSION:
            return self.geometry.cta.moved(self.geometry.cta_shift)
        return self.geometry.ctp.moved(self.geometry.ctp_shift)

    def shape(self, volume: Volume) -> tuple[int, ...]:
        """Return (x, y, z), or (x, y, z, frame) of a time series."""
        shape = self.lattice(volume).shape
        return (*shape, len(self.geometry.seconds)) if volume.dimensions == 4 else shape

    def blocks(self, volume: Volume) -> Iterator[Block]:
        """Return the voxels in file order, in flat blocks: int16 HU, float32 maps and MRI, uint8 masks and labels."""
        if volume.content is Content.LABELS:
            if self.geometry.circle is self.geometry.ncct:
                return _split(self._segments)
            return _split(_vessels(self._anatomy, self.geometry.head, self.geometry.circle)[0])
        if volume.content is Content.MASK:
            return _split((self._occlusion if volume.column == "lvo_mask" else self._lesion).view(np.uint8))
        return self._paint(volume)

    def _paint(self, volume: Volume) -> Iterator[Block]:
        modality = _modality(volume)
        labels = self._labels_of(volume)
        rng = stream(self._seed, self._subject, volume.column)
        put_odd_values = _OddValues(self._subject)
        for look in self._looks(modality):
            look[_WITHOUT_FLOW] += volume.background
            noise = _noise_table(modality, look)
            for part in _split(labels):
                start = rng.integers(len(self._pool) - part.size + 1)
                values = look[part] + noise[part] * self._pool[start : start + part.size]
                if volume.content in _FINEST:
                    finest = np.float32(_FINEST[volume.content])
                    values = np.rint(values / finest) * finest
                    if modality == "mtt":
                        put_odd_values(values, part)
                    yield values
                else:
                    yield np.rint(values).astype(np.int16)

    def _labels_of(self, volume: Volume) -> Labels:
        if volume.grid is Grid.NATIVE:
            return self._native_ctp if volume.content in _PERFUSION else self._draw_native(self.geometry.cta)
        return self._in_slab if volume.content in _PERFUSION else self._labels

    def _looks(self, modality: str) -> Iterator[NDArray[np.float32]]:
        """Yield the look-up table of each frame."""
        if modality != "ctp":
            yield getattr(_LOOK_TABLE, modality).copy()
            return
        for second in self.geometry.seconds:
            bolus = _gamma_variate(second - 6 - np.asarray(_LOOK_TABLE.arrival))
            look = np.asarray(_LOOK_TABLE.ncct + _LOOK_TABLE.peak * bolus, dtype=np.float32)
            look[Tissue.OUTSIDE] = _CTP_PADDING
            yield look


def _modality(volume: Volume) -> str:
    """Return the volume's modality by its column, or the default one of its content."""
    modality = volume.column.removesuffix("_ncct").removesuffix("_native")
    return modality if modality in (*Look._fields, "ctp") else _DEFAULT_MODALITY[volume.content]


def _gamma_variate(seconds: NDArray[np.float64], shape: float = 3.0, scale: float = 2.2) -> NDArray[np.float64]:
    """Return the bolus (peak 1) at `seconds` after its arrival; 0 before."""
    passed = np.maximum(seconds, 0) / (shape * scale)
    return passed**shape * np.exp(shape * (1 - passed))


def _noise_table(modality: str, look: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the standard deviation by label. Background gets no noise."""
    if modality in _HU_NOISE:
        table = np.full_like(look, _HU_NOISE[modality])
        table[Tissue.OUTSIDE] = 0
        return table
    return np.float32(_RELATIVE_NOISE) * np.maximum(look, 0)


class _OddValues:
    """Puts odd values into one MTT volume where a real one has them: where there is hardly any flow to divide by."""

    def __init__(self, subject: str):
        self._step = 0
        if subject in peculiar.NON_FINITE_MTT:
            self._step = 4 if subject in peculiar.MOSTLY_NON_FINITE_MTT else 20
        self._few = list(peculiar.FEW_ODD_MTT.get(subject, ()))

    def __call__(self, mtt: NDArray[np.float32], labels: Labels) -> None:
        """Change the next block of voxels, in place."""
        without_flow = np.flatnonzero(labels == Tissue.CSF)
        if self._step:
            mtt[without_flow[:: self._step]] = np.nan
            mtt[without_flow[self._step // 2 :: self._step]] = np.inf
        few = self._few[: len(without_flow)]
        mtt[without_flow[: len(few)]] = few
        del self._few[: len(few)]


def _split(array: Block) -> Iterator[Block]:
    """Return `array` in file order, as flat views of at most BLOCK voxels."""
    flat = array.reshape(-1, order="F")
    return (flat[start : start + BLOCK] for start in range(0, flat.size, BLOCK))


def _slabs(lattice: Lattice, matrix: Matrix) -> Iterator[tuple[slice, tuple[NDArray[np.float32], ...]]]:
    """Yield a few slices at a time, and x, y, z of their voxels by `matrix` (4, 4), each (slices, rows, columns)."""
    columns, rows, slices = lattice.shape
    thickness = max(1, BLOCK // (columns * rows))
    m = matrix.astype(np.float32)
    i, j = np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32)[:, None]
    for first in range(0, slices, thickness):
        k = np.arange(first, min(first + thickness, slices), dtype=np.float32)[:, None, None]
        yield (
            slice(first, first + thickness),
            tuple(m[axis, 0] * i + (m[axis, 1] * j + (m[axis, 2] * k + m[axis, 3])) for axis in range(3)),
        )


def _within(x: NDArray[Any], y: NDArray[Any], z: NDArray[Any], shape: Ellipsoid, wobble: Any = 0.0) -> Mask:
    (cx, cy, cz), (a, b, c) = shape.centre, shape.semi
    inside: Mask = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 < 1 + wobble
    return inside


def _tissues(anatomy: Anatomy, head: Matrix, lattice: Lattice) -> Labels:
    """Return tissue labels without vessels, shape (x, y, z)."""
    labels = np.empty(lattice.shape[::-1], dtype=np.uint8)
    for slab, (x, y, z) in _slabs(lattice, np.linalg.inv(head) @ lattice.affine):
        labels[slab] = _tissue_at(anatomy, x, y, z)
    return labels.T


def _tissue_at(anatomy: Anatomy, x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]) -> Labels:
    """Return the tissue at points in head mm."""
    a, b, c = anatomy.head
    aside = np.abs(x)
    # The head is longer than an ellipsoid below its middle, and narrower in front than behind.
    depth = np.where(z < 0, z * np.float32(0.7), z) / c
    width = x / (a * (1 - 0.0012 * y))
    radius = np.sqrt(width**2 + (y / b) ** 2 + depth**2)
    folds = np.sin(aside / 3.8 + anatomy.fold_phase) * np.sin(y / 4.2 + 0.7 * anatomy.fold_phase) + 0.5 * np.sin(z / 6)

    labels = np.full(x.shape, Tissue.AIR, dtype=np.uint8)
    labels[radius < 1] = Tissue.SCALP
    labels[radius < 0.95] = Tissue.SKULL
    labels[radius < 0.87] = Tissue.CSF
    labels[radius < 0.855 + 0.012 * folds] = Tissue.GREY
    labels[radius < 0.745 + 0.065 * folds] = Tissue.WHITE
    labels[(labels >= Tissue.GREY) & (aside < 5) & (radius > 0.45)] = Tissue.GREY
    labels[(labels >= Tissue.GREY) & (aside < 1.4) & (radius > 0.5)] = Tissue.CSF

    def fill(tissue: Tissue, centre: tuple[float, float, float], semi: tuple[float, float, float]) -> None:
        labels[_within(aside, y, z, Ellipsoid(centre, semi)) & (labels >= Tissue.CSF)] = tissue

    fill(Tissue.GREY, (26, 4, 2), (9, 19, 13))
    fill(Tissue.WHITE, (19.5, 2, 2), (3, 16, 14))
    fill(Tissue.GREY, (11, 16, 7), (6, 10, 11))
    fill(Tissue.GREY, (10, -11, 4), (8, 13, 10))
    fill(Tissue.CSF, (48, 12, -1), (9, 20, 2.5))
    swell = anatomy.ventricle_scale
    fill(Tissue.CSF, (7, 20, 12), (4.5 * swell, 16, 8 * swell))
    fill(Tissue.CSF, (11, -8, 18), (5.5 * swell, 24, 7 * swell))
    fill(Tissue.CSF, (19, -32, 10), (6 * swell, 13, 8 * swell))
    fill(Tissue.CSF, (0, -5, 2), (2.2 * swell, 12, 9))

    sinus = (aside < 4) & (radius > 0.83) & (radius < 0.875) & ((z > 15) | (y < -20))
    labels[sinus] = Tissue.VEIN

    scale = anatomy.territory_scale
    territory = Ellipsoid((anatomy.side * 46.0, 4.0, 12.0), (34 * scale, 52 * scale, 40 * scale))
    parenchyma = (labels == Tissue.GREY) | (labels == Tissue.WHITE)
    labels[parenchyma & _within(x, y, z, territory, 0.08 * folds)] += _TO_DEFICIT
    if anatomy.lesion is not None:
        starved = (labels == Tissue.GREY_DEFICIT) | (labels == Tissue.WHITE_DEFICIT)
        labels[starved & _within(x, y, z, anatomy.lesion, 0.2 * folds)] += _TO_LESION
    return labels


def _infarct(labels: Labels, lesion: Mask) -> None:
    """Turn brain inside `lesion` into infarct, in place."""
    healthy = (labels == Tissue.GREY) | (labels == Tissue.WHITE)
    starved = (labels == Tissue.GREY_DEFICIT) | (labels == Tissue.WHITE_DEFICIT)
    labels[healthy & lesion] += _TO_DEFICIT + _TO_LESION
    labels[starved & lesion] += _TO_LESION


def _vessels(anatomy: Anatomy, head: Matrix, lattice: Lattice) -> tuple[Labels, Mask]:
    """Return the labels of the circle's segments, and the mask of the occlusion, each of shape (x, y, z)."""
    segments = np.zeros(lattice.shape, dtype=np.uint8, order="F")
    occlusion = np.zeros(lattice.shape, dtype=np.bool_, order="F")
    to_voxels = np.linalg.inv(lattice.affine) @ head
    step = 0.6 * float(lattice.spacing.min())
    present = {label: course for label, course in CIRCLE.items() if label not in anatomy.absent}
    for label, (kind, path) in present.items():
        segments[_voxels(_tube(path, _RADIUS_MM[kind], step), to_voxels, lattice)] = label
    for label, (_, path) in present.items():
        # On a coarse grid, a neighbour may have overwritten all of a short segment.
        segments[_voxels(path[:2].mean(axis=0, keepdims=True), to_voxels, lattice)] = label
    if anatomy.occluded:
        _, path = CIRCLE[RIGHT_MCA if anatomy.side > 0 else LEFT_MCA]
        clot = _tube(_points_along(path, *_CLOT_EXTENT, step), _CLOT_RADIUS_MM, step)
        occlusion[_voxels(clot, to_voxels, lattice)] = True
    return segments, occlusion


def _points_along(path: NDArray[np.float64], start: float, stop: float, step: float) -> NDArray[np.float64]:
    """Return points at most `step` mm apart, shape (n, 3), between the fractions `start` and `stop` of the path."""
    length = np.concatenate(([0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))))
    along = np.linspace(start * length[-1], stop * length[-1], 2 + int((stop - start) * length[-1] / step))
    points: NDArray[np.float64] = np.stack([np.interp(along, length, path[:, axis]) for axis in range(3)], axis=1)
    return points


def _tube(path: NDArray[np.float64], radius: float, step: float) -> NDArray[np.float64]:
    """Return points at most `step` mm apart, shape (n, 3), that fill the tube of `radius` mm around `path`."""
    offsets = np.arange(-(radius // step), radius // step + 1) * step
    ball = np.stack(np.meshgrid(offsets, offsets, offsets), axis=-1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) <= radius]
    points: NDArray[np.float64] = (_points_along(path, 0, 1, step)[:, None] + ball).reshape(-1, 3)
    return points


def _voxels(
    points: NDArray[np.float64], to_voxels: Matrix, lattice: Lattice
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the voxels that hold the points. Drop points off the grid."""
    index: NDArray[np.intp] = np.rint(apply_affine(to_voxels, points)).astype(np.intp)
    i, j, k = index[((index >= 0) & (index < lattice.shape)).all(axis=1)].T
    return i, j, k


def _add_vessels(labels: Labels, anatomy: Anatomy, segments: Labels, occlusion: Mask) -> None:
    """Put the clot, and the arteries that still carry blood, into `labels`, in place."""
    filled = segments > 0
    if anatomy.occluded:
        filled &= segments != (RIGHT_MCA if anatomy.side > 0 else LEFT_MCA)
    labels[filled] = Tissue.ARTERY
    labels[occlusion] = Tissue.CLOT


def _three_voxels(anatomy: Anatomy, geometry: Geometry) -> Mask:
    """Return the smallest lesion of the release: three voxels in a row, in the middle of the territory."""
    lesion = np.zeros(geometry.ncct.shape, dtype=np.bool_, order="F")
    middle = apply_affine(np.linalg.inv(geometry.ncct.affine) @ geometry.head, (anatomy.side * 40.0, 0.0, 12.0))
    i, j, k = np.rint(middle).astype(int)
    lesion[i - 1 : i + 2, j, k] = True
    return lesion


def _side(geometry: Geometry, lesion: Mask) -> int | None:
    """Return +1 for a lesion on the right of the head, -1 for the left, None for an empty one."""
    indices = np.argwhere(lesion)
    if not len(indices):
        return None
    x = apply_affine(np.linalg.inv(geometry.head) @ geometry.ncct.affine, indices.mean(axis=0))[0]
    return 1 if x > 0 else -1
