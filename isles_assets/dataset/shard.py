"""A subject's shards: one Parquet file a config, made from the release's files byte for byte.

`build_shard` is the whole job for one subject and depends on nothing but its arguments, so that it can run in
any process. It refuses a subject whose files are not what the manifest says or not valid volumes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from isles_assets.commands import TAKE_STOCK
from isles_assets.dataset.folder import DataFolder
from isles_assets.dataset.manifest import SubjectManifest, VolumeFacts
from isles_assets.dataset.parquet import value_digest, write_row
from isles_assets.dataset.schema import CONFIGS, LARGEST_VALUE, SUBJECT_COLUMN, Config
from isles_assets.files import explained, sha256_of, written_whole
from isles_assets.findings import Finding, Refusal
from isles_assets.release.nifti import Inspection, NiftiError, inspect, voxel_ml
from isles_assets.release.record import RELEASE
from isles_assets.release.volumes import BY_COLUMN

FORMAT_VERSION = 1
FOOTER_KEY = "isles_assets"

_RESTORE = "restore the file from the release archive, then materialize this subject again"


@dataclass(frozen=True)
class Source:
    """A volume as it was packed: `path` in the tree, `size` in bytes, digest, and what its voxels showed.

    `marked` is the number of voxels that a mask marks and `marked_ml` their volume in millilitres.
    """

    path: str
    size: int
    sha256: str
    non_finite: int
    marked: int
    marked_ml: float
    labels: list[int]


@dataclass(frozen=True)
class ShardFile:
    """One finished Parquet file: `size` in bytes, digest, and the bytes of the values in it."""

    size: int
    sha256: str
    values: int


@dataclass(frozen=True)
class ShardRecord:
    """What is known of a subject's shards; `files` by config name, `sources` by column.

    `freed`: the files need not be here any more, because the Hub has them.
    """

    subject: str
    fingerprint: str
    synthetic: bool
    freed: bool
    files: dict[str, ShardFile]
    sources: dict[str, Source]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "ShardRecord":
        """Raises `ValueError`, `KeyError` or `TypeError` for a text that `to_json` did not write."""
        content = json.loads(text)
        files = {name: ShardFile(**file) for name, file in content.pop("files").items()}
        sources = {column: Source(**source) for column, source in content.pop("sources").items()}
        return cls(files=files, sources=sources, **content)


def holds_release(folder: DataFolder) -> bool:
    """Whether any subject's shards in `folder` are of a real tree."""
    records = (_read_record(path) for path in (folder.shards / "records").glob("*.json"))
    return any(record is not None and not record.synthetic for record in records)


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
    """Whether the shards on disk are those of the manifest's row: by record, sizes and footers, not by content."""
    path = folder.shard_record(subject.subject)
    if not path.exists():
        return ShardState(None, "has no shard yet")
    record = _read_record(path)
    if record is None:
        return ShardState(None, "has a shard record that cannot be read")
    if record.fingerprint != subject.fingerprint(FORMAT_VERSION):
        return ShardState(None, "has a shard made from other sources, clinical values or format than now")
    for config in CONFIGS:
        path = folder.shard(config, subject.subject)
        if record.freed and not path.exists():
            continue
        try:
            footer = json.loads(pq.read_metadata(path).metadata[FOOTER_KEY.encode()])
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            return ShardState(None, f"has no readable shard {config.name}")
        if path.stat().st_size != record.files[config.name].size or footer.get("sources") != {
            volume.column: _footer_source(record.sources[volume.column]) for volume in config.volumes
        }:
            return ShardState(None, f"has a shard {config.name} that is not the one recorded")
    return ShardState(record)


def build_shard(
    root: Path, folder: DataFolder, subject: SubjectManifest, schemas: Mapping[str, pa.Schema]
) -> ShardRecord:  # fmt: skip
    """Make the shards of `subject` from the tree at `root`, whether or not they are up to date.

    `schemas` holds each config's schema by name. Every source is read in full and must be a valid volume on the
    manifest's grid; the finished files are read back and every value compared with its source. Raises `Refusal`
    naming each offending file; the shards made before stay as they were unless they are out of date.
    """
    inspections = _inspect_all(root, subject)
    sources = {
        column: _source(facts, inspections[column]) for column, facts in subject.volumes.items() if facts is not None
    }
    record_path = folder.shard_record(subject.subject)
    with explained(folder.shards):
        record_path.unlink(missing_ok=True)
        files = {config.name: _write(root, folder, subject, config, sources, schemas) for config in CONFIGS}
        fingerprint = subject.fingerprint(FORMAT_VERSION)
        record = ShardRecord(subject.subject, fingerprint, subject.synthetic, False, files, sources)
        _write_record(folder, record)
    return record


def free_shard(folder: DataFolder, record: ShardRecord) -> None:
    """Remove the shards' files, which the Hub must have; the record, which says so, stays."""
    _write_record(folder, replace(record, freed=True))
    for config in CONFIGS:
        folder.shard(config, record.subject).unlink(missing_ok=True)


def _write_record(folder: DataFolder, record: ShardRecord) -> None:
    with written_whole(folder.shard_record(record.subject)) as temporary:
        temporary.write_text(record.to_json())


def _write(
    root: Path,
    folder: DataFolder,
    subject: SubjectManifest,
    config: Config,
    sources: Mapping[str, Source],
    schemas: Mapping[str, pa.Schema],
) -> ShardFile:
    path = folder.shard(config, subject.subject)
    packed = {volume.column: sources[volume.column] for volume in config.volumes}
    row: dict[str, Any] = {
        SUBJECT_COLUMN: subject.subject,
        **{column: root / source.path for column, source in packed.items()},
        **{variable.column: subject.clinical[variable.column] for variable in config.clinical},
    }
    with written_whole(path) as temporary:
        write_row(temporary, schemas[config.name], row, {FOOTER_KEY: _footer(packed, subject.synthetic)})
        _compare(temporary, packed)
        values = sum(source.size for source in packed.values())
        return ShardFile(temporary.stat().st_size, sha256_of(temporary), values)


def _inspect_all(root: Path, subject: SubjectManifest) -> dict[str, Inspection]:
    """Read every volume of the subject; raise one `Refusal` for all that is wrong."""
    inspections: dict[str, Inspection] = {}
    findings: list[Finding] = []
    for column, facts in subject.volumes.items():
        path = facts.path if facts else BY_COLUMN[column].path(subject.subject)
        try:
            if facts is None:
                raise NiftiError("is missing or empty")
            if _changed(root / path, facts):
                findings.append(Finding(subject.subject, path, "has changed since the manifest was made", TAKE_STOCK))
                continue
            inspections[column] = _inspect(root / path, column, facts)
        except NiftiError as error:
            findings.append(Finding(subject.subject, path, str(error), _RESTORE))
        except OSError as error:
            findings.append(Finding(subject.subject, path, f"cannot be read: {error.strerror}", _RESTORE))
    if findings:
        raise Refusal(f"{subject.subject} was not packed.", findings)
    return inspections


def _changed(path: Path, facts: VolumeFacts) -> bool:
    status = path.stat()
    return (status.st_size, status.st_mtime_ns) != (facts.size, facts.mtime_ns)


def _inspect(path: Path, column: str, facts: VolumeFacts) -> Inspection:
    if facts.fault:
        raise NiftiError(facts.fault)
    if facts.size > LARGEST_VALUE:
        raise NiftiError(f"is larger than the {LARGEST_VALUE} bytes that a Parquet value may have")
    inspection = inspect(path, BY_COLUMN[column].content)
    header = inspection.header
    if (header.shape, header.affine, header.dtype) != (facts.shape, facts.affine, facts.dtype):
        raise NiftiError("is on another grid than the manifest says, though its size and time are the same")
    return inspection


def _source(facts: VolumeFacts, seen: Inspection) -> Source:
    marked_ml = round(seen.marked * voxel_ml(seen.header.affine), 6)
    return Source(facts.path, seen.size, seen.sha256, seen.non_finite, seen.marked, marked_ml, list(seen.labels))


def _footer(columns: Mapping[str, Source], synthetic: bool) -> str:
    return json.dumps(
        {
            "format": FORMAT_VERSION,
            "release": {"version": RELEASE.version, "doi": RELEASE.doi},
            "synthetic": synthetic,
            "sources": {column: _footer_source(source) for column, source in columns.items()},
        },
        sort_keys=True,
    )


def _footer_source(source: Source) -> dict[str, Any]:
    return {"path": source.path, "size": source.size, "sha256": source.sha256}


def _compare(path: Path, columns: Mapping[str, Source]) -> None:
    with pq.ParquetFile(path, memory_map=True) as file:
        findings = [
            Finding("", source.path, f"changed on its way into `{column}`", "run again; if it recurs, check the disk")
            for column, source in columns.items()
            if value_digest(file, column) != source.sha256
        ]  # fmt: skip
    if findings:
        raise Refusal("The shard does not hold the bytes of its sources.", findings)
