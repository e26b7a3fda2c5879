"""The command line: measure, keep the numbers, write the report."""

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from benchmarks.areas import AREAS
from benchmarks.machine import machine, versions
from benchmarks.material import ROOM, Material
from benchmarks.plots import draw
from benchmarks.project import REPOSITORY
from benchmarks.report import render
from benchmarks.results import Results
from isles_assets.lib.progress import readable_bytes

DOCS = REPOSITORY / "docs"
LEAST_ROUNDS = 5


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=AREAS, metavar="AREA", help=f"measure these and keep the rest: {', '.join(AREAS)}"
    )
    parser.add_argument("--rounds", type=int, help=f"rounds of each comparison, by default and at least {LEAST_ROUNDS}")
    parser.add_argument(
        "--work", type=Path, help="folder for trees, which are used again, and scratch, 30 GB; default: a temporary one"
    )
    parser.add_argument(
        "--quick", type=Path, metavar="FOLDER", help="try it: tiny inputs, one round, everything written to FOLDER"
    )
    parser.add_argument("--render", action="store_true", help="measure nothing; write the report from the numbers")
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else LEAST_ROUNDS)
    if rounds < (1 if given.quick else LEAST_ROUNDS):
        parser.error(f"--rounds is at least {LEAST_ROUNDS}, or 1 with --quick")
    if given.quick and given.quick.resolve() == DOCS.resolve():
        parser.error("--quick does not write there: that is the place of real numbers")

    folder = given.quick or DOCS
    folder.mkdir(parents=True, exist_ok=True)
    if not given.render:
        for name in [name for name in os.environ if name.startswith(("ISLES_", "DAGSTER_"))]:
            del os.environ[name]  # the user's settings; importing the tests' Hub has put those of the Hub aside
        if given.work:
            given.work.mkdir(parents=True, exist_ok=True)
        with nullcontext(given.work) if given.work else tempfile.TemporaryDirectory() as work:
            _measure(Material(Path(work).absolute(), tiny=bool(given.quick)), rounds, given.only, folder)
    write_report(folder)


def _measure(material: Material, rounds: int, only: Sequence[str] | None, folder: Path) -> None:
    """Measure the areas and store each when it is done; those that are not measured again stay, if they may."""
    results = Results(machine(material.work), versions(), material.tiny)
    if not material.tiny:
        _check(material.work, results.machine["file system"])
    path = folder / "benchmarks.json"
    if only and path.exists():
        before = Results.load(path)
        if not before.comparable(results):
            raise SystemExit(f"{path} is of another machine or other versions: remove it or measure everything")
        results = replace(before, versions=results.versions)
    for name in only or AREAS:
        results.areas[name] = list(AREAS[name].measure(material, rounds))
        results.save(path)


def _check(work: Path, file_system: str) -> None:
    """Stop where the numbers would not be of a disk, or the disk would be full."""
    if file_system in ("tmpfs", "ramfs"):
        raise SystemExit(f"{work} is in memory: give a folder on a disk as --work")
    if shutil.disk_usage(work).free < ROOM:
        raise SystemExit(f"{work} has less than {readable_bytes(ROOM)} free: give another folder as --work")


def write_report(folder: Path) -> None:
    """Write the page and its pictures from the numbers in `folder`."""
    results = Results.load(folder / "benchmarks.json")
    (folder / "benchmarks.md").write_text(render(results))
    (folder / "images").mkdir(exist_ok=True)
    draw(results, folder / "images")


if __name__ == "__main__":
    main()
