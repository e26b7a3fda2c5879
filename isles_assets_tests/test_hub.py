"""The local target and the verification of what is published, through the real `datasets` library."""

import dataclasses
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
from huggingface_hub import DatasetCard

from isles_assets.cli.summary import summarize_dataset
from isles_assets.hub.local import LocalHub
from isles_assets.hub.verification import card_valid, loads, remote_matches_local
from isles_assets.lib.files import status_of
from isles_assets.lib.findings import Materialize, Refusal
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import features
from isles_assets.publication.guard import recorded_publication
from isles_assets.release.clinical import Kind
from isles_assets.release.volumes import Grid
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.isles24 import CONFIGS, ISLES24, SMALL, VARIABLES, VOLUMES, WORKBOOKS
from isles_assets_tests.processes import LONG, URLS
from isles_assets_tests.project import replace
from isles_assets_tests.running import WARM, eventually, forked

pytestmark = pytest.mark.slow
REPO = "hugging-science/isles24-stroke"
DATASET = Dataset.of(SMALL)
FIRST, LAST = SMALL.subjects[0], SMALL.subjects[-1]


@pytest.fixture
def location(small_built):
    return small_built.setup.target().location


@pytest.fixture(scope="module")
def publication(small_built):
    return recorded_publication(DATASET, small_built.folder, REPO)


@pytest.fixture
def hub(tmp_path):
    return LocalHub(tmp_path / "hub", REPO)


@pytest.mark.parametrize("config", DATASET.configs[: len(CONFIGS)], ids=lambda config: config.name)
def test_streaming_gives_every_subject_and_volumes_that_decode(location, config):
    dataset = datasets.load_dataset(location, config.name, split="train", streaming=True)
    assert dataset.features == features(config)
    subjects = []
    for row in dataset:
        subjects.append(row["subject_id"])
        for column in config.volumes:
            assert len(row[column].shape) == SMALL.by_column[column].dimensions
            assert np.asarray(row[column].dataobj[0, 0]).size
    assert tuple(subjects) == SMALL.subjects


def test_loading_without_streaming_gives_all_rows(location, small_sample_tree, tmp_path):
    dataset = datasets.load_dataset(location, split="train", cache_dir=str(tmp_path))
    assert len(dataset) == len(SMALL.subjects)
    assert dataset.features == features(DATASET.configs[0])
    row = dataset[5]
    assert row["subject_id"] == LAST
    assert row["lesion_mask"].shape == row["ncct"].shape
    plain = dataset.cast_column("ncct", datasets.Nifti(decode=False))[5]["ncct"]
    assert plain["bytes"] == (small_sample_tree / VOLUMES[0].path(LAST)).read_bytes()


def test_default_config_needs_no_name_and_columns_can_be_chosen(location):
    dataset = datasets.load_dataset(location, split="train", streaming=True, columns=["subject_id", "lesion_mask"])
    assert set(next(iter(dataset))) == {"subject_id", "lesion_mask"}


def test_one_subject_can_be_read_by_its_name(location):
    path = CONFIGS[0].path("sub-stroke0014")
    dataset = datasets.load_dataset(location, data_files={"train": path}, split="train", streaming=True)
    assert [row["subject_id"] for row in dataset] == ["sub-stroke0014"]


def test_published_clinical_values_are_those_of_the_workbooks(six_or_all):
    """Cell by cell against pandas, which reads the workbooks with code of its own."""
    setup = six_or_all.setup
    location = setup.target().location
    columns = ["subject_id", *(variable.column for variable in VARIABLES)]
    rows = datasets.load_dataset(location, split="train", streaming=True, columns=columns)
    compared = 0
    for row in rows:
        for workbook in WORKBOOKS:
            cells = pd.read_excel(
                setup.tree / workbook.path(row["subject_id"]), keep_default_na=False, na_values=["", "nan"]
            )
            for variable in VARIABLES:
                if variable.workbook == workbook:
                    assert same(variable.kind, cells[variable.header].iloc[0], row[variable.column]), variable
                    compared += 1
    assert compared == len(six_or_all.release.subjects) * 33


def same(kind, cell, value):
    if pd.isna(cell):
        return value is None
    if kind is Kind.MINUTES:
        return pd.to_timedelta(str(cell)) / pd.Timedelta(minutes=1) == value
    return str(cell) == value if kind is Kind.LEVEL else cell == value


def test_summary_says_what_is_there(location):
    text = "\n".join(summarize_dataset(location))
    assert f"default: 6 subjects, {FIRST} to {LAST}" in text
    assert "17 volumes: ncct," in text and "34 other columns" in text
    assert "ctp_ncct: 6 subjects" in text


def test_card_is_complete(location):
    card = DatasetCard.load(Path(location) / "README.md")
    assert card.data.license == "cc-by-nc-sa-4.0"
    assert "synthetic" in card.data.tags
    assert "**SYNTHETIC SAMPLE.**" in card.text[:400]
    for volume in VOLUMES:
        assert f"| `{volume.column}` | {'NCCT' if volume.grid is Grid.COMMON else 'native'} |" in card.text
    for variable in VARIABLES:
        assert f"| `{variable.column}` |" in card.text
    assert ISLES24.record.doi in card.text and all(citation.key in card.text for citation in ISLES24.citations)
    assert f"[isles-assets]({URLS['Repository']}) " in card.text
    front = card.data.to_dict()
    assert [[split["num_examples"] for split in info["splits"]] for info in front["dataset_info"]] == [[6], [6, 6], [6]]
    patterns = {config["config_name"]: [files["path"] for files in config["data_files"]] for config in front["configs"]}
    assert patterns == {
        "default": ["data/look.parquet", "data/train/*.parquet"],
        "ctp_ncct": ["ctp_ncct/train/*.parquet"],
        "preview": ["preview/train.parquet"],
    }


def test_nothing_is_wrong_with_what_was_published(small_built, publication):
    for verify in (remote_matches_local, loads, card_valid):
        assert verify(small_built.setup.target(), publication) == []


def test_publishing_takes_no_disk_and_shards_stay_what_they_are(hub, publication):
    assert hub.publish(publication).changed
    file = publication.files[0]
    assert (hub.folder / file.path).stat().st_ino == file.content.stat().st_ino


def test_publishing_the_same_again_changes_nothing(hub, publication):
    first = hub.publish(publication)
    before = hub.folder.resolve()
    second = hub.publish(publication)
    assert (second.revision, second.changed) == (first.revision, False)
    assert hub.folder.resolve() == before


def test_a_shard_that_is_published_by_link_is_not_read_again_while_it_is_as_noted(hub, publication):
    hub.publish(publication)
    file, other = publication.files[:2]
    noted = dataclasses.replace(file, sha256="0" * 64, noted=status_of(file.content))
    known = dataclasses.replace(publication, files=(noted, dataclasses.replace(other, content=file.content)))
    stored = hub.stored(known)
    assert stored[file.path].sha256 == noted.sha256
    assert stored[other.path].sha256 == other.sha256
    file.content.chmod(file.content.stat().st_mode)
    assert hub.stored(known)[file.path].sha256 == file.sha256


def test_a_new_publication_replaces_the_old_as_a_whole(hub, publication, tmp_path):
    old = dataclasses.replace(publication, files=publication.files[:3])
    hub.publish(old)
    assert len(hub.stored()) == 3
    new = hub.publish(publication)
    assert new.changed
    assert remote_matches_local(hub, publication) == []
    kept = {path.name for path in (tmp_path / "hub" / "hugging-science" / ".isles24-stroke").iterdir()}
    assert kept == {old.digest[:40], new.revision}


def test_a_failed_publication_leaves_the_old_one(hub, publication):
    hub.publish(publication)
    before = hub.folder.resolve()
    nowhere = type(publication.files[0])("data/x.parquet", Path("/nowhere/x"), 1, "0")
    missing = dataclasses.replace(publication, files=(*publication.files, nowhere))
    with pytest.raises(OSError, match="nowhere"):
        hub.publish(missing)
    assert hub.folder.resolve() == before
    assert remote_matches_local(hub, publication) == []
    assert len(list(before.parent.iterdir())) == 1


def test_a_folder_of_somebody_else_is_not_touched(hub, publication):
    hub.folder.mkdir(parents=True)
    (hub.folder / "mine.txt").write_text("mine")
    with pytest.raises(Refusal, match="somebody else's"):
        hub.publish(publication)
    assert (hub.folder / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("repo", ["", "isles24", "../up", "a/b/c", "a/..", "owner/na me"])
def test_a_repo_id_that_is_none_is_refused(tmp_path, repo):
    with pytest.raises(Refusal, match="ISLES_HUB_REPO"):
        LocalHub(tmp_path, repo)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: replace(path, path.read_bytes()[:-1]), "bytes instead of"),
        (lambda path: replace(path, path.read_bytes()[:-1] + b"?"), "has other bytes than the local one"),
        (lambda path: path.unlink(), "is not published"),
        (lambda path: replace(path.with_name("extra.parquet"), b"x"), "is published but not of this dataset"),
    ],
)
def test_remote_matches_local_names_every_difference_and_publishing_again_mends_it(hub, publication, spoil, problem):
    revision = hub.publish(publication).revision
    for _ in range(2):
        spoil(hub.folder / CONFIGS[1].path(SMALL.subjects[2]))
        (finding,) = remote_matches_local(hub, publication)
        assert problem in finding.problem and finding.mend == Materialize(("hub_dataset",))
        mended = hub.publish(publication)
        assert (mended.revision, mended.changed) == (revision, True)
        assert remote_matches_local(hub, publication) == []
    assert not hub.publish(publication).changed


def test_loads_notices_a_missing_subject_and_a_broken_shard(hub, publication):
    hub.publish(publication)
    (hub.folder / CONFIGS[1].path(SMALL.subjects[2])).unlink()
    (finding,) = loads(hub, publication)
    assert "has 5 rows instead of 6" in finding.problem
    replace(hub.folder / CONFIGS[0].path(FIRST), b"PAR1 no shard")
    assert any("does not load" in finding.problem for finding in loads(hub, publication))


def test_card_valid_notices_counts_and_patterns_that_are_not_true(hub, publication):
    hub.publish(publication)
    card = hub.card()
    replace(hub.folder / "README.md", card.replace("num_examples: 6", "num_examples: 7").encode())
    assert len(card_valid(hub, publication)) == 3
    replace(hub.folder / "README.md", card.replace("path: data/train/*", "path: data/train-*").encode())
    assert len(card_valid(hub, publication)) == 1
    replace(hub.folder / "README.md", b"# no front matter\n")
    assert card_valid(hub, publication)
    (hub.folder / "README.md").unlink()
    assert "holds no card" in str(card_valid(hub, publication)[0])


def test_a_reader_always_finds_a_dataset_while_others_replace_it(hub, publication):
    other = dataclasses.replace(publication, files=publication.files[:9])
    hub.publish(publication)
    done, absent = threading.Event(), []

    def read():
        while not done.is_set():
            if not hub.folder.exists():
                absent.append(time.monotonic())

    reader = threading.Thread(target=read)
    reader.start()
    for new in [other, publication] * 5:
        hub.publish(new)
    done.set()
    reader.join()
    assert absent == []


def publish_two_in_turn(data: Path, root: Path, ready: Any) -> None:
    publication = recorded_publication(DATASET, DataFolder(data, SMALL), REPO)
    ready.set()
    while True:
        hub = LocalHub(root, REPO)
        hub.publish(dataclasses.replace(publication, files=publication.files[:9]))
        hub.publish(publication)


@pytest.mark.parametrize("moments", [(1, 4), pytest.param(range(10), marks=pytest.mark.long)], ids=["two", "ten"])
def test_killed_at_any_moment_the_folder_is_one_publication_or_the_other(small_built, hub, publication, moments):
    """kill -9 at some moments of publishing two datasets in turn."""
    known = {}
    for files in (publication.files, publication.files[:9]):
        one = dataclasses.replace(publication, files=files)
        known[one.digest[:40]] = len(files)
    for moment in moments:
        ready = WARM.Event()
        with forked(publish_two_in_turn, small_built.folder.root, hub.root, ready) as process:
            assert ready.wait(LONG)
            eventually(hub.folder.exists)
            time.sleep(0.007 * moment)
            assert process.is_alive()
        assert len([p for p in hub.folder.rglob("*.*") if p.is_file()]) == known[hub.folder.resolve().name]
    hub.publish(publication)
    assert remote_matches_local(hub, publication) == []
    assert hashlib.sha256((hub.folder / "README.md").read_bytes()).hexdigest() == publication.files[-1].sha256
