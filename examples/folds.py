"""Split the subjects for cross-validation by `fold`, and stream one of each side; only the columns shown travel.

python examples/folds.py --validate 0
"""

import argparse
import os
import sys
from typing import Any

from datasets import load_dataset

REPO = "hugging-science/isles24-stroke"
COLUMNS = ["subject_id", "lesion_mask", "nihss_admission"]
NO_READING_AHEAD = {"hf": {"block_size": 1 << 16}}
"""Without it the Hub's file system fetches up to 5 MiB beyond each column."""


def folds(repo: str) -> dict[str, int]:
    """The fold of each subject, 0 to 4: balanced in centre and lesion volume, and fixed for a tag of the dataset.

    `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    columns = ["subject_id", "fold"]
    rows = load_dataset(
        repo, "preview", split="train", streaming=True, columns=columns, storage_options=NO_READING_AHEAD
    )
    return {row["subject_id"]: row["fold"] for row in rows}


def split(repo: str, validate: int, columns: list[str]) -> dict[str, Any]:
    """The rows of `train` and `validation`, each as a dataset to stream; `validate` is the fold of the latter."""
    fold_of = folds(repo)
    sides = {
        "train": [subject for subject, fold in fold_of.items() if fold != validate],
        "validation": [subject for subject, fold in fold_of.items() if fold == validate],
    }
    if not all(sides.values()):
        raise SystemExit(f"no subject is in fold {validate}, or all are; a part of the release has no folds")
    files = {side: [f"data/train/{subject}.parquet" for subject in subjects] for side, subjects in sides.items()}
    rows = load_dataset(repo, data_files=files, streaming=True, columns=columns, storage_options=NO_READING_AHEAD)
    return dict(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    parser.add_argument("--validate", type=int, choices=range(5), default=0, help="the fold to validate on")
    given = parser.parse_args()
    for side, rows in split(given.repo, given.validate, COLUMNS).items():
        row = next(iter(rows))
        first = row["subject_id"], row["lesion_mask"].shape, "NIHSS", row["nihss_admission"]
        print(f"{side}: {rows.num_shards} subjects, first", *first)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
