"""The table `clinical_table`: the clinical variables of every subject; beside it, what was wrong with the workbooks."""

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
_FINDINGS = pa.schema([(name, pa.string()) for name in ("subject", "path", "code", "problem", "mend", "found")])
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


def read_clinical_table(folder: DataFolder, *, strict: bool = False) -> pa.Table:
    """The clinical table as `clinical_table` wrote it; `all_variables` is the check of its columns.

    Raises `Refusal` if it cannot be read or, if `strict`, has other columns than those of the release.
    """
    return read_table(folder.clinical, _ASSET, clinical_schema(folder.release) if strict else None)


def write_clinical_findings(folder: DataFolder, rows: Iterable[ClinicalRow], others: Iterable[Finding] = ()) -> None:
    """Write what was wrong with the workbooks of `rows`, in their order, then `others`; an empty table for nothing."""
    findings = [*(finding for row in rows for finding in row.findings), *others]
    records = [{name: str(getattr(finding, name)) for name in _FINDINGS.names} for finding in findings]
    write_table(folder.clinical_findings, pa.Table.from_pylist(records, _FINDINGS))


def read_clinical_findings(folder: DataFolder) -> list[Finding]:
    """What was wrong with the workbooks when `clinical_table` read them, with the levels of today.

    Raises `Refusal` if the table is missing or of another version.
    """
    records = read_table(folder.clinical_findings, _ASSET, _FINDINGS).to_pylist()
    try:
        return [Finding(**record, level=problem_of(record["code"]).level) for record in records]
    except KeyError as error:
        problem, path = "was written by another version of isles-assets", folder.clinical_findings
        raise Refusal.of(
            f"`{_ASSET}` has to be materialized first.", problem, Materialize((_ASSET,)), path=path
        ) from error


def clinical_values(table: pa.Table) -> dict[str, dict[str, Value]]:
    """The values by subject and column."""
    return {row.pop(SUBJECT_COLUMN): row for row in table.to_pylist()}
