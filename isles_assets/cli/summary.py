"""What a published dataset holds, as its users see it: `isles24 summary [DATASET]`.

Loads each config with `load_dataset`, streaming, and prints subjects, columns and sizes and one decoded row.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from datasets import Image, Nifti, get_dataset_config_names

from isles_assets.cli.words import in_words
from isles_assets.hub.reading import open_revision
from isles_assets.hub.streaming import first_row, loading_explained, rows_of, subject_rows
from isles_assets.lib.findings import Refusal
from isles_assets.lib.words import counted
from isles_assets.release.default import RELEASE
from isles_assets.tables.storage import SUBJECT_COLUMN


def summarize_dataset(location: str, *, short: bool = False) -> Iterator[str]:
    """Lines on every config of the dataset at `location`, a Hub repo id or a folder; one a config if `short`.

    Raises `Refusal` if there is no such dataset, or if it does not load.
    """
    open_revision(location)  # it says best what is not there, or may not be read
    with loading_explained(location):
        yield from _lines(location, short=short)


def _lines(location: str, *, short: bool) -> Iterator[str]:
    for name in sorted(get_dataset_config_names(location), key=lambda name: (name != "default", name)):
        dataset = rows_of(location, name)
        if SUBJECT_COLUMN not in (dataset.features or ()):
            problem = f"has no column {SUBJECT_COLUMN} in {name}"
            raise Refusal.of("This is another dataset.", problem, "name one that was published by this", path=location)
        volumes = [column for column, feature in dataset.features.items() if isinstance(feature, Nifti)]
        pictures = [column for column, feature in dataset.features.items() if isinstance(feature, Image)]
        others = [column for column in dataset.features if column not in (*volumes, *pictures)]
        subjects = [row[SUBJECT_COLUMN] for row in subject_rows(location, name)]
        size = dataset.info.download_size  # known from a card
        which = f", {subjects[0]} to {subjects[-1]}" if subjects else ""
        yield f"{name}: {counted(len(subjects), 'subject')}{which}{'' if size is None else f'; {size:,} bytes'}"
        if short or not subjects:
            continue
        if volumes:
            yield f"  {counted(len(volumes), 'volume')}: {', '.join(volumes)}"
        if pictures:
            yield f"  {counted(len(pictures), 'picture')}: {', '.join(pictures)}"
        yield f"  {counted(len(others), 'other column')}: {', '.join(others)}"
        row = first_row(dataset)
        for column in volumes:
            image = row[column]
            yield f"  {row[SUBJECT_COLUMN]} {column}: {'x'.join(map(str, image.shape))} {image.get_data_dtype()}"
        if pictures:
            sizes = sorted({"x".join(map(str, row[column].size)) for column in pictures})
            yield f"  {row[SUBJECT_COLUMN]} pictures: {', '.join(sizes)}"


def _print(location: str, *, short: bool) -> int:
    for line in summarize_dataset(location, short=short):
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary of the dataset that is named; 0, or 1 with the reason on stderr if it was refused."""
    parser = argparse.ArgumentParser(prog="isles24 summary", description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default=RELEASE.repo, help="repo id or folder")
    parser.add_argument("--short", action="store_true", help="one line a config, without decoding a row")
    chosen = parser.parse_args(arguments)
    code = in_words(lambda: _print(chosen.dataset, short=chosen.short))
    sys.stderr.flush()
    os._exit(
        code
    )  # Arrow's threads may abort a process that ends without: https://github.com/apache/arrow/issues/45214
