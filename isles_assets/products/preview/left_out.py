"""Volumes that are left out of the pictures, because they cannot be drawn. They are published all the same."""

from collections.abc import Mapping

from isles_assets.products.preview.scene import REFERENCE, Axes
from isles_assets.release.release import Release
from isles_assets.release.volumes import Grid, Volume
from isles_assets.tables.manifest import VolumeEntry

MAX_PLANE_VOXELS = 1 << 22
"""Voxels of the largest slice that is drawn. One slice of each volume is in memory, at four bytes per voxel."""


def preview_volumes(release: Release) -> tuple[Volume, ...]:
    """Return the volumes that previews read: the 3-D ones on the common grid, so no series."""
    return tuple(volume for volume in release.volumes if volume.grid is Grid.COMMON and volume.dimensions == 3)


def left_out(release: Release, volumes: Mapping[str, VolumeEntry | None]) -> dict[str, str]:
    """Return which volumes are left out of a subject's pictures, and why.

    Args:
        volumes: Manifest entries by column.

    Returns:
        Reasons by column, in a few words that follow a name.
    """
    reference = volumes[REFERENCE]
    unfit_grid = _unfit_grid(release.by_column[REFERENCE], reference)
    reasons: dict[str, str] = {}
    for volume in preview_volumes(release):
        entry = volumes[volume.column]
        if reason := _unfit(volume, entry):
            reasons[volume.column] = reason
        elif unfit_grid:
            reasons[volume.column] = unfit_grid if entry is reference else "left out, as the NCCT is"
        elif entry and reference and (difference := entry.grid_difference(reference)) and difference.is_off:
            reasons[volume.column] = "not on the NCCT grid"
    return reasons


def _unfit(volume: Volume, entry: VolumeEntry | None) -> str:
    """Return why a volume cannot be drawn on any grid; empty if it can."""
    if reason := _unfit_axes(volume, entry):
        return reason
    assert entry and entry.dtype
    is_complex = entry.dtype[1:2] == "c"
    return "not of real numbers" if is_complex or not entry.is_numeric else ""


def _unfit_grid(volume: Volume, entry: VolumeEntry | None) -> str:
    """Return why nothing can be drawn on a volume's grid; empty if something can."""
    if reason := _unfit_axes(volume, entry):
        return reason
    assert entry and entry.shape and entry.affine
    return "too large to draw" if Axes.of(entry.shape, entry.affine).plane_size > MAX_PLANE_VOXELS else ""


def _unfit_axes(volume: Volume, entry: VolumeEntry | None) -> str:
    """Return why a volume has no three axes in space; empty if it has."""
    if entry is None or not entry.shape:
        return "not readable"
    if not entry.fits(volume):
        return "not one volume of three axes"
    return "without a usable affine" if entry.transform else ""
