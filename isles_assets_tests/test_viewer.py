"""The split `look` and the config `preview`, which the Hub's Dataset Viewer shows, and its limits."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Features, Image, IterableDataset, Nifti, Value, get_dataset_split_names, load_dataset
from huggingface_hub import DatasetCard

from isles_assets.hub.streaming import first_row, rows_of
from isles_assets.products.config import CARD, LOOK, LOOK_PATH, MAIN_CONFIG, MONTAGE, SPLIT
from isles_assets.products.features import features
from isles_assets.products.preview.facts import all_facts
from isles_assets.products.preview.pictures import PICTURES
from isles_assets.products.preview.product import CARD_PICTURE
from isles_assets.tables.clinical import clinical_values, read_clinical_table
from isles_assets_tests.isles24 import ISLES24, SMALL
from isles_assets_tests.isles24 import PREVIEW as PRODUCT

(PREVIEW,) = PRODUCT.configs

SCAN_LIMIT = 300_000_000
"""Bytes that the viewer reads at most for a page; a page has `PAGE` rows."""

PAGE = 100
FIRST_ROWS_ANSWER = 1_000_000
"""Bytes of the answer that holds the first `PAGE` rows, in which pictures are links."""


@pytest.fixture(scope="module")
def folder(six_or_all) -> Path:
    """The dataset of six subjects, in the long tests of all: a page of the viewer is of a hundred."""
    return Path(six_or_all.setup.target().location)


@pytest.fixture(scope="module")
def footer(folder):
    return pq.read_metadata(folder / PREVIEW.path(""))


@pytest.fixture(scope="module")
def small_folder(small_built) -> Path:
    return Path(small_built.setup.target().location)


def test_a_row_a_subject_with_pictures_that_decode_and_the_clinical_values(small_folder, small_built):
    table = load_dataset(str(small_folder), PREVIEW.name, split="train")
    assert table["subject_id"] == list(SMALL.subjects)
    assert table.features == features(PREVIEW)
    first = table[0]
    assert {first[picture.column].size for picture in PICTURES} == {first[PICTURES[0].column].size}
    clinical = clinical_values(read_clinical_table(small_built.folder))
    for row in table.remove_columns([picture.column for picture in PICTURES]):
        assert {column: row[column] for column in clinical[row["subject_id"]]} == clinical[row["subject_id"]]


def test_any_page_of_rows_is_within_the_viewers_scan_limit(footer, six_or_all):
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    largest = max(group.total_byte_size / group.num_rows for group in groups)
    assert PAGE * largest < SCAN_LIMIT / 3
    assert max(group.num_rows for group in groups) <= 10
    assert footer.num_rows == len(six_or_all.release.subjects)


def test_every_column_has_a_page_index(footer):
    for i in range(footer.num_row_groups):
        columns = [footer.row_group(i).column(j) for j in range(footer.num_columns)]
        assert all(column.has_offset_index for column in columns)


def test_the_first_rows_without_pictures_fit_in_the_viewers_answer(folder):
    table = load_dataset(str(folder), PREVIEW.name, split="train")
    rows = table.remove_columns([p.column for p in PICTURES]).to_list()[:PAGE]
    links = len(PICTURES) * 500  # a signed address each
    assert PAGE * (len(json.dumps(rows)) / len(rows) + links) < FIRST_ROWS_ANSWER


def test_the_card_declares_what_the_file_says_of_itself(small_folder):
    footer = pq.read_metadata(small_folder / PREVIEW.path(""))
    card = DatasetCard.load(small_folder / CARD).data.to_dict()
    (info,) = [info for info in card["dataset_info"] if info["config_name"] == PREVIEW.name]
    assert [feature["name"] for feature in info["features"]] == PREVIEW.columns.names
    assert {f["name"] for f in info["features"] if f.get("dtype") == "image"} == {p.column for p in PICTURES}
    assert info["splits"] == [{"name": "train", "num_bytes": info["dataset_size"], "num_examples": 6}]
    stated = json.loads(footer.metadata[b"huggingface"])["info"]["features"]
    assert stated == json.loads(features(PREVIEW).arrow_schema.metadata[b"huggingface"])["info"]["features"]
    assert all(isinstance(features(PREVIEW)[picture.column], Image) for picture in PICTURES)


def test_the_cards_picture_is_there(small_folder):
    assert f"]({CARD_PICTURE})" in (small_folder / CARD).read_text()
    assert (small_folder / CARD_PICTURE).read_bytes()[:3] == b"\xff\xd8\xff"


def test_facts_are_those_of_the_volumes(folder, six_or_all):
    rows = load_dataset(str(folder), PREVIEW.name, split="train").remove_columns([p.column for p in PICTURES])
    by_subject = {row["subject_id"]: row for row in rows}
    voxels = {subject: row["lesion_voxels"] for subject, row in by_subject.items() if row["lesion_voxels"] <= 3}
    known = {"sub-stroke0141": 0, "sub-stroke0162": 0, "sub-stroke0171": 3}
    assert voxels == {subject: known[subject] for subject in known.keys() & {*six_or_all.release.subjects}}
    assert {fact.column for fact in all_facts(ISLES24)} <= by_subject["sub-stroke0001"].keys()


def test_who_wants_the_first_row_leaves_no_thread_that_reads_ahead_in_a_file_of_more():
    """Arrow's threads would abort a process that ends meanwhile: "terminate called without an active exception"."""
    given = []

    def rows():
        for number in range(3):
            given.append(number)
            yield {"number": number}

    dataset = IterableDataset.from_generator(rows, features=Features({"number": Value("int64")}))
    assert first_row(dataset) == {"number": 0}
    assert given == [0, 1, 2]


def test_the_first_row_is_decoded_as_datasets_does(small_folder):
    first = first_row(rows_of(str(small_folder), PREVIEW.name))
    table = load_dataset(str(small_folder), PREVIEW.name, split="train")
    assert first == table[0]


def test_the_viewer_opens_on_pictures_without_a_volume(small_folder, small_built):
    """It shows the first split of the config `default`, and fails on a volume that is not null."""
    assert get_dataset_split_names(str(small_folder)) == [LOOK, SPLIT]
    look = load_dataset(str(small_folder), split=LOOK)
    assert look["subject_id"] == list(SMALL.subjects)
    assert look.column_names[:2] == ["subject_id", MONTAGE.name]
    assert all(isinstance(feature, Nifti) == (name in ISLES24.by_column) for name, feature in look.features.items())
    clinical = clinical_values(read_clinical_table(small_built.folder))
    for row in look:
        page = row.pop(MONTAGE.name)
        assert page.format == "JPEG" and page.width > page.height > 100
        assert row == {**dict.fromkeys(row), **clinical[row["subject_id"]], "subject_id": row["subject_id"]}


def test_train_has_every_volume_and_no_montage(small_folder):
    volumes = {volume.column for volume in ISLES24.volumes if not volume.apart}
    names = {"subject_id", MONTAGE.name, *volumes, *(variable.column for variable in ISLES24.variables)}
    whole = load_dataset(str(small_folder), split=SPLIT)
    assert set(whole.column_names) == names
    assert whole["subject_id"] == list(SMALL.subjects) and set(whole[MONTAGE.name]) == {None}
    streamed = list(load_dataset(str(small_folder), split=SPLIT, streaming=True).decode(False))
    assert [row["subject_id"] for row in streamed] == list(SMALL.subjects)
    for row in streamed:
        assert row.keys() == names and row[MONTAGE.name] is None and all(row[column]["bytes"] for column in volumes)


def test_one_shard_loads_by_itself_and_by_columns(small_folder):
    path = f"data/{SPLIT}/{SMALL.subjects[1]}.parquet"
    (row,) = load_dataset(str(small_folder), data_files={SPLIT: path}, split=SPLIT, streaming=True).decode(False)
    assert row["subject_id"] == SMALL.subjects[1] and row["ncct"]["bytes"]
    only = load_dataset(str(small_folder), split=SPLIT, streaming=True, columns=["subject_id", "age"])
    assert [list(row) for row in only] == [["subject_id", "age"]] * len(SMALL.subjects)


def test_the_card_states_both_splits_with_their_sizes_and_counts(small_folder):
    card = DatasetCard.load(small_folder / CARD).data.to_dict()
    (info,) = [info for info in card["dataset_info"] if info["config_name"] == MAIN_CONFIG]
    look = (small_folder / LOOK_PATH).stat().st_size
    assert info["splits"][0] == {"name": LOOK, "num_bytes": look, "num_examples": 6}
    assert info["splits"][1]["name"] == SPLIT and info["splits"][1]["num_examples"] == 6
    (files,) = [c["data_files"] for c in card["configs"] if c["config_name"] == MAIN_CONFIG]
    assert files == [{"split": LOOK, "path": LOOK_PATH}, {"split": SPLIT, "path": f"data/{SPLIT}/*.parquet"}]
    shards = sum(path.stat().st_size for path in (small_folder / "data" / SPLIT).iterdir())
    assert info["download_size"] == look + shards
