"""Files appear whole or not at all, whatever happens to the process or the disk."""

import errno
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isles_assets.lib.files import atomic_write, remove_leftovers, sha256_of, write_errors_refused
from isles_assets.lib.findings import Refusal
from isles_assets_tests.processes import REPOSITORY, as_nobody, python, reachable_folder
from isles_assets_tests.running import eventually

WRITE_SLOWLY = """
import sys, time
from pathlib import Path
from isles_assets.lib.files import atomic_write
with atomic_write(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half of it")
    print("writing", flush=True)
    time.sleep(60)
"""
WRITE_TOO_MUCH = """
import sys
from pathlib import Path
import pyarrow as pa
from isles_assets.tables.storage import write_table
from isles_assets.lib.files import atomic_write
from isles_assets.lib.findings import Refusal
def write(path, content):
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
def write_random_table(path):
    import os
    write_table(path, pa.table({"noise": [os.urandom(2 << 20)]}))
folder = Path(sys.argv[1])
write(folder / "file", b"old")
for attempt in (lambda: write(folder / "file", bytes(2 << 20)), lambda: write_random_table(folder / "table")):
    try:
        attempt()
    except Refusal as refusal:
        (finding,) = refusal.findings
        print(finding.path, finding.problem, finding.mend, sep="|")
print(*sorted(f"{path.name}={path.stat().st_size}" for path in folder.iterdir()))
"""


def test_file_appears_under_its_name_with_its_content(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"content")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_bytes() == b"content"
    assert list(path.parent.iterdir()) == [path]


def test_old_content_stands_until_the_new_is_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_the_old_content_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_refusal_passes_through_unchanged(tmp_path):
    refusal = Refusal("no")
    with pytest.raises(Refusal) as caught, atomic_write(tmp_path / "file"):
        raise refusal
    assert caught.value is refusal


def test_temporary_file_is_hidden_from_patterns_for_finished_ones(tmp_path):
    with atomic_write(tmp_path / "a.parquet") as temporary:
        temporary.write_bytes(b"half")
        assert not temporary.match("*.parquet")
        assert temporary.name.startswith(".")


@pytest.fixture
def writing(tmp_path):
    """A process that is in the middle of writing `tmp_path / "file"`."""
    command = [sys.executable, "-c", WRITE_SLOWLY, str(tmp_path / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def test_killed_process_leaves_no_file_and_its_leftover_is_removed(tmp_path, writing):
    writing.kill()
    writing.wait()
    (leftover,) = tmp_path.iterdir()
    assert leftover.name != "file"
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_file_of_a_living_process_is_not_removed(tmp_path, writing):
    before = list(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == before


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the state of a process is what Linux says of it")
def test_a_killed_process_is_dead_before_anybody_asks_for_its_exit_code(tmp_path, writing):
    writing.kill()
    state = Path(f"/proc/{writing.pid}/stat")
    eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "Z")
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_leftovers_of_dead_processes_of_this_machine_are_removed(tmp_path, writing):
    writing.kill()
    writing.wait()
    (leftover,) = tmp_path.iterdir()
    others = [
        tmp_path / name
        for name in (
            "file",
            "file.tmp",
            ".hidden.tmp",
            leftover.name.removeprefix("."),
            leftover.name.replace(os.uname().nodename, "elsewhere"),
            leftover.name.replace(str(writing.pid), str(os.getpid())),
        )
    ]
    for other in others:
        other.touch()
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == set(others)


@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_what_another_machine_has_not_touched_for_a_day_is_removed(tmp_path, hours, stays):
    files = [tmp_path / name for name in (".file.elsewhere-4026531836-17.tmp", ".file.tmp", ".17.tmp", "file-17.tmp")]
    for file in files:
        file.touch()
        os.utime(file, times=(time.time() - hours * 3600,) * 2)
    remove_leftovers(tmp_path)
    assert set(tmp_path.iterdir()) == set(files if stays else files[1:])


IN_CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]


def may_contain() -> bool:
    try:
        return subprocess.run([*IN_CONTAINER, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


if may_contain():

    def test_file_of_a_container_that_shares_the_machines_name_is_not_removed(tmp_path):
        command = [*IN_CONTAINER, sys.executable, "-c", WRITE_SLOWLY, str(tmp_path / "file")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
            (file,) = tmp_path.iterdir()
            assert file.name.endswith("-1.tmp")  # its number there; here it is another process
            file.rename(other := file.with_name(file.name.replace("-1.tmp", "-999999999.tmp")))  # here it is none
            remove_leftovers(tmp_path)
            assert list(tmp_path.iterdir()) == [other]
            process.kill()


def test_leftover_folder_is_removed_with_its_contents(tmp_path, writing):
    writing.kill()
    writing.wait()
    (leftover,) = tmp_path.iterdir()
    leftover.unlink()
    (leftover / "sub").mkdir(parents=True)
    (leftover / "sub" / "file").touch()
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())


def test_leftover_link_is_removed_and_not_its_target(tmp_path, writing):
    writing.kill()
    writing.wait()
    (leftover,) = tmp_path.iterdir()
    leftover.unlink()
    (tmp_path / "folder").mkdir()
    leftover.symlink_to("folder")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_missing_folder_has_no_leftovers(tmp_path):
    remove_leftovers(tmp_path / "nothing")
    assert not list(tmp_path.iterdir())


def written_too_much(folder: Path, **options):
    """The refusals as (path, problem, mend), and what is in `folder` then."""
    *refused, left = python(WRITE_TOO_MUCH, folder, **options).stdout.splitlines()
    return [tuple(line.split("|")) for line in refused], left


def test_file_over_the_size_limit_is_refused_with_a_mend(tmp_path):
    limit = 1 << 20
    refused, left = written_too_much(
        tmp_path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert refused == [
        (str(tmp_path / name), "the file would be larger than this system allows", mend)
        for name, mend in dict.fromkeys(("file", "table"), "raise the file size limit; then run again").items()
    ]
    assert left == "file=3"


def test_full_device_is_refused_with_a_mend(tmp_path):
    with pytest.raises(Refusal) as caught, atomic_write(tmp_path / "file") as temporary:
        temporary.symlink_to("/dev/full")
        temporary.write_bytes(b"content")
    (finding,) = caught.value.findings
    assert finding.problem == "the disk is full"
    assert "ISLES_DATA_DIR" in finding.mend
    assert not list(tmp_path.iterdir())


def write(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"content")


@pytest.mark.parametrize("name", ["file", "new/file"])
def test_folder_that_may_not_be_written_to_is_refused(name):
    with reachable_folder() as folder:
        folder.chmod(0o555)
        with pytest.raises(Refusal, match="ISLES_DATA_DIR") as caught:
            as_nobody(write, folder / name)
        assert not list(folder.iterdir())
        folder.chmod(0o755)
    assert caught.value.findings[0].problem == "writing is not permitted"


@pytest.mark.parametrize("name", ["file/new", "file/new/newer"])
def test_file_in_place_of_the_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(Refusal, match="a file stands where a folder is needed"):
        write(tmp_path / name)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), write_errors_refused(tmp_path):
        (tmp_path / "nothing").read_bytes()


def test_digest_is_of_all_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_of(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_file_that_cannot_be_read_on_the_way_is_not_called_unwritable(tmp_path):
    with pytest.raises(PermissionError), atomic_write(tmp_path / "new"):
        raise PermissionError(errno.EACCES, "denied", "/somewhere/else/source.nii.gz")
    assert list(tmp_path.iterdir()) == []
