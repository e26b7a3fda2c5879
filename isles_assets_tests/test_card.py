"""The dataset card: its code runs, its numbers are those of the dataset, and it says what readers need to know."""

import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from isles_assets.products.config import CARD
from isles_assets.products.dataset import Dataset
from isles_assets.publication.card import text_of_card
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.publication.summary import summary_by_centre
from isles_assets_tests.isles24 import ISLES24, SHARD, SMALL, VARIABLES

CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)
TABLE = re.compile(r"^\|.*\|\n\| --- .*\|\n", re.MULTILINE)
WIDEST = 84
"""Characters of code that fit in a column of 860 pixels."""


@pytest.fixture(scope="module")
def folder(small_built) -> Path:
    return Path(small_built.setup.target().location)


@pytest.fixture(scope="module")
def card(folder) -> str:
    return str((folder / CARD).read_text())


@pytest.fixture(scope="module")
def publication(small_built) -> Publication:
    return recorded_publication(Dataset.of(SMALL), small_built.folder, SMALL.repo)


def rows_of(card: str, header: str) -> dict[str, list[str]]:
    """The rows of the table with that header, by their first cell."""
    _, _, after = card.partition(f"| {header} |\n")
    lines = after.splitlines()[1:]
    rows = [line.strip("| ").split(" | ") for line in lines[: next(i for i, line in enumerate(lines) if not line)]]
    return {first: others for first, *others in rows}


def test_the_code_on_the_card_runs_and_is_narrow_enough_to_read(card, folder):
    blocks = CODE.findall(card)
    assert len(blocks) == 4
    assert max(len(line) for block in blocks for line in block.splitlines()) <= WIDEST
    names: dict[str, object] = {"pd": pd}
    for block in blocks:
        exec(block.replace(SMALL.repo, str(folder)), names)
    assert names["middle"].ndim == 2 and names["mask"].dtype == bool and names["mask"].any()
    assert names["one"]["subject_id"] == SMALL.subjects[0] and names["one"]["ncct"].shape
    assert list(names["table"]["subject_id"]) == list(SMALL.subjects)
    on_grid, reference = names["on_grid"], names["subject"][SMALL.reference.column]
    assert on_grid.shape == reference.shape and np.allclose(on_grid.affine, reference.affine)


@pytest.mark.long
def test_the_code_for_the_folds_gives_the_folds(built):
    folder = Path(built.setup.target().location)
    table = pd.read_parquet(folder / "preview" / "train.parquet", columns=["subject_id", "center", "lesion_ml", "fold"])
    (code,) = [block for block in CODE.findall((folder / CARD).read_text()) if "fold =" in block]
    names: dict[str, object] = {"pd": pd, "table": table}
    exec(code, names)
    assert dict(names["fold"]) == dict(zip(table["subject_id"], table["fold"], strict=True))


def test_every_table_has_a_header(card):
    assert TABLE.findall(card)
    assert not [table for table in TABLE.findall(card) if re.search(r"\|\s*\|", table.splitlines()[0])]


def test_masks_that_are_whole_numbers_up_to_rounding_only_are_counted(card, small_sample_tree):
    """As nibabel decodes them."""
    masks = [volume for volume in SMALL.volumes if volume.expected_labels]
    affected = {
        subject
        for subject in SMALL.subjects
        for volume in masks
        for values in [nib.load(small_sample_tree / volume.path(subject)).get_fdata()]
        if (values != np.rint(values)).any()
    }
    assert affected
    assert f"In {len(affected)} of 6 subjects ({', '.join(sorted(affected))}) a mask decodes to" in card


def test_missing_values_and_levels_are_those_of_the_table(card, publication):
    rows = rows_of(card, "column | known | values | missing | meaning | in the workbooks")
    assert list(rows) == [f"`{variable.column}`" for variable in VARIABLES]
    for variable in VARIABLES:
        values = [row.clinical[variable.column] for row in publication.manifest.values()]
        known, allowed, missing, _, header = rows[f"`{variable.column}`"]
        assert (known == "**afterwards**") == (variable.known == "outcome")
        assert int(missing) == values.count(None) and header == variable.header
        assert allowed.startswith(variable.allowed)
    assert rows["`tici_postinterventional`"][1] == "0, 1, 2a, 2b, 2c, 3"
    assert rows["`nihss_24h`"][1] == "0 to 42" and rows["`sex`"][1] == "M, F"
    assert rows["`onset_to_door_min`"][1] == "0 to 2880 min"


def test_the_summary_has_a_column_for_each_centre(publication):
    header, rows = summary_by_centre(publication)
    cells = {name: dict(zip(header[1:], values, strict=True)) for name, *values in rows}
    clinical = [row.clinical for row in publication.manifest.values()]
    centres = {f"`center` {values['center']}" if values["center"] else "no `center`" for values in clinical}
    assert set(header) == {"summary", "all", *centres}
    assert cells["subjects"]["all"] == "6"
    ages = sorted(values["age"] for values in clinical)
    assert cells["`age`"]["all"] == f"{np.median(ages):.3g} ({ages[0]:.3g} to {ages[-1]:.3g})"
    ml = [sidecar.facts["lesion_ml"] for sidecar in publication.made["preview"].values()]
    assert cells["final infarct, ml"]["all"] == f"{np.median(ml):.3g} ({min(ml):.3g} to {max(ml):.3g})"


def test_what_readers_need_to_know_stands_on_it(card):
    for sentence in (
        "not in it | the hidden test cases",
        "contact | on the data: its authors",
        "licence | [CC BY-NC-SA 4.0]",
        "15 3rd-A2",
        "## Limits",
        "cast_column(",
        "isles24 export nnunet",
        "viewer/default/look",
        "viewer/preview",
    ):
        assert sentence in card


def test_of_shards_that_were_not_decoded_nothing_is_counted(publication):
    made = {
        subject: replace(sidecar, sources={c: replace(s, voxels=None) for c, s in sidecar.sources.items()})
        for subject, sidecar in publication.made[SHARD.name].items()
    }
    text = text_of_card(replace(publication, made={**publication.made, SHARD.name: made}))
    assert "A mask may decode to values such as" in text


def test_a_release_without_guidance_pictures_and_centres_has_a_card(publication):
    bare = replace(ISLES24.only(SMALL.subjects), guidance=None, centre="")
    text = text_of_card(replace(publication, dataset=Dataset.of(bare)))
    assert "## Limits" not in text and "| made for |" not in text and "| summary | all |" in text
