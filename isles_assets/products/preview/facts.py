"""The table of the facts that stand beside a subject's pictures: columns, types and docs follow from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from isles_assets.products.sources import Voxels
from isles_assets.release.volumes import VOLUMES, Content, Grid
from isles_assets.tables.manifest import VolumeFacts

_WHOLE, _COUNT, _LIST = pa.int32(), pa.int64(), pa.list_(pa.int32())
_MAPS = tuple(v.column for v in VOLUMES if v.content is Content.MAP and v.grid is Grid.NCCT)

Known = TypeVar("Known")


@dataclass(frozen=True)
class Fact(Generic[Known]):
    """One fact of a subject: its column, what that means, and how it follows from what is known."""

    column: str
    type: pa.DataType
    description: str
    value: Callable[[Known], Any]


@dataclass(frozen=True)
class Seen:
    """What decoding a subject's volumes showed, by column, and the index of the slice that was chosen."""

    voxels: Mapping[str, Voxels]
    slice: int


Volumes = Mapping[str, VolumeFacts | None]


def _of_header(column: str, read: Callable[[VolumeFacts], Any]) -> Callable[[Volumes], Any]:
    """A value of the volume's header; None where that is not known."""

    def value(volumes: Volumes) -> Any:
        facts = volumes[column]
        return None if facts is None or facts.shape is None else read(facts)

    return value


def _shape(facts: VolumeFacts) -> list[int]:
    return list((facts.shape or ())[:3])


def _spacing(facts: VolumeFacts) -> list[float]:
    return [round(mm, 6) for mm in facts.spacing or ()]  # a header has seven digits


def _non_finite(column: str) -> Fact[Seen]:
    return Fact(
        f"{column}_non_finite", _COUNT, f"NaN and infinite voxels of `{column}`",
        lambda seen: seen.voxels[column].non_finite,
    )  # fmt: skip


HEADER_FACTS: tuple[Fact[Volumes], ...] = (
    Fact("ncct_shape", _LIST, "Voxels of the NCCT grid along x, y, z", _of_header("ncct", _shape)),
    Fact("ncct_spacing_mm", pa.list_(pa.float64()), "Their distances in mm", _of_header("ncct", _spacing)),
    Fact("ctp_shape", _LIST, "Voxels of the native CTP grid along x, y, z", _of_header("ctp", _shape)),
    Fact("ctp_spacing_mm", pa.list_(pa.float64()), "Their distances in mm", _of_header("ctp", _spacing)),
    Fact("ctp_frames", _WHOLE, "Frames of the CTP series", _of_header("ctp", lambda facts: facts.frames)),
)
"""What the manifest alone knows."""

VOXEL_FACTS: tuple[Fact[Seen], ...] = (
    Fact("lesion_voxels", _COUNT, "Voxels of the final infarct; 0: the mask is empty",
         lambda seen: seen.voxels["lesion_mask"].marked),
    Fact("lesion_ml", pa.float64(), "Volume of the final infarct in millilitres",
         lambda seen: seen.voxels["lesion_mask"].marked_ml),
    Fact("shown_slice", _WHOLE, "Index, from 0, of the axial slice in the pictures, along the voxel axis closest to "
         "inferior-superior: that of the largest lesion area or, without a lesion, of the most soft tissue",
         lambda seen: seen.slice),
    Fact("lvo_empty", pa.bool_(), "Whether no large vessel occlusion is marked",
         lambda seen: not seen.voxels["lvo_mask"].marked),
    Fact("lvo_voxels", _COUNT, "Voxels of the large vessel occlusion",
         lambda seen: seen.voxels["lvo_mask"].marked),
    Fact("cow_empty", pa.bool_(), "Whether no vessel of the circle of Willis is marked",
         lambda seen: not seen.voxels["cow_mask"].marked),
    Fact("cow_voxels", _COUNT, "Voxels of the circle of Willis",
         lambda seen: seen.voxels["cow_mask"].marked),
    Fact("cow_labels", _LIST, "Labels that occur in the circle of Willis",
         lambda seen: seen.voxels["cow_mask"].labels),
    *map(_non_finite, _MAPS),
)  # fmt: skip
"""What has to be decoded for."""

FACTS: tuple[Fact[Any], ...] = (*HEADER_FACTS, *VOXEL_FACTS)


def fact_fields() -> list[pa.Field]:
    """The columns of all facts."""
    return [pa.field(fact.column, fact.type) for fact in FACTS]


def header_facts(volumes: Volumes) -> dict[str, Any]:
    """The values by column that the manifest's row holds."""
    return {fact.column: fact.value(volumes) for fact in HEADER_FACTS}


def voxel_facts(seen: Seen) -> dict[str, Any]:
    """The values by column that decoding showed."""
    return {fact.column: fact.value(seen) for fact in VOXEL_FACTS}
