"""Types of clinical variables and workbooks. The variables themselves are in the release's own module."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath


class Kind(StrEnum):
    """How a cell is read, and the column's type.

    Whole numbers are int16, so a typing error such as an mRS of 420 can be published as it is. Measured numbers are
    float64, like a workbook cell.
    """

    WHOLE = "int16"
    NUMBER = "float64"
    MINUTES = "float64 minutes"
    LEVEL = "string"


class Known(StrEnum):
    """When the value is known. Only `ADMISSION` values may be used to predict outcomes."""

    ADMISSION = "admission"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Workbook:
    """One of a subject's workbooks. The subject's id is in its path only."""

    session: str
    entities: str  # BIDS suffix in the file name
    may_be_blank: bool  # a header row without a data row is valid: no value is known
    top: str = "phenotype"  # folder at the tree's root

    def path(self, subject: str) -> str:
        """Return the path relative to the tree's root, with forward slashes."""
        return str(PurePosixPath(self.top, subject, self.session, f"{subject}_{self.session}_{self.entities}.xlsx"))


@dataclass(frozen=True)
class Variable:
    """One clinical variable, with levels or a closed range. Other values are published as they are, with a note."""

    workbook: Workbook
    header: str  # in the workbook
    dictionary: str | None  # name in the dictionary workbook; None if not listed
    column: str
    kind: Kind
    unit: str | None  # in the dictionary workbook
    known: Known
    description: str
    low: float | None = None
    high: float | None = None
    levels: tuple[str | int, ...] = ()
    measured_in: str = ""  # if the dictionary workbook has no unit

    @property
    def column_unit(self) -> str:
        """Unit of the published values; empty if they have none, or none is known."""
        return "min" if self.kind is Kind.MINUTES else self.unit or self.measured_in

    def allows(self, value: str | float) -> bool:
        """Return whether `value`, which is not null, is a level or in the range."""
        if self.levels:
            return value in self.levels
        assert not isinstance(value, str) and self.low is not None and self.high is not None
        return self.low <= value <= self.high

    @property
    def allowed(self) -> str:
        """Levels or range, for people."""
        if not self.levels:
            return f"{self.low:g} to {self.high:g}"
        first, last = self.levels[0], self.levels[-1]
        is_run = len(self.levels) > 2 and self.levels == tuple(range(int(first), int(first) + len(self.levels)))
        return f"{first} to {last}" if is_run else ", ".join(map(str, self.levels))


@dataclass(frozen=True)
class Dictionary:
    """The release's dictionary workbook: its path and layout."""

    path: str
    sheet: str
    header_row: int  # counts from 1
    headers: tuple[str, ...]
    identifier: str  # parameter that is the subject's id, and no variable
