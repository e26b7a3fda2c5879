"""The command `isles24`: what people do in a terminal besides Dagster's own commands.

To add a subcommand, add a module with a function `main` here, and its line in `COMMANDS`. A subcommand reads arguments
and prints; other rooms do the work.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from isles_assets.lib.secrets import keep_secrets_out_of_logs

COMMANDS = {
    "doctor": "say whether a run can succeed, and what to do if not",
    "export": "lay a published dataset out for nnU-Net or as BIDS",
    "reset-demo": "remove the synthetic sample and everything made from it",
    "restore": "write a published dataset back as the release's own files",
    "sample": "write a synthetic tree in the layout of the release",
    "summary": "print what a published dataset holds",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand, and return its exit code; 2 if there is no such subcommand.

    Args:
        arguments: The subcommand's name and its arguments; None for those of the command line.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        keep_secrets_out_of_logs()
        return int(import_module(f"isles_assets.cli.{name.replace('-', '_')}").main(rest))
    usage = "\n".join(
        [
            "usage: isles24 COMMAND ...",
            "",
            *(f"  {command:<11} {description}" for command, description in COMMANDS.items()),
        ]
    )
    help_requested = name in ("-h", "--help")
    (sys.stdout if help_requested else sys.stderr).write(f"{usage}\n")
    return 0 if help_requested else 2
