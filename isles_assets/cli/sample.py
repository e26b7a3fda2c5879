"""`isles24 sample ROOT`: write a synthetic release tree."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from isles_assets.cli.exit_codes import exit_code_of
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample

_ROOT = "ROOT"

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="isles24 sample",
        description=f"Write a synthetic tree in the exact layout of the {release.label} release.",
    )
    parser.add_argument("root", type=Path, metavar=_ROOT, help="the train/ folder to make; must not exist")
    parser.add_argument("--subject", nargs="+", action="extend", metavar="SUBJECT", help="only these subjects (all)")
    parser.add_argument(
        "--release-scale", nargs="+", action="extend", default=[], metavar="SUBJECT",
        help="subjects to make as large as in the release, about 0.7 GB each",
    )  # fmt: skip
    parser.add_argument(
        "--lesion", nargs="+", action="extend", default=[], type=_lesion, metavar="SUBJECT=FILE",
        help="take this subject's lesion mask and NCCT grid from a .nii.gz file",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=2024, metavar="N", help="seed of the random heads (2024)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that write (1)")
    options = parser.parse_args(arguments)
    if options.seed < 0 or options.workers < 1:
        parser.error("--seed must not be negative and --workers at least 1")

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    return exit_code_of(lambda: _make(release, options))


def _make(release: Release, options: argparse.Namespace) -> int:
    make_sample(
        release.only(options.subject) if options.subject else release,
        options.root,
        setting=_ROOT,
        release_scale=options.release_scale,
        lesions=dict(options.lesion),
        seed=options.seed,
        workers=options.workers,
    )
    log.info("sample written to %s", options.root)
    return 0


def _lesion(text: str) -> tuple[str, Path]:
    subject, equals, path = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not SUBJECT=FILE")
    return subject, Path(path)
