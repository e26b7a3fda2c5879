"""The table `raw_tree`: every file of the tree."""

from dataclasses import asdict

import pyarrow as pa

from isles_assets.reading.tree import Fault, Inventory, TreeFile
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import read_table, write_table

SCHEMA = pa.schema({"path": pa.string(), "size": pa.int64(), "mtime_ns": pa.int64(), "fault": pa.string()})


def write_inventory(folder: DataFolder, inventory: Inventory) -> pa.Table:
    """Write one row per file: path, size (bytes), modification time (ns), and its fault, if it has one.

    Returns:
        The table as it was written.

    Raises:
        Refusal: The table cannot be written.
    """
    table = pa.Table.from_pylist([asdict(file) for file in inventory.values()], SCHEMA)
    write_table(folder.raw_tree, table)
    return table


def read_inventory(folder: DataFolder) -> Inventory:
    """Return the stored inventory.

    Raises:
        Refusal: The table is missing, damaged or of another version.
    """
    rows = read_table(folder.raw_tree, "raw_tree", SCHEMA).to_pylist()
    return {row["path"]: TreeFile(**row | {"fault": row["fault"] and Fault(row["fault"])}) for row in rows}
