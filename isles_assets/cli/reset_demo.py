"""`isles24 reset-demo [DATA]`: remove the sample and all that was made of it, and nothing else."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from isles_assets.cli.words import in_words
from isles_assets.products.dataset import Dataset
from isles_assets.publication.of_sample import remove_sample
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.tables.folder import DataFolder

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command; 0 if nothing of the sample is left, 1 with the reason on stderr if it was refused."""
    parser = argparse.ArgumentParser(
        prog="isles24 reset-demo",
        description="Remove a data folder's content if all of it was made from the synthetic sample.",
    )
    parser.add_argument("data", type=Path, nargs="?", default=Path("data"), metavar="DATA", help="data folder (data)")
    folder = DataFolder(parser.parse_args(arguments).data.resolve(), release)

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    return in_words(lambda: _remove(Dataset.of(release), folder))


def _remove(dataset: Dataset, folder: DataFolder) -> int:
    removed = remove_sample(dataset, folder)
    for path in removed:
        log.info("removed %s", path)
    log.info("The history of runs stays." if removed else "Nothing was there.")
    return 0
