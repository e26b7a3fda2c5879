"""Anatomy of the synthetic subjects: head, infarct and vessels, drawn once per seed and subject."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from isles_assets.sample.peculiar import CENTRE_2, EMPTY_LESION, EMPTY_LVO, THIRD_A2, TINY_LESION


@dataclass(frozen=True)
class Ellipsoid:
    """An axis-aligned ellipsoid in head coordinates: centre and semi-axes in mm."""

    centre: tuple[float, float, float]
    semi: tuple[float, float, float]


@dataclass(frozen=True)
class Anatomy:
    """One head, in head coordinates: mm from its middle, x right, y anterior, z superior."""

    head: tuple[float, float, float]  # semi-axes of the scalp, mm
    side: int  # of the stroke: +1 right, -1 left
    fold_phase: float  # radians
    ventricle_scale: float
    territory_scale: float
    lesion: Ellipsoid | None  # None if the phantom draws none
    occluded: bool
    absent: frozenset[int]  # labels of the circle's segments that this subject lacks


def stream(seed: int, subject: str, purpose: str) -> np.random.Generator:
    """Return the random generator of one purpose. Equal arguments give equal numbers."""
    return np.random.default_rng([seed, crc32(f"{subject}/{purpose}".encode())])


def centre(subject: str) -> int:
    """Return the code of the subject's centre, 1 or 2."""
    return 2 if subject in CENTRE_2 else 1


def draw_anatomy(subject: str, seed: int, side: int | None = None) -> Anatomy:
    """Return the head of `subject`. `side` replaces the drawn one, to match the lesion of a mask file."""
    rng = stream(seed, subject, "anatomy")
    drawn_side = int(rng.choice((-1, 1)))
    side = side or drawn_side
    # Median and spread are like those of the release's lesions, but no lesion is too small for a coarse grid.
    radius = float(np.clip(13 * np.exp(0.45 * rng.standard_normal()), 10, 32))
    a, b, c = rng.uniform((0.95, 1.0, 0.95), (1.1, 1.4, 1.1)).tolist()
    x, y, z = rng.uniform((34, -8, 2), (44, 14, 16)).tolist()
    lesion = Ellipsoid((side * x, y, z), (radius * a, radius * b, radius * c))
    # Labels as in phantom.CIRCLE. Real circles lack the communicating and the far anterior segments most often.
    often_absent = (8, 9, 10, 12 if side > 0 else 11)
    surely_absent = () if subject in THIRD_A2 else (15,)
    return Anatomy(
        head=(float(rng.uniform(67, 74)), float(rng.uniform(82, 92)), float(rng.uniform(72, 80))),
        side=side,
        fold_phase=float(rng.uniform(0, 2 * np.pi)),
        ventricle_scale=float(rng.uniform(0.75, 1.35)),
        territory_scale=float(rng.uniform(0.85, 1.05)),
        lesion=None if subject in (*EMPTY_LESION, *TINY_LESION) else lesion,
        occluded=subject not in EMPTY_LVO,
        absent=frozenset([*surely_absent, *(label for label in often_absent if rng.random() < 0.3)]),
    )
