"""The tables in `metadata/` say of each column, volume and waiver what the release and the published files say."""

import csv
import hashlib
import io
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from isles_assets.lib.csv_text import text_of_cell
from isles_assets.lib.findings import Finding, Level
from isles_assets.products.config import COLUMNS, METADATA, VOLUMES, WAIVERS
from isles_assets.products.dataset import Dataset
from isles_assets.products.shard.product import Shard
from isles_assets.publication.assembling import assemble
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.metadata.columns import columns_csv
from isles_assets.publication.metadata.volumes import volumes_csv
from isles_assets.publication.metadata.waivers import waivers_csv
from isles_assets.publication.publication import Publication
from isles_assets.publication.waivers import NOTHING_FOUND, Judgement
from isles_assets.release.problems import Problem
from isles_assets.release.waivers import Waiver
from isles_assets.tables.manifest import read_manifest
from isles_assets_tests.isles24 import ISLES24, SMALL, VARIABLES
from isles_assets_tests.project import Project
from isles_assets_tests.toy import DATASET as TOYS
from isles_assets_tests.toy import MASK, PERFUSION, SCORE, TOY

SUBJECT = TOY.subjects[0]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def table(project: Project, path: str) -> list[dict[str, str]]:
    """A table as it is published to the local target."""
    return read(Path(project.setup.target().location, path).read_bytes().decode())


def publication_of(project: Project) -> Publication:
    return recorded_publication(Dataset.of(project.release), project.folder, project.setup.repo)


@pytest.fixture(scope="module")
def columns(small_built):
    return {(row["config"], row["column"]): row for row in table(small_built, COLUMNS)}


@pytest.mark.parametrize("dataset", [Dataset.of(ISLES24), TOYS], ids=["isles24", "toy"])
def test_every_column_of_every_config_is_described(dataset):
    rows = read(columns_csv(dataset, {}, {}))
    schemas = {config.name: config.columns.names for config in dataset.configs}
    assert [(row["config"], row["column"]) for row in rows] == [
        (c, name) for c, names in schemas.items() for name in names
    ]
    assert not [row for row in rows if not row["description"] or not row["type"]]


def test_nothing_is_claimed_of_a_column_that_nobody_describes():
    class Stranger(Shard):
        own_columns = ()

    row = next(row for row in read(columns_csv(Dataset(TOY, (Stranger(TOY),)), {}, {})) if row["column"] == "t1")
    assert {name for name, value in row.items() if value} == {"config", "column", "type"}


def test_outcomes_are_the_outcomes_and_all_that_follow_up_volumes_show(columns):
    outcomes = {
        column for (config, column), row in columns.items() if row["known"] == "outcome" and config == "default"
    }
    late = {volume.column for volume in ISLES24.volumes if volume.session != "ses-01"}
    assert outcomes == late | {"montage"} | {variable.column for variable in VARIABLES if variable.known == "outcome"}
    assert late == {"dwi", "adc", "lesion_mask"}
    preview = {column: row["known"] for (config, column), row in columns.items() if config == "preview"}
    for column in ("lesion_ml", "lesion_voxels", "shown_slice", "left_out", "ncct_picture", "dwi_lesion_picture"):
        assert preview[column] == "outcome", column
    for column in ("ncct_shape", "ctp_frames", "lvo_voxels", "cow_labels", "tmax_non_finite", "age"):
        assert preview[column] == "admission", column
    assert {column for column, known in preview.items() if not known} <= {"subject_id", "fold"}


def test_types_units_grids_levels_and_limits_are_those_of_the_release(columns):
    def of(config: str, column: str, *names: str) -> list[str]:
        return [columns[config, column][name] for name in names]

    assert of("default", "ncct", "type", "grid") == ["Nifti", "NCCT"]
    assert of("default", "ctp", "type", "grid", "unit") == ["Nifti", "native", ""]
    assert of("ctp_ncct", "ctp_ncct", "type", "grid") == ["Nifti", "NCCT"]
    assert of("default", "cow_mask", "levels") == ["0|1|2|3|4|5|6|7|8|9|10|11|12|15"]
    assert of("default", "tici_postinterventional", "type", "levels") == ["string", "0|1|2a|2b|2c|3"]
    assert of("preview", "age", "type", "unit", "low", "high") == ["float64", "years", "0", "120"]
    assert of("default", "door_to_groin_min", "unit", "low", "high") == ["min", "0", "2880"]
    assert of("preview", "glucose_mg_dl", "unit") == ["mg/dl"]
    assert of("preview", "ncct_picture", "type") == ["Image"]
    assert of("preview", "ncct_spacing_mm", "type", "unit") == ["list<float64>", "mm"]
    assert of("preview", "lesion_ml", "type", "unit") == ["float64", "ml"]


def test_missing_values_are_counted_as_they_are_published(six_or_all):
    """The nulls of the published table of previews, which has facts, pictures and clinical variables."""
    previews = pq.read_table(Path(six_or_all.setup.target().location, "preview/train.parquet"))
    rows = [row for row in table(six_or_all, COLUMNS) if row["config"] == "preview"]
    missing = {row["column"]: int(row["missing"]) for row in rows}
    assert missing == {name: previews.column(name).null_count for name in previews.schema.names}
    assert any(missing.values())


def test_a_volume_left_out_of_the_pictures_is_counted_as_a_missing_picture(small_built):
    publication = publication_of(small_built)
    made = {name: dict(sidecars) for name, sidecars in publication.made.items()}
    preview = made["preview"][SMALL.subjects[0]]
    made["preview"][SMALL.subjects[0]] = replace(preview, facts={**preview.facts, "left_out": ["cta_ncct"]})
    rows = read(columns_csv(publication.dataset, made, read_manifest(small_built.folder)))
    assert {row["column"]: row["missing"] for row in rows}["cta_picture"] == "1"


def test_volumes_are_those_of_the_tree(six_or_all):
    rows, release = table(six_or_all, VOLUMES), six_or_all.release
    assert [(row["subject_id"], row["column"]) for row in rows] == [
        (subject, volume.column) for subject in release.subjects for volume in release.volumes
    ]
    tree, manifest = six_or_all.setup.tree, read_manifest(six_or_all.folder)
    for row in rows[:: max(1, len(rows) // 40)]:
        content = (tree / row["path"]).read_bytes()
        assert (int(row["size"]), row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert row["crc32"] == f"{zlib.crc32(content):08x}"
        entry = manifest[row["subject_id"]].entry(row["column"])
        assert row["shape"] == "x".join(map(str, entry.shape or ()))
        assert [float(mm) for mm in row["spacing_mm"].split("x")] == pytest.approx(entry.spacing)
    assert {row["labels"] for row in rows if row["column"] == "lesion_mask"} <= {"", "1"}
    found = {row["findings"] for row in rows if row["subject_id"] == "sub-stroke0158"}
    assert found
    assert all(row["non_finite"].isdigit() for row in rows)


def test_waivers_of_the_release_are_told_and_no_cell_or_header():
    waiver = ISLES24.waivers[0]
    finding = Problem.OFF_GRID.finding("words for operators", "look", path=waiver.path, subject=waiver.subject)
    text = waivers_csv(ISLES24, [(replace(finding, property=waiver.property), waiver)])
    assert read(text) == [
        {
            "property": "ncct_grid",
            "subject_id": "sub-stroke0016",
            "path": "derivatives/sub-stroke0016/ses-01/sub-stroke0016_ses-01_space-ncct_cow-msk.nii.gz",
            "problem": "a registered volume off the common grid by half a voxel or more",
            "number": "1",
            "reason": waiver.reason,
            "by": "release",
        }
    ]


NASTY = "seen by \"A, B\"\nand C;\r\n=cmd|' /C calc'!A0, žádný ✓"


@pytest.mark.parametrize(
    "reason", [NASTY, "=1+1", "-2", "@x", " =1", "\tx", "\uff1d1", "plain, with a comma", "'quoted'"]
)
def test_reasons_come_back_as_they_were_written_and_run_nowhere(reason):
    waiver = Waiver(TOY.version, "mask_labels", "labels", reason, count=3)
    found = Finding("holds Mr Smith", "look", "p", SUBJECT, Level.WAIVABLE, "labels", "labels 7", "mask_labels")
    text = waivers_csv(TOY, [(found, waiver), (replace(found, subject=TOY.subjects[1]), waiver)])
    (row,) = read(text)
    assert text_of_cell(row["reason"]) == reason
    assert not row["reason"].lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"))
    assert (row["number"], row["by"], row["subject_id"], row["path"]) == ("2", "operator", "", "")
    assert "Smith" not in text
    assert pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False).reason[0] == row["reason"]


def toy_parts(project: Project) -> tuple[Any, Any]:
    publication = publication_of(project)
    return publication, read_manifest(project.folder)


def test_another_release_goes_through(toy_built):
    columns = {(row["config"], row["column"]): row for row in table(toy_built, COLUMNS)}
    assert columns["default", "t1"]["grid"] == "T1"
    assert columns["perfusion", "perfusion"] | {"missing": "0", "known": "outcome"} == columns["perfusion", "perfusion"]
    assert columns["default", "age"]["unit"] == "years"
    assert columns["default", SCORE.column]["known"] == "outcome"
    assert len(table(toy_built, VOLUMES)) == len(TOY.subjects) * 3
    assert table(toy_built, WAIVERS) == []


def test_findings_of_a_volume_stand_beside_it_by_their_codes(toy_built):
    publication, manifest = toy_parts(toy_built)
    path = MASK.path(SUBJECT)
    note = Problem.NON_FINITE.finding("holds 3 voxels", "as it is", path=path, subject=SUBJECT)
    waived = Problem.LABELS.finding("holds 7", "look", path=path, subject=SUBJECT, found="7")
    waiver = Waiver(TOY.version, "mask_labels", "labels 7", "so it is", SUBJECT, path)
    judgement = Judgement(waived=((waived, waiver),), notes=(note, note))
    rows = read(volumes_csv(TOY, publication.made["shard"], manifest, judgement))
    assert {row["path"]: row["findings"] for row in rows if row["findings"]} == {path: "labels|non-finite"}


def test_what_decoding_did_not_show_is_left_empty(toy_built):
    publication, manifest = toy_parts(toy_built)
    shards = dict(publication.made["shard"])
    sources = {c: replace(source, voxels=None) for c, source in shards[SUBJECT].sources.items()}
    shards[SUBJECT] = replace(shards[SUBJECT], sources=sources)
    row = read(volumes_csv(TOY, shards, manifest, NOTHING_FOUND))[0]
    assert (row["labels"], row["non_finite"]) == ("", "")


def test_values_that_are_no_labels_are_not_listed_as_labels(toy_built):
    publication, manifest = toy_parts(toy_built)
    shards = dict(publication.made["shard"])
    mask = shards[SUBJECT].sources[MASK.column]
    assert mask.voxels
    many = replace(mask, voxels=replace(mask.voxels, labels=[1, 2, 3], more_labels=True))
    shards[SUBJECT] = replace(shards[SUBJECT], sources={**shards[SUBJECT].sources, MASK.column: many})
    rows = {
        (r["subject_id"], r["column"]): r["labels"] for r in read(volumes_csv(TOY, shards, manifest, NOTHING_FOUND))
    }
    assert rows[SUBJECT, MASK.column] == "" and rows[TOY.subjects[1], MASK.column] == "1"
    assert rows[SUBJECT, PERFUSION.column] == ""


def test_the_same_publication_gives_the_same_bytes_and_a_part_tells_its_own(toy_built):
    publication, manifest = toy_parts(toy_built)

    def metadata(made: Any, rows: Any) -> dict[str, Any]:
        files = assemble(TOYS, toy_built.folder, publication.repo, made, rows).files
        return {file.path: file.content for file in files if file.path in METADATA}

    assert {*metadata(publication.made, manifest)} == {*METADATA}
    backwards = {"shard": dict(reversed(publication.made["shard"].items()))}
    assert metadata(publication.made, manifest) == metadata(backwards, dict(reversed(manifest.items())))
    part = metadata({"shard": {SUBJECT: publication.made["shard"][SUBJECT]}}, {SUBJECT: manifest[SUBJECT]})
    assert {row["subject_id"] for row in read(part[VOLUMES].decode())} == {SUBJECT}


def test_a_missing_value_is_counted_in_the_part_that_is_published(toy_built):
    publication, manifest = toy_parts(toy_built)
    row = replace(manifest[SUBJECT], clinical={**manifest[SUBJECT].clinical, "score": None})
    rows = read(columns_csv(TOYS, publication.made, {**manifest, SUBJECT: row}))
    assert {r["column"]: r["missing"] for r in rows}["score"] == "1"
