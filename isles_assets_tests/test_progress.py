"""Progress is told in numbers that people can use."""

import re
import threading
import time
from contextlib import suppress

import pytest

from isles_assets.lib.progress import ByteProgress, Progress, announced, readable_time
from isles_assets.lib.words import counted
from isles_assets_tests.processes import LONG


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
    progress.set_done(10_000_000_000)
    (words,) = said
    what, rate, left = words.split(", ")
    assert what == "train.7z: 10 GB of 99 GB"
    per_second = float(rate.removesuffix(" GB/s"))
    assert 1 < per_second < 11 and left.startswith("about ") and left.endswith(" s left")


def test_the_end_is_always_told_and_a_new_beginning_does_no_harm():
    said = []
    progress = ByteProgress("x", 1000, said.append)
    progress.set_done(900)
    progress.set_done(0)
    progress.advance(1000)
    assert len(said) == 1 and said[0].startswith("x: 1 kB of 1 kB, ")


@pytest.mark.parametrize(("number", "words"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1234, "1,234 files")])
def test_a_number_has_the_noun_that_goes_with_it(number, words):
    assert counted(number, "file") == words


def test_another_plural_can_be_given():
    assert [counted(number, "file is", "files are") for number in (1, 3)] == ["1 file is", "3 files are"]


def told(total: int, sizes: list[int], **options) -> list[str]:
    said: list[str] = []
    progress = Progress("subject", total, said.append, 0, **options)
    for size in sizes:
        progress.advance(size)
    return said


def test_progress_is_told_without_what_is_nothing():
    first, last = told(2, [0, 0])
    assert first.startswith("1 of 2 subjects, about ") and last == "2 of 2 subjects"


def test_progress_of_one_is_told_in_the_singular_and_its_end_has_no_time_left():
    (words,) = told(1, [1500])
    assert re.fullmatch(r"1 of 1 subject, 1\.5 kB, [\d.e+]+ \wB/s", words)
    (words,) = told(1, [7], plural="subjects", size=7)
    assert words.startswith("1 of 1 subject, 7 B, ") and "left" not in words


def test_without_bytes_so_far_the_time_left_is_unknown_where_it_is_told_by_bytes():
    first, *_ = told(2, [0, 5], size=5)
    assert first == "1 of 2 subjects, time left unknown"


@pytest.mark.parametrize("error", [None, ValueError])
def test_work_without_progress_is_announced_and_its_time_told_until_it_ends(error):
    said, enough = [], threading.Event()

    def log(words: str) -> None:
        said.append(words)
        if len(said) == 3:
            enough.set()

    with suppress(ValueError), announced("Sending 2 files", log, 0.01):
        assert enough.wait(LONG)
        if error:
            raise error
    for thread in threading.enumerate():
        if thread.name.endswith("(repeat)"):
            thread.join(LONG)
    assert said[0] == "Sending 2 files" and re.fullmatch(r"Sending 2 files: \d+ s so far", said[2])
