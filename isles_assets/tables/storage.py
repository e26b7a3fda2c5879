"""Tables as Parquet files of the data folder: written whole or not at all, the same bytes for the same content.

Each footer holds a digest of the file, so that a single changed bit is noticed.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import atomic_write
from isles_assets.lib.findings import Materialize, Refusal

SUBJECT_COLUMN = "subject_id"

_DIGEST_KEY = b"isles_assets.sha256"
"""Key in the footer. Its value is the digest of the file with `_BLANK` in place of the digest."""

_BLANK = b"0" * 64


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path`, whole or not at all.

    Raises:
        Refusal: The disk is full, or does not allow writing.
    """
    buffer = pa.BufferOutputStream()
    metadata = {**(table.schema.metadata or {}), _DIGEST_KEY: _BLANK}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    assert _stored_digest(content) == _BLANK
    with atomic_write(path) as temporary:
        temporary.write_bytes(_with_digest(content, _computed_digest(content)))


def read_table(path: Path, asset: str, schema: pa.Schema | None = None) -> pa.Table:
    """Return the table at `path`.

    Args:
        asset: The asset that writes the table, to materialize if it cannot be read.
        schema: The columns that the table must have; None for any.

    Raises:
        Refusal: The table is missing, damaged or of another schema.
    """
    try:
        content = path.read_bytes()
        if _stored_digest(content) == _computed_digest(content):
            table = pq.read_table(pa.BufferReader(content))
            if schema is None or table.schema.equals(schema):
                return table
            problem = "was written by another version of isles-assets"
        else:
            problem = "is damaged, or was written by another version of isles-assets"
    except FileNotFoundError:
        problem = "does not exist yet"
    except OSError as error:
        problem = f"cannot be read: {error}"
    raise Refusal.of(f"`{asset}` has to be materialized first.", problem, Materialize((asset,)), path=path)


def _stored_digest(content: bytes) -> bytes:
    """Return the digest in the footer, or other bytes if there is none."""
    return content[_digest_slice(content)]


def _computed_digest(content: bytes) -> bytes:
    """Return the digest that the footer should hold."""
    return hashlib.sha256(_with_digest(content, _BLANK)).hexdigest().encode()


def _with_digest(content: bytes, digest: bytes) -> bytes:
    place = _digest_slice(content)
    return content[: place.start] + digest + content[place.stop :]


def _digest_slice(content: bytes) -> slice:
    """Return where the digest is: after its key in the footer, and two bytes of Thrift."""
    start = content.rfind(_DIGEST_KEY) + len(_DIGEST_KEY) + 2
    return slice(start, start + len(_BLANK))
