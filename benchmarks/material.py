"""What is worked on: synthetic trees in the work folder, made once and used again by the next run.

Light to import: the processes that are measured import it too.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from benchmarks.products import SHARD
from isles_assets.lib.workers import available_cores
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.release.isles24 import ISLES24, subject_id
from isles_assets.sample.tree import make_sample
from isles_assets.tables.clinical import clinical_table, clinical_values
from isles_assets.tables.manifest import ManifestRow, survey

ROOM = 30e9
"""Bytes of disk that all of it needs."""

LARGE = tuple(map(subject_id, (14, 158, 40)))
"""Subjects made at release scale; the last has the release's largest volume, a perfusion series of 1.7 GB."""

LINKED = 30
"""Further subjects whose volumes are hard links to those of `LARGE`, in the tree that is run through as a whole."""

_BUFFER = 4 << 20


@dataclass(frozen=True)
class Subject:
    """A subject to work on: its row of the manifest and its 18 files."""

    row: ManifestRow
    files: dict[str, Path]

    @property
    def size(self) -> int:
        """Bytes of its volumes."""
        return sum(path.stat().st_size for path in self.files.values())


@dataclass(frozen=True)
class Material:
    """The trees in `work`. With `tiny` no subject is at release scale, to try the benchmarks out."""

    work: Path
    tiny: bool = False

    @cached_property
    def sample(self) -> Path:
        """The tree of 149 small subjects."""
        return self._made("sample")

    @cached_property
    def release(self) -> Path:
        """A tree of 149 subjects of which 3 are at release scale."""
        return self.sample if self.tiny else self._made("release", LARGE)

    @cached_property
    def run_through(self) -> Path:
        """The same with further subjects at release scale, by hard links."""
        return self._linked("run_through", LINKED)

    @cached_property
    def all_large(self) -> Path:
        """The same with all 149 subjects at release scale, some 88 GB by hard links."""
        return self._linked("all_large", len(ISLES24.subjects))

    def numbers_of_large(self) -> dict[str, int]:
        """How many subjects of `all_large` have the volumes of each of `LARGE`."""
        others = len(ISLES24.subjects) - len(LARGE)
        return dict(zip(LARGE, (1 + -(-others // 2), 1 + others // 2, 1), strict=True))

    def _linked(self, name: str, number: int) -> Path:
        """A tree in which so many further subjects have the volumes of the first two of `LARGE`, in turn."""
        root = self.work / (f"tiny_{name}" if self.tiny else name) / "train"
        if not root.exists():
            partial = root.with_name("partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(self.release, partial, copy_function=os.link)
            for position, subject in enumerate([s for s in ISLES24.subjects if s not in LARGE][:number]):
                for volume in ISLES24.volumes:
                    path = partial / volume.path(subject)
                    path.unlink()
                    path.hardlink_to(partial / volume.path(LARGE[position % 2]))
            partial.rename(root)
        return root

    def subject(self, subject: str) -> Subject:
        """One of `LARGE`; its files are read, so that the page cache has them."""
        (row,) = rows(self.release, [subject])
        files = {volume.column: self.release / volume.path(subject) for volume in ISLES24.volumes}
        read(files.values())
        return Subject(row, files)

    def schemas(self) -> dict[str, pa.Schema]:
        """The shards' schemas by config."""
        from isles_assets.products.features import annotated_schema  # imports `datasets`; workers never do

        return {config.name: annotated_schema(config) for config in SHARD.configs}

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder that is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.work) as name:
            yield Path(name)

    def _made(self, name: str, large: tuple[str, ...] = ()) -> Path:
        root = self.work / name / "train"
        if not root.exists():
            print(f"making the tree `{name}`", flush=True)
            make_sample(ISLES24, root, release_scale=large, workers=available_cores())
        return root


def rows(tree: Path, subjects: Sequence[str]) -> list[ManifestRow]:
    """The manifest's rows of some subjects of a tree."""
    clinical = clinical_values(clinical_table(ISLES24, read_clinical_rows(ISLES24, tree, subjects)))
    return survey(ISLES24, tree, take_inventory(ISLES24, tree), clinical)


def read(files: Iterable[Path]) -> None:
    """Read files to their end, so that the page cache has them."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.read(_BUFFER):
                pass
