"""Assembling a publication from complete products: their files, the metadata tables and the card."""

from collections.abc import Mapping
from dataclasses import replace

from isles_assets.products.config import CARD
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import PublicationFile
from isles_assets.publication.card import render_card
from isles_assets.publication.metadata.files import metadata_files
from isles_assets.publication.publication import Made, Publication
from isles_assets.publication.waivers import NOTHING_FOUND, Judgement
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow


def assemble(
    dataset: Dataset,
    folder: DataFolder,
    repo: str,
    made: Made,
    manifest: Mapping[str, ManifestRow],
    judgement: Judgement = NOTHING_FOUND,
) -> Publication:
    """Return the publication of the products in `made`, with the files that describe them. Reads no volume.

    Files that join all subjects, such as the previews, are written to the data folder unless they are there.

    Args:
        manifest: Rows by subject, of at least those in `made`.
    """
    schemas = {config.name: annotated_schema(config) for config in dataset.configs}
    files = [file for p in dataset.products for file in p.files(folder, made[p.name], schemas)]
    described = Publication(repo, dataset, made, tuple(files), judgement, manifest)
    card = PublicationFile.of_bytes(CARD, render_card(described).encode())
    return replace(described, files=(*described.files, *metadata_files(described), card))
