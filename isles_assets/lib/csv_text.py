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
    is_formula = isinstance(cell, str) and unicodedata.normalize("NFKC", cell).lstrip(" ").startswith(_FORMULA)
    return f"'{cell}" if is_formula else cell


def _line(cells: Sequence[Cell]) -> str:
    """Return a line that ends in a line feed. Cells with a line feed or carriage return are quoted."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)  # with `lineterminator` set, it would not quote carriage returns
    return line.getvalue().removesuffix("\r\n") + "\n"
