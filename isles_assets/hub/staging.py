"""Files that leave this disk for a target's staging area, where its readers do not see them."""

from collections.abc import Callable, Sequence

from isles_assets.hub.target import Staging
from isles_assets.lib.findings import Finding
from isles_assets.products.building import free
from isles_assets.products.product import Product
from isles_assets.products.sidecar import Sidecar
from isles_assets.tables.folder import DataFolder


def stage_and_free(
    staging: Staging,
    product: Product,
    folder: DataFolder,
    stopping: Callable[[Sidecar], Sequence[Finding]],
    sidecars: Sequence[Sidecar],
) -> None:
    """Stage the files of `sidecars` in one commit; remove them here once the target has every byte.

    Those of which something is `stopping` the publication stay here: what is staged can be seen by whoever looks.
    """
    fit = [sidecar for sidecar in sidecars if not stopping(sidecar)]
    if not fit:
        return
    staging.stage([file for sidecar in fit for file in product.files_of(folder, sidecar)])
    for sidecar in fit:
        free(product, folder, sidecar)
