"""What is made of a subject, under the names by which the report speaks of it."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from isles_assets.products.building import build_subject
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import Build
from isles_assets.products.sidecar import Sidecar
from isles_assets.release.isles24 import ISLES24
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow

DATASET = Dataset.of(ISLES24)
SHARD, PREVIEW = DATASET.products
DECODED = [volume.column for volume in PREVIEW.sources]
"""The volumes that a preview is made from, by column."""


def build_shard(
    tree: Path, folder: Path, row: ManifestRow, schemas: Mapping[str, pa.Schema], decode: bool = True
) -> Sidecar:
    """Make the row's shard in the data folder at `folder`."""
    return build_subject(SHARD, Build(tree, DataFolder(folder, ISLES24), schemas, decode), row)


def build_preview(tree: Path, folder: Path, row: ManifestRow) -> Sidecar:
    """Make the row's preview in the data folder at `folder`."""
    return build_subject(PREVIEW, Build(tree, DataFolder(folder, ISLES24), {}), row)
