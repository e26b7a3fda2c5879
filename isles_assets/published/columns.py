"""What is said of the clinical columns of a published dataset: unit, description, and whether they are outcomes."""

import csv
import io
from collections.abc import Mapping

from isles_assets.hub.reading import Revision
from isles_assets.lib.csv_text import text_of_cell
from isles_assets.lib.findings import Refusal
from isles_assets.products.column import Column, variable_column
from isles_assets.products.config import COLUMNS, MAIN_CONFIG
from isles_assets.release.clinical import Known
from isles_assets.release.release import Release
from isles_assets.tables.storage import SUBJECT_COLUMN

_MEDIA = ("Nifti", "Image")


def columns_of_release(release: Release) -> dict[str, Column]:
    """Return the clinical columns by name, as the release describes them."""
    return {variable.column: variable_column(variable) for variable in release.variables}


def published_columns(revision: Revision, release: Release) -> dict[str, Column]:
    """Return the clinical columns by name, as the dataset describes them; as `release` does, if it does not.

    Raises:
        Refusal: The description cannot be read.
    """
    file = revision.find([COLUMNS]).get(COLUMNS)
    if file is None:
        return columns_of_release(release)
    try:
        rows = list(csv.DictReader(io.StringIO(b"".join(file.read(0, file.size)).decode(), newline=""), strict=True))
        clinical = [row for row in rows if row["config"] == MAIN_CONFIG and row["type"] not in _MEDIA]
        columns = {row["column"]: _column(row) for row in clinical if row["column"] != SUBJECT_COLUMN}
        if not columns:
            raise ValueError("it names no clinical variable")
        return columns
    except (KeyError, ValueError, csv.Error) as error:
        problem, mend = f"is not a table of columns: {error}", "name another revision, or tell the publisher"
        raise Refusal.of("The dataset could not be read.", problem, mend, path=COLUMNS) from error


def _column(row: Mapping[str, str]) -> Column:
    """Return the column in a line of the table."""
    texts = {name: text_of_cell(row[name] or "") for name in ("column", "description", "unit")}
    return Column(texts["column"], texts["description"], Known(row["known"]) if row["known"] else None, texts["unit"])
