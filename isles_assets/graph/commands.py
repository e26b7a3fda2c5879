"""The commands that messages tell people to run: mends as what is typed in a terminal after `. .venv/bin/activate`."""

import re
import shlex
from collections.abc import Sequence

from isles_assets.lib.findings import InOrder, Materialize, Mend

_SELECT = "--select"
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
    return shlex.join(("dagster", "asset", "materialize", _SELECT, ",".join(mend.assets), *partition))


def also_for(told: str, asset: str, others: Sequence[str]) -> str:
    """The mend that is `told` for `asset`, with commands that materialize `others`, too."""
    return re.sub(rf"(?<={_SELECT} ){re.escape(asset)}(?= |;|$)", ",".join((asset, *others)), told)
