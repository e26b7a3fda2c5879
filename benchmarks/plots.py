"""The report's pictures, from the numbers alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import building, graph, growth, writing
from benchmarks.baselines import ISAL
from benchmarks.measure import Comparison
from benchmarks.report import BUILD_AT_MOST
from benchmarks.results import Results
from isles_assets.lib.progress import readable_bytes

_OURS, _OURS_TOO, _OTHERS, _BASELINE, _LIMIT = "#1b6ca8", "#7fb2d9", "#b4bcc6", "#5b6570", "#b3261e"
_DPI = 100


def draw(results: Results, folder: Path) -> None:
    """Write a picture for each area that has one and is measured."""
    for area, figure in _FIGURES.items():
        if area in results.areas:
            figure(results.areas[area]).savefig(folder / f"benchmark-{area}.png", dpi=_DPI)


def draw_building(comparisons: Sequence[Comparison]) -> Figure:
    """Time of each way relative to the baseline, by subject."""
    ways = {
        building.DECODED: ("build_shard", _OURS),
        building.DIGESTED: ("read, decode, digest", _OURS_TOO),
        building.INSPECTED: ("decode", "#a9cbe4"),
        building.COPIED: ("write and fsync", _OTHERS),
        building.HASHED: ("one SHA-256", "#8893a0"),
    }
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(ways)
    for number, (way, (label, color)) in enumerate(ways.items()):
        places = [place - 0.4 + (number + 0.5) * width for place in range(len(comparisons))]
        ratios = [comparison.ratio(way, ISAL).median for comparison in comparisons]
        bars = axes.bar(places, ratios, width * 0.92, label=label, color=color)
        axes.bar_label(
            bars, fmt="%.2f", padding=2, fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1}
        )
    axes.axhline(1, color=_BASELINE, linewidth=1, zorder=0.9, label="ISA-L alone")
    axes.axhline(BUILD_AT_MOST, color=_LIMIT, linewidth=1, zorder=0.9, linestyle="--", label="limit for build_shard")
    axes.set_xticks(
        range(len(comparisons)), [f"{comparison.of}\n{readable_bytes(comparison.size)}" for comparison in comparisons]
    )
    axes.set_ylabel("time / time of decompressing by ISA-L")
    axes.margins(y=0.12)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    _plain(axes)
    return figure


def draw_writing(comparisons: Sequence[Comparison]) -> Figure:
    """Time and memory of each way to write."""
    (comparison,) = comparisons
    ways = {
        writing.COPIED: ("plain copy", _OTHERS),
        writing.STREAMED: ("write_row", _OURS),
        writing.TUNED: ("pyarrow, tuned", _OTHERS),
        writing.DEFAULT: ("pyarrow, defaults", _OTHERS),
        writing.PUSHED: ("datasets", _OTHERS),
    }
    labels, colors = zip(*ways.values(), strict=True)
    times = [comparison.ratio(way, writing.COPIED).median for way in ways]
    peaks = [comparison.peak(way).median for way in ways]
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, texts, title in (
        (left, times, [f"{time:.1f} x" for time in times], "time / time of a plain copy"),
        (right, [peak / 1e9 for peak in peaks], map(readable_bytes, peaks), "peak memory, GB"),
    ):
        bars = axes.barh(labels, values, color=colors, height=0.65)
        axes.bar_label(bars, list(texts), padding=3, fontsize=9)
        axes.set_xlim(0, max(values) * 1.2)
        axes.set_xlabel(title)
        _plain(axes, grid="x")
    left.invert_yaxis()
    figure.suptitle(f"One row of {readable_bytes(comparison.size)}", fontsize=11)
    return figure


def draw_growth(comparisons: Sequence[Comparison]) -> Figure:
    """Time of a run of `subject_shard` over the number of its partitions."""
    (comparison,) = comparisons
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for contender, label, color in (
        (growth.built, "shards built", _OURS),
        (growth.up_to_date, "shards up to date", _OURS_TOO),
    ):
        seconds = [comparison.seconds(contender(number)).median for number in growth.NUMBERS]
        axes.plot(growth.NUMBERS, seconds, marker="o", color=color, label=label)
        axes.annotate(
            f"{seconds[-1]:.1f} s", (growth.NUMBERS[-1], seconds[-1]), (8, -4), textcoords="offset points", fontsize=9
        )
    empty = comparison.seconds(graph.EMPTY).median
    axes.axhline(empty, color=_BASELINE, linewidth=1, linestyle="--", label="an empty Dagster run")
    axes.set_xticks(growth.NUMBERS)
    axes.set_xlim(0, growth.NUMBERS[-1] * 1.1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("subjects of the sample in one run of subject_shard")
    axes.set_ylabel("time of the command, s")
    axes.legend(frameon=False)
    _plain(axes)
    return figure


def _plain(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color="#e6e9ed")


_FIGURES: dict[str, Callable[[Sequence[Comparison]], Figure]] = {
    "building": draw_building,
    "writing": draw_writing,
    "growth": draw_growth,
}
