"""From planes to pixels: the rectangle that holds the head, and its content at the size of a picture."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from isles_assets.products.preview.scene import Mask, Plane

_BONE_HU = 250
_SCALP_MM = 10.0
_LEAST_BONE_MM = 4.0
"""Least bone in a row or column of a head. Less is a needle, a wire or noise."""


@dataclass(frozen=True)
class Crop:
    """A rectangle of a plane that fills a picture."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom in pixels of the plane, from its corner. It may extend beyond the plane."""
    size: tuple[int, int]
    """Width and height of the picture in px."""

    @classmethod
    def around_head(
        cls, hounsfield: Plane, lesion: Mask, spacing: tuple[float, float], size: tuple[int, int]
    ) -> "Crop":
        """Return the rectangle with the skull, room around it for the scalp, and the whole lesion.

        The skull is recognised by bone: things around a head, such as a head rest, hold none. A plane without bone is
        returned whole.

        Args:
            hounsfield: Plane of the NCCT in HU.
            spacing: Distance of rows and of columns in mm. The picture keeps their proportion.
            size: Width and height of the picture in px.
        """
        bone = hounsfield > _BONE_HU
        extents = []
        for axis, (mm, across) in enumerate(zip(spacing, reversed(spacing), strict=True)):
            along = np.count_nonzero(bone, axis=1 - axis) * across >= _LEAST_BONE_MM
            marked = lesion.any(axis=1 - axis)
            margin = _SCALP_MM / mm if along.any() else 0
            if not along.any():
                along[:] = True
            head = np.flatnonzero(along)
            inside = np.flatnonzero(along | marked)
            first = min(head[0] - margin, inside[0])
            stop = max(head[-1] + 1 + margin, inside[-1] + 1)
            extents.append(((first + stop) / 2, (stop - first) * mm))
        (row, height), (column, width) = extents
        mm_per_px = max(width / size[0], height / size[1])
        half_width, half_height = size[0] * mm_per_px / spacing[1] / 2, size[1] * mm_per_px / spacing[0] / 2
        return cls((column - half_width, row - half_height, column + half_width, row + half_height), size)

    def values(self, plane: Plane, known: Mask) -> tuple[Plane, Mask]:
        """Return the plane's values at the picture's pixels, averaged over those that are `known`.

        Returns:
            Values, and the mask of the pixels that have one.
        """
        weights = self._resized(known.astype(np.float32), Image.Resampling.BILINEAR)
        sums = self._resized(np.where(known, plane, np.float32(0)), Image.Resampling.BILINEAR)
        shown = weights > 0.5
        return np.divide(sums, weights, out=np.zeros_like(sums), where=shown), shown

    def marks(self, mask: Mask) -> Mask:
        """Return the picture's pixels that show any marked pixel of the plane, however small."""
        return self._resized(mask.astype(np.float32), Image.Resampling.BOX) > 0

    def _resized(self, plane: Plane, filtering: Image.Resampling) -> Plane:
        """Return the plane at the size that it has in the picture, with 0 around it.

        Only the part in the box is resized. If voxels are far from square, the plane is a narrow strip of the picture,
        and a whole plane enlarged to the shape of the picture would take gigabytes.
        """
        rows, columns = plane.shape
        width, height = self.size
        left, top, right, bottom = self.box
        (first, last), (x, across) = _overlap(left, right, columns, width)
        (upper, lower), (y, down) = _overlap(top, bottom, rows, height)
        part = Image.fromarray(plane).resize((across, down), filtering, (first, upper, last, lower))
        picture = np.zeros((height, width), np.float32)
        picture[y : y + down, x : x + across] = np.asarray(part)
        return picture


def _overlap(low: float, high: float, count: int, px: int) -> tuple[tuple[float, float], tuple[int, int]]:
    """Return where a line of `px` pixels of a picture, from `low` to `high`, overlaps a plane's line of `count`.

    Returns:
        Start and stop in the plane; first pixel and number of pixels, at least one, in the picture.
    """
    first, last = max(low, 0), min(high, count)
    start, stop = (round((edge - low) / (high - low) * px) for edge in (first, last))
    start = min(start, px - 1)
    return (first, last), (start, max(1, stop - start))
