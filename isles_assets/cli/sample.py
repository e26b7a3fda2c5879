"""`isles24 sample ROOT`: write a synthetic release tree."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from isles_assets.cli.words import in_words
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command; 0 if the tree stands, 1 with the reason on stderr if it was refused."""
    parser = argparse.ArgumentParser(
        prog="isles24 sample",
        description=f"Write a synthetic tree in the exact layout of the {release.label} release.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT", help="the train/ folder to make; must not exist")
    parser.add_argument("--subject", nargs="+", action="extend", metavar="SUBJECT", help="only these (default: all)")
    parser.add_argument(
        "--release-scale", nargs="+", action="extend", default=[], metavar="SUBJECT",
        help="make these as large as in the release: about 0.7 GB each",
    )  # fmt: skip
    parser.add_argument(
        "--lesion", nargs="+", action="extend", default=[], type=_lesion, metavar="SUBJECT=FILE",
        help="take this subject's lesion mask and NCCT grid from a .nii.gz file",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=2024, metavar="N", help="another seed, other heads (2024)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes to write with (1)")
    chosen = parser.parse_args(arguments)
    if chosen.seed < 0 or chosen.workers < 1:
        parser.error("--seed must not be negative and --workers at least 1")

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    return in_words(lambda: _make(release, chosen))


def _make(release: Release, chosen: argparse.Namespace) -> int:
    make_sample(
        release.only(chosen.subject) if chosen.subject else release,
        chosen.root,
        release_scale=chosen.release_scale,
        lesions=dict(chosen.lesion),
        seed=chosen.seed,
        workers=chosen.workers,
    )
    log.info("sample written to %s", chosen.root)
    return 0


def _lesion(text: str) -> tuple[str, Path]:
    subject, equals, path = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not SUBJECT=FILE")
    return subject, Path(path)
