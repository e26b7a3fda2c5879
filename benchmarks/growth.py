"""How the time of `subject_shard` grows with the number of subjects."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.graph import EMPTY, empty_run
from benchmarks.material import Material
from benchmarks.measure import Comparison, Sample, compare
from benchmarks.project import Project
from isles_assets.release.isles24 import ISLES24

NUMBERS = (10, 50, 149)


def built(number: int) -> str:
    """The contender that builds so many shards."""
    return f"{number} subjects"


def up_to_date(number: int) -> str:
    """The contender that finds so many shards up to date."""
    return f"{number} subjects that are up to date"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """`dagster asset materialize --partition-range` each time; the tables are there."""
    with material.scratch() as folder:
        standing = Project(folder, material.sample)
        standing.build()
        contenders: dict[str, Callable[[], Sample]] = {EMPTY: partial(empty_run, material)}
        contenders |= {built(number): partial(_build, material, standing, number) for number in NUMBERS}
        contenders |= {up_to_date(number): partial(_materialize, standing, number) for number in NUMBERS}
        yield compare("subjects of the sample", 0, contenders, rounds)


def _build(material: Material, standing: Project, number: int) -> Sample:
    """In a data folder that has the tables of another and no shard."""
    with material.scratch() as folder:
        fresh = Project(folder, standing.tree, standing.workers)
        shutil.copytree(standing.data / "tables", fresh.data / "tables")
        return _materialize(fresh, number)


def _materialize(project: Project, number: int) -> Sample:
    first, last = ISLES24.subjects[0], ISLES24.subjects[number - 1]
    return project.materialize("subject_shard", "--partition-range", f"{first}...{last}")
