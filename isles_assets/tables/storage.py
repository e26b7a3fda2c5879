"""Parquet tables between assets: written whole, the same bytes for the same content."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.graph.commands import materialize
from isles_assets.lib.files import written_whole
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.schema import SUBJECT_COLUMN, clinical_schema
from isles_assets.reading.tree import Entry, Fault, Inventory
from isles_assets.reading.workbooks import ClinicalRow, Value
from isles_assets.tables.folder import DataFolder

RAW_TREE_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("mtime_ns", pa.int64()),
        pa.field("fault", pa.string()),
    ]
)


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path`, whole or not at all."""
    with written_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, asset: str, schema: pa.Schema | None = None) -> pa.Table:
    """The table that `asset` wrote, of `schema` if given. Raises `Refusal` naming the command that makes it."""
    try:
        table = pq.read_table(path)
        if schema is None or table.schema.equals(schema):
            return table
        problem = "was written by another version of isles-assets"
    except FileNotFoundError:
        problem = "does not exist yet"
    except (pa.ArrowInvalid, OSError) as error:
        problem = f"cannot be read: {error}"
    raise Refusal(f"`{asset}` has to be materialized first.", [Finding("", str(path), problem, materialize(asset))])


def write_inventory(folder: DataFolder, inventory: Inventory) -> pa.Table:
    """One row a file: path, size (bytes), modification time (ns), what is wrong with it if anything."""
    table = pa.Table.from_pylist([asdict(entry) for entry in inventory.values()], RAW_TREE_SCHEMA)
    write_table(folder.raw_tree, table)
    return table


def read_inventory(folder: DataFolder) -> Inventory:
    """The inventory as `raw_tree` wrote it."""
    rows = read_table(folder.raw_tree, "raw_tree", RAW_TREE_SCHEMA).to_pylist()
    return {row["path"]: Entry(**row | {"fault": row["fault"] and Fault(row["fault"])}) for row in rows}


def clinical_table(rows: Iterable[ClinicalRow]) -> pa.Table:
    """One row a subject, sorted by id: the id and the 33 variables."""
    records = [{SUBJECT_COLUMN: row.subject, **row.values} for row in sorted(rows, key=lambda row: row.subject)]
    return pa.Table.from_pylist(records, clinical_schema())


def read_clinical_table(folder: DataFolder) -> pa.Table:
    """The clinical table as `clinical_table` wrote it; `all_variables` is the check of its columns."""
    return read_table(folder.clinical, "clinical_table")


def clinical_values(table: pa.Table) -> dict[str, dict[str, Value]]:
    """The values by subject and column."""
    return {row.pop(SUBJECT_COLUMN): row for row in table.to_pylist()}
