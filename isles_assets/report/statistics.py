"""Statistics of many subjects' values: quartiles, outliers, and bins of histograms. Numbers only."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

FAR_OUT = 3.0
"""A value is far out if it is more than this many interquartile ranges away from the middle half (Tukey)."""

RARE = 0.05
"""Largest share of the subjects whose deviation from the common value counts as rare."""

_MIN_VALUES = 8
"""With fewer values, none is called unusual."""

_MAX_BINS = 24


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
    """The values from `start` up to `end`. Only the last bin includes its end."""

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
    """What makes a value unlike the others."""

    score: float
    """Distance from the middle half, in interquartile ranges; `FAR_OUT` for a rare value."""
    why: str


def quartiles_of(values: Sequence[float]) -> Quartiles | None:
    """Return the interpolated quartiles; None for fewer than two values."""
    if len(values) < 2:
        return None
    low, median, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(min(values), low, median, high, max(values))


def outliers(values: Mapping[str, float]) -> dict[str, Outlier]:
    """Return the subjects whose values are outliers.

    A value is an outlier if it is far out or, where the middle half of the subjects has one value, if it is rare.

    Args:
        values: Value of each subject.
    """
    quartiles = quartiles_of(list(values.values()))
    if quartiles is None or len(values) < _MIN_VALUES:
        return {}
    interquartile_range = quartiles.high - quartiles.low
    counts = Counter(values.values())
    unusual = {}
    for subject, value in values.items():
        if interquartile_range > 0:
            score = max(quartiles.low - value, value - quartiles.high) / interquartile_range
            if score > FAR_OUT:
                where = "below" if value < quartiles.low else "above"
                middle = f"{format_number(quartiles.low)} to {format_number(quartiles.high)}"
                unusual[subject] = Outlier(score, f"far {where} the middle half of the subjects, {middle}")
        elif value != quartiles.median and counts[value] <= RARE * len(values):
            unusual[subject] = Outlier(FAR_OUT, f"most subjects have {format_number(quartiles.median)}")
    return unusual


def rare(subjects: Sequence[str], total: int) -> dict[str, Outlier]:
    """Return each of `subjects` as an outlier if they are few among `total` subjects; nothing otherwise."""
    if total < _MIN_VALUES or len(subjects) > RARE * total:
        return {}
    why = f"as in {len(subjects)} of {total} subjects"
    return {subject: Outlier(FAR_OUT, why) for subject in subjects}


def histogram(values: Sequence[float]) -> list[Bin]:
    """Return bins of equal width over all values.

    A small range of whole numbers gets one bin for each. Otherwise the number of bins follows the root of the number
    of values.
    """
    if not values:
        return []
    least, greatest = min(values), max(values)
    if all(value == int(value) for value in values) and greatest - least < _MAX_BINS:
        edges = [number - 0.5 for number in range(int(least), int(greatest) + 2)]
    elif least == greatest:
        edges = [least, least]
    else:
        number = max(4, min(_MAX_BINS, round(2 * len(values) ** 0.5)))
        edges = [least + (greatest - least) * index / number for index in range(number)] + [greatest]
    binned: list[list[float]] = [[] for _ in edges[1:]]
    for value in values:
        binned[max(index for index, edge in enumerate(edges[:-1]) if value >= edge)].append(value)
    return [Bin(start, end, inside) for start, end, inside in zip(edges[:-1], edges[1:], binned, strict=True)]


def format_number(value: float) -> str:
    """Return a number for people: whole and large ones without decimals, others with four significant digits."""
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 10_000 else f"{value:.4g}"
