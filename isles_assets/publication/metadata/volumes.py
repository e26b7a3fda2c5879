"""`metadata/volumes.csv`: every published volume, with its file in the release, its digests and its header."""

from collections.abc import Iterable, Iterator, Mapping

from isles_assets.lib.csv_text import Cell, csv_text
from isles_assets.products.sidecar import Sidecar
from isles_assets.products.sources import Voxels
from isles_assets.publication.waivers import Judgement
from isles_assets.release.release import Release
from isles_assets.tables.manifest import ManifestRow

HEADER = (
    *("subject_id", "column", "path", "size", "sha256", "crc32", "shape", "spacing_mm", "dtype"),
    *("labels", "non_finite", "findings"),
)


def volumes_csv(
    release: Release, shards: Mapping[str, Sidecar], manifest: Mapping[str, ManifestRow], judgement: Judgement
) -> str:
    """Return a line for each subject and volume: subjects sorted, volumes in the order of the release.

    Digests are those of the bytes that are published. A cell is empty if a header does not tell it, or if the volume
    was packed without decoding it. `labels` are the whole numbers in a mask besides 0; it is empty if there are too
    many of them to be labels. `findings` has the codes of what was found in this volume.

    Args:
        shards: Sidecars of the published shards, by subject.
        manifest: Rows of the published subjects, by subject.
    """
    return csv_text([HEADER, *_rows(release, shards, manifest, _codes(judgement))])


def _codes(judgement: Judgement) -> dict[tuple[str, str], set[str]]:
    """Return the codes of the findings by subject and path. Findings on several volumes have no path."""
    codes: dict[tuple[str, str], set[str]] = {}
    for finding, _, _ in judgement.levelled:
        codes.setdefault((finding.subject, finding.path), set()).add(finding.code)
    return codes


def _rows(
    release: Release,
    shards: Mapping[str, Sidecar],
    manifest: Mapping[str, ManifestRow],
    codes: Mapping[tuple[str, str], set[str]],
) -> Iterator[tuple[Cell, ...]]:
    for subject, sidecar in sorted(shards.items()):
        for volume in release.volumes:
            source, entry = sidecar.sources[volume.column], manifest[subject].entry(volume.column)
            yield (
                subject,
                volume.column,
                source.path,
                source.size,
                source.sha256,
                f"{source.crc32:08x}",
                _by(entry.shape),
                _by(entry.spacing),
                entry.dtype,
                _labels(source.voxels),
                source.voxels.non_finite if source.voxels else None,
                "|".join(sorted(codes.get((subject, source.path), ()))),
            )


def _by(numbers: Iterable[float] | None) -> str:
    """Return the numbers with the seven digits that a header has."""
    return "x".join(f"{number:.7g}" for number in numbers or ())


def _labels(voxels: Voxels | None) -> str:
    return "" if voxels is None or voxels.more_labels else "|".join(map(str, voxels.labels))
