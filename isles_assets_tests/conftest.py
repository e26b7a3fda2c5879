"""What the tests share: one sample tree of all 149 subjects, copies of it to damage, and projects to run."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from isles_assets.sample.tree import make_sample
from isles_assets_tests.archives import RELEASE_PARTS, pack
from isles_assets_tests.project import Project


@pytest.fixture(scope="session")
def sample_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample of all 149 subjects; not to be changed."""
    root = tmp_path_factory.mktemp("sample") / "train"
    make_sample(root, workers=2)
    return root


@pytest.fixture(scope="session")
def packed(sample_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as a 7z archive of four blocks; not to be changed."""
    return pack(tmp_path_factory.mktemp("packed") / "train.7z", sample_tree, RELEASE_PARTS)


@pytest.fixture
def tree(sample_tree: Path, tmp_path: Path) -> Path:
    """A copy of the sample to damage. Files are hard links: replace them, never write into them."""
    root = tmp_path / "train"
    shutil.copytree(sample_tree, root, copy_function=os.link)
    return root


@pytest.fixture
def project(sample_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A project on the untouched sample, with a Dagster instance of its own and nothing materialized."""
    with Project.temporary(sample_tree, tmp_path / "data") as new:
        yield new


@pytest.fixture(scope="session")
def built(sample_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project in which the job `build` has run on the sample; not to be changed."""
    with Project.temporary(sample_tree, tmp_path_factory.mktemp("built") / "data") as new:
        assert new.build().success
        yield new


@pytest.fixture
def built_copy(built: Project, tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy, to change, of a project in which everything is materialized; its tree is `tree`."""
    with Project.temporary(tree, tmp_path / "data") as new:
        shutil.copytree(built.folder.root, new.folder.root, symlinks=True, copy_function=os.link)
        yield new
