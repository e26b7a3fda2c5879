"""The whole graph on the sample of 149 small subjects, against a Dagster run that does nothing."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.material import Material
from benchmarks.measure import Comparison, Sample, compare
from benchmarks.project import Project

EMPTY = "an empty run"
ONE, TWO = "`build`, 1 worker", "`build`, 2 workers"
AGAIN = "`build` again, nothing changed, 2 workers"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """`dagster job execute` each time; a first `build` starts with an empty data folder and an empty instance."""
    tree = material.sample
    size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    with material.scratch() as folder:
        standing = Project(folder, tree, 2)
        standing.build()
        contenders: dict[str, Callable[[], Sample]] = {
            EMPTY: partial(empty_run, material),
            ONE: partial(_build, material, 1),
            TWO: partial(_build, material, 2),
            AGAIN: standing.build,
        }
        yield compare("149 subjects", size, contenders, rounds)


def empty_run(material: Material) -> Sample:
    """A run of the job in `benchmarks.empty`."""
    with material.scratch() as folder:
        return Project(folder, material.sample).dagster("job", "execute", "-m", "benchmarks.empty", "-j", "empty")


def _build(material: Material, workers: int) -> Sample:
    with material.scratch() as folder:
        return Project(folder, material.sample, workers).build()
