"""Progress is told in numbers that people can use."""

import time

import pytest

from isles_assets.lib.progress import ByteProgress, readable_time


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (1500, "25 min"), (5990, "1 h 40 min"), (12_000, "3 h 20 min")],
)
def test_a_time_has_the_units_that_matter(seconds, words):
    assert readable_time(seconds) == words


def test_bytes_are_told_at_intervals_with_the_rate_of_late_and_the_time_left():
    said = []
    progress = ByteProgress("train.7z", 99_000_000_000, said.append, done=9_000_000_000, every=0.1)
    progress.advance(1)
    assert not said
    time.sleep(0.1)
    progress.reach(10_000_000_000)
    (words,) = said
    what, rate, left = words.split(", ")
    assert what == "train.7z: 10 GB of 99 GB"
    per_second = float(rate.removesuffix(" GB/s"))
    assert 1 < per_second < 11 and left.startswith("about ") and left.endswith(" s left")


def test_the_end_is_always_told_and_a_new_beginning_does_no_harm():
    said = []
    progress = ByteProgress("x", 1000, said.append)
    progress.reach(900)
    progress.reach(0)
    progress.advance(1000)
    assert len(said) == 1 and said[0].startswith("x: 1 kB of 1 kB, ")
