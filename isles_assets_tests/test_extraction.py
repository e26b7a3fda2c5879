"""An extraction goes on after it was killed at any moment, and trusts no byte that it has not compared."""

import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import py7zr
import pytest

from isles_assets.lib.files import lock, sha256_of
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import ByteProgress
from isles_assets.source.archive import extract, members
from isles_assets.source.extraction import extract_release, extracted_size, part_beside, remove_part
from isles_assets_tests.archives import COPY, LZMA2, pack
from isles_assets_tests.processes import REPOSITORY, on_small_disk
from isles_assets_tests.toy import TOY

ONE = TOY.only(TOY.subjects[:1])
TOP = ONE.record.top
TIME = 1_600_000_000_500_000_000
EARLY, LATE = "a early", "z late"
"""Two large files: of an archive of one block, the first and the last."""


def tree_of(root: Path, seed: int = 0) -> Path:
    """The files of a subject by name, and two large ones; all of them noise, of a time of their own."""
    noise, tree = random.Random(seed), root / TOP
    sizes = {name: 2000 + 1000 * number for number, name in enumerate(ONE.expected_paths())}
    for name, size in sizes.items() | {EARLY: 1_100_000, LATE: 1_500_000}.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(noise.randbytes(size))
        os.utime(path, ns=(0, TIME))
    return tree


@pytest.fixture(scope="session")
def source(made_once):
    return made_once("extraction_source", tree_of) / TOP


def pack_blocks(archive: Path, tree: Path) -> Path:
    """Each name in the top folder is a block. py7zr appends wrongly to a first block of one file."""
    parts = sorted(tree.iterdir(), key=lambda path: (path.name != "rawdata", path.name))
    return pack(archive, tree, {path.name: COPY if path.is_dir() else LZMA2 for path in parts})


def pack_by_7_zip(*options: str):
    def pack_it(archive: Path, tree: Path) -> Path:
        if not shutil.which("7zz"):
            pytest.skip("there is no 7zz")
        subprocess.run(["7zz", "a", "-mx1", *options, archive, tree], check=True, stdout=subprocess.DEVNULL)
        return archive

    return pack_it


PACKED = {
    "blocks": pack_blocks,
    "one block": pack,
    "7-Zip": pack_by_7_zip("-ms=1m"),
    "7-Zip, one block": pack_by_7_zip("-ms=on"),
    "7-Zip, a block a file": pack_by_7_zip("-ms=off"),
}


@pytest.fixture(scope="session")
def packed_blocks(source, made_once):
    return made_once("extraction_packed", lambda to: pack_blocks(to / "toys.7z", source)) / "toys.7z"


@pytest.fixture
def archive(packed_blocks, tmp_path):
    return Path(shutil.copyfile(packed_blocks, tmp_path / "toys.7z"))


@pytest.fixture
def tree(tmp_path):
    return tmp_path / "release" / TOP


def contents(root: Path) -> dict[str, tuple[str, int]]:
    """Digest and time of every file."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): (sha256_of(path), path.stat().st_mtime_ns) for path in files}


def inodes(root: Path) -> dict[str, int]:
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(root).as_posix(): path.stat().st_ino for path in files}


def resume(archive: Path, tree: Path, release=ONE, workers=2) -> tuple[list[str], set[str]]:
    """Extract; what was said, and the names of the files that were there before and stayed."""
    part = part_beside(tree) / TOP
    said: list[str] = []
    with TemporaryDirectory(dir=tree.parents[1]) as folder:
        before = inodes(part)
        for name, inode in before.items():
            os.link(part / name, Path(folder, str(inode)))  # so that no new file gets this inode
        extract_release(release, archive, tree, workers=workers, log=said.append)
        now = inodes(tree)
    assert list(tree.parent.iterdir()) == [tree]
    return said, {name for name, inode in before.items() if now.get(name) == inode}


KILLER = """
import json, os, pickle, signal, sys, traceback
from pathlib import Path
from isles_assets.lib.progress import ByteProgress
from isles_assets.source.extraction import extract_release
ONE = pickle.loads(bytes.fromhex(sys.argv[1]))

def arm(moment, size):
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    def count(event, arguments):
        nonlocal moment
        if event in ("written", "os.utime") or any(".part" in str(argument) for argument in arguments[:2]):
            moment -= 1
            if not moment:
                die()
    advance = ByteProgress.advance
    def advance_and_tell(self, count):
        nonlocal size
        sys.audit("written")
        size -= count
        if size <= 0:
            die()
        advance(self, count)
    ByteProgress.advance = advance_and_tell
    sys.addaudithook(count)

for line in sys.stdin:
    archive, tree, moment, size = json.loads(line)
    child = os.fork()
    if not child:
        try:
            arm(moment, size)
            extract_release(ONE, Path(archive), Path(tree), workers=1)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Killer:
    """Extracts in processes that are killed. They are forked from one that has imported what they need."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._process = process

    def killed(self, archive: Path, tree: Path, *, moment: int = 10**9, size: int = 10**9) -> bool:
        """Extract; whether it was killed: before the so-manieth thing that it does to the part, or at so many bytes."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([str(archive), str(tree), moment, size]) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        assert code in (0, -signal.SIGKILL), code
        return code != 0


@pytest.fixture(scope="session")
def killer():
    command = [sys.executable, "-c", KILLER, pickle.dumps(ONE).hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        yield Killer(process)
        process.stdin.close()


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 9])
def test_killed_at_any_moment_it_leaves_no_tree_or_all_of_it_and_goes_on(killer, source, archive, tmp_path, step):
    kept, moment, tree = [], 0, tmp_path / "release" / TOP
    while killer.killed(archive, tree, moment=(moment := moment + step)):
        if tree.exists():
            remove_part(tree, lambda words: None)
            assert list(tree.parent.iterdir()) == [tree]
            kept.append(set(contents(source)))
        else:
            kept.append(resume(archive, tree)[1])
        assert contents(tree) == contents(source)
        shutil.rmtree(tree)
    assert all(before <= after for before, after in itertools.pairwise(kept))
    assert len(kept) > 50 / step and len(kept[-1]) > len(kept[0])
    if step == 1:
        assert kept[-1] == set(contents(source)), "the last kills are between renaming and tidying up"


def test_killed_again_and_again_it_comes_to_its_end(killer, source, archive, tree):
    moment = 10
    while killer.killed(archive, tree, moment=moment):
        moment += 5
    assert moment > 20
    assert contents(tree) == contents(source)


@pytest.mark.parametrize("packed", PACKED)
def test_finished_files_are_kept_whoever_packed_them(killer, source, tree, tmp_path, packed):
    archive = PACKED[packed](tmp_path / "toys.7z", source)
    assert killer.killed(archive, tree, size=1_900_000)
    assert not tree.exists()
    said, kept = resume(archive, tree)
    assert contents(tree) == contents(source)
    assert {EARLY, LATE} & kept
    size = sum((source / name).stat().st_size for name in kept)
    words = f"Keeping {len(kept)} files of {len(contents(source))}, {size / 1e6:.3g} MB of 2.61 MB, that were extracted"
    assert any(line.startswith(words) for line in said), said
    assert {path.stat().st_mtime_ns for path in tree.rglob("*") if path.is_file()} == {TIME}


def test_of_one_block_what_lies_before_is_decompressed_again_and_said(killer, source, tree, tmp_path):
    archive = pack(tmp_path / "toys.7z", source)
    assert killer.killed(archive, tree, size=1_900_000)
    said, kept = resume(archive, tree)
    assert kept == set(contents(source)) - {LATE}
    assert any(
        "1.11 MB of them lie before missing files of their blocks and are decompressed again" in words for words in said
    )


def spoil(archive: Path, name: str) -> None:
    """Damage the packed bytes of a file, which is noise and so lies in the archive as it is."""
    packed, content = archive.read_bytes(), (archive.parent / "source" / TOP / name).read_bytes()
    at = packed.index(content[1000:1100])
    archive.write_bytes(packed[:at] + bytes(100) + packed[at + 100 :])


@pytest.fixture
def stopped(killer, source, archive, tree, tmp_path):
    """An extraction that was killed in the late file, which is the last."""
    (tmp_path / "source").symlink_to(source.parent)
    assert killer.killed(archive, tree, size=1_900_000)
    return part_beside(tree) / TOP


def test_a_block_of_kept_files_is_not_read(stopped, source, archive, tree):
    spoil(archive, EARLY)
    _, kept = resume(archive, tree)
    assert kept == set(contents(source)) - {LATE} and contents(tree) == contents(source)


def test_a_block_is_not_read_behind_its_last_missing_file(killer, source, tree, tmp_path):
    (tmp_path / "source").symlink_to(source.parent)
    archive = pack(tmp_path / "toys.7z", source)
    assert killer.killed(archive, tree, size=sum(path.stat().st_size for path in source.rglob("*") if path.is_file()))
    (part_beside(tree) / TOP / EARLY).unlink()
    spoil(archive, LATE)
    _, kept = resume(archive, tree)
    assert LATE in kept and contents(tree) == contents(source)


def test_an_archive_that_is_damaged_meanwhile_leaves_nothing(stopped, archive, tree):
    spoil(archive, LATE)
    with pytest.raises(Refusal, match=r"is damaged, or|has CRC-32"):
        extract_release(ONE, archive, tree, workers=2)
    assert not list(tree.parent.iterdir())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def to_link(path: Path) -> None:
    shutil.copyfile(path, path.parents[4] / "elsewhere")
    path.unlink()
    path.symlink_to(path.parents[4] / "elsewhere")


def to_folder(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


DAMAGE = {
    "a flipped bit": flip,
    "zeros, as after a power failure": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "nothing in it": lambda path: path.write_bytes(b""),
    "an end missing": lambda path: os.truncate(path, path.stat().st_size - 1),
    "more": lambda path: path.write_bytes(path.read_bytes() + b"."),
    "gone": lambda path: path.unlink(),
    "a link": to_link,
    "a folder": to_folder,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_finished_file_that_is_damaged_meanwhile_is_extracted_again(stopped, source, archive, tree, damage):
    path = stopped / EARLY
    DAMAGE[damage](path)
    if path.is_file():
        os.utime(path, ns=(0, TIME))
    _, kept = resume(archive, tree)
    assert kept == set(contents(source)) - {EARLY, LATE}
    assert contents(tree) == contents(source) and not (tree / EARLY).is_symlink()


def test_what_else_lies_there_does_not_get_into_the_tree(stopped, source, archive, tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(b"mine")
    (stopped / "more").mkdir()
    (stopped / "more" / "file").touch()
    (stopped / ".isles_assets.json").touch()
    (stopped.parent / "link").symlink_to(outside)
    folder = next(path for path in stopped.iterdir() if path.is_dir())
    shutil.rmtree(folder)
    folder.symlink_to(outside)
    resume(archive, tree)
    assert contents(tree) == contents(source) and not (tree / folder.name).is_symlink()
    assert (outside / "mine").read_bytes() == b"mine" and len(list(outside.iterdir())) == 1


@pytest.mark.parametrize("other", ["release", "archive", "unknown", "half a note"])
def test_of_another_archive_nothing_is_kept(stopped, source, archive, tree, tmp_path, other):
    release, expected, note = ONE, source, stopped.parent / "archive.json"
    if other == "release":
        release = replace(ONE, record=replace(ONE.record, version="v3", md5="1" * 32))
    elif other == "archive":
        expected = tmp_path / "other" / TOP
        shutil.copytree(source, expected)
        flip(expected / LATE)
        os.utime(expected / LATE, ns=(0, TIME))
        archive.unlink()
        pack_blocks(archive, expected)
    elif other == "unknown":
        note.unlink()
    else:
        note.write_bytes(note.read_bytes()[:20])
    said, kept = resume(archive, tree, release)
    assert not kept and any(words.startswith("Dropping ") for words in said)
    assert contents(tree) == contents(expected)


def test_the_same_archive_under_another_name_or_copied_goes_on(stopped, archive, tree, tmp_path):
    copied = shutil.copyfile(archive, tmp_path / "copy.7z")
    archive.unlink()
    assert resume(copied, tree)[1]


def test_an_archive_that_is_replaced_after_its_listing_was_read_is_refused(source, archive, tmp_path):
    listed = members(archive)
    other = tmp_path / "other" / TOP
    shutil.copytree(source, other)
    flip(other / LATE)
    pack_blocks(tmp_path / "new.7z", other).rename(archive)
    with pytest.raises(Refusal, match="was replaced meanwhile -> run again"):
        extract(archive, listed, tmp_path / "out", workers=1, progress=ByteProgress("", 1, lambda words: None))
    assert not (tmp_path / "out").exists()


def test_two_at_a_time_do_not_disturb_each_other(stopped, source, archive, tree):
    part = stopped.parent
    with (part / "lock").open("ab") as held:
        assert lock(held)
        with pytest.raises(Refusal, match="another process is extracting it -> wait for it, or end it"):
            extract_release(ONE, archive, tree, workers=1)
        remove_part(tree, lambda words: None)
        assert (stopped / EARLY).exists()
    assert resume(archive, tree)[1]


def test_of_two_that_begin_at_once_one_makes_the_tree_and_the_other_says_so(source, archive, tree):
    for _ in range(8):
        with ThreadPoolExecutor(2) as executor:
            both = [executor.submit(extract_release, ONE, archive, tree, workers=1) for _ in range(2)]
            errors = [error for each in both if (error := each.exception())]
        assert len(errors) <= 1
        for error in errors:
            assert isinstance(error, Refusal), error
            assert "another process" in str(error) or "exists already" in str(error)
        assert contents(tree) == contents(source) and list(tree.parent.iterdir()) == [tree]
        shutil.rmtree(tree)


def test_a_tree_that_another_process_completes_meanwhile_is_not_touched(source, tree, tmp_path):
    (tmp_path / "beside").write_bytes(b"text")
    archive = pack(tmp_path / "toys.7z", source)
    with py7zr.SevenZipFile(archive, "a") as content:
        content.write(tmp_path / "beside", "beside")

    def complete(words: str) -> None:
        """The first that is said is that a file is left out; nothing is locked then."""
        (tree / "theirs").mkdir(parents=True)

    with pytest.raises(Refusal, match="another process has just completed it -> run again"):
        extract_release(ONE, archive, tree, workers=1, log=complete)
    assert list(tree.parent.rglob("*")) == [tree, tree / "theirs"]


def test_its_size_counts_as_room_that_is_not_needed(stopped, archive, tree):
    assert 1_100_000 < extracted_size(tree) < 2_610_000
    remove_part(tree, lambda words: None)
    assert extracted_size(tree) == 0 and not list(tree.parent.iterdir())


ON_SMALL_DISK = f"""
import os, shutil, sys
from pathlib import Path
from isles_assets.lib.files import lock, sha256_of
from isles_assets.lib.findings import Refusal
from isles_assets.source.extraction import extract_release, part_beside
from {__name__} import EARLY, LATE, ONE, TOP, contents, inodes
archive, disk, source = map(Path, sys.argv[1:])
tree = disk / "release" / TOP
filler = disk / "filler"
def attempt():
    try:
        extract_release(ONE, archive, tree, workers=1, log=print)
    except Refusal as refusal:
        print(refusal)
def write_meanwhile(event, arguments):
    if event == "open" and str(arguments[0]).endswith(LATE) and not filler.exists():
        filler.write_bytes(bytes(1_000_000))
filler.write_bytes(bytes(1_000_000))
attempt()
filler.unlink()
sys.addaudithook(write_meanwhile)
attempt()
before = inodes(part_beside(tree) / TOP)
assert EARLY in before and LATE not in before, before
filler.write_bytes(b"")
assert shutil.disk_usage(disk).free < 2_610_000
attempt()
assert contents(tree) == contents(source)
assert before.items() <= inodes(tree).items()
"""


def test_a_disk_that_was_full_needs_room_for_the_rest_alone(source, archive, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    said = on_small_disk(disk, "3200k", ON_SMALL_DISK, archive, disk, source)
    assert "free, and 2.61 MB are needed" in said
    assert "The release was not extracted. What was extracted is kept.\n" in said and "the disk is full" in said
    assert "Keeping " in said
