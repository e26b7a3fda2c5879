"""What the tests share: sample trees, copies of them to damage, and projects to run.

Fixtures that begin with `toy_` are of the toy release, those with `small_` of six subjects of ISLES'24, which has
previews, those with `thirty_` of thirty of them, for runs to interrupt, and the others of all its 149. Each release has
the same ones, which `_of` makes. Use the first release that can show the claim.
"""

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


def copy_of(sample: Path, root: Path) -> Path:
    """`root`, made as a copy of `sample` whose files are hard links."""
    shutil.copytree(sample, root, copy_function=os.link)
    return root


def _of(prefix: str, release: Release) -> dict[str, Any]:
    """The fixtures of one release, by name: the same for each, each name with the `prefix`."""

    def given(request: pytest.FixtureRequest, name: str) -> Path:
        found: Path = request.getfixturevalue(f"{prefix}{name}")
        return found

    @pytest.fixture(scope="session")
    def sample_tree(made_once: MadeOnce) -> Path:
        """The sample of the release; not to be changed."""
        top = release.record.top
        return made_once(f"{prefix}sample", lambda folder: make_sample(release, folder / top, workers=2)) / top

    @pytest.fixture
    def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        """A copy of that sample to damage. Files are hard links: replace them, never write into them."""
        return copy_of(given(request, "sample_tree"), tmp_path / release.record.top)

    @pytest.fixture
    def project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
        """A project on that untouched sample, nothing materialized."""
        with Project.temporary(given(request, "sample_tree"), tmp_path / "data", release=release) as new:
            yield new

    @pytest.fixture
    def unbuilt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
        """A project on a tree to damage, nothing materialized."""
        with Project.temporary(given(request, "tree"), tmp_path / "data", release=release) as new:
            yield new

    @pytest.fixture(scope="session")
    def built_folder(request: pytest.FixtureRequest, made_once: MadeOnce) -> Path:
        """Where the job `build` has run on that sample: `data`, and its history `home`, to be copied and not opened."""

        def build(folder: Path) -> None:
            tree, data = given(request, "sample_tree"), folder / "data"
            with Project.at(
                folder / "home", Settings(raw_root=str(tree), data_dir=str(data), workers=2), release
            ) as new:
                assert new.build().success

        return made_once(f"{prefix}built", build)

    @pytest.fixture(scope="session")
    def built(request: pytest.FixtureRequest) -> Iterator[Project]:
        """A project in which the job `build` has run on that sample; not to be changed."""
        folder, tree = given(request, "built_folder"), given(request, "sample_tree")
        with Project.temporary(tree, folder / "data", release=release, history=folder / "home") as new:
            yield new

    @pytest.fixture
    def built_copy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
        """A copy, to change, of a project in which everything is materialized, with a tree to damage.

        Its history is new, unless the test is marked `history`.
        """
        folder, tree = given(request, "built_folder"), given(request, "tree")
        history = folder / "home" if request.node.get_closest_marker("history") else None
        with Project.temporary(tree, tmp_path / "data", release=release, history=history) as new:
            shutil.copytree(folder / "data", new.folder.root, symlinks=True, copy_function=os.link)
            yield new

    fixtures = sample_tree, tree, project, unbuilt, built_folder, built, built_copy
    return {f"{prefix}{fixture.__name__}": fixture for fixture in fixtures}


for _release in (_of("", ISLES24), _of("small_", SMALL), _of("thirty_", THIRTY), _of("toy_", TOY)):
    globals().update(_release)


@pytest.fixture(scope="session", params=["small_built", pytest.param("built", marks=pytest.mark.long)])
def six_or_all(request: pytest.FixtureRequest) -> Project:
    """A project in which the job `build` has run on six subjects, in the long tests on all; not to be changed."""
    project: Project = request.getfixturevalue(request.param)
    return project


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no process of the tests is left with a long one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
