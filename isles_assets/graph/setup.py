"""What the settings lead to: places, origin and target of a run, in the terms of the other rooms. No Dagster here."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.target import Destination, Target
from isles_assets.hub.targets import TARGETS, HubTarget
from isles_assets.lib.findings import Refusal
from isles_assets.products.building import Stage
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import Product
from isles_assets.release.release import Release
from isles_assets.source.arrival import Places
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables.folder import DataFolder

_LOG = logging.getLogger(__name__)


class Source(StrEnum):
    """Where the release comes from, if no tree is given. Dagster's run config takes the members' names."""

    sample = "sample"
    zenodo = "zenodo"


@dataclass(frozen=True)
class Setup:
    """The settings in force for `dataset`, each of them usable. A `raw_root` that is given outranks the `source`."""

    dataset: Dataset
    raw_root: str
    source: Source
    zenodo_endpoint: str
    data_dir: str
    hub_target: HubTarget
    repo: str
    workers: int

    @property
    def release(self) -> Release:
        return self.dataset.release

    @property
    def folder(self) -> DataFolder:
        return DataFolder(_absolute(self.data_dir), self.release)

    @property
    def uses_sample(self) -> bool:
        """Whether the synthetic sample stands in for the release."""
        return not self.raw_root and self.source is Source.sample

    @property
    def uses_zenodo(self) -> bool:
        """Whether the release is downloaded and extracted."""
        return not self.raw_root and self.source is Source.zenodo

    @property
    def origin(self) -> str:
        """Where the tree comes from, for people."""
        return "ISLES_RAW_ROOT" if self.raw_root else self.source.value

    @property
    def tree(self) -> Path:
        """The root of the release's tree, or of the sample's."""
        if self.raw_root:
            return _absolute(self.raw_root)
        return self.folder.sample if self.uses_sample else self.folder.tree

    @property
    def places(self) -> Places:
        """Where the release is downloaded and extracted to, and what is made of it."""
        made = [product.root(self.folder) for product in self.dataset.products if product.published_apart]
        return Places(self.folder.archive, self.folder.tree, made[0])

    def zenodo(self, say: Callable[[str], None] = _LOG.info) -> Zenodo:
        """Where the release is downloaded from. Raises `Refusal` for an endpoint that is no address."""
        return Zenodo(self.zenodo_endpoint, say=say)

    @property
    def publishes_to_hub(self) -> bool:
        """Whether what is published can be seen by others."""
        return TARGETS[self.hub_target].is_public

    def target(self, *, private: bool = False, say: Callable[[str], None] = _LOG.info) -> Target:
        """Where `hub_dataset` publishes; a repo that has to be made is `private` or not, `say` is told the progress.

        Raises `Refusal` for a repo that cannot be.
        """
        return TARGETS[self.hub_target].at(Destination(self.dataset, self.folder, self.repo, private, say))

    def stage(self, product: Product, *, private: bool, say: Callable[[str], None]) -> Stage:
        """What hands finished files of `product` to the target and frees their disk.

        Raises `Refusal` where the target cannot take them.
        """
        staging = self.target(private=private, say=say).staging
        if staging is None:
            mend = f"set ISLES_HUB_TARGET={HubTarget.huggingface}"
            raise Refusal.of(
                f"No {product.name} was made.", f"needs a Hub to put the {product.plural} on", mend, path="free_disk"
            )
        staging.prepare_staging()
        return partial(stage_and_free, staging, product, self.folder)


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()
