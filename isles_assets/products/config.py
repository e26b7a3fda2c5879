"""A config of the dataset: its files in the repo, its columns and their Arrow types."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

SPLIT = "train"
LOOK = "look"
"""A split of the config `default` for people: one row a subject, with a montage, and without volumes.

The Hub's viewer opens on the first split of the first config, and shows none with a volume in it: it knows no `Nifti`.
"""
LOOK_PATH = f"data/{LOOK}.parquet"
MAIN_CONFIG = "default"
CARD = "README.md"
COLUMNS, VOLUMES, WAIVERS = "metadata/columns.csv", "metadata/volumes.csv", "metadata/waivers.csv"
CROISSANT = "metadata/croissant.json"
METADATA = (COLUMNS, CROISSANT, VOLUMES, WAIVERS)
"""Paths in the repo of the files that describe the others for programs."""
MEDIA = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""Storage of `datasets.Nifti()` and `datasets.Image()`. With `large_binary` the library would yield plain dicts."""
MONTAGE = pa.field("montage", MEDIA)
"""The column of `look` with the pictures. In `train` it is null, since the splits of a config share their columns."""


@dataclass(frozen=True)
class Config:
    """One config of the dataset, with one row per subject."""

    name: str
    folder: str
    """Folder of its files in the repo."""
    description: str
    schema: pa.Schema
    """The columns of the files as they are built, without Hugging Face metadata."""
    volumes: tuple[str, ...] = ()
    """Columns of type `MEDIA` that hold NIfTI files. The other ones of that type hold pictures."""
    joined: bool = False
    """Whether one file holds the rows of all subjects. Otherwise each subject has a file."""
    added: tuple[pa.Field, ...] = ()
    """Columns that readers see beside the subject's. They are filled when a publication is assembled, or are null."""
    has_look: bool = False
    """Whether it has the split `look`."""

    @property
    def columns(self) -> pa.Schema:
        """The columns that `load_dataset` gives, without Hugging Face metadata."""
        subject, *others = self.schema
        return pa.schema([subject, *self.added, *others])

    def columns_in(self, split: str) -> pa.Schema:
        """Return the columns that the files of `split` have. `load_dataset` gives null for the others."""
        return self.schema if split == SPLIT and not self.joined else self.columns

    @property
    def splits(self) -> Mapping[str, str]:
        """The splits in the card's order: for each, a glob over the repo that matches its files and no others."""
        return {**({LOOK: LOOK_PATH} if self.has_look else {}), SPLIT: self.pattern}

    def path(self, subject: str) -> str:
        """Return the path in the repo of the file that holds `subject`."""
        return f"{self.folder}/{SPLIT}.parquet" if self.joined else f"{self.folder}/{SPLIT}/{subject}.parquet"

    @property
    def pattern(self) -> str:
        """Glob over the repo that matches the files of `train` and no others."""
        return self.path("*")
