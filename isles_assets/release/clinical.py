"""The 33 clinical variables, and the names and units that the release's dictionary workbook gives them.

Headers are verbatim from the release's workbooks, in file order. The dictionary
(`clinical_data-description.xlsx`) calls some of them otherwise and does not list `Center`.
"""

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
    """One of the two workbooks of a subject; the id stands in its path only.

    `may_be_blank`: a header without a row means that nothing is known. The baseline always has centre and age.
    """

    session: str
    entities: str
    may_be_blank: bool

    def path(self, subject: str) -> str:
        """Path relative to the tree's root, with forward slashes."""
        return str(PurePosixPath("phenotype", subject, self.session, f"{subject}_{self.session}_{self.entities}.xlsx"))


BASELINE = Workbook("ses-01", "demographic_baseline", may_be_blank=False)
OUTCOME = Workbook("ses-02", "outcome", may_be_blank=True)
WORKBOOKS = (BASELINE, OUTCOME)


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


def _flag(header: str, column: str, description: str, dictionary: str | None = None) -> Variable:
    return Variable(BASELINE, header, dictionary or header, column, Kind.WHOLE, None, Known.ADMISSION,
                    f"{description}: 1 yes, 0 no", levels=(0, 1))  # fmt: skip


def _number(header: str, column: str, unit: str | None, description: str, low: float, high: float) -> Variable:
    return Variable(BASELINE, header, header, column, Kind.NUMBER, unit, Known.ADMISSION, description, low, high)


def _minutes(header: str, column: str, known: Known, description: str) -> Variable:
    return Variable(BASELINE, header, header, column, Kind.MINUTES, "hrs:min", known, description, 0, 2880)


def _score(workbook: Workbook, header: str, column: str, description: str, high: int,
           dictionary: str | None = None) -> Variable:  # fmt: skip
    known = Known.ADMISSION if workbook is BASELINE else Known.OUTCOME
    return Variable(workbook, header, dictionary or header, column, Kind.WHOLE, None, known, description,
                    levels=tuple(range(high + 1)))  # fmt: skip


_ALTERED = "randomly altered by up to 5 % in the release"
_NIHSS, _MRS = "NIH Stroke Scale", "modified Rankin Scale"

VARIABLES: tuple[Variable, ...] = (
    Variable(BASELINE, "Center", None, "center", Kind.WHOLE, None, Known.ADMISSION,
             "Centre code; by the ids 1 is Munich, 2 is Zurich", levels=(1, 2)),
    Variable(BASELINE, "Sex", "Sex", "sex", Kind.LEVEL, None, Known.ADMISSION, "Sex", levels=("M", "F")),
    _number("Age", "age", "years", "Age; fractional years in centre 2", 0, 120),
    _flag("Atrial fibrillation", "atrial_fibrillation", "Atrial fibrillation"),
    _flag("Hypertension", "hypertension", "Hypertension"),
    _flag("Diabetes", "diabetes", "Diabetes"),
    _flag("Hyperlipidemia", "hyperlipidemia", "Hyperlipidemia"),
    _flag("Anticoagulation", "anticoagulation", "On anticoagulants"),
    _flag("Lipid lowering drugs", "lipid_lowering_drugs", "On lipid lowering drugs", dictionary="Statins"),
    _flag("PAIs", "pais", "On platelet aggregation inhibitors"),
    _number("Glucose", "glucose_mg_dl", "mg/dl", f"Blood glucose, {_ALTERED}", 20, 1000),
    _number("Leucocytes", "leucocytes_g_l", "G/l", f"Leucocyte count, {_ALTERED}", 0, 100),
    _number("CRP", "crp_mg_dl", "mg/dl", f"C-reactive protein, {_ALTERED}", 0, 100),
    _number("INR", "inr", None, f"International normalized ratio, {_ALTERED}", 0.5, 15),
    _flag("Wake-up", "wake_up", "Wake-up stroke"),
    _flag("In-House", "in_house", "In-house stroke"),
    _flag("Referral", "referral", "External referral"),
    _minutes("Onset to door", "onset_to_door_min", Known.ADMISSION, "Symptom onset to arrival"),
    _minutes("Alert to door", "alert_to_door_min", Known.ADMISSION, "Alert to arrival, wake-up strokes only"),
    _score(BASELINE, "NIHSS at admission", "nihss_admission", f"{_NIHSS} at admission", 42),
    _score(BASELINE, "mRS at admission", "mrs_admission", f"{_MRS} at admission", 6),
    _score(BASELINE, "mRS premorbid", "mrs_premorbid", f"{_MRS} before the stroke", 6),
    _minutes("Door to imaging", "door_to_imaging_min", Known.ADMISSION, "Arrival to imaging"),
    _minutes("Door to groin", "door_to_groin_min", Known.OUTCOME, "Arrival to groin puncture"),
    _minutes("Door to first series", "door_to_first_series_min", Known.OUTCOME, "Arrival to first angiography series"),
    _minutes("Time of intervention", "time_of_intervention_min", Known.OUTCOME,
             "First to last angiography series"),
    _minutes("Door to recanalization", "door_to_recanalization_min", Known.OUTCOME, "Arrival to recanalization"),
    Variable(OUTCOME, "TICI postinterventional", "mTici postinterventional", "tici_postinterventional", Kind.LEVEL,
             None, Known.OUTCOME, "Modified TICI grade after the intervention",
             levels=("0", "1", "2a", "2b", "2c", "3")),
    _score(OUTCOME, "NIHSS 24h", "nihss_24h", f"{_NIHSS} after 24 hours", 42),
    _score(OUTCOME, "mRS 24h", "mrs_24h", f"{_MRS} after 24 hours", 6),
    _score(OUTCOME, "NIHSS discharge", "nihss_discharge", f"{_NIHSS} at discharge", 42),
    _score(OUTCOME, "mRS discharge", "mrs_discharge", f"{_MRS} at discharge", 6, dictionary="MRS discharge"),
    _score(OUTCOME, "mRS 3 months", "mrs_3month", f"{_MRS} after 3 months", 6, dictionary="MRS 3 months"),
)  # fmt: skip


@dataclass(frozen=True)
class Dictionary:
    """The release's dictionary workbook: where it lies and how it is laid out (`header_row` counts from 1)."""

    path: str
    sheet: str
    header_row: int
    headers: tuple[str, ...]
    identifier: str


DICTIONARY = Dictionary(
    path="clinical_data-description.xlsx",
    sheet="Suppl. Tab. 1",
    header_row=3,
    headers=("Timepoint", "Parameter", "Unit", "Data type", "Description"),
    identifier="Identifier",
)
