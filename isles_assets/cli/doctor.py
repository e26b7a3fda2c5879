"""`isles24 doctor`: say in less than a minute whether a run can succeed, and what to do if not. It sends nothing."""

import argparse
import json
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from isles_assets.cli.exit_codes import REFUSED, exit_code_of
from isles_assets.lib.env_file import load_env_file
from isles_assets.lib.findings import visible
from isles_assets.release.default import RELEASE
from isles_assets.release.release import Release

if TYPE_CHECKING:
    from isles_assets.doctor.lines import Line

_WIDTH = 118
_PATIENCE = 40
"""Seconds for the instance."""

_OF_INSTANCE = "isles_assets.graph.examining"
"""Prints the lines on Dagster's instance as JSON. It has a process of its own: Dagster takes seconds to import, and an
instance that cannot be opened, or hangs, must not end the examination."""


def main(arguments: Sequence[str] | None = None, release: Release = RELEASE) -> int:
    """Run the command, and return its exit code: 0 if there is no blocker."""
    parser = argparse.ArgumentParser(
        prog="isles24 doctor",
        description="Say in less than a minute whether a run with the present settings can succeed: settings, "
        "versions, data folder, Zenodo, the archive's listing, the tree, the Hub and runs in progress. It sends "
        "nothing, and ends with exit code 0 unless something would make a run fail.",
    )
    parser.add_argument("--json", action="store_true", help="print the lines as JSON")
    parser.add_argument(
        "--take-over", default="", metavar="COMMIT",
        help="the commit of somebody else's files that the publication is to replace: they then block nothing",
    )  # fmt: skip
    options = parser.parse_args(arguments)

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    return exit_code_of(lambda: _examine(release, options))


def _examine(release: Release, options: argparse.Namespace) -> int:
    replaced = load_env_file(Path.cwd())
    # The clients read the environment when they are imported.
    from isles_assets.doctor.examination import examine
    from isles_assets.doctor.lines import blockers, verdict
    from isles_assets.products.dataset import Dataset
    from isles_assets.settings.fields import SettingFields

    lines = examine(
        SettingFields(),
        Dataset.of(release),
        Path.cwd(),
        instance=_instance_lines,
        replaced=replaced,
        take_over=options.take_over,
    )
    if options.json:
        sys.stdout.write(json.dumps([_as_json(line) for line in lines], indent=1) + "\n")
    else:
        sys.stdout.write("\n".join([*_screen(lines), "", verdict(lines)]) + "\n")
    return REFUSED if blockers(lines) else 0


def _as_json(line: "Line") -> dict[str, str]:
    return {"topic": line.topic, "status": line.status, "what": line.what, "mend": str(line.mend)}


def _screen(lines: Iterable["Line"]) -> Iterator[str]:
    """Yield the lines of a screen, one topic after the other."""
    last = ""
    for line in lines:
        topic, last = "" if line.topic == last else line.topic, line.topic
        head = f"{topic:<12} {'' if line.status == 'fine' else line.status:<8}"
        yield from textwrap.wrap(
            visible(line.what),
            _WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_long_words=False,
            break_on_hyphens=False,
        )
        if line.mend:
            arrow = " " * len(head) + "-> "
            yield from textwrap.wrap(
                visible(str(line.mend)), _WIDTH, initial_indent=arrow, subsequent_indent=" " * len(arrow),
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip


def _instance_lines() -> list["Line"]:
    """Return the lines on Dagster's instance, from another process; a note if it cannot tell."""
    from isles_assets.doctor.lines import Line, Status, Topic

    command = (sys.executable, "-m", _OF_INSTANCE)
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603
        if not ended.returncode:
            return [Line(**{**line, "status": Status(line["status"])}) for line in json.loads(ended.stdout)]
        reason = (ended.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"nothing within {_PATIENCE} s"
    mend = "see whether the UI starts; DAGSTER_HOME, or dagster.yaml here, says where the instance is"
    return [Line(Topic.INSTANCE, Status.BLOCKER, f"Dagster's instance cannot be opened: {reason}", mend)]
