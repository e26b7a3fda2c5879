"""Finding the release's root and everything below it, on folders as users really have them."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from isles_assets.lib.findings import Refusal
from isles_assets.reading.tree import Fault, TreeFile, check_root, take_inventory
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import read_inventory, write_inventory
from isles_assets_tests.isles24 import BY_COLUMN, ISLES24, SMALL
from isles_assets_tests.processes import as_nobody, python, reachable_folder

TOPS = ("raw_data", "derivatives", "phenotype")
SUBJECT = "sub-stroke0001"
FILE = BY_COLUMN["ncct"].path(SUBJECT)


@pytest.fixture
def root(tmp_path):
    """The smallest thing that passes for the `train` folder."""
    return make_root(tmp_path / "disk" / "train")


def make_root(root: Path) -> Path:
    for top in TOPS:
        (root / top / SUBJECT / "ses-01" / "perfusion-maps").mkdir(parents=True)
    (root / FILE).write_bytes(b"voxels")
    return root


def files(inventory):
    return {path for path, entry in inventory.items() if entry.fault is not Fault.EMPTY_FOLDER}


def refusal(function, *args):
    """What `function` refuses: the one finding."""
    with pytest.raises(Refusal) as caught:
        function(*args)
    (finding,) = caught.value.findings
    return finding


def test_root_is_the_folder_that_holds_the_three(root):
    assert check_root(ISLES24, root) == root


def test_root_may_be_a_symlink_and_is_resolved(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert check_root(ISLES24, tmp_path / "link") == root


@pytest.mark.parametrize("top", TOPS)
def test_one_of_the_three_is_enough_for_a_root_that_is_incomplete(root, top):
    for other in set(TOPS) - {top}:
        shutil.rmtree(root / other)
    assert check_root(ISLES24, root) == root


def test_missing_root_is_refused(tmp_path):
    finding = refusal(check_root, ISLES24, tmp_path / "nothing")
    assert finding.path == str(tmp_path / "nothing")
    assert finding.problem == "there is no such folder"
    assert "ISLES_RAW_ROOT" in finding.mend


def test_archive_given_as_root_is_refused(tmp_path):
    archive = tmp_path / "train.7z"
    archive.write_bytes(b"7z")
    assert refusal(check_root, ISLES24, archive).problem == "is not a folder"


def test_root_two_levels_too_high_is_refused_naming_the_right_one(root):
    assert refusal(check_root, ISLES24, root.parent.parent).mend == f"set ISLES_RAW_ROOT to {root}"


def test_folder_below_something_called_derivatives_is_not_called_too_low(tmp_path):
    folder = tmp_path / "derivatives" / "of-mine"
    folder.mkdir(parents=True)
    assert "does not hold the release" in refusal(check_root, ISLES24, folder).problem


def test_root_one_level_too_high_is_refused_naming_the_right_one(root):
    finding = refusal(check_root, ISLES24, root.parent)
    assert finding.problem == "is too high a level"
    assert finding.mend == f"set ISLES_RAW_ROOT to {root}"


@pytest.mark.parametrize(
    "below",
    [
        *TOPS,
        f"raw_data/{SUBJECT}",
        f"phenotype/{SUBJECT}/ses-01",
        f"derivatives/{SUBJECT}/ses-01/perfusion-maps",
    ],
)
def test_root_too_low_is_refused_naming_the_right_one(root, below):
    finding = refusal(check_root, ISLES24, root / below)
    assert "too low" in finding.problem
    assert finding.mend == f"set ISLES_RAW_ROOT to {root}"


def test_unrelated_folder_is_refused_saying_what_is_missing(tmp_path):
    (tmp_path / "photos").mkdir()
    finding = refusal(check_root, ISLES24, tmp_path)
    assert "none of raw_data, derivatives, phenotype is there" in finding.problem
    assert "`train` folder" in finding.mend


def test_root_that_may_not_be_listed_is_refused():
    with reachable_folder() as folder:
        make_root(folder / "train").chmod(0o711)
        assert refusal(as_nobody, check_root, ISLES24, folder / "train").mend == "grant read and search rights"


def test_a_closed_folder_beside_the_root_does_not_hide_it():
    """A disk of its own has `lost+found`, which only root may enter."""
    with reachable_folder() as folder:
        root = make_root(folder / "train")
        (folder / "lost+found").mkdir(mode=0o700)
        assert refusal(as_nobody, check_root, ISLES24, folder).mend == f"set ISLES_RAW_ROOT to {root}"


def test_root_in_a_closed_folder_is_refused():
    with reachable_folder() as folder:
        root = make_root(folder / "closed" / "train")
        root.parent.chmod(0o700)
        assert refusal(as_nobody, check_root, ISLES24, root).path == str(root)


def test_inventory_has_every_file_of_the_sample_with_size_and_time(small_sample_tree):
    expected = {}
    for folder, _, names in os.walk(small_sample_tree):
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(small_sample_tree).as_posix()
            expected[relative] = TreeFile(relative, path.stat().st_size, path.stat().st_mtime_ns)
    inventory = take_inventory(SMALL, small_sample_tree)
    assert inventory == expected
    assert len(inventory) == len(SMALL.subjects) * 20 + 1
    assert list(inventory) == sorted(inventory)


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        (FILE, SUBJECT),
        (f"derivatives/{SUBJECT}/ses-02/x.nii", SUBJECT),
        (f"phenotype/{SUBJECT}/x.xlsx", SUBJECT),
        (f"raw_data/{SUBJECT}", SUBJECT),
        ("raw_data/sub-strokecase0001/x", "sub-strokecase0001"),
        (f"other/{SUBJECT}/x", ""),
        ("raw_data/.DS_Store", ""),
        ("clinical_data-description.xlsx", ""),
    ],
)
def test_subject_of_an_entry_is_its_folders(path, subject):
    assert ISLES24.subject_of(path) == subject


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        (Path(FILE).name, None),
        ("/etc/hostname", Fault.LEAVES_TREE),
        ("../../../../outside", Fault.LEAVES_TREE),
        ("nothing", Fault.BROKEN_LINK),
        ("link", Fault.BROKEN_LINK),
        ("perfusion-maps", Fault.LINKED_FOLDER),
        ("/etc", Fault.LEAVES_TREE),
    ],
)
def test_symlinks_are_followed_only_to_name_what_is_wrong_with_them(root, target, fault):
    (root.parent / "outside").write_bytes(b"x")
    link = (root / FILE).with_name("link")
    link.symlink_to(target)
    inventory = take_inventory(ISLES24, root)
    assert files(inventory) == {FILE, link.relative_to(root).as_posix()}
    assert inventory[link.relative_to(root).as_posix()].fault is fault


def test_size_of_a_good_symlink_is_its_files(root):
    link = (root / FILE).with_name("link")
    link.symlink_to(root / FILE)
    assert take_inventory(ISLES24, root)[link.relative_to(root).as_posix()].size == len(b"voxels")


def test_tree_under_a_linked_root_has_no_links_that_leave_it(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    (root / "raw_data" / "inside").symlink_to(root / FILE)
    assert take_inventory(ISLES24, tmp_path / "link") == take_inventory(ISLES24, root)
    assert take_inventory(ISLES24, root)["raw_data/inside"].fault is None


def test_pipe_is_no_file(root):
    os.mkfifo(root / "raw_data" / "pipe")
    assert take_inventory(ISLES24, root)["raw_data/pipe"].fault is Fault.NOT_A_FILE


def test_unreadable_file_is_listed_with_its_fault():
    with reachable_folder() as folder:
        root = make_root(folder / "train")
        (root / FILE).chmod(0)
        entry = as_nobody(take_inventory, ISLES24, root)[FILE]
    assert (entry.size, entry.fault) == (len(b"voxels"), Fault.UNREADABLE)


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o744], ids=["closed", "search only", "read only"])
def test_unreadable_folder_is_refused_by_name(mode):
    with reachable_folder() as folder:
        root = make_root(folder / "train")
        (root / FILE).parent.chmod(mode if os.getuid() == 0 else mode << 6 & 0o700)
        finding = refusal(as_nobody, take_inventory, ISLES24, root)
        (root / FILE).parent.chmod(0o700)
    assert finding.path == f"raw_data/{SUBJECT}/ses-01"
    assert finding.mend == "grant read and search rights"


def test_symlink_into_a_closed_folder_is_listed_with_a_fault():
    with reachable_folder() as folder:
        root = make_root(folder / "train")
        (folder / "closed").mkdir(mode=0o700)
        (folder / "closed" / "file").write_bytes(b"x")
        (root / "raw_data" / "link").symlink_to(folder / "closed" / "file")
        assert as_nobody(take_inventory, ISLES24, root)["raw_data/link"].fault is not None


@pytest.mark.parametrize("inside", ["derivatives", f"raw_data/{SUBJECT}/ses-01"])
def test_bytes_of_a_name_that_are_not_utf_8_are_escaped(root, tmp_path, inside):
    """As in an archive of before UTF-8; Arrow and JSON take no such text."""
    for name in (b"L\xe4sionen.txt", b"Ordner \xfc/b"):
        path = root / inside / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (root / "derivatives" / os.fsdecode(b"\xff")).symlink_to("nothing")
    inventory = take_inventory(ISLES24, root)
    assert files(inventory) == {
        FILE, f"{inside}/L\\xe4sionen.txt", f"{inside}/Ordner \\xfc/b", "derivatives/\\xff",
    }  # fmt: skip
    folder = DataFolder(tmp_path, ISLES24)
    write_inventory(folder, inventory)
    assert read_inventory(folder) == inventory


def test_root_in_a_folder_whose_name_is_not_utf_8_is_refused_in_words_that_can_be_shown(tmp_path):
    root = make_root(tmp_path / os.fsdecode(b"\xe4") / "train")
    finding = refusal(check_root, ISLES24, root.parent)
    assert finding.mend == f"set ISLES_RAW_ROOT to {tmp_path}/\\xe4/train"
    assert finding.path.encode()


@pytest.mark.parametrize(
    ("seconds", "expected"), [(10**10, 2**63 - 1), (-(10**10), -(2**63)), (-1, -(10**9)), (4 * 10**9, 4 * 10**18)]
)
def test_time_beyond_the_years_of_int64_is_the_nearest_within(root, tmp_path, seconds, expected):
    os.utime(root / FILE, (seconds, seconds))
    if (root / FILE).stat().st_mtime != seconds:
        pytest.skip("the file system has no such times")
    inventory = take_inventory(ISLES24, root)
    assert inventory[FILE].mtime_ns == expected
    folder = DataFolder(tmp_path, ISLES24)
    write_inventory(folder, inventory)
    assert read_inventory(folder) == inventory


@pytest.mark.parametrize("name", ["t" * 120, pytest.param("t", marks=pytest.mark.long), "t" * 255])
def test_paths_that_are_too_long_are_named_at_the_deepest_folder_that_can_be(root, name):
    """As a recursive copy of a folder into itself makes them."""
    here = os.open(root / "derivatives", os.O_RDONLY)
    for _ in range(4200 // (len(name) + 1) + 1):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (deep,) = (entry for entry in take_inventory(ISLES24, root).values() if entry.fault is Fault.TOO_DEEP)
    assert len(f"{root}/{deep.path}") < 4096 <= len(f"{root}/{deep.path}/{name}")
    subprocess.run(["rm", "-r", root / "derivatives"], check=True)  # pytest cannot remove it


def test_what_vanishes_between_listing_and_looking_is_not_there(root):
    done = threading.Event()

    def churn():
        while not done.is_set():
            for number in range(50):
                path = root / "raw_data" / str(number)
                path.mkdir()
                (path / "file").touch()
                (path / "link").symlink_to("file")
            for number in range(50):
                shutil.rmtree(root / "raw_data" / str(number))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            inventory = take_inventory(ISLES24, root)
            assert FILE in inventory
            assert {entry.fault for entry in inventory.values()} <= {None, Fault.EMPTY_FOLDER, Fault.BROKEN_LINK}
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("content", [[], ["x.nii"]])
def test_folder_in_the_place_of_a_file_is_listed_with_a_fault(root, content):
    (root / FILE).unlink()
    (root / FILE).mkdir()
    for name in content:
        (root / FILE / name).write_bytes(b"x")
    inventory = take_inventory(ISLES24, root)
    assert inventory[FILE] == TreeFile(FILE, 0, 0, Fault.FOLDER)
    assert files(inventory) == {FILE, *(f"{FILE}/{name}" for name in content)}


def test_empty_folder_is_listed_only_where_files_of_the_release_should_be(root):
    (root / "notes" / "empty").mkdir(parents=True)
    (root / "derivatives" / SUBJECT / "ses-0002").mkdir()
    empty = {path for path, entry in take_inventory(ISLES24, root).items() if entry.fault is Fault.EMPTY_FOLDER}
    assert empty == {f"{top}/{SUBJECT}/ses-01/perfusion-maps" for top in ("derivatives", "raw_data")}


@pytest.mark.parametrize("place", ["lost+found", f"derivatives/{SUBJECT}/.Trashes", f"raw_data/{SUBJECT}/ses-01/mine"])
def test_closed_folder_that_is_not_of_the_release_has_a_fault_and_stops_nothing(place):
    with reachable_folder() as folder:
        root = make_root(folder / "train")
        (root / place).mkdir(mode=0o700)
        inventory = as_nobody(take_inventory, ISLES24, root)
    assert inventory[place] == TreeFile(place, 0, 0, Fault.UNLISTED)
    assert FILE in inventory


def test_all_closed_folders_of_the_release_are_named_at_once():
    with reachable_folder() as folder:
        root = make_root(folder / "train")
        closed = [f"derivatives/{SUBJECT}", f"raw_data/{SUBJECT}/ses-01"]
        for path in closed:
            (root / path).chmod(0)
        with pytest.raises(Refusal) as caught:
            as_nobody(take_inventory, ISLES24, root)
        for path in closed:
            (root / path).chmod(0o755)
    assert sorted(finding.path for finding in caught.value.findings) == closed


DEAD_MOUNT = """
import ctypes, os, sys
from pathlib import Path
from isles_assets.lib.findings import Refusal
from isles_assets.reading.tree import take_inventory
from isles_assets_tests.isles24 import ISLES24
root, mounted = map(Path, sys.argv[1:])
server = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={server},rootmode=40000,user_id=0,group_id=0".encode()
assert ctypes.CDLL(None).mount(b"none", bytes(mounted), b"fuse", 0, options) == 0
os.close(server)
try:
    print([entry.fault.name for entry in take_inventory(ISLES24, root).values() if entry.path == "mine"])
except Refusal as refusal:
    print(refusal)
"""


@pytest.mark.skipif(os.getuid() != 0 or not Path("/dev/fuse").exists(), reason="no FUSE without root")
@pytest.mark.parametrize("mounted", ["", "raw_data", f"derivatives/{SUBJECT}", "mine"])
def test_mount_whose_server_has_died_is_refused_by_name_unless_it_is_not_of_the_release(root, mounted):
    (root / "mine").mkdir()
    output = python(DEAD_MOUNT, root, root / mounted, before=["unshare", "--mount"]).stdout
    if mounted == "mine":
        assert output == "['UNSEEN']\n"
    else:
        line = "cannot be read: Transport endpoint is not connected -> see whether the disk or mount is there"
        assert output.splitlines()[1].strip() == f"{mounted or root}: {line}"
