"""The public interface: the names that the package exports, and that a reader of the dataset needs no Dagster."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import isles_assets

NO_DAGSTER = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("dagster"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""
FOR_READERS = ("ISLES24", "Finding", "Refusal", "Release", "clinical_frame", "summarize_dataset")


def without_dagster(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a Python that has no Dagster."""
    return subprocess.run(
        [sys.executable, "-c", NO_DAGSTER + code, *arguments], capture_output=True, text=True, check=False
    )


def test_the_exported_names_are_these():
    assert isles_assets.__all__ == [
        *(
            "ISLES24",
            "Finding",
            "Refusal",
            "Release",
            "Settings",
            "build_defs",
            "clinical_frame",
            "defs",
            "summarize_dataset",
        )
    ]


@pytest.mark.parametrize("name", isles_assets.__all__)
def test_each_exported_name_can_be_imported_and_is_documented(name):
    exported = getattr(isles_assets, name)
    assert name in dir(isles_assets)
    if name not in ("defs", "ISLES24"):
        assert exported.__doc__


def test_type_checkers_see_each_exported_name_where_it_is():
    tree = ast.parse(Path(isles_assets.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module != "importlib"]
    typed = {alias.name: node.module for node in imports for alias in node.names if node.module != "typing"}
    assert typed == {name: f"isles_assets.{module}" for name, module in isles_assets._MODULES.items()}
    assert set(typed) == set(isles_assets.__all__)
    assert Path(isles_assets.__file__).with_name("py.typed").exists()


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        isles_assets.absent  # noqa: B018


def test_the_hook_of_these_tests_hides_dagster():
    assert "No module named 'dagster'" in without_dagster("import isles_assets; isles_assets.defs").stderr


@pytest.mark.parametrize("name", FOR_READERS)
def test_what_a_reader_imports_needs_no_dagster(name):
    done = without_dagster(f"from isles_assets import {name}")
    assert not done.returncode, done.stderr


RUN = """
import json
from isles_assets.cli import main
for arguments in json.loads(sys.argv[1]):
    assert not main(arguments), arguments
"""


@pytest.mark.slow
def test_the_commands_for_readers_need_no_dagster(small_built, tmp_path):
    published, tree, subject = small_built.setup.target().location, tmp_path / "tree", "sub-stroke0001"
    commands = (
        ("restore", published, str(tree), "--subject", subject, "--volume", "lesion_mask", "ncct"),
        ("export", "nnunet", str(tree), str(tmp_path), "--channels", "ncct"),
        ("sample", str(tmp_path / "train"), "--subject", subject),
        ("summary", published),  # which ends the process
    )
    done = without_dagster(RUN, json.dumps(commands))
    assert not done.returncode, done.stderr
    restored = {path.name for path in tree.rglob("*") if path.is_file()}
    assert restored == {f"{subject}_ses-01_ncct.nii.gz", f"{subject}_ses-02_space-ncct_lesion-msk.nii.gz"}
    assert (tmp_path / "Dataset024_ISLES24" / "dataset.json").is_file()
