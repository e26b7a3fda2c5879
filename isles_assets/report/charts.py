"""The geometry of the charts: where bars and ticks stand, in units of the drawing. The template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from isles_assets.report.statistics import Bin, format_number

WIDTH, HEIGHT = 320, 96
"""Of the area of the bars."""

_MIN_BAR_HEIGHT = 2.0
"""Keeps a bar of one subject visible beside one of a hundred."""


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, and its bin."""

    x: float
    y: float
    width: float
    height: float
    bin: Bin

    @property
    def title(self) -> str:
        return f"{_range(self.bin)}: {self.bin.count}"


@dataclass(frozen=True)
class Tick:
    """A number below the bars, at `x`."""

    x: float
    label: str


def bars(bins: Sequence[Bin]) -> list[Bar]:
    """Return one bar for each bin, side by side over the whole width. The highest is as high as the area."""
    greatest, width = max((bin_.count for bin_ in bins), default=0), WIDTH / max(1, len(bins))
    drawn = []
    for index, bin_ in enumerate(bins):
        height = max(_MIN_BAR_HEIGHT, HEIGHT * bin_.count / greatest) if bin_.count else 0.0
        drawn.append(Bar(round(index * width, 2), round(HEIGHT - height, 2), round(width, 2), round(height, 2), bin_))
    return drawn


def ticks(bins: Sequence[Bin]) -> list[Tick]:
    """Return the ends of the bins' range. If each bin is a whole number, these are the first and the last."""
    if not bins:
        return []
    first, last = bins[0].start, bins[-1].end
    if _is_whole_number(bins[0]):
        first, last = first + 0.5, last - 0.5
    if first == last:
        return [Tick(WIDTH / 2, format_number(first))]
    return [Tick(0, format_number(first)), Tick(WIDTH, format_number(last))]


def _is_whole_number(bin_: Bin) -> bool:
    return bin_.end - bin_.start == 1 and bin_.start % 1 == 0.5


def _range(bin_: Bin) -> str:
    if _is_whole_number(bin_):
        return format_number(bin_.start + 0.5)
    if bin_.start == bin_.end:
        return format_number(bin_.start)
    return f"{format_number(bin_.start)} to {format_number(bin_.end)}"
