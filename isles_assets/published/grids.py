"""Whether two volumes lie on one grid, by the tolerances of nnU-Net's own check."""

from dataclasses import dataclass
from enum import Enum, auto
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from isles_assets.reading.nifti import Header, displacement

_HEADER_SIZE = 348
_GEOMETRY = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
_SPATIAL_UNITS = 0x07
_NOT_ORTHOGONAL = 1e-3
"""Cosine of the angle between two axes from which SimpleITK refuses a volume.

Source: ITK's NiftiImageIO, which takes axes for orthonormal up to this difference.
"""

Affine = NDArray[np.float64]


class Fit(Enum):
    """How a volume's grid relates to another one."""

    SAME = auto()
    """nnU-Net's check sees no difference."""
    ROUNDING = auto()
    """The same voxels, by a header that differs: by less than half a voxel, in pixdim, or in axes of length one."""
    OFF = auto()
    """Another grid."""


@dataclass(frozen=True)
class Lattice:
    """A volume's grid as its header states it."""

    raw: nib.Nifti1Header
    header: Header

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of the first three axes."""
        return self.header.shape[:3]

    @property
    def affine(self) -> Affine:
        """Voxel to RAS+ in mm, shape (4, 4)."""
        return np.reshape(np.array(self.header.affine), (4, 4))

    @property
    def defect(self) -> str:
        """Why the volume cannot be used: it has not three axes, or no usable affine. Empty if it can."""
        if self.header.transform:
            return f"has an affine that {self.header.transform}"
        if len(self.shape) != 3 or self.header.frames != 1:
            return f"has shape {_by(self.header.shape)}, and is no volume of three axes"
        return ""

    @property
    def is_sheared(self) -> bool:
        """Whether two axes are not perpendicular, so that SimpleITK, which nnU-Net reads with, refuses the volume."""
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _NOT_ORTHOGONAL)

    def fit(self, reference: "Lattice") -> tuple[Fit, str]:
        """Return how this grid relates to that of `reference`, and the difference in words.

        Neither may have a defect.
        """
        if self.shape != reference.shape:
            return Fit.OFF, f"has shape {_by(self.shape)}, not {_by(reference.shape)}"
        mm = displacement(self.affine, reference.affine, reference.shape)
        if mm >= min(np.linalg.norm(reference.affine[:3, :3], axis=0)) / 2:
            return Fit.OFF, f"lies up to {mm:.3g} mm away"
        if self._agrees(reference) and len(self.header.shape) == 3:
            return Fit.SAME, ""
        return Fit.ROUNDING, f"up to {mm:.2g} mm" if mm else "pixdim, qform or number of axes"

    def _agrees(self, reference: "Lattice") -> bool:
        if not np.allclose(self.header.pixdim, reference.header.pixdim):
            return False
        mine, others = self._transforms(), reference._transforms()
        if mine.keys() == others.keys():
            return all(_close(mine[form], others[form]) for form in mine)
        return all(_close(*pair) for pair in product(mine.values(), others.values()))

    def _transforms(self) -> dict[str, Affine]:
        """Return every affine that a reader may take: of those that are set, programs prefer another."""
        found = {"qform": self.raw.get_qform(coded=True)[0], "sform": self.raw.get_sform(coded=True)[0]}
        return {form: affine for form, affine in found.items() if affine is not None} or {"base": self.affine}

    def copy_to(self, raw: nib.Nifti1Header) -> None:
        """Set shape, voxel sizes and transforms of `raw` to this grid's, for a volume of three axes."""
        raw["dim"][0], raw["dim"][1:4], raw["dim"][4:] = 3, self.shape, 1
        raw["pixdim"][:4] = self.raw["pixdim"][:4]
        for field in _GEOMETRY:
            raw[field] = self.raw[field]
        raw["xyzt_units"] = (int(raw["xyzt_units"]) & ~_SPATIAL_UNITS) | (int(self.raw["xyzt_units"]) & _SPATIAL_UNITS)


def lattice_of(path: Path, header: Header) -> Lattice:
    """Return the grid of the file at `path`, whose `header` has been read."""
    with igzip.open(path) as file:
        return Lattice(nib.Nifti1Header(file.read(_HEADER_SIZE), check=False), header)


def _close(affine: Affine, other: Affine) -> bool:
    """Return whether nnU-Net's check takes two affines for the same, read by nibabel or by SimpleITK."""
    parts = zip(_parts(affine), _parts(other), strict=True)
    return all(np.allclose(a, b) for a, b in parts)


def _parts(affine: Affine) -> tuple[Any, ...]:
    """Return the affine, and the spacing and directions that SimpleITK makes of it."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return affine, spacing, affine[:3, :3] / spacing


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
