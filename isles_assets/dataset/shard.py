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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.commands import TAKE_STOCK
from isles_assets.dataset.folder import DataFolder
from isles_assets.dataset.manifest import SubjectManifest, VolumeFacts
from isles_assets.dataset.schema import CONFIGS, SUBJECT_COLUMN, Config
from isles_assets.files import explained, written_whole
from isles_assets.findings import Finding, Refusal
from isles_assets.parquet import LARGEST_VALUE, Sink, Streamed, value_digests, write_row
from isles_assets.release.nifti import NiftiError, SourceReader, inspect, voxel_ml
from isles_assets.release.record import RELEASE
from isles_assets.release.volumes import BY_COLUMN

FORMAT_VERSION = 2
FOOTER_KEY = "isles_assets"

_RESTORE = "restore the file from the release archive, then materialize this subject again"


@dataclass(frozen=True)
class Voxels:
    """What decoding a volume showed: NaN and infinite voxels, and of a mask its labels other than 0.

    `marked` is the number of voxels that the mask marks and `marked_ml` their volume in millilitres.
    """

    non_finite: int
    marked: int
    marked_ml: float
    labels: list[int]


@dataclass(frozen=True)
class Source:
    """A volume as it was packed: `path` in the tree, `size` (bytes), `mtime_ns`, digest; `voxels` if it was decoded."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    voxels: Voxels | None

    def is_still(self, facts: VolumeFacts | None) -> bool:
        """Whether the manifest's `facts` are of the same bytes: by digest if they have one, else by time."""
        if facts is None or (facts.path, facts.size) != (self.path, self.size):
            return False
        return facts.sha256 == self.sha256 if facts.sha256 else facts.mtime_ns == self.mtime_ns


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
        sources = {column: _source_from(source) for column, source in content.pop("sources").items()}
        return cls(files=files, sources=sources, **content)


def _source_from(content: dict[str, Any]) -> Source:
    voxels = content.pop("voxels")
    return Source(voxels=voxels and Voxels(**voxels), **content)


def read_records(folder: DataFolder) -> Iterator[ShardRecord]:
    """The records of all shards in `folder`, by subject; those that cannot be read are left out."""
    for path in sorted((folder.shards / "records").glob("*.json")):
        if record := _read_record(path):
            yield record


def holds_release(folder: DataFolder) -> bool:
    """Whether any subject's shards in `folder` are of a real tree."""
    return any(not record.synthetic for record in read_records(folder))


def _read_record(path: Path) -> ShardRecord | None:
    try:
        return ShardRecord.from_json(path.read_text())
    except (ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class ShardState:
    """The record of a subject's shards if they are up to date, else None and why they are not."""

    record: ShardRecord | None
    reason: str = ""


def shard_state(folder: DataFolder, subject: SubjectManifest) -> ShardState:
    """Whether the shards on disk are those of the manifest's row: by record, sizes and footers, not by content.

    Where the manifest has digests, they decide and not the sources' times; the record returned has the times as the
    manifest has them.
    """
    path = folder.shard_record(subject.subject)
    if not path.exists():
        return ShardState(None, "has no shard yet")
    record = _read_record(path)
    if record is None:
        return ShardState(None, "has a shard record that cannot be read")
    if record.format != FORMAT_VERSION:
        return ShardState(None, f"has a shard of format {record.format}, which is now {FORMAT_VERSION}")
    if record.clinical != _clinical_digest(subject):
        return ShardState(None, "has a shard with other clinical values")
    changed = [column for column, source in record.sources.items() if not source.is_still(subject.volumes[column])]
    if changed:
        return ShardState(None, f"has a shard made before these changed: {', '.join(changed)}")
    for config in CONFIGS:
        path = folder.shard(config, subject.subject)
        if record.freed and not path.exists():
            continue
        try:
            footer = json.loads(pq.read_metadata(path).metadata[FOOTER_KEY.encode()])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            return ShardState(None, f"has no readable shard {config.name}")
        expected = {volume.column: _footer_source(record.sources[volume.column]) for volume in config.volumes}
        if path.stat().st_size != record.files[config.name].size or footer != _footer(expected, record.synthetic):
            return ShardState(None, f"has a shard {config.name} that is not the one recorded")
    current = {column: replace(s, mtime_ns=_facts(subject, column).mtime_ns) for column, s in record.sources.items()}
    return ShardState(replace(record, sources=current))


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
    except _OffenceError as first:
        offences = list(_offences(root, subject, decode))  # the rest of them
        raise Refusal(f"{subject.subject} was not packed.", offences or [first.finding]) from first


def _build(
    root: Path, folder: DataFolder, subject: SubjectManifest, schemas: Mapping[str, pa.Schema], decode: bool
) -> ShardRecord:
    for column in subject.volumes:
        _check_facts(root, subject, column)
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
            files[config.name] = _write(temporary, config, schemas[config.name], row, sources, subject.synthetic)
        record_path.unlink(missing_ok=True)  # all files are whole; from here on they take the place of older ones
    record = ShardRecord(
        subject.subject, FORMAT_VERSION, _clinical_digest(subject), subject.synthetic, False, files, sources
    )
    write_record(folder, record)
    return record


def free_shard(folder: DataFolder, record: ShardRecord) -> None:
    """Remove the shards' files, which the Hub must have; the record, which says so, stays."""
    write_record(folder, replace(record, freed=True))
    for config in CONFIGS:
        folder.shard(config, record.subject).unlink(missing_ok=True)


def write_record(folder: DataFolder, record: ShardRecord) -> None:
    """Store what is known of a subject's shards, if it is not stored yet."""
    path = folder.shard_record(record.subject)
    if path.exists() and _read_record(path) == record:
        return
    with written_whole(path) as temporary:
        temporary.write_text(record.to_json())


def _value(
    root: Path, subject: SubjectManifest, column: str, decode: bool, sources: dict[str, Source]
) -> dict[str, Any]:
    """The struct of a volume column; while its bytes are written, what they are is noted in `sources`."""
    facts = _facts(subject, column)

    def pour(sink: Sink) -> None:
        sources[column] = _read_source(root, subject, column, decode, sink)

    return {"bytes": Streamed(facts.size, pour), "path": Path(facts.path).name}


def _write(
    path: Path,
    config: Config,
    schema: pa.Schema,
    row: Mapping[str, Any],
    sources: Mapping[str, Source],
    synthetic: bool,
) -> ShardFile:
    def packed() -> dict[str, Source]:
        return {volume.column: sources[volume.column] for volume in config.volumes}

    def footer() -> dict[str, str]:
        described = {column: _footer_source(source) for column, source in packed().items()}
        return {FOOTER_KEY: json.dumps(_footer(described, synthetic), sort_keys=True)}

    with path.open("wb") as file:
        written = write_row(file, schema, row, footer, created_by=f"isles-assets version {FORMAT_VERSION}")
    _compare(path, packed())
    return ShardFile(written.size, written.sha256, sum(source.size for source in packed().values()))


class _OffenceError(Exception):
    """A source that cannot be packed."""

    def __init__(self, finding: Finding):
        super().__init__(finding.problem)
        self.finding = finding


def _offences(root: Path, subject: SubjectManifest, decode: bool) -> Iterator[Finding]:
    """All that is wrong with the subject's volumes, which are read in full."""
    for column in subject.volumes:
        try:
            _check_facts(root, subject, column)
            _read_source(root, subject, column, decode, lambda piece: None)
        except _OffenceError as offence:
            yield offence.finding


def _check_facts(root: Path, subject: SubjectManifest, column: str) -> None:
    """Raise for a volume that is known to be unfit before it is read."""
    facts = subject.volumes[column]
    if facts is None:
        raise _offence(subject, column, "is missing or empty")
    try:
        status = (root / facts.path).stat()
    except OSError as error:
        raise _offence(subject, column, f"cannot be read: {error.strerror}") from error
    if (status.st_size, status.st_mtime_ns) != (facts.size, facts.mtime_ns):
        raise _offence(subject, column, "has changed since the manifest was made", TAKE_STOCK)
    if facts.fault:
        raise _offence(subject, column, facts.fault)
    if facts.size > LARGEST_VALUE:
        raise _offence(subject, column, f"is larger than the {LARGEST_VALUE} bytes that a Parquet value may have")


def _read_source(root: Path, subject: SubjectManifest, column: str, decode: bool, sink: Sink) -> Source:
    """Read a volume once, giving its bytes to `sink`, and raise unless it is what the manifest says."""
    facts = _facts(subject, column)
    voxels = None
    try:
        with SourceReader(root / facts.path, sink) as source:
            if decode:
                seen = inspect(source, BY_COLUMN[column].content)
                header = seen.header
                marked_ml = round(seen.marked * voxel_ml(header.affine), 6)
                voxels = Voxels(seen.non_finite, seen.marked, marked_ml, list(seen.labels))
                if (header.shape, header.affine, header.dtype) != (facts.shape, facts.affine, facts.dtype):
                    raise NiftiError("is on another grid than the manifest says, though its size and time are the same")
            source.drain()
    except NiftiError as error:
        raise _offence(subject, column, str(error)) from error
    if source.size != facts.size or (facts.sha256 and source.sha256 != facts.sha256):
        raise _offence(subject, column, "has changed since the manifest was made", TAKE_STOCK)
    return Source(facts.path, source.size, facts.mtime_ns, source.sha256, voxels)


def _offence(subject: SubjectManifest, column: str, problem: str, mend: str = _RESTORE) -> _OffenceError:
    path = BY_COLUMN[column].path(subject.subject)
    return _OffenceError(Finding(subject.subject, path, problem, mend))


def _facts(subject: SubjectManifest, column: str) -> VolumeFacts:
    facts = subject.volumes[column]
    assert facts is not None
    return facts


def _clinical_digest(subject: SubjectManifest) -> str:
    return hashlib.sha256(json.dumps(dict(subject.clinical), sort_keys=True).encode()).hexdigest()


def _footer(sources: Mapping[str, Any], synthetic: bool) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "release": {"version": RELEASE.version, "doi": RELEASE.doi},
        "synthetic": synthetic,
        "sources": dict(sources),
    }


def _footer_source(source: Source) -> dict[str, Any]:
    return asdict(PackedSource(source.path, source.size, source.sha256))


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
