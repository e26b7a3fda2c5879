"""Markdown for the card and the metadata of runs."""

import string
from collections.abc import Iterable, Sequence

_MARKUP = frozenset(string.punctuation) - set(",;:?=@%/'\"().-")
"""Characters with a meaning inside a line of Markdown, HTML or formulas."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a pipe table. Cells are Markdown: pass text from outside through `escaped`; None is an empty cell."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join('' if cell is None else str(cell) for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """Return Markdown that shows `text` literally, in one line, also inside a table.

    Runs of white space become one space. Invisible characters become escapes.
    """
    line = " ".join(text.split())
    printable = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    return "".join(f"\\{char}" if char in _MARKUP else char for char in printable)
