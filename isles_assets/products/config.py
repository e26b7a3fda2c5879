"""What a config of the dataset is: its files in the repo, its columns and their Arrow types."""

from dataclasses import dataclass

import pyarrow as pa

SPLIT = "train"
CARD = "README.md"
MEDIA = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""The storage of `datasets.Nifti()` and `datasets.Image()`; with `large_binary` the library would yield plain dicts."""


@dataclass(frozen=True)
class Config:
    """One config of the dataset, a row a subject, whose files lie below `folder` of the repo.

    `schema` has the columns without the Hugging Face metadata that `features.annotated_schema` adds; those of type
    `MEDIA` hold NIfTI files if they are among `volumes`, else pictures. `joined`: one file holds the rows of all
    subjects, otherwise each has its own.
    """

    name: str
    folder: str
    description: str
    schema: pa.Schema
    volumes: tuple[str, ...] = ()
    joined: bool = False

    def path(self, subject: str) -> str:
        """Path in the repo of the file that holds `subject`."""
        return f"{self.folder}/{SPLIT}.parquet" if self.joined else f"{self.folder}/{SPLIT}/{subject}.parquet"

    @property
    def pattern(self) -> str:
        """Glob over the repo that matches this config's files and no others."""
        return self.path("*")
