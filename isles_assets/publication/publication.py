"""A publication: every file that the repo is to hold, with its size and digest, before any byte is sent."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.waivers import NOTHING_FOUND, Judgement
from isles_assets.tables.manifest import ManifestRow

Made = Mapping[str, Mapping[str, Sidecar]]
"""The sidecars of all products, by product name and subject."""


@dataclass(frozen=True)
class Contents:
    """The contents of one split: numbers of rows and files, bytes of the files, bytes of the values in them."""

    rows: int
    files: int
    size: int
    values: int


@dataclass(frozen=True)
class Publication:
    """What the repo is to hold: the products of some subjects, and the files that describe them.

    Attributes:
        repo: The repo's id on the Hub, or its name in a folder.
        dataset: The products and their configs.
        made: The sidecars of the products, by product and subject.
        files: Every file of the repo.
        judgement: The judgement on the findings, which the card tells.
        manifest: Rows of the published subjects, by subject.
    """

    repo: str
    dataset: Dataset
    made: Made
    files: tuple[PublicationFile, ...]
    judgement: Judgement = NOTHING_FOUND
    manifest: Mapping[str, ManifestRow] = field(default_factory=dict)

    @property
    def sidecars(self) -> list[Sidecar]:
        """The sidecars of all products and subjects."""
        return [sidecar for of_product in self.made.values() for sidecar in of_product.values()]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The published subjects, sorted."""
        return tuple(sorted({sidecar.subject for sidecar in self.sidecars}))

    @property
    def synthetic(self) -> bool:
        """Whether any subject comes from the sample generator instead of the release."""
        return any(sidecar.synthetic for sidecar in self.sidecars)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 over path, size and digest of every file. Equal content gives an equal digest."""
        return _digest_of_lines(f"{file.path} {file.size} {file.sha256}" for file in self.files)

    @property
    def sources_digest(self) -> str:
        """SHA-256 over path, size and digest of every published volume. Equal volumes give an equal digest."""
        sources = (source for sidecar in self.sidecars for source in sidecar.sources.values())
        return _digest_of_lines({f"{source.path} {source.size} {source.sha256}" for source in sources})

    @property
    def contents(self) -> dict[str, dict[str, Contents]]:
        """The contents of each split of each config, by their names, in the card's order."""
        return {
            config.name: {split: self._contents_of(config.name, split) for split in config.splits}
            for config in self.dataset.configs
        }

    def _contents_of(self, config: str, split: str) -> Contents:
        held = [file for file in self.files if (file.config, file.split) == (config, split)]
        return Contents(sum(f.rows for f in held), len(held), sum(f.size for f in held), sum(f.values for f in held))


def _digest_of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
