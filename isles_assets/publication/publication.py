"""One publication: every file of the repo with its size and digest, known before a byte is moved."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.waivers import NOTHING_FOUND, Judgement

Made = Mapping[str, Mapping[str, Sidecar]]
"""What is made of each subject: sidecars by product and subject."""


@dataclass(frozen=True)
class Contents:
    """How much one config holds: `rows`, `files`, their `size` and the bytes of the `values` in them."""

    rows: int
    files: int
    size: int
    values: int


@dataclass(frozen=True)
class Publication:
    """What the repo shall hold: the products `made` of the same subjects, and what describes them.

    `judgement` is on what was found in them: it is told on the card.
    """

    repo: str
    dataset: Dataset
    made: Made
    files: tuple[PublicationFile, ...]
    judgement: Judgement = NOTHING_FOUND

    @property
    def sidecars(self) -> list[Sidecar]:
        """Those of all products and subjects."""
        return [sidecar for of_product in self.made.values() for sidecar in of_product.values()]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects in it, sorted."""
        return tuple(sorted({sidecar.subject for sidecar in self.sidecars}))

    @property
    def synthetic(self) -> bool:
        """Whether any subject is not of the release but made by the sample generator."""
        return any(sidecar.synthetic for sidecar in self.sidecars)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 over path, size and digest of every file: equal for equal content."""
        return _digest_of_lines(f"{file.path} {file.size} {file.sha256}" for file in self.files)

    @property
    def sources_digest(self) -> str:
        """SHA-256 over path, size and digest of every volume of the release in it: equal for equal volumes."""
        sources = (source for sidecar in self.sidecars for source in sidecar.sources.values())
        return _digest_of_lines({f"{source.path} {source.size} {source.sha256}" for source in sources})

    @property
    def contents(self) -> dict[str, Contents]:
        """How much each config holds, by its name."""
        files = {c.name: [file for file in self.files if file.config == c.name] for c in self.dataset.configs}
        return {
            name: Contents(sum(f.rows for f in held), len(held), sum(f.size for f in held), sum(f.values for f in held))
            for name, held in files.items()
        }


def _digest_of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
