"""Tables as Parquet files of the data folder: written whole, the same bytes for the same content."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import written_whole
from isles_assets.lib.findings import Materialize, Refusal

SUBJECT_COLUMN = "subject_id"


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path`, whole or not at all."""
    with written_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path, asset: str, schema: pa.Schema | None = None) -> pa.Table:
    """The table that `asset` wrote, of `schema` if given. Raises `Refusal` with the asset to materialize."""
    try:
        table = pq.read_table(path)
        if schema is None or table.schema.equals(schema):
            return table
        problem = "was written by another version of isles-assets"
    except FileNotFoundError:
        problem = "does not exist yet"
    except (pa.ArrowInvalid, OSError) as error:
        problem = f"cannot be read: {error}"
    raise Refusal.of(f"`{asset}` has to be materialized first.", problem, Materialize((asset,)), path=path)
