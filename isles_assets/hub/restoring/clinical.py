"""The clinical table as CSV."""

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from isles_assets.lib.files import explained, written_whole
from isles_assets.lib.findings import Refusal
from isles_assets.reading.workbooks import Value
from isles_assets.release.release import Release
from isles_assets.tables.clinical import clinical_schema

_SETTING = "--clinical"
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a text begins that a spreadsheet program may calculate, https://owasp.org/www-community/attacks/CSV_Injection."""


def write_clinical(release: Release, path: Path, rows: Mapping[str, Mapping[str, Value]], *, overwrite: bool) -> bool:
    """Write `rows`, the values by subject and column, to `path`: one line a subject, sorted; what is missing is empty.

    A text that a spreadsheet program would take for a formula begins with a `'` there, which is not part of it. False
    if they were there already. Raises `Refusal` for a file of other content, unless it is to `overwrite`.
    """
    subject_column, *columns = clinical_schema(release).names
    lines = [[subject, *(_harmless(values[column]) for column in columns)] for subject, values in sorted(rows.items())]
    content = "".join(map(_line, [[subject_column, *columns], *lines])).encode()
    with explained(path, _SETTING):
        if path.is_file() and path.read_bytes() == content:
            return False
        if path.is_dir() or (path.exists() and not overwrite):
            mend = "move it away, name another file, or use --overwrite"
            raise Refusal.of("A file could not be written.", "is there with other content", mend, path=path)
        with written_whole(path, _SETTING) as temporary:
            temporary.write_bytes(content)
    return True


def _harmless(value: Value) -> Value:
    """`value`, after a `'` if it is a text that a spreadsheet program would take for a formula; numbers stay."""
    is_formula = isinstance(value, str) and unicodedata.normalize("NFKC", value).lstrip(" ").startswith(_FORMULA)
    return f"'{value}" if is_formula else value


def _line(cells: Sequence[Value]) -> str:
    """A line of CSV that ends in a line feed. A cell that holds one is quoted, or a carriage return."""
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)  # told of another end, it would leave carriage returns as they are
    return line.getvalue().removesuffix("\r\n") + "\n"
