"""Numbers in sentences for people."""

from collections.abc import Sequence
from statistics import median


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return `number` with its noun: `1 file`, `2 files`, `1,234 files`. An empty `plural` is the singular with -s."""
    return f"{number:,} {singular if number == 1 else plural or f'{singular}s'}"


def spread(values: Sequence[float]) -> str:
    """Return the median of `values`, with the least and greatest: `13.1 (0 to 146)`; empty if there are none."""
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})" if values else ""
