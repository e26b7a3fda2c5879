"""The commands that messages tell people to run: mends as what is typed in a terminal after `. .venv/bin/activate`."""

import shlex

from isles_assets.lib.findings import InOrder, Materialize, Mend

BUILD = "dagster job execute -j build"


def render(mend: Mend) -> str:
    """`mend` as people can follow it: the words, or the command that does it, quoted for a shell."""
    if isinstance(mend, InOrder):
        return "; then ".join(map(render, mend.steps))
    if not isinstance(mend, Materialize):
        return str(mend)
    if not mend.assets:
        return BUILD
    partition = ("--partition", mend.subject) if mend.subject else ()
    return shlex.join(("dagster", "asset", "materialize", "--select", ",".join(mend.assets), *partition))
