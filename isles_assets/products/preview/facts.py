"""The table of the facts about a subject. Columns, types and docs follow from it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from math import cos, radians
from operator import attrgetter
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from nibabel.affines import voxel_sizes

from isles_assets.products.preview.left_out import left_out, preview_volumes
from isles_assets.products.preview.scene import LESION
from isles_assets.products.sources import Voxels
from isles_assets.release.clinical import Known
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
    known: Known
    description: str
    value: Callable[[Input], Any]
    unit: str = ""


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


_NCCT_SHAPE = "Voxels of the NCCT grid along x, y, z"
_CTP_SHAPE = "Voxels of the native CTP grid along x, y, z"
_NCCT_SPACING = "Voxel spacing of the NCCT grid along x, y, z in mm; null: the affine cannot be used"
_CTP_FRAMES = "Frames of the CTP series"
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
_LESION_VOXELS = "Voxels of the final infarct; 0: the mask is empty"
_LESION_ML = "Volume of the final infarct in millilitres; null: the mask's affine cannot be used"
_COW_EMPTY = "Whether no vessel of the circle of Willis is marked"
_LABELS = "Labels that occur in the circle of Willis; null: so many values that they are no labels"


def header_facts(release: Release) -> tuple[Fact[Volumes], ...]:
    """Return the facts that follow from the manifest."""
    known = partial(_known, release)
    spacing = pa.list_(pa.float64())
    return (
        Fact("ncct_shape", _LIST, known("ncct"), _NCCT_SHAPE, _header_value("ncct", _shape)),
        Fact("ncct_spacing_mm", spacing, known("ncct"), _NCCT_SPACING, _header_value("ncct", _spacing), "mm"),
        Fact("oblique", pa.bool_(), known("ncct"), _OBLIQUE, _header_value("ncct", _oblique)),
        Fact("ctp_shape", _LIST, known("ctp"), _CTP_SHAPE, _header_value("ctp", _shape)),
        Fact("ctp_spacing_mm", spacing, known("ctp"), _CTP_SPACING, _header_value("ctp", _spacing), "mm"),
        Fact("ctp_frames", _COUNT, known("ctp"), _CTP_FRAMES, _header_value("ctp", attrgetter("frames"))),
        Fact(
            "left_out",
            pa.list_(pa.string()),
            known(*(volume.column for volume in preview_volumes(release))),
            _LEFT_OUT,
            lambda volumes: list(left_out(release, volumes)),
        ),
    )


def _known(release: Release, *columns: str) -> Known:
    """Return when a fact is known that follows from these volumes: afterwards, if one of them is from follow-up."""
    known = {release.known(release.by_column[column]) for column in columns}
    return Known.OUTCOME if Known.OUTCOME in known else Known.ADMISSION


def voxel_facts(release: Release) -> tuple[Fact[Decoded], ...]:
    """Return the facts that follow from decoded voxels."""
    known = partial(_known, release)
    lesion, lvo, cow = known(LESION), known("lvo_mask"), known("cow_mask")
    maps = (v.column for v in release.volumes if v.content is Content.MAP and v.grid is Grid.COMMON)
    return (
        Fact("lesion_voxels", _COUNT, lesion, _LESION_VOXELS, _voxels(LESION, "marked")),
        Fact("lesion_ml", pa.float64(), lesion, _LESION_ML, _voxels(LESION, "marked_ml"), "ml"),
        Fact("shown_slice", _WHOLE, lesion, _SHOWN_SLICE, attrgetter("slice")),
        Fact("lvo_empty", pa.bool_(), lvo, "Whether no large vessel occlusion is marked", _voxels("lvo_mask", "empty")),
        Fact("lvo_voxels", _COUNT, lvo, "Voxels of the large vessel occlusion", _voxels("lvo_mask", "marked")),
        Fact("cow_empty", pa.bool_(), cow, _COW_EMPTY, _voxels("cow_mask", "empty")),
        Fact("cow_voxels", _COUNT, cow, "Voxels of the circle of Willis", _voxels("cow_mask", "marked")),
        Fact("cow_labels", _LIST, cow, _LABELS, _labels),
        *(
            Fact(f"{m}_non_finite", _COUNT, known(m), f"NaN and infinite voxels of `{m}`", _voxels(m, "non_finite"))
            for m in maps
        ),
    )


def all_facts(release: Release) -> tuple[Fact[Any], ...]:
    """Return all facts in the order of their columns."""
    return (*header_facts(release), *voxel_facts(release))


def values(facts: Iterable[Fact[Input]], source: Input) -> dict[str, Any]:
    """Return the facts' values by column."""
    return {fact.column: fact.value(source) for fact in facts}
