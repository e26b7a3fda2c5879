"""A subject's shards: one Parquet file a config, made from the release's files byte for byte.

`build_shard` is the whole job for one subject and depends on nothing but its arguments, so that it can run in
any process. Each source is read once: what is read is digested, decoded, written and digested again as part of the
shard, a buffer at a time. It refuses a subject whose files are not what the manifest says or not valid volumes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.lib.files import explained, written_whole
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.parquet import LARGEST_VALUE, Sink, Streamed, value_digests, write_row
from isles_assets.products.footer import FOOTER_KEY, provenance
from isles_assets.products.schema import CONFIGS, SUBJECT_COLUMN, Config
from isles_assets.products.sidecars import State, read_record, recorded_state, store_record
from isles_assets.products.sources import (
    OffenceError,
    Source,
    check_facts,
    clinical_digest,
    facts_of,
    offence,
    offences,
    read_source,
)
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import SubjectManifest

FORMAT_VERSION = 3


@dataclass(frozen=True)
class PackedSource:
    """A volume as a shard's footer names it: `path` in the tree, `size` (bytes), digest."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ShardFooter:
    """What a shard's footer says of its volumes, by column, and of the release (its version) that they are of."""

    release: str
    synthetic: bool
    sources: Mapping[str, PackedSource]


@dataclass(frozen=True)
class ShardFile:
    """One finished Parquet file: `size` in bytes, digest, and the bytes of the values in it."""

    size: int
    sha256: str
    values: int


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a subject's shards; `files` by config name, `sources` by column.

    `format` is the writer's, `clinical` a digest of the clinical values. `freed`: the files need not be here any
    more, because the Hub has them.
    """

    subject: str
    format: int
    clinical: str
    synthetic: bool
    freed: bool
    files: dict[str, ShardFile]
    sources: dict[str, Source]

    @property
    def version(self) -> int:
        return self.format

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())

    @property
    def data_version(self) -> str:
        """A digest of what is in its files."""
        return hashlib.sha256("".join(self.files[config.name].sha256 for config in CONFIGS).encode()).hexdigest()

    @property
    def decoded(self) -> bool:
        """Whether every volume was decoded when it was packed."""
        return all(source.voxels for source in self.sources.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ShardRecord":
        """Raises `ValueError`, `KeyError` or `TypeError` for a text that `to_json` did not write."""
        content = json.loads(text)
        files = {name: ShardFile(**file) for name, file in content.pop("files").items()}
        sources = {column: Source.from_dict(source) for column, source in content.pop("sources").items()}
        return cls(files=files, sources=sources, **content)


def read_records(folder: DataFolder) -> Iterator[ShardRecord]:
    """The records of all shards in `folder`, by subject; those that cannot be read are left out."""
    for path in sorted((folder.shards / "records").glob("*.json")):
        if record := read_record(path, ShardRecord):
            yield record


def holds_release(folder: DataFolder) -> bool:
    """Whether any subject's shards in `folder` are of a real tree."""
    return any(not record.synthetic for record in read_records(folder))


def shard_state(folder: DataFolder, subject: SubjectManifest) -> State[ShardRecord]:
    """Whether the shards on disk are those of the manifest's row: by record, sizes and footers, not by content.

    Where the manifest has digests, they decide and not the sources' times; the record returned has the times as the
    manifest has them. No volume is read.
    """
    state = recorded_state(folder.shard_record(subject.subject), ShardRecord, subject, FORMAT_VERSION, "shard")
    record = state.record
    if record is None:
        return state
    for config in CONFIGS:
        path = folder.shard(config, subject.subject)
        if record.freed and not path.exists():
            continue
        try:
            size = path.stat().st_size
            footer = json.loads(pq.read_metadata(path).metadata[FOOTER_KEY.encode()])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            return State(None, f"has no readable shard {config.name}")
        expected = _footer(config, record.sources, record.clinical, record.synthetic)
        if (size, footer) != (record.files[config.name].size, expected):
            return State(None, f"has a shard {config.name} that is not the one recorded")
    return state


def build_shard(
    root: Path, folder: DataFolder, subject: SubjectManifest, schemas: Mapping[str, pa.Schema], decode: bool = True
) -> ShardRecord:
    """Make the shards of `subject` from the tree at `root`, whether or not they are up to date.

    `schemas` holds each config's schema by name. With `decode` every source must be a valid volume on the manifest's
    grid; without, it must be of the size and time in the manifest, whose header was read. The finished files are
    read back and every value compared with its source. Raises `Refusal` naming each offending file; the shards made
    before then stay as they were.
    """
    try:
        return _build(root, folder, subject, schemas, decode)
    except OffenceError as first:
        everything = offences(subject.volumes, partial(_use, root, subject, decode))
        raise Refusal(f"{subject.subject} was not packed.", everything or [first.finding]) from first


def _build(
    root: Path, folder: DataFolder, subject: SubjectManifest, schemas: Mapping[str, pa.Schema], decode: bool
) -> ShardRecord:
    for column in subject.volumes:
        _check(root, subject, column)
    sources: dict[str, Source] = {}
    record_path = folder.shard_record(subject.subject)
    with explained(folder.shards), ExitStack() as stack:
        files = {}
        for config in CONFIGS:
            temporary = stack.enter_context(written_whole(folder.shard(config, subject.subject)))
            row = {
                SUBJECT_COLUMN: subject.subject,
                **{v.column: _value(root, subject, v.column, decode, sources) for v in config.volumes},
                **{v.column: subject.clinical[v.column] for v in config.clinical},
            }
            files[config.name] = _write(temporary, config, schemas[config.name], row, sources, subject)
        record_path.unlink(missing_ok=True)  # all files are whole; from here on they take the place of older ones
    record = ShardRecord(
        subject.subject, FORMAT_VERSION, clinical_digest(subject), subject.synthetic, False, files, sources
    )
    store_record(record_path, record)
    return record


def free_shard(folder: DataFolder, record: ShardRecord) -> None:
    """Remove the shards' files, which the Hub must have; the record, which says so, stays."""
    store_record(folder.shard_record(record.subject), replace(record, freed=True))
    for config in CONFIGS:
        folder.shard(config, record.subject).unlink(missing_ok=True)


def _value(
    root: Path, subject: SubjectManifest, column: str, decode: bool, sources: dict[str, Source]
) -> dict[str, Any]:
    """The struct of a volume column; while its bytes are written, what they are is noted in `sources`."""
    facts = facts_of(subject, column)

    def pour(sink: Sink) -> None:
        sources[column] = read_source(root, subject, column, decode=decode, sink=sink)

    return {"bytes": Streamed(facts.size, pour), "path": Path(facts.path).name}


def _write(
    path: Path,
    config: Config,
    schema: pa.Schema,
    row: Mapping[str, Any],
    sources: Mapping[str, Source],
    subject: SubjectManifest,
) -> ShardFile:
    def footer() -> dict[str, str]:
        content = _footer(config, sources, clinical_digest(subject), subject.synthetic)
        return {FOOTER_KEY: json.dumps(content, sort_keys=True)}

    with path.open("wb") as file:
        written = write_row(file, schema, row, footer, created_by=f"isles-assets version {FORMAT_VERSION}")
    packed = {volume.column: sources[volume.column] for volume in config.volumes}
    _compare(path, packed)
    return ShardFile(written.size, written.sha256, sum(source.size for source in packed.values()))


def _use(root: Path, subject: SubjectManifest, decode: bool, column: str) -> None:
    """Raise `OffenceError` for a volume that cannot be packed."""
    _check(root, subject, column)
    read_source(root, subject, column, decode=decode)


def _check(root: Path, subject: SubjectManifest, column: str) -> None:
    """Raise `OffenceError` for a volume that is known to be unfit before it is read."""
    check_facts(root, subject, column)
    if facts_of(subject, column).size > LARGEST_VALUE:
        raise offence(subject, column, f"is larger than the {LARGEST_VALUE} bytes that a Parquet value may have")


def _footer(config: Config, sources: Mapping[str, Source], clinical: str, synthetic: bool) -> dict[str, Any]:
    """All that the file is made from: files with the same footer are the same, whichever run wrote them."""
    packed = {volume.column: sources[volume.column] for volume in config.volumes}
    return provenance(FORMAT_VERSION, synthetic) | {
        "clinical": clinical if config.clinical else None,
        "sources": {column: asdict(PackedSource(s.path, s.size, s.sha256)) for column, s in packed.items()},
    }


def parse_footer(metadata: Mapping[bytes, bytes] | None) -> ShardFooter:
    """What the footer whose key-value metadata is `metadata` says. Raises `ValueError` if it is not of a shard."""
    text = (metadata or {}).get(FOOTER_KEY.encode())
    if text is None:
        raise ValueError(f"has no `{FOOTER_KEY}` in its footer: it was not made by isles-assets")
    try:
        content = json.loads(text)
        sources = {column: _packed_source(source) for column, source in content["sources"].items()}
        return ShardFooter(str(content["release"]["version"]), bool(content["synthetic"]), sources)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"has a footer that cannot be understood: {type(error).__name__}: {error!s:.200}") from error


def _packed_source(content: Mapping[str, Any]) -> PackedSource:
    source = PackedSource(content["path"], content["size"], content["sha256"])
    if not (isinstance(source.path, str) and type(source.size) is int and isinstance(source.sha256, str)):
        raise TypeError(f"{content} is not the path, size and digest of a file")
    return source


def _compare(path: Path, sources: Mapping[str, Source]) -> None:
    """Raise `Refusal` unless the file holds the bytes that were read."""
    digests = value_digests(path, {f"{column}.bytes": source.size for column, source in sources.items()})
    findings = [
        Finding("", source.path, f"changed on its way into `{column}`", "run again; if it recurs, check the disk")
        for column, source in sources.items()
        if digests[f"{column}.bytes"] != source.sha256
    ]
    if findings:
        raise Refusal("The shard does not hold the bytes of its sources.", findings)
