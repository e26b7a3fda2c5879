"""Reading the clinical workbooks: typed values, or a finding for whatever cannot be read. Never a guess.

A missing value is an empty cell or the text `nan` (the release's exporter writes both). Durations come as
Excel times, as timedeltas or as text and become minutes.
"""

import datetime as dt
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from isles_assets.lib.findings import Finding, Refusal
from isles_assets.release.clinical import Dictionary, Kind, Variable
from isles_assets.release.release import Release

Value = str | int | float | None
_RESTORE = "restore the workbook from the release archive"
_CORRECT = "correct the cell, or restore it from the archive"
_MISSING = {"", "nan"}
_DURATION = re.compile(
    r"(?P<sign>-?)(?:(?P<days>\d+) days? )?(?P<h>\d+):(?P<m>[0-5]?\d)(?::(?P<s>[0-5]?\d(?:\.\d+)?))?"
)
_DECIMAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_INT16 = range(-(2**15), 2**15)


class WorkbookError(Exception):
    """The workbook cannot be read as one of the release; the message says why."""


@dataclass(frozen=True)
class ClinicalRow:
    """The clinical values of one subject by column.

    `repeated` names the workbooks in which its row stood more than once, `blank` those without any value.
    """

    subject: str
    values: Mapping[str, Value]
    repeated: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()


@dataclass(frozen=True)
class DictionaryEntry:
    """One line of the dictionary workbook; `unit` is empty where it gives none."""

    parameter: str
    unit: str


def read_clinical_rows(release: Release, root: Path, subjects: Iterable[str]) -> list[ClinicalRow]:
    """The clinical row of each of `subjects`. Raises one `Refusal` for all workbooks that cannot be read."""
    read = [read_clinical(release, root, subject) for subject in subjects]
    if findings := [finding for _, found in read for finding in found]:
        raise Refusal(f"{len(findings)} clinical values or workbooks cannot be read.", findings)
    return [row for row, _ in read if row is not None]


def read_clinical(release: Release, root: Path, subject: str) -> tuple[ClinicalRow | None, list[Finding]]:
    """The clinical row of `subject`, or None and the findings that say what is wrong with which workbook."""
    values: dict[str, Value] = {}
    repeated: list[str] = []
    blank: list[str] = []
    findings: list[Finding] = []
    for workbook in release.workbooks:
        path = workbook.path(subject)
        variables = release.variables_of(workbook)
        try:
            cells, times = _one_row(_rows(root / path), variables)
        except WorkbookError as error:
            findings.append(Finding(str(error), _RESTORE, path, subject))
            continue
        if cells is None and not workbook.may_be_blank:
            findings.append(Finding("has a header but no row", _RESTORE, path, subject))
            continue
        if cells is None:
            cells = dict.fromkeys(variables)
            blank.append(path)
        if times > 1:
            repeated.append(path)
        for variable, cell in cells.items():
            try:
                values[variable.column] = parse(variable, cell)
            except ValueError as error:
                findings.append(Finding(f"`{variable.header}` {error}", _CORRECT, path, subject))
    return None if findings else ClinicalRow(subject, values, tuple(repeated), tuple(blank)), findings


def read_dictionary(dictionary: Dictionary, root: Path) -> list[DictionaryEntry]:
    """The lines of the dictionary workbook of the tree at `root` below its header row, in order.

    Raises `WorkbookError` if it cannot be read or is not laid out as the release's.
    """
    headers, start = dictionary.headers, dictionary.header_row
    rows = _rows(root / dictionary.path, dictionary.sheet)
    if [tuple(row[: len(headers)]) for row in rows[start - 1 : start]] != [headers]:
        raise WorkbookError(f"row {start} is not the header {', '.join(headers)}")
    parameter, unit = headers.index("Parameter"), headers.index("Unit")
    return [
        DictionaryEntry(str(row[parameter]), "" if row[unit] in (None, "-") else str(row[unit]))
        for row in rows[start:]
        if row[parameter] is not None
    ]


def parse(variable: Variable, cell: Any) -> Value:
    """The typed value of `cell`; None for a missing one.

    Raises `ValueError`, worded to follow the header's name, if the cell is not of the variable's kind.
    """
    if isinstance(cell, str):
        cell = cell.strip()
    if cell is None or (isinstance(cell, str) and cell.lower() in _MISSING) or cell != cell:
        return None
    if isinstance(cell, bool):
        raise ValueError(f"holds the truth value {cell}")
    if isinstance(cell, str) and cell.startswith("#"):
        raise ValueError(f"holds the Excel error {cell}")
    if variable.kind is Kind.MINUTES:
        return _minutes(cell)
    if variable.kind is Kind.LEVEL:
        if isinstance(cell, str | int | float):
            return cell if isinstance(cell, str) else f"{cell:g}"
        raise ValueError(f"holds {cell!r}, which is not text")
    number = _number(cell)
    if variable.kind is Kind.NUMBER:
        return number
    if not number.is_integer():
        raise ValueError(f"holds {cell!r}, which is not a whole number")
    if int(number) not in _INT16:
        raise ValueError(f"holds {cell!r}, which is too large")
    return int(number)


def _number(cell: Any) -> float:
    if isinstance(cell, int | float) or (isinstance(cell, str) and _DECIMAL.fullmatch(cell)):
        number = float(cell)
        if math.isfinite(number):
            return number
    raise ValueError(f"holds {cell!r}, which is not a number")


def _minutes(cell: Any) -> float:
    """Minutes of a duration; openpyxl gives a long one as a date counted from Excel's day 0."""
    if isinstance(cell, dt.datetime):
        cell = cell - dt.datetime(1899, 12, 31 if dt.datetime(1900, 1, 1) <= cell < dt.datetime(1900, 3, 1) else 30)
    if isinstance(cell, dt.timedelta):
        return cell / dt.timedelta(minutes=1)
    if isinstance(cell, dt.time):
        return cell.hour * 60 + cell.minute + cell.second / 60 + cell.microsecond / 60e6
    match = _DURATION.fullmatch(cell) if isinstance(cell, str) else None
    if match is None:
        raise ValueError(f"holds {cell!r}, which is not a duration in hours and minutes")
    minutes = int(match["days"] or 0) * 1440 + int(match["h"]) * 60 + int(match["m"]) + float(match["s"] or 0) / 60
    return -minutes if match["sign"] else minutes


def _rows(path: Path, sheet: str | None = None) -> list[list[Any]]:
    """The rows of the named, or the only, sheet; text is stripped, empty rows are left out below the first."""
    if not path.exists():
        raise WorkbookError("is missing")
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            if sheet is None and len(book.sheetnames) != 1:
                raise WorkbookError(f"has {len(book.sheetnames)} sheets instead of one")
            if sheet is not None and sheet not in book.sheetnames:
                raise WorkbookError(f"has no sheet `{sheet}`, only {', '.join(book.sheetnames) or 'none'}")
            chosen = book[sheet or book.sheetnames[0]]
            chosen.reset_dimensions()  # what the file says of them need not be true
            return [[_plain(cell, book.epoch) for cell in row] for row in chosen.iter_rows(values_only=True)]
        finally:
            book.close()
    except WorkbookError:
        raise
    except Exception as error:  # openpyxl raises whatever zipfile, its XML parser or its own readers meet
        raise WorkbookError(f"cannot be read as a workbook: {type(error).__name__}: {error}") from error


def _plain(cell: Any, epoch: dt.datetime) -> Any:
    """Text without surrounding space; a date of a workbook that counts from 1904 as the time since then."""
    if isinstance(cell, dt.datetime) and epoch == CALENDAR_MAC_1904:
        return cell - epoch
    return cell.strip() if isinstance(cell, str) else cell


def _one_row(rows: Sequence[list[Any]], variables: Sequence[Variable]) -> tuple[dict[Variable, Any] | None, int]:
    """The cells of the one data row by variable (None: all are empty), and how often that row stands in the sheet."""
    rows = [row for row in rows if any(cell not in (None, "") for cell in row)]
    if not rows:
        raise WorkbookError("is empty")
    headers, data = ["" if cell is None else str(cell) for cell in rows[0]], rows[1:]
    if problems := list(_header_problems(headers, variables)):
        raise WorkbookError("; ".join(problems))
    if not data:
        return None, 0
    at = [headers.index(variable.header) for variable in variables]
    distinct = {tuple(row[index] if index < len(row) else None for index in at) for row in data}
    if len(distinct) > 1:
        raise WorkbookError(f"holds {len(data)} rows that differ; one subject has one row")
    return dict(zip(variables, distinct.pop(), strict=True)), len(data)


def _header_problems(headers: Sequence[str], variables: Sequence[Variable]) -> Iterator[str]:
    known = {variable.header for variable in variables}
    for variable in variables:
        count = headers.count(variable.header)
        if count > 1:
            yield f"column `{variable.header}` stands {count} times"
        elif not count:
            other = f" (the dictionary's name `{variable.dictionary}` is there)" * (variable.dictionary in headers)
            yield f"column `{variable.header}` is missing{other}"
    if unknown := [header for header in headers if header and header not in known]:
        yield f"unknown columns {', '.join(f'`{header}`' for header in unknown)}"
