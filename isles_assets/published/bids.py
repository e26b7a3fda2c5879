"""A published dataset in the folders and names of BIDS: raw images, derivatives, participants.

BIDS knows no CT. Images made of CT are named by the draft BEP024, in folders `ct` that `.bidsignore` lists. All volumes
are the release's own files; none is changed.

Source:
    BIDS specification 1.10, https://bids.neuroimaging.io/bep024.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

import isles_assets
from isles_assets.hub.reading import open_revision
from isles_assets.lib.csv_text import csv_text
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress
from isles_assets.lib.threads import map_in_threads
from isles_assets.lib.words import counted
from isles_assets.published.folder import BIDS_MARK, check_free, json_text, whole_folder
from isles_assets.published.linking import How, describe, link
from isles_assets.published.participants import write_participants
from isles_assets.published.source import HEADLINE, SAMPLE, Choice, Volumes, obtain
from isles_assets.published.tables import read_clinical
from isles_assets.published.voxels import read_voxels, scan
from isles_assets.reading.nifti import NiftiError
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume

VERSION = "1.10.0"
"""Version of BIDS."""

_CT_FOLDER = "ct"
_IGNORED = f"# BIDS knows no CT; these folders follow the draft BEP024.\n**/{_CT_FOLDER}\n**/{_CT_FOLDER}/**\n"
_RAW = "raw"
_AUTHORS = re.compile(r"author\s*=\s*\{(.*?)\},?\n", re.DOTALL)
_BONE, _LEAST_BONE = 300.0, 100
"""HU from which a voxel of the NCCT is bone, and the fewest of them that tell anything."""

_STRIPPED = 0.99
"""Part of the bone that is exactly 0 in an image without skull."""


@dataclass(frozen=True)
class Place:
    """Where a volume of a subject goes."""

    folder: str
    """Folder in the dataset; empty for the raw one."""
    path: str
    """Path in that folder, without `.nii.gz`."""


@dataclass
class Exported:
    """What was exported."""

    folder: Path
    subjects: tuple[str, ...] = ()
    ways: Counter[How] = field(default_factory=Counter)
    variables: int = 0
    no_variables: str = ""
    """Why participants have no clinical variables; empty if they have."""


def export_bids(
    release: Release,
    out: Path,
    choice: Choice,
    columns: Sequence[str] | None,
    tables: str | None,
    log: Callable[[str], None],
) -> Exported:
    """Export volumes and clinical variables as BIDS, whole or not at all.

    Args:
        columns: Volumes to export; None for all. The reference of registered ones comes with them.
        tables: Published dataset that the clinical variables are taken from, if the volumes come from a tree.

    Raises:
        Refusal: A choice does not fit, a file is missing, damaged or in the way, or the disk is full.
    """
    chosen = _chosen(release, columns)
    exported = Exported(out.absolute())
    check_free(exported.folder, overwrite=choice.overwrite)
    of_tables = open_revision(tables) if tables else None
    volumes = obtain(release, chosen, exported.folder, choice, log)
    exported.subjects = volumes.subjects
    revision, clinical = volumes.revision or of_tables, None
    if revision:
        clinical = read_clinical(release, revision, volumes.subjects, choice.workers, log)
        exported.variables = len(release.variables)
    else:
        exported.no_variables = "a restored tree has none; --tables names a dataset to take them from"
    with whole_folder(exported.folder, overwrite=choice.overwrite) as new:
        rows = []
        for files in _export_subjects(volumes, chosen, new, choice.workers, log):
            exported.ways += Counter(file.how for file in files)
            rows += [(file.path, file.column, file.source) for file in files]
        report = csv_text([("file", "column", "file_of_release"), *sorted(rows)])
        (new / BIDS_MARK).parent.mkdir()
        (new / BIDS_MARK).write_bytes(report.encode())
        _write_descriptions(volumes, new)
        write_participants(release, volumes.subjects, clinical, new)
    return exported


def describe_export(exported: Exported) -> list[str]:
    """Return what was exported, line by line, for people."""
    variables = counted(exported.variables, "clinical variable") if exported.variables else "no clinical variables"
    reason = f": {exported.no_variables}" if exported.no_variables else ""
    return [
        f"{exported.folder}: {counted(len(exported.subjects), 'participant')}, {variables}{reason}",
        f"Volumes: {describe(exported.ways)}",
        "BIDS knows no CT: the folders ct follow the draft BEP024, and .bidsignore lists them.",
    ]


def place_of(release: Release, volume: Volume, subject: str) -> Place:
    """Return where `volume` of `subject` goes. Perfusion maps are derivatives, wherever the release has them."""
    datatype, _, name = volume.bids.partition("/")
    raw = volume.top == release.reference.top and volume.content is not Content.MAP
    path = PurePosixPath(subject, volume.session, datatype, f"{subject}_{volume.session}_{name}")
    return Place("" if raw else f"derivatives/{release.name}", str(path))


def _chosen(release: Release, columns: Sequence[str] | None) -> tuple[Volume, ...]:
    names = set(release.by_column if columns is None else columns)
    if any(release.by_column[name].grid is Grid.COMMON for name in names):
        names.add(release.reference.column)
    chosen = tuple(volume for volume in release.volumes if volume.column in names)
    mend = "choose other volumes"
    if nameless := [Finding("has no name in BIDS", mend, path=v.column) for v in chosen if not v.bids]:
        raise Refusal(HEADLINE, nameless)
    return chosen


@dataclass(frozen=True)
class _File:
    path: str
    column: str
    source: str
    how: How


def _export_subjects(
    volumes: Volumes, chosen: Sequence[Volume], new: Path, workers: int, log: Callable[[str], None]
) -> Iterator[list[_File]]:
    """Link the volumes of all subjects below `new`, and write their sidecars. Yield the files of each subject."""
    progress = Progress("subject", len(volumes.subjects), log)
    export = partial(_export_subject, volumes, chosen, new)
    for _, outcome in map_in_threads(export, volumes.subjects, workers):
        if isinstance(outcome, Refusal):
            raise outcome
        progress.advance(0)
        yield outcome


def _export_subject(volumes: Volumes, chosen: Sequence[Volume], new: Path, subject: str) -> list[_File]:
    files = []
    for volume in chosen:
        place = place_of(volumes.release, volume, subject)
        path = PurePosixPath(place.folder, f"{place.path}.nii.gz")
        how = link(volumes.path(volume, subject), new / path)
        sidecar = _sidecar(volumes, volume, subject)
        (new / place.folder / f"{place.path}.json").write_text(json_text(sidecar))
        files.append(_File(str(path), volume.column, volume.path(subject), how))
    return files


def _sidecar(volumes: Volumes, volume: Volume, subject: str) -> dict[str, Any]:
    """Return what is known of a volume. How it was acquired is not."""
    release = volumes.release
    place = place_of(release, volume, subject)
    content: dict[str, Any] = {"Description": volume.description}
    if not place.folder:
        return content
    if volume.grid is Grid.COMMON:
        reference = place_of(release, release.reference, subject)
        content["SpatialReference"] = f"bids:{_RAW}:{reference.path}.nii.gz"
    if volume.content is Content.MASK:
        content["Type"] = "Lesion" if "lesion" in volume.column else "ROI"
    if volume.content is Content.MRI:
        content["SkullStripped"] = _is_stripped(volumes, volume, subject)
    return content


def _is_stripped(volumes: Volumes, volume: Volume, subject: str) -> bool:
    """Return whether an image is exactly 0 in nearly all bone of the slices that it covers.

    False also if the volumes cannot be compared. Raises `Refusal` for a damaged file.
    """
    reference = volumes.release.reference
    ct, image = (volumes.path(of, subject) for of in (reference, volume))
    try:
        of_ct, of_image = scan(ct).lattice, scan(image).lattice
    except NiftiError as error:
        mend = "restore it again, or choose other volumes"
        raise Refusal.of(HEADLINE, str(error), mend, path=f"{ct.name} or {image.name}", subject=subject) from error
    if of_ct.defect or of_image.defect or of_ct.shape != of_image.shape:
        return False
    bone = read_voxels(ct, of_ct, lambda voxels: voxels > _BONE, np.bool_)
    signal = read_voxels(image, of_image, lambda voxels: voxels != 0, np.bool_)
    in_bone = signal[bone & signal.any(axis=(0, 1))]
    return bool(in_bone.size >= _LEAST_BONE and np.count_nonzero(~in_bone) >= _STRIPPED * in_bone.size)


def _write_descriptions(volumes: Volumes, new: Path) -> None:
    """Write `dataset_description.json`, README and `.bidsignore` of the raw dataset and of the derivatives."""
    release, record = volumes.release, volumes.release.record
    sample = SAMPLE if volumes.synthetic else ""
    common = {
        "BIDSVersion": VERSION,
        "License": f"{record.license_name} ({record.license_url})",
        "Authors": _authors(release),
        "ReferencesAndLinks": [record.url],
        "GeneratedBy": [{"Name": "isles-assets", "Version": isles_assets.__version__}],
        "SourceDatasets": [{"DOI": f"doi:{record.doi}", "URL": record.url, "Version": release.version}],
    }
    raw = {"Name": f"{sample}{record.title}", "DatasetType": "raw", **common}
    derived = {
        "Name": f"{sample}{record.title}: derivatives",
        "DatasetType": "derivative",
        "DatasetLinks": {_RAW: "../.."},
        **common,
    }
    text = _readme(volumes)
    for folder, description in ((new, raw), (new / "derivatives" / release.name, derived)):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dataset_description.json").write_text(json_text(description))
        (folder / "README.md").write_text(text)
        (folder / ".bidsignore").write_text(_IGNORED)


def _authors(release: Release) -> list[str]:
    """Return the authors of the first citation."""
    found = _AUTHORS.search(release.citations[0].bibtex) if release.citations else None
    names = " ".join(found[1].split()).replace("{", "").replace("}", "").split(" and ") if found else []
    return [name for name in names if name != "others"]


def _readme(volumes: Volumes) -> str:
    release = volumes.release
    sample = f"**{SAMPLE.strip()}**\n\n" if volumes.synthetic else ""
    return f"""# {release.record.title}

{sample}{release.label} {release.version} ({release.record.url}) in the folders and names of BIDS, made from
`{volumes.name}` by isles-assets {isles_assets.__version__}.

- Every volume is the release's own file, byte for byte. `{BIDS_MARK}` says which.
- BIDS {VERSION} knows no CT. Images made of CT lie in folders `ct` and are named by the draft BEP024
  (https://bids.neuroimaging.io/bep024). `.bidsignore` lists these folders, so validators pass over them.
- `acq-` says which CT it is; `space-ncct` means the grid of the non-contrast CT of the same subject.
- Perfusion maps are derivatives. Those without `space-` are on the grid of the CT perfusion series.
- Compare masks with 0.5, not with 1: in some subjects the mask decodes to 0.99999857.
- `trace` is BIDS's name for one diffusion-weighted volume without b-values. The release does not say how it was made.
- `SkullStripped` is measured: true if at least {_STRIPPED:.0%} of the bone in the CT is exactly 0 in the image.
- Sidecars hold what the release or its files say. How images were acquired is not known.
- `participants.json` says of each variable whether it is known at admission. Outcomes must not serve as input.

Licence: {release.record.license_name}, {release.record.license_url}
"""
