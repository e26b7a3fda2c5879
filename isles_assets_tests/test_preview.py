"""Previews: facts and pictures of subjects, refused when a volume is bad, stale when one changed, and their table."""

import dataclasses
import gzip
import io
import json
import os
from pathlib import Path

import datasets
import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.lib.workers import each_in_processes
from isles_assets.products.building import State, build_subject, state_of
from isles_assets.products.config import MEDIA
from isles_assets.products.footer import FOOTER_KEY
from isles_assets.products.preview.facts import all_facts
from isles_assets.products.preview.pictures import LARGEST, PICTURES, SIZE
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
    pictures = {picture.name: row[picture.column] for picture in PICTURES}
    assert {picture["path"] for picture in pictures.values()} >= {f"{SUBJECT}_ncct.png", f"{SUBJECT}_dwi_lesion.png"}
    for picture in pictures.values():
        assert Image.open(io.BytesIO(picture["bytes"])).size == SIZE
    assert sum(len(picture["bytes"]) for picture in pictures.values()) <= LARGEST
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
    page = PREVIEW.montage(folder, SUBJECT)
    image = Image.open(io.BytesIO(page))
    assert (image.format, image.width) == ("JPEG", 4 * SIZE[0]) and len(page) <= 120_000
    assert headline(subject, record.facts).startswith(f"SYNTHETIC {SUBJECT}  |  lesion ")
    volumes = {c: facts and dataclasses.replace(facts, text=()) for c, facts in subject.volumes.items()}
    real = dataclasses.replace(subject, volumes=volumes)
    assert headline(real, record.facts).startswith(SUBJECT)
    assert not build_preview(sample_tree, folder, real).synthetic
    assert PREVIEW.montage(folder, SUBJECT) != page


def test_a_montage_that_is_not_there_is_explained(folder):
    with pytest.raises(Refusal) as refusal:
        PREVIEW.montage(folder, SUBJECT)
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
    tables = [folder.root / "train.parquet" for folder in folders]
    for path, folder in zip(tables, folders, strict=True):
        PREVIEW.write_table(path, folder, [SUBJECT], CONFIG.schema)
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_state_is_up_to_date_only_after_building(sample_tree, folder):
    subject = survey(sample_tree)
    assert preview_state(folder, subject).reason == "has no preview yet"
    record = build_preview(sample_tree, folder, subject)
    assert preview_state(folder, subject).sidecar == record


def altered(path: Path, **changes) -> None:
    content = json.loads(path.read_text())
    replace(path, json.dumps(content | changes).encode())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: preview(folder).unlink(), "is not the one recorded"),
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


def test_a_touched_volume_is_stale_by_its_time_and_not_by_its_digest(tree, folder):
    build_preview(tree, folder, survey(tree))
    path = tree / BY_COLUMN["adc"].path(SUBJECT)
    replace(path, path.read_bytes())
    assert preview_state(folder, survey(tree)).reason == "has a preview made before these changed: adc"
    state = preview_state(folder, survey(tree, full=True))
    assert state.sidecar and state.sidecar.sources["adc"].mtime_ns == path.stat().st_mtime_ns


def test_a_change_without_a_trace_is_found_by_its_digest(tree, folder):
    build_preview(tree, folder, survey(tree))
    path = tree / BY_COLUMN["adc"].path(SUBJECT)
    status, content = path.stat(), bytearray(path.read_bytes())
    content[9] ^= 1  # the operating system in the gzip header
    replace(path, bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert preview_state(folder, survey(tree)).sidecar
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


def moved(path):
    image = nib.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 3
    other = nib.Nifti1Image(np.asarray(image.dataobj), affine, image.header)
    return gzip.compress(other.to_bytes(), 1)


def native(path):
    return Path(str(path).replace("derivatives", "raw_data").replace("space-ncct_", ""))


@pytest.mark.parametrize(
    ("column", "damage", "message"),
    [
        ("cta_ncct", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("ncct", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("lesion_mask", lambda path: path.read_bytes()[:-9], "is cut short"),
        ("dwi", lambda path: b"", "is missing or empty"),
        ("dwi", lambda path: b"not a volume at all", "is not a sound gzip file"),
        ("lvo_mask", lambda path: (path.parent / path.name.replace("lvo", "cow")).read_bytes(), "binary mask holds"),
        ("mtt", moved, "is displaced from its NCCT by up to 3 mm"),
        ("tmax", lambda path: native(path).read_bytes(), "has shape 28x28x4, its NCCT 48x"),
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
    arguments = {subject: (tree, folder, row) for subject, row in rows.items()}
    outcomes = dict(each_in_processes(build_preview, arguments, 2))
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


def test_the_table_has_all_rows_in_order_in_groups_of_ten_with_an_index_of_pages(previews, tmp_path):
    folder, subjects = previews
    path = tmp_path / "preview" / "train.parquet"
    PREVIEW.write_table(path, folder, reversed(subjects), CONFIG.schema)
    with pq.ParquetFile(path) as file:
        assert file.schema_arrow.equals(CONFIG.schema)
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
        assert row == {name: stored[name] for name in CONFIG.schema.names}


def test_the_table_says_where_it_is_from_and_nothing_of_this_machine(previews, tmp_path):
    folder, subjects = previews
    PREVIEW.write_table(tmp_path / "train.parquet", folder, subjects, CONFIG.schema)
    footer = json.loads(pq.read_metadata(tmp_path / "train.parquet").metadata[FOOTER_KEY.encode()])
    assert (footer["format"], footer["release"]["version"], footer["synthetic"]) == (PREVIEW.version, "v7", True)
    content = (tmp_path / "train.parquet").read_bytes()
    assert str(folder.root).encode() not in content and b"mtime" not in content


def test_datasets_reads_the_table_with_pictures(previews, tmp_path):
    folder, subjects = previews
    features = datasets.Features.from_arrow_schema(CONFIG.schema)
    features |= {picture.column: datasets.Image() for picture in PICTURES}
    path = tmp_path / "train.parquet"
    PREVIEW.write_table(path, folder, subjects, datasets.Features(features).arrow_schema)
    dataset = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert dataset["subject_id"][:] == subjects
    assert dataset.features["tmax_picture"] == datasets.Image()
    assert dataset[3]["tmax_picture"].size == SIZE


def test_the_table_is_refused_where_a_preview_is_missing_or_damaged(previews, tmp_path):
    folder, subjects = previews
    copy = folder_at(tmp_path / "data")
    for path in files_in(folder):
        replace(copy.root / path.relative_to(folder.root), path.read_bytes())
    preview(copy, subjects[2]).unlink()
    flip(preview(copy, subjects[5]))
    record_path(copy, subjects[7]).unlink()
    target = tmp_path / "train.parquet"
    with pytest.raises(Refusal, match="was not written") as refusal:
        PREVIEW.write_table(target, copy, subjects, CONFIG.schema)
    assert [finding.subject for finding in refusal.value.findings] == [subjects[2], subjects[5], subjects[7]]
    assert not target.exists()


def test_the_schema_is_plain_parquet():
    assert not CONFIG.schema.metadata
    assert all(not pa.types.is_large_binary(field.type) for field in CONFIG.schema)
