"""Previews: facts and pictures of subjects, refused when a volume is bad, stale when one changed, and their table."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import datasets
import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat
from PIL import Image

from isles_assets.lib.files import sha256_of, status_of
from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.lib.workers import map_in_processes
from isles_assets.products.building import State, build_subject, state_of
from isles_assets.products.config import MEDIA
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.footer import FOOTER_KEY
from isles_assets.products.preview.facts import all_facts
from isles_assets.products.preview.folds import FOLD
from isles_assets.products.preview.left_out import left_out
from isles_assets.products.preview.pictures import MAX_BYTES, PICTURES, SIZE
from isles_assets.products.preview.product import Preview, headline
from isles_assets.products.product import Build
from isles_assets.products.sidecar import Sidecar
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.sample.tree import make_sample
from isles_assets.tables.clinical import clinical_table, clinical_values
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow
from isles_assets.tables.manifest import survey as survey_tree
from isles_assets_tests.conftest import MadeOnce
from isles_assets_tests.isles24 import BY_COLUMN, ISLES24, SUBJECT_IDS, VARIABLES, folder_at
from isles_assets_tests.materials import write_volume
from isles_assets_tests.project import replace

SUBJECT = "sub-stroke0158"
ENCODINGS = {
    "0/65535": SUBJECT,
    "float64": "sub-stroke0001",
    "qform only": "sub-stroke0005",
    "uint16": "sub-stroke0145",
}
EMPTY, TINY, NON_FINITE = "sub-stroke0141", "sub-stroke0171", "sub-stroke0113"

PREVIEW = Preview(ISLES24)
(CONFIG,) = PREVIEW.configs
SCHEMAS = {config.name: annotated_schema(config) for config in Dataset.of(ISLES24).configs}
FACTS = all_facts(ISLES24)
SUBJECTS = sorted({*ENCODINGS.values(), EMPTY, TINY, NON_FINITE, *SUBJECT_IDS[40:56]})


@pytest.fixture(scope="session")
def sample_tree(made_once: MadeOnce) -> Path:
    """The sample of 23 subjects; not to be changed."""
    release = ISLES24.only(SUBJECTS)
    return made_once("of_previews", lambda folder: make_sample(release, folder / "train", workers=2)) / "train"


def build_preview(tree: Path, folder: DataFolder, row: ManifestRow) -> Sidecar:
    return build_subject(PREVIEW, Build(tree, folder, {}), row)


def preview_state(folder: DataFolder, row: ManifestRow) -> State:
    return state_of(PREVIEW, folder, row)


def preview(folder: DataFolder, subject: str = SUBJECT) -> Path:
    return PREVIEW.path(folder, CONFIG, subject)


def record_path(folder: DataFolder, subject: str = SUBJECT) -> Path:
    return PREVIEW.sidecar_path(folder, subject)


def survey(tree: Path, subject: str = SUBJECT, *, full: bool = False) -> ManifestRow:
    table = clinical_table(ISLES24, read_clinical_rows(ISLES24, tree, [subject]))
    (row,) = survey_tree(ISLES24, tree, take_inventory(ISLES24, tree), clinical_values(table), full=full)
    return row


def volume_of(tree, subject, column):
    return nib.load(tree / BY_COLUMN[column].path(subject))


def row_of(folder, subject=SUBJECT):
    (row,) = pq.read_table(preview(folder, subject)).to_pylist()
    return row


def pictures_in(row):
    return {picture.name: row[picture.column] for picture in PICTURES}


def files_in(folder: DataFolder) -> list[Path]:
    return [path for path in folder.root.rglob("*") if path.is_file()]


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return folder_at(tmp_path / "data")


def test_columns_are_subject_facts_pictures_and_clinical_variables():
    schema = CONFIG.schema
    pictures = [picture.column for picture in PICTURES]
    clinical = [variable.column for variable in VARIABLES]
    assert schema.names == ["subject_id", *(fact.column for fact in FACTS), *pictures, *clinical]
    assert len(pictures) == 8 and {schema.field(name).type for name in pictures} == {MEDIA}
    assert all(thing.description for thing in (*FACTS, *PICTURES))


def test_row_holds_the_pictures_under_their_names_and_the_clinical_values(sample_tree, folder):
    subject = survey(sample_tree)
    record = build_preview(sample_tree, folder, subject)
    row = row_of(folder)
    assert row["subject_id"] == SUBJECT
    assert {variable.column: row[variable.column] for variable in VARIABLES} == dict(subject.clinical)
    pictures = pictures_in(row)
    assert {picture["path"] for picture in pictures.values()} >= {f"{SUBJECT}_ncct.png", f"{SUBJECT}_dwi_lesion.png"}
    for picture in pictures.values():
        assert Image.open(io.BytesIO(picture["bytes"])).size == SIZE
    assert sum(len(picture["bytes"]) for picture in pictures.values()) <= MAX_BYTES
    assert record.size == preview(folder).stat().st_size
    assert record.synthetic and record.subject == SUBJECT and record.version == PREVIEW.version
    assert Sidecar.from_json(record.to_json()) == record


@pytest.mark.parametrize("subject", ENCODINGS.values(), ids=ENCODINGS)
def test_facts_are_those_of_nibabel(sample_tree, folder, subject):
    record = build_preview(sample_tree, folder, survey(sample_tree, subject))
    row = row_of(folder, subject)
    ncct, ctp = (volume_of(sample_tree, subject, column) for column in ("ncct", "ctp"))
    lesion, lvo, cow = (
        np.rint(volume_of(sample_tree, subject, f"{name}_mask").get_fdata()) for name in ("lesion", "lvo", "cow")
    )
    assert row["ncct_shape"] == list(ncct.shape) and row["ctp_shape"] == list(ctp.shape[:3])
    assert row["ncct_spacing_mm"] == pytest.approx(ncct.header.get_zooms())
    assert row["ctp_spacing_mm"] == pytest.approx(ctp.header.get_zooms()[:3])
    assert row["ctp_frames"] == ctp.shape[3]
    assert row["lesion_voxels"] == np.count_nonzero(lesion) > 0
    assert row["lesion_ml"] == pytest.approx(np.count_nonzero(lesion) * np.prod(ncct.header.get_zooms()) / 1000, 1e-3)
    assert row["shown_slice"] == np.count_nonzero(lesion, axis=(0, 1)).argmax()
    assert (row["lvo_voxels"], row["lvo_empty"]) == (np.count_nonzero(lvo), not lvo.any())
    assert (row["cow_voxels"], row["cow_empty"]) == (np.count_nonzero(cow), False)
    assert row["cow_labels"] == sorted(set(cow[cow > 0].astype(int).tolist()))
    assert record.facts == {fact.column: row[fact.column] for fact in FACTS}


def test_an_empty_lesion_is_said_to_be_empty(sample_tree, folder):
    facts = build_preview(sample_tree, folder, survey(sample_tree, EMPTY)).facts
    assert (facts["lesion_voxels"], facts["lesion_ml"]) == (0, 0)
    ncct = volume_of(sample_tree, EMPTY, "ncct").get_fdata()
    assert facts["shown_slice"] == np.count_nonzero((ncct > 0) & (ncct < 100), axis=(0, 1)).argmax()


def test_three_voxels_are_a_lesion(sample_tree, folder):
    assert build_preview(sample_tree, folder, survey(sample_tree, TINY)).facts["lesion_voxels"] == 3
    outlined = Image.open(io.BytesIO(row_of(folder, TINY)["ncct_lesion_picture"]["bytes"])).convert("RGB")
    assert (np.asarray(outlined) == (255, 64, 64)).all(axis=2).sum() > 20


def test_non_finite_voxels_are_counted_by_map(tree, folder):
    tmax = volume_of(tree, NON_FINITE, "tmax")
    voxels = np.asarray(tmax.dataobj).copy()
    voxels[20:24, 20:24, 5] = np.nan
    write_volume(tree / BY_COLUMN["tmax"].path(NON_FINITE), nib.Nifti1Image(voxels, tmax.affine, tmax.header))
    facts = build_preview(tree, folder, survey(tree, NON_FINITE)).facts
    mtt = volume_of(tree, NON_FINITE, "mtt").get_fdata()
    assert facts["mtt_non_finite"] == np.count_nonzero(~np.isfinite(mtt)) > 0
    assert (facts["tmax_non_finite"], facts["cbf_non_finite"], facts["cbv_non_finite"]) == (16, 0, 0)


def test_series_are_never_read(tree, folder):
    for column in ("ctp", "ctp_ncct"):
        path = tree / BY_COLUMN[column].path(SUBJECT)
        replace(path, path.read_bytes()[:-2000])  # the header can be read, the voxels cannot
    record = build_preview(tree, folder, survey(tree))
    assert record.sources.keys() == {volume.column for volume in PREVIEW.sources}
    assert record.facts["ctp_frames"] > 1


def test_an_unknown_series_leaves_its_facts_null(tree, folder):
    replace(tree / BY_COLUMN["ctp"].path(SUBJECT), b"")
    build_preview(tree, folder, survey(tree))
    assert [row_of(folder)[name] for name in ("ctp_shape", "ctp_spacing_mm", "ctp_frames")] == [None] * 3


def test_the_montage_is_read_back_and_says_synthetic(sample_tree, folder):
    subject = survey(sample_tree)
    record = build_preview(sample_tree, folder, subject)
    page = PREVIEW.montage(folder, record)
    image = Image.open(io.BytesIO(page))
    assert (image.format, image.width) == ("JPEG", 4 * SIZE[0]) and len(page) <= 120_000
    assert headline(subject, record.facts, {}).startswith(f"SYNTHETIC {SUBJECT}  |  lesion ")
    volumes = {c: facts and dataclasses.replace(facts, text=()) for c, facts in subject.volumes.items()}
    real = dataclasses.replace(subject, volumes=volumes)
    assert headline(real, record.facts, {}).startswith(SUBJECT)
    record = build_preview(sample_tree, folder, real)
    assert not record.synthetic and PREVIEW.montage(folder, record) != page


def sidecars_of(folder, subjects):
    return {s: Sidecar.from_json(record_path(folder, s).read_text()) for s in subjects}


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: flip(path)], ids=["not there", "a bit flipped"])
def test_a_montage_that_is_not_as_it_was_made_is_explained(sample_tree, folder, damage):
    record = build_preview(sample_tree, folder, survey(sample_tree))
    damage(preview(folder))
    with pytest.raises(Refusal) as refusal:
        PREVIEW.montage(folder, record)
    assert refusal.value.findings[0].mend == Materialize(("subject_preview",), SUBJECT)


def test_the_same_volumes_give_the_same_bytes_whenever_they_were_written(sample_tree, tree, tmp_path):
    folders = [folder_at(tmp_path / name) for name in "ab"]
    for column in BY_COLUMN:
        path = tree / BY_COLUMN[column].path(SUBJECT)
        replace(path, path.read_bytes())
    first, second = (
        build_preview(root, folder, survey(root)) for root, folder in zip((sample_tree, tree), folders, strict=True)
    )
    assert first.files == second.files and first.sources != second.sources
    one, other = (PREVIEW.files(folder, sidecars_of(folder, [SUBJECT]), SCHEMAS) for folder in folders)
    assert [(file.path, file.sha256) for file in one] == [(file.path, file.sha256) for file in other]


def test_state_is_up_to_date_only_after_building(sample_tree, folder):
    subject = survey(sample_tree)
    assert preview_state(folder, subject).reason == "has no preview yet"
    record = build_preview(sample_tree, folder, subject)
    assert preview_state(folder, subject).sidecar == record


def altered(path: Path, **changes) -> None:
    replace(path, dataclasses.replace(Sidecar.from_json(path.read_text()), **changes).to_json().encode())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: preview(folder).unlink(), "has no previews/"),
        (lambda folder: replace(preview(folder), b"PAR1"), "is not the one recorded"),
        (lambda folder: flip(preview(folder)), "is not the one recorded"),
        (lambda folder: record_path(folder).unlink(), "has no preview yet"),
        (lambda folder: record_path(folder).write_text("{"), "record that cannot be read"),
        (lambda folder: altered(record_path(folder), version="0.another"), "which is now"),
        (lambda folder: altered(record_path(folder), facts={}), "CTP series changed"),
    ],
)
def test_a_spoiled_preview_is_not_up_to_date(sample_tree, folder, spoil, reason):
    subject = survey(sample_tree)
    build_preview(sample_tree, folder, subject)
    spoil(folder)
    state = preview_state(folder, subject)
    assert state.sidecar is None and reason in state.reason
    rebuilt = build_preview(sample_tree, folder, subject)
    assert preview_state(folder, subject).sidecar == rebuilt


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    replace(path, bytes(content))


def test_a_changed_clinical_value_makes_the_preview_stale(sample_tree, folder):
    subject = survey(sample_tree)
    build_preview(sample_tree, folder, subject)
    older = dataclasses.replace(subject, clinical={**subject.clinical, "age": 1.5})
    assert "other clinical values" in preview_state(folder, older).reason


def test_a_touched_volume_is_read_again_and_not_stale(tree, folder):
    build_preview(tree, folder, survey(tree))
    path = tree / BY_COLUMN["adc"].path(SUBJECT)
    replace(path, path.read_bytes())
    assert preview_state(folder, survey(tree)).reason == "has a preview made before these changed: adc"
    assert preview_state(folder, survey(tree, full=True)).sidecar
    state = state_of(PREVIEW, folder, survey(tree), tree)
    assert state.sidecar and state.sidecar.sources["adc"].noted == status_of(path)


def test_a_change_without_a_trace_is_found_by_its_digest(tree, folder):
    build_preview(tree, folder, survey(tree))
    path = tree / BY_COLUMN["adc"].path(SUBJECT)
    status, content = path.stat(), bytearray(path.read_bytes())
    content[9] ^= 1  # the operating system in the gzip header
    replace(path, bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert preview_state(folder, survey(tree)).sidecar
    assert state_of(PREVIEW, folder, survey(tree), tree).sidecar is None
    assert preview_state(folder, survey(tree, full=True)).sidecar is None


def test_a_volume_that_no_picture_or_fact_is_of_may_change(tree, folder):
    build_preview(tree, folder, survey(tree))
    replace(tree / BY_COLUMN["cbf_native"].path(SUBJECT), b"x")
    assert preview_state(folder, survey(tree)).sidecar


def test_another_series_makes_the_preview_stale(tree, folder):
    build_preview(tree, folder, survey(tree))
    ctp = volume_of(tree, SUBJECT, "ctp")
    path = tree / BY_COLUMN["ctp"].path(SUBJECT)
    write_volume(path, nib.Nifti1Image(np.asarray(ctp.dataobj)[..., :4], ctp.affine, ctp.header))
    assert "CTP series" in preview_state(folder, survey(tree)).reason


@pytest.mark.parametrize(
    ("column", "damage", "message"),
    [
        ("cta_ncct", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("ncct", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("lesion_mask", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("dwi", lambda path: b"", "is missing or empty"),
        ("dwi", lambda path: b"not a volume at all", "is not a gzip file"),
    ],
)
def test_a_bad_volume_is_refused_by_name_and_leaves_nothing(tree, folder, column, damage, message):
    path = tree / BY_COLUMN[column].path(SUBJECT)
    replace(path, damage(path))
    with pytest.raises(Refusal) as refusal:
        build_preview(tree, folder, survey(tree))
    (finding,) = refusal.value.findings
    assert (finding.subject, finding.path) == (SUBJECT, BY_COLUMN[column].path(SUBJECT))
    assert message in finding.problem
    assert files_in(folder) == []


def on_another_grid(image):
    """The same voxels but for some rows and slices, as of `cow_mask` of `sub-stroke0016`."""
    return nib.Nifti1Image(np.asarray(image.dataobj)[:, 5:-4, 1:], image.affine, image.header)


def displaced(voxels):
    def displace(image):
        affine = image.affine.copy()
        affine[:3, 3] += voxels * affine[:3, 0]
        return nib.Nifti1Image(np.asarray(image.dataobj), affine, image.header)

    return displace


def with_frames(image):
    return nib.Nifti1Image(np.stack([np.asarray(image.dataobj)] * 3, axis=3), image.affine)


def of_colours(image):
    voxels = np.asarray(image.dataobj)
    colours = np.zeros(voxels.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = voxels != 0
    return nib.Nifti1Image(colours, image.affine)


def complex_valued(image):
    return nib.Nifti1Image(np.asarray(image.dataobj).astype(np.complex64) * (1 + 3j), image.affine)


def with_sform(value):
    """The image with each element of its sform so, and no qform."""

    def change(image):
        content = bytearray(image.to_bytes())
        content[252:256] = struct.pack("<2h", 0, 1)
        content[280:328] = struct.pack("<12f", *[value] * 12)
        return bytes(content)

    return change


OFF = "not on the NCCT grid"
ODD = {
    "another shape": (on_another_grid, OFF),
    "one voxel aside": (displaced(1), OFF),
    "frames": (with_frames, "not one volume of three axes"),
    "colours": (of_colours, "not of real numbers"),
    "complex": (complex_valued, "not of real numbers"),
    "zero sform": (with_sform(0), "without a usable affine"),
    "flat sform": (with_sform(1), "without a usable affine"),
    "NaN sform": (with_sform(np.nan), "without a usable affine"),
}


def spoil(tree, subject, column, change):
    changed = change(volume_of(tree, subject, column))
    content = changed if isinstance(changed, bytes) else changed.to_bytes()
    replace(tree / BY_COLUMN[column].path(subject), gzip.compress(content, 1))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "column", ["lesion_mask", *(pytest.param(column, marks=pytest.mark.long) for column in ("cow_mask", "tmax"))]
)
def test_an_odd_volume_costs_no_more_than_the_pictures_of_it(previews, tree, folder, column, kind):
    change, reason = ODD[kind]
    spoil(tree, SUBJECT, column, change)
    subject = survey(tree)
    record = build_preview(tree, folder, subject)
    assert preview_state(folder, subject).sidecar == record
    assert left_out(ISLES24, subject.volumes) == {column: reason}
    row, pictures, usual = row_of(folder), pictures_in(row_of(folder)), pictures_in(row_of(previews[0]))
    assert row["left_out"] == [column]
    assert {name for name, picture in pictures.items() if picture is None} == {column} & {"tmax"}
    if column == "lesion_mask":
        outlined = Image.open(io.BytesIO(pictures["ncct_lesion"]["bytes"])).convert("RGB")
        assert not (np.asarray(outlined) == (255, 64, 64)).all(axis=2).any()
        ncct = volume_of(tree, SUBJECT, "ncct").get_fdata()
        assert row["shown_slice"] == np.count_nonzero((ncct > 0) & (ncct < 100), axis=(0, 1)).argmax()
    else:
        assert all(picture == usual[name] for name, picture in pictures.items() if picture)
    said = f"{column.replace('cow_mask', 'CoW').replace('lesion_mask', 'lesion')} {reason}"
    assert (said in headline(subject, record.facts, {column: reason})) == (column != "tmax")
    assert PREVIEW.montage(folder, record) != PREVIEW.montage(previews[0], sidecars_of(*previews)[SUBJECT])


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_ncct_costs_no_more_than_pictures(tree, folder, kind):
    change, reason = ODD[kind]
    spoil(tree, SUBJECT, "ncct", change)
    subject = survey(tree)
    record = build_preview(tree, folder, subject)
    assert preview_state(folder, subject).sidecar == record
    row = row_of(folder)
    left = {name for name, picture in pictures_in(row).items() if picture}
    others = [volume.column for volume in PREVIEW.sources if volume.column != "ncct"]
    if reason == OFF:
        assert (row["left_out"], left) == (others, {"ncct", "ncct_lesion"})
    elif reason == "not of real numbers":
        assert (row["left_out"], len(left)) == (["ncct"], 6)
    else:
        assert (row["left_out"], left, row["shown_slice"]) == (["ncct", *others], set(), None)
    unknown = "affine" in reason
    assert ([row["ncct_spacing_mm"], row["oblique"]] == [None, None]) == unknown
    assert row["lesion_voxels"] > 0 and row["lesion_ml"] > 0 and row["cow_labels"]
    assert ("spacing unknown" in headline(subject, record.facts, {})) == unknown


def test_half_a_voxel_less_is_on_the_grid(previews, tree, folder):
    for column in ("tmax", "lesion_mask", "cow_mask"):
        spoil(tree, SUBJECT, column, displaced(0.4))
    build_preview(tree, folder, survey(tree))
    assert row_of(folder)["left_out"] == []
    assert pictures_in(row_of(folder)) == pictures_in(row_of(previews[0]))


def test_a_mask_on_another_grid_has_the_facts_of_its_own(tree, folder):
    def coarser(image):
        affine = image.affine @ np.diag([2, 2, 1, 1])
        return nib.Nifti1Image(np.asarray(image.dataobj)[::2, ::2], affine)

    for column in ("lesion_mask", "lvo_mask", "cow_mask"):
        spoil(tree, SUBJECT, column, coarser)
    build_preview(tree, folder, survey(tree))
    row = row_of(folder)
    lesion, lvo, cow = (np.rint(volume_of(tree, SUBJECT, f"{n}_mask").get_fdata()) for n in ("lesion", "lvo", "cow"))
    counts = [np.count_nonzero(mask) for mask in (lesion, lvo, cow)]
    assert [row[f"{name}_voxels"] for name in ("lesion", "lvo", "cow")] == counts
    ncct = volume_of(tree, SUBJECT, "ncct")
    assert row["lesion_ml"] == pytest.approx(counts[0] * 4 * np.prod(ncct.header.get_zooms()) / 1000, 1e-3)
    assert row["cow_labels"] == sorted(set(cow[cow > 0].astype(int).tolist()))


def test_a_volume_of_a_lesion_whose_affine_cannot_be_used_is_not_known(tree, folder):
    spoil(tree, SUBJECT, "lesion_mask", with_sform(0))
    subject = survey(tree)
    record = build_preview(tree, folder, subject)
    assert record.facts["lesion_ml"] is None
    assert f"lesion {record.facts['lesion_voxels']} voxels" in headline(subject, record.facts, {})


@pytest.mark.parametrize(
    ("values", "labels"),
    [(np.arange(2732), None), ([0, 1, 15, 2**31], [1, 15]), ([0, -(2**40), 0.5, 2], [2]), ([0, 1e30, np.nan], [])],
)
def test_an_image_in_the_place_of_labels_costs_no_preview(tree, folder, values, labels):
    def relabelled(image):
        return nib.Nifti1Image(np.resize(np.asarray(values, "<f8"), image.shape), image.affine)

    spoil(tree, SUBJECT, "cow_mask", relabelled)
    subject = survey(tree)
    record = build_preview(tree, folder, subject)
    assert record.facts["cow_labels"] == labels
    assert record.facts["cow_voxels"] == np.count_nonzero(volume_of(tree, SUBJECT, "cow_mask").get_fdata())
    assert f"CoW {'many' if labels is None else len(labels)} labels" in headline(subject, record.facts, {})


@pytest.mark.parametrize(
    ("x", "y", "z", "oblique"),
    [(0, 0, 0, False), (20, 0, 0, False), (0, 0, -7, False), (20, 0.01, 0, False), (20, 2, 0, True), (9, -4, 3, True)],
)
def test_axes_are_oblique_if_none_is_anatomical(tree, folder, x, y, z, oblique):
    def turned(image):
        spacing, middle = np.diag(image.header.get_zooms()), np.array(image.shape) / 2
        linear = euler2mat(*np.radians((z, y, x))) @ spacing @ np.diag([-1, 1, 1])
        return nib.Nifti1Image(np.asarray(image.dataobj), from_matvec(linear, -linear @ middle))

    spoil(tree, SUBJECT, "ncct", turned)
    assert build_preview(tree, folder, survey(tree)).facts["oblique"] is oblique


def test_the_card_counts_what_was_found(tree, folder):
    subjects = [SUBJECT, EMPTY, NON_FINITE]
    spoil(tree, SUBJECT, "cow_mask", on_another_grid)
    spoil(tree, NON_FINITE, "lesion_mask", with_sform(np.nan))
    rows = {subject: survey(tree, subject) for subject in subjects}
    sidecars = {subject: build_preview(tree, folder, row) for subject, row in rows.items()}
    counts = dict(PREVIEW.card_parts("owner/name", sidecars, rows).counts)
    assert counts["volumes that the pictures do without"] == f"2: {NON_FINITE} (lesion_mask), {SUBJECT} (cow_mask)"
    assert counts["`lesion_mask` is empty"] == f"1: {EMPTY}"
    assert counts["`mtt` holds NaN or infinite voxels"] == f"1: {NON_FINITE}"
    oblique = [subject for subject in sorted(subjects) if sidecars[subject].facts["oblique"]]
    assert counts["`ncct` is oblique about more than one axis"] == (
        f"{len(oblique)}: {', '.join(oblique)}" if oblique else "none"
    )
    ml = sidecars[SUBJECT].facts["lesion_ml"]
    assert dict(PREVIEW.summary(sidecars))["final infarct, ml"] == f"{ml / 2:.3g} (0 to {ml:.3g})"
    assert dict(PREVIEW.summary({NON_FINITE: sidecars[NON_FINITE]}))["final infarct, ml"] == "unknown"
    *_, card_picture = PREVIEW.files(folder, sidecars, SCHEMAS)
    assert card_picture.content == PREVIEW.montage(folder, sidecars[EMPTY])


BUILD = """
import pickle, re, sys
from isles_assets.products.building import build_subject
build_subject(*pickle.load(sys.stdin.buffer))
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def filled(shape, spacing, dtype, value):
    """A file of a grid like that, compressed as it is made."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_sform(np.diag([*spacing, 1.0]), 1)
    header.set_data_offset(352)
    size, piece = int(np.prod(shape)) * np.dtype(dtype).itemsize, np.full(1 << 17, value, dtype).tobytes()
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    pieces = [header.binaryblock + bytes(4), *[piece] * (size // len(piece)), piece[: size % len(piece)]]
    return b"".join([*map(packer.compress, pieces), packer.flush()])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is what Linux says of a process")
@pytest.mark.parametrize(
    ("shape", "spacing", "drawn"),
    [
        ((160, 160, 8), (5, 0.05, 1), True),
        pytest.param((160, 160, 8), (1e-30, 1e30, 1), True, marks=pytest.mark.long),
        pytest.param((2048, 2048, 3), (0.2, 0.2, 1e-5), True, marks=pytest.mark.long),
        pytest.param((32000, 130, 2), (1, 1, 1), True, marks=pytest.mark.long),
        pytest.param((130, 2, 32000), (1, 1, 1), True, marks=pytest.mark.long),
        ((30000, 8000, 1), (0.01, 0.01, 1), False),
    ],
)
def test_a_preview_takes_little_memory_whatever_the_grid(tree, folder, shape, spacing, drawn):
    for volume in PREVIEW.sources:
        if volume.column == "ncct" or drawn:
            dtype, value = ("u1", 0) if volume.column.endswith("_mask") or not drawn else ("<f4", 40)
            replace(tree / volume.path(SUBJECT), filled(shape, spacing, dtype, value))
    task = pickle.dumps((PREVIEW, Build(tree, folder, {}), survey(tree)))
    done = subprocess.run([sys.executable, "-c", BUILD], input=task, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    pictures = pictures_in(row_of(folder))
    assert [bool(picture) for picture in pictures.values()] == [drawn] * len(PICTURES)
    assert int(done.stdout) < 300_000, "kB"


def test_all_bad_volumes_are_named_at_once(tree, folder):
    for column in ("cta_ncct", "adc", "cow_mask"):
        path = tree / BY_COLUMN[column].path(SUBJECT)
        replace(path, path.read_bytes()[:-9])
    with pytest.raises(Refusal) as refusal:
        build_preview(tree, folder, survey(tree))
    assert {f.path for f in refusal.value.findings} == {
        BY_COLUMN[column].path(SUBJECT) for column in ("cta_ncct", "adc", "cow_mask")
    }


def test_a_volume_that_changed_after_the_manifest_is_refused(tree, folder):
    subject = survey(tree)
    path = tree / BY_COLUMN["ncct"].path(SUBJECT)
    replace(path, path.read_bytes())
    with pytest.raises(Refusal, match="has changed since the manifest was made"):
        build_preview(tree, folder, subject)


def test_a_refused_rebuild_leaves_the_preview_of_before(tree, folder):
    subject = survey(tree)
    record = build_preview(tree, folder, subject)
    replace(tree / BY_COLUMN["ncct"].path(SUBJECT), b"x")
    with pytest.raises(Refusal):
        build_preview(tree, folder, survey(tree))
    assert preview_state(folder, subject).sidecar == record


def test_one_bad_subject_costs_no_other_in_processes(tree, folder):
    subjects = [SUBJECT, "sub-stroke0001", EMPTY]
    path = tree / BY_COLUMN["adc"].path(EMPTY)
    replace(path, path.read_bytes()[:-9])
    rows = {subject: survey(tree, subject) for subject in subjects}
    arguments = {subject: (PREVIEW, Build(tree, folder, {}), row) for subject, row in rows.items()}
    outcomes = dict(map_in_processes(build_subject, arguments, 2))
    assert {subject: type(outcome) for subject, outcome in outcomes.items()} == {
        SUBJECT: Sidecar, "sub-stroke0001": Sidecar, EMPTY: Refusal,
    }  # fmt: skip
    assert {path.stem for path in PREVIEW.root(folder).glob("*.parquet")} == {SUBJECT, "sub-stroke0001"}


@pytest.fixture(scope="session")
def previews(sample_tree, tmp_path_factory):
    """The previews of all 23 subjects; not to be changed."""
    folder = folder_at(tmp_path_factory.mktemp("previews") / "data")
    for subject in SUBJECTS:
        build_preview(sample_tree, folder, survey(sample_tree, subject))
    return folder, SUBJECTS


def test_the_table_has_all_rows_in_order_in_groups_of_ten_with_an_index_of_pages(previews):
    folder, subjects = previews
    published = PREVIEW.table(folder, sidecars_of(folder, reversed(subjects)), CONFIG.columns)
    assert (published.size, published.sha256) == (published.content.stat().st_size, sha256_of(published.content))
    with pq.ParquetFile(published.content) as file:
        assert file.schema_arrow.equals(CONFIG.columns)
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        assert [group.num_rows for group in groups] == [10, 10, 3]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        assert all(column.has_offset_index for column in columns)
        pictures = [column for column in columns if column.path_in_schema.endswith("_picture.bytes")]
        assert len(pictures) == 3 * 8 and not any(column.is_stats_set for column in pictures)
        assert all(column.has_column_index for column in columns if column not in pictures)
        rows = file.read().to_pylist()
    assert [row["subject_id"] for row in rows] == subjects
    for row in (rows[0], rows[-1]):
        stored = row_of(folder, row["subject_id"])
        assert row == {**{name: stored[name] for name in CONFIG.schema.names}, FOLD.name: row[FOLD.name]}


def test_a_table_says_where_it_is_from_and_nothing_of_this_machine(previews):
    folder, subjects = previews
    previews_of, look, _ = PREVIEW.files(folder, sidecars_of(folder, subjects), SCHEMAS)
    footer = json.loads(pq.read_metadata(previews_of.content).metadata[FOOTER_KEY.encode()])
    assert (footer["format"], footer["release"]["version"], footer["synthetic"]) == (PREVIEW.version, "v7", True)
    content = previews_of.content.read_bytes() + look.content.read_bytes()
    assert str(folder.root).encode() not in content and b"mtime" not in content


def test_datasets_reads_the_table_with_pictures(previews, tmp_path):
    folder, subjects = previews
    table = PREVIEW.table(folder, sidecars_of(folder, subjects), SCHEMAS[CONFIG.name])
    dataset = datasets.Dataset.from_parquet(str(table.content), cache_dir=str(tmp_path / "cache"))
    assert dataset["subject_id"][:] == subjects
    assert dataset.features["tmax_picture"] == datasets.Image()
    assert dataset[3]["tmax_picture"].size == SIZE


@pytest.fixture
def copied(previews, tmp_path):
    """The previews of three subjects, to damage, with their sidecars."""
    folder = folder_at(tmp_path / "data")
    for subject in previews[1][:3]:
        for of in (preview, record_path):
            replace(of(folder, subject), of(previews[0], subject).read_bytes())
    return folder, sidecars_of(folder, previews[1][:3])


def test_the_table_is_refused_where_a_preview_is_missing_or_damaged(copied):
    folder, sidecars = copied
    first, second, _ = sidecars
    preview(folder, first).unlink()
    flip(preview(folder, second))
    with pytest.raises(Refusal, match="was not written") as refusal:
        table_of(folder, sidecars)
    assert [finding.subject for finding in refusal.value.findings] == [first, second]
    assert not (PREVIEW.root(folder) / "table").exists()


def table_of(folder, sidecars, product=PREVIEW):
    """What is published as the table of all previews."""
    return product.table(folder, sidecars, SCHEMAS[CONFIG.name])


def flipped_somewhere(path):
    """Flip a bit in the bytes as they lie, wherever else they are linked to, with the times kept."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_table_is_kept_while_it_is_as_it_was_written_and_made_again_else(copied):
    folder, sidecars = copied
    table = table_of(folder, sidecars)
    right, inode = table.content.read_bytes(), table.content.stat().st_ino
    assert (table.size, table.sha256) == (len(right), hashlib.sha256(right).hexdigest())
    assert table.noted == status_of(table.content)
    assert table_of(folder, sidecars) == table and table.content.stat().st_ino == inode
    table = dataclasses.replace(table, noted=None)
    note = table.content.with_suffix(".json")
    published = folder.root / "published"
    published.hardlink_to(table.content)

    for damage in (
        lambda: flipped_somewhere(table.content),
        lambda: flipped_somewhere(note),
        table.content.unlink,
        note.unlink,  # as after a kill between table and note
    ):
        damage()
        assert dataclasses.replace(table_of(folder, sidecars), noted=None) == table
        assert table.content.read_bytes() == right
        assert {path.name for path in table.content.parent.iterdir()} == {table.content.name, note.name}
    assert published.read_bytes() != right, "what was published is replaced, and not written into"


def test_another_release_or_preview_gives_another_table_and_the_old_one_goes(copied):
    folder, sidecars = copied
    table = table_of(folder, sidecars)
    newer = Preview(dataclasses.replace(ISLES24, record=dataclasses.replace(ISLES24.record, version="v8", record="9")))
    of_newer = table_of(folder, sidecars, newer)
    assert of_newer.content != table.content and not table.content.exists()
    footer = json.loads(pq.read_metadata(of_newer.content).metadata[FOOTER_KEY.encode()])
    assert footer["release"] == {"version": "v8", "doi": "10.5281/zenodo.9"}
    assert table_of(folder, dict(list(sidecars.items())[:2]), newer).sha256 != of_newer.sha256
    assert len(list(table.content.parent.iterdir())) == 2


def test_the_table_is_refused_where_a_preview_changed_since_it_was_recorded(copied):
    folder, sidecars = copied
    flip(preview(folder, list(sidecars)[1]))
    with pytest.raises(Refusal, match="was not written"):
        table_of(folder, sidecars)


def test_the_schema_is_plain_parquet():
    assert not CONFIG.schema.metadata
    assert all(not pa.types.is_large_binary(field.type) for field in CONFIG.schema)
