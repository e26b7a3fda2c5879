"""What a clinical variable is, and the workbooks that hold it. The variables themselves are in the release's data."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Kind(StrEnum):
    """How a cell is read, and the column's type.

    Whole numbers are int16, so that a typing error such as an mRS of 42 or 420 can still be published as it
    stands; measured numbers are float64, the precision of a workbook cell.
    """

    WHOLE = "int16"
    NUMBER = "float64"
    MINUTES = "float64 minutes"
    LEVEL = "string"


class Known(StrEnum):
    """When the value is known. Only `ADMISSION` may serve to predict anything of the others."""

    ADMISSION = "admission"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Workbook:
    """One of the workbooks of a subject; the id stands in its path only.

    `may_be_blank`: a header without a row means that nothing is known.
    """

    session: str
    entities: str
    may_be_blank: bool
    top: str = "phenotype"

    def path(self, subject: str) -> str:
        """Path relative to the tree's root, with forward slashes."""
        return str(PurePosixPath(self.top, subject, self.session, f"{subject}_{self.session}_{self.entities}.xlsx"))


@dataclass(frozen=True)
class Variable:
    """One clinical variable.

    `header` is its name in `workbook`, `dictionary` its name in the dictionary workbook (None: not listed),
    `unit` the dictionary's unit. `allowed` is a closed range (low, high) or a tuple of levels; what lies
    outside is published as it is and warned of.
    """

    workbook: Workbook
    header: str
    dictionary: str | None
    column: str
    kind: Kind
    unit: str | None
    known: Known
    description: str
    low: float | None = None
    high: float | None = None
    levels: tuple[str | int, ...] = ()

    def allows(self, value: str | float) -> bool:
        """Whether `value` (not null) is a level, or lies in the closed range."""
        if self.levels:
            return value in self.levels
        assert not isinstance(value, str) and self.low is not None and self.high is not None
        return self.low <= value <= self.high

    @property
    def allowed(self) -> str:
        """The levels or the range, for people."""
        return ", ".join(map(str, self.levels)) if self.levels else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Dictionary:
    """The release's dictionary workbook: where it lies and how it is laid out (`header_row` counts from 1)."""

    path: str
    sheet: str
    header_row: int
    headers: tuple[str, ...]
    identifier: str
