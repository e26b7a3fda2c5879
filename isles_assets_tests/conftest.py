"""What the tests share: sample trees, copies of them to damage, and projects to run.

Fixtures that begin with `toy_` are of the toy release, those with `small_` of six subjects of ISLES'24, which has
previews, those with `thirty_` of thirty of them, for runs to interrupt, and the others of all its 149. Use the first
that can show the claim.
"""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from isles_assets.graph.settings import Settings
from isles_assets.release.isles24 import ISLES24
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample
from isles_assets_tests.isles24 import SMALL
from isles_assets_tests.project import Project
from isles_assets_tests.thirty import THIRTY
from isles_assets_tests.toy import TOY

pytest.register_assert_rewrite("isles_assets_tests.bench")

MadeOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_configure() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so would the commands that are interrupted here.

    The package is compiled once, and not by each of the hundreds of processes that import it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


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


def _sample(made_once: MadeOnce, name: str, release: Release) -> Path:
    top = release.record.top
    return made_once(name, lambda folder: make_sample(release, folder / top, workers=2)) / top


def copy_of(sample: Path, root: Path) -> Path:
    """`root`, made as a copy of `sample` whose files are hard links."""
    shutil.copytree(sample, root, copy_function=os.link)
    return root


def _built(made_once: MadeOnce, name: str, release: Release, tree: Path) -> Path:
    def build(folder: Path) -> None:
        settings = Settings(raw_root=str(tree), data_dir=str(folder / "data"), workers=2)
        with Project.at(folder / "home", settings, release) as new:
            assert new.build().success

    return made_once(name, build)


@contextmanager
def _copied(request: pytest.FixtureRequest, built: Path, tree: Path, data: Path, release: Release) -> Iterator[Project]:
    """A project on `tree` with a copy of what was `built`; its history is new, unless the test is marked `history`."""
    history = built / "home" if request.node.get_closest_marker("history") else None
    with Project.temporary(tree, data, release=release, history=history) as new:
        shutil.copytree(built / "data", new.folder.root, symlinks=True, copy_function=os.link)
        yield new


@pytest.fixture(scope="session")
def sample_tree(made_once: MadeOnce) -> Path:
    """The sample of all 149 subjects of ISLES'24; not to be changed."""
    return _sample(made_once, "sample", ISLES24)


@pytest.fixture
def tree(sample_tree: Path, tmp_path: Path) -> Path:
    """A copy of that sample to damage. Files are hard links: replace them, never write into them."""
    return copy_of(sample_tree, tmp_path / ISLES24.record.top)


@pytest.fixture(scope="session")
def built_folder(sample_tree: Path, made_once: MadeOnce) -> Path:
    """Where the job `build` has run on that sample: `data`, and its history `home`, which nobody opens but copies."""
    return _built(made_once, "built", ISLES24, sample_tree)


@pytest.fixture(scope="session")
def built(sample_tree: Path, built_folder: Path) -> Iterator[Project]:
    """A project in which the job `build` has run on that sample; not to be changed."""
    data, history = built_folder / "data", built_folder / "home"
    with Project.temporary(sample_tree, data, release=ISLES24, history=history) as new:
        yield new


@pytest.fixture(scope="session", params=["small_built", pytest.param("built", marks=pytest.mark.long)])
def six_or_all(request: pytest.FixtureRequest) -> Project:
    """A project in which the job `build` has run on six subjects, in the long tests on all; not to be changed."""
    project: Project = request.getfixturevalue(request.param)
    return project


@pytest.fixture(scope="session")
def small_sample_tree(made_once: MadeOnce) -> Path:
    """The sample of six subjects of ISLES'24; not to be changed."""
    return _sample(made_once, "small_sample", SMALL)


@pytest.fixture
def small_tree(small_sample_tree: Path, tmp_path: Path) -> Path:
    """A copy of that sample to damage. Files are hard links: replace them, never write into them."""
    return copy_of(small_sample_tree, tmp_path / SMALL.record.top)


@pytest.fixture
def small_project(small_sample_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A project on that untouched sample, with a Dagster instance of its own and nothing materialized."""
    with Project.temporary(small_sample_tree, tmp_path / "data", release=SMALL) as new:
        yield new


@pytest.fixture
def small_unbuilt(small_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A project on a tree to damage, nothing materialized."""
    with Project.temporary(small_tree, tmp_path / "data", release=SMALL) as new:
        yield new


@pytest.fixture(scope="session")
def small_built_folder(small_sample_tree: Path, made_once: MadeOnce) -> Path:
    """Where the job `build` has run on that sample: `data`, and its history `home`, which nobody opens but copies."""
    return _built(made_once, "small_built", SMALL, small_sample_tree)


@pytest.fixture(scope="session")
def small_built(small_sample_tree: Path, small_built_folder: Path) -> Iterator[Project]:
    """A project in which the job `build` has run on that sample; not to be changed."""
    data, history = small_built_folder / "data", small_built_folder / "home"
    with Project.temporary(small_sample_tree, data, release=SMALL, history=history) as new:
        yield new


@pytest.fixture
def small_built_copy(
    small_built_folder: Path, small_tree: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Project]:
    """A copy, to change, of a project in which everything is materialized, with a tree to damage."""
    with _copied(request, small_built_folder, small_tree, tmp_path / "data", SMALL) as new:
        yield new


@pytest.fixture(scope="session")
def thirty_sample_tree(made_once: MadeOnce) -> Path:
    """The sample of thirty subjects of ISLES'24; not to be changed."""
    return _sample(made_once, "thirty_sample", THIRTY)


@pytest.fixture
def thirty_tree(thirty_sample_tree: Path, tmp_path: Path) -> Path:
    """A copy of that sample to damage. Files are hard links: replace them, never write into them."""
    return copy_of(thirty_sample_tree, tmp_path / THIRTY.record.top)


@pytest.fixture(scope="session")
def thirty_built(made_once: MadeOnce, thirty_sample_tree: Path) -> Iterator[Project]:
    """A project in which the job `build` has run on that sample; not to be changed."""
    folder = _built(made_once, "thirty_built", THIRTY, thirty_sample_tree)
    data, history = folder / "data", folder / "home"
    with Project.temporary(thirty_sample_tree, data, release=THIRTY, history=history) as new:
        yield new


@pytest.fixture(scope="session")
def toy_sample_tree(made_once: MadeOnce) -> Path:
    """The sample of the toy release; not to be changed."""
    return _sample(made_once, "toy_sample", TOY)


@pytest.fixture
def toy_tree(toy_sample_tree: Path, tmp_path: Path) -> Path:
    """A copy of that sample to damage. Files are hard links: replace them, never write into them."""
    return copy_of(toy_sample_tree, tmp_path / TOY.record.top)


@pytest.fixture
def toy_project(toy_sample_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A project on that untouched sample, with a Dagster instance of its own and nothing materialized."""
    with Project.temporary(toy_sample_tree, tmp_path / "data", release=TOY) as new:
        yield new


@pytest.fixture
def toy_unbuilt(toy_tree: Path, tmp_path: Path) -> Iterator[Project]:
    """A project on a tree to damage, nothing materialized."""
    with Project.temporary(toy_tree, tmp_path / "data", release=TOY) as new:
        yield new


@pytest.fixture(scope="session")
def toy_built_folder(toy_sample_tree: Path, made_once: MadeOnce) -> Path:
    """Where the job `build` has run on that sample: `data`, and its history `home`, which nobody opens but copies."""
    return _built(made_once, "toy_built", TOY, toy_sample_tree)


@pytest.fixture(scope="session")
def toy_built(toy_sample_tree: Path, toy_built_folder: Path) -> Iterator[Project]:
    """A project in which the job `build` has run on that sample; not to be changed."""
    data, history = toy_built_folder / "data", toy_built_folder / "home"
    with Project.temporary(toy_sample_tree, data, release=TOY, history=history) as new:
        yield new


@pytest.fixture
def toy_built_copy(
    toy_built_folder: Path, toy_tree: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Project]:
    """A copy, to change, of a project in which everything is materialized, with a tree to damage."""
    with _copied(request, toy_built_folder, toy_tree, tmp_path / "data", TOY) as new:
        yield new


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no process of the tests is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
