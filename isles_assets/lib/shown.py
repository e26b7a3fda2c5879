"""Values that people see in a UI, without a word on which UI: numbers, text, paths, and the kinds below."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isles_assets.lib.progress import readable_bytes


class Markdown(str):
    """Text that is rendered as Markdown."""


class Link(str):
    """An address to follow."""


Shown = Mapping[str, bool | int | float | str | Path | Markdown | Link | list[Any] | dict[str, Any]]
"""By name. Lists and dicts are shown as JSON."""


def shown_size(size: int) -> dict[str, Any]:
    """`size` bytes, as a number to plot and for people."""
    return {"bytes": size, "size": readable_bytes(size)}
