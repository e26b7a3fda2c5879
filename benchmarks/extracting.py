"""Extracting an archive: ours against the programs that could have been used for it."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.baselines import copy_synced
from benchmarks.material import LARGE, Material, read
from benchmarks.measure import Comparison, Sample, command, compare, in_child
from isles_assets.lib.progress import ByteProgress
from isles_assets.lib.workers import available_cores
from isles_assets.source.archive import extract, members
from isles_assets.source.extraction import keep_sound_files

OURS = "`extract`, one thread"
PARALLEL = "`extract`, a thread a core"
PY7ZR = "`py7zr`'s own `extractall`"
KEPT = "reading all files again for their CRC-32, a thread a core, as a resumed run does"
COPIED = "plain copy of the files and `fsync`, for information"
SEVEN_ZIP = "`7zz x`"
TOOLS: dict[str, tuple[str, ...]] = {
    SEVEN_ZIP: ("7zz", "x", "-bd", "{archive}", "-o{target}"),
    "`7zz x -mmt1`": ("7zz", "x", "-bd", "-mmt1", "{archive}", "-o{target}"),
    "`bsdtar -x`": ("bsdtar", "-xf", "{archive}", "-C", "{target}"),
}
"""Commands that need not be installed; one that is not is left out."""

LEFT_OUT = ("ctp_ncct", "ctp", "cta")
"""Most of a subject's bytes are in these volumes, and they tell no more than the others."""

BLOCKS = 12
"""Blocks of 99 GB as 7-Zip packs by default: 8 GB each, which is 256 times the dictionary of 32 MB."""


def measure(material: Material, rounds: int) -> Iterator[Comparison]:
    """Volumes of one subject, packed by 7-Zip in its default method, in many blocks and in one."""
    subject = material.subject(LARGE[0])
    files = [path for column, path in subject.files.items() if column not in LEFT_OUT]
    size = sum(path.stat().st_size for path in files)
    for name, block in {f"LZMA2, {BLOCKS} blocks": size // BLOCKS, "LZMA2, one block": 2 * size}.items():
        archive = _packed(material, name, block, files)
        if archive is None:
            return
        read([archive])
        ways: dict[str, Callable[[Path], Sample]] = {
            OURS: partial(in_child, extract_all, archive, 1),
            PARALLEL: partial(in_child, extract_all, archive, available_cores()),
            PY7ZR: partial(in_child, extract_by_py7zr, archive),
            **{name: partial(_run, words, archive) for name, words in TOOLS.items() if shutil.which(words[0])},
            KEPT: partial(_keep, archive),
            COPIED: partial(_copy, files),
        }
        contenders = {name: partial(_into_scratch, material, way) for name, way in ways.items()}
        yield compare(name, size, contenders, rounds)


def extract_all(archive: Path, workers: int, target: Path) -> None:
    """As the release is extracted, but for the check that it is the release."""
    found = members(archive)
    extract(archive, found, target, workers=workers, progress=ByteProgress("", 1, lambda words: None))


def extract_by_py7zr(archive: Path, target: Path) -> None:
    """The library's own way, on one thread."""
    import py7zr

    with archive.open("rb") as file, py7zr.SevenZipFile(file) as content:
        content.extractall(target)


def keep_all(archive: Path, target: Path) -> None:
    """What a run that goes on does with what it finds in `target`."""
    found = members(archive)
    assert keep_sound_files(target, found, available_cores(), lambda words: None) == found


def _packed(material: Material, name: str, block: int, files: Sequence[Path]) -> Path | None:
    """The files as 7-Zip packs them, in blocks of at most so many bytes or of one file; None without 7-Zip."""
    archive = material.work / ("tiny_archives" if material.tiny else "archives") / f"{name}.7z"
    if not shutil.which("7zz"):
        print("there is no 7zz to pack an archive; nothing is extracted")
        return None
    if not archive.exists():
        archive.parent.mkdir(exist_ok=True)
        partial_archive = archive.with_suffix(".partial")
        partial_archive.unlink(missing_ok=True)
        command("7zz", "a", "-bd", "-t7z", f"-ms={block}b", partial_archive, *files)
        partial_archive.rename(archive)
    return archive


def _into_scratch(material: Material, way: Callable[[Path], Sample]) -> Sample:
    with material.scratch() as folder:
        return way(folder)


def _run(words: Sequence[str], archive: Path, target: Path) -> Sample:
    return command(*(word.format(archive=archive, target=target) for word in words))


def _keep(archive: Path, target: Path) -> Sample:
    extract_all(archive, available_cores(), target)
    return in_child(keep_all, archive, target)


def _copy(files: Sequence[Path], target: Path) -> Sample:
    return in_child(copy_synced, files, target / "copy")
