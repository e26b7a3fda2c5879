"""Properties of the volumes: of their headers, from the manifest, and of their voxels, from the shards' sidecars."""

import re
from collections.abc import Iterable, Iterator

from isles_assets.lib.findings import Finding, Materialize, name_some
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.products.sources import Source
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties.words import RESTORE
from isles_assets.publication.property import enforced
from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.release.problems import Problem
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.manifest import ROUNDING_MM, VolumeEntry

_LOOK = "look at it in a viewer; if it is the release's own, waive it"
_NOBODY = "make sure that it identifies nobody, then waive it"
_AS_IT_IS = "published as it is"


def _volumes_looked_at(evidence: Evidence) -> str:
    release = evidence.release
    return f"{len(list(_entries(evidence))):,} of {len(release.subjects) * len(release.volumes):,} volumes"


def _grids_looked_at(evidence: Evidence) -> str:
    column, registered = evidence.release.reference.column, evidence.release.registered
    compared, least = list[float](), list[float]()
    for row in evidence.manifest.values():
        reference = row.volumes[column]
        if reference is None:
            continue
        entries = (row.volumes[volume.column] for volume in registered)
        apart = [mm for entry in entries if entry and (mm := entry.corner_distance(reference)) is not None]
        compared += apart
        least += [min(reference.spacing) / 2] if apart and reference.spacing else []
    if not compared:
        return "no registered volume"
    return (
        f"corners of {len(compared):,} registered volumes; at most {max(compared):.2g} mm away; "
        f"the limit is half a voxel, {min(least):.3g} mm where they are finest"
    )


def _headers_looked_at(evidence: Evidence) -> str:
    types = sorted({str(entry.dtype) for _, _, entry in _entries(evidence) if not entry.fault})
    return f"{len(list(_entries(evidence))):,} headers; voxels are {', '.join(types) or 'unknown'}"


def _transforms_looked_at(evidence: Evidence) -> str:
    apart = [entry.qform_mm for _, _, entry in _entries(evidence) if entry.qform_mm is not None]
    usable = sum(not entry.transform for _, _, entry in _entries(evidence))
    words = f"{usable:,} affines that span space"
    if not apart:
        return words
    return f"{words}; {len(apart):,} have a second one, at most {max(apart):.2g} mm away; {ROUNDING_MM:g} is rounding"


def _text_looked_at(evidence: Evidence) -> str:
    texts = [text for _, _, entry in _entries(evidence) for text in entry.text or ()]
    return f"{len(texts):,} texts in {len(list(_entries(evidence))):,} headers"


def _decoded_looked_at(evidence: Evidence) -> str:
    decoded = [sidecar for sidecar in evidence.shards if sidecar.decoded]
    volumes = sum(len(sidecar.sources) for sidecar in decoded)
    return f"{len(decoded)} of {len(evidence.shards)} shards, {volumes:,} volumes"


def _labels_looked_at(evidence: Evidence) -> str:
    masks: dict[str, set[int]] = {}
    count = 0
    for _, volume, source in _sources(evidence):
        if source.voxels and volume.content.is_mask:
            masks.setdefault(volume.column, set()).update(source.voxels.labels)
            count += 1
    seen = "; ".join(f"{column} holds {_ranges(labels) or 'none'}" for column, labels in masks.items())
    return f"{count:,} masks; of labels {seen}" if masks else "no mask was decoded"


def _voxels_looked_at(evidence: Evidence) -> str:
    seen = [source.voxels.non_finite for _, _, source in _sources(evidence) if source.voxels]
    return f"{len(seen):,} volumes; {sum(seen):,} voxels of {sum(map(bool, seen))} are NaN or infinite"


def _ends_looked_at(evidence: Evidence) -> str:
    after = [source.surplus + source.trailing for _, _, source in _sources(evidence)]
    return f"{len(after):,} files to their ends; at most {max(after, default=0):,} bytes follow the voxels of one"


@enforced("subject_manifest", blocking=True, looked_at=_volumes_looked_at)
def all_modalities(evidence: Evidence) -> Iterator[Finding]:
    """Each of the {subjects} subjects has all {volumes} volumes."""
    for subject in evidence.release.subjects:
        row = evidence.manifest.get(subject)
        if row is None:
            yield Problem.VOLUME_MISSING.finding("is not in the manifest", RESTORE, subject=subject)
            continue
        for volume in evidence.release.volumes:
            if row.volumes[volume.column] is None:
                problem, path = f"has no {volume.column}", volume.path(subject)
                yield Problem.VOLUME_MISSING.finding(problem, RESTORE, path=path, subject=subject)


@enforced("subject_manifest", looked_at=_grids_looked_at)
def ncct_grid(evidence: Evidence) -> Iterator[Finding]:
    """Registered volumes lie on their subject's {common_grid} grid: same shape, corners less than half a voxel away."""
    release = evidence.release
    for subject, row in evidence.manifest.items():
        reference = row.volumes[release.reference.column]
        for entry in (row.volumes[volume.column] for volume in release.registered):
            if reference and entry and (difference := entry.grid_difference(reference)):
                off = difference.is_off
                kind, mend = (Problem.OFF_GRID, _LOOK) if off else (Problem.GRID_ROUNDING, _AS_IT_IS)
                problem = difference.describe(release.common_grid)
                yield kind.finding(
                    problem, mend, path=entry.path, subject=subject, found=difference.found if off else ""
                )


@enforced("subject_manifest", looked_at=_headers_looked_at)
def readable_headers(evidence: Evidence) -> Iterator[Finding]:
    """Every volume's header can be read and says what is expected: numeric voxels on three axes, four of a series."""
    for subject, volume, entry in _entries(evidence):
        if entry.fault:
            yield Problem.HEADER.finding(entry.fault, RESTORE, path=entry.path, subject=subject)
            continue
        shape = "x".join(map(str, entry.shape or ()))
        if not entry.fits(volume):
            problem = f"has shape {shape}, where {volume.dimensions} dimensions are expected"
            yield Problem.DIMENSIONS.finding(problem, _LOOK, path=entry.path, subject=subject, found=shape)
        if not entry.is_numeric:
            problem, found = f"stores voxels of type {entry.dtype}, which are not numbers", str(entry.dtype)
            yield Problem.VOXEL_TYPE.finding(problem, _LOOK, path=entry.path, subject=subject, found=found)


@enforced("subject_manifest", looked_at=_transforms_looked_at)
def usable_transforms(evidence: Evidence) -> Iterator[Finding]:
    """Every volume's affine spans space, and what else its header says of the grid agrees with it."""
    for subject, _, entry in _entries(evidence):
        for kind, problem, found in entry.transform_problems():
            mend = _AS_IT_IS if kind in (Problem.PIXDIM, Problem.TRANSFORMS_ROUNDING) else _LOOK
            yield kind.finding(problem, mend, path=entry.path, subject=subject, found=found)


@enforced("subject_manifest", looked_at=_text_looked_at)
def no_identifying_text(evidence: Evidence) -> Iterator[Finding]:
    """Free text in headers, extensions and gzip headers is nothing but that of known tools."""
    known = _known_text(evidence.release)
    for subject, _, entry in _entries(evidence):
        yield from _unknown_text(known, entry.text or (), entry.path, subject)
    named = [(entry.path, entry.gzip_name) for _, _, entry in _entries(evidence) if entry.gzip_name]
    if named:
        some = name_some([f"{name!r} in {path}" for path, name in named], 3)
        problem = f"volumes with another file name in their gzip header: {len(named)}, such as {some}"
        yield Problem.GZIP_NAME.finding(problem, _NOBODY, found=f"{len(named)} files {fingerprint(named)}")


@enforced("subject_shard", looked_at=_decoded_looked_at)
def volumes_decoded(evidence: Evidence) -> Iterator[Finding]:
    """Every volume that is packed was decoded: gzip CRC and length, header, grid and voxels."""
    for sidecar in evidence.shards:
        if not sidecar.decoded:
            mend, subject = Materialize(("subject_shard",), sidecar.subject), sidecar.subject
            yield Problem.NOT_DECODED.finding("was packed without decoding its volumes", mend, subject=subject)


@enforced("subject_shard", looked_at=_labels_looked_at)
def mask_labels(evidence: Evidence) -> Iterator[Finding]:
    """Masks hold nothing but 0 and the labels that are expected; others are counted and published as they are."""
    for subject, volume, source in _sources(evidence):
        if not (source.voxels and volume.content.is_mask):
            continue
        if source.voxels.no_labels:
            problem, found = f"holds {source.voxels.no_labels}", source.voxels.no_labels
            yield Problem.MASK_VALUES.finding(problem, _LOOK, path=source.path, subject=subject, found=found)
        if found := _unexpected(volume, source):
            problem = f"holds labels other than {_ranges(volume.expected_labels) or 'a few'}: {found}"
            yield Problem.LABELS.finding(problem, _LOOK, path=source.path, subject=subject, found=found)


@enforced("subject_shard", looked_at=_voxels_looked_at)
def finite_voxels(evidence: Evidence) -> Iterator[Finding]:
    """Voxels are finite; NaN and infinite ones are counted and published as they are."""
    for subject, _, source in _sources(evidence):
        if source.voxels and source.voxels.non_finite:
            problem = f"holds {source.voxels.non_finite} voxels that are NaN or infinite"
            yield Problem.NON_FINITE.finding(problem, _AS_IT_IS, path=source.path, subject=subject)


@enforced("subject_shard", looked_at=_ends_looked_at)
def nothing_appended(evidence: Evidence) -> Iterator[Finding]:
    """Nothing follows the last voxel, and no free text lies where the first bytes of a file do not show it."""
    known = _known_text(evidence.release)
    for subject, _, source in _sources(evidence):
        if source.surplus:
            problem, found = f"holds {source.surplus} bytes after its last voxel", f"{source.surplus} bytes"
            yield Problem.SURPLUS_DATA.finding(problem, _LOOK, path=source.path, subject=subject, found=found)
        if source.garbage:
            problem = f"has {source.garbage} bytes after its gzip stream, at which the datasets library stops"
            found = f"{source.garbage} bytes"
            yield Problem.TRAILING_GARBAGE.finding(problem, _LOOK, path=source.path, subject=subject, found=found)
        elif source.trailing:
            problem = f"has {source.trailing} zero bytes after the end of its gzip stream"
            yield Problem.TRAILING_BYTES.finding(problem, _AS_IT_IS, path=source.path, subject=subject)
        yield from _unknown_text(known, source.text, source.path, subject)


def _known_text(release: Release) -> re.Pattern[str]:
    return re.compile("|".join([*release.known_text, f"{re.escape(SYNTHETIC_MARK)}.*"]))


def _unknown_text(
    known: re.Pattern[str], texts: Iterable[dict[str, str]], path: str, subject: str
) -> Iterator[Finding]:
    """Yield a finding for each unknown text. A waiver names a digest of the text instead of the text."""
    for text in texts:
        if not known.fullmatch(text["text"]):
            problem, found = (
                f"{text['field']} says {text['text']!r:.300}",
                f"{text['field']} {fingerprint(text['text'])}",
            )
            yield Problem.TEXT.finding(problem, _NOBODY, path=path, subject=subject, found=found)


def _unexpected(volume: Volume, source: Source) -> str:
    """Return the unexpected labels as text; empty if there are none."""
    assert source.voxels
    if source.voxels.more_labels:
        return f"more than {len(source.voxels.labels)}"
    expected = volume.expected_labels
    labels = [label for label in source.voxels.labels if expected and label not in expected]
    return _ranges(labels)


def _ranges(labels: Iterable[int]) -> str:
    """Return whole numbers as people write them: 1-3, 7."""
    runs: list[list[int]] = []
    for label in sorted(labels):
        if runs and label == runs[-1][-1] + 1:
            runs[-1][1:] = [label]
        else:
            runs.append([label])
    return ", ".join("-".join(map(str, run)) for run in runs)


def _entries(evidence: Evidence) -> Iterator[tuple[str, Volume, VolumeEntry]]:
    """Yield every volume in the manifest, with its subject."""
    for subject, row in evidence.manifest.items():
        for volume in evidence.release.volumes:
            if entry := row.volumes[volume.column]:
                yield subject, volume, entry


def _sources(evidence: Evidence) -> Iterator[tuple[str, Volume, Source]]:
    """Yield every packed volume of the release, with its subject. Older shards may hold other volumes, too."""
    for sidecar in evidence.shards:
        for volume in evidence.release.volumes:
            if source := sidecar.sources.get(volume.column):
                yield sidecar.subject, volume, source
