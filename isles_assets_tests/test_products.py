"""A third product of the toy release, in the module `histogram`: what follows from the registry line alone."""

import os
import shutil
from pathlib import Path

import dagster as dg
import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from isles_assets.cli.summary import summarize_dataset
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.streaming import subject_rows
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.products import registry
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.tables.storage import SUBJECT_COLUMN
from isles_assets_tests.histogram import BINS, Histogram
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.materials import image_of, write_volume
from isles_assets_tests.project import Project, failure, replace
from isles_assets_tests.toy import T1, TOY

WITH_IT = (*registry.PRODUCTS, Histogram)


@pytest.fixture
def dataset(monkeypatch):
    """The toy dataset with one more line in the registry."""
    monkeypatch.setattr(registry, "PRODUCTS", WITH_IT)
    return Dataset.of(TOY)


@pytest.fixture
def project(dataset, toy_tree, tmp_path):
    with Project.temporary(toy_tree, tmp_path / "data", release=TOY) as new:
        yield new


@pytest.fixture(scope="session")
def with_it(made_once, toy_sample_tree):
    """A data folder in which the job `build` has made all of them, which is not to be changed."""

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "PRODUCTS", WITH_IT)
            with Project.temporary(toy_sample_tree, folder / "data", release=TOY) as new:
                assert new.build().success
                states = new.partition_states("subject_histogram")
            assert states == dict.fromkeys(TOY.subjects, "MATERIALIZED")

    return made_once("histograms", build) / "data"


@pytest.fixture
def built(project, with_it):
    """A project with a copy, to change, of that."""
    shutil.copytree(with_it, project.folder.root, symlinks=True, copy_function=os.link)
    return project


def published(project: Project) -> Path:
    return project.folder.hub / project.setup.repo


def test_it_is_built_published_verified_and_loaded(built, dataset):
    assert [product.name for product in dataset.products] == ["shard", "histogram"]
    assert built.run("verify").success

    rows = list(datasets.load_dataset(str(published(built)), "histogram", split="train", streaming=True))
    assert [row["subject_id"] for row in rows] == list(TOY.subjects)
    assert all(len(row["counts"]) == BINS and sum(row["counts"]) > 0 for row in rows)
    card = (published(built) / "README.md").read_text()
    assert f"| `histogram` | `train` | {BINS} counts of voxels | 6 | 6 |" in card
    assert any(line.startswith("histogram: 6 subjects") for line in summarize_dataset(str(published(built))))


def test_the_guard_and_staleness_know_it(built, dataset, toy_tree):
    subject = TOY.subjects[2]
    histogram = dataset.products[1].path(built.folder, dataset.configs[2], subject)
    before = pq.read_table(histogram, columns=["counts"])
    image = image_of(toy_tree / T1.path(subject))
    voxels = np.asanyarray(image.dataobj) // 2
    write_volume(toy_tree / T1.path(subject), type(image)(voxels, image.affine, image.header))
    assert built.materialize("raw_tree", "clinical_table", "subject_manifest", checks=False).success
    assert built.materialize("subject_shard", partitions=[subject]).success
    refused = failure(built.materialize("hub_dataset"), "hub_dataset")
    assert f"1 of 6 histograms missing or stale: {subject}" in refused
    assert f"--select subject_histogram --partition {subject}" in refused
    assert built.materialize("subject_histogram", partitions=[subject]).success
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


def test_it_can_be_freed_and_is_published_from_the_hub(built, dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_w")
    publication = recorded_publication(dataset, built.folder, TOY.repo)
    with HubServer(tmp_path / "hub", tokens={"hf_w": Token("ada", orgs={"toys": "write"})}) as hub:
        target = HuggingFaceHub(TOY.repo, dataset, endpoint=hub.endpoint)
        target.staging.prepare_staging()
        for product in dataset.products:
            made = list(publication.made[product.name].values())
            stage_and_free(target.staging, product, built.folder, lambda sidecar: [], made)
            assert not list(product.root(built.folder).rglob("*.parquet"))
        freed = recorded_publication(dataset, built.folder, TOY.repo)
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


def test_its_rows_are_those_of_the_subjects(built, dataset):
    publication = recorded_publication(dataset, built.folder, built.setup.repo)
    assert loads(built.setup.target(), publication) == []
    subjects = [row[SUBJECT_COLUMN] for row in subject_rows(str(published(built)), "histogram")]
    assert subjects == list(TOY.subjects)
