"""Publishing to a target, and noting what that changes of the files on this disk."""

from isles_assets.hub.target import Published, Target
from isles_assets.products.building import update_noted_status
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder


def publish(target: Target, publication: Publication, folder: DataFolder) -> Published:
    """Publish to `target`, and note the statuses of the files: a local target links them, so their ctime is new.

    Args:
        folder: The data folder that the products lie in.

    Raises:
        Refusal: The target does not take the publication, or a sidecar cannot be stored.
    """
    published = target.publish(publication)
    for product in publication.dataset.products:
        for sidecar in publication.made[product.name].values():
            update_noted_status(product, folder, sidecar)
    return published
