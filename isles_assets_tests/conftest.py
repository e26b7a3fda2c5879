"""What the tests share: one sample tree of all 149 subjects, copies of it to damage, and projects to run."""

import fcntl
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from isles_assets.graph.resources import Settings
from isles_assets.sample.tree import make_sample
from isles_assets_tests.archives import RELEASE_PARTS, pack
from isles_assets_tests.project import Project

MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_configure() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so would the commands that are interrupted here."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """Fills a new folder of that name in the first process of the tests that asks, and gives it to all of them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name: str, fill: Callable[[Path], object]) -> Path:
        folder, complete = shared / name, shared / f"{name}.complete"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                complete.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def sample_tree(made_once: MadeOnce) -> Path:
    """The sample of all 149 subjects; not to be changed."""
    return made_once("sample", lambda folder: make_sample(folder / "train", workers=2)) / "train"


@pytest.fixture(scope="session")
def packed(sample_tree: Path, made_once: MadeOnce) -> Path:
    """The sample as a 7z archive of four blocks; not to be changed."""
    return made_once("packed", lambda folder: pack(folder / "train.7z", sample_tree, RELEASE_PARTS)) / "train.7z"


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
def built_folder(sample_tree: Path, made_once: MadeOnce) -> Path:
    """Where the job `build` has run on the sample: `data`, and its history `home`, which nobody opens but copies."""

    def build(folder: Path) -> None:
        settings = Settings(raw_root=str(sample_tree), data_dir=str(folder / "data"), workers=2)
        with Project.at(folder / "home", settings) as new:
            assert new.build().success

    return made_once("built", build)


@pytest.fixture(scope="session")
def built(sample_tree: Path, built_folder: Path) -> Iterator[Project]:
    """A project in which the job `build` has run on the sample; not to be changed."""
    with Project.temporary(sample_tree, built_folder / "data", history=built_folder / "home") as new:
        yield new


@pytest.fixture
def built_copy(built_folder: Path, tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy, to change, of a project in which everything is materialized, with its history; its tree is `tree`."""
    with Project.temporary(tree, tmp_path / "data", history=built_folder / "home") as new:
        shutil.copytree(built_folder / "data", new.folder.root, symlinks=True, copy_function=os.link)
        yield new


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no process of the tests is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
