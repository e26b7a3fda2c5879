"""The clinical table as CSV."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from isles_assets.lib.files import explained, written_whole
from isles_assets.lib.findings import Refusal
from isles_assets.reading.workbooks import Value
from isles_assets.release.release import Release
from isles_assets.tables.clinical import clinical_schema

_SETTING = "--clinical"


def write_clinical(release: Release, path: Path, rows: Mapping[str, Mapping[str, Value]], *, overwrite: bool) -> bool:
    """Write `rows`, the values by subject and column, to `path`: one line a subject, sorted; what is missing is empty.

    False if they were there already. Raises `Refusal` for a file of other content, unless it is to `overwrite`.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    subject_column, *columns = clinical_schema(release).names
    writer.writerow([subject_column, *columns])
    writer.writerows([subject, *(values[column] for column in columns)] for subject, values in sorted(rows.items()))
    content = text.getvalue().encode()
    with explained(path, _SETTING):
        if path.is_file() and path.read_bytes() == content:
            return False
        if path.is_dir() or (path.exists() and not overwrite):
            mend = "move it away, name another file, or use --overwrite"
            raise Refusal.of("A file could not be written.", "is there with other content", mend, path=path)
        with written_whole(path, _SETTING) as temporary:
            temporary.write_bytes(content)
    return True
