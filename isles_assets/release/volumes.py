"""What a volume of a release is. Add a kind of grid or content here; the volumes are in the release's own module."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Grid(StrEnum):
    """The space that a volume is sampled in."""

    COMMON = "common"
    """That of the release's reference volume: same shape and affine."""

    NATIVE = "native"


class Content(StrEnum):
    """What the voxels are, and so what a valid file may hold."""

    CT = "CT intensity"
    CT_SERIES = "CT time series"
    MAP = "perfusion map"
    MRI = "MRI intensity"
    MASK = "binary mask"
    LABELS = "label mask"


@dataclass(frozen=True)
class Volume:
    """One volume that every subject has; `column` is its name in the published dataset.

    `background` is the value of voxels without data. `labels` are those of a label mask that are known to occur; with
    none, any may. `apart` is set for one that is published in a config of its own, named after the column: it says what
    the config holds and why.
    """

    column: str
    top: str
    session: str
    folder: str
    entities: str
    grid: Grid
    content: Content
    description: str
    background: float = 0.0
    labels: tuple[int, ...] = ()
    apart: str = ""

    @property
    def dimensions(self) -> int:
        """Number of axes that are not singular: 3, or 4 for a time series (x, y, z, frame)."""
        return 4 if self.content is Content.CT_SERIES else 3

    @property
    def expected_labels(self) -> tuple[int, ...]:
        """The values other than 0 of a mask; none for a label mask of which any may occur."""
        return (1,) if self.content is Content.MASK else self.labels

    def path(self, subject: str) -> str:
        """Path relative to the tree's root, with forward slashes, to e.g. `sub-stroke0001_ses-01_ncct.nii.gz`."""
        name = f"{subject}_{self.session}_{self.entities}.nii.gz"
        return str(PurePosixPath(self.top, subject, self.session, self.folder, name))
