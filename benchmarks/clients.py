"""What clients of the Hub do, in a process whose environment says which Hub.

Apart from the areas, because the package of the tests, where the loopback Hub is, sets that environment on import.
"""

import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import load_dataset
from huggingface_hub import HfApi

from benchmarks.products import DATASET
from benchmarks.project import REPOSITORY
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.products.config import SPLIT
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

REPO = "hugging-science/isles24-stroke"
EXAMPLE = REPOSITORY / "examples" / "read_two_volumes.py"


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
    _decode(runpy.run_path(str(EXAMPLE))["read"](REPO, subject, columns), columns)


def read_columns(path: str, columns: Sequence[str]) -> None:
    """As one would try first."""
    files = {SPLIT: path}
    (row,) = load_dataset(REPO, data_files=files, split=SPLIT, streaming=True, columns=list(columns))
    _decode(row, columns)


def read_row(path: str, columns: Sequence[str]) -> None:
    """Without choosing columns."""
    (row,) = load_dataset(REPO, data_files={SPLIT: path}, split=SPLIT, streaming=True)
    _decode(row, columns)


def _decode(images: Any, columns: Sequence[str]) -> None:
    """Decode the volumes to their end."""
    for column in columns:
        images[column].dataobj[..., -1]
