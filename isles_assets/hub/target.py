"""What a target of a publication can do, said by its type. A target is a class of this room and a line in `targets`."""

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
    """Where to publish: the `repo`, which is made, and has to be, `private` if that is set; `log` is told the progress.

    `take_over` is the commit that somebody else's files are at which may be replaced; empty: none may.
    """

    dataset: Dataset
    folder: DataFolder
    repo: str
    private: bool
    log: Callable[[str], None]
    take_over: str = ""


@dataclass(frozen=True)
class Published:
    """The outcome; `changed` is False where the target held this already, `changes` and `tag` None without history.

    `before` is the tag of what somebody else had there, if this took its place.
    """

    url: str
    revision: str
    changed: bool
    changes: Changes | None = None
    tag: str | None = None
    before: str | None = None


@runtime_checkable
class Staging(Protocol):
    """A place that takes files before they are published, where readers do not see them."""

    def prepare_staging(self) -> None:
        """Make ready for `stage`. Raises `Refusal`."""

    def stage(self, files: Sequence[PublicationFile]) -> None:
        """Take `files`: on return they need not be kept here. Raises `Refusal`."""


@runtime_checkable
class History(Protocol):
    """A place that keeps earlier revisions."""

    def roll_back(self, to: str) -> Published:
        """Publish again what the revision `to` holds. Raises `Refusal`."""


class Target(ABC):
    """A place that holds one dataset repo. `is_public`: others can see what is published there.

    `states_digests`: the digests that it gives of its files are what it knows of them, not computed when asked for.
    """

    is_public: bool = False
    states_digests: bool = False

    @classmethod
    @abstractmethod
    def at(cls, destination: Destination) -> Self:
        """The target for a destination. Raises `Refusal` for a repo that cannot be."""

    @abstractmethod
    def publish(self, publication: Publication) -> Published:
        """Make the repo hold `publication`, all or nothing. Raises `Refusal`."""

    @abstractmethod
    def stored(self, known: Publication | None = None) -> Mapping[str, StoredFile]:
        """Every file of the published revision by path; empty if nothing is published.

        A file that is one of `known`, the same on the same disk and as it was noted, need not be read for its digest.
        """

    def in_the_way(self, publication: Publication) -> Sequence[Finding]:
        """What publishing would have to replace that is somebody else's. Sends nothing.

        Raises `Refusal` where that cannot be found out.
        """
        return []

    def pinned(self) -> Self:
        """The target as it is now: what is read of it is all of one revision, also if there is a new one meanwhile."""
        return self

    def opened(self) -> Revision:
        """The published revision, of which any file can be read. Raises `Refusal` if there is none."""
        return open_revision(self.location)

    @abstractmethod
    def card(self) -> str:
        """The text of the published card. Raises `Refusal` if nothing is published."""

    @property
    @abstractmethod
    def location(self) -> str:
        """What `load_dataset` takes to load it."""

    @property
    def page(self) -> str:
        """Where a person looks at it: its folder, or its page on the Hub. Asks nobody."""
        return self.location

    @property
    def load_options(self) -> Mapping[str, Any]:
        """What else `load_dataset` takes to load the published revision."""
        return {}

    @abstractmethod
    def address(self) -> str:
        """Where the published revision is: another one for another target, endpoint, repo or revision."""

    @property
    def staging(self) -> Staging | None:
        """Where files can be put before they are published; None if it cannot take them."""
        return self if isinstance(self, Staging) else None

    @property
    def history(self) -> History | None:
        """What knows earlier revisions; None if it keeps none."""
        return self if isinstance(self, History) else None
