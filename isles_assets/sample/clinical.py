"""Plausible clinical workbooks with the cell types of the release's exporter, and the dictionary workbook.

Cells, gaps and odd values follow the fact sheet, sections 5 and 10. Only some values of `ODD` lie outside the allowed
range of their variable.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np
from openpyxl import Workbook as Spreadsheet
from openpyxl.worksheet.worksheet import Worksheet
from openpyxl.xml.functions import tostring

from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.release.clinical import Dictionary, Kind, Known, Variable, Workbook
from isles_assets.release.oddities import Trait
from isles_assets.release.release import Release
from isles_assets.sample.anatomy import centre, stream

Value = str | int | float | timedelta | None
Cell = str | int | float | None

NO_SEX = "sub-stroke0157"
HYPERLIPIDEMIA_2 = "sub-stroke0094"
"""One subject of the release has such a value. It is not known which, so this id is invented."""

ODD: Mapping[str, Mapping[str, Value]] = {
    "sub-stroke0026": {"nihss_discharge": 42, "mrs_discharge": 6, "mrs_3month": 6},
    "sub-stroke0027": {"glucose_mg_dl": 0, "leucocytes_g_l": 0, "crp_mg_dl": 0, "inr": 0},
    "sub-stroke0040": {"door_to_imaging_min": timedelta(minutes=596)},
    "sub-stroke0055": {"door_to_groin_min": timedelta()},
    "sub-stroke0075": {"center": None},
    HYPERLIPIDEMIA_2: {"hyperlipidemia": 2},
    "sub-stroke0133": {"door_to_imaging_min": timedelta(minutes=670)},
    "sub-stroke0136": {"glucose_mg_dl": 90.1},
    NO_SEX: {"sex": "nan", "glucose_mg_dl": 36.04},
    "sub-stroke0180": {"glucose_mg_dl": 54.06},
}
"""Known values of subjects, by column. Missing values are the text `nan` in some cells, and empty in others."""

WRITTEN = datetime(2025, 11, 20)
"""Time of creation in every workbook and zip entry."""

_MISSING_COUNT = {
    "atrial_fibrillation": 1, "diabetes": 2, "hyperlipidemia": 3, "anticoagulation": 2, "lipid_lowering_drugs": 4,
    "pais": 3, "glucose_mg_dl": 16, "leucocytes_g_l": 57, "crp_mg_dl": 57, "inr": 58, "wake_up": 1, "in_house": 2,
    "referral": 2, "nihss_admission": 3, "mrs_admission": 49, "mrs_premorbid": 59, "door_to_imaging_min": 12,
    "door_to_groin_min": 11, "door_to_first_series_min": 50, "time_of_intervention_min": 53,
    "door_to_recanalization_min": 54, "nihss_24h": 67, "mrs_24h": 64, "nihss_discharge": 59, "mrs_discharge": 55,
    "mrs_3month": 20,
}  # fmt: skip
_MISSING_RATE = {column: count / 149 for column, count in _MISSING_COUNT.items()}
_ONSET_KNOWN, _ALERT_KNOWN = 75 / 112, 14 / 37  # of strokes while awake, of wake-up strokes
_LONGEST_MIN = 590  # except for two of `ODD`

_TICI, _TICI_RATE = ("2a", "2b", "2c", 3), (0.15, 0.35, 0.2, 0.3)
_MMOL_MG_DL = 18.02
_TIMEPOINTS = ("Baseline", "Outcome")


def draw_values(release: Release, subject: str, seed: int) -> dict[str, Value]:
    """Return the subject's values by column, None for missing ones, timedeltas for durations."""
    rng = stream(seed, subject, "clinical")
    values = _draw_complete(subject, rng)
    for column, value in values.items():
        if rng.random() < _MISSING_RATE.get(column, 0):
            values[column] = None
        elif isinstance(value, timedelta):
            values[column] = _altered_duration(rng, value)
    values |= ODD.get(subject, {})
    return {
        v.column: values[v.column] if v.column in values else _draw_any(v, subject, seed) for v in release.variables
    }


def workbook_bytes(release: Release, workbook: Workbook, subject: str, seed: int) -> bytes:
    """Return the subject's workbook as xlsx: a header row and a data row, which one subject has twice."""
    values = draw_values(release, subject, seed)
    variables = release.variables_of(workbook)
    row = [_cell(values[variable.column]) for variable in variables]

    book, sheet = _spreadsheet("Sheet1")
    sheet.append([variable.header for variable in variables])
    for _ in range(2 if subject in release.subjects_with(Trait.REPEATED_ROWS) else 1):
        sheet.append(row)
        for cell, variable in zip(sheet[sheet.max_row], variables, strict=True):
            if variable.column == "age":
                cell.number_format = "0.0"
    return _xlsx_bytes(book)


def dictionary_bytes(release: Release, dictionary: Dictionary) -> bytes:
    """Return the dictionary workbook as xlsx: a title that calls it synthetic, a header row, one row a parameter.

    Some texts have double or trailing blanks, like the release's.
    """
    book, sheet = _spreadsheet(dictionary.sheet)
    sheet.cell(1, 1, f"{SYNTHETIC_MARK}: what the clinical values of each case mean. ")
    rows: list[tuple[str | None, ...]] = [dictionary.headers]
    rows.append((_TIMEPOINTS[0], dictionary.identifier, None, "text", "Identifier"))
    rows += [_dictionary_row(release, variable) for variable in release.variables if variable.dictionary is not None]
    for line, row in enumerate(rows, start=dictionary.header_row):
        for column, text in enumerate(row, start=1):
            sheet.cell(line, column, text)
    return _xlsx_bytes(book)


def _dictionary_row(release: Release, variable: Variable) -> tuple[str | None, ...]:
    """Return timepoint, parameter, unit, data type and description."""
    text = variable.description
    if variable.kind is Kind.NUMBER and variable.column != "age":
        text = f"At admission.  {text}"
    if variable.kind is Kind.MINUTES:
        text = f"{text} "
    timepoint = _TIMEPOINTS[release.workbooks.index(variable.workbook) > 0]
    return timepoint, variable.dictionary, variable.unit, _data_type(variable), text


def _data_type(variable: Variable) -> str:
    """Return the data type in the release's own words and spelling."""
    if variable.kind is Kind.MINUTES:
        return "duration"
    if variable.kind is Kind.LEVEL:
        return "categorial" if variable.known is Known.ADMISSION else "ordinal"
    if variable.levels == (0, 1):
        return "categorial"
    return "numerical float" if variable.kind is Kind.NUMBER and variable.column != "age" else "numerical integer"


def _draw_complete(subject: str, rng: np.random.Generator) -> dict[str, Value]:
    """Return values by column, none missing except for the two durations that exclude each other."""
    age = float(np.clip(rng.normal(73, 12), 22.4, 98.6))
    wake_up = bool(rng.random() < 37 / 149)
    nihss = int(np.clip(rng.gamma(3.2, 4.2), 0, 38))
    nihss_24h, nihss_discharge = int(nihss * rng.uniform(0.2, 1.1)), int(nihss * rng.uniform(0.1, 0.9))
    mrs = int(np.clip(1 + nihss // 5 + rng.integers(0, 2), 1, 5))
    premorbid = int(rng.choice(5, p=(0.62, 0.18, 0.1, 0.07, 0.03)))
    mrs_discharge = int(np.clip(mrs - rng.integers(0, 3), 0, 6))
    arrival = _minutes(np.clip(rng.lognormal(np.log(170), 0.8), 20, _LONGEST_MIN / 1.05))
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
        "glucose_mg_dl": _glucose(subject, rng),
        "leucocytes_g_l": _altered(rng, round(np.clip(rng.normal(8.9, 2.5), 3, 16.6), 1)),
        "crp_mg_dl": _altered(rng, round(np.clip(rng.lognormal(-0.7, 1), 0.1, 11.3), 1)),
        "inr": _altered(rng, round(np.clip(rng.lognormal(0.08, 0.2), 0.9, 1.2), 1)),
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
        "tici_postinterventional": _TICI[rng.choice(len(_TICI), p=_TICI_RATE)] if centre(subject) == 1 else "nan",
        "nihss_24h": nihss_24h,
        "mrs_24h": int(np.clip(mrs - rng.integers(0, 2), 0, 6)),
        "nihss_discharge": nihss_discharge,
        "mrs_discharge": mrs_discharge,
        "mrs_3month": int(np.clip(mrs_discharge + rng.integers(-1, 2), 0, 6)),
    }  # fmt: skip


def _draw_any(variable: Variable, subject: str, seed: int) -> Value:
    """Return a value of a variable that `_draw_complete` does not know, from its range or levels."""
    rng = stream(seed, subject, variable.column)
    if variable.levels:
        return variable.levels[rng.integers(len(variable.levels))]
    assert variable.low is not None and variable.high is not None
    value = float(rng.uniform(variable.low, variable.high))
    if variable.kind is Kind.MINUTES:
        return _minutes(value)
    return round(value) if variable.kind is Kind.WHOLE else value


def _flag(rng: np.random.Generator, rate: float) -> int:
    return int(rng.random() < rate)


def _altered(rng: np.random.Generator, value: float) -> float:
    return float(value * rng.uniform(0.95, 1.05))


def _glucose(subject: str, rng: np.random.Generator) -> float:
    """Return mg/dl. Centre 2 measured whole mmol/l, and its values look unaltered."""
    drawn = np.clip(rng.normal(128, 32), 65, 304 / 1.05)
    return _altered(rng, round(drawn)) if centre(subject) == 1 else round(round(drawn / _MMOL_MG_DL) * _MMOL_MG_DL, 2)


def _minutes(value: float) -> timedelta:
    return timedelta(minutes=round(value))


def _altered_duration(rng: np.random.Generator, value: timedelta) -> timedelta:
    """Return `value` altered by whole percents, which gives fractions of a second like the release's."""
    return value * int(rng.integers(95, 106)) / 100


def _cell(value: Value) -> Cell:
    """Return the value as the exporter writes it: a duration as text, HH:MM:SS or HH:MM:SS.ffffff."""
    if not isinstance(value, timedelta):
        return value
    seconds = value // timedelta(seconds=1)
    text = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return f"{text}.{value.microseconds:06d}" if value.microseconds else text


def _spreadsheet(title: str) -> tuple[Spreadsheet, Worksheet]:
    book = Spreadsheet()
    book.properties.title = SYNTHETIC_MARK
    book.properties.created = WRITTEN
    sheet = book.worksheets[0]
    sheet.title = title
    return book, sheet


def _xlsx_bytes(book: Spreadsheet) -> bytes:
    """Return the workbook's bytes, without the current time that `save` puts into the zip and the properties."""
    saved, fixed = BytesIO(), BytesIO()
    book.save(saved)
    book.properties.modified = WRITTEN
    properties = tostring(book.properties.to_tree())
    with ZipFile(saved) as source, ZipFile(fixed, "w", ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = properties if name == "docProps/core.xml" else source.read(name)
            target.writestr(ZipInfo(name, WRITTEN.timetuple()[:6]), content, ZIP_DEFLATED)
    return fixed.getvalue()
