"""Read some volumes of one subject from the Hub; nothing else of its 670 MB is downloaded.

python examples/read_two_volumes.py sub-stroke0014 ncct lesion_mask
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from datasets import load_dataset

REPO = "hugging-science/isles24-stroke"
NO_READING_AHEAD = {"hf": {"block_size": 1 << 16}}
"""Without it the Hub's file system fetches up to 5 MiB beyond each column."""


def read(repo: str, subject: str, columns: Sequence[str]) -> dict[str, Any]:
    """The values of `columns` of `subject` by name: a volume is a nibabel image whose voxels are not yet decoded.

    `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    rows = load_dataset(
        repo,
        data_files={"train": f"data/train/{subject}.parquet"},
        split="train",
        streaming=True,
        columns=list(columns),
        storage_options=NO_READING_AHEAD,
    )
    (row,) = rows
    return dict(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("subject")
    parser.add_argument("columns", nargs="+")
    parser.add_argument("--repo", default=REPO)
    given = parser.parse_args()
    for name, value in read(given.repo, given.subject, given.columns).items():
        print(name, getattr(value, "shape", value))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
