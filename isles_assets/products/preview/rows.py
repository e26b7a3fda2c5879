"""Rows of the published tables, made of a subject's preview file."""

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.products.config import MEDIA, MONTAGE
from isles_assets.products.preview.folds import FOLD
from isles_assets.tables.storage import SUBJECT_COLUMN

BUILT_MONTAGE = pa.field("montage", pa.binary())
"""The column of a subject's preview file with all pictures on one page, as JPEG. No column of the config `preview`."""


def preview_row(content: bytes, fold: int | None, schema: pa.Schema) -> pa.Table:
    """Return a subject's row of the config `preview`, from the bytes of the preview file and the fold."""
    built = [name for name in schema.names if name != FOLD.name]
    row = pq.read_table(pa.BufferReader(content), columns=built)
    return row.append_column(FOLD, pa.array([fold], FOLD.type)).select(schema.names).cast(schema)


def look_row(content: bytes, schema: pa.Schema) -> pa.Table:
    """Return a subject's row of the split `look`, from the bytes of the preview file."""
    wanted = [field.name for field in schema if field.type != MEDIA]
    (row,) = pq.read_table(pa.BufferReader(content), columns=[*wanted, BUILT_MONTAGE.name]).to_pylist()
    page = {"bytes": row[BUILT_MONTAGE.name], "path": f"{row[SUBJECT_COLUMN]}.jpg"}
    return pa.Table.from_pylist([{**row, MONTAGE.name: page}], schema)
