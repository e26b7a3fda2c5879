"""Markdown that the card and the run's metadata share."""

import string
from collections.abc import Iterable, Sequence

_MARKUP = frozenset(string.punctuation) - set(",;:?=@%/'\"().-")
"""Characters that mean something inside a line of Markdown, HTML or formulas."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A pipe table; None shows as an empty cell. Cells are Markdown: text from outside has to be `escaped`."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """`text` from outside as Markdown that shows it as it is, in one line and inside a table.

    White space is shown as one space, and what cannot be seen by its number.
    """
    seen = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in " ".join(text.split())
    )
    return "".join(f"\\{each}" if each in _MARKUP else each for each in seen)
