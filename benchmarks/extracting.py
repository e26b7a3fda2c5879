"""Extracting an archive: ours against the programs that could have been used for it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import py7zr

from benchmarks.baselines import copy_synced
from benchmarks.material import LARGE, Material, read
from benchmarks.measure import Comparison, Sample, command, compare, in_child
from isles_assets.lib.progress import ByteProgress
from isles_assets.lib.workers import available_cores
from isles_assets.source.archive import extract, members

OURS = "`extract`, one thread"
PARALLEL = "`extract`, a thread a core"
PY7ZR = "`py7zr`'s own `extractall`"
COPIED = "plain copy of the files and `fsync`, for information"
TOOLS: dict[str, tuple[str, ...]] = {
    "`7zz x`": ("7zz", "x", "-bd", "{archive}", "-o{target}"),
    "`bsdtar -x`": ("bsdtar", "-xf", "{archive}", "-C", "{target}"),
}
"""Commands that need not be installed; one that is not is left out."""

LEFT_OUT = "ctp_ncct"
"""Of this volume are most of a subject's bytes, and it tells no more than the others."""

_METHODS: dict[str, Any] = {
    "LZMA2": [{"id": py7zr.FILTER_LZMA2, "preset": 1, "dict_size": 32 << 20}],
    "stored": [{"id": py7zr.FILTER_COPY}],
}


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """One subject in two blocks, by each method."""
    subject = material.subject(LARGE[0])
    files = [path for column, path in subject.files.items() if column != LEFT_OUT]
    size = sum(path.stat().st_size for path in files)
    for method, filters in _METHODS.items():
        archive = _packed(material, method, filters, files)
        read([archive])
        ways: dict[str, Callable[[Path], Sample]] = {
            OURS: partial(in_child, extract_all, archive, 1),
            PARALLEL: partial(in_child, extract_all, archive, available_cores()),
            PY7ZR: partial(in_child, extract_by_py7zr, archive),
            **{name: partial(_run, words, archive) for name, words in TOOLS.items() if shutil.which(words[0])},
            COPIED: partial(_copy, files),
        }
        contenders = {name: partial(_into_scratch, material, way) for name, way in ways.items()}
        yield compare(method, size, contenders, rounds)


def extract_all(archive: Path, workers: int, target: Path) -> None:
    """As the release is extracted, but for the check that it is the release."""
    found = members(archive)
    extract(archive, found, target, workers=workers, progress=ByteProgress("", 1, lambda words: None))


def extract_by_py7zr(archive: Path, target: Path) -> None:
    """The library's own way, on one thread."""
    with archive.open("rb") as file, py7zr.SevenZipFile(file) as content:
        content.extractall(target)


def _packed(material: Material, method: str, filters: Any, files: Sequence[Path]) -> Path:
    """The files in two blocks of about the same size."""
    archive = material.work / ("tiny_archives" if material.tiny else "archives") / f"{method}.7z"
    if not archive.exists():
        archive.parent.mkdir(exist_ok=True)
        partial_archive = archive.with_suffix(".partial")
        partial_archive.unlink(missing_ok=True)
        by_size = sorted(files, key=lambda path: path.stat().st_size)
        for block in (by_size[::2], by_size[1::2]):
            mode = "a" if partial_archive.exists() else "w"
            with py7zr.SevenZipFile(partial_archive, mode, filters=filters) as content:
                for path in block:
                    content.write(path, path.name)
        partial_archive.rename(archive)
    return archive


def _into_scratch(material: Material, way: Callable[[Path], Sample]) -> Sample:
    with material.scratch() as folder:
        return way(folder)


def _run(words: Sequence[str], archive: Path, target: Path) -> Sample:
    return command(*(word.format(archive=archive, target=target) for word in words))


def _copy(files: Sequence[Path], target: Path) -> Sample:
    return in_child(copy_synced, files, target / "copy")
