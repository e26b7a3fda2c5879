"""`Product`: what is made of each subject. What all products have in common is here, what one makes is in its folder.

A product says its name, configs, sources, how its files are made, and what people see of it. The asset, its version,
staleness, publication, card and freeing follow. The products are listed in `registry`.
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
from isles_assets.products.config import Config
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import Source, check_entry, read_source
from isles_assets.release.release import Release
from isles_assets.release.volumes import Volume
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow


@dataclass(frozen=True)
class Build:
    """What subjects are built from and with: the tree at `root`, the data folder, and the configs' annotated `schemas`.

    Without `decode`, a product that may leave decoding out does so.
    """

    root: Path
    folder: DataFolder
    schemas: Mapping[str, pa.Schema]
    decode: bool = True


@dataclass(frozen=True)
class Made:
    """What a product has written and read for a subject: `files` by config, `sources` by column, `facts` by column."""

    files: Mapping[str, BuiltFile]
    sources: Mapping[str, Source]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PublicationFile:
    """A file of a publication: its `path` in the repo, where its `content` is, `size` in bytes, SHA-256.

    `content` is None for a file that was freed: only the Hub has it. A file of a `config` holds so many `rows` and
    bytes of `values`. `noted` is the status that the file had when it was last seen to have its digest, if that is
    known.
    """

    path: str
    content: Path | bytes | None
    size: int
    sha256: str
    config: str = ""
    rows: int = 0
    values: int = 0
    noted: FileStatus | None = None

    @classmethod
    def of_bytes(cls, path: str, content: bytes) -> "PublicationFile":
        """A small file that is in memory."""
        return cls(path, content, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class CardParts:
    """What a product adds to the card, as Markdown: a `picture`, an example, rows of what was counted, a section."""

    picture: str = ""
    example: str = ""
    counts: Sequence[tuple[str, str]] = ()
    section: str = ""


class Product(ABC):
    """One product: `name` in the singular, `plural` is also its folder below the data folder.

    `code_version` is to be raised when the same sources are to give other bytes. `refused` says of a subject that it
    was not made. `published_apart`: each subject's files are published as they are, so they may be freed once the Hub
    has them. `may_skip_decoding`: it is of use also without decoding the volumes.
    """

    name: ClassVar[str]
    plural: ClassVar[str]
    code_version: ClassVar[int]
    kinds: ClassVar[frozenset[str]]
    description: ClassVar[str]
    refused: ClassVar[str]
    published_apart: ClassVar[bool] = True
    may_skip_decoding: ClassVar[bool] = False

    def __init__(self, release: Release):
        self.release = release

    @property
    def asset(self) -> str:
        return f"subject_{self.name}"

    @classmethod
    def fits(cls, release: Release) -> bool:
        """Whether the product can be made of `release`."""
        return True

    @cached_property
    @abstractmethod
    def configs(self) -> tuple[Config, ...]:
        """The configs of the dataset that hold it, in the card's order."""

    @cached_property
    @abstractmethod
    def sources(self) -> tuple[Volume, ...]:
        """The volumes that are read for it."""

    @property
    def other_files(self) -> tuple[str, ...]:
        """Paths in the repo of what it publishes beside the files of its configs."""
        return ()

    @property
    def derives_from(self) -> Sequence[Any]:
        """What else its bytes follow from, for the version: tables as numbers, strings, lists."""
        return ()

    @cached_property
    def version(self) -> str:
        """Another one for other code, columns, sources, or tables that it derives from."""
        configs = [(config.name, config.path(""), config.schema) for config in self.configs]
        sources = [(volume.column, volume.path(""), volume.content) for volume in self.sources]
        return f"{self.code_version}.{fingerprint(configs, sources, list(self.derives_from))}"

    def root(self, folder: DataFolder) -> Path:
        """Where its files lie."""
        return folder.root / self.plural

    def path(self, folder: DataFolder, config: Config, subject: str) -> Path:
        """The file of `config` that is made of `subject`."""
        return self.root(folder) / config.name / f"{subject}.parquet"

    def sidecar_path(self, folder: DataFolder, subject: str) -> Path:
        """What is known of a subject's files; it exists only while all of them are complete."""
        return self.root(folder) / "records" / f"{subject}.json"

    def check(self, build: Build, row: ManifestRow, volume: Volume) -> None:
        """Raise `UnfitError` for a source that is known to be unfit before it is read."""
        check_entry(build.root, row, volume)

    @abstractmethod
    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> Made:
        """Write the subject's file of each config to its path in `paths`. Raises `UnfitError` or `Refusal`."""

    def read(self, build: Build, row: ManifestRow, volume: Volume) -> None:
        """Read a source as `make` does, without making anything. Raises `UnfitError`."""
        read_source(build.root, row, volume, decode=build.decode)

    def mismatch(self, row: ManifestRow, sidecar: Sidecar) -> str:
        """Why the files that `sidecar` is of do not follow from `row` any more; empty if they do."""
        return ""

    def places(self, folder: DataFolder, sidecar: Sidecar) -> dict[str, Path]:
        """Where the files that `sidecar` is of should be, by config; those that were freed are left out."""
        places = {config.name: self.path(folder, config, sidecar.subject) for config in self.configs}
        return {name: path for name, path in places.items() if not sidecar.freed or path.exists()}

    def damage(self, folder: DataFolder, sidecar: Sidecar, trusted: Container[str] = ()) -> str:
        """Why the files are not those that `sidecar` is of; empty if they are.

        They are read in full for size and SHA-256, but for those of the configs that are `trusted`.
        """
        for name, path in self.places(folder, sidecar).items():
            known, place = sidecar.files[name], path.relative_to(folder.root)
            if not path.exists():
                return f"has no {place}"
            if name not in trusted and (path.stat().st_size, sha256_of(path)) != (known.size, known.sha256):
                return f"has a {self.name} that is not the one recorded: {place}"
        return ""

    def room_for(self, row: ManifestRow) -> int:
        """Bytes that a subject's files take, as far as it is worth to ask for room; 0 if it is not."""
        return 0

    def files(
        self, folder: DataFolder, sidecars: Mapping[str, Sidecar], schemas: Mapping[str, pa.Schema]
    ) -> list[PublicationFile]:
        """What is published of the subjects in `sidecars`."""
        return [file for _, sidecar in sorted(sidecars.items()) for file in self.files_of(folder, sidecar)]

    def files_of(self, folder: DataFolder, sidecar: Sidecar) -> list[PublicationFile]:
        """One subject's files, as they are published."""
        return [
            PublicationFile(
                config.path(sidecar.subject), path if path.exists() else None, built.size, built.sha256,
                config.name, 1, built.values, sidecar.noted.get(config.name),
            )
            for config in self.configs
            for built, path in [(sidecar.files[config.name], self.path(folder, config, sidecar.subject))]
        ]  # fmt: skip

    @abstractmethod
    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        """What a person sees of one subject in the UI, by name; see `lib.shown` for the kinds of values."""

    @property
    def fact_meanings(self) -> Mapping[str, str]:
        """What the facts in a sidecar mean, by column."""
        return {}

    def montage(self, folder: DataFolder, sidecar: Sidecar) -> bytes | None:
        """What there is to see of a subject on one page, as JPEG; None where nothing is drawn. Raises `Refusal`."""
        return None

    def card_parts(self, repo: str, sidecars: Mapping[str, Sidecar]) -> CardParts:
        """What it adds to the card."""
        return CardParts()
