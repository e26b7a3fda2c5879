"""What every target of a publication can do; `local` is one, the Hub another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from isles_assets.dataset.publication import Publication


@dataclass(frozen=True)
class StoredFile:
    """A file of the published revision: `size` in bytes and SHA-256 of what is stored."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Published:
    """The outcome of a publication; `changed` is False where the target held exactly this already."""

    url: str
    revision: str
    changed: bool


class Target(Protocol):
    """A place that holds one dataset repo."""

    def publish(self, publication: Publication) -> Published:
        """Make the repo hold `publication`, all or nothing. Raises `Refusal`."""
        ...

    def stored(self) -> Mapping[str, StoredFile]:
        """Every file of the published revision by path; empty if nothing is published."""
        ...

    def card(self) -> str:
        """The text of the published card. Raises `Refusal` if nothing is published."""
        ...

    @property
    def location(self) -> str:
        """What `load_dataset` takes to load it."""
        ...
