"""Tables as Parquet files of the data folder: written whole, the same bytes for the same content.

Each holds a digest of itself in its footer, so that not one bit of it can be another and be believed.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import written_whole
from isles_assets.lib.findings import Materialize, Refusal

SUBJECT_COLUMN = "subject_id"

_DIGEST_KEY = b"isles_assets.sha256"
"""In the footer: the digest of the file with `_BLANK` in the digest's place."""

_BLANK = b"0" * 64


def write_table(path: Path, table: pa.Table) -> None:
    """Write `table` to `path`, whole or not at all."""
    buffer = pa.BufferOutputStream()
    metadata = {**(table.schema.metadata or {}), _DIGEST_KEY: _BLANK}
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    content = buffer.getvalue().to_pybytes()
    assert _digest_in(content) == _BLANK
    with written_whole(path) as temporary:
        temporary.write_bytes(_with_digest(content, _digest_of(content)))


def read_table(path: Path, asset: str, schema: pa.Schema | None = None) -> pa.Table:
    """The table that `asset` wrote, of `schema` if given. Raises `Refusal` with the asset to materialize."""
    try:
        content = path.read_bytes()
        if _digest_in(content) == _digest_of(content):
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


def _digest_in(content: bytes) -> bytes:
    """The digest that a table holds of itself, or bytes that are none."""
    return content[_place(content)]


def _digest_of(content: bytes) -> bytes:
    """What that digest has to be."""
    return hashlib.sha256(_with_digest(content, _BLANK)).hexdigest().encode()


def _with_digest(content: bytes, digest: bytes) -> bytes:
    place = _place(content)
    return content[: place.start] + digest + content[place.stop :]


def _place(content: bytes) -> slice:
    """Where the digest is: two bytes of Thrift after its key, in the list of keys and values of the footer."""
    start = content.rfind(_DIGEST_KEY) + len(_DIGEST_KEY) + 2
    return slice(start, start + len(_BLANK))
