"""Mends as commands that people run in a terminal after `. .venv/bin/activate`."""

import re
import shlex
from collections.abc import Sequence

from isles_assets.lib.findings import InOrder, Materialize, Mend

_SELECT = "--select"
BUILD = "dagster job execute -j build"


def render(mend: Mend) -> str:
    """Return the command for `mend`, quoted for a shell, or its text if there is no command."""
    if isinstance(mend, InOrder):
        return "; then ".join(map(render, mend.steps))
    if not isinstance(mend, Materialize):
        return str(mend)
    if not mend.assets:
        return BUILD
    partition = ("--partition", mend.subject) if mend.subject else ()
    return shlex.join(("dagster", "asset", "materialize", _SELECT, ",".join(mend.assets), *partition))


def select_also(text: str, asset: str, others: Sequence[str]) -> str:
    """Return `text` with commands that materialize `others` together with `asset`, wherever it has one for `asset`."""
    return re.sub(rf"(?<={_SELECT} ){re.escape(asset)}(?= |;|$)", ",".join((asset, *others)), text)
