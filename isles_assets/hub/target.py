"""What every target of a publication can do; `local` is one, the Hub another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from isles_assets.hub.changes import Changes, StoredFile
from isles_assets.publication.publication import Publication


@dataclass(frozen=True)
class Published:
    """The outcome of a publication.

    `changed` is False where the target held exactly this already. `changes` and `tag` are None at a target that
    has no history.
    """

    url: str
    revision: str
    changed: bool
    changes: Changes | None = None
    tag: str | None = None


class Target(Protocol):
    """A place that holds one dataset repo."""

    def publish(self, publication: Publication) -> Published:
        """Make the repo hold `publication`, all or nothing. Raises `Refusal`."""
        ...

    def stored(self, known: Publication | None = None) -> Mapping[str, StoredFile]:
        """Every file of the published revision by path; empty if nothing is published.

        A file that is one of `known`, the same on the same disk, need not be read for its digest.
        """
        ...

    def card(self) -> str:
        """The text of the published card. Raises `Refusal` if nothing is published."""
        ...

    @property
    def location(self) -> str:
        """What `load_dataset` takes to load it."""
        ...
