"""`metadata/croissant.json` is read by the real `mlcroissant`, and tells the published files as they are."""

import hashlib
import json
from pathlib import Path
from typing import Any

import mlcroissant
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isles_assets.products.config import COLUMNS, CROISSANT, VOLUMES, WAIVERS
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.metadata import columns, volumes, waivers
from isles_assets.publication.metadata.croissant import croissant_json
from isles_assets_tests.isles24 import SMALL
from isles_assets_tests.project import Project

LEFT_OUT = ("datePublished", "MAJOR.MINOR.PATCH")
"""What `mlcroissant` misses: a date, which the release's facts do not have; the release's version is `v7`."""

HEADERS = {COLUMNS: columns.HEADER, VOLUMES: volumes.HEADER, WAIVERS: waivers.HEADER}


@pytest.fixture(params=["small_built", "toy_built"])
def project(request) -> Project:
    given: Project = request.getfixturevalue(request.param)
    return given


def published(project: Project) -> Path:
    return Path(project.setup.target().location)


def described(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((published(project) / CROISSANT).read_text())
    return content


def records(dataset: mlcroissant.Dataset, name: str) -> list[dict[str, Any]]:
    return [{key.rpartition("/")[2]: value for key, value in row.items()} for row in dataset.records(name)]


def test_it_is_valid(project):
    dataset = mlcroissant.Dataset(published(project) / CROISSANT)
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert all(any(words in warning for words in LEFT_OUT) for warning in issues.warnings), issues.report()
    assert len(issues.warnings) == len(LEFT_OUT)


def test_an_invalid_one_would_be_found(project, tmp_path):
    content = described(project)
    content["recordSet"][0]["field"][0]["source"]["fileObject"]["@id"] = "metadata/absent.csv"
    (tmp_path / "croissant.json").write_text(json.dumps(content))
    with pytest.raises(mlcroissant.ValidationError):
        mlcroissant.Dataset(tmp_path / "croissant.json")


def test_every_file_is_listed_with_its_size_and_digest(project):
    folder, stated = published(project), described(project)["distribution"]
    for file in stated:
        content = (folder / "metadata" / file["contentUrl"]).resolve().read_bytes()
        assert content == (folder / file["@id"]).read_bytes()
        assert file["contentSize"] == f"{len(content)} B"
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {file["@id"] for file in stated} == here - {"README.md", CROISSANT}


def test_every_column_of_the_tables_is_a_field(project):
    folder = published(project)
    fields = {of["name"]: [field["name"] for field in of["field"]] for of in described(project)["recordSet"]}
    expected = {
        Path(path).stem: (folder / path).read_text().splitlines()[0].split(",") for path in (COLUMNS, VOLUMES, WAIVERS)
    }
    if (folder / "preview").exists():
        expected["preview"] = pq.read_schema(folder / "preview" / "train.parquet").names
    assert fields == expected


def test_records_stream_from_the_folder(small_built):
    folder = published(small_built)
    dataset = mlcroissant.Dataset(folder / CROISSANT)
    table = pq.read_table(folder / "preview" / "train.parquet")
    rows = records(dataset, "preview")
    assert [row["subject_id"].decode() for row in rows] == list(SMALL.subjects)
    for column in ("nihss_admission", "lesion_ml", "ncct_shape", "oblique", "sex", "crp_mg_dl"):
        expected = table.column(column).to_pylist()
        actual = [row[column].decode() if isinstance(row[column], bytes) else row[column] for row in rows]
        assert [list(value) if isinstance(value, list) else value for value in actual] == expected, column
    assert isinstance(rows[0]["ncct_picture"], Image.Image)
    volume = next(iter(dataset.records("volumes")))
    assert volume["volumes/subject_id"].decode() == SMALL.subjects[0]
    assert len(volume) == len(volumes.HEADER)


def test_a_sample_says_that_it_is_one_and_a_release_does_not(small_built, monkeypatch):
    content = described(small_built)
    assert content["name"].startswith("SYNTHETIC SAMPLE of ") and "synthetic" in content["keywords"]
    assert "show no patient" in content["description"]
    publication = recorded_publication(Dataset.of(SMALL), small_built.folder, SMALL.repo)
    monkeypatch.setattr(type(publication), "synthetic", False)
    real = json.loads(croissant_json(publication, HEADERS))
    assert "SYNTHETIC" not in json.dumps(real) and "phantoms" not in json.dumps(real)
    assert real["license"] == SMALL.record.license_url and "riedel2026isles" in real["citeAs"]


def test_an_outcome_says_so_in_its_field(small_built):
    fields = {field["name"]: field for of in described(small_built)["recordSet"] for field in of["field"]}
    assert fields["mrs_3month"]["description"].endswith("; an outcome, known only afterwards")
    assert fields["glucose_mg_dl"]["description"].endswith(" [mg/dl]")
    assert fields["age"]["dataType"] == "cr:Float64" and fields["sex"]["dataType"] == "sc:Text"
    assert fields["ncct_shape"] | {"isArray": True, "arrayShape": "-1", "dataType": "cr:Int32"} == fields["ncct_shape"]
    assert fields["mrs_3month"]["dataType"] == "cr:Int16"


def test_words_that_only_the_authors_have_are_left_out(project):
    assert not [name for name in described(project) if name.startswith("rai:") or name in ("creator", "datePublished")]
