"""One subject as a case of nnU-Net: its images as links where nnU-Net can use them, and its label as a new file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isles_assets.lib.findings import Refusal
from isles_assets.lib.words import counted
from isles_assets.published.grids import Fit
from isles_assets.published.linking import How, link
from isles_assets.published.source import HEADLINE, Volumes
from isles_assets.published.voxels import (
    LARGEST,
    Scanned,
    read_labels,
    read_voxels,
    resample,
    rewrite,
    scan,
    write_volume,
)  # fmt: skip
from isles_assets.reading.nifti import NiftiError
from isles_assets.release.volumes import Volume

IMAGES, LABELS, ENDING = "imagesTr", "labelsTr", ".nii.gz"
LEFT_OUT, REPLACED, RESAMPLED = "left out", "voxels replaced", "resampled"
EQUAL_GRID, EMPTY = "grid made equal", "label is empty"


@dataclass(frozen=True)
class Task:
    """What nnU-Net is to learn from which files, and where its files go."""

    volumes: Volumes
    channels: Sequence[Volume]
    target: Volume
    resample: bool
    """Whether a volume on another grid is resampled. Otherwise its subject is left out."""
    folder: Path


@dataclass(frozen=True)
class Change:
    """What differs from the release in one file of an export, or why a case is left out."""

    case: str
    column: str
    file: str
    change: str
    detail: str
    voxels: int = 0
    """Number of voxels that were replaced."""

    def __str__(self) -> str:
        return f"{self.case} {self.column}: {self.change}: {self.detail}"


@dataclass
class Case:
    """An exported case. One that is left out has no files."""

    subject: str
    ways: list[How] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    sheared: bool = False
    left_out: bool = False


class _LeftOutError(Exception):
    """A volume cannot be used; the message says why."""

    def __init__(self, volume: Volume, reason: str):
        super().__init__(reason)
        self.volume, self.reason = volume, reason


def export_case(task: Task, subject: str) -> Case:
    """Write images and label of one subject below the folder of `task`.

    Every volume is read to its end before the first file is written.

    Raises:
        Refusal: A file is damaged, or cannot be written.
    """
    case = Case(subject)
    try:
        export = _CaseExport(task, case)
        labels = export.labels()
        for number, channel in enumerate(task.channels):
            case.ways.append(export.write_image(channel, f"{IMAGES}/{subject}_{number:04d}{ENDING}"))
        write_volume(task.folder / export.label_file, labels, export.reference)
        case.ways.append(How.WRITTEN)
        case.sheared = export.reference.is_sheared
    except _LeftOutError as error:
        change = Change(subject, error.volume.column, "", LEFT_OUT, error.reason)
        return Case(subject, changes=[change], left_out=True)
    return case


class _CaseExport:
    """The volumes of a case, scanned and compared with its grid. What is changed goes into `case`."""

    def __init__(self, task: Task, case: Case):
        self._task, self._case = task, case
        volumes = (*task.channels, task.target)
        self._paths = {volume.column: task.volumes.path(volume, case.subject) for volume in volumes}
        self._scans = {volume.column: self._scan(volume) for volume in volumes}
        self.reference = self._scans[self._reference_column()].lattice
        self._fits = {volume.column: self._fit(volume) for volume in volumes}
        self.label_file = f"{LABELS}/{case.subject}{ENDING}"

    def _scan(self, volume: Volume) -> Scanned:
        path = self._paths[volume.column]
        try:
            scanned = scan(path)
        except NiftiError as error:
            mend = "restore it again, or choose other subjects"
            raise Refusal.of(HEADLINE, str(error), mend, path=path, subject=self._case.subject) from error
        if reason := scanned.lattice.defect:
            raise _LeftOutError(volume, reason)
        return scanned

    def _reference_column(self) -> str:
        """Return the release's reference if it is a channel, for the others were registered to it; else the first."""
        columns, column = (
            [channel.column for channel in self._task.channels],
            self._task.volumes.release.reference.column,
        )
        return column if column in columns else columns[0]

    def _fit(self, volume: Volume) -> tuple[Fit, str]:
        fit, difference = self._scans[volume.column].lattice.fit(self.reference)
        if fit is Fit.OFF and not self._task.resample:
            raise _LeftOutError(volume, f"is on another grid: it {difference}")
        return fit, difference

    def labels(self) -> np.ndarray:
        """Return the target on the grid of the case, numbered as nnU-Net wants it: 0, 1, 2 and so on."""
        target = self._task.target
        lattice, (fit, difference) = self._scans[target.column].lattice, self._fits[target.column]
        try:
            labels, unusable = read_labels(self._paths[target.column], lattice, target.content)
        except NiftiError as error:
            raise _LeftOutError(target, str(error)) from error
        expected = (0, *target.expected_labels) if target.expected_labels else tuple(range(256))
        if unknown := sorted({*map(int, np.unique(labels))}.difference(expected)):
            raise _LeftOutError(target, f"has unexpected labels {', '.join(map(str, unknown))}")
        if unusable:
            detail = f"{counted(unusable, 'voxel')} NaN or infinite, now 0"
            self._note(target, self.label_file, REPLACED, detail, unusable)
        if fit is Fit.OFF:
            labels = resample(labels.astype(np.float64), lattice.affine, self.reference, target).astype(np.uint8)
            self._note(target, self.label_file, RESAMPLED, f"by the nearest voxel: it {difference}")
        if not labels.any():
            self._note(target, self.label_file, EMPTY, "every voxel is background")
        numbers = np.zeros(256, np.uint8)
        numbers[list(expected)] = range(len(expected))
        return numbers[labels]

    def write_image(self, volume: Volume, name: str) -> How:
        """Link the image, or write it: with the grid of the case, without unusable voxels, or resampled."""
        path, scanned = self._paths[volume.column], self._scans[volume.column]
        fit, difference = self._fits[volume.column]
        target = self._task.folder / name
        if fit is Fit.SAME and not scanned.unusable:
            return link(path, target)
        if scanned.unusable:
            detail = f"{counted(scanned.unusable, 'voxel')} NaN or infinite, now {volume.background:g}"
            self._note(volume, name, REPLACED, detail, scanned.unusable)
        if fit is Fit.OFF:
            values = read_voxels(path, scanned.lattice, lambda voxels: voxels, np.float64)
            values[~(np.abs(values) <= LARGEST)] = volume.background
            values = resample(values, scanned.lattice.affine, self.reference, volume)
            write_volume(target, values.astype(np.float32), self.reference)
            self._note(volume, name, RESAMPLED, f"trilinear: it {difference}")
            return How.WRITTEN
        if fit is Fit.ROUNDING:
            self._note(volume, name, EQUAL_GRID, difference)
        rewrite(path, target, volume, scanned.lattice, self.reference)
        return How.WRITTEN

    def _note(self, volume: Volume, file: str, change: str, detail: str, voxels: int = 0) -> None:
        self._case.changes.append(Change(self._case.subject, volume.column, file, change, detail, voxels))
