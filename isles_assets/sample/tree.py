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

from isles_assets.lib.files import explained, sweep, temporary_beside
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.workers import each_in_processes
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
"""Modification time of every file, so that a tree made anew passes for the same one."""

MAP_AFFINE_ROUNDING = 1e-5
"""The maps' affines are off the NCCT's by at most this, elementwise."""

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
class _Order:
    """One subject to write; picklable. `lesion` is the mask file that gives NCCT grid and lesion, if any."""

    release: Release
    root: Path
    subject: str
    seed: int
    release_scale: bool
    lesion: Path | None


def make_sample(
    release: Release,
    root: Path,
    *,
    release_scale: Collection[str] = (),
    lesions: Mapping[str, Path] = MappingProxyType({}),
    seed: int = 2024,
    workers: int = 1,
) -> None:
    """Write a synthetic tree of `release` to `root`, which appears only when it is complete.

    What an archive of it would list is written beside it, before it appears.

    Subjects in `release_scale` have grids, data types and compressed sizes like the release's (about 0.7 GB and a
    minute each); all others are small (about 0.3 MB). `lesions` gives a subject a mask file (`.nii.gz`): its bytes
    become the lesion mask as they are, its grid the subject's NCCT grid. The same arguments give the same bytes and
    modification times. With `workers` > 1 subjects are written by that many spawned processes, for which the
    caller's main module must be importable.

    Raises Refusal, with nothing written, if `root` exists or an argument does not fit.
    """
    root = Path(root)
    findings = [*_misfits(release, release_scale, lesions)]
    if os.path.lexists(root):
        findings.append(Finding("exists already", "remove it or choose another folder", path=str(root)))
    if findings:
        raise Refusal(f"no sample made at {root}", findings)

    partial = temporary_beside(root)
    orders = [
        _Order(release, partial, subject, seed, subject in release_scale, lesions.get(subject))
        for subject in release.subjects
    ]
    # The long ones first, so that no worker is left with one at the end.
    orders.sort(key=lambda order: (not order.release_scale, order.lesion is None))
    with explained(root):
        root.parent.mkdir(parents=True, exist_ok=True)
        sweep(root.parent)
        try:
            listing: list[Member] = []
            if release.dictionary:
                _put(partial / release.dictionary.path, dictionary_bytes(release, release.dictionary))
                listing.append(_listed(partial, release.dictionary.path))
            for done, (subject, files) in enumerate(_write_all(orders, workers), start=1):
                listing += files
                if len(orders) <= 25 or done % 25 == 0 or done == len(orders):
                    _LOG.info("%d of %d subjects written, last %s", done, len(orders), subject)
            os.sync()
            write_own_listing(root, listing)
            partial.rename(root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _misfits(release: Release, release_scale: Collection[str], lesions: Mapping[str, Path]) -> Iterator[Finding]:
    for subject in sorted(set(release_scale).union(lesions).difference(release.subjects)):
        yield Finding("is not among the subjects to write", "add it to them or leave it out", subject=subject)
    for subject, path in lesions.items():
        try:
            fits = str(path).endswith(".nii.gz") and _open(path).ndim == 3
            problem = "" if fits else "is no three-dimensional .nii.gz"
        except (OSError, EOFError, ImageFileError, HeaderDataError) as error:
            problem = f"cannot be read as NIfTI: {error}"
        if problem:
            yield Finding(problem, "give the lesion mask's file", str(path), subject)


def _write_all(orders: Sequence[_Order], workers: int) -> Iterator[tuple[str, list[Member]]]:
    if workers <= 1 or len(orders) <= 1:
        yield from map(_write_subject, orders)
        return
    for _, outcome in each_in_processes(_write_subject, {order.subject: (order,) for order in orders}, workers):
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


def _write_subject(order: _Order) -> tuple[str, list[Member]]:
    """Write all files of one subject; its id, and what they are."""
    release, root, subject, seed = order.release, order.root, order.subject, order.seed
    ncct, lesion = _given(order.lesion) if order.lesion else (None, None)
    phantom = Phantom(subject, seed, release_scale=order.release_scale, ncct=ncct, lesion=lesion)
    for volume in release.volumes:
        path = root / volume.path(subject)
        if volume.column == _LESION and order.lesion:
            _put(path, order.lesion.read_bytes())
        else:
            _put_volume(path, phantom, volume, _encoding(volume, subject), _affine(volume, phantom, order))
    strays = [stray.path for stray in release.stray_files if release.subject_of(stray.path) == subject]
    for stray in strays:
        _put_volume(root / stray, phantom, release.by_column[_LESION], _UINT16, phantom.geometry.ncct.affine)
    for workbook in release.workbooks:
        _put(root / workbook.path(subject), workbook_bytes(release, workbook, subject, seed))
    return subject, [_listed(root, path) for path in (*release.subject_paths(subject), *strays)]


def _listed(root: Path, path: str) -> Member:
    """What the header of an archive would say of the file at `path`, as it was written."""
    with DigestingReader(root / path) as file:
        file.drain()
    return Member(path, file.size, file.crc32, file.status.mtime_ns, None)


def _open(path: Path) -> Nifti1Image:
    image = nib.load(path)
    if not isinstance(image, Nifti1Image):
        raise ImageFileError(f"{path.name} is no NIfTI-1 file")
    return image


def _given(path: Path) -> tuple[Lattice, Mask]:
    image = _open(path)
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


def _affine(volume: Volume, phantom: Phantom, order: _Order) -> NDArray[np.float64]:
    """The affine to state, (4, 4): another tool wrote the maps and rounded otherwise.

    Of an NCCT far from the origin every registered volume is rounded otherwise, by one step of float32.
    """
    affine = phantom.lattice(volume).affine.copy()
    if volume.content is Content.MAP:
        rng = stream(order.seed, order.subject, f"affine of {volume.column}")
        affine[:3] += rng.uniform(-MAP_AFFINE_ROUNDING, MAP_AFFINE_ROUNDING, (3, 4))
    if order.subject in peculiar.FAR and volume in order.release.registered:
        affine[2, 3] = np.nextafter(np.float32(phantom.geometry.ncct.affine[2, 3]), np.float32(0))
    return affine


def _put_volume(path: Path, phantom: Phantom, volume: Volume, encoding: Encoding, affine: NDArray[np.float64]) -> None:
    times = phantom.geometry.seconds
    # What resampled the CTP to the NCCT left no time between its frames in the header.
    between = float(times[1] - times[0]) if volume.grid is Grid.NATIVE else 0.0
    frame_seconds = between if volume.dimensions == 4 else None
    made = header(phantom.shape(volume), affine, encoding, frame_seconds=frame_seconds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, made, phantom.blocks(volume), encoding)
    os.utime(path, (FILE_TIME, FILE_TIME))


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (FILE_TIME, FILE_TIME))
