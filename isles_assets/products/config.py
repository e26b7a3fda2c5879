"""A config of the dataset: its files in the repo, its columns and their Arrow types."""

from dataclasses import dataclass

import pyarrow as pa

SPLIT = "train"
CARD = "README.md"
MEDIA = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""Storage of `datasets.Nifti()` and `datasets.Image()`. With `large_binary` the library would yield plain dicts."""


@dataclass(frozen=True)
class Config:
    """One config of the dataset, with one row per subject."""

    name: str
    folder: str
    """Folder of its files in the repo."""
    description: str
    schema: pa.Schema
    """The columns, without the Hugging Face metadata that `features.annotated_schema` adds."""
    volumes: tuple[str, ...] = ()
    """Columns of type `MEDIA` that hold NIfTI files. The other ones of that type hold pictures."""
    joined: bool = False
    """Whether one file holds the rows of all subjects. Otherwise each subject has a file."""

    def path(self, subject: str) -> str:
        """Return the path in the repo of the file that holds `subject`."""
        return f"{self.folder}/{SPLIT}.parquet" if self.joined else f"{self.folder}/{SPLIT}/{subject}.parquet"

    @property
    def pattern(self) -> str:
        """Glob over the repo that matches this config's files and no others."""
        return self.path("*")
