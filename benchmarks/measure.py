"""One measurement in a process of its own, and rounds of them.

Linux only: memory is what the kernel says of a process (`VmHWM`, the largest resident set; right to some 0.2 MB), which
counts the pages of mapped files, too.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

_SAMPLED_EVERY = 0.02
_DIGITS = 4
_SHOWN = 4000


@dataclass(frozen=True)
class Sample:
    """One measurement: wall and CPU time in seconds, memory in bytes above what the process held at the start.

    `peak` is the largest resident set, `anonymous` the largest part of it that is no file's, sampled every 20 ms; None
    where only time was measured. `counts` are what else was counted, by name.
    """

    wall: float
    cpu: float
    peak: int | None = None
    anonymous: int | None = None
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """A figure over rounds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Contenders on the same work, `of` `size` bytes: for each contender its sample in each round."""

    of: str
    size: int
    samples: dict[str, list[Sample]]

    @property
    def rounds(self) -> int:
        return min(map(len, self.samples.values()))

    def seconds(self, name: str) -> Spread:
        return _spread([sample.wall for sample in self.samples[name]])

    def cpu(self, name: str) -> Spread:
        return _spread([sample.cpu for sample in self.samples[name]])

    def peak(self, name: str) -> Spread:
        """Bytes."""
        return _spread([sample.peak or 0 for sample in self.samples[name]])

    def anonymous(self, name: str) -> Spread:
        """Bytes."""
        return _spread([sample.anonymous or 0 for sample in self.samples[name]])

    def count(self, name: str, what: str) -> Spread:
        return _spread([sample.counts[what] for sample in self.samples[name]])

    def ratio(self, name: str, to: str) -> Spread:
        """Wall time relative to that of `to` in the same round."""
        return self._paired(name, to, lambda mine, other: mine.wall / other.wall)

    def cpu_ratio(self, name: str, to: str) -> Spread:
        """CPU time relative to that of `to` in the same round."""
        return self._paired(name, to, lambda mine, other: mine.cpu / other.cpu)

    def more(self, name: str, than: str) -> Spread:
        """Seconds of wall time above that of `than` in the same round."""
        return self._paired(name, than, lambda mine, other: mine.wall - other.wall)

    def _paired(self, name: str, other: str, figure: Callable[[Sample, Sample], float]) -> Spread:
        return _spread(list(map(figure, self.samples[name], self.samples[other])))


def _spread(values: list[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def compare(of: str, size: int, contenders: Mapping[str, Callable[[], Sample]], rounds: int) -> Comparison:
    """Measure every contender once a round, each round beginning with the next one."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        names = list(contenders)
        for name in names[first:] + names[:first]:
            sample = contenders[name]()
            samples[name].append(sample)
            peak = "" if sample.peak is None else f", {sample.peak / 1e6:.0f} MB"
            print(f"{of}, round {number + 1} of {rounds}: {name}: {sample.wall:.2f} s{peak}", flush=True)
    return Comparison(of, size, samples)


def in_child(function: Callable[..., Any], *arguments: Any, environment: Mapping[str, str] | None = None) -> Sample:
    """Measure `function(*arguments)` in a new interpreter that has imported what the function's module imports.

    Neither the start of the interpreter nor the imports are in the time or the memory. With `environment` it has these
    variables and no others.
    """
    os.sync()
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_measured, args=(there, function, arguments))
    with mock.patch.dict(os.environ, environment, clear=True) if environment is not None else nullcontext():
        process.start()
    there.close()
    try:
        before = here.recv()
        anonymous = before
        while not here.poll(_SAMPLED_EVERY):
            anonymous = max(anonymous, _memory("RssAnon", process.pid))
        wall, cpu, peak = here.recv()
    except EOFError:
        raise RuntimeError(f"{function.__name__} failed; its error is above") from None
    finally:
        process.join()
    return Sample(round(wall, _DIGITS), round(cpu, _DIGITS), peak, anonymous - before)


def _measured(result: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with suppress(OSError):  # where the kernel does not let, the peak is taken from that of the imports on
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is resident now
    held = _memory("VmHWM")
    result.send(_memory("RssAnon"))
    cpu, start = _cpu(), time.perf_counter()
    function(*arguments)
    wall, cpu = time.perf_counter() - start, _cpu() - cpu
    result.send((wall, cpu, _memory("VmHWM") - held))


def _memory(what: str, process: int | None = None) -> int:
    """A size in bytes of what `/proc/<process>/status` says; 0 of a process that has just ended."""
    for line in Path(f"/proc/{process or 'self'}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    return 0


def _cpu() -> float:
    usages = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def command(*arguments: object, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Sample:
    """Measure a command from its start to its end; it must succeed."""
    os.sync()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run(
        list(map(str, arguments)),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        sys.stderr.write(run.stdout[-_SHOWN:])
        raise RuntimeError(f"{' '.join(map(str, arguments))[:200]} ended with code {run.returncode}; it said the above")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(round(wall, _DIGITS), round(cpu, _DIGITS))
