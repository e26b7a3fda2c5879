"""The setup of a run, which follows from its settings: places, origin and target. It does not use Dagster."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.target import Destination, Target
from isles_assets.hub.targets import TARGETS, HubTarget
from isles_assets.lib.display import DisplayValues
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.secrets import without_secrets
from isles_assets.products.building import Stage
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import Product
from isles_assets.products.sidecar import Sidecar
from isles_assets.source.arrival import Places
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables.folder import DataFolder

_LOG = logging.getLogger(__name__)


class Source(StrEnum):
    """Where the release comes from if no tree is given. Run configs contain the names of the members."""

    sample = "sample"
    zenodo = "zenodo"


class ListingQuestion(StrEnum):
    """Whether the archive's listing may be read from Zenodo."""

    on = "on"
    off = "off"


@dataclass(frozen=True)
class Setup:
    """The places and options of a run."""

    dataset: Dataset
    folder: DataFolder
    tree: Path
    """Root of the release's tree, or of the sample's."""
    origin: str
    """Where the tree comes from, for people: a member of `Source`, or the variable with its path."""
    zenodo_endpoint: str
    listing: ListingQuestion
    hub_target: HubTarget
    repo: str
    workers: int

    @property
    def uses_sample(self) -> bool:
        """Whether the run uses the synthetic sample instead of the release."""
        return self.origin == Source.sample

    @property
    def uses_zenodo(self) -> bool:
        """Whether the release is downloaded and extracted."""
        return self.origin == Source.zenodo

    @property
    def places(self) -> Places:
        """The paths of archive, tree and shards, for the download and extraction."""
        shards = next(product for product in self.dataset.products if product.published_as_built)
        return Places(self.folder.archive, self.folder.tree, shards.root(self.folder))

    @property
    def effective(self) -> DisplayValues:
        """The inputs and outputs of a run, for people.

        Raises:
            Refusal: No repo can have the name.
        """
        return {
            "source": self._source,
            "tree": self.tree,
            "data folder": self.folder.root,
            "target": str(self.hub_target),
            "repo": self.repo,
            "published at": self.target().page,
            "synthetic sample": "yes" if self.uses_sample else "no",
        }

    @property
    def _source(self) -> str:
        """Where the release comes from, with an explanation."""
        version, zenodo = self.dataset.release.version, without_secrets(self.zenodo_endpoint)
        explanations = {
            str(Source.sample): "a SYNTHETIC sample that is made here, no data of patients",
            str(Source.zenodo): f"the release, {version}, downloaded from {zenodo}",
        }
        return f"{self.origin}: {explanations.get(self.origin, 'a tree that was given')}"

    def zenodo(self, log: Callable[[str], None] = _LOG.info) -> Zenodo:
        """Return the client for downloads of the release.

        Raises:
            Refusal: The endpoint is no address.
        """
        return Zenodo(self.zenodo_endpoint, log=log)

    @property
    def publishes_to_hub(self) -> bool:
        """Whether other people can see the target."""
        return TARGETS[self.hub_target].is_public

    def target(self, *, private: bool = False, take_over: str = "", log: Callable[[str], None] = _LOG.info) -> Target:
        """Return the target that `hub_dataset` publishes to. For the arguments see `Destination`.

        Raises:
            Refusal: No repo can have the name.
        """
        return TARGETS[self.hub_target].at(Destination(self.dataset, self.folder, self.repo, private, log, take_over))

    def stage(
        self,
        product: Product,
        stopping: Callable[[Sidecar], Sequence[Finding]],
        *,
        private: bool,
        take_over: str,
        log: Callable[[str], None],
    ) -> Stage:
        """Return the function that moves finished files of `product` from this disk to the target.

        Args:
            stopping: Returns the findings that forbid publishing a product. Its file then stays.

        Raises:
            Refusal: The target cannot take files.
        """
        staging = self.target(private=private, take_over=take_over, log=log).staging
        if staging is None:
            problem = f"needs a Hub to upload the {product.plural} to"
            mend = f"set ISLES_HUB_TARGET={HubTarget.huggingface}"
            raise Refusal.of(f"No {product.name} was made.", problem, mend, path="free_disk")
        staging.prepare_staging()
        return partial(stage_and_free, staging, product, self.folder, stopping)
