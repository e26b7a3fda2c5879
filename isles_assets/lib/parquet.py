"""Parquet files of one row, written and read back in one pass through a small buffer, however large the values are.

The row is one row group, and each column chunk has one page. So a file is `PAR1`, then for each column a page header,
the definition level and the value, then the footer (https://parquet.apache.org/docs/file-format). Values are PLAIN and
uncompressed: the file holds their bytes unchanged, and a reader can fetch one column alone.
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
"""Thrift structures of the Parquet format."""

_MAGIC = b"PAR1"
_LENGTH = struct.Struct("<I")
_LEVELS = struct.Struct("<IBB")
_CHUNK = 1 << 20
_LARGEST_BOUND = 4096
_LARGEST_FOOTER = 1 << 18
_LARGEST_LIST = 1 << 12
"""Most elements of a list in a footer: columns, row groups, texts."""

_LARGEST_READ = 1 << 16

LARGEST_VALUE = 2**31 - 1 - _LEVELS.size - _LENGTH.size
"""Most bytes of a value: the size of its page is a signed 32-bit number."""


@dataclass(frozen=True)
class Streamed:
    """A binary value of `size` bytes that is never in memory as a whole; `write_to` writes it to a sink in pieces."""

    size: int
    write_to: Callable[[Sink], None]


@dataclass(frozen=True)
class Written:
    """Size (bytes) and CRC-32 of a file as it was written."""

    size: int
    crc32: int


@dataclass(frozen=True)
class ReadBack:
    """Size (bytes) and digests of a file as it was read, and the CRC-32 of its binary `values` by column."""

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
    """Write a Parquet file of one row. The same arguments give the same bytes.

    Exceptions of a `write_to`, of `metadata` and of `file` pass through.

    Args:
        file: An empty, buffered file.
        schema: Columns of type string, binary, int16 or float64, or structs of these.
        row: Values by column: a dict for a struct, None for null; a binary may be `Streamed`.
        metadata: Called once all values are written; returns key-value metadata to add to the schema's.

    Raises:
        TypeError: A column has another type. Nothing is written.
        ValueError: A value is too large, or null in a column that is not nullable, and nothing is written; or a stream
            has another size than it says.
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
    """The position of a value in a file: `size` bytes from `offset`."""

    offset: int
    size: int


def read_footer(file: BinaryIO) -> pq.FileMetaData:
    """Return the footer of a seekable Parquet file. It reads the footer alone; pyarrow would read 64 KiB.

    Exceptions of `file` pass through.

    Raises:
        ValueError: The file has no footer that can be read, or one too large for a file of one row.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - len(_MAGIC) - _LENGTH.size))
    end = file.read()
    length = int.from_bytes(end[: _LENGTH.size], "little")
    if end[_LENGTH.size :] != _MAGIC or not 0 < length <= size - len(end):
        raise ValueError("is not a Parquet file")
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
    """Return the positions of binary values, by column, in a file by `write_row`. No value is read.

    Args:
        footer: The footer of the file.
        sizes: Bytes of each value, by column (`a.b` inside a struct).

    Raises:
        ValueError: By the footer, a column is missing or its value has another size.
    """
    columns = _column_numbers(footer)
    return {name: _place(footer, name, columns.get(name), size) for name, size in sizes.items()}


def _column_numbers(footer: pq.FileMetaData) -> dict[str, int]:
    return {footer.schema.column(i).path: i for i in range(footer.num_columns)}


def _place(footer: pq.FileMetaData, name: str, column: int | None, size: int) -> Place:
    """Return the end of the chunk's only page, if what precedes it is as long as `write_row` makes it."""
    if column is not None and footer.num_row_groups == 1 and 0 <= size <= LARGEST_VALUE:
        chunk, level = footer.row_group(0).column(column), footer.schema.column(column).max_definition_level
        start = len(_page_start(size, _LENGTH.pack(size), level if level else None))
        if chunk.total_compressed_size == start + size:
            return Place(chunk.data_page_offset + start, size)
    raise ValueError(_other_size(name, size))


def read_values(file: BinaryIO, footer: pq.FileMetaData, fields: Iterable[pa.Field]) -> dict[str, Any]:
    """Return the values of `fields`, by column, from a file by `write_row`.

    A page is compared with the bytes that `write_row` writes, so no number in it has to be trusted. Exceptions of
    `file` pass through.

    Args:
        footer: The footer of the file.
        fields: Columns outside structs.

    Raises:
        ValueError: `write_row` did not write the file, or a page has more than 64 KiB.
    """
    columns = _column_numbers(footer)
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
    # The page's header holds its size twice, and a smaller size may take fewer bytes there: so try some lengths.
    least = size - len(_page_start(size, bytes(_LENGTH.size * is_text), level))
    for length in range(max(0, least), least + 3):
        start = _page_start(length, _LENGTH.pack(length) if is_text else b"", level)
        if len(start) + length == size and content.startswith(start):
            return leaf.storage.value(content[len(start) :])
    raise ValueError(f"{name} is not stored as it should be")


def read_back(path: Path, sizes: Mapping[str, int]) -> ReadBack:
    """Read a file by `write_row` once from start to end; return its digests and those of binary values in it.

    Args:
        sizes: Bytes of each value, by column (`a.b` inside a struct).

    Raises:
        OSError: The file cannot be read.
        ValueError: The footer cannot be read, or says that a column is missing or its value has another size.
    """
    values = {}
    with path.open("rb", buffering=0) as file:
        places = value_places(read_footer(file), sizes)
        file.seek(0)
        reader = _DigestingReader(file)
        for name, place in sorted(places.items(), key=lambda item: item[1].offset):
            reader.read(place.offset - reader.position)
            if reader.position != place.offset:
                raise ValueError(_other_size(name, place.size))
            values[name] = reader.read(place.size)
        reader.read(None)
    return ReadBack(reader.position, reader.digest.hexdigest(), reader.crc32, values)


class _DigestingReader:
    """A file that is read once from start to end: its position, and the digests of the bytes before it."""

    def __init__(self, file: io.FileIO):
        self._file, self._buffer = file, memoryview(bytearray(_CHUNK))
        self.digest = hashlib.sha256()
        self.position = self.crc32 = 0

    def read(self, size: int | None) -> int:
        """Read `size` bytes, or all that are left if `size` is None or larger; return their CRC-32."""
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
    """A column that holds values: its field, after the fields of the structs around it."""

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
    """The storage of an Arrow type: `type` and `annotations` in the schema, and the conversion to bytes and back."""

    type: int
    annotations: Mapping[str, Any]
    plain: Callable[[Any], bytes]
    value: Callable[[bytes], Any]
    """Raises `ValueError` for bytes that `plain` does not return."""


def _sign_extended(value: int) -> bytes:
    return struct.pack("<hh", value, -(value < 0))  # "<i" would accept more than an int16


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
    """Yield the schema as the footer has it: a tree, depth first."""
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
    """Return the definition level (the number of nullable fields on the path that are set), and the value's bytes."""
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
    """Write the only page of a column chunk; return its metadata for the footer."""
    prefix = _LENGTH.pack(_size(value)) if value is not None and leaf.storage.type == _FORMAT.Type.BYTE_ARRAY else b""
    start = output.position
    output.write(_page_start(0 if value is None else _size(value), prefix, level if leaf.nullable else None))
    if isinstance(value, Streamed):
        end = output.position + value.size
        value.write_to(output.write)
        if output.position != end:
            streamed = output.position - end + value.size
            raise ValueError(f"{'.'.join(leaf.path)} was to have {value.size} bytes, but {streamed} were given")
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
    """Return the bytes before a value of `size` bytes: the page's header, the definition level if any, `prefix`."""
    # Levels are run-length encoded: length in bytes, header of a run of one value (1 << 1), the value.
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
    """Return minimum and maximum, for readers that filter; nothing for binary, large or missing values, and NaN."""
    kind = leaf.fields[-1].type
    if value is None or isinstance(value, Streamed) or kind == pa.binary() or len(value) > _LARGEST_BOUND:
        return {}
    if kind == pa.float64():
        (number,) = struct.unpack("<d", value)
        if math.isnan(number):
            return {}
        if number == 0:  # the format wants both signs
            return {"min_value": struct.pack("<d", -0.0), "max_value": struct.pack("<d", 0.0)}
    return {"min_value": value, "max_value": value}


def _serialized(structure: Any) -> bytes:
    return serialize(structure, TCompactProtocolFactory())


class _Output:
    """A file with its position and the CRC-32 of the bytes written to it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.position = self.crc32 = 0

    def write(self, piece: bytes | memoryview) -> None:
        self._file.write(piece)
        self.crc32 = isal_zlib.crc32(piece, self.crc32)
        self.position += memoryview(piece).nbytes
