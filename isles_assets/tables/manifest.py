"""The subject manifest: each subject's volumes, as file attributes and NIfTI headers describe them."""

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
"""Raise it when the same tree must give other rows. Entries of an older manifest are then not reused."""

ROUNDING_MM = 0.01
"""Corners up to this distance count as the same place, because affines are stored with seven digits."""

_PIXDIM_TOLERANCE = 1e-3
"""Relative difference to the spacing that is allowed, because tools round."""

_VERSION_KEY = b"isles_assets.manifest"
_TEXT = pa.struct({"field": pa.string(), "text": pa.string()})
_FROM_HEADER = (
    "shape", "spacing", "pixdim", "frames", "dtype", "affine", "transform", "qform_code", "sform_code", "qform_mm",
    "gzip_name",
)  # fmt: skip


@dataclass(frozen=True)
class GridDifference:
    """The difference between a volume's grid and a reference grid: in shape or, with the same shape, in place."""

    shape: tuple[int, ...]
    reference: tuple[int, ...]
    """The shape of the reference."""
    mm: float | None
    """Largest distance between the corners; None if the shapes differ."""
    is_off: bool
    """Whether the difference is half a voxel or more."""

    def describe(self, reference: str) -> str:
        """Return the problem in words, with the name of the `reference`."""
        if self.mm is None:
            return f"has {self.found}, its {reference} {_by(self.reference)}"
        return f"is displaced from its {reference} by up to {self.mm:.3g} mm"

    @property
    def found(self) -> str:
        """The difference as a waiver names it."""
        return f"shape {_by(self.shape)}" if self.mm is None else f"displaced by {self.mm:.3g} mm"


@dataclass(frozen=True)
class VolumeEntry:
    """One volume of one subject. Each field is annotated with its type in the table.

    The fields after `fault` are those of `Header`, and None if the header cannot be read.
    """

    path: Annotated[str, pa.string()]
    """Path relative to the tree."""
    size: Annotated[int, pa.int64()]
    """Size of the file in bytes."""
    mtime_ns: Annotated[int, pa.int64()]
    sha256: Annotated[str | None, pa.string()] = None
    """None unless the whole file was read, now or earlier."""
    crc32: Annotated[int | None, pa.uint32()] = None
    """CRC-32 by the archive's listing; None if it is not listed."""
    fault: Annotated[str | None, pa.string()] = None
    """Why the header cannot be read; None if it can."""
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
    """Free text before the voxels, as {field, text}."""

    def matches_file(self, file: TreeFile) -> bool:
        """Return whether both are readable, and path, size and time are the same."""
        same = (self.path, self.size, self.mtime_ns) == (file.path, file.size, file.mtime_ns)
        return same and not self.fault and not file.fault

    def matches_header(self, header: Header) -> bool:
        """Return whether `header` has the same grid and stored type."""
        same = (self.shape, self.dtype) == (header.shape, header.dtype)
        return same and np.array_equal(self.affine or (), header.affine, equal_nan=True)

    @property
    def synthetic(self) -> bool:
        """Whether its header has the mark of the sample generator."""
        return any(text["text"].startswith(SYNTHETIC_MARK) for text in self.text or ())

    @property
    def is_numeric(self) -> bool:
        """Whether the voxels are numbers, not colours."""
        return self.dtype is not None and is_numeric(self.dtype)

    def fits(self, volume: Volume) -> bool:
        """Return whether it has the number of axes that `volume` needs. More axes must have length one."""
        axes = volume.dimensions
        return self.shape is not None and len(self.shape) >= axes and prod(self.shape[axes:]) == 1

    def grid_difference(self, reference: "VolumeEntry") -> GridDifference | None:
        """Return how the grid differs from that of `reference`; None if it does not, or if a shape is unknown.

        If an affine cannot be used, only the shapes are compared.
        """
        if self.shape is None or reference.shape is None:
            return None
        shape, expected = self.shape[:3], reference.shape[:3]
        if shape != expected:
            return GridDifference(shape, expected, None, is_off=True)
        mm = self.corner_distance(reference)
        if mm is None or reference.spacing is None:
            return None
        is_off = mm >= min(reference.spacing) / 2
        return GridDifference(shape, expected, mm, is_off) if mm > ROUNDING_MM else None

    def corner_distance(self, reference: "VolumeEntry") -> float | None:
        """Return the largest distance in mm between the grids' corners; None if they cannot be compared."""
        if self.transform or reference.transform or not (self.affine and reference.affine and reference.spacing):
            return None
        if self.shape is None or reference.shape is None or self.shape[:3] != reference.shape[:3]:
            return None
        return displacement(self.affine, reference.affine, reference.shape[:3])

    def transform_problems(self) -> Iterator[tuple[Problem, str, str]]:
        """Yield each problem with the affine, qform, sform or pixdim: its kind, its words, and what a waiver names."""
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
    """One subject of the manifest."""

    subject: str
    volumes: Mapping[str, VolumeEntry | None]
    """Volumes by column; None for one that is missing or empty."""
    clinical: Mapping[str, Any]
    """Clinical values by column."""

    def entry(self, column: str) -> VolumeEntry:
        """Return the entry of a volume that must be in the tree."""
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
    crc32s: Mapping[str, int] = MappingProxyType({}),
    full: bool = False,
    workers: int = 1,
    log: Callable[[str], None] = lambda line: None,
) -> list[ManifestRow]:
    """Return a row for each subject in `clinical`.

    The header of a volume that is as in `previous` is not read again. A volume is read to its end if its digest may be
    outdated, or with `full`.

    Args:
        root: The tree.
        clinical: Clinical values by subject and column.
        previous: Rows of the last manifest, by subject.
        digests: Known digests. Digests of volumes that are read to their ends are added.
        crc32s: CRC-32s of the archive's listing, by path.
        full: Read every volume to its end.
        workers: Number of threads.
        log: Where progress is reported.
    """
    rows: list[ManifestRow] = []
    digests = digests or Digests()
    files = [inventory.get(volume.path(subject)) for subject in clinical for volume in release.volumes]
    to_digest = {
        file.path: file.size
        for file in files
        if file and file.size and not file.fault and (full or digests.may_be_outdated(root, file))
    }
    progress = Progress("volume", len(to_digest), log, size=sum(to_digest.values()))
    with ThreadPoolExecutor(workers) as executor:
        for subject, values in clinical.items():
            earlier = previous[subject].volumes if subject in previous else {}
            survey_volume = partial(_survey_volume, root, inventory, subject, earlier, digests, to_digest, progress)
            entries = dict(executor.map(survey_volume, release.volumes))
            volumes = {column: e and replace(e, crc32=crc32s.get(e.path)) for column, e in entries.items()}
            rows.append(ManifestRow(subject, volumes, values))
    return rows


def _survey_volume(
    root: Path,
    inventory: Inventory,
    subject: str,
    previous: Mapping[str, VolumeEntry | None],
    digests: Digests,
    to_digest: Container[str],
    progress: Progress,
    volume: Volume,
) -> tuple[str, VolumeEntry | None]:
    """Return the volume's column and entry; None for one that is missing or empty."""
    file = inventory.get(volume.path(subject))
    if file is None or file.size == 0:
        return volume.column, None
    entry = previous.get(volume.column)
    if file.path in to_digest:
        entry = _read_entry(root, file, digests)
        progress.advance(file.size)
    elif not entry or not entry.matches_file(file) or (digests.of(file) or entry.sha256) != entry.sha256:
        entry = _read_entry(root, file)
    return volume.column, replace(entry, sha256=None if entry.fault else digests.of(file))


def _read_entry(root: Path, file: TreeFile, digests: Digests | None = None) -> VolumeEntry:
    """Return the entry of a file by its header. With `digests`, also read it to its end and note its digest there."""
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
    """Read a file to its end. The status noted is from before, so that a change meanwhile shows later."""
    with DigestingReader(root / file.path) as reader:
        reader.drain()
    digests.note(file.path, reader.status, reader.sha256)


def manifest_version(release: Release) -> str:
    """Return a fingerprint of the volumes, the clinical columns and the code version."""
    volumes = [(volume.column, volume.path("")) for volume in release.volumes]
    return f"{CODE_VERSION}.{fingerprint(volumes, manifest_schema(release))}"


def manifest_schema(release: Release) -> pa.Schema:
    """Return the columns of the manifest: the subject's id, a struct per volume, the clinical columns."""
    volumes = [pa.field(volume.column, _VOLUME) for volume in release.volumes]
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *volumes, *clinical_fields(release)])


def manifest_table(release: Release, rows: Iterable[ManifestRow]) -> pa.Table:
    """Return one row per subject, sorted by id."""
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
    """Return the stored rows by subject.

    Raises:
        Refusal: The table is missing, damaged or of another version.
    """
    return _rows(folder.release, read_table(folder.manifest, "subject_manifest", manifest_schema(folder.release)))


def read_previous_manifest(folder: DataFolder) -> dict[str, ManifestRow]:
    """Return the stored rows by subject; none unless this version of the code wrote them for this release."""
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
