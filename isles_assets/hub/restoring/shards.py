"""Locating the selected volumes and clinical values in the published shards, from their footers alone."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

import pyarrow.parquet as pq

from isles_assets.hub.reading import RemoteFile, Revision, SeekableFile, Unavailable
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.parquet import read_footer, read_values, value_places
from isles_assets.lib.threads import map_in_threads
from isles_assets.lib.words import counted
from isles_assets.products.config import MAIN_CONFIG, Config
from isles_assets.products.shard.footer import ShardFooter, parse_footer
from isles_assets.products.shard.product import shard_configs
from isles_assets.reading.workbooks import Value
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.clinical import clinical_fields

_SHA256 = re.compile("[0-9a-f]{64}")
_PUBLISHER = "name another revision, or tell the publisher"


@dataclass(frozen=True)
class Selection:
    """What to restore of each subject of `release`."""

    release: Release
    volumes: Sequence[Volume]
    clinical: bool
    """Whether the clinical values are selected, too."""

    @property
    def configs(self) -> list[Config]:
        """The configs that hold any of it."""
        return [config for config in shard_configs(self.release) if self.volumes_of(config) or self.clinical_of(config)]

    def volumes_of(self, config: Config) -> list[Volume]:
        return [volume for volume in self.volumes if volume.column in config.volumes]

    def clinical_of(self, config: Config) -> bool:
        return self.clinical and config.name == MAIN_CONFIG


@dataclass(frozen=True)
class PackedVolume:
    """A volume's `size` bytes from `offset` on in a shard."""

    subject: str
    path: str
    """Where it lies in the release's tree."""
    file: RemoteFile
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """The selected content of one shard, and findings of selected content that is missing or wrong."""

    subject: str
    footer: ShardFooter
    volumes: tuple[PackedVolume, ...]
    clinical: Mapping[str, Value] | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ShardIndex:
    """The selected content of the shards of `subjects`."""

    subjects: tuple[str, ...]
    shards: tuple[Shard, ...]
    """The shards that could be read."""
    findings: tuple[Finding, ...]
    """What is wrong with shards."""

    @property
    def volumes(self) -> list[PackedVolume]:
        return [volume for shard in self.shards for volume in shard.volumes]

    @property
    def clinical(self) -> dict[str, Mapping[str, Value]]:
        """Clinical values by subject, of shards that could be read."""
        return {shard.subject: shard.clinical for shard in self.shards if shard.clinical is not None}


def index_shards(
    revision: Revision, selection: Selection, subjects: Sequence[str] | None, workers: int, log: Callable[[str], None]
) -> ShardIndex:
    """Read the footers of the shards of `subjects` (None: all that are published), `workers` at a time.

    Raises:
        Refusal: The revision is no dataset of isles-assets, or lacks one of `subjects`.
        Unavailable: The revision cannot be read.
    """
    names = {
        config.path(subject): (config, subject)
        for subject in selection.release.subjects
        for config in selection.configs
    }
    files = revision.find(list(names))
    if not files:
        problem = f"holds no {' or '.join(config.pattern for config in selection.configs)}"
        mend = "name a dataset that isles-assets published"
        raise Refusal.of("This is another dataset.", problem, mend, path=revision.name)
    published = dict.fromkeys(subject for path, (_, subject) in names.items() if path in files)
    if absent := [subject for subject in subjects or () if subject not in published]:
        mend = f"choose among the {len(published)} that are"
        unknown = [Finding("is not in this dataset", mend, subject=subject) for subject in absent]
        raise Refusal("Nothing was restored.", unknown)
    chosen = [subject for subject in published if subjects is None or subject in subjects]
    paths = [path for path, (_, subject) in names.items() if subject in chosen]
    findings = [
        Finding("is not there", _PUBLISHER, path=path, subject=names[path][1]) for path in paths if path not in files
    ]
    shards: dict[str, Shard] = {}
    log(f"Reading the footers of {counted(len(paths), 'shard')}")
    read = partial(_read_shard, selection, files, names)
    for path, outcome in map_in_threads(read, [path for path in paths if path in files], workers):
        if isinstance(outcome, Unavailable):
            raise outcome
        findings.extend(outcome.findings)
        if isinstance(outcome, Shard):
            shards[path] = outcome
    return ShardIndex(tuple(chosen), tuple(shards[path] for path in paths if path in shards), tuple(findings))


def _read_shard(
    selection: Selection, files: Mapping[str, RemoteFile], names: Mapping[str, tuple[Config, str]], path: str
) -> Shard:
    """Read the selected content of the shard at `path` in the repo. Raises `Refusal` if it is no shard."""
    file, (config, subject) = files[path], names[path]
    # Bytes at its end that most likely hold its footer and clinical values. The rest, if any, takes another request.
    tail = 512 + 200 * (len(config.schema) + len(config.volumes))
    source = cast(BinaryIO, SeekableFile(file, tail))
    try:
        parquet = read_footer(source)
        footer = parse_footer(parquet.metadata)
        located = [_locate(file, parquet, footer, subject, volume) for volume in selection.volumes_of(config)]
        clinical = _clinical(source, parquet, selection.release) if selection.clinical_of(config) else None
    except (ValueError, OSError) as error:  # pyarrow raises both for bad content; a failed read raises `Refusal`
        headline = "A shard could not be read."
        raise Refusal.of(headline, str(error), _PUBLISHER, path=path, subject=subject) from error
    volumes = tuple(volume for volume in located if isinstance(volume, PackedVolume))
    findings = tuple(finding for finding in located if isinstance(finding, Finding))
    return Shard(subject, footer, volumes, clinical, findings)


def _locate(
    file: RemoteFile, parquet: pq.FileMetaData, footer: ShardFooter, subject: str, volume: Volume
) -> PackedVolume | Finding:
    """Return where `volume` lies in the shard. Everything that the shard states is checked, above all the path."""
    path, source = volume.path(subject), footer.sources.get(volume.column)
    finding = partial(Finding, mend=_PUBLISHER, path=path, subject=subject)
    if source is None:
        return finding("is not in its shard")
    if source.path != path:
        return finding(f"has another path in its shard: {source.path!r}")
    if not _SHA256.fullmatch(source.sha256):
        return finding(f"has no SHA-256 in its shard but {source.sha256[:99]!r}")
    try:
        (place,) = value_places(parquet, {f"{volume.column}.bytes": source.size}).values()
    except ValueError as error:
        return finding(f"is not where its shard says: {error}")
    if place.offset < 0 or place.offset + place.size > file.size:
        return finding("is not where its shard says: that is beyond its end")
    return PackedVolume(subject, path, file, place.offset, place.size, source.sha256)


def _clinical(source: BinaryIO, parquet: pq.FileMetaData, release: Release) -> Mapping[str, Value]:
    """Return the clinical values of the shard's only row. Raises `ValueError` or `OSError` for other content."""
    fields = clinical_fields(release)
    schema = parquet.schema.to_arrow_schema()
    if any([schema.field(i) for i in schema.get_all_field_indices(field.name)] != [field] for field in fields):
        raise ValueError(f"does not hold one row of the {len(fields)} clinical variables")
    return read_values(source, parquet, fields)
