"""Plausible clinical workbooks, with the mixture of cell types that a real exporter leaves, and the dictionary.

How often a value is missing follows the fact sheet, section 5. Every value lies in the variable's allowed range but
for one: the Hyperlipidemia of `HYPERLIPIDEMIA_2`.
"""

from datetime import datetime, time, timedelta
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from openpyxl import Workbook as Spreadsheet
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.xml.functions import tostring

from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.release.clinical import Dictionary, Kind, Variable, Workbook
from isles_assets.release.oddities import Trait
from isles_assets.release.release import Release
from isles_assets.sample.anatomy import centre, stream

Value = str | int | float | timedelta | None
Cell = str | int | float | time | timedelta | None

NO_SEX = "sub-stroke0157"
HYPERLIPIDEMIA_2 = "sub-stroke0094"
NAN_TICI = "sub-stroke0101"
"""Its TICI is the text `nan`."""

WRITTEN = datetime(2025, 11, 20)
"""Stands as time of creation in every workbook and zip entry."""

_MISSING_OF_ALL = {
    "atrial_fibrillation": 2, "hypertension": 1, "diabetes": 2, "hyperlipidemia": 3, "anticoagulation": 3,
    "lipid_lowering_drugs": 5, "pais": 4, "glucose_mg_dl": 19, "leucocytes_g_l": 59, "crp_mg_dl": 59, "inr": 60,
    "wake_up": 2, "in_house": 13, "referral": 1, "nihss_admission": 4, "mrs_admission": 50, "mrs_premorbid": 59,
    "door_to_imaging_min": 12, "door_to_groin_min": 11, "door_to_first_series_min": 50,
    "time_of_intervention_min": 53, "door_to_recanalization_min": 54,
}  # fmt: skip
_MISSING_RATE = {column: count / 149 for column, count in _MISSING_OF_ALL.items()} | {
    "tici_postinterventional": 0.05, "nihss_24h": 40 / 98, "mrs_24h": 0.3, "nihss_discharge": 0.2,
    "mrs_discharge": 0.1, "mrs_3month": 14 / 98,
}  # fmt: skip
_ONSET_KNOWN, _ALERT_KNOWN = 75 / 112, 14 / 37  # of the strokes awake, and of the wake-up strokes

_TICI, _TICI_RATE = ("0", "1", "2a", "2b", "2c", "3"), (0.06, 0.03, 0.1, 0.3, 0.2, 0.31)
_DAY = timedelta(days=1)
_DATA_TYPE = {Kind.MINUTES: "duration", Kind.NUMBER: "float", Kind.LEVEL: "categorical", Kind.WHOLE: "integer"}
_DATA_TYPE_OF = {"age": "integer", "tici_postinterventional": "ordinal"}
_TIMEPOINTS = ("Admission", "Follow-up")


def draw_values(release: Release, subject: str, seed: int) -> dict[str, Value]:
    """The subject's values by column name; None where missing. Durations are timedeltas of whole minutes."""
    rng = stream(seed, subject, "clinical")
    values = _draw_complete(subject, rng)
    for column in values:
        if rng.random() < _MISSING_RATE.get(column, 0):
            values[column] = None
    if subject == NO_SEX:
        values["sex"] = None
    if subject == HYPERLIPIDEMIA_2:
        values["hyperlipidemia"] = 2
    if subject == NAN_TICI:
        values["tici_postinterventional"] = "nan"
    return {v.column: values[v.column] if v.column in values else _any(v, subject, seed) for v in release.variables}


def _any(variable: Variable, subject: str, seed: int) -> Value:
    """A value of a variable of which nothing is known but its range or levels."""
    rng = stream(seed, subject, variable.column)
    if variable.levels:
        return variable.levels[rng.integers(len(variable.levels))]
    assert variable.low is not None and variable.high is not None
    value = float(rng.uniform(variable.low, variable.high))
    if variable.kind is Kind.MINUTES:
        return _minutes(value)
    return round(value) if variable.kind is Kind.WHOLE else value


def workbook_bytes(release: Release, workbook: Workbook, subject: str, seed: int) -> bytes:
    """The subject's workbook as xlsx: a header row, and the data row (twice for the subject known for that)."""
    values = draw_values(release, subject, seed)
    rng = stream(seed, subject, f"cells of {workbook.entities}")
    duration_as = str(rng.choice(("time", "timedelta", "text")))
    number_if_digits = bool(rng.random() < 0.5)
    variables = release.variables_of(workbook)
    row = [_cell(values[variable.column], duration_as, number_if_digits) for variable in variables]

    book, sheet = _spreadsheet("Sheet1")
    sheet.append([variable.header for variable in variables])
    for _ in range(2 if subject in release.subjects_with(Trait.REPEATED_ROWS) else 1):
        sheet.append(row)
        for cell, variable in zip(sheet[sheet.max_row], variables, strict=True):
            if isinstance(cell.value, timedelta):
                cell.number_format = "[h]:mm"
            elif isinstance(cell.value, time):
                cell.number_format = "h:mm"
            elif variable.column == "age":
                cell.number_format = "0.0"
    return _packed(book)


def dictionary_bytes(release: Release, dictionary: Dictionary) -> bytes:
    """The dictionary workbook as xlsx: a note that it is synthetic, the header row, one row a listed variable."""
    book, sheet = _spreadsheet(dictionary.sheet)
    sheet.cell(1, 1, SYNTHETIC_MARK)
    rows = [dict(zip(dictionary.headers, ("", dictionary.identifier, None, "text", "Subject"), strict=True))]
    rows += [_dictionary_row(release, dictionary, each) for each in release.variables if each.dictionary is not None]
    for column, name in enumerate(dictionary.headers, start=1):
        sheet.cell(dictionary.header_row, column, name)
        for line, row in enumerate(rows, start=dictionary.header_row + 1):
            sheet.cell(line, column, row[name] or None)
    return _packed(book)


def _dictionary_row(release: Release, dictionary: Dictionary, variable: Variable) -> dict[str, str | None]:
    flag = variable.levels == (0, 1)
    data_type = "categorical" if flag else _DATA_TYPE_OF.get(variable.column, _DATA_TYPE[variable.kind])
    timepoint = _TIMEPOINTS[release.workbooks.index(variable.workbook) > 0]
    texts = (timepoint, variable.dictionary, variable.unit, data_type, variable.description)
    return dict(zip(dictionary.headers, texts, strict=True))


def _draw_complete(subject: str, rng: np.random.Generator) -> dict[str, Value]:
    """Values before any goes missing, but for the two durations that exclude each other."""
    age = float(np.clip(rng.normal(73, 12), 22.4, 98.6))
    wake_up = bool(rng.random() < 37 / 149)
    nihss = int(np.clip(rng.gamma(3.2, 4.2), 0, 38))
    nihss_24h, nihss_discharge = int(nihss * rng.uniform(0.2, 1.1)), int(nihss * rng.uniform(0.1, 0.9))
    mrs = int(np.clip(1 + nihss // 5 + rng.integers(0, 2), 1, 5))
    premorbid = int(rng.choice(5, p=(0.62, 0.18, 0.1, 0.07, 0.03)))
    mrs_discharge = int(np.clip(mrs - rng.integers(0, 3), 0, 6))
    late = rng.random() < 0.12
    arrival = _minutes(rng.uniform(1500, 2600) if late else np.clip(rng.lognormal(np.log(170), 0.8), 20, 1400))
    imaging = _minutes(rng.uniform(6, 45))
    groin = imaging + _minutes(rng.uniform(25, 90))
    series = groin + _minutes(rng.uniform(5, 25))
    intervention = _minutes(rng.uniform(12, 110))

    return {
        "center": centre(subject),
        "sex": "M" if rng.random() < 0.51 else "F",
        "age": round(age) * 1.0 if centre(subject) == 1 else age,
        "atrial_fibrillation": _flag(rng, 0.4),
        "hypertension": _flag(rng, 0.7),
        "diabetes": _flag(rng, 0.2),
        "hyperlipidemia": _flag(rng, 0.4),
        "anticoagulation": _flag(rng, 0.2),
        "lipid_lowering_drugs": _flag(rng, 0.35),
        "pais": _flag(rng, 0.35),
        "glucose_mg_dl": _altered(rng, round(np.clip(rng.normal(128, 32), 65, 380))),
        "leucocytes_g_l": _altered(rng, round(np.clip(rng.normal(8.9, 2.5), 3, 24), 1)),
        "crp_mg_dl": _altered(rng, round(np.clip(rng.lognormal(-0.7, 1), 0.1, 25), 1)),
        "inr": _altered(rng, round(np.clip(rng.lognormal(0.08, 0.2), 0.9, 4), 1)),
        "wake_up": int(wake_up),
        "in_house": _flag(rng, 0.05),
        "referral": _flag(rng, 0.45),
        "onset_to_door_min": arrival if not wake_up and rng.random() < _ONSET_KNOWN else None,
        "alert_to_door_min": arrival if wake_up and rng.random() < _ALERT_KNOWN else None,
        "nihss_admission": nihss,
        "mrs_admission": mrs,
        "mrs_premorbid": min(premorbid, mrs),
        "door_to_imaging_min": imaging,
        "door_to_groin_min": groin,
        "door_to_first_series_min": series,
        "time_of_intervention_min": intervention,
        "door_to_recanalization_min": series + intervention,
        "tici_postinterventional": str(rng.choice(_TICI, p=_TICI_RATE)),
        "nihss_24h": nihss_24h,
        "mrs_24h": int(np.clip(mrs - rng.integers(0, 2), 0, 6)),
        "nihss_discharge": nihss_discharge,
        "mrs_discharge": mrs_discharge,
        "mrs_3month": int(np.clip(mrs_discharge + rng.integers(-1, 2), 0, 6)),
    }  # fmt: skip


def _flag(rng: np.random.Generator, rate: float) -> int:
    return int(rng.random() < rate)


def _altered(rng: np.random.Generator, value: float) -> float:
    return float(value * rng.uniform(0.95, 1.05))


def _minutes(value: float) -> timedelta:
    return timedelta(minutes=round(value))


def _cell(value: Value, duration_as: str, number_if_digits: bool) -> Cell:
    if isinstance(value, timedelta):
        hours, minutes = divmod(value // timedelta(minutes=1), 60)
        if duration_as == "text":
            return f"{hours}:{minutes:02d}"
        return time(hours, minutes) if duration_as == "time" and value < _DAY else value
    if isinstance(value, str) and value.isdigit() and number_if_digits:
        return int(value)
    return value


def _spreadsheet(title: str) -> tuple[Spreadsheet, Worksheet]:
    book = Spreadsheet()
    book.properties.title = SYNTHETIC_MARK
    book.properties.created = WRITTEN
    sheet = book.worksheets[0]
    sheet.title = title
    return book, sheet


def _packed(book: Spreadsheet) -> bytes:
    """The workbook's bytes without the times of their making, which `save` puts into the zip and the properties."""
    saved, fixed = BytesIO(), BytesIO()
    book.save(saved)
    book.properties.modified = WRITTEN
    properties = tostring(book.properties.to_tree())
    with ZipFile(saved) as source, ZipFile(fixed, "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = properties if name == "docProps/core.xml" else source.read(name)
            target.writestr(ZipInfo(name, WRITTEN.timetuple()[:6]), content, ZIP_DEFLATED)
    return fixed.getvalue()
