"""A third product, made of the toy release in this one module: what follows from the registry line alone."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isles_assets.cli.summary import summarize_dataset
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.streaming import subject_rows
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.lib.files import sha256_of
from isles_assets.products import registry
from isles_assets.products.config import Config
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import Build, BuildResult, Product
from isles_assets.products.sidecar import BuiltFile, Sidecar
from isles_assets.products.sources import read_source
from isles_assets.publication.guard import recorded_publication
from isles_assets.release.volumes import Volume
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.storage import SUBJECT_COLUMN
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.materials import image_of, write_volume
from isles_assets_tests.project import Project, failure, replace
from isles_assets_tests.toy import T1, TOY

BINS = 8


class Histogram(Product):
    """How often the reference volume holds which values, as one small array a subject."""

    name = "histogram"
    plural = "histograms"
    code_version = 1
    kinds = frozenset({"parquet"})
    description = "A histogram of the reference volume."
    failure_text = "has no histogram"

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        counts = pa.field("counts", pa.list_(pa.int64()))
        schema = pa.schema([pa.field(SUBJECT_COLUMN, pa.string()), counts])
        return (Config(self.name, self.name, f"{BINS} counts of voxels", schema),)

    @cached_property
    def sources(self) -> tuple[Volume, ...]:
        return (self.release.reference,)

    @property
    def derives_from(self) -> list[int]:
        return [BINS]

    def make(self, build: Build, row: ManifestRow, paths: Mapping[str, Path]) -> BuildResult:
        counts = np.zeros(BINS, np.int64)

        def see(header: Any, start: int, voxels: Any) -> None:
            counts[:] += np.histogram(voxels, BINS, (0, 1000))[0]

        volume, path = self.release.reference, paths[self.name]
        source = read_source(build.root, row, volume, see=see)
        values = [{SUBJECT_COLUMN: row.subject, "counts": counts.tolist()}]
        pq.write_table(pa.Table.from_pylist(values, build.schemas[self.name]), path)
        size = path.stat().st_size
        return BuildResult({self.name: BuiltFile(size, sha256_of(path), size)}, {volume.column: source})

    def describe(self, folder: DataFolder, row: ManifestRow, sidecar: Sidecar) -> dict[str, Any]:
        return {"file": self.path(folder, self.configs[0], row.subject)}


@pytest.fixture
def dataset(monkeypatch):
    """The toy dataset with one more line in the registry."""
    monkeypatch.setattr(registry, "PRODUCTS", (*registry.PRODUCTS, Histogram))
    return Dataset.of(TOY)


@pytest.fixture
def project(dataset, toy_tree, tmp_path):
    with Project.temporary(toy_tree, tmp_path / "data", release=TOY) as new:
        yield new


def published(project: Project) -> Path:
    return project.folder.hub / project.setup.repo


def test_it_is_built_published_verified_and_loaded(project, dataset):
    assert [product.name for product in dataset.products] == ["shard", "histogram"]
    assert project.build().success
    assert project.partition_states("subject_histogram") == dict.fromkeys(TOY.subjects, "MATERIALIZED")
    assert project.run("verify").success

    rows = list(datasets.load_dataset(str(published(project)), "histogram", split="train", streaming=True))
    assert [row["subject_id"] for row in rows] == list(TOY.subjects)
    assert all(len(row["counts"]) == BINS and sum(row["counts"]) > 0 for row in rows)
    card = (published(project) / "README.md").read_text()
    assert f"| `histogram` | {BINS} counts of voxels | 6 | 6 |" in card
    assert any(line.startswith("histogram: 6 subjects") for line in summarize_dataset(str(published(project))))


def test_the_guard_and_staleness_know_it(project, dataset, toy_tree):
    assert project.build().success
    subject = TOY.subjects[2]
    histogram = dataset.products[1].path(project.folder, dataset.configs[2], subject)
    before = pq.read_table(histogram, columns=["counts"])
    image = image_of(toy_tree / T1.path(subject))
    voxels = np.asanyarray(image.dataobj) // 2
    write_volume(toy_tree / T1.path(subject), type(image)(voxels, image.affine, image.header))
    assert project.materialize("raw_tree", "clinical_table", "subject_manifest", checks=False).success
    assert project.materialize("subject_shard", partitions=[subject]).success
    refused = failure(project.materialize("hub_dataset"), "hub_dataset")
    assert f"1 of 6 histograms missing or stale: {subject}" in refused
    assert f"--select subject_histogram --partition {subject}" in refused
    assert project.materialize("subject_histogram", partitions=[subject]).success
    assert not pq.read_table(histogram, columns=["counts"]).equals(before)


def test_a_subject_that_it_cannot_be_made_of_fails_alone(project, toy_tree):
    bad = toy_tree / T1.path("sub-a03")
    replace(bad, bad.read_bytes()[:-20])
    assert project.materialize("raw_tree", "clinical_table", "subject_manifest", checks=False).success
    result = project.materialize("subject_histogram", partitions=TOY.subjects)
    message = failure(result, "subject_histogram")
    assert "sub-a03 has no histogram." in message and T1.path("sub-a03") in message
    states = project.partition_states("subject_histogram")
    assert {subject for subject, state in states.items() if state == "FAILED"} == {"sub-a03"}


def test_it_can_be_freed_and_is_published_from_the_hub(project, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_w")
    assert project.build().success
    publication = recorded_publication(dataset, project.folder, TOY.repo)
    with HubServer(tmp_path / "hub", tokens={"hf_w": Token("ada", orgs={"toys": "write"})}) as hub:
        target = HuggingFaceHub(TOY.repo, dataset, endpoint=hub.endpoint)
        target.staging.prepare_staging()
        for product in dataset.products:
            made = list(publication.made[product.name].values())
            stage_and_free(target.staging, product, project.folder, lambda sidecar: [], made)
            assert not list(product.root(project.folder).rglob("*.parquet"))
        freed = recorded_publication(dataset, project.folder, TOY.repo)
        assert freed.digest == publication.digest
        target.publish(freed)
        assert remote_matches_local(target, publication) == [] == card_valid(target, publication)
        assert {dataset.configs[2].path(subject) for subject in TOY.subjects} <= hub.files(TOY.repo).keys()


def test_it_stands_in_the_graph_like_the_others(project):
    graph = project.defs.resolve_asset_graph()
    node = graph.get(dg.AssetKey("subject_histogram"))
    assert tuple(node.partitions_def.get_partition_keys()) == TOY.subjects
    assert {key.to_user_string() for key in node.parent_keys} == {"subject_manifest"}
    assert dg.AssetKey("subject_histogram") in graph.get(dg.AssetKey("hub_dataset")).parent_keys


def test_its_rows_are_those_of_the_subjects(project, dataset):
    assert project.build().success
    publication = recorded_publication(dataset, project.folder, project.setup.repo)
    assert loads(project.setup.target(), publication) == []
    subjects = [row[SUBJECT_COLUMN] for row in subject_rows(str(published(project)), "histogram")]
    assert subjects == list(TOY.subjects)
