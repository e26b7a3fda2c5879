"""What the published shards hold of the subjects and volumes that are wanted, from their footers alone."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, cast

import pyarrow.parquet as pq

from isles_assets.hub.reading import RemoteFile, Revision, SeekableFile, Unavailable
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.parquet import read_footer, read_values, value_places
from isles_assets.lib.threads import each_in_threads
from isles_assets.lib.words import counted
from isles_assets.products.config import Config
from isles_assets.products.shard.footer import ShardFooter, parse_footer
from isles_assets.products.shard.product import MAIN_CONFIG, shard_configs
from isles_assets.reading.workbooks import Value
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.clinical import clinical_fields

_SHA256 = re.compile("[0-9a-f]{64}")
_PUBLISHER = "name another revision, or tell the publisher"


@dataclass(frozen=True)
class Wanted:
    """What is to be restored of each subject of `release`: `volumes`, and the clinical values or not."""

    release: Release
    volumes: Sequence[Volume]
    clinical: bool

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
    """A volume in a shard: `size` bytes from `offset` of `file` on, whose path in the release's tree is `path`."""

    subject: str
    path: str
    file: RemoteFile
    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """What is wanted of one shard. `findings` are of what it should hold and does not, or not as it should be."""

    subject: str
    footer: ShardFooter
    volumes: tuple[PackedVolume, ...]
    clinical: Mapping[str, Value] | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Holdings:
    """The shards that could be read, by path in the repo, of `subjects`; and what is wrong with others."""

    subjects: tuple[str, ...]
    shards: tuple[Shard, ...]
    findings: tuple[Finding, ...]

    @property
    def volumes(self) -> list[PackedVolume]:
        return [volume for shard in self.shards for volume in shard.volumes]

    @property
    def clinical(self) -> dict[str, Mapping[str, Value]]:
        """The clinical values by subject, for those whose shard could be read."""
        return {shard.subject: shard.clinical for shard in self.shards if shard.clinical is not None}


def take_stock(
    revision: Revision, wanted: Wanted, subjects: Sequence[str] | None, workers: int, log: Callable[[str], None]
) -> Holdings:
    """Read the footers of the shards of `subjects` (None: of all that are there), `workers` at a time.

    Raises `Refusal` if the revision is no such dataset or does not hold a subject, `Unavailable` if it cannot be read.
    """
    names = {
        config.path(subject): (config, subject) for subject in wanted.release.subjects for config in wanted.configs
    }
    found = revision.find(list(names))
    if not found:
        problem = f"holds no {' or '.join(config.pattern for config in wanted.configs)}"
        mend = "name a dataset that isles-assets published"
        raise Refusal.of("This is another dataset.", problem, mend, path=revision.name)
    there = dict.fromkeys(subject for path, (_, subject) in names.items() if path in found)
    if absent := [subject for subject in subjects or () if subject not in there]:
        mend = f"choose among the {len(there)} that are"
        unknown = [Finding("is not in this dataset", mend, subject=subject) for subject in absent]
        raise Refusal("Nothing was restored.", unknown)
    chosen = [subject for subject in there if subjects is None or subject in subjects]
    paths = [path for path, (_, subject) in names.items() if subject in chosen]
    findings = [
        Finding("is not there", _PUBLISHER, path=path, subject=names[path][1]) for path in paths if path not in found
    ]
    shards: dict[str, Shard] = {}
    log(f"Looking into {counted(len(paths), 'shard')}")
    read = partial(_read_shard, wanted, found, names)
    for path, outcome in each_in_threads(read, [path for path in paths if path in found], workers):
        if isinstance(outcome, Unavailable):
            raise outcome
        findings.extend(outcome.findings)
        if isinstance(outcome, Shard):
            shards[path] = outcome
    return Holdings(tuple(chosen), tuple(shards[path] for path in paths if path in shards), tuple(findings))


def _read_shard(
    wanted: Wanted, files: Mapping[str, RemoteFile], names: Mapping[str, tuple[Config, str]], path: str
) -> Shard:
    """What is wanted of the shard at `path` in the repo. Raises `Refusal` if it is none."""
    file, (config, subject) = files[path], names[path]
    # Bytes at its end that hold its footer and clinical values, most likely; what more there is follows.
    tail = 512 + 200 * (len(config.schema) + len(config.volumes))
    source = cast(BinaryIO, SeekableFile(file, tail))
    try:
        footer = read_footer(source)
        said = parse_footer(footer.metadata)
        located = [_locate(file, footer, said, subject, volume) for volume in wanted.volumes_of(config)]
        clinical = _clinical(source, footer, wanted.release) if wanted.clinical_of(config) else None
    except (ValueError, OSError) as error:  # pyarrow's of bad content; those of reading are a Refusal
        headline = "A shard is not what it should be."
        raise Refusal.of(headline, str(error), _PUBLISHER, path=path, subject=subject) from error
    volumes = tuple(volume for volume in located if isinstance(volume, PackedVolume))
    return Shard(subject, said, volumes, clinical, tuple(found for found in located if isinstance(found, Finding)))


def _locate(
    file: RemoteFile, footer: pq.FileMetaData, said: ShardFooter, subject: str, volume: Volume
) -> PackedVolume | Finding:
    """Where `volume` lies in the shard, of which nothing is believed that cannot be checked, least of all a path."""
    path, source = volume.path(subject), said.sources.get(volume.column)
    finding = partial(Finding, mend=_PUBLISHER, path=path, subject=subject)
    if source is None:
        return finding("is not in its shard")
    if source.path != path:
        return finding(f"has another path in its shard: {source.path!r}")
    if not _SHA256.fullmatch(source.sha256):
        return finding(f"has no SHA-256 in its shard but {source.sha256[:99]!r}")
    try:
        (place,) = value_places(footer, {f"{volume.column}.bytes": source.size}).values()
    except ValueError as error:
        return finding(f"is not where its shard says: {error}")
    if place.offset < 0 or place.offset + place.size > file.size:
        return finding("is not where its shard says: that is beyond its end")
    return PackedVolume(subject, path, file, place.offset, place.size, source.sha256)


def _clinical(source: BinaryIO, footer: pq.FileMetaData, release: Release) -> Mapping[str, Value]:
    """The clinical values of the shard's only row. Raises `ValueError` or `OSError` if there is another content."""
    fields = clinical_fields(release)
    schema = footer.schema.to_arrow_schema()
    if any([schema.field(i) for i in schema.get_all_field_indices(field.name)] != [field] for field in fields):
        raise ValueError(f"does not hold one row of the {len(fields)} clinical variables")
    return read_values(source, footer, fields)
