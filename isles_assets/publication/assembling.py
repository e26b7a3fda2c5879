"""Assembling a publication from complete products: their files, and the card."""

from dataclasses import replace

from isles_assets.products.config import CARD
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import PublicationFile
from isles_assets.publication.card import render_card
from isles_assets.publication.publication import Made, Publication
from isles_assets.publication.waivers import NOTHING_FOUND, Judgement
from isles_assets.tables.folder import DataFolder


def assemble(
    dataset: Dataset, folder: DataFolder, repo: str, made: Made, judgement: Judgement = NOTHING_FOUND
) -> Publication:
    """Return the publication of the products in `made`, with the card. Reads no volume.

    Files that join all subjects, such as the previews, are written to the data folder unless they are there.
    """
    schemas = {config.name: annotated_schema(config) for config in dataset.configs}
    files = [file for p in dataset.products for file in p.files(folder, made[p.name], schemas)]
    described = Publication(repo, dataset, made, tuple(files), judgement)
    card = PublicationFile.of_bytes(CARD, render_card(described).encode())
    return replace(described, files=(*described.files, card))
