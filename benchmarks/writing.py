"""Ways to write one row of large values as Parquet: the same bytes into a file of one row each time."""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, Features
from datasets.table import embed_table_storage

from benchmarks.baselines import CAT, cat_to_sha256sum, copy
from benchmarks.material import LARGE, Material, Subject
from benchmarks.measure import Comparison, Sample, compare, in_child
from isles_assets.lib.parquet import Sink, Streamed, write_row
from isles_assets.tables.storage import SUBJECT_COLUMN

COPIED = "plain copy"
STREAMED = "`isles_assets.lib.parquet.write_row`"
TUNED = "pyarrow, tuned"
DEFAULT = "pyarrow, defaults"
PUSHED = "`datasets`, as `push_to_hub`"

_BUFFER = 1 << 20


@dataclass(frozen=True)
class Row:
    """What is written: the volumes' files by column, and the values of the other columns."""

    schema: pa.Schema
    files: Mapping[str, Path]
    others: Mapping[str, Any]


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """One subject, all of its 18 volumes in one file."""
    subject = material.subject(LARGE[0])
    row, files = _row(material, subject), list(subject.files.values())
    contenders: dict[str, Callable[[], Sample]] = {
        COPIED: partial(_copied, material, files),
        CAT: partial(cat_to_sha256sum, files),
        STREAMED: partial(_written, material, row, stream),
        TUNED: partial(_written, material, row, write_tuned),
        DEFAULT: partial(_written, material, row, write_by_default),
        PUSHED: partial(_written, material, row, write_as_pushed),
    }
    yield compare(LARGE[0], subject.size, contenders, rounds)


def _row(material: Material, subject: Subject) -> Row:
    """The columns of all configs side by side."""
    features = Features()
    for schema in material.schemas().values():
        features |= Features.from_arrow_schema(schema)
    schema = features.arrow_schema
    others = {SUBJECT_COLUMN: subject.row.subject, **subject.row.clinical}
    return Row(schema, subject.files, others)


def _copied(material: Material, files: list[Path]) -> Sample:
    with material.scratch() as folder:
        return in_child(copy, files, folder / "copy")


def _written(material: Material, row: Row, write: Callable[[Row, Path], None]) -> Sample:
    with material.scratch() as folder:
        path = folder / "row.parquet"
        sample = in_child(write, row, path)
        _check(path, row)
        return sample


def _check(path: Path, row: Row) -> None:
    """Raise unless the file has one row with the bytes of every volume in it."""
    metadata = pq.read_metadata(path)
    group = metadata.row_group(0)
    sizes = {
        chunk.path_in_schema: chunk.total_uncompressed_size for chunk in map(group.column, range(group.num_columns))
    }
    short = [column for column, file in row.files.items() if sizes[f"{column}.bytes"] < file.stat().st_size]
    if metadata.num_rows != 1 or metadata.num_row_groups != 1 or short:
        raise RuntimeError(f"{path.name} does not hold the row: {', '.join(short)}")


def stream(row: Row, path: Path) -> None:
    """As shards are written; what the file holds is digested on the way, which the other ways do not do."""
    volumes = {
        column: {"bytes": Streamed(file.stat().st_size, partial(_pour, file)), "path": file.name}
        for column, file in row.files.items()
    }
    with path.open("wb") as output:
        write_row(output, row.schema, {**row.others, **volumes}, dict, created_by="benchmark")


def _pour(path: Path, sink: Sink) -> None:
    buffer = memoryview(bytearray(_BUFFER))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            sink(buffer[:count])


def write_tuned(row: Row, path: Path) -> None:
    """Values are mapped files, nothing is compressed or encoded, statistics are of scalars only."""
    arrays = [
        _mapped(row.files[field.name], field.type)
        if field.name in row.files
        else pa.array([row.others[field.name]], field.type)
        for field in row.schema
    ]
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=row.schema),
        path,
        compression="NONE",
        use_dictionary=False,
        write_statistics=list(row.others),
        row_group_size=1,
    )


def _mapped(path: Path, storage: pa.StructType) -> pa.StructArray:
    """An array of one volume, whose bytes are the file's pages."""
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()
    offsets = pa.py_buffer(struct.pack("<ii", 0, content.size))
    values = pa.Array.from_buffers(pa.binary(), 1, [None, offsets, content])
    return pa.StructArray.from_arrays([values, pa.array([path.name])], fields=list(storage))


def write_by_default(row: Row, path: Path) -> None:
    """A table of what was read, and `write_table` as it is."""
    volumes = {column: {"bytes": file.read_bytes(), "path": file.name} for column, file in row.files.items()}
    pq.write_table(pa.Table.from_pylist([{**row.others, **volumes}], row.schema), path)


def write_as_pushed(row: Row, path: Path) -> None:
    """A dataset of paths, embedded and written as `Dataset._push_parquet_shards_to_hub_single` does."""
    paths = {column: str(file) for column, file in row.files.items()}
    dataset = Dataset.from_list([{**row.others, **paths}]).cast(Features.from_arrow_schema(row.schema))
    embedded = dataset.with_format("arrow").map(embed_table_storage, batched=True, keep_in_memory=True)
    embedded.with_format(**dataset.format).to_parquet(path)
