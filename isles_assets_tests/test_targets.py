"""A third target in this one module: a shelf of numbered copies with history. What follows from its type alone."""

import gzip
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import datasets
import pytest

from isles_assets.hub.changes import PUBLISH, StoredFile, compare
from isles_assets.hub.reading import open_revision
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.hub.targets import TARGETS, HubTarget
from isles_assets.lib.files import sha256_of
from isles_assets.lib.findings import Refusal
from isles_assets.products.config import CARD
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication
from isles_assets_tests.project import OF_TABLES, failure, replace
from isles_assets_tests.toy import CONFIGS, T1, TOY


@dataclass(frozen=True)
class Shelf(Target):
    """Copies of each revision below `root`, numbered; the highest number is what is published."""

    root: Path

    @classmethod
    def at(cls, destination: Destination) -> "Shelf":
        return cls(destination.folder.root / "shelf")

    @property
    def location(self) -> str:
        return str(self.root / str(self._newest))

    def address(self) -> str:
        return self.location

    @property
    def history(self) -> "Shelf":
        return self

    @property
    def _newest(self) -> int:
        return max((int(path.name) for path in self.root.glob("[0-9]*")), default=0)

    def publish(self, publication: Publication) -> Published:
        changes = compare(publication, self.stored())
        if changes:
            folder = self.root / str(self._newest + 1)
            for file in publication.files:
                self._put(file, folder / file.path)
        return Published(self.location, str(self._newest), bool(changes), changes)

    @staticmethod
    def _put(file: PublicationFile, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert file.content is not None
        path.write_bytes(file.content if isinstance(file.content, bytes) else file.content.read_bytes())

    def stored(self, known: Publication | None = None) -> Mapping[str, StoredFile]:
        folder = Path(self.location)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {p.relative_to(folder).as_posix(): StoredFile(p.stat().st_size, sha256_of(p)) for p in files}

    def card(self) -> str:
        if not self._newest:
            raise Refusal.of("Nothing is published.", "the shelf is empty", PUBLISH, path=str(self.root))
        return Path(self.location, CARD).read_text()

    def roll_back(self, to: str) -> Published:
        shutil.copytree(self.root / to, self.root / str(self._newest + 1))
        return Published(self.location, str(self._newest), True)


@pytest.fixture
def shelf(monkeypatch, toy_built_copy):
    """The shelf in the place of the local target, of a project in which everything is made."""
    monkeypatch.setitem(TARGETS, HubTarget.local, Shelf)
    return Shelf(toy_built_copy.folder.root / "shelf")


def test_the_graph_publishes_to_it_and_verifies(toy_built_copy, shelf):
    assert toy_built_copy.materialize("hub_dataset").success
    assert toy_built_copy.run("verify").success
    assert not toy_built_copy.setup.publishes_to_hub
    rows = datasets.load_dataset(shelf.location, split="train", streaming=True)
    assert [row["subject_id"] for row in rows.select_columns(["subject_id"])] == list(TOY.subjects)
    assert CARD in open_revision(shelf.location).find([CARD])


def test_damage_there_is_found(toy_built_copy, shelf):
    assert toy_built_copy.materialize("hub_dataset").success
    damaged = Path(shelf.location) / CONFIGS[0].path(TOY.subjects[1])
    replace(damaged, damaged.read_bytes()[:-1] + b"\0")
    result = toy_built_copy.evaluate("hub_dataset", "remote_matches_local")
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["findings"].records[0].data["path"] == CONFIGS[0].path(TOY.subjects[1])


def test_it_says_that_it_keeps_history_and_so_is_rolled_back(toy_built_copy, shelf, toy_tree):
    assert toy_built_copy.materialize("hub_dataset").success
    before = shelf.stored()
    path = toy_tree / T1.path(TOY.subjects[0])
    replace(path, gzip.compress(gzip.decompress(path.read_bytes()), 9))
    assert toy_built_copy.materialize(*OF_TABLES, checks=False).success
    assert toy_built_copy.materialize("subject_shard", checks=False, partitions=TOY.subjects[:1]).success
    assert toy_built_copy.materialize("hub_dataset", checks=False).success
    assert shelf.stored() != before

    job = toy_built_copy.defs.resolve_job_def("rollback")
    config = {"ops": {"restore_revision": {"config": {"to": "1"}}}}
    result = job.execute_in_process(instance=toy_built_copy.instance, run_config=config)
    assert result.success and shelf.stored() == before and Path(shelf.location).name == "3"


@pytest.mark.history
def test_it_says_that_it_cannot_stage_and_so_frees_nothing(toy_built_copy, shelf):
    config = {"ops": {"subject_shard": {"config": {"free_disk": True, "allow_synthetic": True}}}}
    result = toy_built_copy.materialize("subject_shard", partitions=TOY.subjects, run_config=config)
    assert "free_disk: needs a Hub to upload the shards to" in failure(result, "subject_shard")
    assert toy_built_copy.instance.get_latest_materialization_event(dg.AssetKey("subject_shard"))


def test_a_local_target_says_that_it_has_no_history(toy_built_copy):
    job = toy_built_copy.defs.resolve_job_def("rollback")
    config = {"ops": {"restore_revision": {"config": {"to": "v2"}}}}
    result = job.execute_in_process(instance=toy_built_copy.instance, run_config=config, raise_on_error=False)
    assert "a local target has no history" in failure(result, "restore_revision")


@pytest.mark.parametrize("target", list(HubTarget))
def test_every_target_of_the_setting_is_registered(target):
    assert issubclass(TARGETS[target], Target)
