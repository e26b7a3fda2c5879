"""The source volumes of a product: each is read once and compared with the manifest."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from isles_assets.lib.files import FileStatus, sha256_of, status_of
from isles_assets.lib.findings import Finding, InOrder, Materialize, Step
from isles_assets.reading.nifti import DigestingReader, Inspection, NiftiError, VoxelSink, inspect, voxel_ml
from isles_assets.release.volumes import Volume
from isles_assets.tables import TREE_ASSETS
from isles_assets.tables.manifest import ManifestRow, VolumeEntry

_RESTORE = "restore the file from the release archive"


@dataclass(frozen=True)
class Voxels:
    """Counts of a volume's voxels. All but `non_finite` are of masks."""

    non_finite: int
    """Number of NaN and infinite voxels."""
    marked: int
    """Number of voxels that are not 0."""
    marked_ml: float | None
    """Volume of the marked voxels in millilitres; None if the affine cannot be used."""
    labels: list[int]
    """Distinct whole numbers of the marked voxels; only the first ones if there are `more_labels`."""
    more_labels: bool
    inexact_labels: bool
    """Whether labels are whole numbers only up to rounding, so that a comparison such as `== 1` misses them."""
    no_labels: str
    """The values that are not labels, in words."""

    @property
    def empty(self) -> bool:
        """Whether no voxel is marked."""
        return not self.marked


@dataclass(frozen=True)
class Source:
    """A volume as it was read. The fields from `surplus` on are known only if it was decoded."""

    path: str
    """Path relative to the tree."""
    size: int
    """Size of the file in bytes."""
    sha256: str
    crc32: int
    noted: FileStatus
    """The file's status when its digest was last confirmed."""
    voxels: Voxels | None
    """None if it was not decoded."""
    surplus: int = 0
    """Bytes after the last voxel."""
    trailing: int = 0
    """Bytes after the end of the gzip stream."""
    garbage: int = 0
    """Trailing bytes from the first that is not zero. The datasets library stops there."""
    text: tuple[dict[str, str], ...] = ()
    """Free text that the manifest does not have, as {field, text}."""

    def refreshed(self, entry: VolumeEntry | None, tree: Path | None) -> "Source | None":
        """Return the source with its file's status of now; None if file or manifest `entry` have changed.

        A file with another status than noted is read again. Without a `tree` only the entry is compared: by its digest
        or, if it has none, by size and time.
        """
        if entry is None or (entry.path, entry.size) != (self.path, self.size):
            return None
        if entry.sha256 and entry.sha256 != self.sha256:
            return None
        if tree is None:
            return self if entry.sha256 or entry.mtime_ns == self.noted.mtime_ns else None
        try:
            status = status_of(tree / self.path)
            if (status.size, status.mtime_ns) != (entry.size, entry.mtime_ns):
                return None
            is_same = status == self.noted or sha256_of(tree / self.path) == self.sha256
        except OSError:  # the build that follows reads the file, too, and reports the error
            return None
        return replace(self, noted=status) if is_same else None


def clinical_digest(row: ManifestRow) -> str:
    """Return the SHA-256 of the clinical values."""
    return hashlib.sha256(json.dumps(dict(row.clinical), sort_keys=True).encode()).hexdigest()


class UnfitError(Exception):
    """A volume that nothing can be built from. `step` is the first step to mend it."""

    def __init__(self, path: str, subject: str, problem: str, step: Step):
        super().__init__(path, subject, problem, step)
        self.path, self.subject, self.problem, self.step = path, subject, problem, step

    @classmethod
    def of(cls, row: ManifestRow, volume: Volume, problem: str, step: Step = _RESTORE) -> "UnfitError":
        """Return the error for a volume of the row's subject."""
        return cls(volume.path(row.subject), row.subject, problem, step)

    def finding(self, asset: str) -> Finding:
        """Return the finding, with all steps up to the subject's partition of `asset`."""
        rebuild = Materialize((asset,), self.subject)
        refresh = Materialize(TREE_ASSETS)
        steps = (refresh, rebuild) if self.step == refresh else (self.step, refresh, rebuild)
        return Finding(self.problem, InOrder(steps), self.path, self.subject)


def check_entry(root: Path, row: ManifestRow, volume: Volume) -> None:
    """Check a volume by its manifest entry and file status, before it is read.

    Raises:
        UnfitError: The volume is missing, empty, unreadable or faulty, or has changed since the manifest was made.
    """
    entry = row.volumes[volume.column]
    if entry is None:
        raise UnfitError.of(row, volume, "is missing or empty")
    try:
        status = status_of(root / entry.path)
    except OSError as error:
        raise UnfitError.of(row, volume, f"cannot be read: {error.strerror}") from error
    if (status.size, status.mtime_ns) != (entry.size, entry.mtime_ns):
        raise UnfitError.of(row, volume, "has changed since the manifest was made", Materialize(TREE_ASSETS))
    if entry.fault:
        raise UnfitError.of(row, volume, entry.fault)


def read_source(
    root: Path,
    row: ManifestRow,
    volume: Volume,
    *,
    decode: bool = True,
    sink: Callable[[memoryview], None] = lambda piece: None,
    see: VoxelSink = lambda *voxels: None,
) -> Source:
    """Read a volume once, and compare it with the manifest.

    Args:
        root: The tree.
        decode: Decode and count the voxels.
        sink: Gets the file's bytes. They are sound only if no error is raised.
        see: Gets the decoded voxels. They are sound only if no error is raised.

    Raises:
        UnfitError: The volume cannot be read or decoded, or is not the one of the manifest.
    """
    entry = row.entry(volume.column)
    inspection = None
    try:
        with DigestingReader(root / entry.path, sink) as file:
            if decode:
                inspection = inspect(file, volume.content, see)
                if not entry.matches_header(inspection.header):
                    raise NiftiError("is on another grid than the manifest says, though its size and time are the same")
            file.drain()
    except NiftiError as error:
        raise UnfitError.of(row, volume, str(error)) from error
    if file.size != entry.size or (entry.sha256 and file.sha256 != entry.sha256):
        raise UnfitError.of(row, volume, "has changed since the manifest was made", Materialize(TREE_ASSETS))
    source = Source(entry.path, file.size, file.sha256, file.crc32, file.status, None)
    return _decoded(source, inspection) if inspection else source


def _decoded(source: Source, inspection: Inspection) -> Source:
    """Return `source` with the results of decoding it."""
    header, marked = inspection.header, inspection.marked
    return replace(
        source,
        voxels=Voxels(
            non_finite=inspection.non_finite,
            marked=marked,
            marked_ml=None if header.transform else round(marked * voxel_ml(header.affine), 6),
            labels=list(inspection.labels),
            more_labels=inspection.more_labels,
            inexact_labels=inspection.inexact_labels,
            no_labels=inspection.no_labels,
        ),
        surplus=inspection.surplus,
        trailing=inspection.trailing,
        garbage=inspection.garbage,
        text=tuple({"field": field, "text": text} for field, text in inspection.text),
    )
