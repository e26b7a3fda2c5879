"""Parts of ISLES'24 by short names, for tests of what is true of that release alone; most tests use `toy`."""

from pathlib import Path

from isles_assets.products.dataset import Dataset
from isles_assets.release.isles24 import BASELINE, ISLES24, OUTCOME, subject_id
from isles_assets.tables.folder import DataFolder

__all__ = ["BASELINE", "ISLES24", "OUTCOME", "subject_id"]

SUBJECT_IDS = ISLES24.subjects
VOLUMES = ISLES24.volumes
BY_COLUMN = ISLES24.by_column
REGISTERED = ISLES24.registered
VARIABLES = ISLES24.variables
WORKBOOKS = ISLES24.workbooks
assert ISLES24.dictionary
DICTIONARY = ISLES24.dictionary

DATASET = Dataset.of(ISLES24)
SHARD, PREVIEW = DATASET.products
CONFIGS = SHARD.configs

SMALL = ISLES24.only(map(subject_id, (1, 14, 141, 145, 158, 180)))
"""Six subjects of it, for tests that need its previews: each clinical variable has a value in one, as must be."""


def folder_at(root: Path) -> DataFolder:
    """The data folder of ISLES'24 at `root`."""
    return DataFolder(root, ISLES24)
