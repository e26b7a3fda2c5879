"""Tables as CSV for people and programs: UTF-8, lines that end in a line feed, an empty cell for None."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence

Cell = str | int | float | None

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of a text that a spreadsheet program may take for a formula.

Source: https://owasp.org/www-community/attacks/CSV_Injection
"""


def csv_text(rows: Iterable[Sequence[Cell]]) -> str:
    """Return `rows` as CSV. A text that a spreadsheet program would take for a formula gets a `'` before it."""
    return "".join(_line([_without_formula(cell) for cell in row]) for row in rows)


def _without_formula(cell: Cell) -> Cell:
    """Return `cell` after a `'` if it is a text that looks like a formula."""
    return f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell


def text_of_cell(cell: str) -> str:
    """Return the text that `csv_text` wrote as `cell`, without the `'` that it put before a formula."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return unicodedata.normalize("NFKC", text).lstrip(" ").startswith(_FORMULA)


def _line(cells: Sequence[Cell]) -> str:
    """Return a line that ends in a line feed. Cells with a line feed or carriage return are quoted."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)  # with `lineterminator` set, it would not quote carriage returns
    return line.getvalue().removesuffix("\r\n") + "\n"
