"""The subject manifest: what the tree holds of each subject, from file attributes and NIfTI headers alone."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import Progress
from isles_assets.products.schema import SUBJECT_COLUMN, clinical_fields
from isles_assets.reading.nifti import NiftiError, SourceReader, read_header
from isles_assets.reading.tree import Entry, Inventory
from isles_assets.release.volumes import VOLUMES, Volume
from isles_assets.sample import SYNTHETIC_MARK
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import read_table

MANIFEST_VERSION = 1
"""To be raised when the same tree is to give other rows: then nothing is taken over from an older manifest."""

AFFINE_TOLERANCE = 1e-4
"""Largest difference of an affine's element: the release's registered volumes differ from the NCCT by rounding."""

_VERSION_KEY = b"isles_assets.manifest"
_TEXT = pa.struct({"field": pa.string(), "text": pa.string()})
_FACTS = pa.struct(
    {
        "path": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "sha256": pa.string(),
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
    Where the header cannot be read, `fault` says why and the header's facts are None. `sha256` is there only if the
    whole file was read.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str | None = None
    fault: str | None = None
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    frames: int | None = None
    dtype: str | None = None
    affine: tuple[float, ...] | None = None
    qform_code: int | None = None
    sform_code: int | None = None
    text: tuple[dict[str, str], ...] | None = None

    def are_still_of(self, entry: Entry) -> bool:
        """Whether they were read from the file that `entry` is of, as its size and time say, and could be."""
        same = (self.path, self.size, self.mtime_ns) == (entry.path, entry.size, entry.mtime_ns)
        return same and not self.fault and not entry.fault

    def grid_difference(self, ncct: "VolumeFacts") -> str | None:
        """How this volume's grid differs from that of the NCCT, in words; None if both share it or one is unknown."""
        if self.shape is None or ncct.shape is None:
            return None
        if self.shape[:3] != ncct.shape[:3]:
            return f"has shape {'x'.join(map(str, self.shape))}, its NCCT {'x'.join(map(str, ncct.shape))}"
        assert self.affine and ncct.affine
        difference = np.reshape(self.affine, (4, 4)) - np.reshape(ncct.affine, (4, 4))
        if np.abs(difference).max() <= AFFINE_TOLERANCE:
            return None
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        corners[:, :3] *= np.array(ncct.shape[:3]) - 1
        distance = np.linalg.norm((corners @ difference.T)[:, :3], axis=1).max()
        return (
            f"is displaced from its NCCT by up to {distance:.3g} mm (affine differs by {np.abs(difference).max():.2g})"
        )


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


def survey(
    root: Path,
    inventory: Inventory,
    clinical: Mapping[str, Mapping[str, Any]],
    previous: Mapping[str, SubjectManifest] = MappingProxyType({}),
    *,
    full: bool = False,
    workers: int = 1,
    say: Callable[[str], None] = lambda words: None,
) -> list[SubjectManifest]:
    """A row for each subject in `clinical`, which holds its clinical values.

    Only headers are read, and only of volumes whose size or time is another than in `previous`. With `full` every
    volume is read to its end, in `workers` threads, for its digest, and `say` is told the progress.
    """
    rows = []
    progress = Progress("subjects", len(clinical), say)
    with ThreadPoolExecutor(workers) as executor:
        for subject, values in clinical.items():
            known = previous[subject].volumes if subject in previous else {}
            look = partial(_survey, root, inventory, subject, known, full)
            row = SubjectManifest(subject, dict(executor.map(look, VOLUMES)), values)
            rows.append(row)
            if full:
                progress.advance(sum(facts.size for facts in row.volumes.values() if facts))
    return rows


def _survey(
    root: Path,
    inventory: Inventory,
    subject: str,
    known: Mapping[str, VolumeFacts | None],
    full: bool,
    volume: Volume,
) -> tuple[str, VolumeFacts | None]:
    entry = inventory.get(volume.path(subject))
    if entry is None or entry.size == 0:
        return volume.column, None
    facts = known.get(volume.column)
    if full or not facts or not facts.are_still_of(entry):
        facts = _read_facts(root, entry, volume, full)
    return volume.column, facts if full else replace(facts, sha256=None)


def _read_facts(root: Path, entry: Entry, volume: Volume, full: bool) -> VolumeFacts:
    facts = VolumeFacts(entry.path, entry.size, entry.mtime_ns)
    if entry.fault:
        return replace(facts, fault=str(entry.fault))
    try:
        header = read_header(root / entry.path)
        if full:
            facts = replace(facts, sha256=_sha256(root / entry.path))
    except NiftiError as error:
        return replace(facts, fault=str(error))
    fault = None
    if len(header.shape) < volume.dimensions or (header.frames > 1 and volume.dimensions == 3):
        fault = f"has shape {'x'.join(map(str, header.shape))}, where {volume.dimensions} dimensions are expected"
    return replace(
        facts,
        fault=fault,
        shape=header.shape,
        spacing=header.spacing,
        frames=header.frames,
        dtype=header.dtype,
        affine=header.affine,
        qform_code=header.qform_code,
        sform_code=header.sform_code,
        text=tuple({"field": field, "text": text} for field, text in header.text),
    )


def _sha256(path: Path) -> str:
    with SourceReader(path) as source:
        source.drain()
        return source.sha256


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
    return pa.Table.from_pylist(records, manifest_schema().with_metadata({_VERSION_KEY: str(MANIFEST_VERSION)}))


def read_manifest(folder: DataFolder) -> dict[str, SubjectManifest]:
    """The rows by subject, as `subject_manifest` wrote them."""
    return _rows(read_table(folder.manifest, "subject_manifest", manifest_schema()))


def read_previous_manifest(folder: DataFolder) -> dict[str, SubjectManifest]:
    """The rows of a manifest that this version of the code wrote; none where there is no such."""
    try:
        table = read_table(folder.manifest, "subject_manifest", manifest_schema())
    except Refusal:
        return {}
    same = (table.schema.metadata or {}).get(_VERSION_KEY) == str(MANIFEST_VERSION).encode()
    return _rows(table) if same else {}


def _rows(table: pa.Table) -> dict[str, SubjectManifest]:
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
