"""The tables of `clinical_table`: the clinical variables of every subject, and the findings on the workbooks."""

from collections.abc import Iterable
from operator import attrgetter

import pyarrow as pa

from isles_assets.lib.findings import Finding, Materialize, Refusal
from isles_assets.reading.workbooks import ClinicalRow, Value
from isles_assets.release.clinical import Kind
from isles_assets.release.problems import problem_of
from isles_assets.release.release import Release
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import SUBJECT_COLUMN, read_table, write_table

_ASSET = "clinical_table"
_FINDINGS_SCHEMA = pa.schema([(name, pa.string()) for name in ("subject", "path", "code", "problem", "mend", "found")])
_ARROW = {Kind.WHOLE: pa.int16(), Kind.NUMBER: pa.float64(), Kind.MINUTES: pa.float64(), Kind.LEVEL: pa.string()}


def clinical_fields(release: Release) -> list[pa.Field]:
    """Return the clinical columns in the release's order."""
    return [pa.field(variable.column, _ARROW[variable.kind]) for variable in release.variables]


def clinical_schema(release: Release) -> pa.Schema:
    """Return the columns of the clinical table: the subject's id and the variables."""
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *clinical_fields(release)])


def clinical_table(release: Release, rows: Iterable[ClinicalRow]) -> pa.Table:
    """Return one row per subject, sorted by id."""
    records = [{SUBJECT_COLUMN: row.subject, **row.values} for row in sorted(rows, key=attrgetter("subject"))]
    return pa.Table.from_pylist(records, clinical_schema(release))


def read_clinical_table(folder: DataFolder, *, strict: bool = False) -> pa.Table:
    """Return the stored clinical table.

    Args:
        strict: Refuse other columns than the release's. Otherwise only the check `all_variables` compares them.

    Raises:
        Refusal: The table cannot be read, or `strict` and it has other columns.
    """
    return read_table(folder.clinical, _ASSET, clinical_schema(folder.release) if strict else None)


def write_clinical_findings(folder: DataFolder, rows: Iterable[ClinicalRow], others: Iterable[Finding] = ()) -> None:
    """Write the findings on the workbooks of `rows`, then `others`; without findings, an empty table.

    Raises:
        Refusal: The table cannot be written.
    """
    findings = [*(finding for row in rows for finding in row.findings), *others]
    records = [{name: str(getattr(finding, name)) for name in _FINDINGS_SCHEMA.names} for finding in findings]
    write_table(folder.clinical_findings, pa.Table.from_pylist(records, _FINDINGS_SCHEMA))


def read_clinical_findings(folder: DataFolder) -> list[Finding]:
    """Return the stored findings on the workbooks, with the levels that their codes have now.

    Raises:
        Refusal: The table is missing, damaged or of another version.
    """
    records = read_table(folder.clinical_findings, _ASSET, _FINDINGS_SCHEMA).to_pylist()
    try:
        return [Finding(**record, level=problem_of(record["code"]).level) for record in records]
    except KeyError as error:
        problem, path = "was written by another version of isles-assets", folder.clinical_findings
        raise Refusal.of(
            f"`{_ASSET}` has to be materialized first.", problem, Materialize((_ASSET,)), path=path
        ) from error


def clinical_values(table: pa.Table) -> dict[str, dict[str, Value]]:
    """Return the values by subject and column."""
    return {row.pop(SUBJECT_COLUMN): row for row in table.to_pylist()}
