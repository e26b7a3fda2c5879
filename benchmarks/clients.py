"""What clients of the Hub do, in a process whose environment says which Hub.

Apart from the areas, because the package of the tests, where the loopback Hub is, sets that environment on import.
"""

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel  # noqa: F401 # decodes volumes; imported here, so that no measurement contains it
from datasets import load_dataset
from huggingface_hub import HfApi

from benchmarks.products import DATASET
from benchmarks.project import REPOSITORY
from isles_assets import clinical_frame
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.products.config import SPLIT
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

REPO = "hugging-science/isles24-stroke"
EXAMPLES = REPOSITORY / "examples"


def publish(publication: Publication) -> None:
    """Publish as `hub_dataset` does once its guard is passed."""
    HuggingFaceHub(REPO, DATASET).publish(publication)


def stage(files: Sequence[PublicationFile]) -> None:
    """Stage as `subject_shard` does with `free_disk`."""
    target = HuggingFaceHub(REPO, DATASET)
    target.prepare_staging()
    target.stage(files)


def upload(folder: Path) -> None:
    """Make the repo, where it is not there, and upload `folder`."""
    api = HfApi()
    api.create_repo(REPO, repo_type="dataset", exist_ok=True)
    api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=folder)


def read_by_example(subject: str, columns: Sequence[str]) -> None:
    """As the example does."""
    _decode(_example("read_two_volumes.py")["read"](REPO, subject, columns), columns)


def read_columns(path: str, columns: Sequence[str]) -> None:
    """As one would try first."""
    files = {SPLIT: path}
    (row,) = load_dataset(REPO, data_files=files, split=SPLIT, streaming=True, columns=list(columns))
    _decode(row, columns)


def read_row(path: str, columns: Sequence[str]) -> None:
    """Without choosing columns."""
    (row,) = load_dataset(REPO, data_files={SPLIT: path}, split=SPLIT, streaming=True)
    _decode(row, columns)


def read_undecoded(path: str) -> None:
    """The same as bytes."""
    rows = load_dataset(REPO, data_files={SPLIT: path}, split=SPLIT, streaming=True)
    list(rows.decode(False))


def run(code: str) -> None:
    """As on the card."""
    exec(code, {})


def read_frame(subject: str, number: int) -> None:
    """As the example does."""
    _example("ctp_frame.py")["read_frame"](REPO, subject, number)


def read_first_frame(path: str, column: str) -> None:
    """As one would try first."""
    rows = load_dataset(REPO, data_files={SPLIT: path}, split=SPLIT, streaming=True, columns=[column])
    (row,) = rows
    row[column].dataobj[..., 0]


def read_clinical_frame() -> None:
    """By the package."""
    clinical_frame(REPO)


def stream_preview(columns: Sequence[str]) -> None:
    """By `datasets`, from the file that has the pictures, too."""
    list(load_dataset(REPO, "preview", split=SPLIT, streaming=True, columns=list(columns)))


def load_preview() -> None:
    """Without choosing columns or streaming."""
    load_dataset(REPO, "preview", split=SPLIT)


def _example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def _decode(images: Any, columns: Sequence[str]) -> None:
    """Decode the volumes to their end."""
    for column in columns:
        images[column].dataobj[..., -1]
