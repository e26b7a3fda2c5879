"""Values that any UI can display: numbers, text, paths, and the types below."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isles_assets.lib.progress import readable_bytes


class Markdown(str):
    """Text that is rendered as Markdown."""


class Link(str):
    """An address to follow."""


DisplayValues = Mapping[str, bool | int | float | str | Path | Markdown | Link | list[Any] | dict[str, Any]]
"""Values by their name in the UI. Lists and dicts are displayed as JSON."""


def display_size(size: int) -> dict[str, Any]:
    """Return `size` bytes as a number, which a UI can plot, and as text."""
    return {"bytes": size, "size": readable_bytes(size)}
