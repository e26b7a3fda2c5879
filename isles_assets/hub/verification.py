"""Checks that compare what is published with the publication. They return findings, and change nothing."""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from huggingface_hub import DatasetCard

from isles_assets.hub.changes import PUBLISH, REPORT_TO_HUB, RETURNS_OTHER_BYTES, differences
from isles_assets.hub.denials import denial_of
from isles_assets.hub.reading import digest_of, way_back
from isles_assets.hub.streaming import first_stored_row, rows_of, subject_rows
from isles_assets.hub.target import Target
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.progress import Progress, readable_bytes
from isles_assets.lib.secrets import without_secrets
from isles_assets.lib.threads import map_in_threads
from isles_assets.lib.words import counted
from isles_assets.products.config import CARD, SPLIT, Config
from isles_assets.products.features import features
from isles_assets.products.product import PublicationFile
from isles_assets.publication.card import data_files, dataset_info
from isles_assets.publication.publication import Publication
from isles_assets.reading.nifti import NiftiError, inspect
from isles_assets.release.volumes import Content
from isles_assets.tables.storage import SUBJECT_COLUMN

_LOG = logging.getLogger(__name__)

_STREAMS = 4
"""Number of files that are read back at a time."""

_FETCHED_TOGETHER = 1 << 26
"""Bytes of volumes that are fetched at a time. Reading them takes some three times that memory."""

_LARGEST_FOR_LIBRARY = 1 << 27
"""Bytes of voxels up to which `datasets` decodes a volume, too."""


def remote_matches_local(
    target: Target, publication: Publication, *, subjects: Collection[str] = (), log: Callable[[str], None] = _LOG.info
) -> list[Finding]:
    """Check that every published file has the size and digest of the local one, and that there are no other files.

    Reads every byte of a local target. The Hub states digests, so only the common files and those of `subjects` are
    read back from it. `log` gets the progress, and at the end what was compared.
    """
    stored = target.stored()
    findings = differences(publication, stored)
    files = [file for file in publication.files if file.path in stored and stored[file.path].matches(file)]
    size = sum(file.size for file in stored.values())
    summary = f"{counted(len(stored), 'file')}, {readable_bytes(size)}, read" if stored else "nothing is there"
    if target.states_digests:
        common = publication.dataset.common_files
        chosen = [file for file in files if file.path in common or PurePosixPath(file.path).stem in subjects]
        findings += _read_back(target, chosen, log)
        size = sum(file.size for file in chosen)
        back = f"{len(chosen)}, {readable_bytes(size)}, read back" if chosen else "none read back"
        summary = f"{counted(len(files), 'file')} compared with what the Hub states; {back}"
    log(f"{summary}; digest {publication.digest}")
    return findings


def _read_back(target: Target, files: Sequence[PublicationFile], log: Callable[[str], None]) -> Iterator[Finding]:
    """Yield a finding for each of `files` of which the target returns other bytes than it states."""
    revision = target.opened()
    progress = Progress(
        "file read back", len(files), log, size=sum(file.size for file in files), plural="files read back"
    )
    for file, digest in map_in_threads(lambda f: digest_of(revision.file(f.path, f.size)), files, _STREAMS):
        if isinstance(digest, Refusal):
            raise digest
        progress.advance(file.size)
        if digest != file.sha256:
            yield Finding(RETURNS_OTHER_BYTES, REPORT_TO_HUB, path=file.path)


def subjects_to_read(subjects: Sequence[str], read_back: str | int, after: int = 0) -> tuple[str, ...]:
    """Return the `subjects` whose files are read back.

    Args:
        read_back: `first`, `all`, or a number of subjects.
        after: A number of subjects skips the first `after`, and goes on from the start at the end of `subjects`.

    Raises:
        Refusal: `read_back` is anything else.
    """
    number = {"first": "1", "all": str(len(subjects))}.get(str(read_back), str(read_back))
    if not (number.isascii() and number.isdigit() and int(number)):
        problem, mend = f"is {read_back!r}, which names no subjects", "say first, all, or how many subjects, from 1"
        raise Refusal.of("Nothing was verified.", problem, mend, path="read_back")
    return tuple(subjects[(after + n) % len(subjects)] for n in range(min(int(number), len(subjects))))


def loads(target: Target, publication: Publication, *, decode: bool = True) -> list[Finding]:
    """Check that each split streams all columns and one row a subject, and that its first row decodes.

    Takes memory of some three times the largest compressed volume, and at least some hundred MB.

    Args:
        decode: Whether to fetch and decode volumes and pictures. Needless if these bytes were decoded before.

    Raises:
        Refusal: `datasets` cannot write to its cache on this disk.
    """
    sizes = _sizes_of_first_row(publication)

    def largest_volume(config: Config) -> int:
        return max((sizes.get(column, 0) for column in config.volumes), default=0)

    # The largest volume comes first: memory that the others leave with the allocators would come on top.
    found = {
        (config.name, split): list(
            _loads(target, config, split, publication, _column_groups(config, split, sizes) if decode else ())
        )
        for config in sorted(publication.dataset.configs, key=largest_volume, reverse=True)
        for split in config.splits
    }
    return [
        finding
        for config in publication.dataset.configs
        for split in config.splits
        for finding in found[config.name, split]
    ]


def _loads(
    target: Target, config: Config, split: str, publication: Publication, to_decode: Iterable[Sequence[str]]
) -> Iterator[Finding]:
    """Yield the findings on one split. The columns `to_decode` are fetched group by group."""
    name, options, column = config.name, target.load_options, ""
    try:
        dataset = rows_of(target.location, name, split, **options)
        if dataset.features != features(config):
            yield Finding("has other features than declared", PUBLISH, path=name)
        for columns in to_decode:
            row = first_stored_row(rows_of(target.location, name, split, columns=columns, **options))
            for column in columns:
                if row[column].null_count == 0:
                    _decode_fully(row[column], dataset.features[column])
                elif split == SPLIT and column in config.volumes:
                    yield Finding(f"has no {column} in its first row", PUBLISH, path=name)
        column = ""
        subjects = tuple(row[SUBJECT_COLUMN] for row in subject_rows(target.location, name, split, **options))
    except Refusal:  # a full disk here is no fault of the published dataset
        raise
    except Exception as error:  # any failure of a reader is a finding
        denial = denial_of(error)
        reason = str(denial) if denial else without_secrets(f"{type(error).__name__}: {error}")
        mend = way_back(denial) if denial else PUBLISH
        yield Finding(f"does not load: {f'{column}: ' if column else ''}{reason}", mend, path=_place(name, split))
        return
    if subjects != publication.subjects:
        problem = f"has {counted(len(subjects), 'row')} instead of {len(publication.subjects)}, one a subject"
        yield Finding(problem, PUBLISH, path=_place(name, split))


def _place(config: str, split: str) -> str:
    return config if split == SPLIT else f"{config}, split {split}"


def _column_groups(config: Config, split: str, sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Yield the columns in groups. The first row's volumes of a group fit into `_FETCHED_TOGETHER`.

    Args:
        sizes: Compressed bytes of the first row's volumes, which only `train` has, by column.
    """
    group: list[str] = []
    for column in config.columns_in(split).names:
        fetched = sum(sizes.get(name, 0) for name in (*group, column)) if split == SPLIT else 0
        if group and fetched > _FETCHED_TOGETHER:
            yield group
            group = []
        group.append(column)
    yield group


def _sizes_of_first_row(publication: Publication) -> dict[str, int]:
    """Return the compressed bytes of the first subject's volumes, by column."""
    first = publication.subjects[0]
    sidecars = [sidecar for sidecar in publication.sidecars if sidecar.subject == first]
    return {column: source.size for sidecar in sidecars for column, source in sidecar.sources.items()}


def _decode_fully(stored: pa.ChunkedArray, feature: Any) -> None:
    """Decode one `stored` volume or picture to its end. Raises what its reader raises for damage.

    `datasets` decompresses a whole volume at once, which may take gigabytes, so it decodes only small ones. Our own
    reader decodes all, in pieces.
    """
    import datasets

    if isinstance(feature, datasets.Nifti):
        decoded = inspect(pa.BufferReader(_bytes_of(stored)), Content.CT)
        if decoded.garbage:
            raise NiftiError(f"has {decoded.garbage} bytes after its end, at which the library stops")
        header = decoded.header
        if prod(header.shape) * np.dtype(header.dtype).itemsize <= _LARGEST_FOR_LIBRARY:
            feature.decode_example(stored[0].as_py()).dataobj[..., -1]
    elif isinstance(feature, datasets.Image):
        feature.decode_example(stored[0].as_py()).load()


def _bytes_of(stored: pa.ChunkedArray) -> pa.Buffer:
    """Return the bytes of one volume where they are; a scalar of Arrow would copy them."""
    values = stored.chunk(0).field("bytes")
    _, offsets, data = values.buffers()
    width = np.int64 if pa.types.is_large_binary(values.type) else np.int32
    start, end = np.frombuffer(offsets, width)[values.offset : values.offset + 2].tolist()
    return data.slice(start, end - start)


def card_valid(target: Target, publication: Publication) -> list[Finding]:
    """Check that the Hub's own classes can read the card, and that it states the features and counts of the shards."""
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs

    try:
        data = DatasetCard(target.card()).data
        stated = DatasetInfosDict.from_dataset_card_data(data)
        patterns = MetadataConfigs.from_dataset_card_data(data)
    except Refusal as refusal:
        return list(refusal.findings)
    except ValueError as error:
        return [Finding(str(error), PUBLISH, path=CARD)]
    findings = []
    for config in publication.dataset.configs:
        if stated.get(config.name) != dataset_info(config, publication.contents[config.name]):
            findings.append(Finding(f"states other features or sizes of {config.name} than it has", PUBLISH, path=CARD))
        if patterns.get(config.name, {}).get("data_files") != data_files(config):
            findings.append(Finding(f"names other files of {config.name} than are published", PUBLISH, path=CARD))
    return findings
