"""Stream the first subjects: their ids, the shapes of two volumes, and the NIHSS at admission. No other column travels.

python examples/stream_subjects.py --number 3
"""

import argparse
import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

from datasets import load_dataset

REPO = "hugging-science/isles24-stroke"
COLUMNS = ["subject_id", "ncct", "lesion_mask", "nihss_admission"]
NO_READING_AHEAD = {"hf": {"block_size": 1 << 16}}
"""Without it the Hub's file system fetches up to 5 MiB beyond each column."""


def subjects(repo: str, number: int) -> Iterator[dict[str, Any]]:
    """The first `number` subjects, sorted by id: a volume is a nibabel image, a missing value None.

    `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    rows = load_dataset(repo, split="train", streaming=True, columns=COLUMNS, storage_options=NO_READING_AHEAD)
    yield from islice(rows, number)  # `rows.take` would read one more


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    parser.add_argument("--number", type=int, default=3)
    given = parser.parse_args()
    for row in subjects(given.repo, given.number):
        print(row["subject_id"], row["ncct"].shape, row["lesion_mask"].shape, "NIHSS", row["nihss_admission"])


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
