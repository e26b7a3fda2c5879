"""What a published dataset holds, as its users see it: `python -m isles_assets.summary [DATASET]`.

Loads each config with `load_dataset`, streaming, and prints subjects, columns and sizes and one decoded row.
"""

import argparse
import os
import sys
from collections.abc import Iterator

from datasets import Image, Nifti, get_dataset_config_names

from isles_assets.dataset.schema import SUBJECT_COLUMN
from isles_assets.streaming import first_row, rows_of, subject_rows


def summarize_dataset(location: str) -> Iterator[str]:
    """Lines on every config of the dataset at `location`, a Hub repo id or a folder."""
    for name in sorted(get_dataset_config_names(location), key=lambda name: (name != "default", name)):
        dataset = rows_of(location, name)
        volumes = [column for column, feature in dataset.features.items() if isinstance(feature, Nifti)]
        pictures = [column for column, feature in dataset.features.items() if isinstance(feature, Image)]
        others = [column for column in dataset.features if column not in (*volumes, *pictures)]
        subjects = [row[SUBJECT_COLUMN] for row in subject_rows(location, name)]
        size = dataset.info.download_size
        yield f"{name}: {len(subjects)} subjects, {subjects[0]} to {subjects[-1]}; {size:,} bytes"
        if volumes:
            yield f"  {len(volumes)} volumes: {', '.join(volumes)}"
        if pictures:
            yield f"  {len(pictures)} pictures: {', '.join(pictures)}"
        yield f"  {len(others)} other columns: {', '.join(others)}"
        row = first_row(dataset)
        for column in volumes:
            image = row[column]
            yield f"  {row[SUBJECT_COLUMN]} {column}: {'x'.join(map(str, image.shape))} {image.get_data_dtype()}"
        if pictures:
            sizes = sorted({"x".join(map(str, row[column].size)) for column in pictures})
            yield f"  {row[SUBJECT_COLUMN]} pictures: {', '.join(sizes)}"


def main() -> None:
    """Print the summary of the dataset named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m isles_assets.summary", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="hugging-science/isles24-stroke", help="repo id or folder")
    for line in summarize_dataset(parser.parse_args().dataset):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # Arrow's threads may abort a script that ends without: https://github.com/apache/arrow/issues/45214
