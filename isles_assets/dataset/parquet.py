"""Writing one row of large values as Parquet, and reading its values back one at a time.

Volumes are mapped, not read: pyarrow copies each value once into a page. No compression and no dictionary on
bytes that are gzip already, and no statistics, which for values of this size are computed and thrown away. One
row is one row group and each column one chunk, so that a reader can fetch a single volume.
"""

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.dataset.schema import LARGEST_VALUE, NIFTI


def write_row(path: Path, schema: pa.Schema, row: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Write a one-row Parquet file.

    `row` holds a value for each column of `schema`; for a volume column that is the path of the file whose bytes
    and base name become the value, or None for a null struct. `metadata` joins the schema's in the footer.
    Raises `ValueError` for a file that is too large for a Parquet value, before anything is written.
    """
    for name, value in row.items():
        if isinstance(value, Path) and value.stat().st_size > LARGEST_VALUE:
            raise ValueError(f"{value.name} ({name}) is larger than the {LARGEST_VALUE} bytes of a Parquet value")
    schema = schema.with_metadata({**(schema.metadata or {}), **metadata})
    columns = [
        _volume(row[field.name]) if field.type == NIFTI else pa.array([row[field.name]], field.type) for field in schema
    ]
    plain = [field.name for field in schema if field.type != NIFTI]
    with pq.ParquetWriter(
        path, schema, compression="NONE", use_dictionary=False, write_statistics=plain
    ) as writer:  # fmt: skip
        writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=1)


def _volume(path: Path | None) -> pa.StructArray:
    if path is None:
        return pa.nulls(1, NIFTI)
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    offsets = pa.array([0, len(content)], pa.int32()).buffers()[1]
    value = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, pa.py_buffer(content)])
    return pa.StructArray.from_arrays([value, pa.array([path.name])], fields=list(NIFTI))


def value_digest(file: pq.ParquetFile, column: str) -> str | None:
    """SHA-256 of the bytes that `column` holds in the first row; None for a null. Reads that column only."""
    value = file.read_row_group(0, columns=[column]).column(column).chunk(0)
    if not value.is_valid()[0].as_py():
        return None
    return hashlib.sha256(value.field("bytes")[0].as_buffer()).hexdigest()
