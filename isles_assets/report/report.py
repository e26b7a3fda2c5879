"""The values that the page shows, as dataclasses. `collecting` fills them, the template displays them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from isles_assets.release.release import Release
from isles_assets.release.waivers import Waiver
from isles_assets.report.statistics import Bin, Outlier, Quartiles


class Status(StrEnum):
    """The status of a subject: the first of these that applies."""

    STOPS = "stops"
    """A finding of it stops publication."""

    MISSING = "missing"
    """A product of it is missing or stale."""

    UNUSUAL = "unusual"
    WAIVED = "waived"
    NOTED = "noted"
    FINE = "fine"


@dataclass(frozen=True)
class FindingLine:
    """A finding, as text for people."""

    level: str
    """The finding's level, or `waived`."""
    where: str
    problem: str
    mend: str
    reason: str = ""
    """The waiver's reason; empty if it is not waived."""


@dataclass(frozen=True)
class MissingProduct:
    """A product that a subject lacks, as text for people."""

    reason: str
    mend: str
    failure: str = ""
    """Why the last attempt to make it failed; empty if unknown."""


@dataclass(frozen=True)
class Measure:
    """A number that each subject may have, to sort by and to draw."""

    key: str
    """Its name in code."""
    label: str
    """Its name for people."""
    unit: str = ""
    of_grid: bool = False
    """Whether `SubjectReport.grids` shows it already."""

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class Distribution:
    """All values of a measure."""

    measure: Measure
    bins: Sequence[Bin]
    quartiles: Quartiles | None
    present: int
    """Number of subjects with a value."""
    missing: int
    """Number of subjects without one."""
    unusual: int
    """Number of subjects with an unusual value."""


@dataclass(frozen=True)
class MissingValues:
    """The missing values of one clinical variable."""

    column: str
    description: str
    counts: Sequence[tuple[int, int]]
    """For each of `Report.groups`: the number of subjects without a value, and of all subjects."""


@dataclass(frozen=True)
class WaiverLine:
    """A waiver in force."""

    waiver: Waiver
    of_release: bool
    """Whether it is a fact of the release, not the operator's."""
    covers: int
    """Number of findings that it covers."""


@dataclass(frozen=True)
class SubjectReport:
    """What the page shows of one subject."""

    subject: str
    status: Status
    group: str
    """The centre; empty if unknown."""
    synthetic: bool
    values: Mapping[str, float | None]
    """The value of each measure, by key."""
    first_look: Sequence[tuple[str, str]]
    """Name and value of the clinical variables of a first look that are no measures."""
    grids: Sequence[tuple[str, str]]
    """Column and grid of the volumes whose grids are measures."""
    facts: Sequence[tuple[str, str, str]]
    """Name, value and meaning."""
    clinical: Sequence[tuple[str, str, str]]
    """Column, value and meaning of every clinical variable."""
    missing_values: int
    """Number of clinical variables without a value."""
    missing_products: Sequence[MissingProduct]
    unusual: Sequence[tuple[str, Outlier]]
    """Measure, or property, in which the subject is unlike the others, and how; the farthest out first."""
    findings: Sequence[FindingLine]
    more_findings: int
    """Number of findings beyond those listed."""
    picture: bytes | None
    """JPEG file."""

    @property
    def rank(self) -> float:
        """Urgency: the larger, the sooner a person should look. Status counts first, then the farthest outlier."""
        statuses = list(Status)
        score = max((outlier.score for _, outlier in self.unusual), default=0.0)
        return (len(statuses) - statuses.index(self.status)) * 1000 + min(score, 900.0)


@dataclass(frozen=True)
class Report:
    """All values of the page."""

    release: Release
    synthetic: bool
    repo: str
    tree: str
    compared: str
    """What the tree's files were compared with."""
    subjects: Sequence[SubjectReport]
    """The most urgent first."""
    product_counts: Sequence[tuple[str, int]]
    """Name of each product in the plural, and the number of subjects that have it."""
    stopping: int
    """Number of findings that stop publication."""
    waived: int
    notes: int
    missing_products: int
    findings: Sequence[FindingLine]
    """Findings of no subject of the release."""
    more_findings: int
    how_to_waive: str
    waivers: Sequence[WaiverLine]
    measures: Sequence[Measure]
    distributions: Sequence[Distribution]
    groups: Sequence[tuple[str, int]]
    """Name and size of the groups by which missing values are counted: all subjects, then those of each centre."""
    missing_values: Sequence[MissingValues]

    @property
    def may_be_published(self) -> bool:
        """Whether tables and products allow publication. Publishing also looks at the tree."""
        return not (self.stopping or self.missing_products)

    def with_status(self, *statuses: Status) -> list[SubjectReport]:
        """Return the subjects with one of these statuses."""
        return [subject for subject in self.subjects if subject.status in statuses]
