"""The table of the facts about a subject. Columns, types and docs follow from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import cos, radians
from operator import attrgetter
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from nibabel.affines import voxel_sizes

from isles_assets.products.preview.left_out import left_out
from isles_assets.products.preview.scene import LESION
from isles_assets.products.sources import Voxels
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid
from isles_assets.tables.manifest import VolumeEntry

_WHOLE, _COUNT, _LIST = pa.int32(), pa.int64(), pa.list_(pa.int32())
_ALIGNED_DEGREES = 0.1  # less than a voxel over the length of a head

Input = TypeVar("Input")


@dataclass(frozen=True)
class Fact(Generic[Input]):
    """One fact about a subject: its column, and how to compute it from an input."""

    column: str
    type: pa.DataType
    description: str
    value: Callable[[Input], Any]


@dataclass(frozen=True)
class Decoded:
    """The results of decoding a subject's volumes."""

    voxels: Mapping[str, Voxels]
    """Counts by column."""
    slice: int | None
    """Index of the slice in the pictures; None if nothing was drawn."""


Volumes = Mapping[str, VolumeEntry | None]
"""Manifest entries by column."""


def _header_value(column: str, read: Callable[[VolumeEntry], Any]) -> Callable[[Volumes], Any]:
    """Return a function that reads a value of the volume's header; None if the header cannot be read."""
    return lambda volumes: read(entry) if (entry := volumes[column]) and entry.shape else None


def _shape(entry: VolumeEntry) -> list[int]:
    return list((entry.shape or ())[:3])


def _spacing(entry: VolumeEntry) -> list[float] | None:
    if entry.transform or not entry.spacing:
        return None
    return [round(mm, 6) for mm in entry.spacing]  # a header has seven digits


def _oblique(entry: VolumeEntry) -> bool | None:
    if entry.transform or not entry.affine:
        return None
    affine = np.reshape(entry.affine, (4, 4))
    cosines = np.abs(affine[:3, :3] / voxel_sizes(affine))
    closest = cosines.max(axis=0)  # of each voxel axis with the anatomical axis closest to it
    return bool((closest < cos(radians(_ALIGNED_DEGREES))).all())


def _voxels(column: str, name: str) -> Callable[[Decoded], Any]:
    """Return a function that reads the attribute `name` of the volume's `Voxels`."""
    return lambda decoded: getattr(decoded.voxels[column], name)


def _labels(decoded: Decoded) -> list[int] | None:
    cow = decoded.voxels["cow_mask"]
    return None if cow.more_labels else cow.labels


_NCCT_SPACING = "Voxel spacing of the NCCT grid along x, y, z in mm; null: the affine cannot be used"
_CTP_SPACING = "Voxel spacing of the native CTP grid along x, y, z in mm; null: the affine cannot be used"
_OBLIQUE = (
    "Whether the NCCT is turned about more than one axis: none of its voxel axes is within "
    f"{_ALIGNED_DEGREES:g} degrees of an anatomical one"
)
_LEFT_OUT = "Volumes that the pictures do without, because they are not on the NCCT's grid or cannot be drawn"
_SHOWN_SLICE = (
    "Index, from 0, of the axial slice in the pictures, along the voxel axis closest to inferior-superior: that of the "
    "largest lesion area or, without a lesion, of the most soft tissue"
)
_LESION_ML = "Volume of the final infarct in millilitres; null: the mask's affine cannot be used"
_LABELS = "Labels that occur in the circle of Willis; null: so many values that they are no labels"


def header_facts(release: Release) -> tuple[Fact[Volumes], ...]:
    """Return the facts that follow from the manifest."""
    return (
        Fact("ncct_shape", _LIST, "Voxels of the NCCT grid along x, y, z", _header_value("ncct", _shape)),
        Fact("ncct_spacing_mm", pa.list_(pa.float64()), _NCCT_SPACING, _header_value("ncct", _spacing)),
        Fact("oblique", pa.bool_(), _OBLIQUE, _header_value("ncct", _oblique)),
        Fact("ctp_shape", _LIST, "Voxels of the native CTP grid along x, y, z", _header_value("ctp", _shape)),
        Fact("ctp_spacing_mm", pa.list_(pa.float64()), _CTP_SPACING, _header_value("ctp", _spacing)),
        Fact("ctp_frames", _COUNT, "Frames of the CTP series", _header_value("ctp", attrgetter("frames"))),
        Fact("left_out", pa.list_(pa.string()), _LEFT_OUT, lambda volumes: list(left_out(release, volumes))),
    )


_VOXEL_FACTS: tuple[Fact[Decoded], ...] = (
    Fact("lesion_voxels", _COUNT, "Voxels of the final infarct; 0: the mask is empty", _voxels(LESION, "marked")),
    Fact("lesion_ml", pa.float64(), _LESION_ML, _voxels(LESION, "marked_ml")),
    Fact("shown_slice", _WHOLE, _SHOWN_SLICE, attrgetter("slice")),
    Fact("lvo_empty", pa.bool_(), "Whether no large vessel occlusion is marked", _voxels("lvo_mask", "empty")),
    Fact("lvo_voxels", _COUNT, "Voxels of the large vessel occlusion", _voxels("lvo_mask", "marked")),
    Fact("cow_empty", pa.bool_(), "Whether no vessel of the circle of Willis is marked", _voxels("cow_mask", "empty")),
    Fact("cow_voxels", _COUNT, "Voxels of the circle of Willis", _voxels("cow_mask", "marked")),
    Fact("cow_labels", _LIST, _LABELS, _labels),
)


def voxel_facts(release: Release) -> tuple[Fact[Decoded], ...]:
    """Return the facts that follow from decoded voxels."""
    maps = (v.column for v in release.volumes if v.content is Content.MAP and v.grid is Grid.COMMON)
    non_finite = (
        Fact(f"{m}_non_finite", _COUNT, f"NaN and infinite voxels of `{m}`", _voxels(m, "non_finite")) for m in maps
    )
    return (*_VOXEL_FACTS, *non_finite)


def all_facts(release: Release) -> tuple[Fact[Any], ...]:
    """Return all facts in the order of their columns."""
    return (*header_facts(release), *voxel_facts(release))


def values(facts: Iterable[Fact[Input]], source: Input) -> dict[str, Any]:
    """Return the facts' values by column."""
    return {fact.column: fact.value(source) for fact in facts}
