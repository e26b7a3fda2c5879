"""A project under test: a tree, a data folder and a real Dagster instance, in memory or in a DAGSTER_HOME."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import dagster as dg

from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets.lib.files import FileStatus
from isles_assets.products.dataset import Dataset
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.assembling import assemble
from isles_assets.publication.publication import Publication
from isles_assets.release.isles24 import ISLES24
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample
from isles_assets.settings.setup import Setup
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_manifest

OF_TABLES = ("raw_tree", "clinical_table", "subject_manifest")
PARTITIONED = ("subject_shard", "subject_preview")
INSTANCE = {"telemetry": {"enabled": False}, "python_logs": {"python_log_level": "INFO"}}
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
DRY_RUN = {"ops": {"hub_dataset": {"config": {"dry_run": True}}}}


@dataclass(frozen=True)
class Project:
    settings: Settings
    instance: dg.DagsterInstance
    release: Release = ISLES24

    @classmethod
    @contextmanager
    def temporary(
        cls,
        tree: Path,
        data: Path,
        *,
        release: Release = ISLES24,
        history: Path | None = None,
        **settings: Any,
    ) -> Iterator["Project"]:
        """Yield a project on `tree`, with a history as in `of`."""
        made = Settings(raw_root=str(tree), data_dir=str(data), workers=1, **settings)
        with cls.of(made, release=release, history=history) as project:
            yield project

    @classmethod
    @contextmanager
    def of(
        cls,
        settings: Settings,
        *,
        release: Release = ISLES24,
        history: Path | None = None,
    ) -> Iterator["Project"]:
        """Yield a project with these settings. Its history is in memory, or a copy of the folder `history`.

        Both are removed at the end. A run takes half the time with a history in memory.
        """
        if not history:
            with dg.DagsterInstance.ephemeral(settings=INSTANCE) as instance:
                yield cls(settings, instance, release)
            return
        with tempfile.TemporaryDirectory(dir=MEMORY) as home:
            shutil.copytree(history, home, dirs_exist_ok=True)
            with cls.at(Path(home), settings, release) as project:
                yield project

    @classmethod
    @contextmanager
    def at(cls, home: Path, settings: Settings, release: Release = ISLES24) -> Iterator["Project"]:
        """Yield a project with these settings and the DAGSTER_HOME `home`, which stays and others may open."""
        home.mkdir(exist_ok=True)
        with dg.DagsterInstance.local_temp(str(home), overrides=INSTANCE) as instance:
            yield cls(settings, instance, release)

    @property
    def defs(self) -> dg.Definitions:
        return build_defs(self.release, self.settings)

    @property
    def setup(self) -> Setup:
        """The setup that the settings give."""
        return self.settings.setup(Dataset.of(self.release))

    @property
    def folder(self) -> DataFolder:
        return self.setup.folder

    def build(self) -> dg.ExecuteInProcessResult:
        """Run the job `build`."""
        return self.run("build")

    def make(self) -> None:
        """Make tables, products and the published folder without checks, which takes half the time of `build`."""
        products = [
            node.key.to_user_string() for node in self.defs.resolve_asset_graph().asset_nodes if node.is_partitioned
        ]
        assert self.materialize("archive_listing", *OF_TABLES, checks=False).success
        assert self.materialize(*products, checks=False, partitions=self.release.subjects).success
        assert self.materialize("hub_dataset", checks=False).success

    def run(self, job: str) -> dg.ExecuteInProcessResult:
        """Run a job of the code location. A failure does not raise."""
        definition = self.defs.resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, raise_on_error=False)

    def materialize(
        self, *assets: str, checks: bool = True, run_config: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> dg.ExecuteInProcessResult:
        """Materialize `assets` in one run, as `dagster asset materialize --select` does. A failure does not raise.

        Args:
            checks: Whether to run the checks, too.
        """
        selection: dg.AssetSelection = dg.AssetSelection.assets(*assets)
        if not checks:
            selection = selection.without_checks()
        return self._run(selection, run_config, **kwargs)

    def evaluate(self, asset: str, check: str) -> dg.ExecuteInProcessResult:
        """Evaluate one check alone, as its button in the UI does."""
        return self._run(dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(asset), check)), None)

    def _run(
        self, selection: dg.AssetSelection, run_config: Mapping[str, Any] | None, partitions: Sequence[str] = ()
    ) -> dg.ExecuteInProcessResult:
        tags = {}
        if partitions:
            tags = {
                "dagster/asset_partition_range_start": partitions[0],
                "dagster/asset_partition_range_end": partitions[-1],
            }
        job = dg.define_asset_job("selected", selection=selection)
        defs = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        return defs.resolve_job_def("selected").execute_in_process(
            instance=self.instance, run_config=dict(run_config or {}), tags=tags, raise_on_error=False
        )

    def partition_states(self, asset: str = "subject_shard") -> dict[str, str]:
        """Return the state of each partition that has one, as the UI shows it: MATERIALIZED or FAILED."""
        subjects = dg.StaticPartitionsDefinition(self.release.subjects)
        states = self.instance.get_status_by_partition(dg.AssetKey(asset), self.release.subjects, subjects)
        return {key: state.name for key, state in (states or {}).items() if state is not None}


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    """Return the message with which `step` failed."""
    for event in result.all_node_events:
        if event.is_step_failure and event.step_key == step:
            data = event.step_failure_data
            return (data.user_failure_data.description if data.user_failure_data else None) or str(data.error)
    raise AssertionError(f"{step} did not fail")


def replace(path: Path, content: bytes) -> None:
    """Write `content` to a new file at `path`. Hard links of the old file keep its bytes."""
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def spoil_unseen(path: Path) -> None:
    """Change a byte of the file at `path`, but not its size and modification time."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[9] ^= 1  # the operating system in the gzip header: the file decodes as before
    replace(path, bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flip(path: Path, at: int | None = None, bit: int = 0) -> None:
    """Flip a bit of the file in place, so in all its hard links, and keep its times.

    Args:
        at: Position of the byte; None for the middle.
    """
    status = path.stat()
    at = status.st_size // 2 if at is None else at
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def contents(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below `root`, by path. Sidecars count without file statuses."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(content_of(path)).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def content_of(path: Path) -> bytes:
    """Return the bytes of a file; those of a sidecar without file statuses."""
    if path.parent.name != "records" or path.name.startswith("."):
        return path.read_bytes()
    sidecar, nothing = Sidecar.from_json(path.read_text()), FileStatus(0, 0, 0, 0)
    sources = {column: replaced(source, noted=nothing) for column, source in sidecar.sources.items()}
    return replaced(sidecar, sources=sources, noted={}).to_json().encode()


def build_all(release: Release, folder: Path) -> None:
    """Make the synthetic tree of `release` in `folder`, and make everything of it in the data folder `data`."""
    make_sample(release, folder / release.record.top, workers=2)
    with Project.temporary(folder / release.record.top, folder / "data", release=release) as project:
        project.make()


def part_of(whole: Publication, folder: DataFolder, other: Path, subjects: Sequence[str]) -> Publication:
    """Return the publication of `subjects` only, from a data folder `other` of hard links.

    Args:
        whole: The publication of all subjects, made from `folder`.
    """
    made = {product: {subject: of[subject] for subject in subjects} for product, of in whole.made.items()}
    return assemble(
        whole.dataset, linked(whole.dataset, folder, other, subjects), whole.repo, made, read_manifest(folder)
    )


def linked(dataset: Dataset, folder: DataFolder, other: Path, subjects: Sequence[str]) -> DataFolder:
    """Return a data folder at `other` with all products of `subjects`, as hard links to those of `folder`."""
    for product in dataset.products:
        for subject in subjects:
            for path in (
                *(product.path(folder, config, subject) for config in product.configs),
                product.sidecar_path(folder, subject),
            ):
                target = other / path.relative_to(folder.root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path)
    return DataFolder(other, folder.release)
