"""Parsing the cells of clinical workbooks: what each becomes, and what is refused in which words."""

import datetime as dt
import math
import re

import pandas as pd
import pytest

from isles_assets.lib.fingerprint import fingerprint
from isles_assets.reading.cells import CellError, parse_cell
from isles_assets.reading.spreadsheet import Cell, CellType
from isles_assets.release.clinical import Kind
from isles_assets.release.problems import Problem
from isles_assets_tests.isles24 import VARIABLES

BY_COLUMN = {variable.column: variable for variable in VARIABLES}
DURATION = BY_COLUMN["onset_to_door_min"]
ONE_OF_EACH = [next(variable for variable in VARIABLES if variable.kind is kind) for kind in Kind]


def number(value, number_format="General"):
    return Cell(CellType.NUMBER, str(value), number_format, "C2")


def text(value):
    return Cell(CellType.TEXT, value, "General", "C2")


def refusal(variable, cell):
    with pytest.raises(CellError) as caught:
        parse_cell(variable, cell)
    return caught.value


@pytest.mark.parametrize("variable", ONE_OF_EACH, ids=lambda variable: variable.kind)
@pytest.mark.parametrize(
    "word",
    ["nan", "NaN", " nan ", "na", "NA", "N/A", "n/a", "None", "null", "NULL", "NaT", "<NA>", "-", "--", ".",
     "\u00a0", "\u00a0NA\u2007", "\u2013", "\u2014"],
)  # fmt: skip
def test_missing_is_none_in_every_kind(variable, word):
    assert parse_cell(variable, text(word)) is None


@pytest.mark.parametrize("variable", ONE_OF_EACH, ids=lambda variable: variable.kind)
def test_no_cell_is_missing_and_so_is_a_number_that_is_none(variable):
    assert parse_cell(variable, None) is None
    assert parse_cell(variable, number("NaN")) is None


@pytest.mark.parametrize("variable", ONE_OF_EACH, ids=lambda variable: variable.kind)
@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (Cell(CellType.TRUTH, "1"), "holds TRUE, a truth value"),
        (Cell(CellType.TRUTH, "0"), "holds FALSE, a truth value"),
        (Cell(CellType.ERROR, "#DIV/0!"), "holds #DIV/0!, an Excel error"),
        (Cell(CellType.ERROR, "#N/A"), "holds #N/A, an Excel error"),
        (text("#n/a"), "holds `#n/a`, an Excel error"),
        (text("#REF!"), "an Excel error"),
        (Cell(CellType.UNKNOWN, "7"), "of a type that Excel does not know"),
        (text("x" * 61), "too long"),
        (number("9" * 5000), "too long"),
        (Cell(CellType.DATE, "2024-03-01T00:00:00"), "a date"),
        (number(45352, "yyyy-mm-dd"), "a date"),
        (text("2024-03-01"), "2024-03-01"),
    ],
)
def test_what_is_no_value_is_refused_in_every_kind(variable, cell, reason):
    assert reason in str(refusal(variable, cell))


@pytest.mark.parametrize("variable", ONE_OF_EACH, ids=lambda variable: variable.kind)
def test_a_formula_without_a_value_is_neither_missing_nor_unreadable(variable):
    error = refusal(variable, Cell(CellType.NOT_CALCULATED, "", "General", "K2"))
    assert (error.kind, error.found) == (Problem.CELL_NOT_CALCULATED, variable.column)
    assert "(K2)" in str(error)


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("age", number(71), 71.0),
        ("age", number("7.0273972602739730E1"), 70.27397260273973),
        ("age", text("71.5"), 71.5),
        ("age", text(" 71\u00a0"), 71.0),
        ("age", number(-1), -1.0),
        ("age", number(5, '0" h"'), 5.0),
        ("age", number(5, '0.00" days"'), 5.0),
        ("age", number(5, "0%"), 5.0),
        ("age", number(5, "[Red]0.0"), 5.0),
        ("age", number(5, '_(* #,##0.00_);_(* "-"??_)'), 5.0),
        ("age", number(5, "0.00E+00"), 5.0),
        ("glucose_mg_dl", text("1e2"), 100.0),
        ("glucose_mg_dl", number(0), 0.0),
        ("nihss_24h", number(0), 0),
        ("nihss_24h", number("4.0"), 4),
        ("nihss_24h", text("4"), 4),
        ("nihss_24h", text("4.0"), 4),
        ("mrs_3month", number(42), 42),
        ("mrs_3month", number(-32768), -32768),
        ("tici_postinterventional", text("2c"), "2c"),
        ("tici_postinterventional", text(" 2b "), "2b"),
        ("tici_postinterventional", number(3), "3"),
        ("tici_postinterventional", number("3.0"), "3"),
        ("tici_postinterventional", text("3.0"), "3"),
        ("tici_postinterventional", text("3"), "3"),
        ("tici_postinterventional", number(0), "0"),
        ("tici_postinterventional", number("2.5"), "2.5"),
        ("tici_postinterventional", number("1234567"), "1234567"),
        ("tici_postinterventional", text("03"), "03"),
        ("sex", text("F"), "F"),
        ("sex", text("weiblich"), "weiblich"),
    ],
)
def test_cell_becomes_the_value_of_its_kind(column, cell, value):
    parsed = parse_cell(BY_COLUMN[column], cell)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("age", text("71,5"), "(C2) holds `71,5`, which is not a number"),
        ("age", text("unknown"), "holds `unknown`, which is not a number"),
        ("age", text("\uff17\uff11"), r"holds `\uff17\uff11`, which is not a number"),
        ("age", text("\u0667\u0661"), "not a number"),
        ("age", text("7_1"), "not a number"),
        ("age", text("0x47"), "not a number"),
        ("age", text("inf"), "not a number"),
        ("age", text("1e400"), "not a number"),
        ("age", number("1e400"), "not a number"),
        ("age", number("INF"), "not a number"),
        ("age", number("seven"), "not a number"),
        ("age", number(0.5, "h:mm"), "holds 0.5 in the format `h:mm`, a date or a time"),
        ("age", number(0.5, "[h]:mm"), "a date or a time"),
        ("nihss_24h", number(4.5), "holds 4.5, which is not a whole number"),
        ("nihss_24h", text("4,0"), "not a number"),
        ("nihss_24h", text(">20"), "not a number"),
        ("nihss_24h", text("4.5"), "not a whole number"),
        ("nihss_24h", number(32_768), "holds 32768, which is too large"),
        ("nihss_24h", number("1e300"), "too large"),
        ("sex", number(1, "d-mmm"), "a date or a time"),
        ("tici_postinterventional", text("2.3.2024"), "a date"),
        ("tici_postinterventional", number("1e400"), "not a number"),
    ],
)
def test_what_is_not_of_the_kind_is_refused(column, cell, reason):
    error = refusal(BY_COLUMN[column], cell)
    assert reason in str(error)
    assert error.kind is Problem.CELL_UNREADABLE
    assert error.found.startswith(f"{column} ")


def test_found_names_the_column_and_the_digest_of_what_the_cell_holds():
    assert refusal(BY_COLUMN["age"], text("71,5")).found == f"age {fingerprint('71,5')}"
    assert refusal(BY_COLUMN["age"], text("Jane Doe")).found == f"age {fingerprint('Jane Doe')}"


@pytest.mark.parametrize(
    ("words", "minutes"),
    [
        ("1:23", 83),
        (" 01:23\u00a0", 83),
        ("26:05", 1565),
        ("00:04:12", 4.2),
        ("00:13:26.400000", 13.44),
        ("01:35:02.4", 95.04),
        ("00:00:00", 0),
        ("0:00", 0),
        ("-1:30", -90),
        ("0 days 01:16:45.600000", 76.76),
        ("0 days 01:16:45.600000000", 76.76),
        ("1 day, 2:15:00", 1575),
        ("2 days, 0:00:30.5", 2880 + 30.5 / 60),
        ("1 days 02:00:00", 1560),
        ("2 days", 2880),
        ("-1 days +23:10:00", -50),
        ("-1 day, 23:10:00", -50),
        ("0.5", 720),
        ("0", 0),
    ],
)
def test_text_of_a_duration_becomes_minutes(words, minutes):
    assert parse_cell(DURATION, text(words)) == pytest.approx(minutes, abs=1e-9)


def test_pandas_and_python_say_the_same_of_what_they_write():
    for minutes in (-2000, -90, -1, 0, 0.5, 83, 1439.99, 1440, 2000.25, 12_345):
        span = pd.Timedelta(minutes=minutes)
        for words in (str(span), str(span.to_pytimedelta())):
            assert parse_cell(DURATION, text(words)) == pytest.approx(minutes, abs=1e-5), words


@pytest.mark.parametrize(
    ("value", "number_format", "minutes"),
    [
        (0.5, "General", 720),
        (0, "General", 0),
        (-0.25, "General", -360),
        (0.0576388888888889, "0.00", 83),
        (0.5, "@", 720),
        (0.5, "yyyy-mm-dd", 720),  # Excel's day 0, which is no date
        (0, '0" h"', 0),
        (0.0576388888888889, "h:mm", 83),
        (0.0576388888888889, "mm:ss", 83),
        (0.0576388888888889, "hh\\hmm", 83),
        (0.0576388888888889, "[$-F400]h:mm:ss\\ AM/PM", 83),
        (1, "h:mm", 1440),
        (1.25, "h:mm;@", 1800),
        (1.5, "[h]:mm", 2160),
        (2.5, "d h:mm", 3600),
        (1.5, '0.00" days"', 2160),
        (1.0868055555555556, "[hh]:mm;@", 1565),
        (-0.0625, "[h]:mm", -90),
        (59, "h:mm", 59 * 1440),
        (60, "[h]:mm", 60 * 1440),
        (60.5, "h:mm", 60.5 * 1440),
        (61.25, "[h]:mm:ss", 61.25 * 1440),
        (365.5, "[mm]:ss", 365.5 * 1440),
    ],
)
def test_number_of_days_becomes_minutes(value, number_format, minutes):
    assert parse_cell(DURATION, number(value, number_format)) == pytest.approx(minutes, abs=1e-9)


@pytest.mark.parametrize(
    "cell",
    [
        *map(text, ["1,5", "83", "1:75", "soon", "1:23 h", "1:23 PM", "1:2:3:4", ":30", "1:", "1 day 1:75", "1 week"]),
        *map(text, ["-1 days 23:10:00", "1 day -1:00", "99999:00", "99999 days", "\uff11:23", "1:23:99", "1e300"]),
        *(number(value) for value in (1, 83, 2.5, -1)),
        number(5, '0" h"'),
        number(0.5, '0" h"'),
        number(0.5, "0%"),
        number(366, "[h]:mm"),
        number(-400, "[h]:mm"),
    ],
    ids=lambda cell: f"{cell.text} {cell.number_format}",
)
def test_what_is_no_duration_is_refused(cell):
    assert refusal(DURATION, cell).kind is Problem.CELL_UNREADABLE


A_DAY = dt.datetime(2024, 3, 1, 13, 45)
SERIAL = (A_DAY - dt.datetime(1899, 12, 30)) / dt.timedelta(days=1)
DATES = [
    *(number(SERIAL, form) for form in ("yyyy-mm-dd", "dd.mm.yyyy hh:mm", "d-mmm", "mmmm", "General", "0", "0.00")),
    *(number(SERIAL, form) for form in ("h:mm", "[h]:mm", "[mm]:ss", "d h:mm", '0" h"', '0.00" days"', "@")),
    number(SERIAL - 1462, "[h]:mm"),
    number(1.0625, "yyyy-mm-dd"),
    number(SERIAL * 24),
    number(SERIAL * 1440),
    number(math.floor(A_DAY.timestamp())),
    number(20240301),
    *map(
        text, [str(A_DAY), A_DAY.isoformat(), "1900-01-01 01:16:45", "01.03.2024", "1.3.24", "3/1/2024 13:45", "3-1-24"]
    ),
    *map(text, ["1 Mar 2024", "March 1", "1. M\u00e4rz", "20240301", "2024-03", str(SERIAL), str(int(SERIAL))]),
    *(Cell(CellType.DATE, words) for words in ("2024-03-01T13:45:00", "2024-03-01", "1899-12-30T01:16:00")),
]


@pytest.mark.parametrize("cell", DATES, ids=lambda cell: f"{cell.text} {cell.number_format}")
def test_a_date_is_no_duration_and_cannot_be_read_back_from_what_is_published(cell):
    """A digest of a date is no secret: there are few dates."""
    found = refusal(DURATION, cell).found
    assert re.fullmatch("onset_to_door_min (date|large)", found)


def test_time_as_iso_text_is_a_duration():
    assert parse_cell(DURATION, Cell(CellType.DATE, "T01:23:00")) == 83
