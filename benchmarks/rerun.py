"""The whole graph on a tree with subjects at release scale: the first run, and one with nothing changed."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.graph import EMPTY, empty_run
from benchmarks.material import LARGE, LINKED, Material, read
from benchmarks.measure import Comparison, Sample, compare
from benchmarks.project import Project

FIRST = "first `build`"
AGAIN = "`build` again, nothing changed"
VOLUMES, VOLUMES_READ, VOLUME_BYTES_READ, OTHER_BYTES_READ = "volumes", "volumes read", "volume bytes", "other bytes"

_VOLUME = ".nii.gz"


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """`dagster job execute` each time, with as many workers as cores."""
    tree = material.run_through
    large = 0 if material.tiny else len(LARGE) + LINKED
    files = [path for path in tree.rglob("*") if path.is_file()]
    read(files)
    with material.scratch() as folder:
        runs = _Runs(Project(folder / "project", tree), files)
        contenders: dict[str, Callable[[], Sample]] = {
            EMPTY: partial(empty_run, material),
            FIRST: runs.first,
            AGAIN: runs.again,
        }
        size = sum(path.stat().st_size for path in files)
        yield compare(f"149 subjects, {large} of them at release scale", size, contenders, rounds)


class _Runs:
    """Runs of one project, which is emptied before each first one; a first one comes before all others."""

    def __init__(self, project: Project, files: list[Path]):
        self._project, self._files = project, files

    def first(self) -> Sample:
        shutil.rmtree(self._project.root, ignore_errors=True)
        self._project.root.mkdir()
        return _with_reads(self._files, self._project.build)

    def again(self) -> Sample:
        return _with_reads(self._files, self._project.build)


def _with_reads(files: list[Path], run: Callable[[], Sample]) -> Sample:
    """The sample of `run` with what was read of `files` meanwhile, by whichever process and however.

    The kernel says so: a file's access time, set to 1970 before, is another once anything is read of the file. It
    counts in full then. Where the file system keeps no access times the first `build` appears to read nothing.
    """
    for path in files:
        os.utime(path, ns=(0, path.stat().st_mtime_ns))
    sample = run()
    volumes = [path for path in files if path.name.endswith(_VOLUME)]
    read = [path for path in files if path.stat().st_atime_ns]
    counts = {
        VOLUMES: len(volumes),
        VOLUMES_READ: len([path for path in read if path.name.endswith(_VOLUME)]),
        VOLUME_BYTES_READ: sum(path.stat().st_size for path in read if path.name.endswith(_VOLUME)),
        OTHER_BYTES_READ: sum(path.stat().st_size for path in read if not path.name.endswith(_VOLUME)),
    }
    return replace(sample, counts=counts)
