"""Staging: files leave this disk for a part of the target that its readers do not see."""

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
    """Stage the files of `sidecars` in one commit, and remove them from this disk once the target has every byte.

    Files with findings that stop publication stay on this disk, because anybody who looks can see what is staged.

    Args:
        stopping: Returns the findings that stop the publication of a subject's files.

    Raises:
        Refusal: The target did not take the files, which stay on this disk.
    """
    publishable = [sidecar for sidecar in sidecars if not stopping(sidecar)]
    if not publishable:
        return
    staging.stage([file for sidecar in publishable for file in product.files_of(folder, sidecar)])
    for sidecar in publishable:
        free(product, folder, sidecar)
