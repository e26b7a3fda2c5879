"""`clinical_frame` gives the release's values with their types, wherever a dataset is, and no volume travels."""

import csv
import io
import os
import shutil
from pathlib import Path

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isles_assets import clinical_frame
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.lib.findings import Refusal
from isles_assets.products.config import COLUMNS
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.release.clinical import Known
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.isles24 import ISLES24, SMALL, VARIABLES
from isles_assets_tests.processes import python
from isles_assets_tests.toy import TOY

ADMISSION = [variable.column for variable in VARIABLES if variable.known is Known.ADMISSION]
OUTCOMES = [variable.column for variable in VARIABLES if variable.known is Known.OUTCOME]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """What `load_dataset` writes besides."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(small_built) -> str:
    return str(small_built.setup.target().location)


@pytest.fixture
def values(small_built) -> pa.Table:
    """The clinical table as it was read from the workbooks."""
    return pq.read_table(small_built.folder.clinical)


def assert_is(frame: pd.DataFrame, values: pa.Table, columns: list[str] | None = None) -> None:
    assert frame.index.name == "subject_id"
    back = pa.Table.from_pandas(frame.reset_index(), preserve_index=False).replace_schema_metadata(None)
    expected = values.select(["subject_id", *(columns or values.schema.names[1:])]).replace_schema_metadata(None)
    assert back.equals(expected)
    assert all(isinstance(dtype, pd.ArrowDtype | pd.StringDtype) for dtype in frame.dtypes)


def test_a_folder_gives_the_values_of_the_release(folder, values):
    frame = clinical_frame(Path(folder))
    assert_is(frame, values)
    assert str(frame.dtypes["mrs_3month"]) == "int16[pyarrow]", "whole numbers with nulls stay whole"
    assert frame.isna().any().any()


def test_units_meanings_and_outcomes_come_with_it(folder):
    frame = clinical_frame(folder)
    assert frame.attrs["unit"]["glucose_mg_dl"] == "mg/dl" and frame.attrs["unit"]["age"] == "years"
    assert frame.attrs["unit"]["door_to_groin_min"] == "min" and frame.attrs["unit"]["sex"] == ""
    assert frame.attrs["description"] == {variable.column: variable.description for variable in VARIABLES}
    assert frame.attrs["known"] == {variable.column: variable.known.value for variable in VARIABLES}


def test_only_what_is_known_at_admission_may_serve_as_input(folder, values):
    frame = clinical_frame(folder, known="admission")
    assert_is(frame, values, ADMISSION)
    assert list(frame.attrs["known"]) == ADMISSION and {*frame.attrs["known"].values()} == {"admission"}
    assert_is(clinical_frame(folder, known=Known.OUTCOME), values, OUTCOMES)
    assert {*ADMISSION} & {"mrs_3month", "door_to_groin_min", "tici_postinterventional"} == set()


@pytest.mark.parametrize("word", ["admision", "", "Admission", True, "baseline"])
def test_another_word_is_refused(folder, word):
    with pytest.raises(Refusal, match=r'known: is .*, which is no time -> say one of "admission", "outcome", or leave'):
        clinical_frame(folder, known=word)


@pytest.mark.parametrize("streaming", [False, True], ids=["loaded", "streamed"])
@pytest.mark.parametrize("config", ["default", "preview"])
def test_a_loaded_dataset_gives_the_same(folder, values, config, streaming):
    loaded = datasets.load_dataset(folder, config, streaming=streaming)
    for given in (loaded, loaded["train"]):
        frame = clinical_frame(given, known="admission")
        assert_is(frame, values, ADMISSION)
        assert frame.attrs == clinical_frame(folder, known="admission").attrs


def test_rows_and_columns_that_were_chosen_before_stay_chosen(folder, values):
    loaded = datasets.load_dataset(folder, "preview", split="train")
    assert list(clinical_frame(loaded.select([2, 0])).index) == [SMALL.subjects[2], SMALL.subjects[0]]
    some = datasets.load_dataset(folder, split="train", streaming=True, columns=["subject_id", "age", "sex"])
    assert_is(clinical_frame(some.take(2)), values.slice(0, 2), ["sex", "age"])
    assert_is(clinical_frame(values.to_pylist()), values)
    assert_is(clinical_frame(row for row in values.to_pylist()), values)


def test_a_stream_whose_volumes_would_travel_is_refused(folder):
    rows = datasets.load_dataset(folder, split="train", streaming=True).take(2)
    with pytest.raises(Refusal, match="is streamed with its volumes, which would all travel -> give the repo id"):
        clinical_frame(rows)


FROM_HUB = """
import os, sys
import datasets, pyarrow as pa, pyarrow.parquet as pq
from isles_assets import clinical_frame
how, repo, revision, path = sys.argv[1:]
if how == "by id":
    frame = clinical_frame(repo, revision=revision or None)
else:
    frame = clinical_frame(datasets.load_dataset(repo, split="train", streaming=True, revision=revision))
pq.write_table(pa.Table.from_pandas(frame.reset_index(), preserve_index=False), path)
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.slow
def test_from_the_hub_no_volume_travels(small_built, tmp_path, monkeypatch, values):
    publication = recorded_publication(Dataset.of(SMALL), small_built.folder, SMALL.repo)
    monkeypatch.setenv("HF_TOKEN", "hf_w")
    with HubServer(tmp_path / "hub", tokens={"hf_w": Token("ada", orgs={"hugging-science": "write"})}) as hub:
        tag = HuggingFaceHub(SMALL.repo, publication.dataset, endpoint=hub.endpoint).publish(publication).tag
        for how, revision, most in (("by id", "", 150_000), ("by id", tag, 150_000), ("streamed", tag, 1_000_000)):
            before = len(hub.requests)
            path = tmp_path / "frame.parquet"
            python(FROM_HUB, how, SMALL.repo, revision, path, env=hub.environment(tmp_path / "home"))
            hub.quiet()
            assert pq.read_table(path).replace_schema_metadata(None).equals(values.replace_schema_metadata(None))
            sent = [(request.path[-60:], request.bytes_out) for request in hub.requests[before:]]
            assert sum(size for _, size in sent) < most


@pytest.fixture
def changed(folder, tmp_path):
    """A copy of the published folder, to change."""
    return Path(shutil.copytree(folder, tmp_path / "changed", copy_function=os.link))


def write(folder: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    (folder / COLUMNS).unlink(missing_ok=True)
    (folder / COLUMNS).write_text(text.getvalue(), newline="")


def test_an_older_dataset_is_described_by_the_release(changed, values):
    (changed / COLUMNS).unlink()
    frame = clinical_frame(changed, known="admission")
    assert_is(frame, values, ADMISSION)
    assert frame.attrs == {name: {c: v for c, v in of.items() if c in ADMISSION} for name, of in frame.attrs.items()}
    assert frame.attrs["unit"]["age"] == "years"


def test_the_dataset_itself_says_what_is_an_outcome(changed):
    rows = list(csv.DictReader((changed / COLUMNS).open(newline="")))
    for row in rows:
        if row["column"] == "age":
            row |= {"known": "outcome", "description": '\'=a, "b"\nc ✓'}
    write(changed, [row for row in rows if row["column"] != "sex"])
    frame = clinical_frame(changed)
    assert "age" not in clinical_frame(changed, known="admission")
    assert frame.attrs["description"]["age"] == '=a, "b"\nc ✓'
    assert "sex" not in frame, "a column of which nothing is said is no input"


def test_a_column_that_is_described_and_not_there_is_left_out(changed):
    rows = list(csv.DictReader((changed / COLUMNS).open(newline="")))
    write(changed, [*rows, rows[-1] | {"config": "default", "column": "planned", "type": "int16"}])
    frame = clinical_frame(changed)
    assert "planned" not in frame and "planned" not in frame.attrs["known"]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", 'config,column,type,known\ndefault,"age', "\xff"])
def test_a_damaged_description_is_named(changed, content):
    (changed / COLUMNS).unlink()
    (changed / COLUMNS).write_bytes(content.encode("latin-1"))
    with pytest.raises(Refusal, match=r"metadata/columns.csv: is not a table of columns"):
        clinical_frame(changed)


def test_a_damaged_table_is_named(changed):
    path = changed / "preview" / "train.parquet"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:1000])
    with pytest.raises(Refusal, match=r"preview/train.parquet: is no table that can be read: "):
        clinical_frame(changed)


@pytest.mark.parametrize("streaming", [False, True])
def test_another_release_goes_through(toy_built, streaming):
    location = toy_built.setup.target().location
    values = pq.read_table(toy_built.folder.clinical)
    assert_is(clinical_frame(location, release=TOY), values)
    assert_is(clinical_frame(location, known="admission", release=TOY), values, ["age", "hand"])
    loaded = datasets.load_dataset(location, streaming=streaming)
    assert_is(clinical_frame(loaded, known="outcome", release=TOY), values, ["score"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no/such/place/here", "is neither a folder nor the id of a repo"),
        ([], "has no row"),
        ([{"age": 1.0}], "has no column subject_id"),
        ([{"subject_id": "a"}], "has no clinical variables"),
        ([{"subject_id": "a", "age": "old"}], "has a value of another type than the release's"),
        ([{"subject_id": "a", "age": 1.0}, {"subject_id": "a", "age": 2.0}], "stands twice in the dataset: a"),
        ([1, 2], "has rows that are no dicts"),
        (7, "is a int, which has no rows"),
        ({"look": []}, "has no split train, only look"),
    ],
)
def test_what_is_no_dataset_is_refused_in_words(given, words):
    with pytest.raises(Refusal, match=words):
        clinical_frame(given)


def test_the_split_of_the_release_is_read_and_not_the_look(folder, values):
    loaded = datasets.load_dataset(folder, "preview")
    both = datasets.DatasetDict({"look": loaded["train"].select([0]), "train": loaded["train"]})
    assert_is(clinical_frame(both), values)


def test_a_missing_variable_is_missing():
    frame = clinical_frame([{"subject_id": "a", "age": None, "sex": ""}, {"subject_id": "b", "age": 3.5}])
    assert frame["age"].isna().tolist() == [True, False]
    assert frame["sex"].tolist()[0] == "" and frame["sex"].isna().tolist() == [False, True]
    assert ISLES24.variables[1].column == "sex"
