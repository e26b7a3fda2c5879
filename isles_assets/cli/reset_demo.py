"""`isles24 reset-demo [DATA]`: remove the sample and everything made from it, and nothing else."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from isles_assets.cli.exit_codes import exit_code_of
from isles_assets.products.dataset import Dataset
from isles_assets.publication.of_sample import remove_sample
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.tables.folder import DataFolder

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="isles24 reset-demo",
        description="Remove a data folder's content if all of it was made from the synthetic sample.",
    )
    parser.add_argument("data", type=Path, nargs="?", default=Path("data"), metavar="DATA", help="data folder (data)")
    folder = DataFolder(parser.parse_args(arguments).data.resolve(), release)

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    return exit_code_of(lambda: _remove(Dataset.of(release), folder))


def _remove(dataset: Dataset, folder: DataFolder) -> int:
    removed = remove_sample(dataset, folder)
    for path in removed:
        log.info("removed %s", path)
    log.info("Dagster's history of runs is kept." if removed else "There was nothing to remove.")
    return 0
