"""Many keys in several processes: each succeeds or fails for itself, and nothing is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.workers import map_in_processes
from isles_assets_tests.processes import REPOSITORY

PROMPTLY = 60
FINDING = Finding("is wrong", "mend it", path="a/b", subject="sub-stroke0001")


def double(number):
    if number == 0:
        raise Refusal("not zero", [FINDING])
    return 2 * number


def die(how, *args):
    return {"signal": lambda: os.kill(os.getpid(), *args), "exit": lambda: os._exit(*args)}[how]()


def die_or_double(number):
    return double(number) if number % 3 else die("signal", signal.SIGKILL)


def sleep(folder: Path, key: str):
    """Note the process under `key`, then take longer than any test waits."""
    (folder / f"{key}.part").write_text(str(os.getpid()))
    (folder / f"{key}.part").rename(folder / key)
    time.sleep(10 * PROMPTLY)


def sleep_unless_first(folder: Path, key: str):
    """`first` ends once `second` is under way."""
    if key != "first":
        sleep(folder, key)
    while not (folder / "second").exists():
        time.sleep(0.01)
    return key


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_come_by_key():
    arguments = {str(number): (number,) for number in range(1, 9)}
    assert dict(map_in_processes(double, arguments, 2)) == {str(number): 2 * number for number in range(1, 9)}


def test_nothing_to_do_starts_no_process():
    assert list(map_in_processes(double, {}, 2)) == []


def test_exception_costs_its_key_alone_and_comes_whole():
    outcomes = dict(map_in_processes(double, {"good": (1,), "bad": (0,), "wrong": ("x", "y")}, 2))
    assert outcomes["good"] == 2
    assert isinstance(outcomes["bad"], Refusal)
    assert (outcomes["bad"].headline, outcomes["bad"].findings) == ("not zero", (FINDING,))
    assert isinstance(outcomes["wrong"], TypeError)


def test_killed_process_costs_its_key_alone():
    outcomes = dict(map_in_processes(die_or_double, {str(number): (number,) for number in range(1, 8)}, 2))
    assert {key: outcome for key, outcome in outcomes.items() if not isinstance(outcome, Exception)} == {
        str(number): 2 * number for number in (1, 2, 4, 5, 7)
    }
    for key in "36":
        assert "killed by signal 9" in str(outcomes[key])
        assert "lower ISLES_WORKERS" in str(outcomes[key])


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("signal", signal.SIGKILL), "killed by signal 9"),
        (("signal", signal.SIGSEGV), "killed by signal 11"),
        (("exit", 3), "ended with code 3"),
    ],
    ids=["SIGKILL", "SIGSEGV", "exit"],
)
def test_reason_of_a_death_is_told(args, reason):
    ((key, outcome),) = map_in_processes(die, {"key": args}, 1)
    assert key == "key"
    assert isinstance(outcome, Exception)
    assert reason in str(outcome)


def test_one_process_for_one_worker(tmp_path):
    processes = dict(map_in_processes(process_of, {str(number): (number,) for number in range(4)}, 1))
    assert len(set(processes.values())) == 1
    assert os.getpid() not in processes.values()


def process_of(_):
    return os.getpid()


class Stop(BaseException):
    """As KeyboardInterrupt or Dagster's interruption, no Exception."""


@pytest.mark.parametrize("how", ["break", "exception"])
def test_stopping_early_stops_running_processes_and_drops_waiting_keys(tmp_path, how):
    keys = ["first", "second", *(f"later{number}" for number in range(20))]
    started = time.monotonic()
    try:
        for key, outcome in map_in_processes(sleep_unless_first, {key: (tmp_path, key) for key in keys}, 2):
            assert (key, outcome) == ("first", "first")
            if how == "exception":
                raise Stop
            break
    except Stop:
        pass
    assert time.monotonic() - started < PROMPTLY
    assert not multiprocessing.active_children()
    began = [path for path in tmp_path.iterdir() if path.suffix != ".part"]
    assert "second" in {path.name for path in began}
    assert len(began) < 4
    assert not any(alive(int(path.read_text())) for path in began)


SLEEP = """
import sys
from pathlib import Path
from isles_assets.lib.workers import map_in_processes
from isles_assets_tests.test_workers import sleep
list(map_in_processes(sleep, {key: (Path(sys.argv[1]), key) for key in ("one", "two", "three")}, 2))
"""


def test_processes_stop_when_their_caller_is_killed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", SLEEP, tmp_path], cwd=REPOSITORY) as caller:
        while not (tmp_path / "one").exists() or not (tmp_path / "two").exists():
            assert caller.poll() is None
            time.sleep(0.01)
        caller.kill()
    deadline = time.monotonic() + PROMPTLY
    while any(alive(int((tmp_path / key).read_text())) for key in ("one", "two")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (tmp_path / "three").exists()


def test_finishing_leaves_no_process():
    assert dict(map_in_processes(double, {"a": (1,)}, 2)) == {"a": 2}
    assert not multiprocessing.active_children()


class OfTwoArgumentsError(Exception):
    """Cannot be unpickled: pickle makes it anew with one argument."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_oddly(how):
    if how == "unpicklable":
        raise OfTwoArgumentsError("this", "that")
    if how == "exit":
        raise SystemExit(3)
    return how


def test_an_exception_that_cannot_be_sent_costs_only_its_key():
    outcomes = dict(map_in_processes(fail_oddly, {key: (key,) for key in ("unpicklable", "exit", "fine")}, 1))
    assert str(outcomes["unpicklable"]) == "OfTwoArgumentsError: this and that"
    assert str(outcomes["exit"]) == "it ended its process with 3"
    assert all(isinstance(outcomes[key], RuntimeError) for key in ("unpicklable", "exit"))
    assert outcomes["fine"] == "fine"
