"""Reading the clinical workbooks: a row whatever they look like, and a finding for each thing that is odd in them."""

import random

import pandas as pd
import pyarrow.parquet as pq
import pytest

from isles_assets.lib.findings import Level, Refusal
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.reading.workbooks import DictionaryEntry, WorkbookError, read_clinical_rows, read_dictionary
from isles_assets.release.clinical import Kind
from isles_assets.release.oddities import Trait
from isles_assets.release.problems import Problem
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2, NO_SEX, dictionary_bytes, workbook_bytes
from isles_assets.tables.clinical import (
    clinical_table,
    read_clinical_findings,
    read_clinical_table,
    write_clinical_findings,
)
from isles_assets.tables.storage import write_table
from isles_assets_tests.isles24 import BASELINE, DICTIONARY, ISLES24, OUTCOME, VARIABLES, WORKBOOKS, folder_at
from isles_assets_tests.materials import clinical_workbook, edited_zip, headers_of, workbook
from isles_assets_tests.project import replace
from isles_assets_tests.xlsx import BOOK, SHEET, formula, number, rows_of, sheet, text, typed, xlsx

SUBJECT = "sub-stroke0001"
DURATION = "Onset to door"
OF_BASELINE = [variable.column for variable in VARIABLES if variable.workbook is BASELINE]


@pytest.fixture
def root(tmp_path):
    """A tree with the two workbooks of one subject."""
    put(tmp_path, clinical_workbook(BASELINE, {"Center": 1}))
    put(tmp_path, clinical_workbook(OUTCOME, {"mRS 3 months": 3}), OUTCOME)
    return tmp_path


def put(root, content, which=BASELINE, subject=SUBJECT):
    replace(root / which.path(subject), content)


def read(root, subject=SUBJECT):
    (row,) = read_clinical_rows(ISLES24, root, [subject])
    assert list(row.values) == [variable.column for variable in VARIABLES]
    assert all(finding.subject == subject and finding.mend for finding in row.findings)
    return row


def given(row):
    """The values that are not null."""
    return {column: value for column, value in row.values.items() if value is not None}


def told(row):
    """Kind and what was found of each finding."""
    return [finding.found for finding in row.findings]


def the_finding(row, which=BASELINE):
    (finding,) = row.findings
    assert finding.path == which.path(SUBJECT)
    return finding


def raw_workbook(*rows, which=BASELINE):
    """A workbook with the release's headers and rows of cells by header, word for word."""
    header = headers_of(which)
    return xlsx(sheet(rows_of([list(map(text, header)), *([row.get(name) for name in header] for row in rows)])))


def test_blank_cells_are_missing_never_zero(root):
    put(root, clinical_workbook(BASELINE, {"Center": 2, "Glucose": 0, "Sex": "n/a", "CRP": "-"}))
    put(root, clinical_workbook(OUTCOME, {"TICI postinterventional": "nan", "NIHSS 24h": 0}), OUTCOME)
    row = read(root)
    assert given(row) == {"center": 2, "glucose_mg_dl": 0, "nihss_24h": 0}
    assert not row.findings


def test_columns_are_found_by_name_not_by_place(root):
    put(root, workbook([[f" {name} " for name in headers_of(OUTCOME)[::-1]], [*range(5), "2a"]]), OUTCOME)
    row = read(root)
    assert (row.values["mrs_3month"], row.values["tici_postinterventional"]) == (0, "2a")
    assert not row.findings


def test_blank_columns_and_lines_do_not_matter(root):
    header = headers_of(OUTCOME)
    put(root, workbook([[None], [*header, None, " "], [None], [*[3] * 6, None], [None, ""]]), OUTCOME)
    row = read(root)
    assert row.values["mrs_3month"] == 3
    assert not row.findings


def test_one_cell_that_cannot_be_read_is_null_and_named_and_the_others_are_read(root):
    put(root, raw_workbook({"Age": text("71,5"), "Center": number(2), "Glucose": text("7.1 mmol/l")}))
    row = read(root)
    assert given(row) == {"center": 2, "mrs_3month": 3}
    age, glucose = row.findings
    assert age.problem == "`Age` (C2) holds `71,5`, which is not a number"
    assert (age.code, age.level, age.path) == ("cell-unreadable", Level.WAIVABLE, BASELINE.path(SUBJECT))
    assert age.found == f"cell-unreadable age {fingerprint('71,5')}"
    assert "`Glucose` (K2) holds `7.1 mmol/l`" in glucose.problem


@pytest.mark.parametrize(
    "cell",
    [
        typed("b", "1"),
        typed("e", "#N/A"),
        typed("e", "#VALUE!"),
        formula(cached="<v>1</v>", kind="b"),
        formula(cached="<v>#DIV/0!</v>", kind="e"),
        formula(cached="<v>many</v>", kind="str"),
        typed("s", "99"),
        number("1e400"),
        number(0.5, "h:mm"),
    ],
)
def test_what_excel_shows_but_is_no_number_is_null_and_named(root, cell):
    put(root, raw_workbook({"Glucose": cell, "Center": number(1)}))
    row = read(root)
    assert given(row) == {"center": 1, "mrs_3month": 3}
    assert the_finding(row).code == "cell-unreadable"


def test_formula_is_its_value_and_without_one_it_is_not_missing(root):
    cells = {"Center": formula(cached="<v>2</v>"), "Sex": formula(cached="<v>F</v>", kind="str"), "Glucose": formula()}
    put(root, raw_workbook(cells))
    row = read(root)
    assert given(row) == {"center": 2, "sex": "F", "mrs_3month": 3}
    finding = the_finding(row)
    assert (finding.found, finding.level) == ("cell-not-calculated glucose_mg_dl", Level.WAIVABLE)
    assert "save it" in str(finding.mend)


def test_header_that_is_a_formula_is_its_value_or_named(root):
    table = [[formula(cached="<v>Center</v>", kind="str"), formula(), text("Age")], [number(1), text("F"), number(70)]]
    put(root, xlsx(sheet(rows_of(table))))
    row = read(root)
    assert given(row) == {"center": 1, "age": 70, "mrs_3month": 3}
    assert "cell-not-calculated header B1" in told(row)
    assert "workbook-form sex" in told(row)


@pytest.mark.parametrize("number_format", ["yyyy-mm-dd", "dd.mm.yyyy hh:mm", "h:mm", "[h]:mm", "General"])
def test_date_in_a_duration_is_null_and_its_day_is_not_in_what_is_found(root, number_format):
    put(root, raw_workbook({DURATION: number(45352.5, number_format)}))
    row = read(root)
    assert row.values["onset_to_door_min"] is None
    assert the_finding(row).found in (
        "cell-unreadable onset_to_door_min date",
        "cell-unreadable onset_to_door_min large",
    )


@pytest.mark.parametrize("calendar", ["", '<workbookPr date1904="1"/>'])
@pytest.mark.parametrize(("days", "minutes"), [(0.5, 720), (1.25, 1800), (59, 84_960), (60, 86_400), (61, 87_840)])
def test_duration_does_not_depend_on_the_day_that_the_workbook_counts_from(root, calendar, days, minutes):
    content = raw_workbook({DURATION: number(days, "[h]:mm")})
    put(root, edited_zip(content, BOOK, lambda text: text.replace("<sheets>", f"{calendar}<sheets>")))
    assert read(root).values["onset_to_door_min"] == minutes


@pytest.mark.parametrize("times", [1, 2, 3])
def test_identical_rows_are_one_and_reported(root, times):
    put(root, clinical_workbook(BASELINE, *[{"Center": 2, "Age": 71.5}] * times))
    row = read(root)
    assert given(row) == {"center": 2, "age": 71.5, "mrs_3month": 3}
    assert not row.findings
    assert row.repeated == ((BASELINE.path(SUBJECT),) if times > 1 else ())


@pytest.mark.parametrize("other", [typed("b", "1"), text("1"), number("1.0"), number(2), None, number(1, "yyyy-mm-dd")])
def test_cells_in_which_rows_differ_are_null_and_the_others_are_read(root, other):
    """Also those that Python takes for equal: 1, 1.0 and True."""
    same = {"Age": number("71.5"), "CRP": text("nan")}
    put(root, raw_workbook({"Center": number(1), **same}, {"Center": other, **same, "CRP": None}))
    row = read(root)
    assert given(row) == {"age": 71.5, "mrs_3month": 3}
    finding = the_finding(row)
    assert (finding.found, finding.level) == ("rows-differ center", Level.WAIVABLE)
    assert "rows 2, 3 differ in `Center`" in finding.problem
    assert not row.repeated


def renamed(old, new):
    return workbook([[new if name == old else name for name in headers_of(BASELINE)], [0] * 27])


@pytest.mark.parametrize(
    ("content", "found", "words"),
    [
        (renamed("Age", None), ["workbook-form age", "workbook-extra"], "column `Age` is missing"),
        (
            renamed("Lipid lowering drugs", "Statins"),
            ["workbook-extra", "workbook-form lipid_lowering_drugs"],
            "column `Lipid lowering drugs` is missing (`Statins` is there)",
        ),
        (renamed("Age", "age"), ["workbook-extra", "workbook-form age"], "`Age` is missing (`age` is there)"),
        (renamed("Age", "\u0410ge"), ["workbook-extra", "workbook-form age"], r"unknown columns: `\u0410ge`"),
        (renamed("Age", "Sex"), ["workbook-form sex", "workbook-form age"], "column `Sex` appears 2 times"),
        (renamed("Age", "Years"), ["workbook-extra", "workbook-form age"], "unknown columns: `Years`"),
    ],
)
def test_column_that_is_not_there_once_is_null_and_the_others_are_read(root, content, found, words):
    put(root, content)
    row = read(root)
    assert told(row) == found
    assert any(words in finding.problem for finding in row.findings)
    lost = {told.split()[1] for told in found if " " in told}
    assert {column for column in OF_BASELINE if row.values[column] is None} == lost


def test_column_sheet_and_text_that_no_variable_has_are_notes_and_left_out(root):
    header = headers_of(BASELINE)
    table = [["Patients of 2024"], [], [*header, "Name"], [*[0] * 27, "Doe", "a comment"]]
    put(root, workbook(table, [["more"]]))
    row = read(root)
    assert {row.values[column] for column in OF_BASELINE} == {0, "0"}
    assert [finding.level for finding in row.findings] == [Level.NOTE] * 4
    assert [finding.problem for finding in row.findings] == [
        "has more than one sheet; not read: `Sheet1`",
        "has text above its header, in row 1",
        "has unknown columns: `Name`",
        "has cells below no header: AC4",
    ]


@pytest.mark.parametrize(
    "sheets",
    [
        lambda table: [[], table],
        lambda table: [table, []],
        lambda table: [[], [[None, " "]], table],
    ],
)
def test_empty_sheets_do_not_matter(root, sheets):
    put(root, workbook(*sheets([headers_of(OUTCOME), [3] * 6])), OUTCOME)
    row = read(root)
    assert row.values["mrs_3month"] == 3
    assert not row.findings


def test_of_several_sheets_the_first_with_the_variables_is_read(root):
    header = headers_of(OUTCOME)
    put(root, workbook([["notes"]], [header], [header, [3] * 6], [header, [4] * 6]), OUTCOME)
    row = read(root)
    assert row.values["mrs_3month"] == 3
    assert the_finding(row, OUTCOME).problem == "has more than one sheet; not read: `Sheet`, `Sheet1`, `Sheet3`"


@pytest.mark.parametrize(
    "header",
    ["Atrial\u00a0fibrillation", "\ufeffAtrial fibrillation", "Atrial\nfibrillation", "Atrial fibri\u00adllation",
     "\uff21trial fibrillation", "Atrial\u2009fibrillation\u200b", "Atrial\tfibrillation"],
)  # fmt: skip
def test_header_that_only_looks_the_same_is_read_and_noted_as_it_is_written(root, header):
    put(root, workbook([["Center", header], [1, 0]]))
    row = read(root)
    assert row.values["atrial_fibrillation"] == 0
    (note,) = (finding for finding in row.findings if finding.code == "workbook-header")
    assert note.level is Level.NOTE
    assert f"`{ascii(header)[1:-1]}`" in note.problem


def test_hyphens_and_stray_blanks_of_headers_are_no_difference(root):
    put(root, workbook([["Center", "In\u2011House", " Door  to   groin "], [1, 0, "1:00"]]))
    row = read(root)
    assert (row.values["in_house"], row.values["door_to_groin_min"]) == (0, 60)
    assert [found for found in told(row) if found == "workbook-header"] == ["workbook-header"]


NO_SHEET = edited_zip(
    clinical_workbook(BASELINE, {"Center": 1}),
    BOOK,
    lambda text: f"{text.partition('<sheets>')[0]}<sheets/></workbook>",
)


@pytest.mark.parametrize(
    ("content", "level", "found", "words"),
    [
        (workbook([headers_of(BASELINE)]), Level.WAIVABLE, "workbook-form row", "has a header but no row"),
        (workbook([[]]), Level.WAIVABLE, "workbook-form empty", "is empty"),
        (workbook([[None, "  "]]), Level.WAIVABLE, "workbook-form empty", "is empty"),
        (NO_SHEET, Level.WAIVABLE, "workbook-form sheet", "has no sheet"),
        (workbook([headers_of(OUTCOME), [1] * 6]), Level.WAIVABLE, "workbook-form columns", "has none of the columns"),
        (b"Center,Sex\n1,F\n", Level.FATAL, "workbook-damaged", "cannot be read as a workbook"),
        (None, Level.FATAL, "workbook-damaged", "is missing"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",  # not its bytes, which hold the time
)
def test_workbook_of_another_form_is_null_and_the_other_one_is_read(root, content, level, found, words):
    (root / BASELINE.path(SUBJECT)).unlink()
    if content is not None:
        put(root, content)
    row = read(root)
    assert given(row) == {"mrs_3month": 3}
    finding = the_finding(row)
    assert (finding.level, finding.found) == (level, found)
    assert words in finding.problem
    assert not row.blank


@pytest.mark.parametrize("rows", [[], [[None] * 6]])
def test_outcome_with_nothing_but_its_header_is_all_missing_and_reported(root, rows):
    put(root, workbook([headers_of(OUTCOME), *rows]), OUTCOME)
    row = read(root)
    assert given(row) == {"center": 1}
    assert not row.findings
    assert row.blank == (OUTCOME.path(SUBJECT),)


def test_wrong_dimensions_of_the_sheet_do_not_hide_its_cells(root):
    """Some exporters write `A1`; pandas and Excel read the sheet all the same."""
    content = clinical_workbook(BASELINE, {"Door to recanalization": "1:30"})
    put(root, edited_zip(content, SHEET, lambda text: text.replace('ref="A1:AA2"', 'ref="A1"')))
    assert list(pd.read_excel(root / BASELINE.path(SUBJECT))) == headers_of(BASELINE)
    assert read(root).values["door_to_recanalization_min"] == 90


def test_nothing_of_one_subject_stops_another(root):
    put(root, b"no workbook", subject="sub-stroke0002")
    put(root, clinical_workbook(BASELINE, {"Age": 71.5}), subject="sub-stroke0003")
    rows = read_clinical_rows(ISLES24, root, ["sub-stroke0002", SUBJECT, "sub-stroke0003"])
    assert [row.subject for row in rows] == ["sub-stroke0002", SUBJECT, "sub-stroke0003"]
    assert [len(row.findings) for row in rows] == [2, 0, 1]
    assert rows[2].values["age"] == 71.5


def test_any_cell_in_any_place_gives_a_row(root):
    """Cells and rows of all kinds at random: values are of their kinds, and what is lost is named."""
    rng = random.Random(3)
    cells = [
        None, number(1), number("1.5"), number(3, "h:mm"), number(45352, "yyyy-mm-dd"), number("x"), text("F"),
        text("1:23"), text("nan"), text("\u0661"), text("#N/A"), text("x" * 500), typed("b", "0"), typed("e", "#NUM!"),
        typed("s", "5"),
        typed("d", "2024-03-01"), typed("?", "1"), formula(), formula(cached="<v>2</v>"),
        formula(attributes=' t="array" ref="A2:F3"'), "<c/>",
    ]  # fmt: skip
    kinds = set()
    for _ in range(150):
        header = [text(name) for name in headers_of(BASELINE)]
        for _ in range(rng.choice((0, 0, 0, 1, 3))):
            header[rng.randrange(27)] = rng.choice([*cells, text("Age"), text("\u00a0Sex")])
        rows = [rng.choices(cells, k=rng.choice((27, 27, 27, 5, 30))) for _ in range(rng.choice((0, 1, 1, 2)))]
        put(root, xlsx(sheet(rows_of([header, *rows, rng.choice((rows or [[]])[:1])]))))
        row = read(root)
        for variable in VARIABLES:
            value = row.values[variable.column]
            assert value is None or type(value) is {Kind.WHOLE: int, Kind.LEVEL: str}.get(variable.kind, float)
        kinds |= {finding.code for finding in row.findings}
        clinical_table(ISLES24, [row])
    assert kinds == {
        problem.code
        for problem in (
            Problem.CELL_UNREADABLE, Problem.CELL_NOT_CALCULATED, Problem.ROWS_DIFFER, Problem.WORKBOOK_FORM,
            Problem.WORKBOOK_EXTRA, Problem.WORKBOOK_HEADER,
        )
    }  # fmt: skip


def test_findings_come_back_as_they_were_and_are_no_part_of_the_table(tmp_path, root):
    put(root, raw_workbook({"Age": text("old"), "Center": formula()}))
    (root / OUTCOME.path(SUBJECT)).unlink()
    odd, folder = read(root), folder_at(tmp_path / "data")
    write_clinical_findings(folder, [odd])
    assert tuple(read_clinical_findings(folder)) == odd.findings
    assert {finding.level for finding in odd.findings} == {Level.WAIVABLE, Level.FATAL}

    put(root, clinical_workbook(BASELINE))
    write_table(folder.clinical, clinical_table(ISLES24, [odd]))
    with_findings = folder.clinical.read_bytes()
    put(root, clinical_workbook(BASELINE, {"Age": "nan"}))
    put(root, clinical_workbook(OUTCOME), OUTCOME)
    sound = read(root)
    write_table(folder.clinical, clinical_table(ISLES24, [sound]))
    assert folder.clinical.read_bytes() == with_findings

    write_clinical_findings(folder, [sound])
    assert read_clinical_findings(folder) == list(sound.findings)


def test_findings_that_are_missing_or_of_another_version_are_to_be_made_again(tmp_path):
    folder = folder_at(tmp_path)
    with pytest.raises(Refusal, match="does not exist yet"):
        read_clinical_findings(folder)
    write_clinical_findings(folder, [])
    table = pq.read_table(folder.clinical_findings)
    write_table(folder.clinical_findings, table.drop_columns(["mend"]))
    with pytest.raises(Refusal, match="another version"):
        read_clinical_findings(folder)
    unknown = dict.fromkeys(table.column_names, "") | {"code": "bad-weather"}
    write_table(folder.clinical_findings, table.from_pylist([unknown], table.schema))
    with pytest.raises(Refusal, match="another version"):
        read_clinical_findings(folder)


def test_table_of_other_columns_is_read_for_the_checks_and_refused_if_strict(tmp_path, root):
    folder, table = folder_at(tmp_path / "data"), clinical_table(ISLES24, [read(root)])
    write_table(folder.clinical, table)
    assert read_clinical_table(folder, strict=True).equals(table)
    write_table(folder.clinical, table.drop_columns(["age"]))
    assert "age" not in read_clinical_table(folder).column_names
    with pytest.raises(Refusal, match="another version"):
        read_clinical_table(folder, strict=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """The workbooks of the sample of some subjects, all odd ones among them."""
    root = tmp_path_factory.mktemp("sample")
    odd = {NO_SEX, HYPERLIPIDEMIA_2, *ISLES24.subjects_with(Trait.REPEATED_ROWS)}
    subjects = sorted({*ISLES24.subjects[::6], *odd})
    for subject in subjects:
        for which in WORKBOOKS:
            put(root, workbook_bytes(ISLES24, which, subject, 0), which, subject)
    return root, subjects


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
    return pd.to_timedelta(str(cell)) / pd.Timedelta(minutes=1)


def test_every_value_is_what_pandas_reads(sample):
    root, subjects = sample
    rows = read_clinical_rows(ISLES24, root, subjects)
    assert [row.subject for row in rows] == subjects
    for row in rows:
        assert dict(row.values) == as_pandas_reads(root, row.subject), row.subject
        assert not row.findings
    assert {row.subject for row in rows if row.repeated} == set(ISLES24.subjects_with(Trait.REPEATED_ROWS))


def dictionary(*rows, name=DICTIONARY.sheet, header=DICTIONARY.headers, above=2):
    """A dictionary workbook in which only cells that hold something are written, as Excel does."""
    table = [*[["note"]] * above, header, *rows]
    return xlsx(sheet(rows_of([[text(cell) if cell else None for cell in row] for row in table])), names=[name])


ROWS = [
    ["Baseline", "Identifier"],
    ["Baseline", "Age ", " ", "integer", ""],
    ["Baseline", "Atrial  fibrillation", "-", "categorial"],
    ["Baseline", "Onset\u00a0to door", "hrs:min "],
    ["Outcome", "", "mg/dl"],
    [],
    ["Abbreviations: PAIs, platelet aggregation inhibitors."],
    ["", "", "", "", "", "a comment"],
]
ENTRIES = [
    DictionaryEntry("Identifier", ""),
    DictionaryEntry("Age", ""),
    DictionaryEntry("Atrial fibrillation", ""),
    DictionaryEntry("Onset to door", "hrs:min"),
]


@pytest.mark.parametrize(
    "content",
    [
        dictionary(*ROWS),
        dictionary(*ROWS, header=["Timepoint ", "Parameter", "Unit", "Data  type", "Description", "Remarks"]),
        dictionary(*ROWS, name=f" {DICTIONARY.sheet} "),
    ],
)
def test_dictionary_is_read_below_its_header_whatever_its_rows_look_like(tmp_path, content):
    replace(tmp_path / DICTIONARY.path, content)
    assert read_dictionary(DICTIONARY, tmp_path) == ENTRIES


def test_dictionary_of_the_sample_lists_each_variable_that_has_a_name_there(tmp_path):
    replace(tmp_path / DICTIONARY.path, dictionary_bytes(ISLES24, DICTIONARY))
    listed = {entry.parameter for entry in read_dictionary(DICTIONARY, tmp_path)}
    assert listed == {DICTIONARY.identifier, *(each.dictionary for each in VARIABLES if each.dictionary)}


def test_dictionary_without_a_line_is_empty(tmp_path):
    replace(tmp_path / DICTIONARY.path, dictionary())
    assert read_dictionary(DICTIONARY, tmp_path) == []


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (None, Problem.WORKBOOK_DAMAGED, "is missing"),
        (b"no workbook", Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (dictionary(*ROWS, name="Table 1"), Problem.WORKBOOK_FORM, "has no sheet `Suppl. Tab. 1`, only Table 1"),
        (dictionary(*ROWS, above=1), Problem.WORKBOOK_FORM, "row 3 is not the header Timepoint, Parameter, Unit"),
        (dictionary(header=["Name", "Unit"]), Problem.WORKBOOK_FORM, "row 3 is not the header"),
        (xlsx(sheet(""), names=[DICTIONARY.sheet]), Problem.WORKBOOK_FORM, "row 3 is not the header"),
        (xlsx(), Problem.WORKBOOK_FORM, "has no sheet `Suppl. Tab. 1`, only none"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_dictionary_that_is_not_the_releases_is_refused(tmp_path, content, kind, words):
    if content is not None:
        replace(tmp_path / DICTIONARY.path, content)
    with pytest.raises(WorkbookError, match=words) as caught:
        read_dictionary(DICTIONARY, tmp_path)
    assert caught.value.kind is kind
