"""What many subjects' values show together: quartiles, which values are far out, and bins to draw. Numbers only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

FAR_OUT = 3.0
"""A value farther from the middle half than this many times its width is far out (Tukey)."""

RARE = 0.05
"""Share of the subjects up to which a value that differs from that of most is rare."""

_ENOUGH = 8
"""Values without which nothing can be called unusual."""

_MOST_BINS = 24


@dataclass(frozen=True)
class Quartiles:
    """Least value, quartiles and greatest value."""

    least: float
    low: float
    median: float
    high: float
    greatest: float


@dataclass(frozen=True)
class Bin:
    """So many values from `start` up to `end`, which the last bin includes: `least` to `greatest`."""

    start: float
    end: float
    values: Sequence[float]

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def greatest(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Outlier:
    """A value that is unlike the others: how far out, in widths of their middle half, and `why` in words."""

    score: float
    why: str


def quartiles_of(values: Sequence[float]) -> Quartiles | None:
    """The quartiles of `values`, interpolated; None of fewer than two values."""
    if len(values) < 2:
        return None
    low, median, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(min(values), low, median, high, max(values))


def outliers(values: Mapping[str, float]) -> dict[str, Outlier]:
    """Those of `values`, by subject, that are far out or, where most subjects have one value, rarely another."""
    quartiles = quartiles_of(list(values.values()))
    if quartiles is None or len(values) < _ENOUGH:
        return {}
    width, found = quartiles.high - quartiles.low, dict[str, Outlier]()
    counts = Counter(values.values())
    for subject, value in values.items():
        if width > 0:
            score = max(quartiles.low - value, value - quartiles.high) / width
            if score > FAR_OUT:
                where = "below" if value < quartiles.low else "above"
                middle = f"{shown(quartiles.low)} to {shown(quartiles.high)}"
                found[subject] = Outlier(score, f"far {where} the middle half of the subjects, {middle}")
        elif value != quartiles.median and counts[value] <= RARE * len(values):
            found[subject] = Outlier(FAR_OUT, f"most subjects have {shown(quartiles.median)}")
    return found


def rare(subjects: Sequence[str], number: int) -> dict[str, Outlier]:
    """An outlier for each of `subjects` if these are few among `number` of them; none if they are not."""
    if number < _ENOUGH or len(subjects) > RARE * number:
        return {}
    why = f"as in {len(subjects)} of {number} subjects"
    return {subject: Outlier(FAR_OUT, why) for subject in subjects}


def histogram(values: Sequence[float]) -> list[Bin]:
    """Bins of one width over all `values`: one for each whole number if there are few, else about a root of them."""
    if not values:
        return []
    least, greatest = min(values), max(values)
    if all(value == int(value) for value in values) and greatest - least < _MOST_BINS:
        first, last = int(least), int(greatest)
        edges = [number - 0.5 for number in range(first, last + 2)]
    elif least == greatest:
        edges = [least, least]
    else:
        number = max(4, min(_MOST_BINS, round(2 * len(values) ** 0.5)))
        edges = [least + (greatest - least) * index / number for index in range(number)] + [greatest]
    held: list[list[float]] = [[] for _ in edges[1:]]
    for value in values:
        held[max(index for index, edge in enumerate(edges[:-1]) if value >= edge)].append(value)
    return [Bin(start, end, of) for start, end, of in zip(edges[:-1], edges[1:], held, strict=True)]


def shown(value: float) -> str:
    """A number with the digits that people read: whole ones as they are, others with four."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 10_000 else f"{value:.4g}"
