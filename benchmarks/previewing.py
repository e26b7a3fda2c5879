"""Making previews: all of the sample in two processes, and one at release scale with its memory."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.baselines import GZIP, gzip_test
from benchmarks.material import LARGE, Material, rows
from benchmarks.measure import Comparison, Sample, compare, in_child
from benchmarks.products import DECODED, build_preview
from isles_assets.lib.workers import map_in_processes
from isles_assets.release.isles24 import ISLES24
from isles_assets.tables.manifest import ManifestRow

SAMPLE = "149 subjects of the sample"
ONE, TWO = "1 worker", "2 workers"
BUILT = "`build_preview`"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """The sample as a whole, the start of the workers included; then the smallest and the largest of `LARGE`."""
    tree = material.sample
    subjects = rows(tree, ISLES24.subjects)
    size = sum(facts.size for row in subjects for column in DECODED if (facts := row.volumes[column]))
    whole: dict[str, Callable[[], Sample]] = {
        ONE: partial(_build_all, material, subjects, 1),
        TWO: partial(_build_all, material, subjects, 2),
    }
    yield compare(SAMPLE, size, whole, rounds)
    for name in (LARGE[0], LARGE[-1]):
        subject = material.subject(name)
        files = [subject.files[column] for column in DECODED]
        contenders: dict[str, Callable[[], Sample]] = {
            GZIP: partial(gzip_test, files),
            BUILT: partial(_build, material, subject.row),
        }
        yield compare(name, sum(path.stat().st_size for path in files), contenders, rounds)


def _build_all(material: Material, subjects: Sequence[ManifestRow], workers: int) -> Sample:
    with material.scratch() as folder:
        return in_child(build_all, material.sample, folder, subjects, workers)


def build_all(tree: Path, folder: Path, subjects: Sequence[ManifestRow], workers: int) -> None:
    """The preview of each subject, which must succeed."""
    arguments = {row.subject: (tree, folder, row) for row in subjects}
    for _, outcome in map_in_processes(build_preview, arguments, workers):
        if isinstance(outcome, Exception):
            raise outcome


def _build(material: Material, subject: ManifestRow) -> Sample:
    with material.scratch() as folder:
        return in_child(build_preview, material.release, folder, subject)
