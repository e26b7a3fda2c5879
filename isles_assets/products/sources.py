"""The volumes that a product is made from: read once, and only as what the manifest says."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from isles_assets.lib.findings import Finding, Materialize, Mend
from isles_assets.reading.nifti import DigestingReader, NiftiError, See, inspect, voxel_ml
from isles_assets.release.volumes import Volume
from isles_assets.tables import TAKE_STOCK
from isles_assets.tables.manifest import ManifestRow, VolumeEntry

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

    @property
    def empty(self) -> bool:
        return not self.marked


@dataclass(frozen=True)
class Source:
    """A volume as it was read: `path` in the tree, `size` (bytes), `mtime_ns`, digest; `voxels` if it was decoded."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    voxels: Voxels | None

    def is_still(self, entry: VolumeEntry | None) -> bool:
        """Whether the manifest's `entry` is of the same bytes: by digest if it has one, else by time."""
        if entry is None or (entry.path, entry.size) != (self.path, self.size):
            return False
        return entry.sha256 == self.sha256 if entry.sha256 else entry.mtime_ns == self.mtime_ns


def clinical_digest(row: ManifestRow) -> str:
    """SHA-256 of the clinical values."""
    return hashlib.sha256(json.dumps(dict(row.clinical), sort_keys=True).encode()).hexdigest()


class UnfitError(Exception):
    """A volume that nothing can be made from."""

    def __init__(self, finding: Finding):
        super().__init__(finding.problem)
        self.finding = finding

    @classmethod
    def of(cls, row: ManifestRow, volume: Volume, problem: str, mend: Mend = _RESTORE) -> "UnfitError":
        """To be raised for a volume of the row's subject."""
        return cls(Finding(problem, mend, volume.path(row.subject), row.subject))


def check_entry(root: Path, row: ManifestRow, volume: Volume) -> None:
    """Raise `UnfitError` for a volume that is known to be unfit before it is read."""
    entry = row.volumes[volume.column]
    if entry is None:
        raise UnfitError.of(row, volume, "is missing or empty")
    try:
        status = (root / entry.path).stat()
    except OSError as error:
        raise UnfitError.of(row, volume, f"cannot be read: {error.strerror}") from error
    if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
        raise UnfitError.of(row, volume, "has changed since the manifest was made", Materialize(TAKE_STOCK))
    if entry.fault:
        raise UnfitError.of(row, volume, entry.fault)


def read_source(
    root: Path,
    row: ManifestRow,
    volume: Volume,
    *,
    decode: bool = True,
    sink: Callable[[memoryview], None] = lambda piece: None,
    see: See = lambda *voxels: None,
) -> Source:
    """Read a volume once, giving its bytes to `sink` and, decoded, its voxels to `see`.

    Raises `UnfitError` unless it is what the manifest says. Only then was what `sink` and `see` got sound.
    """
    entry = row.entry(volume.column)
    voxels = None
    try:
        with DigestingReader(root / entry.path, sink) as file:
            if decode:
                seen = inspect(file, volume.content, see)
                header = seen.header
                marked_ml = round(seen.marked * voxel_ml(header.affine), 6)
                voxels = Voxels(seen.non_finite, seen.marked, marked_ml, list(seen.labels))
                if (header.shape, header.affine, header.dtype) != (entry.shape, entry.affine, entry.dtype):
                    raise NiftiError("is on another grid than the manifest says, though its size and time are the same")
            file.drain()
    except NiftiError as error:
        raise UnfitError.of(row, volume, str(error)) from error
    if file.size != entry.size or (entry.sha256 and file.sha256 != entry.sha256):
        raise UnfitError.of(row, volume, "has changed since the manifest was made", Materialize(TAKE_STOCK))
    return Source(entry.path, file.size, entry.mtime_ns, file.sha256, voxels)
