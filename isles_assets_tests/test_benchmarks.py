"""The benchmarks' own arithmetic, and that their page is that of their numbers. Nothing is timed here."""

import os
from dataclasses import replace

import pytest

from benchmarks import previewing
from benchmarks.baselines import GZIP, ISAL
from benchmarks.building import COPIED, DECODED, DIGESTED, HASHED, PACKED
from benchmarks.building import INSPECTED as LOOKED_AT
from benchmarks.decoding import DECODED as INSPECTED
from benchmarks.measure import Comparison, Sample, Spread, compare, in_child
from benchmarks.project import REPOSITORY
from benchmarks.report import render
from benchmarks.results import Results

NUMBERS = REPOSITORY / "docs" / "benchmarks.json"


def seconds(*walls: float, peak: int | None = None) -> list[Sample]:
    return [Sample(wall, wall, peak) for wall in walls]


@pytest.fixture
def results():
    built = {ISAL: seconds(1, 2), PACKED: seconds(0.6, 1.4, peak=10**7), DECODED: seconds(1.3, 3, peak=2 * 10**7)}
    built |= {LOOKED_AT: seconds(1, 2), DIGESTED: seconds(1.1, 2.4), HASHED: seconds(0.5, 1), COPIED: seconds(2, 2)}
    decoded = {GZIP: seconds(10, 10), INSPECTED: seconds(5.4, 5.6)}
    areas = {
        "building": [Comparison("sub-stroke0014", 10**6, built)],
        "decoding": [Comparison("sub-stroke0014", 10**6, decoded)],
        "previewing": [
            Comparison(previewing.SAMPLE, 10**6, {previewing.ONE: seconds(20, 40), previewing.TWO: seconds(11, 31)}),
            Comparison(
                "sub-stroke0040", 10**6, {GZIP: seconds(10, 10), previewing.BUILT: seconds(3, 3, peak=16 * 10**8)}
            ),
        ],
    }
    return Results({"cores": "2"}, {"Python": "3"}, False, areas)


def test_ratios_are_taken_within_a_round():
    comparison = Comparison("x", 1, {"slow": seconds(4, 30, 10), "fast": seconds(2, 10, 10)})
    assert comparison.ratio("slow", "fast") == Spread(2, 1, 3)
    assert comparison.more("slow", "fast") == Spread(2, 0, 20)
    assert comparison.seconds("slow") == Spread(10, 4, 30)


def test_every_contender_is_measured_once_a_round_in_an_order_that_rotates():
    order = []
    contenders = {name: lambda name=name: order.append(name) or Sample(1, 1) for name in "abc"}
    assert compare("x", 1, contenders, 4).rounds == 4
    assert "".join(order) == "abcbcacababc"


def test_memory_is_what_the_function_took():
    sample = in_child(os.urandom, 50_000_000)
    assert sample.peak == pytest.approx(50_000_000, rel=0.1)


def test_what_is_not_met_is_called_that(results):
    lines = {line.split("|")[1].strip(): line for line in render(results).splitlines() if line.startswith("|")}

    def line(start):
        return next(line for what, line in lines.items() if what.startswith(start))

    assert "1.40 x (1.30 to 1.50)" in line("building") and line("building").endswith("| met |")
    assert "20 MB (sub-stroke0014)" in line("peak") and line("peak").endswith("| met |")
    assert "21.0 s (11.0 to 31.0)" in line("previews") and line("previews").endswith("| met |")
    making = line("peak memory of making a preview")
    assert "1.6 GB (sub-stroke0040)" in making and making.endswith("| **NOT met** |")
    assert "0.55 x (0.54 to 0.56)" in line("decode") and line("decode").endswith("| **NOT met** |")


def test_numbers_survive_being_stored(results, tmp_path):
    results.save(tmp_path / "benchmarks.json")
    assert Results.load(tmp_path / "benchmarks.json") == results
    assert not results.comparable(replace(results, machine={"cores": "4"}))


def test_the_page_is_that_of_its_numbers():
    assert NUMBERS.with_suffix(".md").read_text() == render(Results.load(NUMBERS))
