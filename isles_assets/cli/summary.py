"""`isles24 summary [DATASET]`: print what a published dataset holds, as its users see it.

It streams each config with `load_dataset`, and prints subjects, columns, sizes and one decoded row.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence

from datasets import Image, Nifti, get_dataset_config_names

from isles_assets.cli.exit_codes import exit_code_of
from isles_assets.hub.reading import open_revision
from isles_assets.hub.streaming import first_row, loading_explained, rows_of, splits_of, subject_rows
from isles_assets.lib.findings import Refusal
from isles_assets.lib.words import counted
from isles_assets.products.config import SPLIT
from isles_assets.release.default import RELEASE
from isles_assets.tables.storage import SUBJECT_COLUMN


def summarize_dataset(location: str, *, short: bool = False) -> Iterator[str]:
    """Yield lines on every config of a dataset.

    Args:
        location: Repo id on the Hub, or a folder.
        short: Yield one line for each config, and decode no row.

    Raises:
        Refusal: There is no such dataset, or it does not load.
    """
    open_revision(location)  # its refusals say best what is missing, or may not be read
    with loading_explained(location):
        yield from _lines(location, short=short)


def _lines(location: str, *, short: bool) -> Iterator[str]:
    for name in sorted(get_dataset_config_names(location), key=lambda name: (name != "default", name)):
        for split in sorted(splits_of(location, name), key=lambda split: split != SPLIT):
            yield from _lines_of_split(location, name, split, short=short)


def _lines_of_split(location: str, name: str, split: str, *, short: bool) -> Iterator[str]:
    dataset = rows_of(location, name, split)
    if SUBJECT_COLUMN not in (dataset.features or ()):
        problem = f"has no column {SUBJECT_COLUMN} in {name}"
        raise Refusal.of("This is another dataset.", problem, "name one that isles-assets published", path=location)
    subjects = [row[SUBJECT_COLUMN] for row in subject_rows(location, name, split)]
    stated = (dataset.info.splits or {}).get(split)
    span = f", {subjects[0]} to {subjects[-1]}" if subjects else ""
    size = f"; {stated.num_bytes:,} bytes" if stated else ""
    where = name if split == SPLIT else f"{name}, split {split}"
    yield f"{where}: {counted(len(subjects), 'subject')}{span}{size}"
    if short or not subjects:
        return
    row = first_row(dataset)
    filled = [column for column, value in row.items() if value is not None]
    volumes = [column for column in filled if isinstance(dataset.features[column], Nifti)]
    pictures = [column for column in filled if isinstance(dataset.features[column], Image)]
    others = [column for column in dataset.features if not isinstance(dataset.features[column], Nifti | Image)]
    if volumes:
        yield f"  {counted(len(volumes), 'volume')}: {', '.join(volumes)}"
    if pictures:
        yield f"  {counted(len(pictures), 'picture')}: {', '.join(pictures)}"
    yield f"  {counted(len(others), 'other column')}: {', '.join(others)}"
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
    """Run the command, and end the process with its exit code."""
    parser = argparse.ArgumentParser(
        prog="isles24 summary", description="Print what a published dataset holds, as its users see it."
    )
    parser.add_argument(
        "dataset", nargs="?", default=RELEASE.repo, help=f"repo id on the Hub, or a folder ({RELEASE.repo})"
    )
    parser.add_argument("--short", action="store_true", help="print one line for each config, and decode no row")
    options = parser.parse_args(arguments)
    code = exit_code_of(lambda: _print(options.dataset, short=options.short))
    sys.stderr.flush()
    # At a normal end Arrow's threads may abort the process: https://github.com/apache/arrow/issues/45214
    os._exit(code)
