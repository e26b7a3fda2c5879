"""The geometry of the charts: where bars and ticks stand, in the units of the drawing. The template draws them."""

from collections.abc import Sequence
from dataclasses import dataclass

from isles_assets.report.statistics import Bin, shown

WIDTH, HEIGHT = 320, 96
"""Of the area in which bars stand."""

_LEAST_BAR = 2.0
"""Height of a bar of one subject, which must be seen beside one of a hundred."""


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram, and the bin that it stands for."""

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
    """A bar for each of `bins`, side by side over the whole width, the highest as high as the area."""
    most, width = max((each.count for each in bins), default=0), WIDTH / max(1, len(bins))
    found = []
    for number, each in enumerate(bins):
        height = max(_LEAST_BAR, HEIGHT * each.count / most) if each.count else 0.0
        found.append(Bar(round(number * width, 2), round(HEIGHT - height, 2), round(width, 2), round(height, 2), each))
    return found


def ticks(bins: Sequence[Bin]) -> list[Tick]:
    """The ends of the range of `bins`; where each is a whole number, the first and the last."""
    if not bins:
        return []
    whole = _is_whole(bins[0])
    first, last = (bins[0].start + 0.5, bins[-1].end - 0.5) if whole else (bins[0].start, bins[-1].end)
    return [Tick(WIDTH / 2, shown(first))] if first == last else [Tick(0, shown(first)), Tick(WIDTH, shown(last))]


def _is_whole(each: Bin) -> bool:
    return each.end - each.start == 1 and each.start % 1 == 0.5


def _range(each: Bin) -> str:
    if _is_whole(each):
        return shown(each.start + 0.5)
    return shown(each.start) if each.start == each.end else f"{shown(each.start)} to {shown(each.end)}"
