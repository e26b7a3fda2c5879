"""The subject manifest: what the tree holds of each subject, from file attributes and NIfTI headers alone."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import isinf, prod
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_type_hints

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from isles_assets.lib.findings import Refusal
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.lib.progress import Progress
from isles_assets.reading.nifti import (
    SYNTHETIC_MARK,
    DigestingReader,
    Header,
    NiftiError,
    displacement,
    is_numeric,
    read_header,
)
from isles_assets.reading.tree import Inventory, TreeFile
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.clinical import clinical_fields
from isles_assets.tables.digests import Digests
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import SUBJECT_COLUMN, read_table

CODE_VERSION = 3
"""To be raised when the same tree is to give other rows: then nothing is taken over from an older manifest."""

ROUNDING_MM = 0.01
"""Corners of a volume that are no farther apart are at the same place: affines are stored with seven digits."""

_PIXDIM_TOLERANCE = 1e-3
"""Of the spacing: tools round it."""

_VERSION_KEY = b"isles_assets.manifest"
_TEXT = pa.struct({"field": pa.string(), "text": pa.string()})
_FROM_HEADER = (
    "shape", "spacing", "pixdim", "frames", "dtype", "affine", "transform", "qform_code", "sform_code", "qform_mm",
    "gzip_name",
)  # fmt: skip


@dataclass(frozen=True)
class GridDifference:
    """How a volume's grid differs from that of a reference, by shape or, if that is the same, by `mm` at the corners.

    `is_off` says whether by half a voxel or more.
    """

    shape: tuple[int, ...]
    reference: tuple[int, ...]
    mm: float | None
    is_off: bool

    def words(self, called: str) -> str:
        """The difference from the reference, which is `called` so."""
        if self.mm is None:
            return f"has {self.found}, its {called} {_by(self.reference)}"
        return f"is displaced from its {called} by up to {self.mm:.3g} mm"

    @property
    def found(self) -> str:
        """The difference alone, for a waiver to name."""
        return f"shape {_by(self.shape)}" if self.mm is None else f"displaced by {self.mm:.3g} mm"


@dataclass(frozen=True)
class VolumeEntry:
    """One volume of one subject, without reading its voxels; each field with its type in the table.

    `path` is relative to the tree, `size` in bytes, `crc32` what the archive's listing says (None: nothing), `text`
    the free text before the voxels as {field, text}; what follows `fault` is as `Header` has it. Where the header
    cannot be read, `fault` says why and what it would say is None. `sha256` is there only if the whole file was read,
    now or earlier.
    """

    path: Annotated[str, pa.string()]
    size: Annotated[int, pa.int64()]
    mtime_ns: Annotated[int, pa.int64()]
    sha256: Annotated[str | None, pa.string()] = None
    crc32: Annotated[int | None, pa.uint32()] = None
    fault: Annotated[str | None, pa.string()] = None
    shape: Annotated[tuple[int, ...] | None, pa.list_(pa.int32())] = None
    spacing: Annotated[tuple[float, ...] | None, pa.list_(pa.float64())] = None
    pixdim: Annotated[tuple[float, ...] | None, pa.list_(pa.float64())] = None
    frames: Annotated[int | None, pa.int64()] = None
    dtype: Annotated[str | None, pa.string()] = None
    affine: Annotated[tuple[float, ...] | None, pa.list_(pa.float64())] = None
    transform: Annotated[str | None, pa.string()] = None
    qform_code: Annotated[int | None, pa.int16()] = None
    sform_code: Annotated[int | None, pa.int16()] = None
    qform_mm: Annotated[float | None, pa.float64()] = None
    gzip_name: Annotated[str | None, pa.string()] = None
    text: Annotated[tuple[dict[str, str], ...] | None, pa.list_(_TEXT)] = None

    def is_still_of(self, file: TreeFile) -> bool:
        """Whether it was read from `file`, as its size and time say, and could be."""
        same = (self.path, self.size, self.mtime_ns) == (file.path, file.size, file.mtime_ns)
        return same and not self.fault and not file.fault

    def is_of(self, header: Header) -> bool:
        """Whether `header` has the grid and the stored type that this has."""
        same = (self.shape, self.dtype) == (header.shape, header.dtype)
        return same and np.array_equal(self.affine or (), header.affine, equal_nan=True)

    @property
    def synthetic(self) -> bool:
        """Whether it says of itself that the sample generator made it."""
        return any(text["text"].startswith(SYNTHETIC_MARK) for text in self.text or ())

    @property
    def is_numeric(self) -> bool:
        """Whether the voxels are numbers."""
        return self.dtype is not None and is_numeric(self.dtype)

    def fits(self, volume: Volume) -> bool:
        """Whether it has the axes that `volume` has, and but single ones beyond."""
        axes = volume.dimensions
        return self.shape is not None and len(self.shape) >= axes and prod(self.shape[axes:]) == 1

    def grid_difference(self, reference: "VolumeEntry") -> GridDifference | None:
        """How the grid differs from that of `reference`; None where it does not, or one of them is not known.

        Only the shapes are compared where one of the affines cannot be used.
        """
        if self.shape is None or reference.shape is None:
            return None
        shape, expected = self.shape[:3], reference.shape[:3]
        if shape != expected:
            return GridDifference(shape, expected, None, is_off=True)
        mm = self.distance(reference)
        if mm is None or reference.spacing is None:
            return None
        is_off = mm >= min(reference.spacing) / 2
        return GridDifference(shape, expected, mm, is_off) if mm > ROUNDING_MM else None

    def distance(self, reference: "VolumeEntry") -> float | None:
        """How far apart the corners of the grids are, at most, in mm; None where they cannot be compared."""
        if self.transform or reference.transform or not (self.affine and reference.affine and reference.spacing):
            return None
        if self.shape is None or reference.shape is None or self.shape[:3] != reference.shape[:3]:
            return None
        return displacement(self.affine, reference.affine, reference.shape[:3])

    def transform_problems(self) -> Iterator[tuple[Problem, str, str]]:
        """What is wrong with the affine, or in the header disagrees with it: the kind, words, what a waiver names."""
        if self.transform:
            yield Problem.TRANSFORM_UNUSABLE, f"has an affine that {self.transform}", self.transform.partition(":")[0]
        if self.transform or not (self.spacing and self.pixdim):
            return
        if self.qform_mm is not None and isinf(self.qform_mm):
            problem, found = "has an sform, and a qform that cannot be used", "qform cannot be used"
            yield Problem.TRANSFORMS_DISAGREE, problem, found
        elif self.qform_mm is not None and self.qform_mm > ROUNDING_MM:
            problem, found = "has a qform and an sform that are up to {0} apart", f"{self.qform_mm:.3g} mm"
            is_off = self.qform_mm >= min(self.spacing) / 2
            kind = Problem.TRANSFORMS_DISAGREE if is_off else Problem.TRANSFORMS_ROUNDING
            yield kind, problem.format(found), found if is_off else ""
        if not np.allclose(self.pixdim, self.spacing, rtol=_PIXDIM_TOLERANCE, atol=0):
            problem = f"says in pixdim that its voxels have {_by(self.pixdim)} mm, its affine {_by(self.spacing)} mm"
            yield Problem.PIXDIM, problem, ""


def _by(numbers: Iterable[float]) -> str:
    return "x".join(f"{number:g}" for number in numbers)


_TYPES = get_type_hints(VolumeEntry, include_extras=True)
_VOLUME = pa.struct([(name, annotated.__metadata__[0]) for name, annotated in _TYPES.items()])
_ENTRY = TypeAdapter[VolumeEntry | None](VolumeEntry | None)


@dataclass(frozen=True)
class ManifestRow:
    """One row of the manifest: the volumes by column (None: not in the tree) and the clinical values by column."""

    subject: str
    volumes: Mapping[str, VolumeEntry | None]
    clinical: Mapping[str, Any]

    def entry(self, column: str) -> VolumeEntry:
        """What is known of a volume that is in the tree."""
        entry = self.volumes[column]
        assert entry is not None
        return entry

    @property
    def synthetic(self) -> bool:
        """Whether any volume is synthetic."""
        return any(entry.synthetic for entry in self.volumes.values() if entry)


def survey(
    release: Release,
    root: Path,
    inventory: Inventory,
    clinical: Mapping[str, Mapping[str, Any]],
    previous: Mapping[str, ManifestRow] = MappingProxyType({}),
    *,
    digests: Digests | None = None,
    listed: Mapping[str, int] = MappingProxyType({}),
    full: bool = False,
    workers: int = 1,
    log: Callable[[str], None] = lambda words: None,
) -> list[ManifestRow]:
    """A row for each subject in `clinical`, which holds its clinical values; `listed` are CRC-32s by path.

    Only headers are read, and only of volumes whose size or time is another than in `previous`. With `full` every
    volume is read to its end, in `workers` threads, for its digest; without, those whose digest is known and in doubt.
    What was read is noted in `digests`, and `log` is told the progress.
    """
    rows: list[ManifestRow] = []
    digests = digests or Digests()
    files = [inventory.get(volume.path(subject)) for subject in clinical for volume in release.volumes]
    whole = {
        file.path: file.size
        for file in files
        if file and file.size and not file.fault and (full or digests.is_doubtful(root, file))
    }
    progress = Progress("volume", len(whole), log, size=sum(whole.values()))
    with ThreadPoolExecutor(workers) as executor:
        for subject, values in clinical.items():
            known = previous[subject].volumes if subject in previous else {}
            look = partial(_survey, root, inventory, subject, known, digests, whole, progress)
            surveyed = dict(executor.map(look, release.volumes))
            found = {name: entry and replace(entry, crc32=listed.get(entry.path)) for name, entry in surveyed.items()}
            rows.append(ManifestRow(subject, found, values))
    return rows


def _survey(
    root: Path,
    inventory: Inventory,
    subject: str,
    known: Mapping[str, VolumeEntry | None],
    digests: Digests,
    whole: Container[str],
    progress: Progress,
    volume: Volume,
) -> tuple[str, VolumeEntry | None]:
    file = inventory.get(volume.path(subject))
    if file is None or file.size == 0:
        return volume.column, None
    entry = known.get(volume.column)
    if file.path in whole:
        entry = _read_entry(root, file, digests)
        progress.advance(file.size)
    elif not entry or not entry.is_still_of(file) or (digests.of(file) or entry.sha256) != entry.sha256:
        entry = _read_entry(root, file)
    return volume.column, replace(entry, sha256=None if entry.fault else digests.of(file))


def _read_entry(root: Path, file: TreeFile, digests: Digests | None = None) -> VolumeEntry:
    """What the header of a file says. With `digests` the file is read to its end, too, and its digest noted there."""
    entry = VolumeEntry(file.path, file.size, file.mtime_ns)
    if file.fault:
        return replace(entry, fault=str(file.fault))
    try:
        if digests:
            _note_digest(root, file, digests)
        header = read_header(root / file.path)
    except NiftiError as error:
        return replace(entry, fault=str(error))
    text = tuple({"field": field, "text": text} for field, text in header.text)
    return replace(entry, text=text, **{name: getattr(header, name) for name in _FROM_HEADER})


def _note_digest(root: Path, file: TreeFile, digests: Digests) -> None:
    """Read a file to its end. Its status is that from before, so that a change meanwhile shows later."""
    with DigestingReader(root / file.path) as reader:
        reader.drain()
    digests.note(file.path, reader.status, reader.sha256)


def manifest_version(release: Release) -> str:
    """Another one for another table of volumes or variables, or other code."""
    volumes = [(volume.column, volume.path("")) for volume in release.volumes]
    return f"{CODE_VERSION}.{fingerprint(volumes, manifest_schema(release))}"


def manifest_schema(release: Release) -> pa.Schema:
    """One struct a volume, then the clinical columns."""
    volumes = [pa.field(volume.column, _VOLUME) for volume in release.volumes]
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *volumes, *clinical_fields(release)])


def manifest_table(release: Release, rows: Iterable[ManifestRow]) -> pa.Table:
    """One row a subject, sorted by id."""
    records = [
        {
            SUBJECT_COLUMN: row.subject,
            **{column: entry and asdict(entry) for column, entry in row.volumes.items()},
            **row.clinical,
        }
        for row in sorted(rows, key=attrgetter("subject"))
    ]
    schema = manifest_schema(release).with_metadata({_VERSION_KEY: manifest_version(release)})
    return pa.Table.from_pylist(records, schema)


def read_manifest(folder: DataFolder) -> dict[str, ManifestRow]:
    """The rows by subject, as `subject_manifest` wrote them."""
    return _rows(folder.release, read_table(folder.manifest, "subject_manifest", manifest_schema(folder.release)))


def read_previous_manifest(folder: DataFolder) -> dict[str, ManifestRow]:
    """The rows of a manifest that this code wrote for this release; none where there is no such."""
    try:
        table = read_table(folder.manifest, "subject_manifest", manifest_schema(folder.release))
    except Refusal:
        return {}
    same = (table.schema.metadata or {}).get(_VERSION_KEY) == manifest_version(folder.release).encode()
    return _rows(folder.release, table) if same else {}


def _rows(release: Release, table: pa.Table) -> dict[str, ManifestRow]:
    return {
        row[SUBJECT_COLUMN]: ManifestRow(
            row[SUBJECT_COLUMN],
            {volume.column: _ENTRY.validate_python(row[volume.column]) for volume in release.volumes},
            {variable.column: row[variable.column] for variable in release.variables},
        )
        for row in table.to_pylist()
    }
