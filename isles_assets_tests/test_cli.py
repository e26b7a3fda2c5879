"""How the commands `isles24 ...` end: with a message and an exit code."""

import errno
import logging
import os
import shutil
import subprocess
import sys

import pytest

from isles_assets.cli import reset_demo, sample
from isles_assets.cli.exit_codes import exit_code_of
from isles_assets.cli.summary import summarize_dataset
from isles_assets.lib.findings import Refusal
from isles_assets_tests.processes import free_port

DATASET = "data/hub/toys/toy"


def damaged(folder, published):
    shutil.copytree(published, folder, symlinks=False)
    path = min(folder.glob("data/train/*.parquet"))
    content = path.read_bytes()[:300]
    path.unlink()
    path.write_bytes(content)


def only_card(folder, published):
    folder.mkdir()
    shutil.copy(published / "README.md", folder)


def of_others(folder, published):
    folder.mkdir()
    (folder / "table.csv").write_text("a,b\n1,2\n")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder, published: None, "is neither a folder nor the id of a repo -> name"),
        (lambda folder, published: folder.write_text("x"), "is neither a folder nor the id of a repo -> name"),
        (lambda folder, published: folder.mkdir(), "does not load: EmptyDatasetError: .* -> see that it is whole"),
        (only_card, "does not load: DataFilesNotFoundError: .* -> see that it is whole"),
        (damaged, "does not load: ArrowInvalid: .* -> see that it is whole"),
        (of_others, "has no column subject_id in default -> name one that isles-assets published"),
    ],
    ids=["nothing", "a file", "an empty folder", "a card alone", "a damaged file", "another dataset"],
)
def test_what_is_no_dataset_is_refused_by_summary(toy_built_folder, tmp_path, make, words):
    make(tmp_path / "given", toy_built_folder / DATASET)
    with pytest.raises(Refusal, match=f"/given: {words}"):
        list(summarize_dataset(str(tmp_path / "given")))


@pytest.mark.parametrize("command", ["summary", "restore"])
def test_a_hub_that_cannot_be_reached_ends_a_command_with_a_message(tmp_path, command):
    arguments = ["toys/toy"] if command == "summary" else ["toys/toy", str(tmp_path / "tree")]
    ended = subprocess.run(
        [sys.executable, "-m", "isles_assets.cli", command, *arguments],
        env={**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": str(tmp_path), "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "Traceback" not in ended.stderr and "toys/toy: the Hub cannot be reached: " in ended.stderr


@pytest.mark.parametrize("main", [sample.main, reset_demo.main])
def test_a_file_in_the_place_of_a_folder_is_refused_with_a_message(tmp_path, caplog, main):
    (tmp_path / "file").write_text("x")
    assert main([str(tmp_path / "file" / "data")]) == (main is sample.main)
    assert main([str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in caplog.text and " -> " in caplog.text


def test_a_sample_that_cannot_be_written_names_the_argument_to_change(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    root = tmp_path / "file" / "train"
    assert sample.main([str(root)]) == 1
    assert f"{root}: a file stands where a folder is needed -> set ROOT to a folder" in caplog.text
    assert "ISLES_DATA_DIR" not in caplog.text


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Refusal.of("Not made.", "is odd", "mend it", path="x"), 1, "Not made.\n  x: is odd -> mend it"),
        (OSError(errno.ENOSPC, "no space"), 1, "a disk is full -> free space"),
        (PermissionError(errno.EACCES, "Permission denied", "a/file"), 1, "a/file: Permission denied -> see"),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_what_stops_a_command_is_logged_and_gives_its_exit_code(caplog, error, code, words):
    def work() -> int:
        raise error

    caplog.set_level(logging.ERROR)
    assert exit_code_of(work) == code and words in caplog.text


def test_a_fault_of_the_program_is_raised():
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: 1 // 0)
    assert exit_code_of(lambda: 0) == 0
