"""The interface of a target that a dataset is published to. Each one is a class in `hub` and a line in `targets`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from isles_assets.hub.changes import Changes, StoredFile
from isles_assets.hub.reading import Revision, open_revision
from isles_assets.lib.findings import Finding
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder


@dataclass(frozen=True)
class Destination:
    """Where, and on which terms, to publish."""

    dataset: Dataset
    folder: DataFolder
    repo: str
    private: bool
    """Whether the repo must be private. A new one is made so."""
    log: Callable[[str], None]
    take_over: str = ""
    """The commit of somebody else's files that may be replaced; empty if none may."""


@dataclass(frozen=True)
class Published:
    """The outcome of a publication or rollback."""

    url: str
    revision: str
    changed: bool
    """False if the target held this already."""
    changes: Changes | None = None
    """None if the target does not say what it changed."""
    tag: str | None = None
    """None if the target gives no tags."""
    backup_tag: str | None = None
    """The tag of somebody else's files, if this replaced them."""


@runtime_checkable
class Staging(Protocol):
    """A target that takes files before they are published, where readers do not see them."""

    def prepare_staging(self) -> None:
        """Make the target ready for `stage`.

        Raises:
            Refusal: The target cannot take files.
        """

    def stage(self, files: Sequence[PublicationFile]) -> None:
        """Take `files`. On return they need not be kept on this disk.

        Raises:
            Refusal: The target does not have all of them.
        """


@runtime_checkable
class History(Protocol):
    """A target that keeps earlier revisions."""

    def roll_back(self, to: str) -> Published:
        """Publish again what the revision `to` holds.

        Raises:
            Refusal: There is no such revision, or it was not published.
        """


class Target(ABC):
    """A place that holds one dataset repo."""

    is_public: bool = False
    """Whether other people can see what is published there."""
    states_digests: bool = False
    """Whether its digests come from its records. Else they are computed from the bytes whenever somebody asks."""

    @classmethod
    @abstractmethod
    def at(cls, destination: Destination) -> Self:
        """Return the target for a destination.

        Raises:
            Refusal: No repo can have that name.
        """

    @abstractmethod
    def publish(self, publication: Publication) -> Published:
        """Make the repo hold `publication`, all or nothing.

        Raises:
            Refusal: It was not published.
        """

    @abstractmethod
    def stored(self, local: Publication | None = None) -> Mapping[str, StoredFile]:
        """Return every file of the published revision, by path; empty if nothing is published.

        Args:
            local: Files with known digests. A published file that is a link to one of them, with the status that was
                noted, need not be read.
        """

    def in_the_way(self, publication: Publication | None) -> Sequence[Finding]:
        """Return findings of somebody else's files that publishing would have to replace. Sends nothing.

        Args:
            publication: What is to be published; None if that is not known yet.

        Raises:
            Refusal: The target did not tell.
        """
        return []

    def pinned(self) -> Self:
        """Return the target fixed at its present revision, so a concurrent publication cannot mix versions."""
        return self

    def opened(self) -> Revision:
        """Return the published revision, to read files from.

        Raises:
            Refusal: Nothing is published, or it cannot be read.
        """
        return open_revision(self.location)

    @abstractmethod
    def card(self) -> str:
        """Return the text of the published card.

        Raises:
            Refusal: Nothing is published.
        """

    @property
    @abstractmethod
    def location(self) -> str:
        """The path or repo id that `load_dataset` takes."""

    @property
    def page(self) -> str:
        """The folder, or the address of the page on the Hub, for people. Sends no request."""
        return self.location

    @property
    def load_options(self) -> Mapping[str, Any]:
        """Further arguments of `load_dataset` for the published revision."""
        return {}

    @abstractmethod
    def address(self) -> str:
        """Return where the published revision is. Each target, endpoint, repo and revision has another address."""

    @property
    def staging(self) -> Staging | None:
        """The target as a staging area; None if it has none."""
        return self if isinstance(self, Staging) else None

    @property
    def history(self) -> History | None:
        """The target as a history; None if it keeps no earlier revisions."""
        return self if isinstance(self, History) else None
