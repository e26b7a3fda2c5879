"""What the settings lead to: places, origin and target of a run, in the terms of the other rooms. No Dagster here."""

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
    """Where the release comes from, if no tree is given. Dagster's run config takes the members' names."""

    sample = "sample"
    zenodo = "zenodo"


class ListingQuestion(StrEnum):
    """Whether Zenodo may be asked for the archive's listing."""

    on = "on"
    off = "off"


@dataclass(frozen=True)
class Setup:
    """Where a run finds and puts what, for `dataset`.

    `tree` is the root of the release's tree, or of the sample's. `origin` is where it comes from, for people: one of
    `Source`, or the variable in which it was given.
    """

    dataset: Dataset
    folder: DataFolder
    tree: Path
    origin: str
    zenodo_endpoint: str
    listing: ListingQuestion
    hub_target: HubTarget
    repo: str
    workers: int

    @property
    def uses_sample(self) -> bool:
        """Whether the synthetic sample stands in for the release."""
        return self.origin == Source.sample

    @property
    def uses_zenodo(self) -> bool:
        """Whether the release is downloaded and extracted."""
        return self.origin == Source.zenodo

    @property
    def places(self) -> Places:
        """Where the release is downloaded and extracted to, and what is made of it."""
        made = next(product for product in self.dataset.products if product.published_as_built)
        return Places(self.folder.archive, self.folder.tree, made.root(self.folder))

    @property
    def in_force(self) -> DisplayValues:
        """What a run would take and where it would put it, for people. Raises `Refusal` for a repo that cannot be."""
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
        """Where the release comes from, and what that is."""
        version, zenodo = self.dataset.release.version, without_secrets(self.zenodo_endpoint)
        meant = {
            str(Source.sample): "a SYNTHETIC sample that is made here, no data of patients",
            str(Source.zenodo): f"the release, {version}, downloaded from {zenodo}",
        }
        return f"{self.origin}: {meant.get(self.origin, 'a tree that was given')}"

    def zenodo(self, log: Callable[[str], None] = _LOG.info) -> Zenodo:
        """Where the release is downloaded from. Raises `Refusal` for an endpoint that is no address."""
        return Zenodo(self.zenodo_endpoint, log=log)

    @property
    def publishes_to_hub(self) -> bool:
        """Whether what is published can be seen by others."""
        return TARGETS[self.hub_target].is_public

    def target(self, *, private: bool = False, take_over: str = "", log: Callable[[str], None] = _LOG.info) -> Target:
        """Where `hub_dataset` publishes, as a `Destination` says it. Raises `Refusal` for a repo that cannot be."""
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
        """What hands finished files of `product` to the target and frees their disk, unless something is `stopping` it.

        Raises `Refusal` where the target cannot take them.
        """
        staging = self.target(private=private, take_over=take_over, log=log).staging
        if staging is None:
            problem = f"needs a Hub to put the {product.plural} on"
            mend = f"set ISLES_HUB_TARGET={HubTarget.huggingface}"
            raise Refusal.of(f"No {product.name} was made.", problem, mend, path="free_disk")
        staging.prepare_staging()
        return partial(stage_and_free, staging, product, self.folder, stopping)
