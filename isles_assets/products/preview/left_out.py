"""Volumes that no picture shows anything of: which, and why. They are published as they are, and their facts told."""

from collections.abc import Mapping

from isles_assets.products.preview.scene import REFERENCE, Axes
from isles_assets.release.release import Release
from isles_assets.release.volumes import Grid, Volume
from isles_assets.tables.manifest import VolumeEntry

LARGEST_PLANE = 1 << 22
"""Voxels of the largest slice that is drawn: one of each volume is in memory, at four bytes a voxel."""


def looked_at(release: Release) -> tuple[Volume, ...]:
    """The volumes that previews are made from: those on the grid that the pictures are of. A series is never read."""
    return tuple(volume for volume in release.volumes if volume.grid is Grid.COMMON and volume.dimensions == 3)


def left_out(release: Release, volumes: Mapping[str, VolumeEntry | None]) -> dict[str, str]:
    """Those that are left out of the pictures, by column, and why, in a few words that follow a name."""
    reference = volumes[REFERENCE]
    grid = _without_grid(release.by_column[REFERENCE], reference)
    reasons: dict[str, str] = {}
    for volume in looked_at(release):
        entry = volumes[volume.column]
        if reason := _unfit(volume, entry):
            reasons[volume.column] = reason
        elif grid:
            reasons[volume.column] = grid if entry is reference else "left out, as the NCCT is"
        elif entry and reference and (difference := entry.grid_difference(reference)) and difference.is_off:
            reasons[volume.column] = "not on the NCCT grid"
    return reasons


def _unfit(volume: Volume, entry: VolumeEntry | None) -> str:
    """Why a volume could be drawn on no grid; empty if it could."""
    if reason := _without_axes(volume, entry):
        return reason
    assert entry and entry.dtype
    is_complex = entry.dtype[1:2] == "c"
    return "not of real numbers" if is_complex or not entry.is_numeric else ""


def _without_grid(volume: Volume, entry: VolumeEntry | None) -> str:
    """Why nothing can be drawn on a volume's grid; empty if something can."""
    if reason := _without_axes(volume, entry):
        return reason
    assert entry and entry.shape and entry.affine
    return "too large to draw" if Axes.of(entry.shape, entry.affine).plane_size > LARGEST_PLANE else ""


def _without_axes(volume: Volume, entry: VolumeEntry | None) -> str:
    if entry is None or not entry.shape:
        return "not readable"
    if not entry.fits(volume):
        return "not one volume of three axes"
    return "without a usable affine" if entry.transform else ""
