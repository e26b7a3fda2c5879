"""An archive becomes the tree that it was made of, or nothing, whatever is in it and whatever happens."""

import os
import shutil
import signal
import subprocess
import sys
import unicodedata
from pathlib import Path

import py7zr
import pytest

from isles_assets.lib.files import sha256_of
from isles_assets.lib.findings import Refusal
from isles_assets.lib.progress import ByteProgress
from isles_assets.reading.tree import take_inventory
from isles_assets.sample.tree import FILE_TIME
from isles_assets.source.archive import extract, members
from isles_assets.source.extraction import extract_release
from isles_assets_tests.archives import BZIP2, COPY, LINK, LZMA2, PIPE, RELEASE_PARTS, craft, pack, patch_listing
from isles_assets_tests.isles24 import SMALL
from isles_assets_tests.processes import REPOSITORY, on_small_disk, python


def contents(root):
    """Digest and time of every file."""
    return {
        path.relative_to(root).as_posix(): (sha256_of(path), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file()
    }


def extracted(archive, target, workers=2):
    extract(archive, members(archive), target, workers=workers, progress=ByteProgress("", 1, lambda words: None))
    return contents(target)


@pytest.fixture(scope="session")
def small_packed(small_sample_tree, made_once):
    """The sample of six subjects as a 7z archive of four blocks; not to be changed."""
    return made_once("small_packed", lambda to: pack(to / "train.7z", small_sample_tree, RELEASE_PARTS)) / "train.7z"


@pytest.fixture
def small(tmp_path):
    """A small folder with the kinds of files that there are."""
    root = tmp_path / "small"
    (root / "folder" / "empty").mkdir(parents=True)
    (root / "folder" / "noise").write_bytes(os.urandom(3_000_000))
    (root / "folder" / "zeros").write_bytes(bytes(5_000_000))
    (root / "folder" / "nothing").touch()
    (root / "äß").write_bytes(b"text")
    for number in range(50):
        (root / f"short {number}").write_bytes(os.urandom(number))
    for path in root.rglob("*"):
        os.utime(path, ns=(0, 1_600_000_000_123_456_700))
    return root


def test_the_release_is_extracted_byte_for_byte_with_its_times(small_packed, small_sample_tree, tmp_path):
    said = []
    tree = tmp_path / "release" / "train"
    extract_release(SMALL, small_packed, tree, workers=2, log=said.append)
    assert contents(tree) == contents(small_sample_tree)
    assert take_inventory(SMALL, tree) == take_inventory(SMALL, small_sample_tree)
    assert {entry.mtime_ns for entry in take_inventory(SMALL, tree).values()} == {int(FILE_TIME * 1e9)}
    assert list(tree.parent.iterdir()) == [tree]
    size = sum(entry.size for entry in take_inventory(SMALL, tree).values())
    assert said[-1].startswith(f"Extracted: {size / 1e6:.3g} MB of {size / 1e6:.3g} MB, ")


@pytest.mark.parametrize(
    "parts", [{".": None}, {".": COPY}, {"folder": LZMA2, "äß": COPY}], ids=["BCJ and LZMA2", "copy", "two blocks"]
)
def test_an_archive_of_another_method_gives_the_same_files(small, tmp_path, parts):
    archive = pack(tmp_path / "small.7z", small, parts)
    wanted = {name for name in contents(small) if "." in parts or name.split("/")[0] in parts}
    found = {name.removeprefix("small/"): digest for name, (digest, _) in extracted(archive, tmp_path / "out").items()}
    assert found == {name: contents(small)[name][0] for name in wanted}


@pytest.mark.skipif(not shutil.which("7zz"), reason="there is no 7zz")
@pytest.mark.parametrize("options", [[], ["-ms=off"], ["-mx0"], ["-m0=bzip2"]])
def test_what_7_zip_packs_is_extracted_with_its_times(small, tmp_path, options):
    archive = tmp_path / "small.7z"
    subprocess.run(["7zz", "a", *options, archive, small], check=True, stdout=subprocess.DEVNULL)
    assert extracted(archive, tmp_path / "out") == {f"small/{name}": of for name, of in contents(small).items()}


MEASURE = """
import resource, sys
from pathlib import Path
from isles_assets.lib.progress import ByteProgress
from isles_assets.source.archive import extract, members
archive, target = map(Path, sys.argv[1:])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
extract(archive, members(archive), target, workers=1, progress=ByteProgress("", 1, lambda words: None))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.long
def test_many_small_files_do_not_pile_up_in_memory(tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    for number in range(40):
        (root / f"a{number:03}").write_bytes(os.urandom(2000))
    (root / "b").write_bytes(os.urandom(14_000_000))
    archive = pack(tmp_path / "many.7z", root)
    assert int(python(MEASURE, archive, tmp_path / "out").stdout) < 9e6


def test_of_many_blocks_only_those_at_work_are_in_memory(tmp_path):
    root = tmp_path / "blocks"
    root.mkdir()
    for number in range(6):
        (root / str(number)).write_bytes(bytes(9_000_000))
    filters = [{"id": py7zr.FILTER_LZMA2, "preset": 0, "dict_size": 8 << 20}]
    archive = pack(tmp_path / "blocks.7z", root, {path.name: filters for path in root.iterdir()})
    assert int(python(MEASURE, archive, tmp_path / "out").stdout) < 2.5 * (8 << 20)


def release_of(tmp_path, **more):
    """A tree of six subjects that has the release's names alone, of a byte each, and `more` files."""
    root = tmp_path / "train"
    for path in [*SMALL.expected_paths(), *more]:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b".")
    return root


def test_an_archive_that_lacks_a_file_of_the_release_is_refused_with_its_name(tmp_path):
    root = release_of(tmp_path)
    (root / SMALL.expected_paths()[100]).unlink()
    archive = pack(tmp_path / "train.7z", root)
    with pytest.raises(
        Refusal, match=f"does not hold it.\n.*train/{SMALL.expected_paths()[100]}: is not in the archive"
    ):
        extract_release(SMALL, archive, tmp_path / "release" / "train", workers=1)
    assert not (tmp_path / "release").exists()


def test_more_files_than_the_release_has_are_extracted_for_the_checks_to_judge(tmp_path):
    archive = pack(tmp_path / "train.7z", release_of(tmp_path, **{"raw_data/notes.txt": 1}))
    tree = tmp_path / "release" / "train"
    extract_release(SMALL, archive, tree, workers=1)
    assert set(take_inventory(SMALL, tree)) == {*SMALL.expected_paths(), "raw_data/notes.txt"}


def test_what_is_not_in_the_top_folder_is_left_out_and_named(tmp_path):
    archive = pack(tmp_path / "train.7z", release_of(tmp_path))
    (tmp_path / "beside").write_bytes(b"text")
    with py7zr.SevenZipFile(archive, "a") as content:
        content.write(tmp_path / "beside", "__MACOSX/beside")
    said, tree = [], tmp_path / "release" / "train"
    extract_release(SMALL, archive, tree, workers=1, log=said.append)
    assert "Leaving out files outside `train`: __MACOSX/beside" in said
    assert list(tree.parent.iterdir()) == [tree] and set(take_inventory(SMALL, tree)) == set(SMALL.expected_paths())


NFC, NFD = (unicodedata.normalize(form, "train/ä") for form in ("NFC", "NFD"))
EVIL = {
    "parent": ({"../x": b""}, {}, "'../x': leads out of the folder"),
    "parent inside": ({"train/../../x": b"x"}, {}, "leads out of the folder"),
    "absolute": ({"/tmp/x": b"x"}, {}, "'/tmp/x': is an absolute path"),
    "drive": ({"C:/x": b"x"}, {}, "is an absolute path"),
    "drive-relative": ({"C:x": b"x"}, {}, "is an absolute path"),
    "backslash": ({"train\\..\\..\\x": b"x"}, {}, "leads out of the folder"),
    "newline": ({"train/a\nb": b"x"}, {}, "has a character that no name"),
    "dot": ({"train/./x": b"x"}, {}, "is no plain path"),
    "double slash": ({"train//x": b"x"}, {}, "is no plain path"),
    "long": ({"train/" + 256 * "x": b"x"}, {}, "is longer than file systems allow"),
    "link": ({"train/x": b"/etc"}, LINK, "train/x: is a link or a device"),
    "pipe": ({"train/x": b"x"}, PIPE, "train/x: is a link or a device"),
    "twice": ({"train/x": b"1", "train/y/../x": b"2"}, {}, "leads out"),
    "case": ({"train/x": b"1", "train/X": b"2"}, {}, "train/X: is the same as train/x"),
    "case of a folder": ({"train/x/1": b"1", "train/X/2": b"2"}, {}, "is the same as train/[xX] "),
    "sharp s": ({"train/ß": b"1", "train/SS": b"2"}, {}, "train/SS: is the same as train/ß"),
    "normalization": ({NFC: b"1", NFD: b"2"}, {}, f"{NFD}: is the same as {NFC}"),
    "file and folder": ({"train/x": b"1", "train/x/y": b"2"}, {}, "train/x: is the same as train/x"),
}


@pytest.mark.parametrize(("names", "fields", "says"), EVIL.values(), ids=EVIL)
def test_an_archive_that_is_not_safe_is_refused_before_anything_is_written(tmp_path, names, fields, says):
    archive = craft(tmp_path / "evil.7z", names, **fields)
    with pytest.raises(Refusal, match=says):
        extract_release(SMALL, archive, tmp_path / "in" / "train", workers=1)
    assert list(tmp_path.iterdir()) == [archive]


def test_two_files_of_one_name_are_refused(tmp_path):
    archive = tmp_path / "evil.7z"
    craft(archive, {"train/x": b"1", "train/y": b"2"})
    with py7zr.SevenZipFile(archive, "a") as content:
        content.files.files_list[1]["filename"] = "train/x"
        content.writestr(b"3", "z")
    with pytest.raises(Refusal, match="train/x: is the same as train/x"):
        members(archive)


def test_every_offender_is_named(tmp_path):
    with pytest.raises(Refusal) as caught:
        members(craft(tmp_path / "evil.7z", {"../x": b"x", "/y": b"y", "train/z": b"z"}))
    assert [finding.path for finding in caught.value.findings] == ["'../x'", "'/y'"]


METHODS = {"BCJ and LZMA2": None, "LZMA2": LZMA2, "copy": COPY, "bzip2": BZIP2}


@pytest.fixture(scope="session")
def noise_packed(made_once):
    """The same noise, packed by each method."""

    def fill(folder: Path) -> None:
        (folder / "folder").mkdir()
        (folder / "folder" / "noise").write_bytes(os.urandom(3_000_000))
        for name, filters in METHODS.items():
            pack(folder / name, folder / "folder", {"noise": filters})

    return made_once("noise_packed", fill)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:40],
        lambda content: b"",
        lambda content: b"PK" + content[2:],
        lambda content: content[:-20] + bytes(20),
    ],
    ids=["last byte", "half", "header", "nothing", "no 7z", "listing"],
)
def test_a_truncated_archive_or_none_is_refused(tmp_path, noise_packed, damage):
    archive = tmp_path / "small.7z"
    archive.write_bytes(damage((noise_packed / "LZMA2").read_bytes()))
    with pytest.raises(Refusal, match=r"is damaged, or no 7z archive \(.*-> remove it and materialize zenodo_archive"):
        members(archive)


UNKNOWN = {
    "BCJ2": b"\x04\x03\x03\x01\x1b",
    "LZ4": b"\x04\x04\xf7\x11\x04",
    "ARM64": b"\x01\x0a",
    "none": b"\x03\xff\xff\xff",
    "LZMA2 of another version": b"\x21\x21\x01\xff",
    "PPMd without properties": b"\x03\x03\x04\x01",
}
COPIED = b"\x0b\x01\x00\x01\x01\x00"
"""How a listing begins that has one block, and that by the method that copies."""


@pytest.mark.parametrize("method", UNKNOWN.values(), ids=UNKNOWN)
def test_a_method_that_is_not_known_is_no_damage(tmp_path, method):
    archive = tmp_path / "train.7z"
    with py7zr.SevenZipFile(archive, "w", filters=COPY) as content:
        content.set_encoded_header_mode(False)
        content.writestr(b"text", "train/x")
    patch_listing(archive, COPIED, COPIED[:-2] + method)
    with pytest.raises(Refusal) as caught:
        extract_release(SMALL, archive, tmp_path / "in" / "train", workers=1)
    (finding,) = caught.value.findings
    assert finding.path == str(archive)
    assert "py7zr" in finding.problem and "damaged" not in finding.problem
    assert finding.mend.startswith("extract it with 7-Zip, and set ISLES_RAW_ROOT to ")


def test_a_method_that_is_not_known_is_called_by_its_number(tmp_path):
    archive = tmp_path / "train.7z"
    with py7zr.SevenZipFile(archive, "w", filters=COPY) as content:
        content.set_encoded_header_mode(False)
        content.writestr(b"text", "train/x")
    patch_listing(archive, COPIED, COPIED[:-2] + UNKNOWN["LZ4"])
    with pytest.raises(Refusal, match="is compressed with a method that py7zr does not know: 04f71104 "):
        members(archive)


BCJ2 = ["-m0=BCJ2", "-m1=LZMA", "-m2=LZMA", "-m3=LZMA", "-mb0:1", "-mb0s1:2", "-mb0s2:3"]


@pytest.mark.skipif(not shutil.which("7zz"), reason="there is no 7zz")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BCJ2, "is compressed with a method that py7zr does not know: .*0303011b"),
        (["-m0=ARM64", "-m1=LZMA2"], "is compressed with a method that py7zr does not know: 21, 0a"),
        (["-psecret"], "is encrypted"),
        (["-psecret", "-mhe"], "is encrypted"),
    ],
)
def test_what_7_zip_packs_and_py7zr_does_not_know_is_no_damage(small, tmp_path, options, words):
    archive = tmp_path / "small.7z"
    subprocess.run(["7zz", "a", *options, archive, small], check=True, stdout=subprocess.DEVNULL)
    with pytest.raises(Refusal, match=f"{words}.* -> extract it with 7-Zip"):
        members(archive)


@pytest.mark.parametrize("names_too", [False, True])
def test_an_encrypted_archive_is_called_that(tmp_path, names_too):
    archive = tmp_path / "train.7z"
    with py7zr.SevenZipFile(archive, "w", password="secret", header_encryption=names_too) as content:
        content.writestr(b"text", "train/x")
    with pytest.raises(Refusal, match="is encrypted -> extract it with 7-Zip"):
        members(archive)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("place", [0.0001, 0.1, 0.5, 0.999])
def test_damaged_bytes_are_refused(noise_packed, tmp_path, method, place):
    archive = tmp_path / "small.7z"
    damaged = bytearray((noise_packed / method).read_bytes())
    at = 32 + int(place * 3_000_000)
    damaged[at : at + 8] = bytes(byte ^ 0xFF for byte in damaged[at : at + 8])
    archive.write_bytes(damaged)
    with pytest.raises(Refusal, match=r"noise has CRC-32 .* instead of|is damaged, or|bytes early"):
        extracted(archive, tmp_path / "out")


def test_packed_bytes_that_end_early_are_refused_and_not_waited_for(small, tmp_path):
    archive = pack(tmp_path / "small.7z", small / "folder", {"noise": LZMA2})
    content = bytearray(archive.read_bytes())
    chunk, size = 29, 0  # LZMA2 stores noise: a byte, the size less 1, the bytes; and a zero after the last
    while content[following := chunk + 3 + size]:
        chunk, size = following, int.from_bytes(content[following + 1 : following + 3]) + 1
    content[chunk + 1 : chunk + 3] = (size - 11).to_bytes(2)
    content[chunk + 3 + size - 10 : chunk + 3 + size - 7] = b"\x02\xff\xff"  # 64 kB that are not there
    archive.write_bytes(content)
    with pytest.raises(Refusal, match="folder/noise ends 2 bytes early"):
        extracted(archive, tmp_path / "out")


def test_nothing_stays_of_an_archive_with_a_damaged_block(small_packed, tmp_path):
    archive = tmp_path / "train.7z"
    content = bytearray(small_packed.read_bytes())
    content[32:10_000] = os.urandom(10_000 - 32)
    archive.write_bytes(content)
    with pytest.raises(Refusal):
        extract_release(SMALL, archive, tmp_path / "in" / "train", workers=4)
    assert not list((tmp_path / "in").iterdir())


EXTRACT = """
import os, signal, sys
from pathlib import Path
from isles_assets.source.extraction import extract_release
from isles_assets_tests.isles24 import SMALL
def die(event, arguments):
    if event == "open" and f".part/train/{sys.argv[3]}" in str(arguments[0]):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(die)
extract_release(SMALL, Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
"""
"""Dies when it is about to write the first file of that name."""


@pytest.mark.parametrize("moment", ["", "raw_data/sub-stroke0014", "phenotype/sub-stroke0145"])
def test_killed_in_the_middle_there_is_no_tree_and_the_next_one_is_whole(
    small_packed, small_sample_tree, tmp_path, moment
):
    tree = tmp_path / "release" / "train"
    died = subprocess.run([sys.executable, "-c", EXTRACT, small_packed, tree, moment], cwd=REPOSITORY)
    assert died.returncode == -signal.SIGKILL
    assert not tree.exists() and len(list(tree.parent.iterdir())) == 1
    extract_release(SMALL, small_packed, tree, workers=2)
    assert list(tree.parent.iterdir()) == [tree]
    assert contents(tree) == contents(small_sample_tree)


ON_SMALL_DISK = """
import os, shutil, sys
from pathlib import Path
from isles_assets.lib.findings import Refusal
from isles_assets.source.extraction import extract_release
from isles_assets_tests.isles24 import SMALL
archive, disk = map(Path, sys.argv[1:])
free = shutil.disk_usage(disk).free
if filled := int(os.environ.get("FILL", 0)):
    (disk / "filler").write_bytes(bytes(filled))
left = shutil.disk_usage(disk).free
try:
    extract_release(SMALL, archive, disk / "release" / "train", workers=2)
except Refusal as refusal:
    print(refusal)
print(list((disk / "release").iterdir()), shutil.disk_usage(disk).free == left)
"""


def test_a_disk_that_fills_up_is_refused_and_what_was_extracted_is_kept(small_packed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(member.size for member in members(small_packed))
    tight = str(size + 50_000)  # enough for the bytes, not for the blocks of a file system
    output = on_small_disk(disk, tight, ON_SMALL_DISK, small_packed, disk)
    assert "The release was not extracted." in output and "the disk is full -> free space" in output
    assert output.endswith("/.train.part')] False\n")


def test_a_disk_that_is_too_small_is_refused_with_numbers_before_anything_is_written(small_packed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    output = on_small_disk(disk, "1m", ON_SMALL_DISK, small_packed, disk)
    size = sum(member.size for member in members(small_packed))
    assert f"has 1.05 MB free, and {size / 1e6:.3g} MB are needed -> free space" in output
    assert output.endswith("[] True\n")


def test_a_tree_is_not_overwritten(small_packed, tmp_path):
    tree = tmp_path / "release" / "train"
    (tree / "mine").mkdir(parents=True)
    with pytest.raises(Refusal, match="exists already"):
        extract_release(SMALL, small_packed, tree, workers=2)
    assert list(tmp_path.rglob("*")) == [tree.parent, tree, tree / "mine"]
