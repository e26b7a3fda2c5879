"""A release that is nothing like ISLES'24 goes the whole way: archive, tables, shards, folder, Hub, files again."""

import csv
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from isles_assets.cli.restore import main
from isles_assets.graph.settings import Settings
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.products.config import METADATA
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import publication_of
from isles_assets_tests.archives import pack
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.project import Project
from isles_assets_tests.toy import AGE, CONFIGS, TOY
from isles_assets_tests.zenodo_server import Deposit, ZenodoServer, record_of

pytestmark = pytest.mark.slow

PACKAGE = Path(__file__).parents[1] / "isles_assets"


@pytest.fixture
def project(toy_sample_tree, tmp_path):
    """A project in which nothing is there, and the toy's archive comes from a server."""
    archive = pack(tmp_path / TOY.record.archive, toy_sample_tree)
    with ZenodoServer(Deposit(record_of(archive, TOY.record), archive)) as server:
        release = replace(TOY, record=server.deposits[0].record)
        settings = Settings(
            source="zenodo", zenodo_endpoint=server.endpoint, data_dir=str(tmp_path / "data"), workers=2
        )
        with Project.of(settings, release=release) as new:
            yield new


@pytest.mark.long
def test_from_the_archive_to_the_files_again(project, toy_sample_tree, tmp_path, monkeypatch):
    assert project.build().success
    assert project.run("verify").success
    assert not list(project.folder.root.rglob("previews"))
    assert project.partition_states() == dict.fromkeys(TOY.subjects, "MATERIALIZED")

    folder = project.folder.hub / TOY.repo
    for config in CONFIGS:
        rows = list(datasets.load_dataset(str(folder), config.name, split="train", streaming=True).decode(False))
        assert [row["subject_id"] for row in rows] == list(TOY.subjects)
        for row in rows:
            for column in config.volumes:
                path = toy_sample_tree / TOY.by_column[column].path(row["subject_id"])
                assert row[column]["bytes"] == path.read_bytes()

    monkeypatch.setenv("HF_TOKEN", "hf_w")
    with HubServer(tmp_path / "hub", tokens={"hf_w": Token("ada", orgs={"toys": "write"})}) as hub:
        dataset = Dataset.of(project.release)
        publication = publication_of(dataset, project.setup.tree, project.folder, TOY.repo)
        published = HuggingFaceHub(TOY.repo, dataset, endpoint=hub.endpoint).publish(publication)
        assert published.tag.startswith("v2-") and published.changes.by_kind()["added"] == [
            "README.md",
            *METADATA,
            *TOY.subjects,
        ]
        assert {path for path in hub.files(TOY.repo) if path != ".gitattributes"} == {
            file.path for file in publication.files
        }

    tree, table = tmp_path / "restored", tmp_path / "clinical.csv"
    assert main([str(folder), str(tree), "--clinical", str(table)], project.release) == 0
    volumes = [volume.path(subject) for subject in TOY.subjects for volume in TOY.volumes]
    assert sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file()) == sorted(volumes)
    assert all((tree / path).read_bytes() == (toy_sample_tree / path).read_bytes() for path in volumes)
    with table.open() as file:
        assert [row["subject_id"] for row in csv.DictReader(file) if row[AGE.column]] == list(TOY.subjects)


def test_no_line_of_the_package_mentions_it():
    text = "\n".join(path.read_text() for path in PACKAGE.rglob("*") if path.suffix in (".py", ".j2")).lower()
    assert not [word for word in ("toy", "tumour", "sub-a0") if word in text]
