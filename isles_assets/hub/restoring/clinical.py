"""The clinical table as CSV."""

from collections.abc import Mapping
from pathlib import Path

from isles_assets.lib.csv_text import csv_text
from isles_assets.lib.files import atomic_write, write_errors_refused
from isles_assets.lib.findings import Refusal
from isles_assets.reading.workbooks import Value
from isles_assets.release.release import Release
from isles_assets.tables.clinical import clinical_schema

_SETTING = "--clinical"


def write_clinical(release: Release, path: Path, rows: Mapping[str, Mapping[str, Value]], *, overwrite: bool) -> bool:
    """Write clinical values as CSV: one line a subject, sorted; a missing value is an empty cell.

    A text that a spreadsheet program would take for a formula gets a `'` before it.

    Args:
        rows: Values by subject and column.

    Returns:
        False if the file already had this content.

    Raises:
        Refusal: There is a file with other content and `overwrite` is not set, or the file cannot be written.
    """
    subject_column, *columns = clinical_schema(release).names
    lines = [[subject, *(values[column] for column in columns)] for subject, values in sorted(rows.items())]
    content = csv_text([[subject_column, *columns], *lines]).encode()
    with write_errors_refused(path, _SETTING):
        if path.is_file() and path.read_bytes() == content:
            return False
        if path.is_dir() or (path.exists() and not overwrite):
            mend = "move it away, name another file, or use --overwrite"
            raise Refusal.of("A file could not be written.", "is there with other content", mend, path=path)
        with atomic_write(path, _SETTING) as temporary:
            temporary.write_bytes(content)
    return True
