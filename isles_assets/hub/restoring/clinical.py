"""The clinical table as CSV."""

from pathlib import Path

import pyarrow as pa

from isles_assets.lib.csv_text import csv_text
from isles_assets.lib.files import atomic_write, write_errors_refused
from isles_assets.lib.findings import Refusal

_SETTING = "--clinical"


def write_clinical(path: Path, table: pa.Table, *, overwrite: bool) -> bool:
    """Write the clinical table as CSV: one line a subject; a missing value is an empty cell.

    A text that a spreadsheet program would take for a formula gets a `'` before it.

    Returns:
        False if the file already had this content.

    Raises:
        Refusal: There is a file with other content and `overwrite` is not set, or the file cannot be written.
    """
    content = csv_text([table.column_names, *(list(row.values()) for row in table.to_pylist())]).encode()
    with write_errors_refused(path, _SETTING):
        if path.is_file() and path.read_bytes() == content:
            return False
        if path.is_dir() or (path.exists() and not overwrite):
            mend = "move it away, name another file, or use --overwrite"
            raise Refusal.of("A file could not be written.", "is there with other content", mend, path=path)
        with atomic_write(path, _SETTING) as temporary:
            temporary.write_bytes(content)
    return True
