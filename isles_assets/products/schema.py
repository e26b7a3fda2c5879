"""The published columns: which config holds what, and the Arrow types. Derived from the release's tables."""

from dataclasses import dataclass

import pyarrow as pa

from isles_assets.release.clinical import VARIABLES, Kind, Variable
from isles_assets.release.volumes import BY_COLUMN, VOLUMES, Volume

SPLIT = "train"
CARD = "README.md"
CARD_PICTURE = "preview/overview.jpg"
SUBJECT_COLUMN = "subject_id"
MEDIA = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""The storage of `datasets.Nifti()` and `datasets.Image()`; with `large_binary` the library would yield plain dicts."""

_ARROW = {Kind.WHOLE: pa.int16(), Kind.NUMBER: pa.float64(), Kind.MINUTES: pa.float64(), Kind.LEVEL: pa.string()}


@dataclass(frozen=True)
class Config:
    """One config of the dataset: one row a subject, one file a subject below `folder` of the repo."""

    name: str
    folder: str
    volumes: tuple[Volume, ...]
    clinical: tuple[Variable, ...]
    description: str

    def path(self, subject: str) -> str:
        """Path in the repo of the file that holds `subject`."""
        return f"{self.folder}/{SPLIT}/{subject}.parquet"

    @property
    def pattern(self) -> str:
        """Glob over the repo that matches this config's files and no others."""
        return self.path("*")


CONFIGS: tuple[Config, ...] = (
    Config(
        "default", "data", tuple(v for v in VOLUMES if v.column != "ctp_ncct"), VARIABLES,
        "17 volumes and the clinical variables",
    ),
    Config(
        "ctp_ncct", "ctp_ncct", (BY_COLUMN["ctp_ncct"],), (),
        "the CT perfusion series on the NCCT grid, apart because it is three quarters of all bytes",
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PreviewConfig:
    """The config that the Hub's viewer can show: one file with a row a subject, without volumes."""

    name: str = "preview"
    path: str = f"preview/{SPLIT}.parquet"
    description: str = "small pictures, facts of the volumes and the clinical variables, for a look and for tables"

    @property
    def pattern(self) -> str:
        """Glob over the repo that matches this config's file and no other."""
        return self.path


PREVIEW = PreviewConfig()
ALL_CONFIGS: tuple[Config | PreviewConfig, ...] = (*CONFIGS, PREVIEW)


OF_ALL_SUBJECTS = (CARD, CARD_PICTURE, PREVIEW.path)
"""The files of the repo that are not a subject's."""


def is_ours(path: str) -> bool:
    """Whether a file of the repo is this dataset's, of this layout or an earlier one."""
    folders = (*(f"{config.folder}/" for config in CONFIGS), f"{PREVIEW.name}/")
    return path in OF_ALL_SUBJECTS or (path.startswith(folders) and path.endswith(".parquet"))


def clinical_fields() -> list[pa.Field]:
    """The 33 clinical columns in file order."""
    return [pa.field(variable.column, _ARROW[variable.kind]) for variable in VARIABLES]


def clinical_schema() -> pa.Schema:
    """The clinical table: the subject and 33 columns."""
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *clinical_fields()])


def shard_schema(config: Config) -> pa.Schema:
    """A shard's columns, without the Hugging Face metadata that `features.annotate` adds."""
    volumes = [pa.field(volume.column, MEDIA) for volume in config.volumes]
    return pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), *volumes, *(clinical_fields() if config.clinical else [])])
