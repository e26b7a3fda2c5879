"""The commands that messages tell people to run: mends as what is typed in a terminal."""

from isles_assets.lib.findings import InOrder, Materialize, Mend

BUILD = "dagster job execute -m isles_assets -j build"


def render(mend: Mend) -> str:
    """`mend` as people can follow it: the words, or the command that does it."""
    if isinstance(mend, InOrder):
        return "; then ".join(map(render, mend.steps))
    if not isinstance(mend, Materialize):
        return str(mend)
    if not mend.assets:
        return BUILD
    command = f"dagster asset materialize -m isles_assets --select {','.join(mend.assets)}"
    return f"{command} --partition {mend.subject}" if mend.subject else command
