"""Types of volumes. Add a kind of grid or content here. The volumes themselves are in the release's own module."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Grid(StrEnum):
    """The grid that a volume is sampled on."""

    COMMON = "common"  # shape and affine of the release's reference volume
    NATIVE = "native"


class Content(StrEnum):
    """What the voxels are. It decides which values are valid."""

    CT = "CT intensity"
    CT_SERIES = "CT time series"
    MAP = "perfusion map"
    MRI = "MRI intensity"
    MASK = "binary mask"
    LABELS = "label mask"

    @property
    def is_mask(self) -> bool:
        """Whether the voxels are labels, one or several."""
        return self in (Content.MASK, Content.LABELS)


@dataclass(frozen=True)
class Volume:
    """One volume that every subject has."""

    column: str  # in the published dataset
    top: str  # folder at the tree's root
    session: str
    folder: str
    entities: str  # BIDS entities and suffix in the file name
    grid: Grid
    content: Content
    description: str
    background: float = 0.0  # value of voxels without data
    labels: tuple[int, ...] = ()  # that may occur in a label mask; if empty, any
    label_names: tuple[str, ...] = ()  # of `labels`, in their order
    bids: str = ""  # datatype folder in BIDS, entities after subject and session, and suffix; CT by the draft BEP024
    apart: str = ""  # if it is published in a config of its own, named like the column: what it holds, and why

    @property
    def dimensions(self) -> int:
        """Number of axes longer than 1: 3, or 4 for a time series (x, y, z, frame)."""
        return 4 if self.content is Content.CT_SERIES else 3

    @property
    def expected_labels(self) -> tuple[int, ...]:
        """Valid values of a mask other than 0; empty if a label mask may have any."""
        return (1,) if self.content is Content.MASK else self.labels

    def path(self, subject: str) -> str:
        """Return the path relative to the tree's root, with forward slashes."""
        name = f"{subject}_{self.session}_{self.entities}.nii.gz"
        return str(PurePosixPath(self.top, subject, self.session, self.folder, name))
