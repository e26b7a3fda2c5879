"""A published dataset as nnU-Net v2 trains on it: images, labels, `dataset.json` and splits.

Source:
    nnU-Net 2.8, documentation/dataset_format.md and nnunetv2.experiment_planning.verify_dataset_integrity.
"""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import isles_assets
from isles_assets.hub.reading import open_revision
from isles_assets.lib.csv_text import csv_text
from isles_assets.lib.findings import Finding, Refusal, name_some
from isles_assets.lib.progress import Progress
from isles_assets.lib.threads import map_in_threads
from isles_assets.lib.words import counted
from isles_assets.published.cases import (
    ENDING,
    EQUAL_GRID,
    IMAGES,
    LABELS,
    LEFT_OUT,
    Case,
    Change,
    Task,
    export_case,
)  # fmt: skip
from isles_assets.published.folder import MARK, check_free, json_text, whole_folder
from isles_assets.published.linking import How, describe
from isles_assets.published.source import HEADLINE, SAMPLE, Choice, obtain
from isles_assets.published.tables import read_folds
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume

NUMBER = 24
"""nnU-Net's number of the dataset, unless another one is chosen."""

SPLITS = "splits_final.json"
_DATASET_NAME = re.compile(r"Dataset\d{3}_\w+")
_CT_NORMALIZATION = "CT"
"""The name by which nnU-Net normalizes a channel as CT, by the intensities of all cases. It scales others case by case.

Source: nnunetv2/preprocessing/normalization/map_channel_name_to_normalization.py
"""

_READS_SHEARED = "NibabelIO"
_REPORT = ("case", "column", "file", "change", "detail", "voxels")


@dataclass(frozen=True)
class Options:
    """What nnU-Net is to learn, and from which channels."""

    target: str
    """Column of a mask."""
    channels: tuple[str, ...] = ()
    """Columns of registered volumes; empty for those of the first session."""
    number: int = NUMBER
    resample: bool = False
    """Whether a volume on another grid is resampled. Otherwise its subject is left out."""
    tables: str | None = None
    """Published dataset that the folds are taken from, if the volumes come from a tree."""


@dataclass
class Exported:
    """What was exported."""

    folder: Path
    cases: list[str] = field(default_factory=list)
    ways: Counter[How] = field(default_factory=Counter)
    changes: list[Change] = field(default_factory=list)
    sheared: bool = False
    """Whether a case has axes that are not perpendicular, so that nnU-Net's usual reader refuses it."""
    no_splits: str = ""
    """Why there are no splits; empty if there are."""
    outcomes: tuple[str, ...] = ()
    """Channels that are not known at admission."""

    @property
    def left_out(self) -> list[Change]:
        return [change for change in self.changes if change.change == LEFT_OUT]


def dataset_folder(release: Release, out: Path, number: int) -> Path:
    """Return the folder to make: `out` if its name is one of nnU-Net's, such as Dataset024_ISLES24; else one in it."""
    if _DATASET_NAME.fullmatch(out.name):
        return out
    return out / f"Dataset{number:03d}_{re.sub(r'[^A-Za-z0-9]', '', release.label)}"


def default_channels(release: Release) -> tuple[str, ...]:
    """Return the columns that nnU-Net can use and that are known with the reference: those of its session."""
    usable = (volume for volume in release.volumes if not _unfit(release, volume))
    return tuple(volume.column for volume in usable if volume.session == release.reference.session)


def masks(release: Release) -> tuple[str, ...]:
    """Return the columns that may be the target."""
    return tuple(v.column for v in release.volumes if v.content.is_mask and v.grid is Grid.COMMON)


def export_nnunet(
    release: Release, out: Path, choice: Choice, options: Options, log: Callable[[str], None]
) -> Exported:
    """Export subjects, channels and a target for nnU-Net v2, whole or not at all.

    Args:
        out: The folder nnUNet_raw, or that of the dataset in it.

    Raises:
        Refusal: A choice does not fit, a file is missing, damaged or in the way, or the disk is full.
    """
    channels, target = _chosen(release, options)
    exported = Exported(dataset_folder(release, out.absolute(), options.number))
    exported.outcomes = tuple(c.column for c in channels if c.session != release.reference.session)
    check_free(exported.folder, overwrite=choice.overwrite)
    _check_number(exported.folder)
    tables = open_revision(options.tables) if options.tables else None
    volumes = obtain(release, (*channels, target), exported.folder, choice, log)
    with whole_folder(exported.folder, overwrite=choice.overwrite) as new:
        task = Task(volumes, channels, target, options.resample, new)
        for case in _export_cases(task, choice.workers, log):
            exported.changes += case.changes
            if not case.left_out:
                exported.cases.append(case.subject)
                exported.ways += Counter(case.ways)
                exported.sheared |= case.sheared
        if not exported.cases:
            mend = "choose other channels, subjects or another target, or use --resample"
            findings = [Finding(f"{c.column} {c.detail}", mend, subject=c.case) for c in exported.left_out]
            raise Refusal(HEADLINE, findings)
        revision = volumes.revision or tables
        if revision:
            folds, exported.no_splits = read_folds(revision, exported.cases)
            splits = _splits(exported, folds) if folds else []
            if splits:
                (new / SPLITS).write_text(json_text(splits))
        else:
            exported.no_splits = "a restored tree has no folds; --tables names a dataset to take them from"
        (new / "dataset.json").write_text(json_text(_description(task, exported)))
        rows = [[getattr(change, name) for name in _REPORT] for change in exported.changes]
        (new / MARK).write_bytes(csv_text([_REPORT, *rows]).encode())
    return exported


def describe_export(release: Release, exported: Exported) -> list[str]:
    """Return what was exported and changed, line by line, for people."""
    cases, left_out = counted(len(exported.cases), "case"), counted(len(exported.left_out), "left out", "left out")
    lines = [f"{exported.folder}: {cases}, {left_out}", f"Images and labels: {describe(exported.ways)}"]
    lines += [f"  {change}" for change in exported.changes if change.change != EQUAL_GRID]
    if any("another grid" in change.detail for change in exported.left_out):
        lines.append("  --resample takes in what is on another grid")
    if rounding := sum(change.change == EQUAL_GRID for change in exported.changes):
        images = counted(rounding, "image differs", "images differ")
        grid = release.common_grid
        lines.append(f"  {images} from the grid of the {grid} by rounding, and got its header; {MARK} names them")
    if exported.outcomes:
        names = ", ".join(exported.outcomes)
        lines.append(f"NOT KNOWN AT ADMISSION: {names}. Use them to segment, never to predict.")
    if exported.no_splits:
        lines.append(f"No {SPLITS}: {exported.no_splits}. nnU-Net makes random splits.")
    else:
        place = f"$nnUNet_preprocessed/{exported.folder.name}/"
        lines.append(f"{SPLITS} holds the published folds. Copy it to {place} after planning: nnU-Net reads it there.")
    return lines


def _chosen(release: Release, options: Options) -> tuple[tuple[Volume, ...], Volume]:
    """Return channels and target. Raise `Refusal` for those that nnU-Net cannot use."""
    names = options.channels or default_channels(release)
    usable = name_some([volume.column for volume in release.volumes if not _unfit(release, volume)], 20)
    findings = []
    for name in names:
        volume = release.by_column.get(name)
        if problem := _unfit(release, volume) if volume else "is no volume of the release":
            findings.append(Finding(problem, f"choose channels among {usable}", path=name))
    if len(set(names)) < len(names):
        findings.append(Finding("are not all different", "name each channel once", path=" ".join(names)))
    if options.target not in masks(release):
        mend = f"choose the target among {name_some(masks(release))}"
        findings.append(Finding("is no mask of the release", mend, path=options.target))
    if findings:
        raise Refusal(HEADLINE, findings)
    return tuple(release.by_column[name] for name in names), release.by_column[options.target]


def _check_number(folder: Path) -> None:
    """Raise `Refusal` if another dataset beside `folder` has its number, because nnU-Net would then take neither."""
    number = folder.name[: len("Dataset000")]
    if others := sorted(path.name for path in folder.parent.glob(f"{number}_*") if path.name != folder.name):
        problem = f"has the number of {name_some(others)}, and nnU-Net would take neither"
        raise Refusal.of(HEADLINE, problem, "choose another one with --id, or in the name of OUT", path=folder)


def _unfit(release: Release, volume: Volume) -> str:
    """Return why a volume cannot be a channel; empty if it can."""
    if volume.content.is_mask:
        return "is a mask, and no image"
    if volume.dimensions != 3:
        return "is a series of frames, and nnU-Net takes volumes of three axes"
    if volume.grid is not Grid.COMMON:
        return f"is on a grid of its own, not registered to the {release.common_grid}"
    return ""


def _export_cases(task: Task, workers: int, log: Callable[[str], None]) -> list[Case]:
    """Write all cases, and return them in order. Raise `Refusal` for damaged files, after all were read."""
    subjects = task.volumes.subjects
    (task.folder / IMAGES).mkdir()
    (task.folder / LABELS).mkdir()
    progress, findings, cases = Progress("case", len(subjects), log), list[Finding](), dict[str, Case]()
    for subject, outcome in map_in_threads(partial(export_case, task), subjects, workers):
        if isinstance(outcome, Refusal):
            findings.extend(outcome.findings)
        else:
            cases[subject] = outcome
        progress.advance(0)
    if findings:
        raise Refusal(HEADLINE, sorted(findings, key=lambda finding: finding.path))
    return [cases[subject] for subject in subjects]


def _splits(exported: Exported, folds: dict[str, int]) -> list[dict[str, list[str]]]:
    """Return nnU-Net's splits by the folds of the cases; none, with the reason noted, if one would be empty."""
    numbers = range(max(1, *folds.values()) + 1)
    if bare := [str(number) for number in numbers if number not in folds.values()]:
        exported.no_splits = f"the chosen subjects leave fold {' and '.join(bare)} without a case"
        return []
    return [
        {
            "train": [case for case in exported.cases if folds[case] != number],
            "val": [case for case in exported.cases if folds[case] == number],
        }
        for number in numbers
    ]


def _description(task: Task, exported: Exported) -> dict[str, Any]:
    """Return the content of `dataset.json`. nnU-Net ignores keys that it does not know."""
    release, target = task.volumes.release, task.target
    names = [_CT_NORMALIZATION if channel.content is Content.CT else channel.column for channel in task.channels]
    sample = SAMPLE if task.volumes.synthetic else ""
    reader = {"overwrite_image_reader_writer": _READS_SHEARED} if exported.sheared else {}
    return {
        "channel_names": {str(number): name for number, name in enumerate(names)},
        "labels": _label_names(target),
        "numTraining": len(exported.cases),
        "file_ending": ENDING,
        **reader,
        "name": exported.folder.name,
        "description": f"{sample}{release.record.title}. Target: {target.description}",
        "reference": f"https://doi.org/{release.record.doi}",
        "licence": f"{release.record.license_name}, {release.record.license_url}",
        "release": release.version,
        "converted_by": f"isles-assets {isles_assets.__version__}",
        "source": task.volumes.name,
        "columns": [channel.column for channel in task.channels],
        "target": target.column,
    }


def _label_names(target: Volume) -> dict[str, int]:
    name = target.column.removesuffix("_mask")
    if not target.labels:
        return {"background": 0, name: 1}
    return {"background": 0, **{f"{name} {label}": number for number, label in enumerate(target.labels, start=1)}}
