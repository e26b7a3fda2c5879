"""The table `clinical_table`: the clinical variables of every subject."""

from collections.abc import Iterable
from operator import attrgetter

import pyarrow as pa

from isles_assets.reading.workbooks import ClinicalRow, Value
from isles_assets.release.clinical import Kind
from isles_assets.release.release import Release
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import SUBJECT_COLUMN, read_table

_ARROW = {Kind.WHOLE: pa.int16(), Kind.NUMBER: pa.float64(), Kind.MINUTES: pa.float64(), Kind.LEVEL: pa.string()}


def clinical_fields(release: Release) -> list[pa.Field]:
    """The clinical columns in the release's order."""
    return [pa.field(variable.column, _ARROW[variable.kind]) for variable in release.variables]


def clinical_schema(release: Release) -> pa.Schema:
    """The columns of the clinical table: the subject and its variables."""
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *clinical_fields(release)])


def clinical_table(release: Release, rows: Iterable[ClinicalRow]) -> pa.Table:
    """One row a subject, sorted by id: the id and the variables."""
    records = [{SUBJECT_COLUMN: row.subject, **row.values} for row in sorted(rows, key=attrgetter("subject"))]
    return pa.Table.from_pylist(records, clinical_schema(release))


def read_clinical_table(folder: DataFolder) -> pa.Table:
    """The clinical table as `clinical_table` wrote it; `all_variables` is the check of its columns."""
    return read_table(folder.clinical, "clinical_table")


def clinical_values(table: pa.Table) -> dict[str, dict[str, Value]]:
    """The values by subject and column."""
    return {row.pop(SUBJECT_COLUMN): row for row in table.to_pylist()}
