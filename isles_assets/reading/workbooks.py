"""Reading the clinical workbooks and the dictionary: one row for each subject, and findings for its oddities.

A value that cannot be read is null and has a finding. It stops neither the other values nor other subjects.
"""

import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isles_assets.lib.findings import Finding, name_some
from isles_assets.reading.cells import CellError, Value, is_missing, parse_cell, short_ascii
from isles_assets.reading.spreadsheet import (
    RESTORE,
    Cell,
    CellType,
    Row,
    Sheet,
    WorkbookError,
    read_content,
    read_sheets,
    sheets_in,
)
from isles_assets.release.clinical import Dictionary, Variable, Workbook
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release

__all__ = ["ClinicalRow", "DictionaryEntry", "Value", "WorkbookError", "read_clinical_rows", "read_dictionary"]

_CORRECT = "correct the cell, or restore the workbook from the release archive"
_CALCULATE = "open the workbook in Excel and save it, or restore it from the release archive"
_LONGEST_NAME = 100
_NOTHING = "nothing to do: it is not published"


@dataclass(frozen=True)
class WorkbookFile:
    """A workbook's file as it was read: `path` in the tree, `size` in bytes, and CRC-32."""

    path: str
    size: int
    crc32: int


@dataclass(frozen=True)
class ClinicalRow:
    """The clinical values of one subject, by column."""

    subject: str
    values: Mapping[str, Value]
    repeated: tuple[str, ...] = ()
    """Paths of the workbooks that hold the same row more than once."""

    blank: tuple[str, ...] = ()
    """Paths of the workbooks that have only a header, where the release allows that."""

    findings: tuple[Finding, ...] = ()
    files: tuple[WorkbookFile, ...] = ()
    """The files that could be read."""


@dataclass(frozen=True)
class DictionaryEntry:
    """One line of the dictionary workbook; `unit` is empty if there is none."""

    parameter: str
    unit: str


def read_clinical_rows(release: Release, root: Path, subjects: Iterable[str]) -> list[ClinicalRow]:
    """Return the clinical row of each subject, also of one whose workbooks cannot be read."""
    return [_read_subject(release, root, subject) for subject in subjects]


def _read_subject(release: Release, root: Path, subject: str) -> ClinicalRow:
    readings = [_Reading(root, workbook, release.variables_of(workbook), subject) for workbook in release.workbooks]
    values = {column: value for reading in readings for column, value in reading.values.items()}
    return ClinicalRow(
        subject,
        {variable.column: values[variable.column] for variable in release.variables},
        tuple(reading.path for reading in readings if reading.repeated),
        tuple(reading.path for reading in readings if reading.blank),
        tuple(finding for reading in readings for finding in reading.findings),
        tuple(reading.file for reading in readings if reading.file),
    )


def read_file(root: Path, path: str) -> tuple[bytes, WorkbookFile]:
    """Return the content of the workbook at `path` in the tree, and its size and CRC-32.

    Raises:
        WorkbookError: The file is missing, too large, or cannot be read.
    """
    content = read_content(root / path)
    return content, WorkbookFile(path, len(content), zlib.crc32(content))


def read_dictionary(dictionary: Dictionary, root: Path) -> list[DictionaryEntry]:
    """Return the lines below the header of the dictionary workbook in the tree at `root`, in order.

    Raises:
        WorkbookError: The workbook cannot be read, or its layout is not that of the release.
    """
    sheets = read_sheets(root / dictionary.path)
    sheet = next((sheet for sheet in sheets if _plain(sheet.name) == dictionary.sheet), None)
    if sheet is None:
        others = name_some([short_ascii(sheet.name) for sheet in sheets]) or "none"
        raise WorkbookError(f"has no sheet `{dictionary.sheet}`, only {others}", Problem.WORKBOOK_FORM, "sheet")
    columns = {name: column for column, name in enumerate(dictionary.headers, start=1)}
    header = next((row for row in sheet.rows if row.number == dictionary.header_row), Row(0, {}))
    if any(_text(header, column) != name for name, column in columns.items()):
        problem = f"row {dictionary.header_row} is not the header {', '.join(dictionary.headers)}"
        raise WorkbookError(problem, Problem.WORKBOOK_FORM, "header")
    lines = [
        (_text(row, columns["Parameter"]), _text(row, columns["Unit"]))
        for row in sheet.rows
        if row.number > dictionary.header_row
    ]
    return [DictionaryEntry(parameter, "" if unit == "-" else unit) for parameter, unit in lines if parameter]


class _Reading:
    """One workbook of one subject: its values and findings."""

    def __init__(self, root: Path, workbook: Workbook, variables: Sequence[Variable], subject: str):
        self.path = workbook.path(subject)
        self.values: dict[str, Value] = {variable.column: None for variable in variables}
        self.repeated = self.blank = False
        self.findings: list[Finding] = []
        self.file: WorkbookFile | None = None
        self._variables = variables
        self._subject = subject
        try:
            content, self.file = read_file(root, self.path)
            sheet, header = self._table(sheets_in(content))
        except WorkbookError as error:
            self._add_finding(error.kind, str(error), error.mend, error.found)
        else:
            self._read_values(sheet, header, workbook.may_be_blank)

    def _add_finding(self, kind: Problem, problem: str, mend: str = RESTORE, found: str = "") -> None:
        self.findings.append(kind.finding(problem, mend, path=self.path, subject=self._subject, found=found))

    def _table(self, sheets: Sequence[Sheet]) -> tuple[Sheet, Row]:
        """Return the sheet with the variables, and its header row. Raise `WorkbookError` if there is none."""
        filled = [sheet for sheet in sheets if sheet.rows]
        if not filled:
            problem = "is empty" if sheets else "has no sheet"
            raise WorkbookError(problem, Problem.WORKBOOK_FORM, problem.rpartition(" ")[2])
        expected = {variable.header for variable in self._variables}
        tables = [
            (sheet, next((row for row in sheet.rows if expected.intersection(_texts(row).values())), None))
            for sheet in filled
        ]
        with_header = [(sheet, header) for sheet, header in tables if header is not None]
        if not with_header:
            columns = name_some([f"`{short_ascii(text)}`" for text in _texts(filled[0].rows[0]).values()])
            problem = f"has none of the columns that are expected, but {columns}"
            raise WorkbookError(problem, Problem.WORKBOOK_FORM, "columns")
        with_rows = ((sheet, header) for sheet, header in with_header if sheet.rows[-1] is not header)
        sheet, header = next(with_rows, with_header[0])
        if others := [f"`{short_ascii(other.name)}`" for other in filled if other is not sheet]:
            problem = f"has more than one sheet; not read: {name_some(others)}"
            self._add_finding(Problem.WORKBOOK_EXTRA, problem, _NOTHING)
        if above := [str(row.number) for row in sheet.rows if row.number < header.number]:
            problem = f"has text above its header, in row {name_some(above)}"
            self._add_finding(Problem.WORKBOOK_EXTRA, problem, _NOTHING)
        return sheet, header

    def _read_values(self, sheet: Sheet, header: Row, may_be_blank: bool) -> None:
        """Read the values below the header."""
        columns = self._columns(header)
        below = sheet.rows[sheet.rows.index(header) + 1 :]
        rows = [row for row in below if any(column in row.cells for column in columns.values())]
        texts = _texts(header)
        stray = [cell.at for row in below for column, cell in row.cells.items() if column not in texts]
        if stray:
            self._add_finding(Problem.WORKBOOK_EXTRA, f"has cells below no header: {name_some(stray)}", _NOTHING)
        if not rows and may_be_blank:
            self.blank = True
        elif not rows:
            self._add_finding(Problem.WORKBOOK_FORM, "has a header but no row", found="row")
        agree = [
            self._read_value(variable, columns[variable], rows) for variable in self._variables if variable in columns
        ]
        self.repeated = len(rows) > 1 and all(agree)

    def _columns(self, header: Row) -> dict[Variable, int]:
        """Return the column number of each variable whose column is there once."""
        texts, expected = _texts(header), {variable.header: variable for variable in self._variables}
        for cell in header.cells.values():
            if cell.type is CellType.NOT_CALCULATED:
                problem = f"header {cell.at} is a formula whose value was never calculated"
                self._add_finding(Problem.CELL_NOT_CALCULATED, problem, _CALCULATE, f"header {cell.at}")
        if unknown := [f"`{short_ascii(text)}`" for text in texts.values() if text not in expected]:
            self._add_finding(Problem.WORKBOOK_EXTRA, f"has unknown columns: {name_some(unknown)}", _NOTHING)
        columns = {}
        for name, variable in expected.items():
            numbers = [column for column, text in texts.items() if text == name]
            if len(numbers) == 1:
                columns[variable] = numbers[0]
                raw = " ".join(part for part in header.cells[numbers[0]].text.split(" ") if part)
                if raw != name:
                    problem = f"writes the header `{name}` as `{short_ascii(raw)}`; its column is read all the same"
                    self._add_finding(Problem.WORKBOOK_HEADER, problem, _NOTHING)
            elif numbers:
                problem = f"column `{name}` appears {len(numbers)} times"
                self._add_finding(Problem.WORKBOOK_FORM, problem, found=variable.column)
            else:
                problem = _missing_column(variable, texts.values())
                self._add_finding(Problem.WORKBOOK_FORM, problem, found=variable.column)
        return columns

    def _read_value(self, variable: Variable, column: int, rows: Sequence[Row]) -> bool:
        """Read the variable's value; return whether all rows agree on it."""
        cells = [row.cells.get(column) for row in rows]
        distinct = {None if cell is None or is_missing(cell) else cell for cell in cells}
        if len(distinct) > 1:
            numbers = name_some([str(row.number) for row in rows])
            problem = f"rows {numbers} differ in `{variable.header}`; one subject has one row"
            self._add_finding(Problem.ROWS_DIFFER, problem, found=variable.column)
            return False
        try:
            self.values[variable.column] = parse_cell(variable, distinct.pop() if distinct else None)
        except CellError as error:
            mend = _CALCULATE if error.kind is Problem.CELL_NOT_CALCULATED else _CORRECT
            self._add_finding(error.kind, f"`{variable.header}` {error}", mend, error.found)
        return True


def _missing_column(variable: Variable, texts: Iterable[str]) -> str:
    """Return the problem that the variable's column is missing, with the columns that could be meant."""
    names = {variable.header.casefold(), (variable.dictionary or variable.header).casefold()}
    like = "".join(f" (`{text}` is there)" for text in texts if text.casefold() in names)
    return f"column `{variable.header}` is missing{like}"


def _texts(row: Row) -> dict[int, str]:
    """Return the plain texts of a header row, by column number."""
    return {column: text for column in row.cells if (text := _text(row, column))}


def _text(row: Row, column: int) -> str:
    cell: Cell | None = row.cells.get(column)
    return "" if cell is None else _plain(cell.text)


def _plain(text: str) -> str:
    """Return the text with one kind of blank and hyphen, and without invisible characters."""
    if len(text) > _LONGEST_NAME:
        return f"{text[:_LONGEST_NAME]}..."
    kinds = [(char, unicodedata.category(char)) for char in unicodedata.normalize("NFKC", text)]
    return " ".join("".join("-" if kind == "Pd" else char for char, kind in kinds if kind != "Cf").split())
