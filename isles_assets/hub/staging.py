"""Files that leave this disk for a target's staging area, where its readers do not see them."""

from collections.abc import Sequence

from isles_assets.hub.target import Staging
from isles_assets.products.building import free
from isles_assets.products.product import Product
from isles_assets.products.sidecar import Sidecar
from isles_assets.tables.folder import DataFolder


def stage_and_free(staging: Staging, product: Product, folder: DataFolder, sidecars: Sequence[Sidecar]) -> None:
    """Stage the files of `sidecars` in one commit; remove them here once the target has every byte."""
    staging.stage([file for sidecar in sidecars for file in product.files_of(folder, sidecar)])
    for sidecar in sidecars:
        free(product, folder, sidecar)
