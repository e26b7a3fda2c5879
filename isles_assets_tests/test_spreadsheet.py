"""Opening .xlsx workbooks: what cells hold, whoever wrote them, and files that are no workbooks or would never end."""

import itertools
import random
import subprocess
import sys
from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_LZMA, ZipFile

import openpyxl
import pytest

from isles_assets.reading.spreadsheet import CellType, WorkbookError, read_sheets
from isles_assets.release.problems import Problem
from isles_assets.sample.clinical import workbook_bytes
from isles_assets_tests.isles24 import ISLES24, WORKBOOKS
from isles_assets_tests.materials import edited_zip, workbook
from isles_assets_tests.project import replace
from isles_assets_tests.xlsx import (
    BOOK,
    MAIN,
    SHEET,
    STRINGS,
    STYLES,
    column_name,
    formula,
    number,
    rows_of,
    sheet,
    text,
    typed,
    xlsx,
)

HEAD = [text("Age"), text("Sex")]
TABLE = sheet(rows_of([HEAD, [number(1), text("F")]]))


@pytest.fixture
def opened(tmp_path):
    """Reads the sheets of a workbook given as bytes."""

    def read(content):
        replace(tmp_path / "book.xlsx", content)
        return read_sheets(tmp_path / "book.xlsx")

    return read


def held(sheets, which=0):
    """The text of each cell of a sheet by its place."""
    return {cell.at: cell.text for row in sheets[which].rows for cell in row.cells.values()}


def one_cell(opened, cell, **options):
    """The cell in the second row of a workbook."""
    (_, *rows) = opened(xlsx(sheet(rows_of([HEAD, [cell]])), **options))[0].rows
    return rows[0].cells[1] if rows else None


@pytest.mark.parametrize(
    ("cell", "kind", "held"),
    [
        (number("0.1"), CellType.NUMBER, "0.1"),
        (text(" two  blanks "), CellType.TEXT, " two  blanks "),
        (text("a & <b>"), CellType.TEXT, "a & <b>"),
        ('<c t="inlineStr"><is><r><t>ri</t></r><r><rPr><b/></rPr><t>ch</t></r></is></c>', CellType.TEXT, "rich"),
        ('<c t="inlineStr"><is><t>kan</t><rPh sb="0" eb="1"><t>aside</t></rPh></is></c>', CellType.TEXT, "kan"),
        (text("line_x000A_line_x005F_"), CellType.TEXT, "line\nline_"),
        (text("_xD83D_"), CellType.TEXT, "_xD83D_"),
        (typed("s", "0"), CellType.TEXT, "shared"),
        (typed("s", "1"), CellType.TEXT, "rich"),
        (typed("s", "2"), CellType.UNKNOWN, "2"),
        (typed("s", "-1"), CellType.UNKNOWN, "-1"),
        (typed("str", "plain"), CellType.TEXT, "plain"),
        (typed("b", "1"), CellType.TRUTH, "1"),
        (typed("e", "#N/A"), CellType.ERROR, "#N/A"),
        (typed("d", "2024-03-01"), CellType.DATE, "2024-03-01"),
        (typed("x", "7"), CellType.UNKNOWN, "7"),
        (number("seven"), CellType.NUMBER, "seven"),
        (formula(cached="<v>2</v>"), CellType.NUMBER, "2"),
        (formula(cached="<v>0</v>"), CellType.NUMBER, "0"),
        (formula(cached="<v>two</v>", kind="str"), CellType.TEXT, "two"),
        (formula(cached="<v>1</v>", kind="b"), CellType.TRUTH, "1"),
        (formula(cached="<v>#REF!</v>", kind="e"), CellType.ERROR, "#REF!"),
        (formula("", cached="<v>2</v>", attributes=' t="shared" si="0"'), CellType.NUMBER, "2"),
        (formula(cached="<v>2</v>", attributes=' t="array" ref="A2:A3"'), CellType.NUMBER, "2"),
        (formula(), CellType.NOT_CALCULATED, ""),
        (formula(cached="<v/>"), CellType.NOT_CALCULATED, ""),
        (formula(kind="str"), CellType.NOT_CALCULATED, ""),
        (formula(cached="<v></v>", kind="b"), CellType.NOT_CALCULATED, ""),
        (formula("", attributes=' t="shared" si="0"'), CellType.NOT_CALCULATED, ""),
        (formula(attributes=' t="array" ref="A2"'), CellType.NOT_CALCULATED, ""),
    ],
)
def test_cell_is_read_as_the_file_has_it(opened, cell, kind, held):
    read = one_cell(opened, cell, strings="<si><t>shared</t></si><si><r><t>ri</t></r><r><t>ch</t></r></si>")
    assert (read.type, read.text, read.at) == (kind, held, "A2")


@pytest.mark.parametrize(
    "cell", ["<c/>", "<c><v/></c>", text("  \u00a0"), text(""), formula(cached="<v></v>", kind="str"), typed("s", "0")]
)
def test_cell_of_nothing_but_blanks_holds_nothing(opened, cell):
    assert one_cell(opened, cell, strings="<si/>") is None


def test_number_format_is_that_of_the_cell_whatever_the_styles_look_like(opened):
    """The fill without a pattern, which is in these styles, makes openpyxl raise a bare TypeError."""
    assert one_cell(opened, number(1, "[h]:mm")).number_format == "[h]:mm"
    assert one_cell(opened, number(1, '0.00" days"')).number_format == '0.00" days"'
    assert one_cell(opened, '<c s="999"><v>1</v></c>').number_format == "General"
    built_in = f'<styleSheet xmlns="{MAIN}"><cellXfs><xf numFmtId="46"/><xf numFmtId="14"/><xf/></cellXfs></styleSheet>'
    forms = [one_cell(opened, f'<c s="{n}"><v>1</v></c>', styles=built_in).number_format for n in range(3)]
    assert forms == ["[h]:mm:ss", "mm-dd-yy", "General"]


def test_cells_of_an_array_that_was_not_calculated_are_not_empty(opened):
    array = formula(attributes=' t="array" ref="A2:C2"')
    cells = opened(xlsx(sheet(rows_of([HEAD, [array, "<c/>", None, number(4)]]))))[0].rows[1].cells
    assert [cells[column].type for column in (1, 2, 3)] == [CellType.NOT_CALCULATED] * 3
    assert cells[4].text == "4"


def test_zero_that_a_library_wrote_in_place_of_a_value_is_none(opened):
    """XlsxWriter writes 0 for every formula, and asks Excel to calculate them when the workbook is opened."""
    asks = '<calcPr calcId="124519" fullCalcOnLoad="1"/>'
    assert one_cell(opened, formula(cached="<v>0</v>"), book=asks).type is CellType.NOT_CALCULATED
    assert one_cell(opened, formula(cached="<v>99</v>"), book=asks).text == "99"
    assert one_cell(opened, number(0), book=asks).text == "0"


def test_what_openpyxl_writes_is_read(opened):
    sheets = opened(workbook([["Age", None, "Sex"], [71.25, True, "=1+1"]], [["notes"]]))
    assert held(sheets) == {"A1": "Age", "C1": "Sex", "A2": "71.25", "B2": "1", "C2": ""}
    assert (sheets[1].name, held(sheets, 1)) == ("Sheet1", {"A1": "notes"})


def test_cells_without_places_and_false_dimensions_are_read(opened):
    table = sheet(rows_of([HEAD, [number(1), text("F")]], references=False))
    table = table.replace("<sheetData>", '<dimension ref="A1"/><sheetData>')
    assert held(opened(xlsx(table))) == {"A1": "Age", "B1": "Sex", "A2": "1", "B2": "F"}


def test_other_ways_to_write_the_same_are_read(opened):
    plain = held(opened(xlsx(TABLE)))
    prefixed = TABLE.replace("xmlns=", "xmlns:x=").replace("<", "<x:").replace("<x:/", "</x:")
    assert held(opened(xlsx(prefixed))) == plain
    assert held(opened(xlsx("\ufeff" + TABLE))) == plain
    absolute = edited_zip(
        xlsx(TABLE), "xl/_rels/workbook.xml.rels", lambda text: text.replace('"worksheets', '"/xl/worksheets')
    )
    assert held(opened(absolute)) == plain
    elsewhere = edited_zip(xlsx(TABLE), "_rels/.rels", lambda text: text.replace("xl/workbook", "XL/Workbook"))
    assert held(opened(elsewhere)) == plain


def test_a_cell_at_the_end_of_the_world_is_one_cell(opened):
    far = sheet('<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>')
    assert held(opened(xlsx(far))) == {"A1": "1", "XFD1048576": "2"}


def test_merged_and_styled_cells_do_no_harm(opened):
    merged = TABLE.replace("</sheetData>", '</sheetData><mergeCells><mergeCell ref="A1:XFD1048576"/></mergeCells>')
    assert held(opened(xlsx(merged))) == held(opened(xlsx(TABLE)))


def without(name):
    kept = BytesIO()
    with ZipFile(BytesIO(xlsx(TABLE))) as source, ZipFile(kept, "w") as target:
        for member in source.namelist():
            if member != name:
                target.writestr(member, source.read(member))
    return kept.getvalue()


def declared(content, size):
    """The archive with another unpacked size of the sheet in its directory."""
    at = content.rindex(SHEET.encode()) - 46
    assert content[at : at + 4] == b"PK\1\2"
    return content[: at + 24] + size.to_bytes(4, "little") + content[at + 28 :]


def strict(content):
    return edited_zip(content, BOOK, lambda text: text.replace(MAIN, "http://purl.oclc.org/ooxml/spreadsheetml/main"))


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"", Problem.WORKBOOK_DAMAGED, "not a zip file"),
        (b"Center,Sex\n1,F\n", Problem.WORKBOOK_DAMAGED, "not a zip file"),
        (xlsx(TABLE)[:-30], Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (xlsx(TABLE)[:300], Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), Problem.WORKBOOK_DAMAGED, "protected by a password"),
        (xlsx("<x"), Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (xlsx(TABLE[:-20]), Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (xlsx(""), Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (xlsx(TABLE, styles="<x"), Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (xlsx(TABLE, strings="<si>"), Problem.WORKBOOK_DAMAGED, "cannot be read as a workbook"),
        (without(BOOK), Problem.WORKBOOK_DAMAGED, f"a part '{BOOK}'"),
        (xlsx(TABLE, parts={BOOK: "<document/>"}), Problem.WORKBOOK_DAMAGED, "another kind than an Excel workbook"),
        (xlsx(sheet('<row r="x"/>')), Problem.WORKBOOK_DAMAGED, "'x' is not a whole number"),
        (xlsx(sheet('<row><c r="1A"/></row>')), Problem.WORKBOOK_DAMAGED, "'1A' is not a cell reference"),
        (xlsx(sheet('<row><c s="-"/></row>')), Problem.WORKBOOK_DAMAGED, "'-' is not a whole number"),
        (xlsx(sheet("<c><v>1</v></c>")), Problem.WORKBOOK_DAMAGED, "outside a row"),
        (
            xlsx(sheet('<row><c r="A1"><v>1</v></c><c r="A1"><v>2</v></c></row>')),
            Problem.WORKBOOK_DAMAGED,
            "cell A1 appears twice",
        ),
        (declared(xlsx(TABLE), 50), Problem.WORKBOOK_DAMAGED, "CRC"),
        (strict(xlsx(TABLE)), Problem.WORKBOOK_FORM, "saved as Strict Open XML"),
        (xlsx(TABLE, compression=ZIP_BZIP2), Problem.WORKBOOK_DAMAGED, "method that Excel does not know"),
        (xlsx(TABLE, compression=ZIP_LZMA), Problem.WORKBOOK_DAMAGED, "method that Excel does not know"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",  # not its bytes, which hold the time
)
def test_what_is_no_workbook_is_refused_in_clear_words(opened, content, kind, words):
    with pytest.raises(WorkbookError) as caught:
        opened(content)
    assert words in str(caught.value)
    assert caught.value.kind is kind
    assert caught.value.mend


@pytest.mark.parametrize("name", [SHEET, "xl/_rels/workbook.xml.rels"])
def test_sheet_that_is_not_in_the_file_is_none(opened, name):
    assert opened(without(name)) == []


def test_strict_workbook_is_to_be_saved_as_an_ordinary_one(opened):
    with pytest.raises(WorkbookError) as caught:
        opened(strict(xlsx(TABLE)))
    assert "ordinary Excel workbook" in caught.value.mend


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(WorkbookError, match="is missing"):
        read_sheets(tmp_path / "none.xlsx")
    (tmp_path / "link.xlsx").symlink_to(tmp_path / "none.xlsx")
    with pytest.raises(WorkbookError, match="is missing"):
        read_sheets(tmp_path / "link.xlsx")
    (tmp_path / "folder.xlsx").mkdir()
    with pytest.raises(WorkbookError, match="is not a file"):
        read_sheets(tmp_path / "folder.xlsx")
    (tmp_path / "file").touch()
    with pytest.raises(WorkbookError, match="cannot be read: Not a directory"):
        read_sheets(tmp_path / "file" / "book.xlsx")


def entities(count=8):
    """A text that entities expand to a thousand times ten to the power of `count` characters."""
    lines = [f'<!ENTITY e0 "{"x" * 1000}">']
    lines += [f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(count)]
    body = sheet(f'<row><c t="inlineStr"><is><t>&e{count};</t></is></c></row>')
    return f"<!DOCTYPE x [{''.join(lines)}]>{body}"


def filled(rows, columns, cell):
    """A sheet of many cells below a small table; `cell` makes one of its column."""
    row = f'<row r="#" s="1" customFormat="1">{"".join(map(cell, range(columns)))}</row>'
    body = "".join(row.replace("#", str(y)) for y in range(3, rows + 3))
    return TABLE.replace("</sheetData>", f"{body}</sheetData>")


def empty(x):
    return f'<c r="{column_name(x)}#" s="1"/>'


def one(x):
    return f'<c r="{column_name(x)}#"><v>1</v></c>'


def entries(count):
    packed = BytesIO()
    with ZipFile(packed, "w") as archive:
        for n in range(count):
            archive.writestr(f"{n}", b"")
    return packed.getvalue()


def long_text(size):
    return sheet(f'<row><c t="inlineStr"><is><t>{"x" * size}</t></is></c></row>')


def far_below():
    return filled(40_000, 2, empty).replace("</sheetData>", '<row r="99999"><c><v>1</v></c></row></sheetData>')


def array_formulas():
    cells = (one(x).replace("#", "1").replace("<v>", '<f t="array" ref="A1:XFD9">1</f><v>') for x in range(700))
    return sheet(f"<row>{''.join(cells)}</row>")


def attributes():
    return sheet("<row " + " ".join(f'a{n}=""' for n in range(500_000)) + "/>")


BOUNDED = """
import resource, sys, time
from pathlib import Path
from isles_assets.reading.spreadsheet import WorkbookError, read_sheets

resource.setrlimit(resource.RLIMIT_AS, (250 * 2**20,) * 2)
start = time.process_time()
try:
    found = [[cell.at for row in sheet.rows for cell in row.cells.values()] for sheet in read_sheets(Path(sys.argv[1]))]
except WorkbookError as error:
    found = error.found
assert time.process_time() - start < 3
print(found)
"""


def in_bounds(tmp_path, content):
    """What reading the workbook gives in a process of little memory: places of cells, or what was found."""
    replace(tmp_path / "book.xlsx", content)
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "book.xlsx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "content",
    [
        lambda: xlsx(long_text(110_000_000)),
        lambda: xlsx(sheet('<row r="3" s="1" customFormat="1"/>' * 4_200_000)),
        lambda: xlsx(filled(100_000, 5, one)),
        lambda: xlsx(far_below()),
        lambda: xlsx(sheet("<a>" * 300_000 + "</a>" * 300_000)),
        lambda: xlsx(attributes()),
        lambda: xlsx(array_formulas()),
        lambda: xlsx(TABLE, strings="".join(f"<si><t>{n}</t></si>" for n in range(300_000))),
        lambda: xlsx(TABLE, styles=f'<styleSheet xmlns="{MAIN}">{"<xf/>" * 500_000}</styleSheet>'),
        lambda: xlsx(TABLE) + bytes(9 * 2**20),
    ],
    ids=["text", "empty rows", "cells", "far below", "nested", "attributes", "arrays", "strings", "styles", "file"],
)
def test_small_file_that_grows_is_refused_at_once(tmp_path, content):
    assert in_bounds(tmp_path, content()) == "too large"


def test_entities_are_not_expanded(tmp_path):
    assert in_bounds(tmp_path, xlsx(entities())) == "document type"
    assert in_bounds(tmp_path, xlsx(TABLE, parts={BOOK: "<!DOCTYPE x>"})) == "document type"


def test_archive_of_many_files_is_no_workbook(tmp_path):
    assert in_bounds(tmp_path, entries(60_000)) == ""


@pytest.mark.parametrize(
    "content",
    [
        lambda: filled(100_000, 27, empty),
        lambda: filled(300_000, 0, empty),
        lambda: TABLE.replace("<sheetData>", f"<!--{'x' * 10**7}--><sheetData>"),
    ],
    ids=["styled empty rows", "bare rows", "a long comment"],
)
def test_much_that_holds_nothing_is_read_quickly(tmp_path, content):
    assert in_bounds(tmp_path, xlsx(content())) == "[['A1', 'B1', 'A2', 'B2']]"


def test_long_text_is_cut_and_stops_nothing(opened):
    sheets = opened(xlsx(sheet(rows_of([[text("x" * 100_000), text("Sex")]]))))
    assert len(held(sheets)["A1"]) < 2000
    assert held(sheets)["B1"] == "Sex"


def mutations(part, count, seed):
    """Versions of the XML of a part, each with a piece of it lost, doubled, moved or replaced."""
    rng = random.Random(seed)
    pieces = [
        "<",
        ">",
        '"',
        "/",
        "&amp;",
        "&x;",
        "]]>",
        "<!--",
        "<?x?>",
        "-1",
        "1e999",
        "\u0661",
        "XFE0",
        "<c/>",
        "<v>",
        "",
    ]
    for _ in range(count):
        start = rng.randrange(len(part))
        end = min(len(part), start + rng.choice((0, 1, 3, 20, 200)))
        middle = rng.choice((rng.choice(pieces), part[start:end] * 2, part[: end - start]))
        yield part[:start] + middle + part[end:]


def parts_of(content):
    with ZipFile(BytesIO(content)) as archive:
        return {
            name: archive.read(name).decode() for name in (SHEET, BOOK, STYLES, STRINGS, "xl/_rels/workbook.xml.rels")
        }


WHOLE = xlsx(
    sheet(rows_of([HEAD, [formula(cached="<v>1</v>", attributes=' t="array" ref="A2:B2"'), typed("s", "0")]])),
    sheet(rows_of([[number(0.5, "[h]:mm"), text("x"), typed("e", "#N/A")]])),
    strings="<si><t>F</t></si>",
)


@pytest.mark.parametrize("name", parts_of(WHOLE))
def test_any_change_of_a_part_gives_cells_or_a_workbook_error(opened, name):
    outcomes = set()
    for changed in mutations(parts_of(WHOLE)[name], 250, seed=name):
        try:
            sheets = opened(edited_zip(WHOLE, name, lambda _, changed=changed: changed))
        except WorkbookError as error:
            assert str(error).isprintable()
            outcomes.add("refused")
        else:
            assert all(cell.text is not None for each in sheets for row in each.rows for cell in row.cells.values())
            outcomes.add("read")
    assert outcomes == {"refused", "read"}


def test_any_change_of_the_archive_gives_cells_or_a_workbook_error(opened):
    rng = random.Random(5)
    outcomes = set()
    for _ in range(600):
        content = bytearray(WHOLE)
        for _ in range(rng.choice((1, 1, 4))):
            content[rng.randrange(len(content))] = rng.randrange(256)
        try:
            opened(bytes(content[: rng.choice((len(content), rng.randrange(len(content)))) or None]))
            outcomes.add("read")
        except WorkbookError:
            outcomes.add("refused")
    assert outcomes == {"refused", "read"}


def test_the_reader_and_openpyxl_agree_on_the_sample(opened):
    for subject, which in itertools.product(ISLES24.subjects[::20], WORKBOOKS):
        content = workbook_bytes(ISLES24, which, subject, 0)
        cells = {cell.at: cell for row in opened(content)[0].rows for cell in row.cells.values()}
        rows = openpyxl.load_workbook(BytesIO(content)).worksheets[0].iter_rows()
        theirs = {cell.coordinate: cell for row in rows for cell in row if cell.value is not None}
        assert {at: cell.number_format for at, cell in cells.items()} == {
            at: cell.number_format for at, cell in theirs.items()
        }
        assert {at: cell.text for at, cell in cells.items() if cell.type is CellType.TEXT} == {
            at: cell.value for at, cell in theirs.items() if isinstance(cell.value, str)
        }
