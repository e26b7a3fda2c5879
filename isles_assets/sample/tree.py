"""The synthetic tree, file by file."""

import logging
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from types import MappingProxyType

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import Nifti1Image
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from isles_assets.lib.files import DATA_DIR, remove_leftovers, temporary_beside, write_errors_refused
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.workers import map_in_processes
from isles_assets.reading.nifti import DigestingReader
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume
from isles_assets.sample import peculiar
from isles_assets.sample.anatomy import stream
from isles_assets.sample.clinical import WRITTEN, dictionary_bytes, workbook_bytes
from isles_assets.sample.grids import Lattice
from isles_assets.sample.nifti import FLOAT32, INT16, UINT8, Encoding, header, write
from isles_assets.sample.phantom import Mask, Phantom
from isles_assets.source.archive import Member
from isles_assets.source.listing import write_own_listing

FILE_TIME = WRITTEN.replace(tzinfo=UTC).timestamp()
"""Modification time of every file. So a tree that is made again counts as unchanged."""

MAP_AFFINE_ROUNDING = 1e-5
"""Largest difference between an element of a map's affine and of the NCCT's."""

_FLOAT64 = Encoding("<f8")
_UINT16 = Encoding("<u2")
_SCALED = Encoding("<u2", slope=1.5259e-05, stored_true=65535)
_QFORM_FLOAT64 = Encoding("<f8", qform_only=True)
_RESTORED = Encoding("<u2", gzip_level=6)
_OTHER_CIRCLE = Encoding("<i2", gzip_level=6)
_ENCODINGS = {
    Content.CT: INT16, Content.CT_SERIES: INT16, Content.MAP: FLOAT32, Content.MRI: FLOAT32,
    Content.MASK: UINT8, Content.LABELS: UINT8,
}  # fmt: skip
_LESION = "lesion_mask"

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One subject to write. Picklable."""

    release: Release
    root: Path
    subject: str
    seed: int
    release_scale: bool
    lesion: Path | None  # mask file that gives NCCT grid and lesion


def make_sample(
    release: Release,
    root: Path,
    *,
    setting: str = DATA_DIR,
    release_scale: Collection[str] = (),
    lesions: Mapping[str, Path] = MappingProxyType({}),
    seed: int = 2024,
    workers: int = 1,
) -> None:
    """Write a synthetic tree of `release` to `root`, which appears when it is complete, and its listing beside it.

    Equal arguments give equal bytes and modification times.

    Args:
        setting: The setting or argument that `root` comes from; a refusal names it.
        release_scale: Subjects with grids, data types and compressed sizes like the release's, about 0.7 GB and a
            minute each. All others have about 0.3 MB.
        lesions: Mask files (`.nii.gz`) by subject. Their bytes become the lesion mask, their grid the NCCT's.
        workers: Number of processes. More than one are spawned, so the caller's main module must be importable.

    Raises:
        Refusal: `root` exists, or an argument does not fit. Nothing is written.
    """
    root = Path(root)
    findings = [*_misfits(release, release_scale, lesions)]
    if os.path.lexists(root):
        findings.append(Finding("exists already", "remove it or choose another folder", path=str(root)))
    if findings:
        raise Refusal(f"No sample was made at {root}.", findings)

    partial = temporary_beside(root)
    jobs = [
        _Job(release, partial, subject, seed, subject in release_scale, lesions.get(subject))
        for subject in release.subjects
    ]
    # The long ones come first, so that no worker starts one at the end.
    jobs.sort(key=lambda job: (not job.release_scale, job.lesion is None))
    with write_errors_refused(root, setting):
        root.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(root.parent)
        try:
            listing: list[Member] = []
            if release.dictionary:
                _write_file(partial / release.dictionary.path, dictionary_bytes(release, release.dictionary))
                listing.append(_member(partial, release.dictionary.path))
            for done, (subject, members) in enumerate(_write_all(jobs, workers), start=1):
                listing += members
                if len(jobs) <= 25 or done % 25 == 0 or done == len(jobs):
                    _LOG.info("%d of %d subjects written, last %s", done, len(jobs), subject)
            os.sync()
            write_own_listing(root, listing)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _misfits(release: Release, release_scale: Collection[str], lesions: Mapping[str, Path]) -> Iterator[Finding]:
    """Yield findings on arguments that do not fit."""
    for subject in sorted(set(release_scale).union(lesions).difference(release.subjects)):
        yield Finding("is not among the subjects to write", "add it to them or leave it out", subject=subject)
    for subject, path in lesions.items():
        try:
            fits = str(path).endswith(".nii.gz") and _open_nifti(path).ndim == 3
            problem = "" if fits else "is no three-dimensional .nii.gz"
        except (OSError, EOFError, ImageFileError, HeaderDataError) as error:
            problem = f"cannot be read as NIfTI: {error}"
        if problem:
            yield Finding(problem, "give the lesion mask's file", str(path), subject)


def _write_all(jobs: Sequence[_Job], workers: int) -> Iterator[tuple[str, list[Member]]]:
    """Write all subjects. Yield each one's id and files when it is done."""
    if workers <= 1 or len(jobs) <= 1:
        yield from map(_write_subject, jobs)
        return
    for _, outcome in map_in_processes(_write_subject, {job.subject: (job,) for job in jobs}, workers):
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


def _write_subject(job: _Job) -> tuple[str, list[Member]]:
    """Write all files of one subject. Return its id and files."""
    release, root, subject, seed = job.release, job.root, job.subject, job.seed
    ncct, lesion = _read_lesion(job.lesion) if job.lesion else (None, None)
    phantom = Phantom(subject, seed, release_scale=job.release_scale, ncct=ncct, lesion=lesion)
    for volume in release.volumes:
        path = root / volume.path(subject)
        if volume.column == _LESION and job.lesion:
            _write_file(path, job.lesion.read_bytes())
        else:
            _write_volume(path, phantom, volume, _encoding(volume, subject), _affine(volume, phantom, job))
    strays = [stray.path for stray in release.stray_files if release.subject_of(stray.path) == subject]
    for stray in strays:
        _write_volume(root / stray, phantom, release.by_column[_LESION], _UINT16, phantom.geometry.ncct.affine)
    for workbook in release.workbooks:
        _write_file(root / workbook.path(subject), workbook_bytes(release, workbook, subject, seed))
    return subject, [_member(root, path) for path in (*release.subject_paths(subject), *strays)]


def _member(root: Path, path: str) -> Member:
    """Return how the header of an archive would list the file at `path`."""
    with DigestingReader(root / path) as file:
        file.drain()
    return Member(path, file.size, file.crc32, file.status.mtime_ns, None)


def _open_nifti(path: Path) -> Nifti1Image:
    image = nib.load(path)
    if not isinstance(image, Nifti1Image):
        raise ImageFileError(f"{path.name} is no NIfTI-1 file")
    return image


def _read_lesion(path: Path) -> tuple[Lattice, Mask]:
    """Return grid and voxels of a mask file."""
    image = _open_nifti(path)
    mask = np.asanyarray(image.dataobj) > 0.5
    columns, rows, slices = mask.shape
    return Lattice((columns, rows, slices), image.affine), np.asfortranarray(mask)


def _encoding(volume: Volume, subject: str) -> Encoding:
    if volume.content is Content.LABELS and subject in peculiar.OTHER_CIRCLE_GRID:
        return _OTHER_CIRCLE
    if volume.column != _LESION:
        return _ENCODINGS[volume.content]
    if subject in peculiar.RESTORED_LESION:
        return _RESTORED
    if subject in peculiar.SCALED_LESION:
        return _SCALED
    return _QFORM_FLOAT64 if subject in peculiar.QFORM_ONLY_LESION else _FLOAT64


def _affine(volume: Volume, phantom: Phantom, job: _Job) -> NDArray[np.float64]:
    """Return the affine for the volume's header, shape (4, 4).

    Another tool wrote the maps, with another rounding. If the NCCT is far from the origin, all registered volumes are
    off by one step of float32.
    """
    affine = phantom.lattice(volume).affine.copy()
    if volume.content is Content.MAP:
        rng = stream(job.seed, job.subject, f"affine of {volume.column}")
        affine[:3] += rng.uniform(-MAP_AFFINE_ROUNDING, MAP_AFFINE_ROUNDING, (3, 4))
    if job.subject in peculiar.FAR and volume in job.release.registered:
        affine[2, 3] = np.nextafter(np.float32(phantom.geometry.ncct.affine[2, 3]), np.float32(0))
    return affine


def _write_volume(
    path: Path, phantom: Phantom, volume: Volume, encoding: Encoding, affine: NDArray[np.float64]
) -> None:
    times = phantom.geometry.seconds
    # The tool that resampled the CTP to the NCCT dropped the time between frames from the header.
    interval = float(times[1] - times[0]) if volume.grid is Grid.NATIVE else 0.0
    frame_seconds = interval if volume.dimensions == 4 else None
    volume_header = header(phantom.shape(volume), affine, encoding, frame_seconds=frame_seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, volume_header, phantom.blocks(volume), encoding)
    os.utime(path, (FILE_TIME, FILE_TIME))


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (FILE_TIME, FILE_TIME))
