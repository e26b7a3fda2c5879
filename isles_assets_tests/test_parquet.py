"""Files of one row, read back by pyarrow, `datasets`, DuckDB and Polars."""

import hashlib
import io
import json
import math
import operator
import random
import struct
import sys
import zlib
from pathlib import Path

import datasets
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from isles_assets.lib.parquet import LARGEST_VALUE, ReadBack, Streamed, Written, read_back, write_row
from isles_assets.products.config import MEDIA
from isles_assets.products.features import annotated_schema, features
from isles_assets_tests.isles24 import CONFIGS
from isles_assets_tests.materials import volume
from isles_assets_tests.processes import python

MIXED = pa.struct([pa.field("bytes", pa.binary(), nullable=False), pa.field("number", pa.int16())])
REQUIRED = pa.struct([pa.field("word", pa.string(), nullable=False), pa.field("x", pa.float64(), nullable=False)])
COLUMNS = [
    ("null_struct", MEDIA, None),
    ("null_inside", MEDIA, {"bytes": None, "path": None}),
    ("null_bytes", MEDIA, {"bytes": None, "path": "a/b"}),
    ("null_path", MEDIA, {"bytes": b"", "path": None}),
    ("every_byte", MEDIA, {"bytes": bytes(range(256)), "path": "ü"}),
    ("null_mixed", MIXED, None),
    ("mixed", MIXED, {"bytes": b"PAR1", "number": None}),
    ("text", pa.string(), "left"),
    ("empty_text", pa.string(), ""),
    ("größe", pa.string(), "für → 🧠"),
    ("null_text", pa.string(), None),
    ("no_byte", pa.binary(), b""),
    ("one_byte", pa.binary(), b"\0"),
    ("many_bytes", pa.binary(), bytes(range(256)) * 1000),
    ("null_binary", pa.binary(), None),
    ("least", pa.int16(), -(2**15)),
    ("most", pa.int16(), 2**15 - 1),
    ("zero", pa.int16(), 0),
    ("null_number", pa.int16(), None),
    ("half", pa.float64(), 0.5),
    ("plus_zero", pa.float64(), 0.0),
    ("minus_zero", pa.float64(), -0.0),
    ("infinite", pa.float64(), -math.inf),
    ("nan", pa.float64(), math.nan),
    ("tiny", pa.float64(), 5e-324),
    ("null_float", pa.float64(), None),
]
REQUIRED_COLUMNS = [
    ("sure_text", pa.string(), ""),
    ("sure_binary", pa.binary(), b"\xff"),
    ("sure_number", pa.int16(), -1),
    ("sure_float", pa.float64(), -0.0),
    ("sure_mixed", MIXED, {"bytes": b"", "number": 3}),
    ("sure_struct", MEDIA, {"bytes": None, "path": "p"}),
    ("sure_throughout", REQUIRED, {"word": "w", "x": math.inf}),
]
SCHEMA = pa.schema(
    [
        *(pa.field(name, of) for name, of, _ in COLUMNS),
        *(pa.field(name, of, nullable=False) for name, of, _ in REQUIRED_COLUMNS),
    ]
)
ROW = {name: value for name, _, value in (*COLUMNS, *REQUIRED_COLUMNS)}
BINARY = pa.schema([("a", pa.binary())])


def content_of(schema, row, metadata=dict):
    file = io.BytesIO()
    write_row(file, schema, row, metadata, created_by="tests version 1")
    return file.getvalue()


def table_of(content):
    return pq.read_table(pa.BufferReader(content))


def footer_of(content):
    return pq.read_metadata(pa.BufferReader(content))


def chunks_of(content):
    group = footer_of(content).row_group(0)
    return [group.column(i) for i in range(group.num_columns)]


def exact(value):
    """Something that is equal only if zeros have the same sign and NaN is in the same places."""
    if isinstance(value, dict):
        return {name: exact(inner) for name, inner in value.items()}
    return value.hex() if isinstance(value, float) else value


def streamed(value, split):
    """`value` with each of its bytes objects as a stream of the pieces that `split` makes of it."""
    if isinstance(value, dict):
        return {name: streamed(inner, split) for name, inner in value.items()}
    return stream(split(value), len(value)) if isinstance(value, bytes) else value


def stream(pieces, size):
    def write_to(sink):
        for piece in pieces:
            sink(piece)

    return Streamed(size, write_to)


def by_pyarrow(path, cache):
    table = pq.read_table(path)
    return table.to_pylist(), {field.name: field.type for field in table.schema}


def by_datasets(path, cache):
    dataset = datasets.Dataset.from_parquet(str(path), cache_dir=str(cache))
    return list(dataset), dataset.features


def by_streaming_datasets(path, cache):
    dataset = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(cache), streaming=True)["train"]
    return list(dataset), dataset.features


def by_duckdb(path, cache):
    relation = duckdb.read_parquet(str(path))
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    return rows, dict(zip(relation.columns, map(str, relation.types), strict=True))


def by_polars(path, cache):
    frame = pl.read_parquet(path)
    return frame.rows(named=True), dict(frame.schema)


def in_datasets(of):
    return datasets.Features.from_arrow_schema(pa.schema([("column", of)]))["column"]


def in_duckdb(of):
    if pa.types.is_struct(of):
        return f"STRUCT({', '.join(f'{field.name} {in_duckdb(field.type)}' for field in of)})"
    return {pa.string(): "VARCHAR", pa.binary(): "BLOB", pa.int16(): "SMALLINT", pa.float64(): "DOUBLE"}[of]


def in_polars(of):
    if pa.types.is_struct(of):
        return pl.Struct({field.name: in_polars(field.type) for field in of})
    return {pa.string(): pl.String, pa.binary(): pl.Binary, pa.int16(): pl.Int16, pa.float64(): pl.Float64}[of]


@pytest.mark.parametrize(
    ("read", "named"),
    [
        (by_pyarrow, lambda of: of),
        (by_datasets, in_datasets),
        (by_streaming_datasets, in_datasets),
        (by_duckdb, in_duckdb),
        (by_polars, in_polars),
    ],
    ids=["pyarrow", "datasets", "streaming datasets", "duckdb", "polars"],
)
def test_every_reader_gets_the_values_nulls_and_types(tmp_path, read, named):
    path = tmp_path / "row.parquet"
    path.write_bytes(content_of(SCHEMA, ROW))
    rows, types = read(path, tmp_path / "cache")
    assert [exact(row) for row in rows] == [exact(ROW)]
    assert types == {field.name: named(field.type) for field in SCHEMA}


def test_schema_is_read_as_it_was_given_with_its_required_fields():
    content = content_of(SCHEMA, ROW)
    assert table_of(content).schema.equals(SCHEMA)
    assert footer_of(content).schema.equals(footer_of(as_pyarrow_writes(SCHEMA, ROW)).schema)


def in_a_buffer_used_again(value):
    buffer = bytearray(7)
    for start in range(0, len(value), len(buffer)):
        piece = value[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


@pytest.mark.parametrize(
    "split",
    [
        lambda value: [value] if value else [],
        lambda value: [value[i : i + 1] for i in range(len(value))],
        lambda value: [b"", value[:1], b"", b"", value[1:], b""],
        lambda value: [memoryview(value)],
        in_a_buffer_used_again,
    ],
    ids=["one piece", "single bytes", "empty pieces", "a view", "a buffer used again"],
)
def test_a_stream_is_written_like_the_bytes_that_it_pours(split):
    assert content_of(SCHEMA, streamed(ROW, split)) == content_of(SCHEMA, ROW)


def test_a_piece_counts_by_its_bytes():
    numbers = np.arange(6, dtype="<f4").reshape(2, 3)
    (row,) = table_of(content_of(BINARY, {"a": stream([memoryview(numbers)], numbers.nbytes)})).to_pylist()
    assert row["a"] == numbers.tobytes()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
def test_datasets_decodes_volumes_and_gives_none_for_a_null_one(tmp_path, config):
    schema = annotated_schema(config)
    first = config.volumes[0]
    image = volume(np.arange(24, dtype="<i2").reshape(2, 3, 4))
    for name, value in (("null", None), ("there", {"bytes": image.to_bytes(), "path": "there.nii"})):
        row = dict.fromkeys(schema.names) | {"subject_id": name, first: value}
        (tmp_path / f"{name}.parquet").write_bytes(content_of(schema, row))
    null, there = (
        datasets.Dataset.from_parquet(str(tmp_path / f"{name}.parquet"), cache_dir=str(tmp_path / name))
        for name in ("null", "there")
    )
    assert null.features == there.features == features(config)
    assert null[0] == dict.fromkeys(schema.names) | {"subject_id": "null"}
    assert (there[0][first].get_fdata() == image.get_fdata()).all()
    assert there[0] | {first: None} == dict.fromkeys(schema.names) | {"subject_id": "there"}


def as_pyarrow_writes(schema, row):
    file = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist([row], schema), file, compression="none", use_dictionary=False, store_schema=False
    )
    return file.getvalue()


WRITE_LARGE = """
import hashlib, json, os, resource, sys, zlib
import pyarrow as pa
from isles_assets.lib.parquet import LARGEST_VALUE, Streamed, write_row
class Holes:
    def __init__(self, file):
        self.file = file
    def write(self, piece):
        if any(piece[:64]) or any(piece[-64:]):
            self.file.write(piece)
        else:
            self.file.seek(len(piece), os.SEEK_CUR)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def zeros(size):
    for start in range(0, size, 1 << 20):
        yield bytes(min(1 << 20, size - start))
def volume(size):
    marks = [letter * (1 << 20) for letter in (b"B", b"M", b"E")]
    yield marks[0]
    yield from zeros(size // 2)
    yield marks[1]
    yield from zeros(size - size // 2 - sum(map(len, marks)))
    yield marks[2]
digest, crc32 = hashlib.sha256(), 0
def write_to(sink):
    global crc32
    for piece in volume(size):
        digest.update(piece)
        crc32 = zlib.crc32(piece, crc32)
        sink(piece)
def largest():
    return Streamed(LARGEST_VALUE, lambda sink: [sink(piece) for piece in zeros(LARGEST_VALUE)] and None)
path, size = sys.argv[1], int(sys.argv[2])
fields = {"bytes": pa.binary(), "path": pa.string()}
schema = pa.schema([("one", pa.binary()), ("two", pa.binary()), ("volume", pa.struct(fields)), ("last", pa.int16())])
row = {"one": largest(), "two": largest(), "volume": {"bytes": Streamed(size, write_to), "path": "p"}, "last": -2}
before = peak()
with open(path, "wb") as file:
    written = write_row(Holes(file), schema, row, dict, created_by="tests")
said = {"size": written.size, "value": digest.hexdigest(), "crc32": crc32, "memory": (peak() - before) / 1024}
print(json.dumps(said))
"""
READ_LARGE = """
import hashlib, json, sys, tempfile
path = sys.argv[1]
def seen(value):
    return len(value), hashlib.sha256(value).hexdigest()
def pyarrow():
    import pyarrow.parquet as pq
    table = pq.read_table(path, columns=["volume", "last"], pre_buffer=False)
    volume = table["volume"][0]
    return *seen(volume["bytes"].as_buffer()), volume["path"].as_py(), table["last"][0].as_py()
def datasets():
    import datasets
    with tempfile.TemporaryDirectory() as cache:
        (row,) = datasets.Dataset.from_parquet(path, columns=["volume", "last"], cache_dir=cache)
    return *seen(row["volume"]["bytes"]), row["volume"]["path"], row["last"]
def duckdb():
    import duckdb
    duckdb.sql("set enable_progress_bar = false")
    columns = "octet_length(volume.bytes), sha256(volume.bytes), volume.path, last"
    (row,) = duckdb.sql(f"select {columns} from read_parquet('{path}')").fetchall()
    return row
def polars():
    import polars as pl
    fields = pl.col("volume").struct
    row = pl.scan_parquet(path).select(fields.field("bytes"), fields.field("path"), "last").collect().row(0)
    return *seen(row[0]), *row[1:]
print(json.dumps(globals()[sys.argv[2]]()))
"""


@pytest.mark.long
@pytest.mark.slow
def test_every_reader_gets_a_value_of_more_than_a_gigabyte_beyond_four(tmp_path):
    """It lies behind two of the largest size that there may be."""
    path, size = tmp_path / "large.parquet", 1_500_000_001
    try:
        written = json.loads(python(WRITE_LARGE, path, size).stdout)
        assert written["memory"] < 100
        assert written["size"] == path.stat().st_size > 2**32 + size
        footer = pq.read_metadata(path)
        assert footer.row_group(0).total_byte_size == written["size"] - footer.serialized_size - 12
        assert read_back(path, {"volume.bytes": size}).values == {"volume.bytes": written["crc32"]}
        for reader in ("pyarrow", "datasets", "duckdb", "polars"):
            read = json.loads(python(READ_LARGE, path, reader).stdout)
            assert read == [size, written["value"], "p", -2], reader
    finally:
        path.unlink(missing_ok=True)


MEMORY = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from isles_assets.lib.parquet import Streamed, read_back, write_row
path = Path(sys.argv[1])
schema = pa.schema([("small", pa.binary()), ("large", pa.binary())])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def write(size):
    def write_to(sink):
        for i in range(size >> 20):
            sink(bytes([i]) * (1 << 20))
    with path.open("wb") as file:
        write_row(file, schema, {"small": b"s", "large": Streamed(size, write_to)}, dict, created_by="tests")
    read_back(path, {"large": size})
write(1 << 20)
before = peak()
write(200 << 20)
assert path.stat().st_size > 200e6
path.unlink()
print((peak() - before) / 1024)
"""


def test_memory_does_not_grow_with_the_value(tmp_path):
    """200 MB, written and read back."""
    assert float(python(MEMORY, tmp_path / "row.parquet").stdout) < 20


class OwnError(Exception):
    """Raised by what is passed in here: a stream, `metadata` or a file."""


def fail(*_):
    raise OwnError


def refuse(schema, row, error, match=None):
    """Nothing may have been written, nor any stream read."""
    file = io.BytesIO()
    with pytest.raises(error, match=match):
        write_row(file, schema, row, dict, created_by="tests")
    assert file.getvalue() == b""


def test_the_largest_value_is_written_and_its_page_is_of_the_largest_size():
    assert LARGEST_VALUE == 2**31 - 11
    file = io.BytesIO()
    with pytest.raises(OwnError):
        write_row(file, BINARY, {"a": Streamed(LARGEST_VALUE, fail)}, dict, created_by="tests")
    assert file.getvalue().endswith(LARGEST_VALUE.to_bytes(4, "little"))


@pytest.mark.parametrize("size", [LARGEST_VALUE + 1, 2**31 - 1, 2**31, 2**32, 2**63])
@pytest.mark.parametrize("nullable", [True, False])
def test_a_larger_value_is_refused_by_name_before_anything_is_written(size, nullable):
    one, other = Streamed(1, fail), Streamed(size, fail)
    field = pa.field("bytes", pa.binary(), nullable=nullable)
    refuse(pa.schema([("a", pa.binary()), field]), {"a": one, "bytes": other}, ValueError, rf"^bytes has {size} bytes")
    inside = pa.schema([("a", pa.binary()), pa.field("cta", pa.struct([field]), nullable=nullable)])
    refuse(inside, {"a": one, "cta": {"bytes": other}}, ValueError, rf"^cta\.bytes .* at most {LARGEST_VALUE}$")


@pytest.mark.parametrize("value", [None, {"b": None}, {"b": {"c": None}}])
def test_a_null_where_none_may_be_is_refused_by_name_before_anything_is_written(value):
    c = pa.field("c", pa.binary(), nullable=False)
    b = pa.field("b", pa.struct([c]), nullable=False)
    schema = pa.schema([("first", pa.binary()), pa.field("a", pa.struct([b]), nullable=False)])
    refuse(schema, {"first": Streamed(1, fail), "a": value}, ValueError, r"^a\.b\.c is null$")


def test_a_required_field_may_be_absent_with_its_struct():
    schema = pa.schema([("a", pa.struct([pa.field("b", pa.int16(), nullable=False)]))])
    assert table_of(content_of(schema, {"a": None})).to_pylist() == [{"a": None}]
    refuse(schema, {"a": {"b": None}}, ValueError, r"^a\.b is null$")


@pytest.mark.parametrize(
    "of",
    [
        pa.int32(),
        pa.uint16(),
        pa.float32(),
        pa.bool_(),
        pa.large_binary(),
        pa.large_string(),
        pa.binary(4),
        pa.string_view(),
        pa.null(),
        pa.timestamp("us"),
        pa.list_(pa.int16()),
        pa.map_(pa.string(), pa.int16()),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [None, Streamed(4, fail)], ids=["null", "streamed"])
def test_a_column_of_another_type_is_refused_before_anything_is_written(of, value):
    first = ("first", pa.binary()), Streamed(1, fail)
    refuse(pa.schema([first[0], ("a", of)]), {"first": first[1], "a": value}, TypeError, "is not written here")
    inside = pa.schema([first[0], ("a", pa.struct({"b": of}))])
    refuse(inside, {"first": first[1], "a": {"b": value}}, TypeError, "is not written here")


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (pa.int16(), 2**15),
        (pa.int16(), -(2**15) - 1),
        (pa.int16(), 2**31),
        (pa.int16(), 0.5),
        (pa.int16(), "1"),
        (pa.float64(), "1"),
        (pa.string(), 1),
        (pa.string(), b"1"),
        (pa.string(), "\udcff"),
        (pa.binary(), 1),
        (pa.binary(), "1"),
        (pa.binary(), [1]),
        (pa.string(), Streamed(1, fail)),
        (pa.int16(), Streamed(4, fail)),
        (pa.float64(), Streamed(8, fail)),
        (pa.binary(), Streamed(-1, fail)),
    ],
)
def test_a_value_that_is_not_of_its_columns_type_is_refused_before_anything_is_written(of, value):
    row = {"first": Streamed(1, fail), "a": value}
    refuse(pa.schema([("first", pa.binary()), ("a", of)]), row, (TypeError, ValueError))


@pytest.mark.parametrize("pieces", [[], [b""], [b"12"], [b"1", b"2"], [b"1234"], [b"123", b"4"], [b"12", b"", b"34"]])
@pytest.mark.parametrize("of", [pa.binary(), pa.struct({"b": pa.binary()})], ids=str)
def test_a_stream_of_another_size_than_it_says_is_refused_by_name(pieces, of):
    value, name = (stream(pieces, 3), "a") if of == pa.binary() else ({"b": stream(pieces, 3)}, r"a\.b")
    with pytest.raises(ValueError, match=rf"^{name} .*\b3\b"):
        content_of(pa.schema([("a", of), ("z", pa.string())]), {"a": value, "z": "z"})


def test_what_a_stream_raises_is_passed_on_after_what_it_gave():
    def write_to(sink):
        sink(b"some")
        fail()

    file = io.BytesIO()
    with pytest.raises(OwnError):
        write_row(file, BINARY, {"a": Streamed(9, write_to)}, dict, created_by="tests")
    assert file.getvalue().endswith(b"some")


def test_what_metadata_raises_is_passed_on():
    with pytest.raises(OwnError):
        content_of(BINARY, {"a": b""}, fail)


@pytest.mark.parametrize("room", range(0, 200, 40))
def test_what_the_file_raises_is_passed_on(room):
    class Full(io.BytesIO):
        def write(self, piece):
            if self.tell() + len(piece) > room:
                fail()
            return super().write(piece)

    with pytest.raises(OwnError):
        write_row(Full(), BINARY, {"a": stream([b"x" * 9] * 9, 81)}, dict, created_by="tests")


def test_size_and_digest_are_those_of_the_file(tmp_path):
    path = tmp_path / "row.parquet"
    with path.open("wb") as file:
        written = write_row(file, SCHEMA, streamed(ROW, in_a_buffer_used_again), dict, created_by="tests")
    content = path.read_bytes()
    assert written == Written(len(content), zlib.crc32(content))


def test_same_arguments_give_the_same_bytes():
    once, again = (content_of(SCHEMA, ROW, lambda: {"b": "1", "a": "2"}) for _ in range(2))
    assert once == again


def test_metadata_is_asked_for_once_and_after_all_values_are_written():
    file = io.BytesIO()
    calls = []

    def write_to(sink):
        sink(b"value")
        calls.append("write_to")

    def metadata():
        assert file.getvalue().endswith(b"the last value")
        calls.append("metadata")
        return {"calls": " ".join(calls)}

    schema = pa.schema([("a", pa.binary()), ("b", pa.struct({"c": pa.binary()})), ("d", pa.string())])
    row = {"a": Streamed(5, write_to), "b": {"c": Streamed(5, write_to)}, "d": "the last value"}
    write_row(file, schema, row, metadata, created_by="tests")
    assert footer_of(file.getvalue()).metadata == {b"calls": b"write_to write_to metadata"}
    assert calls == ["write_to", "write_to", "metadata"]


def test_metadata_is_the_schemas_and_what_was_returned_which_wins():
    schema = BINARY.with_metadata({"huggingface": '{"ü": 1}', "both": "schema", "empty": ""})
    content = content_of(schema, {"a": None}, lambda: {"both": "returned", "new": "→"})
    expected = {"huggingface": '{"ü": 1}', "both": "returned", "empty": "", "new": "→"}
    assert footer_of(content).metadata == {key.encode(): value.encode() for key, value in expected.items()}
    assert table_of(content).schema.metadata == footer_of(content).metadata


def test_writer_is_named():
    assert footer_of(content_of(BINARY, {"a": None})).created_by == "tests version 1"


OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
PROBES = {
    pa.int16(): [-(2**15), -1, 0, 5, 2**15 - 1],
    pa.float64(): [-math.inf, -1.5, -0.0, 0.0, 5e-324, math.inf, math.nan],
    pa.string(): ["", "b", "ba", "é", "🧠"],
}


def found_by_pyarrow(source, name, of):
    field = pa.dataset.field(*name.split("."))
    probes = [pa.scalar(probe, of) for probe in PROBES[of]]
    conditions = [compare(field, probe) for compare in OPERATORS.values() for probe in probes]
    conditions += [field.is_null(), field.is_valid()]
    if isinstance(source, Path):
        return [pq.read_table(source, filters=condition).num_rows for condition in conditions]
    return [source.filter(condition).num_rows for condition in conditions]


def found_by_duckdb(source, name, of):
    probes = [f"'{probe}'::{in_duckdb(of)}" for probe in PROBES[of]]
    conditions = [f"{name} {sign} {probe}" for sign in OPERATORS for probe in probes]
    conditions += [f"{name} is null", f"{name} is not null"]
    with duckdb.connect() as connection:
        relation = connection.read_parquet(str(source)) if isinstance(source, Path) else connection.from_arrow(source)
        relation.create_view("source")
        counts = (f"(select count(*) from source where {condition})" for condition in conditions)
        return list(connection.execute(f"select {', '.join(counts)}").fetchall()[0])


def found_by_polars(source, name, of):
    column, *inner = name.split(".")
    field = pl.col(column).struct.field(*inner) if inner else pl.col(column)
    conditions = [compare(field, pl.lit(probe)) for compare in OPERATORS.values() for probe in PROBES[of]]
    conditions += [field.is_null(), field.is_not_null()]
    frame = pl.scan_parquet(source) if isinstance(source, Path) else pl.from_arrow(source).lazy()
    return [frame.filter(condition).collect().height for condition in conditions]


@pytest.mark.parametrize("found", [found_by_pyarrow, found_by_duckdb, found_by_polars])
@pytest.mark.parametrize("name", ["x", "s.x"])
@pytest.mark.parametrize("of", PROBES, ids=str)
def test_a_filter_finds_the_row_in_the_file_as_it_does_in_memory(tmp_path, found, name, of):
    schema = pa.schema([("x", of), ("s", pa.struct({"x": of}))])
    seen = set()
    for number, value in enumerate([*PROBES[of], None]):
        row = {"x": value, "s": {"x": value}}
        path = tmp_path / f"{number}.parquet"
        path.write_bytes(content_of(schema, row))
        in_file = found(path, name, of)
        assert in_file == found(pa.Table.from_pylist([row], schema), name, of), value
        seen |= set(in_file)
    assert seen == {0, 1}


@pytest.mark.parametrize(("value", "nulls"), [(None, 1), ({"x": None}, 0), ({"x": 3}, 0)])
def test_a_null_struct_is_found_as_such(tmp_path, value, nulls):
    path = tmp_path / "row.parquet"
    path.write_bytes(content_of(pa.schema([("s", pa.struct({"x": pa.int16()}))]), {"s": value}))
    assert pq.read_table(path, filters=pa.dataset.field("s").is_null()).num_rows == nulls
    assert len(duckdb.sql(f"from read_parquet('{path}') where s is null").fetchall()) == nulls
    assert pl.scan_parquet(path).filter(pl.col("s").is_null()).collect().height == nulls


@pytest.mark.parametrize(
    ("of", "value", "least", "most"),
    [
        (pa.string(), "", "", ""),
        (pa.string(), "→", "→", "→"),
        (pa.int16(), -2, -2, -2),
        (pa.int16(), 2**15 - 1, 2**15 - 1, 2**15 - 1),
        (pa.float64(), 1.5, 1.5, 1.5),
        (pa.float64(), -math.inf, -math.inf, -math.inf),
        (pa.float64(), 0.0, -0.0, 0.0),
        (pa.float64(), -0.0, -0.0, 0.0),
    ],
)
def test_a_value_is_its_own_minimum_and_maximum(of, value, least, most):
    (chunk,) = chunks_of(content_of(pa.schema([("a", of)]), {"a": value}))
    assert chunk.statistics.has_min_max and chunk.statistics.has_null_count
    assert exact(chunk.statistics.min) == exact(least)
    assert exact(chunk.statistics.max) == exact(most)
    assert chunk.statistics.null_count == 0


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (pa.float64(), math.nan),
        (pa.binary(), b""),
        (pa.binary(), b"x" * 1_000_000),
        (pa.binary(), stream([b"x"] * 9, 9)),
        (pa.string(), "x" * 1_000_000),
    ],
    ids=["nan", "no byte", "large binary", "streamed", "large text"],
)
def test_nan_binary_and_large_values_have_no_minimum_or_maximum(of, value):
    content = content_of(pa.schema([("a", of)]), {"a": value})
    (chunk,) = chunks_of(content)
    assert not chunk.statistics.has_min_max
    assert chunk.statistics.null_count == 0
    assert footer_of(content).serialized_size < 300


@pytest.mark.parametrize(("value", "nulls"), [(None, 1), ({"x": None}, 1), ({"x": 3}, 0)])
def test_a_null_is_counted_and_has_no_minimum_or_maximum(value, nulls):
    (chunk,) = chunks_of(content_of(pa.schema([("s", pa.struct({"x": pa.int16()}))]), {"s": value}))
    assert (chunk.statistics.null_count, chunk.statistics.has_min_max) == (nulls, not nulls)


@pytest.mark.parametrize(("of", "probes"), PROBES.items(), ids=map(str, PROBES))
def test_a_reader_skips_the_row_without_reading_it_when_no_filter_can_match(tmp_path, of, probes):
    path = tmp_path / "row.parquet"
    path.write_bytes(content_of(pa.schema([("x", of)]), {"x": probes[2]}))
    (fragment,) = pa.dataset.dataset(path).get_fragments()
    field, value = pa.dataset.field("x"), pa.scalar(probes[2], of)
    for condition in (field > value, field < value, field == pa.scalar(probes[1], of), field.is_null()):
        assert fragment.split_by_row_group(condition) == []
    for condition in (field >= value, field <= value, field == value, field.is_valid()):
        assert len(fragment.split_by_row_group(condition)) == 1


SPREAD = pa.schema(
    [
        ("a", pa.binary()),
        ("n", pa.int16()),
        ("s", pa.struct([pa.field("b", pa.binary(), nullable=False), pa.field("a", pa.binary())])),
        pa.field("r", pa.binary(), nullable=False),
        ("t", pa.string()),
        ("null", pa.binary()),
    ]
)
SPREAD_ROW = {"a": b"first", "n": 0, "s": {"b": b"", "a": bytes(3_000_000)}, "r": b"r", "t": "text", "null": None}
VALUES = {"a": b"first", "s.b": b"", "s.a": bytes(3_000_000), "r": b"r", "t": b"text"}


@pytest.fixture
def spread(tmp_path):
    path = tmp_path / "spread.parquet"
    path.write_bytes(content_of(SPREAD, SPREAD_ROW))
    return path


def crc32_of(values):
    return {name: zlib.crc32(value) for name, value in values.items()}


def test_digests_are_those_of_the_file_and_of_the_values_by_column(spread):
    content = spread.read_bytes()
    of_file = len(content), hashlib.sha256(content).hexdigest(), zlib.crc32(content)
    sizes = {name: len(value) for name, value in VALUES.items()}
    assert read_back(spread, sizes) == ReadBack(*of_file, crc32_of(VALUES))
    assert read_back(spread, {"r": 1}) == ReadBack(*of_file, crc32_of({"r": b"r"}))
    assert read_back(spread, {}) == ReadBack(*of_file, {})


@pytest.mark.parametrize(
    ("name", "place"), [("a", 0), ("a", 4), ("s.a", 0), ("s.a", 1_500_000), ("s.a", 2_999_999), ("r", 0)]
)
def test_a_flipped_byte_changes_the_digest_of_its_value_alone(spread, name, place):
    value = VALUES[name]
    content = bytearray(spread.read_bytes())
    (chunk,) = (chunk for chunk in chunks_of(content) if chunk.path_in_schema == name)
    start = chunk.data_page_offset + chunk.total_compressed_size - len(value)
    assert content[start : start + len(value)] == value
    content[start + place] ^= 1
    spread.write_bytes(content)
    changed = bytearray(value)
    changed[place] ^= 1
    sizes = {name: len(value) for name, value in VALUES.items()}
    back = read_back(spread, sizes)
    assert back.values == crc32_of(VALUES | {name: changed})
    assert back.crc32 == zlib.crc32(content)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("a", 4),
        ("a", 6),
        ("a", 0),
        ("a", -1),
        ("a", 1_000_000),
        ("a", 2**31),
        ("a", 2**40),
        ("s.b", 1),
        ("s.a", 0),
        ("s.a", 2_999_996),
        ("s.a", 2_999_999),
        ("s.a", 3_000_001),
        ("null", 0),
        ("null", 2**17),
    ],
)
def test_another_size_than_the_files_is_refused_by_name(spread, name, size):
    with pytest.raises(ValueError, match=rf"^{name} does not hold {size} bytes$"):
        read_back(spread, {"r": 1, name: size})


def test_a_size_inside_the_value_is_not_taken_for_its_own(tmp_path):
    path = tmp_path / "row.parquet"
    path.write_bytes(content_of(BINARY, {"a": b"longer" + struct.pack("<I", 3) + b"end"}))
    with pytest.raises(ValueError, match="a does not hold 3 bytes"):
        read_back(path, {"a": 3})


def check_layout(content):
    """The footer is where the file says, and what it says of the chunks is where they are, with no byte between."""
    footer = footer_of(content)
    assert content[:4] == content[-4:] == b"PAR1"
    assert content[-8:-4] == struct.pack("<I", footer.serialized_size)
    assert (footer.num_rows, footer.num_row_groups) == (1, 1)
    group, chunks = footer.row_group(0), chunks_of(content)
    end = 4
    for chunk in chunks:
        assert chunk.data_page_offset == end
        assert not chunk.has_dictionary_page and not chunk.has_offset_index
        assert (chunk.num_values, chunk.file_offset) == (1, 0)
        assert (chunk.compression, set(chunk.encodings)) == ("UNCOMPRESSED", {"PLAIN", "RLE"})
        assert chunk.total_compressed_size == chunk.total_uncompressed_size
        end += chunk.total_compressed_size
    assert end == len(content) - footer.serialized_size - 8
    assert (group.num_rows, group.total_byte_size) == (1, end - 4)


def test_layout_is_whole(tmp_path):
    content = content_of(SCHEMA, ROW)
    check_layout(content)
    path = tmp_path / "row.parquet"
    path.write_bytes(content)
    sizes = duckdb.sql(f"select distinct row_group_bytes, row_group_compressed_bytes from parquet_metadata('{path}')")
    assert sizes.fetchall() == [(footer_of(content).row_group(0).total_byte_size,) * 2]


# As the format's specification and that of Thrift's compact protocol have it. A number is twice what it says, and odd
# if negative; a byte before it says how many ids on and of which type its field is; 00 ends a structure.
SMALL_FILE = bytes.fromhex(
    "50415231"
    "1500 151a 151a 2c 1502 1500 1506 1506 00 00"  # a page: of data, twice 13 bytes, 1 value, PLAIN, levels RLE
    "02000000 02 02 03000000 616263"  # 2 bytes of levels, one time 2; 3 bytes, abc
    "1500 1514 1514 2c 1502 1500 1506 1506 00 00"  # a page of 10 bytes
    "02000000 02 01 feffffff"  # one time 1; -2
    "1500 150a 150a 2c 1502 1500 1506 1506 00 00"  # a page of 5 bytes
    "01000000 74"  # 1 byte, t
    "1504"  # the footer: version 2
    "19 5c"  # 5 elements of the schema
    "48 06 736368656d61 1504 00"  # schema, which has 2 children
    "3502 18 01 73 1504 00"  # OPTIONAL s, which has 2 children
    "150c 2502 18 01 62 00"  # BYTE_ARRAY, OPTIONAL b
    "1502 2500 18 01 6e 2520 4c ac 1310 11 00 00 00"  # INT32, REQUIRED n, INT_16 and an INTEGER of 16 bits with sign
    "150c 2500 18 01 74 2500 4c 1c 00 00 00"  # BYTE_ARRAY, REQUIRED t, UTF8 and a STRING
    "1602"  # 1 row
    "19 1c 19 3c"  # 1 row group of 3 chunks
    "2600 1c"  # offset 0, as is written now; metadata:
    "150c 19 25 06 00 19 28 01 73 01 62"  # BYTE_ARRAY, encodings RLE and PLAIN, path s.b
    "1500 1602 163c 163c 2608 3c 3600 00 00 00"  # UNCOMPRESSED, 1 value, twice 30 bytes, at 4, 0 nulls
    "2600 1c"
    "1502 19 25 06 00 19 28 01 73 01 6e"  # INT32, encodings RLE and PLAIN, path s.n
    "1500 1602 1636 1636 2644 3c 3600"  # UNCOMPRESSED, 1 value, twice 27 bytes, at 34, 0 nulls
    "28 04 feffffff 18 04 feffffff 00 00 00"  # maximum and minimum
    "2600 1c"
    "150c 19 25 06 00 19 18 01 74"  # BYTE_ARRAY, encodings RLE and PLAIN, path t
    "1500 1602 162c 162c 267a 3c 3600"  # UNCOMPRESSED, 1 value, twice 22 bytes, at 61, 0 nulls
    "28 01 74 18 01 74 00 00 00"  # maximum and minimum
    "169e01 1602 2608 169e01 1400 00"  # the row group: 79 bytes, 1 row, at 4, 79 bytes, the first
    "19 1c 18 01 6b 18 01 76 00"  # k is v
    "18 02 6d65"  # by me
    "19 3c 1c 00 00 1c 00 00 1c 00 00"  # 3 orders, those of the types
    "00"
    "d7000000 50415231"  # 215 bytes of footer
)


def test_bytes_are_those_of_the_format():
    s = pa.struct([pa.field("b", pa.binary()), pa.field("n", pa.int16(), nullable=False)])
    schema = pa.schema([pa.field("s", s), pa.field("t", pa.string(), nullable=False)], metadata={"k": "v"})
    file = io.BytesIO()
    write_row(file, schema, {"s": {"b": b"abc", "n": -2}, "t": "t"}, dict, created_by="me")
    assert file.getvalue() == SMALL_FILE


NAMES = ["a", "b", "bytes", "path", "größe", "a b", "a.b", "", "Ω" * 50, "schema"]
SCALARS = {
    pa.string(): lambda rng: "".join(rng.choices("az é→\0🧠", k=rng.choice([0, 1, 3, 200]))),
    pa.binary(): lambda rng: rng.randbytes(rng.choice([0, 1, 4, 255, 70_000])),
    pa.int16(): lambda rng: rng.choice([0, -1, -(2**15), 2**15 - 1, rng.randrange(-(2**15), 2**15)]),
    pa.float64(): lambda rng: rng.choice(
        [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, sys.float_info.max, rng.gauss(0, 1)]
    ),
}


def random_fields(rng, most, depth=0):
    def random_type():
        if depth < 3 and rng.random() < 0.3:
            return pa.struct(random_fields(rng, 4, depth + 1))
        return rng.choice(list(SCALARS))

    names = rng.sample(NAMES, rng.randint(1, min(most, len(NAMES))))
    if depth == 0:
        names += [f"column {i}" for i in range(most - len(names))]
    return [pa.field(name, random_type(), nullable=rng.random() < 0.7) for name in names]


def random_row(rng, fields):
    return {field.name: random_value(rng, field) for field in fields}


def random_value(rng, field):
    if field.nullable and rng.random() < 0.3:
        return None
    return random_row(rng, field.type) if pa.types.is_struct(field.type) else SCALARS[field.type](rng)


def bounds(chunk):
    return chunk.statistics.min, chunk.statistics.max


def nearest_finite(value):
    infinite = isinstance(value, float) and math.isinf(value)
    return math.copysign(sys.float_info.max, value) if infinite else value


@pytest.mark.parametrize("seed", [*range(40), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(40, 200))])
def test_any_row_is_written_as_pyarrow_would(seed):
    rng = random.Random(seed)
    schema = pa.schema(random_fields(rng, rng.choice([1, 3, 8, 40])))
    row = random_row(rng, schema)
    content = content_of(schema, streamed(row, in_a_buffer_used_again) if seed % 2 else row)
    check_layout(content)
    table = table_of(content)
    assert table.schema.equals(schema)
    assert [exact(read) for read in table.to_pylist()] == [exact(row)]
    theirs = as_pyarrow_writes(schema, row)
    assert footer_of(content).schema.equals(footer_of(theirs).schema)
    for chunk, their in zip(chunks_of(content), chunks_of(theirs), strict=True):
        assert (chunk.path_in_schema, chunk.physical_type) == (their.path_in_schema, their.physical_type)
        assert chunk.statistics.null_count == their.statistics.null_count
        if their.statistics.logical_type.type != "NONE" or chunk.physical_type != "BYTE_ARRAY":
            assert chunk.statistics.has_min_max == their.statistics.has_min_max
            for ours, wanted in zip(bounds(chunk), bounds(their), strict=True):
                assert exact(wanted) in (exact(ours), exact(nearest_finite(ours)))  # the latter before pyarrow 25
