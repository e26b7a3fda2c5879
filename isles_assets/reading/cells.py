"""Parsing the cells of clinical workbooks: a typed value, or the reason why there is none. Never a guess.

Durations become minutes. Those of the release are text; Python, pandas and Excel may write the other forms.
"""

import datetime as dt
import math
import re
from enum import Enum, auto

from isles_assets.lib.fingerprint import fingerprint
from isles_assets.reading.spreadsheet import Cell, CellType
from isles_assets.release.clinical import Kind, Variable
from isles_assets.release.problems import Problem

Value = str | int | float | None

_MISSING = frozenset(
    ("", "nan", "na", "n/a", "none", "null", "nat", "<na>", ".", "-", "--", "\N{EN DASH}", "\N{EM DASH}")
)
_ERRORS = ("#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#DIV/0!")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CLOCK = re.compile(r"(-?)(\d{1,5}):([0-5]?\d)(?::([0-5]?\d(?:\.\d{1,9})?))?", re.ASCII)
_DAYS = re.compile(r"(-?\d{1,5}) days?(?:(, | \+| )(?=\d)(.*))?", re.ASCII)
_INT16 = range(-(2**15), 2**15)
_LONGEST = dt.timedelta(days=366)  # in Excel's calendar, a greater number of days is a date after 1900
_LARGE = 20_000  # such a number can be a patient's date: days since 1900, or a smaller unit since another date
_LONGEST_TEXT = 60

_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|(19|20)\d\d")
_MONTH = re.compile("jan|feb|mar|m\u00e4r|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez", re.IGNORECASE)


class CellError(ValueError):
    """A cell that cannot be read. The message follows the header's name; a waiver names `found`."""

    def __init__(self, problem: str, found: str, kind: Problem = Problem.CELL_UNREADABLE):
        super().__init__(problem)
        self.found = found
        self.kind = kind


class _Quantity(Enum):
    """The quantity that a cell's number is, by its number format."""

    NUMBER = auto()
    TIME = auto()
    """Days, displayed as days, hours, minutes or seconds."""
    DATE = auto()
    DAYS = auto()
    """Days, displayed as a number of days."""
    OTHER_UNIT = auto()


def parse_cell(variable: Variable, cell: Cell | None) -> Value:
    """Return the value of `cell`, of the variable's kind; None if it is missing.

    Raises:
        CellError: The cell holds something else than such a value.
    """
    if cell is None or is_missing(cell):
        return None
    if cell.type is CellType.NOT_CALCULATED:
        problem = f"({cell.at}) is a formula whose value was never calculated"
        raise CellError(problem, variable.column, Problem.CELL_NOT_CALCULATED)
    try:
        return _value(variable.kind, cell)
    except ValueError as error:
        raise CellError(f"({cell.at}) holds {_as_written(cell)}, {error}", _found(variable, cell)) from None


def is_missing(cell: Cell) -> bool:
    """Return whether the cell holds one of the words for a missing value."""
    return cell.type in (CellType.TEXT, CellType.NUMBER) and cell.text.strip().lower() in _MISSING


def _value(kind: Kind, cell: Cell) -> str | int | float:
    """Return the value. Raise `ValueError` with words that follow the content of the cell."""
    text = cell.text.strip()
    if cell.type is CellType.TRUTH:
        raise ValueError("a truth value")
    if cell.type is CellType.ERROR or text.upper() in _ERRORS:
        raise ValueError("an Excel error")
    if cell.type is CellType.UNKNOWN:
        raise ValueError("of a type that Excel does not know")
    if len(text) > _LONGEST_TEXT:
        raise ValueError("which is too long")
    if kind is Kind.MINUTES:
        return _minutes(cell, text)
    if cell.type is CellType.DATE or (cell.type is CellType.NUMBER and _is_time(cell)):
        raise ValueError("a date or a time")
    if kind is Kind.LEVEL:
        return _level(cell, text)
    number = _number(text)
    if kind is Kind.NUMBER:
        return number
    if not number.is_integer():
        raise ValueError("which is not a whole number")
    if int(number) not in _INT16:
        raise ValueError("which is too large")
    return int(number)


def _level(cell: Cell, text: str) -> str:
    """Return text unchanged, and a whole number without its fraction."""
    if cell.type is CellType.NUMBER or re.fullmatch(r"\d+\.0+", text, re.ASCII):
        number = _number(text)
        return str(int(number)) if number.is_integer() else repr(number)
    if _is_dated(text):
        raise ValueError("a date")
    return text


def _number(text: str) -> float:
    number = float(text) if _DECIMAL.fullmatch(text) else math.nan
    if not math.isfinite(number):
        raise ValueError("which is not a number")
    return number


def _minutes(cell: Cell, text: str) -> float:
    """Return the minutes of a duration, rounded to milliseconds, the precision of Excel."""
    if cell.type is not CellType.DATE and _DECIMAL.fullmatch(text):
        duration = dt.timedelta(milliseconds=round(_days(cell, _number(text)) * 86_400_000))
    elif (parsed := _duration(text.removeprefix("T") if cell.type is CellType.DATE else text)) is not None:
        duration = parsed
    else:
        raise ValueError("a date" if _is_dated(text) else "which is not a duration in hours and minutes")
    if abs(duration) >= _LONGEST:
        raise ValueError("a date, or a duration of a year or more")
    return duration / dt.timedelta(minutes=1)


def _days(cell: Cell, number: float) -> float:
    """Return the days that a number stands for; if its format names no unit, only less than a day is certain."""
    quantity = _quantity(cell.number_format) if cell.type is CellType.NUMBER else _Quantity.NUMBER
    if quantity is _Quantity.OTHER_UNIT and number:
        raise ValueError("of another unit than hours and minutes")
    if quantity is _Quantity.DATE and not 0 <= number < 1:
        raise ValueError("a date")
    if quantity is _Quantity.NUMBER and abs(number) >= 1:
        raise ValueError("a number that could be days, hours or minutes")
    if abs(number) >= _LONGEST.days:
        raise ValueError("a date, or a duration of a year or more")
    return number


def _duration(text: str) -> dt.timedelta | None:
    """Return the duration in `text`, in a form of the release, Python or pandas; None if it is in none of these."""
    if (match := _DAYS.fullmatch(text)) is None:
        return _clock(text)
    days, separator, clock = match.groups()
    if days.startswith("-") and separator == " ":
        return None  # some writers count the hours forwards, others backwards
    hours = _clock(clock) if clock else dt.timedelta()
    return None if hours is None else dt.timedelta(days=int(days)) + hours


def _clock(text: str) -> dt.timedelta | None:
    if (match := _CLOCK.fullmatch(text)) is None:
        return None
    minus, hours, minutes, seconds = match.groups()
    duration = dt.timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0))
    return -duration if minus else duration


def _is_dated(text: str) -> bool:
    """Return whether the text may contain a date."""
    return bool(_DATE.search(text) or (re.search(r"\d", text) and _MONTH.search(text)))


def _is_time(cell: Cell) -> bool:
    return _quantity(cell.number_format) in (_Quantity.DATE, _Quantity.TIME)


def _quantity(number_format: str) -> _Quantity:
    """Return the quantity by the letters of the format that are not literal text."""
    literal = "".join(part.strip('"\\').lower() for part in _LITERAL.findall(number_format) if part[0] in '"\\')
    code = _LITERAL.sub("", number_format).lower()
    if _ELAPSED.search(code):
        return _Quantity.TIME
    code = re.sub(r"\[[^\]]*\]|am/pm|a/p|general|standard|e[+-]", "", code)
    code = re.sub(r"m+([^a-z]*s)", r"\1", re.sub(r"(h[^a-z]*)m+", r"\1", code))  # minutes; other m are months
    if re.search("[ym]", code) or ("d" in code and "h" not in code):
        return _Quantity.DATE
    if re.search("[dhs]", code):
        return _Quantity.TIME
    if literal.strip() in ("day", "days"):
        return _Quantity.DAYS
    return _Quantity.OTHER_UNIT if "%" in code or re.search(r"\w", literal) else _Quantity.NUMBER


def short_ascii(text: str) -> str:
    """Return at most a line of `text` in ASCII, so that different texts look different."""
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _as_written(cell: Cell) -> str:
    """Return the content of the cell, for people."""
    if cell.type is CellType.TRUTH:
        return "TRUE" if cell.text == "1" else "FALSE"
    if cell.type is CellType.TEXT:
        return f"`{short_ascii(cell.text)}`"
    form = "" if cell.number_format == "General" else f" in the format `{short_ascii(cell.number_format)}`"
    return f"{short_ascii(cell.text)}{form}"


def _found(variable: Variable, cell: Cell) -> str:
    """Return the text for a waiver. A possible date gets no fingerprint, because it could be guessed from that."""
    text = cell.text.strip()
    if cell.type is CellType.DATE or _is_dated(text) or (cell.type is CellType.NUMBER and _is_time(cell)):
        return f"{variable.column} date"
    if _DECIMAL.fullmatch(text) and abs(float(text)) >= _LARGE:
        return f"{variable.column} large"
    return f"{variable.column} {fingerprint(cell.text)}"
