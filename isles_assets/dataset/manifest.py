"""The subject manifest: what the tree holds of each subject, from file attributes and NIfTI headers alone."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from isles_assets.dataset.folder import DataFolder
from isles_assets.dataset.schema import SUBJECT_COLUMN, clinical_fields
from isles_assets.dataset.tables import read_table
from isles_assets.release.nifti import NiftiError, read_header
from isles_assets.release.tree import Entry, Inventory
from isles_assets.release.volumes import VOLUMES, Volume
from isles_assets.sample import SYNTHETIC_MARK

_TEXT = pa.struct({"field": pa.string(), "text": pa.string()})
_FACTS = pa.struct(
    {
        "path": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "fault": pa.string(),
        "shape": pa.list_(pa.int32()),
        "spacing": pa.list_(pa.float64()),
        "frames": pa.int32(),
        "dtype": pa.string(),
        "affine": pa.list_(pa.float64()),
        "qform_code": pa.int16(),
        "sform_code": pa.int16(),
        "text": pa.list_(_TEXT),
    }
)


@dataclass(frozen=True)
class VolumeFacts:
    """One volume of one subject, without reading its voxels.

    `path` is relative to the tree, `size` in bytes, `shape` in voxels, `spacing` in mm, `affine` 4 x 4 row by
    row (mm, voxel to RAS+), `dtype` the stored numpy type, `text` the header's free text as {field, text}.
    Where the header cannot be read, `fault` says why and the header's facts are None.
    """

    path: str
    size: int
    mtime_ns: int
    fault: str | None = None
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    frames: int | None = None
    dtype: str | None = None
    affine: tuple[float, ...] | None = None
    qform_code: int | None = None
    sform_code: int | None = None
    text: tuple[dict[str, str], ...] | None = None


@dataclass(frozen=True)
class SubjectManifest:
    """One row of the manifest: the volumes by column (None: not in the tree) and the clinical values by column."""

    subject: str
    volumes: Mapping[str, VolumeFacts | None]
    clinical: Mapping[str, Any]

    @property
    def synthetic(self) -> bool:
        """Whether any volume says of itself that the sample generator made it."""
        return any(
            entry["text"].startswith(SYNTHETIC_MARK)
            for facts in self.volumes.values()
            if facts is not None
            for entry in facts.text or ()
        )

    def fingerprint(self, version: int) -> str:
        """Digest of what a shard is made from: its sources' path, size and time, the clinical values, `version`."""
        sources = {column: facts and (facts.path, facts.size, facts.mtime_ns) for column, facts in self.volumes.items()}
        content = json.dumps([version, self.subject, sources, dict(self.clinical)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def survey_subject(root: Path, inventory: Inventory, subject: str, clinical: Mapping[str, Any]) -> SubjectManifest:
    """The manifest's row for `subject`; reads the headers of the volumes that are there."""
    volumes = {volume.column: _survey(root, inventory.get(volume.path(subject)), volume) for volume in VOLUMES}
    return SubjectManifest(subject, volumes, clinical)


def _survey(root: Path, entry: Entry | None, volume: Volume) -> VolumeFacts | None:
    if entry is None or entry.size == 0:
        return None
    if entry.fault:
        return VolumeFacts(entry.path, entry.size, entry.mtime_ns, fault=str(entry.fault))
    try:
        header = read_header(root / entry.path)
    except NiftiError as error:
        return VolumeFacts(entry.path, entry.size, entry.mtime_ns, fault=str(error))
    fault = None
    if len(header.shape) < volume.dimensions or (header.frames > 1 and volume.dimensions == 3):
        fault = f"has shape {'x'.join(map(str, header.shape))}, where {volume.dimensions} dimensions are expected"
    return VolumeFacts(
        entry.path,
        entry.size,
        entry.mtime_ns,
        fault,
        header.shape,
        header.spacing,
        header.frames,
        header.dtype,
        header.affine,
        header.qform_code,
        header.sform_code,
        tuple({"field": field, "text": text} for field, text in header.text),
    )


def manifest_schema() -> pa.Schema:
    """One struct a volume, then the clinical columns."""
    volumes = [pa.field(volume.column, _FACTS) for volume in VOLUMES]
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *volumes, *clinical_fields()])


def manifest_table(rows: Iterable[SubjectManifest]) -> pa.Table:
    """One row a subject, sorted by id."""
    records = [
        {
            SUBJECT_COLUMN: row.subject,
            **{column: facts and asdict(facts) for column, facts in row.volumes.items()},
            **row.clinical,
        }
        for row in sorted(rows, key=lambda row: row.subject)
    ]
    return pa.Table.from_pylist(records, manifest_schema())


def read_manifest(folder: DataFolder) -> dict[str, SubjectManifest]:
    """The rows by subject, as `subject_manifest` wrote them."""
    table = read_table(folder.manifest, "subject_manifest", manifest_schema())
    columns = [field.name for field in clinical_fields()]
    return {
        row[SUBJECT_COLUMN]: SubjectManifest(
            row[SUBJECT_COLUMN],
            {volume.column: _facts(row[volume.column]) for volume in VOLUMES},
            {column: row[column] for column in columns},
        )
        for row in table.to_pylist()
    }


def _facts(row: dict[str, Any] | None) -> VolumeFacts | None:
    if row is None:
        return None
    facts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return VolumeFacts(**facts)
