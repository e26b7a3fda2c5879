"""The areas that are measured, in the order of the report."""

from collections.abc import Iterator
from typing import Protocol

from benchmarks import (
    building,
    decoding,
    extracting,
    graph,
    growth,
    previewing,
    publishing,
    reading,
    release_scale,
    rerun,
    writing,
)
from benchmarks.material import Material
from benchmarks.measure import Comparison


class Area(Protocol):
    """A module that measures one thing."""

    def measure(self, material: Material, rounds: int) -> Iterator[Comparison]:
        """One comparison after the other, each of so many rounds."""
        ...


AREAS: dict[str, Area] = {
    "extracting": extracting,
    "building": building,
    "writing": writing,
    "decoding": decoding,
    "previewing": previewing,
    "graph": graph,
    "rerun": rerun,
    "release_scale": release_scale,
    "growth": growth,
    "publishing": publishing,
    "reading": reading,
}
