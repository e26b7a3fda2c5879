"""Reading the cells of .xlsx workbooks literally, within bounds of time and memory.

This module reads the XML itself, because openpyxl returns None for a formula without a value and a date for a long
duration, raises `TypeError` for a harmless style, and reads parts and cells without any bound.
"""

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError, XMLParser
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from isles_assets.release.problems import Problem

RESTORE = "restore the workbook from the release archive"
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_ROW, _CELL, _FORMULA, _STRING, _READING_AID = (f"{_MAIN}{name}" for name in ("row", "c", "f", "si", "rPh"))
_TEXT = (f"{_MAIN}t", f"{_MAIN}v")
_OLE = b"\xd0\xcf\x11\xe0"

# A workbook of the release has 5 kB, ten parts and 200 cells. The bounds are about a thousand times that.
_MOST_PACKED = 8 * 2**20
_MOST_UNPACKED = 128 * 2**20
_MOST_PARSED = 16 * 2**20
_MOST_MARKUP = 300_000
_MOST_IDLE = 20_000
_MOST_TEXT = 1000
_CHUNK = 2**20

_REFERENCE = re.compile(r"([A-Z]{1,3})([1-9][0-9]{0,6})")
_ESCAPED = re.compile(r"_x((?!D[89A-F])[0-9A-F]{4})_", re.IGNORECASE)
_CONTENT = re.compile(rb"<(?:\w+:)?(?:v(?:\s[^>]*)?>[^<]|is[\s>]|f[\s/>])")
_BUILT_IN = {
    9: "0%", 10: "0.00%", 14: "mm-dd-yy", 15: "d-mmm-yy", 16: "d-mmm", 17: "mmm-yy", 18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss", 22: "m/d/yy h:mm", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mmss.0",
    **dict.fromkeys((*range(27, 37), *range(50, 59)), "yyyy"),  # dates of East Asia
}  # fmt: skip


class WorkbookError(Exception):
    """A workbook that cannot be read: the message says why, `mend` what to do; a waiver names `kind` and `found`."""

    def __init__(self, problem: str, kind: Problem = Problem.WORKBOOK_DAMAGED, found: str = "", mend: str = RESTORE):
        super().__init__(problem)
        self.kind = kind
        self.found = found
        self.mend = mend


class CellType(Enum):
    """The type of a cell's content."""

    TEXT = auto()
    NUMBER = auto()
    TRUTH = auto()
    ERROR = auto()
    DATE = auto()
    """A date or time as text in ISO 8601."""
    NOT_CALCULATED = auto()
    """A formula whose value is not in the file."""
    UNKNOWN = auto()


@dataclass(frozen=True)
class Cell:
    """A cell that is not empty: `text` as in the file, and its place `at`, such as `C2`."""

    type: CellType
    text: str
    number_format: str = "General"
    at: str = field(default="", compare=False)


@dataclass(frozen=True)
class Row:
    """A row that is not empty: its number, and its cells by column number; both count from 1."""

    number: int
    cells: Mapping[int, Cell]


@dataclass(frozen=True)
class Sheet:
    """A sheet and its rows that are not empty, in order."""

    name: str
    rows: Sequence[Row]


def read_sheets(path: Path) -> list[Sheet]:
    """Return the sheets of the workbook at `path` in order, hidden ones too.

    Raises:
        WorkbookError: The workbook cannot be read, for whatever reason.
    """
    return sheets_in(read_content(path))


def sheets_in(content: bytes) -> list[Sheet]:
    """Return the sheets of a workbook from the `content` of its file, as `read_sheets` does.

    Raises:
        WorkbookError: The workbook cannot be read, for whatever reason.
    """
    if content.startswith(_OLE):
        raise WorkbookError("is protected by a password, or of the old format .xls")
    package = _Package(content)
    book = next((name for kind, name in package.relations("").values() if kind == "officeDocument"), "xl/workbook.xml")
    parts = package.relations(book)
    elements = _Elements("sheet", "calcPr")
    package.parse(book, elements)
    if elements.root.startswith(_STRICT):
        raise WorkbookError(
            "is saved as Strict Open XML, which is not read",
            Problem.WORKBOOK_FORM,
            "strict",
            "open it in Excel and save it as an ordinary Excel workbook (.xlsx)",
        )
    if elements.root != f"{_MAIN}workbook":
        raise WorkbookError("is a file of another kind than an Excel workbook")
    strings, styles = _Strings(), _Elements("numFmt", "xf")
    for kind, part in parts.values():
        if kind in ("sharedStrings", "styles") and package.has(part):
            package.parse(part, strings if kind == "sharedStrings" else styles)
    formats = _number_formats(styles)
    recalculated = any(attributes.get("fullCalcOnLoad") in ("1", "true") for attributes in elements.named("calcPr"))
    sheets = []
    for sheet in elements.named("sheet", "sheets"):
        kind, part = parts.get(next((id_ for key, id_ in sheet.items() if key.endswith("}id")), ""), ("worksheet", ""))
        if kind == "worksheet" and package.has(part):
            cells = _Cells(strings.strings, formats, recalculated)
            package.parse(part, cells)
            sheets.append(Sheet(sheet.get("name", ""), cells.rows()))
    return sheets


def read_content(path: Path) -> bytes:
    """Return the bytes of the file at `path`.

    Raises:
        WorkbookError: The file is missing, too large, or cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise WorkbookError("is not a file")
        if path.stat().st_size > _MOST_PACKED:
            raise _too_large(f"has {path.stat().st_size:,} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise WorkbookError("is missing") from None
    except OSError as error:
        raise WorkbookError(f"cannot be read: {error.strerror}") from error


def _too_large(what: str) -> WorkbookError:
    return WorkbookError(f"is too large to be a workbook of a subject: {what}", Problem.WORKBOOK_FORM, "too large")


class _Package:
    """The parts of a workbook by name, case ignored. Bounds hold for all parts together."""

    def __init__(self, content: bytes):
        with _damage():
            self._archive = ZipFile(BytesIO(content))
        self._members = {member.filename.replace("\\", "/").casefold(): member for member in self._archive.infolist()}
        self._unpacked = self._parsed = self._markup = 0

    def has(self, name: str) -> bool:
        return name.casefold() in self._members

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Return kind and name, by id, of the parts to which a part refers; an empty `name` is the whole archive."""
        folder, base = posixpath.split(name)
        part, relations = posixpath.join(folder, "_rels", f"{base}.rels"), _Elements("Relationship")
        if self.has(part):
            self.parse(part, relations)
        return {
            relation.get("Id", ""): (
                relation.get("Type", "").rpartition("/")[2],
                posixpath.normpath(posixpath.join("/", folder, relation.get("Target", "")))[1:],
            )
            for relation in relations.named("Relationship")
        }

    def parse(self, name: str, target: "_Target") -> None:
        """Parse the part into `target`. After thousands of empty cells, only check that all others are empty, too."""
        parser, tail = XMLParser(target=target, encoding="utf-8"), b""  # noqa: S314 - bounded, and without entities
        for chunk in self._chunks(name):
            if target.idle > _MOST_IDLE:
                if _CONTENT.search(tail + chunk):
                    raise _too_large("it has cells below thousands of empty ones")
                tail = chunk[-100:]
                continue
            self._parsed += len(chunk)
            self._markup += chunk.count(b"<") + chunk.count(b"=")
            if self._parsed > _MOST_PARSED or self._markup > _MOST_MARKUP:
                raise _too_large(f"more than {_MOST_PARSED:,} bytes, or {_MOST_MARKUP:,} elements and attributes")
            _feed(parser, chunk)
        if not tail:
            _feed(parser)

    def _chunks(self, name: str) -> Iterator[bytes]:
        member = self._members.get(name.casefold())
        if member is None:
            raise WorkbookError(f"cannot be read as a workbook: it names a part {name!a} that it does not have")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # zipfile unpacks others without bound
            raise WorkbookError("cannot be read as a workbook: it is compressed by a method that Excel does not know")
        if self._unpacked + member.file_size > _MOST_UNPACKED:
            raise _too_large(f"it unpacks to {self._unpacked + member.file_size:,} bytes")
        with _damage():
            part = self._archive.open(member)
        with part:
            while chunk := _read(part):
                self._unpacked += len(chunk)
                yield chunk


@contextmanager
def _damage() -> Iterator[None]:
    """Turn any exception of zipfile, which raises almost anything, into a `WorkbookError` about damage."""
    try:
        yield
    except Exception as error:
        raise WorkbookError(f"cannot be read as a workbook: {error or type(error).__name__}") from error


def _read(part: Any) -> bytes:
    with _damage():
        return bytes(part.read(_CHUNK))


def _feed(parser: "XMLParser[Any]", chunk: bytes | None = None) -> None:
    """Feed the next bytes to the parser; None closes it."""
    try:
        if chunk is None:
            parser.close()
        else:
            parser.feed(chunk)
    except ParseError as error:
        raise WorkbookError(f"cannot be read as a workbook: {error}") from error


class _Target:
    """The receiver of a parser's events. `idle` counts the empty rows and cells since the last one with content."""

    idle = 0

    def doctype(self, *_: str | None) -> None:
        """Refuse entities, because they can expand to gigabytes."""
        raise WorkbookError("declares a document type, which no workbook has", Problem.WORKBOOK_FORM, "document type")

    def close(self) -> None:
        pass


class _Elements(_Target):
    """The attributes of all elements with given names, and the tag of the root."""

    def __init__(self, *names: str):
        self.root = ""
        self._kept: dict[str, list[tuple[str, dict[str, str]]]] = {name: [] for name in names}
        self._open = [""]

    def named(self, name: str, parent: str = "") -> list[dict[str, str]]:
        """Return the attributes of each element `name`; only of children of `parent` unless that is empty."""
        return [attributes for parent_name, attributes in self._kept[name] if parent in ("", parent_name)]

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.root = self.root or tag
        name = tag.rpartition("}")[2]
        if name in self._kept:
            self._kept[name].append((self._open[-1], attributes))
        self._open.append(name)

    def end(self, tag: str) -> None:
        self._open.pop()


class _Texts(_Target):
    """The first `_MOST_TEXT` characters of the elements `v` and `t`, without reading aids of East Asian text."""

    def __init__(self) -> None:
        self._text: list[str] | None = None
        self._length = 0
        self._in_text = self._in_reading_aid = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == _READING_AID:
            self._in_reading_aid = True
        elif tag in _TEXT and not self._in_reading_aid:
            self._in_text = True
            self._text = self._text or []

    def end(self, tag: str) -> None:
        self._in_text = False
        if tag == _READING_AID:
            self._in_reading_aid = False

    def data(self, text: str) -> None:
        if self._in_text and self._text is not None and self._length < _MOST_TEXT:
            self._text.append(text)
            self._length += len(text)

    def take_text(self) -> str | None:
        """Return the text since the last call; None if there was no element for it."""
        text = None if self._text is None else "".join(self._text)[:_MOST_TEXT]
        self._text, self._length = None, 0
        return text and _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


class _Strings(_Texts):
    """The strings that the cells share."""

    def __init__(self) -> None:
        super().__init__()
        self.strings: list[str] = []

    def end(self, tag: str) -> None:
        super().end(tag)
        if tag == _STRING:
            self.strings.append(self.take_text() or "")


class _Cells(_Texts):
    """The cells of a sheet. A cell of blanks alone counts as empty.

    Args:
        recalculated: Whether programs shall recalculate the workbook when they open it. Libraries that set this
            write 0 for each value that they did not calculate.
    """

    def __init__(self, strings: Sequence[str], formats: Sequence[str], recalculated: bool):
        super().__init__()
        self._strings, self._formats, self._recalculated = strings, formats, recalculated
        self._rows: list[tuple[int, dict[int, Cell]]] = []
        self._arrays: list[tuple[int, int, int, int]] = []
        self._number = self._column = 0
        self._attributes: dict[str, str] = {}
        self._is_formula = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == _CELL:
            self._attributes, self._is_formula, self._text = attributes, False, None
            self._column = _column_and_row(attributes["r"])[0] if "r" in attributes else self._column + 1
        elif tag == _ROW:
            self._number, self._column = _integer(attributes.get("r", self._number + 1)), 0
            self._rows.append((self._number, {}))
        elif tag == _FORMULA:
            self._is_formula = True
            if ":" in attributes.get("ref", "") and attributes.get("t") != "shared":
                first, last = map(_column_and_row, attributes["ref"].split(":", 1))
                self._arrays.append((*first, *last))
        else:
            super().start(tag, attributes)

    def end(self, tag: str) -> None:
        super().end(tag)
        if tag == _CELL:
            self._end_cell()
        elif tag == _ROW and not self._rows[-1][1]:
            self._rows.pop()
            self.idle += 1

    def _end_cell(self) -> None:
        cell = self._cell(self.take_text())
        if cell is None:
            self.idle += 1
            return
        self.idle = 0
        if not self._rows or self._column in self._rows[-1][1]:
            raise WorkbookError(f"cannot be read as a workbook: cell {cell.at} appears twice, or outside a row")
        self._rows[-1][1][self._column] = cell

    def _cell(self, value: str | None) -> Cell | None:
        kind, style = self._attributes.get("t", "n"), _integer(self._attributes.get("s", 0))
        form = self._formats[style] if style < len(self._formats) else "General"
        at = self._attributes.get("r") or f"{_letters(self._column)}{self._number}"
        no_value = value is None or (value == "" and kind != "str")
        if self._is_formula and (no_value or (self._recalculated and (kind, value) == ("n", "0"))):
            return Cell(CellType.NOT_CALCULATED, "", form, at)
        if kind == "s" and value:
            index = int(value) if re.fullmatch("[0-9]{1,9}", value) else len(self._strings)
            kind, value = ("str", self._strings[index]) if index < len(self._strings) else ("", value)
        if not value or not value.strip():
            return None
        return Cell(_TYPES.get(kind, CellType.UNKNOWN), value, form, at)

    def rows(self) -> list[Row]:
        """Return the rows that are not empty. An empty cell of an array formula counts as not calculated."""
        for first_column, first_row, last_column, last_row in self._arrays:
            if (last_column - first_column) * len(self._rows) * len(self._arrays) > _MOST_MARKUP:
                raise _too_large("its array formulas cover too many cells")
            for number, cells in self._rows:
                for column in range(first_column, last_column + 1) if first_row <= number <= last_row else ():
                    at = f"{_letters(column)}{number}"
                    cells.setdefault(column, Cell(CellType.NOT_CALCULATED, "", "General", at))
        return [Row(number, cells) for number, cells in self._rows if cells]


_TYPES = {
    "n": CellType.NUMBER,
    "str": CellType.TEXT,
    "inlineStr": CellType.TEXT,
    "b": CellType.TRUTH,
    "e": CellType.ERROR,
    "d": CellType.DATE,
}


def _number_formats(styles: _Elements) -> list[str]:
    """Return the number format of each cell style, in the order of the style numbers."""
    codes = {_integer(fmt.get("numFmtId", 0)): fmt.get("formatCode", "") for fmt in styles.named("numFmt", "numFmts")}
    used = [_integer(style.get("numFmtId", 0)) for style in styles.named("xf", "cellXfs")]
    return [codes.get(number) or _BUILT_IN.get(number, "General") for number in used]


def _column_and_row(reference: str) -> tuple[int, int]:
    """Return the numbers of column and row of a cell's reference."""
    match = _REFERENCE.fullmatch(reference.replace("$", "").upper())
    if match is None:
        raise WorkbookError(f"cannot be read as a workbook: {reference[:40]!a} is not a cell reference")
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    return column, int(match[2])


def _letters(column: int) -> str:
    higher, last = divmod(column - 1, 26)
    return (_letters(higher) if higher else "") + chr(65 + last)


def _integer(text: str | int) -> int:
    if not re.fullmatch("[0-9]{1,9}", str(text)):
        raise WorkbookError(f"cannot be read as a workbook: {ascii(text)[:40]} is not a whole number")
    return int(text)
