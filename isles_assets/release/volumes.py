"""The 18 volumes of every subject: where each lies in the tree, on which grid, and what it holds."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Grid(StrEnum):
    """The space a volume is sampled in."""

    NCCT = "NCCT"
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
    """One of the 18 volumes; `column` is its name in the published dataset."""

    column: str
    top: str
    session: str
    folder: str
    entities: str
    grid: Grid
    content: Content
    description: str

    @property
    def dimensions(self) -> int:
        """Number of axes that are not singular: 3, or 4 for a time series (x, y, z, frame)."""
        return 4 if self.content is Content.CT_SERIES else 3

    def filename(self, subject: str) -> str:
        """Base name in the release, e.g. `sub-stroke0001_ses-01_ncct.nii.gz`."""
        return f"{subject}_{self.session}_{self.entities}.nii.gz"

    def path(self, subject: str) -> str:
        """Path relative to the tree's root, with forward slashes."""
        return str(PurePosixPath(self.top, subject, self.session, self.folder, self.filename(subject)))


TMAX_BACKGROUND = -30.0
"""What a Tmax map holds outside the brain, where the other maps hold 0."""

_RAW, _DERIVED = "raw_data", "derivatives"
_CT, _MRI = "ses-01", "ses-02"
_MAPS = "perfusion-maps"

VOLUMES: tuple[Volume, ...] = (
    Volume("ncct", _RAW, _CT, "", "ncct", Grid.NCCT, Content.CT,
           "Non-contrast CT at admission; its grid is the common grid"),
    Volume("cta", _RAW, _CT, "", "cta", Grid.NATIVE, Content.CT,
           "CT angiography at admission, as acquired"),
    Volume("ctp", _RAW, _CT, "", "ctp", Grid.NATIVE, Content.CT_SERIES,
           "CT perfusion series at admission on its own grid, motion-corrected, one frame a second"),
    Volume("cbf", _DERIVED, _CT, _MAPS, "space-ncct_cbf", Grid.NCCT, Content.MAP,
           "Cerebral blood flow, resampled to the NCCT"),
    Volume("cbv", _DERIVED, _CT, _MAPS, "space-ncct_cbv", Grid.NCCT, Content.MAP,
           "Cerebral blood volume, resampled to the NCCT"),
    Volume("mtt", _DERIVED, _CT, _MAPS, "space-ncct_mtt", Grid.NCCT, Content.MAP,
           "Mean transit time, resampled to the NCCT; some subjects hold non-finite voxels"),
    Volume("tmax", _DERIVED, _CT, _MAPS, "space-ncct_tmax", Grid.NCCT, Content.MAP,
           f"Time to maximum of the residue function, resampled to the NCCT; background is {TMAX_BACKGROUND:g}"),
    Volume("dwi", _DERIVED, _MRI, "", "space-ncct_dwi", Grid.NCCT, Content.MRI,
           "Follow-up diffusion-weighted MRI, registered to the NCCT"),
    Volume("adc", _DERIVED, _MRI, "", "space-ncct_adc", Grid.NCCT, Content.MRI,
           "Follow-up apparent diffusion coefficient, registered to the NCCT"),
    Volume("lesion_mask", _DERIVED, _MRI, "", "space-ncct_lesion-msk", Grid.NCCT, Content.MASK,
           "Final infarct drawn on the follow-up MRI; empty in two subjects"),
    Volume("lvo_mask", _DERIVED, _CT, "", "space-ncct_lvo-msk", Grid.NCCT, Content.MASK,
           "Large vessel occlusion; may be empty"),
    Volume("cow_mask", _DERIVED, _CT, "", "space-ncct_cow-msk", Grid.NCCT, Content.LABELS,
           "Circle of Willis, one integer label a vessel segment"),
    Volume("cta_ncct", _DERIVED, _CT, "", "space-ncct_cta", Grid.NCCT, Content.CT,
           "CT angiography, registered to the NCCT"),
    Volume("ctp_ncct", _DERIVED, _CT, "", "space-ncct_ctp", Grid.NCCT, Content.CT_SERIES,
           "CT perfusion series, registered and resampled to the NCCT"),
    Volume("cbf_native", _RAW, _CT, _MAPS, "cbf", Grid.NATIVE, Content.MAP,
           "Cerebral blood flow on the grid of `ctp`"),
    Volume("cbv_native", _RAW, _CT, _MAPS, "cbv", Grid.NATIVE, Content.MAP,
           "Cerebral blood volume on the grid of `ctp`"),
    Volume("mtt_native", _RAW, _CT, _MAPS, "mtt", Grid.NATIVE, Content.MAP,
           "Mean transit time on the grid of `ctp`"),
    Volume("tmax_native", _RAW, _CT, _MAPS, "tmax", Grid.NATIVE, Content.MAP,
           "Time to maximum of the residue function on the grid of `ctp`"),
)  # fmt: skip

BY_COLUMN: dict[str, Volume] = {volume.column: volume for volume in VOLUMES}
SESSIONS: tuple[str, ...] = tuple(sorted({volume.session for volume in VOLUMES}))
REGISTERED: tuple[Volume, ...] = tuple(v for v in VOLUMES if v.grid is Grid.NCCT and v.column != "ncct")
