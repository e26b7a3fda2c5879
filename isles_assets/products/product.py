"""`Product`: the base class of all products. Each product has its own folder, and is listed in `registry`.

A product defines its name, configs, sources, how to build its files, and how to describe them. The asset, its version,
staleness, publication, card and freeing follow from that.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from isles_assets.lib.files import FileStatus, sha256_of
from isles_assets.lib.fingerprint import fingerprint
from isles_assets.products.column import Column, subject_column, variable_column
from isles_assets.products.config import SPLIT, Config
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import Source, check_entry, read_source
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow


@dataclass(frozen=True)
class Build:
    """The inputs that a build needs beside the manifest's rows."""

    root: Path
    """The tree."""
    folder: DataFolder
    schemas: Mapping[str, pa.Schema]
    """Annotated schemas by config."""
    decode: bool = True
    """Whether to decode the volumes even if the product could do without."""


@dataclass(frozen=True)
class BuildResult:
    """The files that a product wrote for a subject, the sources that it read, and facts about the subject."""

    files: Mapping[str, BuiltFile]
    """Files by config."""
    sources: Mapping[str, Source]
    """Sources by column."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts by column."""


@dataclass(frozen=True)
class PublicationFile:
    """A file of a publication."""

    path: str
    """Path in the repo."""
    content: Path | bytes | None
    """Local file or bytes; None if the file was freed, so that only the Hub has it."""
    size: int
    """Size of the file in bytes."""
    sha256: str
    config: str = ""
    """The config that it belongs to; empty if none."""
    split: str = SPLIT
    """The split of that config."""
    rows: int = 0
    values: int = 0
    """Bytes of the values in it."""
    noted: FileStatus | None = None
    """The file's status when its digest was last confirmed, if known."""

    @classmethod
    def of_bytes(cls, path: str, content: bytes) -> "PublicationFile":
        """Return a file whose content is in memory."""
        return cls(path, content, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class CardParts:
    """A product's parts of the card. All texts are Markdown."""

    picture: str = ""
    example: str = ""
    """How to load the product, with code."""
    counts: Sequence[tuple[str, str]] = ()
    """Rows of the card's table of counts: what is counted, and the number."""
    section: str = ""
    """A section of its own, with heading."""


class Product(ABC):
    """A product of a release: files that are built from each subject."""

    name: ClassVar[str]
    """Name in the singular."""
    plural: ClassVar[str]
    """Name in the plural, also of its folder below the data folder."""
    code_version: ClassVar[int]
    """Raise it when the same sources must give other bytes."""
    kinds: ClassVar[frozenset[str]]
    """The asset's kinds in Dagster's UI."""
    description: ClassVar[str]
    """The asset's description in Dagster's UI."""
    failure_text: ClassVar[str]
    """Follows the id of a subject that could not be built, such as `was not packed`."""
    published_as_built: ClassVar[bool] = True
    """Whether each file is published as it was built. Then it may be freed once the Hub has it."""
    has_montages: ClassVar[bool] = False
    """Whether it has a page of pictures for each subject, which `look` shows."""
    may_skip_decoding: ClassVar[bool] = False
    """Whether it is of use without decoding the volumes."""

    def __init__(self, release: Release):
        self.release = release

    @property
    def asset(self) -> str:
        """Name of its asset."""
        return f"subject_{self.name}"

    @classmethod
    def fits(cls, release: Release) -> bool:
        """Return whether the product can be built from `release`."""
        return True

    @cached_property
    @abstractmethod
    def configs(self) -> tuple[Config, ...]:
        """The configs of the dataset that hold it, in the card's order."""

    @cached_property
    @abstractmethod
    def sources(self) -> tuple[Volume, ...]:
        """The volumes that it reads."""

    @property
    def own_columns(self) -> Sequence[Column]:
        """The columns of its configs, without the subject's id and the clinical variables."""
        return ()

    @property
    def columns(self) -> dict[str, Column]:
        """All columns of its configs by name."""
        others = (variable_column(variable) for variable in self.release.variables)
        return {column.name: column for column in (subject_column(), *self.own_columns, *others)}

    @property
    def other_files(self) -> tuple[str, ...]:
        """Paths in the repo of the files that it publishes beside those of its configs."""
        return ()

    @property
    def derives_from(self) -> Sequence[Any]:
        """Other inputs that determine its bytes, for the version: tables as numbers, strings, lists."""
        return ()

    @cached_property
    def version(self) -> str:
        """Fingerprint of the code version, columns, sources, and of the inputs in `derives_from`."""
        configs = [(config.name, config.path(""), config.schema) for config in self.configs]
        sources = [(volume.column, volume.path(""), volume.content) for volume in self.sources]
        return f"{self.code_version}.{fingerprint(configs, sources, list(self.derives_from))}"

    def root(self, folder: DataFolder) -> Path:
        """Return the folder of its files."""
        return folder.root / self.plural

    def path(self, folder: DataFolder, config: Config, subject: str) -> Path:
        """Return the path of a subject's file of `config`."""
        return self.root(folder) / config.name / f"{subject}.parquet"

    def sidecar_path(self, folder: DataFolder, subject: str) -> Path:
        """Return the path of a subject's sidecar. It exists only while all files of the subject are complete."""
        return self.root(folder) / "records" / f"{subject}.json"

    def check(self, build: Build, row: ManifestRow, volume: Volume) -> None:
        """Check a source before it is read.

        Raises:
            UnfitError: The source cannot be used.
        """
        check_entry(build.root, row, volume)

    @abstractmethod
    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> BuildResult:
        """Write the subject's files to `paths`, which are by config.

        Raises:
            UnfitError: A source cannot be used.
            Refusal: The disk is full, or a file differs from what was written to it.
        """

    def read(self, build: Build, row: ManifestRow, volume: Volume) -> None:
        """Read a source as `make` does, but write nothing.

        Raises:
            UnfitError: The source cannot be used.
        """
        read_source(build.root, row, volume, decode=build.decode)

    def mismatch(self, row: ManifestRow, sidecar: Sidecar) -> str:
        """Return why the recorded files do not follow from `row` any more; empty if they do."""
        return ""

    def expected_files(self, folder: DataFolder, sidecar: Sidecar) -> dict[str, Path]:
        """Return the paths of the subject's files by config, without those that were freed."""
        paths = {config.name: self.path(folder, config, sidecar.subject) for config in self.configs}
        return {name: path for name, path in paths.items() if not sidecar.freed or path.exists()}

    def damage(self, folder: DataFolder, sidecar: Sidecar, trusted: Container[str] = ()) -> str:
        """Return why the files are not those that `sidecar` records; empty if they are.

        Args:
            trusted: Configs whose files are not read for size and SHA-256.
        """
        for name, path in self.expected_files(folder, sidecar).items():
            recorded, place = sidecar.files[name], path.relative_to(folder.root)
            if not path.exists():
                return f"has no {place}"
            if name not in trusted and (path.stat().st_size, sha256_of(path)) != (recorded.size, recorded.sha256):
                return f"has a {self.name} that is not the one recorded: {place}"
        return ""

    def bytes_needed(self, row: ManifestRow) -> int:
        """Return how many bytes a subject's files take; 0 if they are too small to check the disk for room."""
        return 0

    def files(
        self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schemas: Mapping[str, pa.Schema]
    ) -> list[PublicationFile]:
        """Return the files to publish.

        Args:
            sidecars: Sidecars by subject.
            schemas: Annotated schemas of all configs of the dataset, by name.

        Raises:
            Refusal: A subject's file is missing or damaged, or the disk is full.
        """
        return [file for _, sidecar in sorted(sidecars.items()) for file in self.files_of(folder, sidecar)]

    def files_of(self, folder: DataFolder, sidecar: Sidecar) -> list[PublicationFile]:
        """Return one subject's files to publish."""
        return [
            PublicationFile(
                config.path(sidecar.subject), path if path.exists() else None, built.size, built.sha256,
                config.name, rows=1, values=built.values, noted=sidecar.noted.get(config.name),
            )
            for config in self.configs
            for built, path in [(sidecar.files[config.name], self.path(folder, config, sidecar.subject))]
        ]  # fmt: skip

    @abstractmethod
    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        """Return the metadata of one subject for Dagster's UI, by name. `lib.display` has the kinds of values."""

    @property
    def fact_descriptions(self) -> Mapping[str, str]:
        """Descriptions of the facts in a sidecar, by column."""
        return {}

    def montage(self, folder: DataFolder, sidecar: Sidecar) -> bytes | None:
        """Return a page of a subject's pictures as JPEG; None if the product has no pictures.

        Raises:
            Refusal: The subject's file is missing or damaged.
        """
        return None

    def card_parts(self, repo: str, sidecars: Mapping[str, Sidecar], rows: Mapping[str, ManifestRow]) -> CardParts:
        """Return the product's parts of the card for `repo`. Sidecars and rows of the manifest are by subject."""
        return CardParts()

    def summary(self, sidecars: Mapping[str, Sidecar]) -> Sequence[tuple[str, str]]:
        """Return lines of the card's summary of a group of subjects: what, and its distribution in the group."""
        return ()
