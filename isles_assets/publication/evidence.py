"""The evidence that properties are judged by: the tree, the tables, the shards' sidecars, and the waivers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from isles_assets.lib.findings import Finding
from isles_assets.products.building import read_sidecars
from isles_assets.products.shard.product import Shard
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.waivers import read_waivers
from isles_assets.reading.names import Names, judge_names
from isles_assets.reading.tree import Inventory, take_inventory
from isles_assets.release.release import Release
from isles_assets.release.waivers import Waiver
from isles_assets.tables.clinical import read_clinical_findings, read_clinical_table
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.listing import Listing, read_listing
from isles_assets.tables.manifest import ManifestRow, read_manifest


@dataclass(frozen=True)
class Evidence:
    """All that the properties look at. Each part is read when it is first used.

    Attributes:
        root: The release's tree.
        folder: The data folder with the tables, sidecars and waivers.
        fresh_tree: Whether to look at the tree as it is now, instead of at the stored inventory.
        sidecars: The shards to look at; None for all in the data folder.
    """

    root: Path
    folder: DataFolder
    fresh_tree: bool = False
    sidecars: Sequence[Sidecar] | None = None

    @property
    def release(self) -> Release:
        return self.folder.release

    @property
    def extracted(self) -> bool:
        """Whether this package extracted the tree from the archive, rather than being given it."""
        return self.folder.has_extracted(self.root)

    @cached_property
    def listing(self) -> Listing:
        """The archive's own list of its files."""
        return read_listing(self.folder, None if self.root == Path() else self.root)

    @cached_property
    def inventory(self) -> Inventory:
        return take_inventory(self.release, self.root) if self.fresh_tree else read_inventory(self.folder)

    @cached_property
    def names(self) -> Names:
        """How the names in the inventory correspond to those of the release."""
        return judge_names(self.release, self.inventory)

    @cached_property
    def clinical(self) -> pa.Table:
        return read_clinical_table(self.folder)

    @cached_property
    def clinical_findings(self) -> Sequence[Finding]:
        """The findings on the workbooks, from when they were read."""
        return read_clinical_findings(self.folder)

    @cached_property
    def manifest(self) -> Mapping[str, ManifestRow]:
        return read_manifest(self.folder)

    @cached_property
    def shards(self) -> Sequence[Sidecar]:
        return read_sidecars(Shard(self.release), self.folder) if self.sidecars is None else self.sidecars

    def of_shard(self, sidecar: Sidecar) -> "Evidence":
        """Return the evidence of one shard. It shares the listing, which is the same for every shard."""
        return replace(self, sidecars=[sidecar]).with_listing(self.listing)

    def with_listing(self, listing: Listing) -> "Evidence":
        """Return the same evidence with a listing that need not be stored."""
        other = replace(self)
        vars(other)["listing"] = listing
        return other

    @cached_property
    def waivers(self) -> Sequence[Waiver]:
        """The release's own and the operator's."""
        return [*self.release.waivers, *read_waivers(self.folder.waivers)]
