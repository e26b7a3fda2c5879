"""Parsing the cells of clinical workbooks: typed values, or why a cell cannot be read. Never a guess.

Durations become minutes. The release's are text; the other forms are those that Python, pandas or Excel may write.
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
_LONGEST = dt.timedelta(days=366)  # Excel's calendar: what counts more days than that is a date after 1900
_LARGE = 20_000  # as days since 1900, or in any smaller unit since any date, this can be the date of a patient
_LONGEST_TEXT = 60

_LITERAL = re.compile(r'"[^"]*"|\\.|_.|\*.')
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}|(19|20)\d\d")
_MONTH = re.compile("jan|feb|mar|m\u00e4r|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez", re.IGNORECASE)


class CellError(ValueError):
    """A cell that cannot be read; worded to follow the header's name. `found` is what a waiver names of it."""

    def __init__(self, problem: str, found: str, kind: Problem = Problem.CELL_UNREADABLE):
        super().__init__(problem)
        self.found = found
        self.kind = kind


class _Shown(Enum):
    """What the number format of a cell says that its number is."""

    NUMBER = auto()
    TIME = auto()
    """Days, shown as days, hours, minutes or seconds."""
    DATE = auto()
    DAYS = auto()
    """A number of days, shown as one."""
    OTHER_UNIT = auto()


def parse(variable: Variable, cell: Cell | None) -> Value:
    """The value of `cell`, of the variable's kind; None for a missing one. Raises `CellError`."""
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
    """Whether the cell holds one of the words for a missing value."""
    return cell.type in (CellType.TEXT, CellType.NUMBER) and cell.text.strip().lower() in _MISSING


def _value(kind: Kind, cell: Cell) -> str | int | float:
    """The value. Raises `ValueError`, worded to follow what the cell holds."""
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
    """Text as it stands; a whole number without its fraction."""
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
    """Minutes of a duration, to the millisecond that Excel keeps of a number of days."""
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
    """The days that a number stands for: all of it, or only a fraction of a day where the format does not say so."""
    shown = _shown_as(cell.number_format) if cell.type is CellType.NUMBER else _Shown.NUMBER
    if shown is _Shown.OTHER_UNIT and number:
        raise ValueError("of another unit than hours and minutes")
    if shown is _Shown.DATE and not 0 <= number < 1:
        raise ValueError("a date")
    if shown is _Shown.NUMBER and abs(number) >= 1:
        raise ValueError("a number that could be days, hours or minutes")
    if abs(number) >= _LONGEST.days:
        raise ValueError("a date, or a duration of a year or more")
    return number


def _duration(text: str) -> dt.timedelta | None:
    """The duration that `text` is in one of the forms of the release, Python and pandas; None if it is in no such."""
    if (match := _DAYS.fullmatch(text)) is None:
        return _clock(text)
    days, joint, clock = match.groups()
    if days.startswith("-") and joint == " ":
        return None  # whether the hours count forwards or backwards depends on who wrote it
    rest = _clock(clock) if clock else dt.timedelta()
    return None if rest is None else dt.timedelta(days=int(days)) + rest


def _clock(text: str) -> dt.timedelta | None:
    if (match := _CLOCK.fullmatch(text)) is None:
        return None
    minus, hours, minutes, seconds = match.groups()
    duration = dt.timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0))
    return -duration if minus else duration


def _is_dated(text: str) -> bool:
    """Whether there may be a date in the text."""
    return bool(_DATE.search(text) or (re.search(r"\d", text) and _MONTH.search(text)))


def _is_time(cell: Cell) -> bool:
    return _shown_as(cell.number_format) in (_Shown.DATE, _Shown.TIME)


def _shown_as(number_format: str) -> _Shown:
    """What the number format says, by the letters in it that are no text to be shown."""
    literal = "".join(part.strip('"\\').lower() for part in _LITERAL.findall(number_format) if part[0] in '"\\')
    code = _LITERAL.sub("", number_format).lower()
    if _ELAPSED.search(code):
        return _Shown.TIME
    code = re.sub(r"\[[^\]]*\]|am/pm|a/p|general|standard|e[+-]", "", code)
    code = re.sub(r"m+([^a-z]*s)", r"\1", re.sub(r"(h[^a-z]*)m+", r"\1", code))  # minutes; other m are months
    if re.search("[ym]", code) or ("d" in code and "h" not in code):
        return _Shown.DATE
    if re.search("[dhs]", code):
        return _Shown.TIME
    if literal.strip() in ("day", "days"):
        return _Shown.DAYS
    return _Shown.OTHER_UNIT if "%" in code or re.search(r"\w", literal) else _Shown.NUMBER


def shown(text: str) -> str:
    """At most a line of `text`, for people: ASCII, so that no two texts look the same."""
    text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}..."
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _as_written(cell: Cell) -> str:
    """What the cell holds, for people."""
    if cell.type is CellType.TRUTH:
        return "TRUE" if cell.text == "1" else "FALSE"
    if cell.type is CellType.TEXT:
        return f"`{shown(cell.text)}`"
    form = "" if cell.number_format == "General" else f" in the format `{shown(cell.number_format)}`"
    return f"{shown(cell.text)}{form}"


def _found(variable: Variable, cell: Cell) -> str:
    """What a waiver names. Of what may be a date nothing is told: it could be guessed from a fingerprint."""
    text = cell.text.strip()
    if cell.type is CellType.DATE or _is_dated(text) or (cell.type is CellType.NUMBER and _is_time(cell)):
        return f"{variable.column} date"
    if _DECIMAL.fullmatch(text) and abs(float(text)) >= _LARGE:
        return f"{variable.column} large"
    return f"{variable.column} {fingerprint(cell.text)}"
