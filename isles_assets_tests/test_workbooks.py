"""Reading the clinical workbooks, cell by cell, and refusing whatever cannot be read."""

import datetime as dt
import math

import pandas as pd
import pytest

from isles_assets.lib.findings import Refusal
from isles_assets.reading.workbooks import (
    DictionaryEntry,
    WorkbookError,
    parse,
    read_clinical,
    read_clinical_rows,
    read_dictionary,
)
from isles_assets.release.clinical import Kind
from isles_assets.release.oddities import Trait
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2, NAN_TICI, NO_SEX
from isles_assets_tests.isles24 import BASELINE, DICTIONARY, ISLES24, OUTCOME, VARIABLES, WORKBOOKS
from isles_assets_tests.materials import clinical_workbook, edited_zip, headers_of, workbook
from isles_assets_tests.project import replace

SUBJECT = "sub-stroke0001"
BY_COLUMN = {variable.column: variable for variable in VARIABLES}
SHEET, BOOK = "xl/worksheets/sheet1.xml", "xl/workbook.xml"
DURATION = "Onset to door"


@pytest.fixture
def root(tmp_path):
    """A tree with the two workbooks of one subject."""
    replace(tmp_path / BASELINE.path(SUBJECT), clinical_workbook(BASELINE, {"Center": 1}))
    replace(tmp_path / OUTCOME.path(SUBJECT), clinical_workbook(OUTCOME, {"mRS 3 months": 3}))
    return tmp_path


def put(root, content, which=BASELINE, subject=SUBJECT):
    replace(root / which.path(subject), content)


def value_of(root, column):
    row, findings = read_clinical(ISLES24, root, SUBJECT)
    assert row is not None, findings
    return row.values[column]


def problem_of(root, which=BASELINE):
    """What is wrong with the one workbook that something is wrong with."""
    row, (finding,) = read_clinical(ISLES24, root, SUBJECT)
    assert row is None
    assert (finding.subject, finding.path, finding.fatal) == (SUBJECT, which.path(SUBJECT), True)
    assert finding.mend
    return finding.problem


@pytest.mark.parametrize(
    ("cell", "number_format", "minutes"),
    [
        (dt.time(1, 23), "h:mm", 83),
        (dt.time(1, 23, 30), "h:mm:ss", 83.5),
        (dt.time(0, 0), "h:mm", 0),
        (dt.timedelta(hours=1, minutes=23), "[h]:mm", 83),
        (dt.timedelta(hours=26, minutes=5), "[h]:mm", 1565),
        (dt.timedelta(hours=26, minutes=5), "[hh]:mm:ss", 1565),
        (dt.timedelta(days=3, hours=1), "[h]:mm", 4380),
        (dt.timedelta(minutes=-90), "[h]:mm", -90),
        (0.5, "h:mm", 720),
        (1.0, "h:mm", 1440),
        (1.25, "h:mm", 1800),
        (2.5, "d h:mm", 3600),
        (59.0, "h:mm", 59 * 1440),
        (61.25, "h:mm", 61.25 * 1440),
        (-0.25, "h:mm", -360),
        (1.5, "[h]:mm", 2160),
        ("1:23", "General", 83),
        ("01:23", "General", 83),
        (" 1:23 ", "General", 83),
        ("26:05", "General", 1565),
        ("1:23:30", "General", 83.5),
        ("0 days 01:23:00", "General", 83),
        ("1 day 02:00:00", "General", 1560),
        ("2 days 00:00:30.5", "General", 2880 + 30.5 / 60),
        ("-1:30", "General", -90),
    ],
)
def test_duration_becomes_minutes_whatever_the_cell_is(root, cell, number_format, minutes):
    put(root, clinical_workbook(BASELINE, {DURATION: cell}, formats={DURATION: number_format}))
    assert value_of(root, "onset_to_door_min") == pytest.approx(minutes, abs=1e-6)


def test_duration_does_not_depend_on_the_day_that_the_workbook_counts_from(root):
    """Workbooks made on old Macs count days from 1904."""
    content = clinical_workbook(BASELINE, {DURATION: 1.25}, formats={DURATION: "h:mm"})
    put(root, edited_zip(content, BOOK, lambda text: text.replace("<workbookPr />", '<workbookPr date1904="1" />')))
    assert value_of(root, "onset_to_door_min") == 1800


@pytest.mark.parametrize(
    "cell",
    ["1,5", "83", 83, 0.5, "1:75", "soon", "1:23 h", "1:2:3:4", "-1 days +23:15:00", ":30", "1:", dt.date(2024, 5, 1)],
)
def test_what_is_no_duration_is_refused(cell):
    with pytest.raises(ValueError, match="not a duration"):
        parse(BY_COLUMN["onset_to_door_min"], cell)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("cell", [None, "", "  ", "nan", "NaN", " nan ", math.nan, pd.NaT])
def test_missing_is_none_in_every_kind(kind, cell):
    assert parse(next(variable for variable in VARIABLES if variable.kind is kind), cell) is None


@pytest.mark.parametrize("kind", Kind)
def test_truth_value_is_refused_in_every_kind(kind):
    with pytest.raises(ValueError, match="truth value True"):
        parse(next(variable for variable in VARIABLES if variable.kind is kind), True)


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("age", 71, 71.0),
        ("age", 71.25, 71.25),
        ("age", "71.5", 71.5),
        ("age", " 71 ", 71.0),
        ("age", -1, -1.0),
        ("glucose_mg_dl", "1e2", 100.0),
        ("nihss_24h", 0, 0),
        ("nihss_24h", 4.0, 4),
        ("nihss_24h", "4", 4),
        ("nihss_24h", "4.0", 4),
        ("mrs_3month", 42, 42),
        ("mrs_3month", 420, 420),
        ("tici_postinterventional", "2c", "2c"),
        ("tici_postinterventional", " 2b ", "2b"),
        ("tici_postinterventional", 3, "3"),
        ("tici_postinterventional", 3.0, "3"),
        ("tici_postinterventional", "3", "3"),
        ("tici_postinterventional", 0, "0"),
        ("sex", "F", "F"),
    ],
)
def test_cell_becomes_the_value_of_its_kind(column, cell, value):
    parsed = parse(BY_COLUMN[column], cell)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("age", "71,5", "holds '71,5', which is not a number"),
        ("age", "unknown", "holds 'unknown', which is not a number"),
        ("age", "inf", "not a number"),
        ("age", math.inf, "not a number"),
        ("age", "#N/A", "holds the Excel error #N/A"),
        ("age", dt.time(1, 2), "not a number"),
        ("age", dt.datetime(2024, 5, 1), "not a number"),
        ("nihss_24h", 4.5, "holds 4.5, which is not a whole number"),
        ("nihss_24h", "4,0", "not a number"),
        ("nihss_24h", "4.5", "not a whole number"),
        ("nihss_24h", 40_000, "holds 40000"),
        ("sex", dt.time(1, 2), "not text"),
    ],
)
def test_what_is_not_of_the_kind_is_refused(column, cell, reason):
    with pytest.raises(ValueError) as caught:
        parse(BY_COLUMN[column], cell)
    assert reason in str(caught.value)


def test_blank_cells_are_missing_never_zero(root):
    put(root, clinical_workbook(BASELINE, {"Center": 2}))
    put(root, clinical_workbook(OUTCOME, {"TICI postinterventional": "nan", "NIHSS 24h": 0}), OUTCOME)
    row, _ = read_clinical(ISLES24, root, SUBJECT)
    assert row is not None
    assert {column: value for column, value in row.values.items() if value is not None} == {"center": 2, "nihss_24h": 0}
    assert list(row.values) == [variable.column for variable in VARIABLES]


def test_columns_are_found_by_name_not_by_place(root):
    header = headers_of(OUTCOME)[::-1]
    put(root, workbook([[f" {name} " for name in header], [*range(5), "2a"]]), OUTCOME)
    assert value_of(root, "mrs_3month") == 0
    assert value_of(root, "tici_postinterventional") == "2a"


def test_blank_columns_and_lines_do_not_matter(root):
    header = headers_of(OUTCOME)
    put(root, workbook([[*header, None, ""], [None], [*[3] * 6, None], [None, ""]]), OUTCOME)
    assert value_of(root, "mrs_3month") == 3


def renamed(old, new):
    return workbook([[new if name == old else name for name in headers_of(BASELINE)], [1] * 27])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (renamed("Age", None), "column `Age` is missing"),
        (
            renamed("Lipid lowering drugs", "Statins"),
            "column `Lipid lowering drugs` is missing (the dictionary's name `Statins` is there)",
        ),
        (renamed("Age", "Sex"), "column `Sex` stands 2 times"),
        (renamed("Age", "age"), "column `Age` is missing"),
        (renamed("Age", "Years"), "unknown columns `Years`"),
        (workbook([[*headers_of(BASELINE), "Name"], [1] * 28]), "unknown columns `Name`"),
        (workbook([headers_of(OUTCOME), [1] * 6]), "column `Center` is missing"),
        (workbook([headers_of(BASELINE)]), "has a header but no row"),
        (workbook([[]]), "is empty"),
        (workbook([headers_of(BASELINE), [1] * 27], [["notes"]]), "has 2 sheets instead of one"),
        (clinical_workbook(BASELINE, {"Center": 1}, {"Center": 2}), "holds 2 rows that differ"),
        (clinical_workbook(BASELINE, {"Center": 1}, {"Center": 1}, {"Center": 1, "Age": 5}), "holds 3 rows that diff"),
        (b"Center,Sex\n1,F\n", "cannot be read as a workbook"),
        (bytes(range(256)) * 20, "cannot be read as a workbook"),
        (b"", "cannot be read as a workbook"),
        (clinical_workbook(BASELINE, {"Center": 1})[:-30], "cannot be read as a workbook"),
        (clinical_workbook(BASELINE, {"Center": 1})[:2000], "cannot be read as a workbook"),
        (edited_zip(clinical_workbook(BASELINE, {"Center": 1}), SHEET, lambda _: "<x"), "cannot be read as a workbook"),
        (
            edited_zip(
                clinical_workbook(BASELINE, {"Center": 1}),
                BOOK,
                lambda text: f"{text.partition('<sheets>')[0]}<sheets/></workbook>",
            ),
            "has 0 sheets instead of one",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "workbook",  # not its bytes, which hold the time
)
def test_workbook_that_is_not_the_releases_is_refused(root, content, problem):
    put(root, content)
    assert problem in problem_of(root)


def test_missing_workbook_is_refused(root):
    (root / OUTCOME.path(SUBJECT)).unlink()
    assert problem_of(root, OUTCOME) == "is missing"


def test_cell_that_cannot_be_read_is_refused_under_its_header(root):
    put(root, clinical_workbook(BASELINE, {"Age": "71,5"}))
    assert problem_of(root) == "`Age` holds '71,5', which is not a number"


def test_truth_value_in_a_real_cell_is_refused(root):
    put(root, clinical_workbook(BASELINE, {"Diabetes": True}))
    assert "`Diabetes` holds the truth value True" in problem_of(root)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_identical_rows_are_one_and_reported(root, times):
    put(root, clinical_workbook(BASELINE, *[{"Center": 2, "Age": 71.5}] * times))
    row, findings = read_clinical(ISLES24, root, SUBJECT)
    assert not findings
    assert row is not None
    assert (row.values["center"], row.values["age"]) == (2, 71.5)
    assert row.repeated == ((BASELINE.path(SUBJECT),) if times > 1 else ())


def test_wrong_dimensions_of_the_sheet_do_not_hide_its_cells(root):
    """Some exporters write `A1`; pandas and Excel read the sheet all the same."""
    content = clinical_workbook(BASELINE, {"Door to recanalization": "1:30"})
    wrong = edited_zip(
        content, SHEET, lambda text: text.replace('<dimension ref="A1:AA2" />', '<dimension ref="A1" />')
    )
    put(root, wrong)
    assert list(pd.read_excel(root / BASELINE.path(SUBJECT))) == headers_of(BASELINE)
    assert value_of(root, "door_to_recanalization_min") == 90


def test_all_that_is_wrong_is_told_at_once(root):
    put(root, clinical_workbook(BASELINE, {"Age": "old", "Center": 1.5, DURATION: "long"}))
    put(root, b"no workbook", OUTCOME)
    put(root, clinical_workbook(BASELINE, {"Center": 1}), subject="sub-stroke0002")
    with pytest.raises(Refusal) as caught:
        read_clinical_rows(ISLES24, root, [SUBJECT, "sub-stroke0002"])
    assert "5 clinical values or workbooks" in caught.value.headline
    assert sorted((finding.path, finding.problem[:15]) for finding in caught.value.findings) == [
        (BASELINE.path(SUBJECT), "`Age` holds 'ol"),
        (BASELINE.path(SUBJECT), "`Center` holds "),
        (BASELINE.path(SUBJECT), "`Onset to door`"),
        (OUTCOME.path(SUBJECT), "cannot be read "),
        (OUTCOME.path("sub-stroke0002"), "is missing"),
    ]


def as_pandas_reads(root, subject):
    """The values by column from `pandas.read_excel`, with this test's own idea of a duration."""
    values = {}
    for which in WORKBOOKS:
        frame = pd.read_excel(root / which.path(subject), dtype=object).drop_duplicates()
        assert len(frame) == 1
        row = frame.iloc[0]
        for variable in VARIABLES:
            if variable.workbook is which:
                values[variable.column] = None if pd.isna(row[variable.header]) else expected(variable, row)
    return values


def expected(variable, row):
    cell = row[variable.header]
    if variable.kind is not Kind.MINUTES:
        return {Kind.WHOLE: int, Kind.NUMBER: float, Kind.LEVEL: str}[variable.kind](cell)
    if isinstance(cell, str) and cell.count(":") == 1:
        cell += ":00"
    return pd.to_timedelta(str(cell)).total_seconds() / 60


def test_every_value_is_what_pandas_reads(sample_tree):
    odd = {NO_SEX, NAN_TICI, HYPERLIPIDEMIA_2, *ISLES24.subjects_with(Trait.REPEATED_ROWS)}
    subjects = sorted({*ISLES24.subjects[::6], *odd})
    rows = read_clinical_rows(ISLES24, sample_tree, subjects)
    assert [row.subject for row in rows] == subjects
    for row in rows:
        assert dict(row.values) == as_pandas_reads(sample_tree, row.subject), row.subject
    assert {row.subject for row in rows if row.repeated} == set(ISLES24.subjects_with(Trait.REPEATED_ROWS))


def dictionary(*rows, sheet=DICTIONARY.sheet, header=DICTIONARY.headers, above=2):
    content = workbook([*[["note"]] * above, header, *rows])
    return edited_zip(content, BOOK, lambda text: text.replace('name="Sheet"', f'name="{sheet}"'))


ROWS = [["", "Identifier", None, "text", ""], ["", "Age", "years", "integer", ""], ["", "Sex", "-", "categorical", ""]]


def test_dictionary_is_read_below_its_header(tmp_path):
    replace(tmp_path / DICTIONARY.path, dictionary(*ROWS))
    assert read_dictionary(DICTIONARY, tmp_path) == [
        DictionaryEntry("Identifier", ""),
        DictionaryEntry("Age", "years"),
        DictionaryEntry("Sex", ""),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "is missing"),
        (b"no workbook", "cannot be read as a workbook"),
        (dictionary(*ROWS, sheet="Table 1"), "has no sheet `Suppl. Tab. 1`, only Table 1"),
        (dictionary(*ROWS, above=1), "row 3 is not the header Timepoint, Parameter, Unit, Data type, Description"),
        (dictionary(header=["Name", "Unit"]), "row 3 is not the header"),
        (workbook([["one line"]]), "has no sheet"),
    ],
)
def test_dictionary_that_is_not_the_releases_is_refused(tmp_path, content, problem):
    if content is not None:
        replace(tmp_path / DICTIONARY.path, content)
    with pytest.raises(WorkbookError, match=problem):
        read_dictionary(DICTIONARY, tmp_path)


def test_outcome_with_nothing_but_its_header_is_all_missing_and_reported(small_tree):
    replace(small_tree / OUTCOME.path("sub-stroke0014"), workbook([headers_of(OUTCOME)]))
    row, findings = read_clinical(ISLES24, small_tree, "sub-stroke0014")
    assert findings == []
    assert {row.values[variable.column] for variable in VARIABLES if variable.workbook is OUTCOME} == {None}
    assert row.values["age"] is not None
    assert row.blank == (OUTCOME.path("sub-stroke0014"),)
