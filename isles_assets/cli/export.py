"""`isles24 export nnunet|bids DATASET OUT`: lay a published dataset out for a training framework or as BIDS."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from isles_assets.cli.exit_codes import exit_code_of
from isles_assets.cli.restore import unknown_names
from isles_assets.lib.findings import Refusal
from isles_assets.published import bids, nnunet
from isles_assets.published.nnunet import NUMBER, default_channels, masks
from isles_assets.published.source import HEADLINE, Choice
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release

log = logging.getLogger("isles_assets.export")


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command, and return its exit code."""
    options = make_parser(release).parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("isles_assets").setLevel(logging.INFO)
    interrupted = "Stopped. Restored files stay; run the same command again to continue."
    return exit_code_of(lambda: _export(release, options), interrupted)


def make_parser(release: Release) -> argparse.ArgumentParser:
    """Return the parser of the command, with a parser for each form of export."""
    parser = argparse.ArgumentParser(
        prog="isles24 export", description="Lay a published dataset out for nnU-Net or as BIDS, whole or not at all."
    )
    forms = parser.add_subparsers(dest="form", required=True, metavar="nnunet|bids")
    for_nnunet = forms.add_parser(
        "nnunet",
        help="for nnU-Net v2: images, labels, dataset.json, splits",
        description="Make the raw dataset of nnU-Net v2: images linked to the release's files, labels as whole "
        "numbers on their grid, dataset.json, and splits by the published folds.",
    )
    _add_common(for_nnunet, "nnUNet_raw, in which Dataset024_ISLES24 is made, or a folder of such a name")
    for_nnunet.add_argument(
        "--channels", nargs="+", action="extend", metavar="COLUMN",
        help=f"registered volumes, in the order of the channels ({' '.join(default_channels(release))})",
    )  # fmt: skip
    for_nnunet.add_argument(
        "--target", default=masks(release)[0], metavar="COLUMN",
        help=f"mask to learn, among {', '.join(masks(release))} ({masks(release)[0]})",
    )  # fmt: skip
    number = f"number of the dataset ({NUMBER})"
    for_nnunet.add_argument("--id", type=_dataset_number, default=NUMBER, metavar="N", help=number)
    for_nnunet.add_argument(
        "--resample", action="store_true",
        help="resample volumes that are on another grid; without it, their subjects are left out",
    )  # fmt: skip
    for_bids = forms.add_parser(
        "bids",
        help="as BIDS: raw images, derivatives, participants",
        description="Lay the release out in the folders and names of BIDS, with participants.tsv and sidecars. "
        "Volumes are linked to the release's files and never changed. BIDS knows no CT: CT is named by the draft "
        "BEP024, and listed in .bidsignore.",
    )
    _add_common(for_bids, "folder to make")
    for_bids.add_argument("--volume", nargs="+", action="extend", metavar="COLUMN", help="only these volumes (all)")
    return parser


def _add_common(parser: argparse.ArgumentParser, out: str) -> None:
    parser.add_argument(
        "dataset", metavar="DATASET",
        help="repo id on the Hub, a folder laid out as the repo, or a tree that `isles24 restore` wrote",
    )  # fmt: skip
    parser.add_argument("out", type=Path, metavar="OUT", help=out)
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit on the Hub (main)")
    parser.add_argument("--subject", nargs="+", action="extend", metavar="ID", help="only these subjects (all)")
    parser.add_argument(
        "--tree", type=Path, metavar="TREE",
        help="folder that volumes of a published dataset are restored to, and linked from (isles24-v7 beside the "
        "export); later exports use it again",
    )  # fmt: skip
    parser.add_argument(
        "--tables", metavar="DATASET",
        help="if DATASET is a restored tree: published dataset to take folds and clinical variables from",
    )  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export, and other files in TREE")
    parser.add_argument("--workers", type=_positive, default=4, metavar="N", help="threads that read and write (4)")


def _dataset_number(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 999:
        raise argparse.ArgumentTypeError("must be from 1 to 999")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _export(release: Release, options: argparse.Namespace) -> int:
    if unknown := list(unknown_names(options.subject, release.subjects, "subject")):
        raise Refusal(HEADLINE, unknown)
    choice = Choice(
        options.dataset, options.revision, options.subject, options.tree, options.overwrite, options.workers
    )
    if options.form == "bids":
        columns = options.volume
        if unknown := list(unknown_names(columns, release.by_column, "volume")):
            raise Refusal(HEADLINE, unknown)
        exported = bids.export_bids(release, options.out, choice, columns, options.tables, log.info)
        lines = bids.describe_export(exported)
    else:
        wanted = nnunet.Options(
            options.target, tuple(options.channels or ()), options.id, options.resample, options.tables
        )
        lines = nnunet.describe_export(release, nnunet.export_nnunet(release, options.out, choice, wanted, log.info))
    log.info("%s", "\n".join(lines))
    return 0
