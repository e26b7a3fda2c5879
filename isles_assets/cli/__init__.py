"""The command `isles24`: what people do in a terminal beside Dagster's own commands.

A subcommand is a module here with a function `main`, and its line in `COMMANDS`. It reads arguments and prints; the
work is done in the other rooms.
"""

import sys
from collections.abc import Sequence
from importlib import import_module

from isles_assets.lib.secrets import keep_secrets_out_of_logs

COMMANDS = {
    "reset-demo": "remove the synthetic sample and all that was made of it",
    "restore": "write a published dataset back as the release's own files",
    "sample": "write a synthetic tree in the layout of the release",
    "summary": "say what a published dataset holds",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the subcommand that `arguments` (None: the command line's) begin with; its exit code, 2 without one."""
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in COMMANDS:
        keep_secrets_out_of_logs()
        return int(import_module(f"isles_assets.cli.{name.replace('-', '_')}").main(rest))
    usage = "\n".join(["usage: isles24 COMMAND ...", "", *(f"  {key:<11} {does}" for key, does in COMMANDS.items())])
    asked = name in ("-h", "--help")
    (sys.stdout if asked else sys.stderr).write(f"{usage}\n")
    return 0 if asked else 2
