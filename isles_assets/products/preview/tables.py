"""Tables of all subjects: written whole or not at all, kept while their inputs stay the same."""

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import FileStatus, atomic_write, status_of
from isles_assets.lib.findings import Refusal
from isles_assets.products.config import MEDIA
from isles_assets.products.preview.digesting import DigestingWriter, FileDigest, digest_of
from isles_assets.products.product import PublicationFile

TABLES_VERSION = 1
"""Raise it when the same previews are to give other tables."""

_ROWS_IN_GROUP = 10


@dataclass(frozen=True)
class KeptFile:
    """A file in the data folder, with its digest, and its status before it was read for that."""

    path: Path
    digest: FileDigest
    status: FileStatus

    def published(self, path: str, config: str, split: str, rows: int) -> PublicationFile:
        """Return the file as it is published at `path` in the repo."""
        size, sha256 = self.digest.size, self.digest.sha256
        return PublicationFile(path, self.path, size, sha256, config, split, rows=rows, values=size, noted=self.status)


def layout(schema: pa.Schema) -> dict[str, Any]:
    """Return pyarrow's options. Pictures are compressed already, and statistics of them would hold whole ones."""
    statistics = [_leaf(field) for field in schema]
    return {"compression": "none", "use_dictionary": False, "write_statistics": statistics}


def _leaf(field: pa.Field) -> str:
    """Return the name of the field's column in Parquet; of a picture or volume, that of its path."""
    if field.type == MEDIA:
        return f"{field.name}.path"
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else str(field.name)


def write_rows(path: Path, schema: pa.Schema, rows: Iterable[pa.Table]) -> FileDigest:
    """Write `rows`, tables of one row each, as one Parquet file, whole or not at all.

    Row groups are small and there is a page index, so that a reader of a few rows reads little more. Only one group is
    in memory. The same rows give the same bytes.

    Returns:
        The digest of the bytes that were written.

    Raises:
        Refusal: The disk is full.
    """
    with (
        atomic_write(path) as temporary,
        DigestingWriter(temporary) as file,
        io.BufferedWriter(file) as buffered,
        pq.ParquetWriter(buffered, schema, write_page_index=True, **layout(schema)) as writer,
    ):
        remaining = iter(rows)
        while group := list(islice(remaining, _ROWS_IN_GROUP)):
            writer.write_table(pa.concat_tables(group).combine_chunks())
    return file.written


def kept_file(folder: Path, inputs: bytes, write: Callable[[Path], FileDigest]) -> KeptFile:
    """Return the file that `write` makes of `inputs`. Its name is a digest of these. Files of other names are removed.

    A note of the digest lies beside it. Unless the file is there with that digest, it is written again.

    Raises:
        Refusal: `write` raises it, or the file is not what was written to it.
    """
    name = hashlib.sha256(inputs).hexdigest()
    path, note = (folder / f"{name}.{suffix}" for suffix in ("parquet", "json"))
    status = status_of(path) if path.exists() else None  # before it is read, so that a change meanwhile shows
    actual = digest_of(path) if status else None
    if status is None or actual is None or not note.exists() or note.read_bytes() != actual.note:
        for older in {*folder.glob("[!.]*")} - {path, note}:
            older.unlink(missing_ok=True)
        written = write(path)
        status, actual = status_of(path), digest_of(path)
        if actual != written:
            mend = "see whether the disk is sound; then run again"
            raise Refusal.of("Not published.", "is not what was written to it", mend, path=path)
        with atomic_write(note) as temporary:
            temporary.write_bytes(written.note)
    return KeptFile(path, actual, status)
