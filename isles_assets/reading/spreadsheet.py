"""Opening .xlsx workbooks: what the cells of their sheets hold, word for word, within bounds of time and memory.

The XML is read here and not by openpyxl, which gives None for a formula without a value, a date for a long duration and
a `TypeError` for a harmless style, and which reads parts and cells without any bound.
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

# A workbook of the release has 5 kB, ten parts and 200 cells. What is read of one may be a thousand times that.
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
    """A workbook that cannot be read: the message says why, `mend` the way back, `kind` and `found` what to waive."""

    def __init__(self, problem: str, kind: Problem = Problem.WORKBOOK_DAMAGED, found: str = "", mend: str = RESTORE):
        super().__init__(problem)
        self.kind = kind
        self.found = found
        self.mend = mend


class CellType(Enum):
    """What a cell holds."""

    TEXT = auto()
    NUMBER = auto()
    TRUTH = auto()
    ERROR = auto()
    DATE = auto()
    """A date or time as text of ISO 8601."""
    NOT_CALCULATED = auto()
    """A formula whose value is not in the file."""
    UNKNOWN = auto()


@dataclass(frozen=True)
class Cell:
    """A cell that holds something: `text` as the file has it, the number format, and where it is, such as `C2`."""

    type: CellType
    text: str
    number_format: str = "General"
    at: str = field(default="", compare=False)


@dataclass(frozen=True)
class Row:
    """A row that holds something: its number, and its cells by column; both count from 1."""

    number: int
    cells: Mapping[int, Cell]


@dataclass(frozen=True)
class Sheet:
    """A sheet: its name, and its rows that hold something, in order."""

    name: str
    rows: Sequence[Row]


def read_sheets(path: Path) -> list[Sheet]:
    """The sheets of the workbook at `path` in their order, hidden ones too. Raises `WorkbookError` and nothing else."""
    return sheets_in(read_content(path))


def sheets_in(content: bytes) -> list[Sheet]:
    """The same, of the `content` of a workbook's file."""
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
    recalculated = any(each.get("fullCalcOnLoad") in ("1", "true") for each in elements.of("calcPr"))
    sheets = []
    for sheet in elements.of("sheet", "sheets"):
        kind, part = parts.get(next((id_ for key, id_ in sheet.items() if key.endswith("}id")), ""), ("worksheet", ""))
        if kind == "worksheet" and package.has(part):
            cells = _Cells(strings.strings, formats, recalculated)
            package.parse(part, cells)
            sheets.append(Sheet(sheet.get("name", ""), cells.filled()))
    return sheets


def read_content(path: Path) -> bytes:
    """The bytes of the file at `path`. Raises `WorkbookError` if they are too many, or cannot be read."""
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
    """The parts of a workbook, by their names in the archive whatever their case. All reading has bounds in common."""

    def __init__(self, content: bytes):
        with _damage():
            self._archive = ZipFile(BytesIO(content))
        self._members = {each.filename.replace("\\", "/").casefold(): each for each in self._archive.infolist()}
        self._unpacked = self._parsed = self._markup = 0

    def has(self, name: str) -> bool:
        return name.casefold() in self._members

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Kind and name of the parts that the part `name` refers to, or the whole archive if it is empty; by id."""
        folder, base = posixpath.split(name)
        listed, relations = posixpath.join(folder, "_rels", f"{base}.rels"), _Elements("Relationship")
        if self.has(listed):
            self.parse(listed, relations)
        return {
            each.get("Id", ""): (
                each.get("Type", "").rpartition("/")[2],
                posixpath.normpath(posixpath.join("/", folder, each.get("Target", "")))[1:],
            )
            for each in relations.of("Relationship")
        }

    def parse(self, name: str, target: "_Target") -> None:
        """Tell `target` all that stands in the part; the rest of a sheet in which nothing stands is only looked at."""
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
            raise WorkbookError(f"cannot be read as a workbook: it has no part {name!a} of those that it names")
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # others are unpacked without bound
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
    """Whatever zipfile raises means that the archive is damaged; it raises almost anything."""
    try:
        yield
    except Exception as error:
        raise WorkbookError(f"cannot be read as a workbook: {error or type(error).__name__}") from error


def _read(part: Any) -> bytes:
    with _damage():
        return bytes(part.read(_CHUNK))


def _feed(parser: "XMLParser[Any]", chunk: bytes | None = None) -> None:
    """Feed the next bytes, or none at the end."""
    try:
        if chunk is None:
            parser.close()
        else:
            parser.feed(chunk)
    except ParseError as error:
        raise WorkbookError(f"cannot be read as a workbook: {error}") from error


class _Target:
    """What a parser tells. `idle` counts the rows and cells without content since the last with some."""

    idle = 0

    def doctype(self, *_: str | None) -> None:
        """Refuse entities: they can be expanded to gigabytes."""
        raise WorkbookError("declares a document type, which no workbook has", Problem.WORKBOOK_FORM, "document type")

    def close(self) -> None:
        pass


class _Elements(_Target):
    """The attributes of the elements named, and the tag of the root."""

    def __init__(self, *names: str):
        self.root = ""
        self._kept: dict[str, list[tuple[str, dict[str, str]]]] = {name: [] for name in names}
        self._open = [""]

    def of(self, name: str, parent: str = "") -> list[dict[str, str]]:
        """The attributes of each element `name`, of those below `parent` only if that is given."""
        return [attributes for above, attributes in self._kept[name] if parent in ("", above)]

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self.root = self.root or tag
        name = tag.rpartition("}")[2]
        if name in self._kept:
            self._kept[name].append((self._open[-1], attributes))
        self._open.append(name)

    def end(self, tag: str) -> None:
        self._open.pop()


class _Texts(_Target):
    """The beginning of the text of elements `v`, and of `t` but for the reading aids of East Asian text."""

    def __init__(self) -> None:
        self._text: list[str] | None = None
        self._length = 0
        self._gathering = self._aside = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == _READING_AID:
            self._aside = True
        elif tag in _TEXT and not self._aside:
            self._gathering = True
            self._text = self._text or []

    def end(self, tag: str) -> None:
        self._gathering = False
        if tag == _READING_AID:
            self._aside = False

    def data(self, text: str) -> None:
        if self._gathering and self._text is not None and self._length < _MOST_TEXT:
            self._text.append(text)
            self._length += len(text)

    def taken(self) -> str | None:
        """The text since the last call; None if there was no element for it."""
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
            self.strings.append(self.taken() or "")


class _Cells(_Texts):
    """The cells of a sheet. Text of blanks alone is no content.

    `recalculated`: whoever opens the workbook is asked to calculate it, as libraries do that write 0 for each value.
    """

    def __init__(self, strings: Sequence[str], formats: Sequence[str], recalculated: bool):
        super().__init__()
        self._strings, self._formats, self._recalculated = strings, formats, recalculated
        self._rows: list[tuple[int, dict[int, Cell]]] = []
        self._arrays: list[tuple[int, int, int, int]] = []
        self._number = self._column = 0
        self._attributes: dict[str, str] = {}
        self._formula = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == _CELL:
            self._attributes, self._formula, self._text = attributes, False, None
            self._column = _place(attributes["r"])[0] if "r" in attributes else self._column + 1
        elif tag == _ROW:
            self._number, self._column = _whole(attributes.get("r", self._number + 1)), 0
            self._rows.append((self._number, {}))
        elif tag == _FORMULA:
            self._formula = True
            if ":" in attributes.get("ref", "") and attributes.get("t") != "shared":
                first, last = map(_place, attributes["ref"].split(":", 1))
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
        cell = self._cell(self.taken())
        if cell is None:
            self.idle += 1
            return
        self.idle = 0
        if not self._rows or self._column in self._rows[-1][1]:
            raise WorkbookError(f"cannot be read as a workbook: cell {cell.at} stands twice, or in no row")
        self._rows[-1][1][self._column] = cell

    def _cell(self, value: str | None) -> Cell | None:
        kind, style = self._attributes.get("t", "n"), _whole(self._attributes.get("s", 0))
        form = self._formats[style] if style < len(self._formats) else "General"
        at = self._attributes.get("r") or f"{_letters(self._column)}{self._number}"
        no_value = value is None or (value == "" and kind != "str")
        if self._formula and (no_value or (self._recalculated and (kind, value) == ("n", "0"))):
            return Cell(CellType.NOT_CALCULATED, "", form, at)
        if kind == "s" and value:
            index = int(value) if re.fullmatch("[0-9]{1,9}", value) else len(self._strings)
            kind, value = ("str", self._strings[index]) if index < len(self._strings) else ("", value)
        if not value or not value.strip():
            return None
        return Cell(_TYPES.get(kind, CellType.UNKNOWN), value, form, at)

    def filled(self) -> list[Row]:
        """The rows; a cell of an array formula that holds nothing is one that was not calculated."""
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
    """The number format of each style that a cell can name."""
    codes = {_whole(each.get("numFmtId", 0)): each.get("formatCode", "") for each in styles.of("numFmt", "numFmts")}
    used = [_whole(each.get("numFmtId", 0)) for each in styles.of("xf", "cellXfs")]
    return [codes.get(number) or _BUILT_IN.get(number, "General") for number in used]


def _place(reference: str) -> tuple[int, int]:
    """Column and row of a cell's reference."""
    match = _REFERENCE.fullmatch(reference.replace("$", "").upper())
    if match is None:
        raise WorkbookError(f"cannot be read as a workbook: {reference[:40]!a} is no place of a cell")
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - 64
    return column, int(match[2])


def _letters(column: int) -> str:
    above, last = divmod(column - 1, 26)
    return (_letters(above) if above else "") + chr(65 + last)


def _whole(text: str | int) -> int:
    if not re.fullmatch("[0-9]{1,9}", str(text)):
        raise WorkbookError(f"cannot be read as a workbook: {ascii(text)[:40]} stands where a whole number should be")
    return int(text)
