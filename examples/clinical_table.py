"""The clinical variables of all subjects as a pandas table, and which are outcomes; no volume travels.

python examples/clinical_table.py
"""

import argparse
import os
import re
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
from datasets import load_dataset
from huggingface_hub import DatasetCard

REPO = "hugging-science/isles24-stroke"
CONFIG = "preview"
NO_READING_AHEAD = {"hf": {"block_size": 1 << 12}}
"""The Hub's file system fetches at least this much at a time; by default 5 MiB."""
ROW_OF_CARD = re.compile(r"^\| `(\w+)` \| [^|]* \| (at admission|\*\*afterwards \(outcome\)\*\*) \|", re.MULTILINE)


def known(repo: str) -> dict[str, bool]:
    """The clinical variables by column, and whether each is known at admission: False for an outcome.

    The table in the dataset's card says so. An outcome must not serve to predict another.
    """
    folder = Path(repo)
    text = DatasetCard.load(folder / "README.md" if folder.is_dir() else repo).text
    return {column: when == "at admission" for column, when in ROW_OF_CARD.findall(text)}


def clinical_table(repo: str, columns: list[str]) -> pd.DataFrame:
    """`columns` of every subject, by subject id; what is missing is <NA>.

    `repo` is a dataset repo of the Hub or a folder laid out as one.
    """
    rows = load_dataset(
        repo,
        CONFIG,
        split="train",
        streaming=True,
        columns=["subject_id", *columns],
        storage_options=NO_READING_AHEAD,
    )
    table = pa.Table.from_pylist(list(rows), rows.features.arrow_schema)
    return pd.DataFrame(table.to_pandas(types_mapper=pd.ArrowDtype)).set_index("subject_id")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=REPO)
    given = parser.parse_args()
    at_admission = known(given.repo)
    table = clinical_table(given.repo, list(at_admission))
    print(f"{len(table)} subjects, {table.shape[1]} variables")
    for column, values in table.items():
        print(f"{column:28} {'' if at_admission[str(column)] else 'OUTCOME':8} {values.isna().sum():4} missing")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
