"""Parquet files of one row, written and read back in one pass and a small buffer however large the values are.

One row is one row group, and each column chunk one page. So a file is `PAR1`, then for each column a page header, the
definition level and the value, then the footer (https://parquet.apache.org/docs/file-format). Values are PLAIN and
uncompressed: their bytes lie in the file as they are, and a reader fetches one column alone.
"""

import hashlib
import io
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import thriftpy2
from isal import isal_zlib
from thriftpy2.protocol import TCompactProtocolFactory
from thriftpy2.utils import serialize

Sink = Callable[[bytes | memoryview], None]

_FORMAT: Any = thriftpy2.load(str(Path(__file__).with_suffix(".thrift")), module_name="isles_assets.parquet_thrift")
"""The Thrift structures of the format."""

_MAGIC = b"PAR1"
_LENGTH = struct.Struct("<I")
_LEVELS = struct.Struct("<IBB")
_CHUNK = 1 << 20
_LARGEST_BOUND = 4096
_LARGEST_FOOTER = 1 << 18
_LARGEST_LIST = 1 << 12
"""Elements that a list in a footer may have: columns, row groups, texts."""

_LARGEST_READ = 1 << 16

LARGEST_VALUE = 2**31 - 1 - _LEVELS.size - _LENGTH.size
"""Bytes that a value may have: the page that holds it has a size of 32 bits with sign."""


@dataclass(frozen=True)
class Streamed:
    """A binary value that is never in memory as a whole: `size` bytes, which `write_to` gives to a sink in pieces."""

    size: int
    write_to: Callable[[Sink], None]


@dataclass(frozen=True)
class Written:
    """What was written to a file: `size` in bytes and its CRC-32."""

    size: int
    crc32: int


@dataclass(frozen=True)
class ReadBack:
    """A file as it was read: `size` in bytes, SHA-256 and CRC-32, and the CRC-32 of `values` in it by column."""

    size: int
    sha256: str
    crc32: int
    values: Mapping[str, int]


def write_row(
    file: BinaryIO,
    schema: pa.Schema,
    row: Mapping[str, Any],
    metadata: Callable[[], Mapping[str, str]],
    *,
    created_by: str,
) -> Written:
    """Write a Parquet file that holds `row`, the values by column of `schema`, to a buffered `file` that is empty.

    A column is a string, binary, int16 or float64, or a struct of such, whose value is a dict; None is null, and a
    binary may be `Streamed`. The footer's key-value metadata is the schema's and what `metadata` returns once all
    values are written. The same arguments give the same bytes.

    Raises `TypeError` for a column of another type, and `ValueError` for a value of more than `LARGEST_VALUE` bytes
    or a null where none may be, before anything is written; `ValueError` for a stream of another size than it says;
    and whatever a `write_to`, `metadata` or `file` raises.
    """
    elements = [_FORMAT.SchemaElement(name="schema", num_children=len(schema)), *_elements(schema)]
    values = [(leaf, *_value(row, leaf)) for leaf in _leaves(schema)]
    output = _Output(file)
    output.write(_MAGIC)
    chunks = [_write_chunk(output, leaf, level, value) for leaf, level, value in values]
    size = output.position - len(_MAGIC)
    texts = {key.decode(): value.decode() for key, value in (schema.metadata or {}).items()} | dict(metadata())
    sizes = {"total_byte_size": size, "total_compressed_size": size}
    group = _FORMAT.RowGroup(columns=chunks, num_rows=1, file_offset=len(_MAGIC), ordinal=0, **sizes)
    footer = _serialized(
        _FORMAT.FileMetaData(
            version=2,
            schema=elements,
            num_rows=1,
            row_groups=[group],
            key_value_metadata=[_FORMAT.KeyValue(key=key, value=value) for key, value in texts.items()],
            created_by=created_by,
            column_orders=[_FORMAT.ColumnOrder(TYPE_ORDER=_FORMAT.TypeDefinedOrder()) for _ in values],
        )
    )
    output.write(footer + _LENGTH.pack(len(footer)) + _MAGIC)
    return Written(output.position, output.crc32)


@dataclass(frozen=True)
class Place:
    """Where a value lies in a file: `size` bytes from `offset` on."""

    offset: int
    size: int


def read_footer(file: BinaryIO) -> pq.FileMetaData:
    """The footer of a Parquet file that can seek. Nothing else is read, where pyarrow would begin with 64 KiB.

    Raises `ValueError` for a file that has none, or one that is much larger than of a file of one row, and whatever
    `file` raises.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - len(_MAGIC) - _LENGTH.size))
    end = file.read()
    length = int.from_bytes(end[: _LENGTH.size], "little")
    if end[_LENGTH.size :] != _MAGIC or not 0 < length <= size - len(end):
        raise ValueError("is no Parquet file")
    if length > _LARGEST_FOOTER:
        raise ValueError(f"has a footer of {length} bytes, where at most {_LARGEST_FOOTER} are read")
    file.seek(size - len(end) - length)
    footer = file.read(length)
    try:
        limits = {"thrift_string_size_limit": _LARGEST_FOOTER, "thrift_container_size_limit": _LARGEST_LIST}
        return pq.ParquetFile(io.BytesIO(footer + end), **limits).metadata
    except OSError as error:
        raise ValueError(f"has a footer that cannot be read: {error}") from error


def value_places(footer: pq.FileMetaData, sizes: Mapping[str, int]) -> dict[str, Place]:
    """Where binary values lie in a file that `write_row` wrote and that ends with `footer`, by column.

    `sizes` says which columns (`a.b` inside a struct) and how many bytes each holds. No value is read. Raises
    `ValueError` if the footer says otherwise.
    """
    columns = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    return {name: _place(footer, name, columns.get(name), size) for name, size in sizes.items()}


def _place(footer: pq.FileMetaData, name: str, column: int | None, size: int) -> Place:
    """The value is what the chunk's only page ends with, after what `write_row` puts before one of `size` bytes."""
    if column is not None and footer.num_row_groups == 1 and 0 <= size <= LARGEST_VALUE:
        chunk, most = footer.row_group(0).column(column), footer.schema.column(column).max_definition_level
        before = len(_page_start(size, _LENGTH.pack(size), most if most else None))
        if chunk.total_compressed_size == before + size:
            return Place(chunk.data_page_offset + before, size)
    raise ValueError(_other_size(name, size))


def read_values(file: BinaryIO, footer: pq.FileMetaData, fields: Iterable[pa.Field]) -> dict[str, Any]:
    """The values of `fields`, columns of no struct, in a `file` that `write_row` wrote and that ends with `footer`.

    A page is not interpreted but compared with what `write_row` puts there, so that none of its numbers is believed.
    Raises `ValueError` for any other file and for values of more than 64 KiB, and whatever `file` raises.
    """
    columns = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    return {field.name: _read_value(file, footer, columns.get(field.name), _Leaf((field,))) for field in fields}


def _read_value(file: BinaryIO, footer: pq.FileMetaData, column: int | None, leaf: "_Leaf") -> Any:
    name = leaf.fields[0].name
    if column is None or (footer.num_rows, footer.num_row_groups) != (1, 1):
        raise ValueError(f"does not hold one row with {name}")
    chunk = footer.row_group(0).column(column)
    size = chunk.total_compressed_size
    if not (0 < size <= _LARGEST_READ and chunk.data_page_offset >= 0):
        raise ValueError(f"{name} takes {size} bytes, where at most {_LARGEST_READ} are read")
    file.seek(chunk.data_page_offset)
    content = file.read(size)
    if leaf.nullable and content == _page_start(0, b"", 0):
        return None
    is_text, level = leaf.storage.type == _FORMAT.Type.BYTE_ARRAY, 1 if leaf.nullable else None
    least = size - len(_page_start(size, bytes(_LENGTH.size * is_text), level))
    for length in range(
        max(0, least), least + 3
    ):  # of the page's size, which is twice there, a smaller one has fewer bytes
        before = _page_start(length, _LENGTH.pack(length) if is_text else b"", level)
        if len(before) + length == size and content.startswith(before):
            return leaf.storage.value(content[len(before) :])
    raise ValueError(f"{name} is not stored as it should be")


def read_back(path: Path, sizes: Mapping[str, int]) -> ReadBack:
    """Read a file that `write_row` wrote, once from start to end, for its digests and those of binary values in it.

    `sizes` says which columns, and how many bytes each holds, as for `value_places`. Raises `ValueError` if the file
    says otherwise, or has no footer that can be read.
    """
    values = {}
    with path.open("rb", buffering=0) as file:
        places = value_places(read_footer(file), sizes)
        file.seek(0)
        passing = _Passing(file)
        for name, place in sorted(places.items(), key=lambda item: item[1].offset):
            passing.read(place.offset - passing.position)
            if passing.position != place.offset:
                raise ValueError(_other_size(name, place.size))
            values[name] = passing.read(place.size)
        passing.read(None)
    return ReadBack(passing.position, passing.digest.hexdigest(), passing.crc32, values)


class _Passing:
    """A file that is read once from start to end; its position, and the digests of what has passed."""

    def __init__(self, file: io.FileIO):
        self._file, self._buffer = file, memoryview(bytearray(_CHUNK))
        self.digest = hashlib.sha256()
        self.position = self.crc32 = 0

    def read(self, size: int | None) -> int:
        """Read `size` bytes, or all that are left if there are fewer or it is None; their CRC-32."""
        end, crc32 = math.inf if size is None else self.position + size, 0
        while count := self._file.readinto(self._buffer[: int(min(end - self.position, _CHUNK))]):
            piece = self._buffer[:count]
            self.digest.update(piece)
            self.crc32, crc32 = isal_zlib.crc32(piece, self.crc32), isal_zlib.crc32(piece, crc32)
            self.position += count
        return crc32


def _other_size(name: str, size: int) -> str:
    return f"{name} does not hold {size} bytes"


@dataclass(frozen=True)
class _Leaf:
    """A column that holds values: its field, after those of the structs that it is in."""

    fields: tuple[pa.Field, ...]

    @property
    def path(self) -> list[str]:
        return [field.name for field in self.fields]

    @property
    def nullable(self) -> bool:
        return any(field.nullable for field in self.fields)

    @property
    def storage(self) -> "_Storage":
        return _storage(self.fields[-1].type)


@dataclass(frozen=True)
class _Storage:
    """How values of an Arrow type are stored: `type` and annotations in the schema, `plain` their bytes, and back.

    `value` raises `ValueError` for other bytes.
    """

    type: int
    annotations: Mapping[str, Any]
    plain: Callable[[Any], bytes]
    value: Callable[[bytes], Any]


def _sign_extended(value: int) -> bytes:
    return struct.pack("<hh", value, -(value < 0))  # unlike "<i" it refuses what is no int16


def _int16(plain: bytes) -> int:
    value = int.from_bytes(plain, "little", signed=True)
    if len(plain) != 4 or not -(2**15) <= value < 2**15:
        raise ValueError("a whole number is not of 16 bits")
    return value


def _float64(plain: bytes) -> float:
    if len(plain) != 8:
        raise ValueError("a number is not of 64 bits")
    return float(struct.unpack("<d", plain)[0])


_UTF8 = {
    "converted_type": _FORMAT.ConvertedType.UTF8,
    "logicalType": _FORMAT.LogicalType(STRING=_FORMAT.StringType()),
}
_INT_16 = {
    "converted_type": _FORMAT.ConvertedType.INT_16,
    "logicalType": _FORMAT.LogicalType(INTEGER=_FORMAT.IntType(bitWidth=16, isSigned=True)),
}
_STORAGES = {
    pa.string(): _Storage(_FORMAT.Type.BYTE_ARRAY, _UTF8, str.encode, bytes.decode),
    pa.binary(): _Storage(_FORMAT.Type.BYTE_ARRAY, {}, lambda value: b"".join([value]), bytes),
    pa.int16(): _Storage(_FORMAT.Type.INT32, _INT_16, _sign_extended, _int16),
    pa.float64(): _Storage(_FORMAT.Type.DOUBLE, {}, struct.Struct("<d").pack, _float64),
}


def _storage(of: pa.DataType) -> _Storage:
    if of not in _STORAGES:
        raise TypeError(f"a column of type {of} is not written here, only {', '.join(map(str, _STORAGES))}")
    return _STORAGES[of]


def _leaves(fields: Iterable[pa.Field], outer: tuple[pa.Field, ...] = ()) -> Iterator[_Leaf]:
    for field in fields:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, (*outer, field))
        else:
            yield _Leaf((*outer, field))


def _elements(fields: Iterable[pa.Field]) -> Iterator[Any]:
    """The schema as the footer has it: a tree, depth first."""
    repetitions = _FORMAT.FieldRepetitionType
    for field in fields:
        repetition = repetitions.OPTIONAL if field.nullable else repetitions.REQUIRED
        element = partial(_FORMAT.SchemaElement, name=field.name, repetition_type=repetition)
        if pa.types.is_struct(field.type):
            yield element(num_children=field.type.num_fields)
            yield from _elements(field.type)
        else:
            storage = _storage(field.type)
            yield element(type=storage.type, **storage.annotations)


def _value(row: Mapping[str, Any], leaf: _Leaf) -> tuple[int, bytes | Streamed | None]:
    """The definition level of `leaf`'s value, which is the number of nullable fields that are there, and its bytes."""
    value: Any = row
    level = 0
    for field in leaf.fields:
        value = value[field.name]
        if value is None and not field.nullable:
            raise ValueError(f"{'.'.join(leaf.path)} is null")
        if value is None:
            return level, None
        level += field.nullable
    if not isinstance(value, Streamed):
        try:
            value = leaf.storage.plain(value)
        except struct.error as error:
            raise ValueError(f"{'.'.join(leaf.path)} is {value!r}, which is no {field.type}") from error
    elif field.type != pa.binary():
        raise TypeError(f"{'.'.join(leaf.path)} is of type {field.type}, and only a binary may be a stream")
    if not 0 <= _size(value) <= LARGEST_VALUE:
        raise ValueError(f"{'.'.join(leaf.path)} has {_size(value)} bytes; a Parquet value has at most {LARGEST_VALUE}")
    return level, value


def _size(value: bytes | Streamed) -> int:
    return value.size if isinstance(value, Streamed) else len(value)


def _write_chunk(output: "_Output", leaf: _Leaf, level: int, value: bytes | Streamed | None) -> Any:
    """Write the only page of a column chunk; its metadata for the footer."""
    prefix = _LENGTH.pack(_size(value)) if value is not None and leaf.storage.type == _FORMAT.Type.BYTE_ARRAY else b""
    start = output.position
    output.write(_page_start(0 if value is None else _size(value), prefix, level if leaf.nullable else None))
    if isinstance(value, Streamed):
        end = output.position + value.size
        value.write_to(output.write)
        if output.position != end:
            given = output.position - end + value.size
            raise ValueError(f"{'.'.join(leaf.path)} was to have {value.size} bytes, but {given} were given")
    elif value is not None:
        output.write(value)
    size = output.position - start
    return _FORMAT.ColumnChunk(
        file_offset=0,
        meta_data=_FORMAT.ColumnMetaData(
            type=leaf.storage.type,
            encodings=[_FORMAT.Encoding.RLE, _FORMAT.Encoding.PLAIN],
            path_in_schema=leaf.path,
            codec=_FORMAT.CompressionCodec.UNCOMPRESSED,
            num_values=1,
            total_uncompressed_size=size,
            total_compressed_size=size,
            data_page_offset=start,
            statistics=_FORMAT.Statistics(null_count=int(value is None), **_bounds(leaf, value)),
        ),
    )


def _page_start(size: int, prefix: bytes, level: int | None) -> bytes:
    """What comes before a value of `size` bytes: the page's header, its definition level if it has one, `prefix`."""
    # Levels are run-length encoded: the run's bytes, then one run of one value, which its header says as 1 << 1.
    levels = b"" if level is None else _LEVELS.pack(2, 1 << 1, level)
    page = len(levels) + len(prefix) + size
    header = _FORMAT.PageHeader(
        type=_FORMAT.PageType.DATA_PAGE,
        uncompressed_page_size=page,
        compressed_page_size=page,
        data_page_header=_FORMAT.DataPageHeader(
            num_values=1,
            encoding=_FORMAT.Encoding.PLAIN,
            definition_level_encoding=_FORMAT.Encoding.RLE,
            repetition_level_encoding=_FORMAT.Encoding.RLE,
        ),
    )
    return _serialized(header) + levels + prefix


def _bounds(leaf: _Leaf, value: bytes | Streamed | None) -> dict[str, bytes]:
    """Minimum and maximum, for readers that filter; a large value has none, and the format wants signs of zero so."""
    kind = leaf.fields[-1].type
    if value is None or isinstance(value, Streamed) or kind == pa.binary() or len(value) > _LARGEST_BOUND:
        return {}
    if kind == pa.float64():
        (number,) = struct.unpack("<d", value)
        if math.isnan(number):
            return {}
        if number == 0:
            return {"min_value": struct.pack("<d", -0.0), "max_value": struct.pack("<d", 0.0)}
    return {"min_value": value, "max_value": value}


def _serialized(structure: Any) -> bytes:
    return serialize(structure, TCompactProtocolFactory())


class _Output:
    """A file that knows its position and the CRC-32 of what was written to it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.position = self.crc32 = 0

    def write(self, piece: bytes | memoryview) -> None:
        self._file.write(piece)
        self.crc32 = isal_zlib.crc32(piece, self.crc32)
        self.position += memoryview(piece).nbytes
