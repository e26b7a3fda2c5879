"""The volumes that a product is made from: read once, and only as what the manifest says."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from isles_assets.lib.files import FileStatus, sha256_of, status_of
from isles_assets.lib.findings import Finding, InOrder, Materialize, Step
from isles_assets.reading.nifti import DigestingReader, Inspection, NiftiError, See, inspect, voxel_ml
from isles_assets.release.volumes import Volume
from isles_assets.tables import TREE_ASSETS
from isles_assets.tables.manifest import ManifestRow, VolumeEntry

_RESTORE = "restore the file from the release archive"


@dataclass(frozen=True)
class Voxels:
    """What decoding a volume showed: NaN and infinite voxels, and of a mask what it marks.

    `marked` is the number of voxels that are not 0, `marked_ml` their volume in millilitres, None where the affine
    cannot be used. `labels` are their distinct whole numbers, the first ones if there are `more_labels`; `no_labels`
    says in words which other values they have.
    """

    non_finite: int
    marked: int
    marked_ml: float | None
    labels: list[int]
    more_labels: bool
    no_labels: str

    @property
    def empty(self) -> bool:
        return not self.marked


@dataclass(frozen=True)
class Source:
    """A volume as it was read: `path` in the tree, `size` (bytes), SHA-256, CRC-32; `voxels` if it was decoded.

    `noted` is the file's status when it was last seen to hold these bytes. The others are known only if it was decoded:
    `surplus` counts the bytes after the last voxel, `trailing` those after the end of the gzip stream, `garbage` those
    of them from the first that is not zero, at which the datasets library stops, and `text` is the free text that the
    manifest does not have, as {field, text}.
    """

    path: str
    size: int
    sha256: str
    crc32: int
    noted: FileStatus
    voxels: Voxels | None
    surplus: int = 0
    trailing: int = 0
    garbage: int = 0
    text: tuple[dict[str, str], ...] = ()

    def of_now(self, entry: VolumeEntry | None, tree: Path | None) -> "Source | None":
        """This, with the status that the file in `tree` has now; None if that or the manifest's `entry` differs.

        The file is read again only if its status is not the one that was noted. Without a tree the entry decides: by
        its digest if it has one, else by size and time.
        """
        if entry is None or (entry.path, entry.size) != (self.path, self.size):
            return None
        if entry.sha256 and entry.sha256 != self.sha256:
            return None
        if tree is None:
            return self if entry.sha256 or entry.mtime_ns == self.noted.mtime_ns else None
        try:
            now = status_of(tree / self.path)
            if (now.size, now.mtime_ns) != (entry.size, entry.mtime_ns):
                return None
            is_same = now == self.noted or sha256_of(tree / self.path) == self.sha256
        except OSError:  # why not is said when it is read to be built from
            return None
        return replace(self, noted=now) if is_same else None


def clinical_digest(row: ManifestRow) -> str:
    """SHA-256 of the clinical values."""
    return hashlib.sha256(json.dumps(dict(row.clinical), sort_keys=True).encode()).hexdigest()


class UnfitError(Exception):
    """A volume that nothing can be made from. `step` is the first of the way back."""

    def __init__(self, path: str, subject: str, problem: str, step: Step):
        super().__init__(path, subject, problem, step)
        self.path, self.subject, self.problem, self.step = path, subject, problem, step

    @classmethod
    def of(cls, row: ManifestRow, volume: Volume, problem: str, step: Step = _RESTORE) -> "UnfitError":
        """To be raised for a volume of the row's subject."""
        return cls(volume.path(row.subject), row.subject, problem, step)

    def finding(self, asset: str) -> Finding:
        """The finding, with the whole way back to the subject's partition of `asset`."""
        again = Materialize((asset,), self.subject)
        stock = Materialize(TREE_ASSETS)
        steps = (stock, again) if self.step == stock else (self.step, stock, again)
        return Finding(self.problem, InOrder(steps), self.path, self.subject)


def check_entry(root: Path, row: ManifestRow, volume: Volume) -> None:
    """Raise `UnfitError` for a volume that is known to be unfit before it is read."""
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
    see: See = lambda *voxels: None,
) -> Source:
    """Read a volume once, giving its bytes to `sink` and, decoded, its voxels to `see`.

    Raises `UnfitError` unless it is what the manifest says. Only then was what `sink` and `see` got sound.
    """
    entry = row.entry(volume.column)
    seen = None
    try:
        with DigestingReader(root / entry.path, sink) as file:
            if decode:
                seen = inspect(file, volume.content, see)
                if not entry.matches_header(seen.header):
                    raise NiftiError("is on another grid than the manifest says, though its size and time are the same")
            file.drain()
    except NiftiError as error:
        raise UnfitError.of(row, volume, str(error)) from error
    if file.size != entry.size or (entry.sha256 and file.sha256 != entry.sha256):
        raise UnfitError.of(row, volume, "has changed since the manifest was made", Materialize(TREE_ASSETS))
    source = Source(entry.path, file.size, file.sha256, file.crc32, file.status, None)
    return _decoded(source, seen) if seen else source


def _decoded(source: Source, seen: Inspection) -> Source:
    """`source` with what decoding it showed."""
    ml = None if seen.header.transform else round(seen.marked * voxel_ml(seen.header.affine), 6)
    voxels = Voxels(seen.non_finite, seen.marked, ml, list(seen.labels), seen.more_labels, seen.no_labels)
    text = tuple({"field": field, "text": text} for field, text in seen.text)
    return replace(source, voxels=voxels, surplus=seen.surplus, trailing=seen.trailing, garbage=seen.garbage, text=text)
