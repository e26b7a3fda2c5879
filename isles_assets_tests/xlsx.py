"""Workbooks written word for word, for tests of cells and parts that no library writes."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape
from zipfile import ZIP_DEFLATED, ZipFile

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHEET, BOOK, STYLES, STRINGS = "xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml", "xl/sharedStrings.xml"
_DOC = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"

FORMATS = (
    "General", "h:mm", "[h]:mm", "mm:ss", "[mm]:ss", "[h]:mm:ss", "h:mm;@", "[hh]:mm;@", "hh\\hmm", "d h:mm",
    "[$-F400]h:mm:ss\\ AM/PM", "yyyy-mm-dd", "dd.mm.yyyy hh:mm", "d-mmm", "mmmm", "@", "0", "0.00", '0.00" days"',
    '0" h"', "0%", "0.00E+00", "[Red]0.0", '_(* #,##0.00_);_(* "-"??_)', '0.0" mmol/l"',
)  # fmt: skip
"""The number formats that a cell can name."""


def styled(number_format: str) -> str:
    return f' s="{FORMATS.index(number_format)}"'


def number(value: Any, number_format: str = "General") -> str:
    return f"<c{styled(number_format)}><v>{value}</v></c>"


def text(value: str) -> str:
    return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'


def typed(kind: str, value: str) -> str:
    return f'<c t="{kind}"><v>{escape(value)}</v></c>'


def formula(words: str = "1+1", *, cached: str = "", kind: str = "n", attributes: str = "") -> str:
    """A formula; `cached` is the XML of its value."""
    return f'<c t="{kind}"><f{attributes}>{words}</f>{cached}</c>'


def column_name(index: int) -> str:
    above, last = divmod(index, 26)
    return (column_name(above - 1) if above else "") + chr(65 + last)


def rows_of(rows: Sequence[Sequence[str | None]], *, references: bool = True) -> str:
    """The XML of rows of cells, each at its place; without `references` the cells do not say where they are."""
    lines = []
    for y, row in enumerate(rows, 1):
        cells = (
            cell.replace("<c", f'<c r="{column_name(x)}{y}"', 1) if references else cell
            for x, cell in enumerate(row)
            if cell is not None
        )
        lines.append(f'<row r="{y}">{"".join(cells)}</row>' if references else f"<row>{''.join(cells)}</row>")
    return "".join(lines)


def sheet(body: str) -> str:
    return f'<worksheet xmlns="{MAIN}"><sheetData>{body}</sheetData></worksheet>'


def xlsx(
    *sheets: str,
    names: Sequence[str] = ("One", "Two", "Three"),
    strings: str = "",
    book: str = "",
    styles: str = "",
    parts: Mapping[str, str | bytes] | None = None,
    compression: int = ZIP_DEFLATED,
) -> bytes:
    """A workbook of the XML of `sheets`; `strings` is that of its shared strings, `book` more of the workbook's."""
    count = range(1, len(sheets) + 1)
    content = {
        "_rels/.rels": _relations({"rId1": ("officeDocument", "xl/workbook.xml")}),
        BOOK: f'<workbook xmlns="{MAIN}" xmlns:r="{_DOC}"><sheets>'
        + "".join(f'<sheet name="{escape(names[n - 1])}" sheetId="{n}" r:id="rId{n}"/>' for n in count)
        + f"</sheets>{book}</workbook>",
        "xl/_rels/workbook.xml.rels": _relations(
            {f"rId{n}": ("worksheet", f"worksheets/sheet{n}.xml") for n in count}
            | {"rId98": ("styles", "styles.xml"), "rId99": ("sharedStrings", "sharedStrings.xml")}
        ),
        STYLES: styles or _styles(),
        STRINGS: f'<sst xmlns="{MAIN}">{strings}</sst>',
        **{f"xl/worksheets/sheet{n}.xml": body for n, body in zip(count, sheets, strict=True)},
        **(parts or {}),
    }
    saved = BytesIO()
    with ZipFile(saved, "w", compression) as archive:
        for name, part in content.items():
            archive.writestr(name, part)
    return saved.getvalue()


def _relations(targets: Mapping[str, tuple[str, str]]) -> str:
    each = (f'<Relationship Id="{id_}" Type="{_DOC}/{kind}" Target="{to}"/>' for id_, (kind, to) in targets.items())
    return f'<Relationships xmlns="{_PACKAGE}">{"".join(each)}</Relationships>'


def _styles() -> str:
    codes = "".join(
        f'<numFmt numFmtId="{id_}" formatCode="{escape(code, {chr(34): "&quot;"})}"/>'
        for id_, code in enumerate(FORMATS, start=164)
    )
    used = "".join(f'<xf numFmtId="{164 + index}"/>' for index in range(len(FORMATS)))
    return (
        f'<styleSheet xmlns="{MAIN}"><numFmts>{codes}</numFmts><fills><fill/></fills>'
        f'<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs>{used}</cellXfs></styleSheet>'
    )
