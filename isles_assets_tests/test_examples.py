"""The examples, run as a reader would run them against the published dataset."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from isles_assets.dataset import manifest, tables
from isles_assets.dataset.assembling import assemble
from isles_assets.dataset.features import annotated_schema
from isles_assets.dataset.folder import DataFolder
from isles_assets.dataset.manifest import read_manifest
from isles_assets.dataset.preview import preview_state
from isles_assets.dataset.schema import CONFIGS
from isles_assets.dataset.shard import build_shard
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.release.tree import take_inventory
from isles_assets.release.volumes import BY_COLUMN
from isles_assets.release.workbooks import read_clinical_rows
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.materials import volume, write_volume
from isles_assets_tests.processes import REPOSITORY, shown

pytestmark = pytest.mark.slow

REPO = "hugging-science/isles24-stroke"
SUBJECT = "sub-stroke0014"
COLUMNS = ("ncct", "lesion_mask")


@pytest.fixture
def published(built, tree: Path, tmp_path: Path, monkeypatch):
    """A Hub with one subject whose volumes are large enough for reading ahead to show."""
    noise = np.random.default_rng(1)
    for column in ("ncct", "cta", "ctp", "dwi"):
        shape = (128, 128, 160, *((1,) if column == "ctp" else ()))
        write_volume(tree / BY_COLUMN[column].path(SUBJECT), volume(noise.integers(-999, 9999, shape, "i2")))
    folder = DataFolder(tmp_path / "data")
    clinical = tables.clinical_values(tables.clinical_table(read_clinical_rows(tree, [SUBJECT])))
    (row,) = manifest.survey(tree, take_inventory(tree), clinical)
    shutil.copytree(built.folder.previews, folder.previews)
    preview = preview_state(built.folder, read_manifest(built.folder)[SUBJECT]).record
    assert preview
    record = build_shard(tree, folder, row, {config.name: annotated_schema(config) for config in CONFIGS})
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    token = Token("ada", orgs={"hugging-science": "write"})
    with HubServer(tmp_path / "hub", tokens={"hf_writer": token}) as hub:
        publication = assemble(folder, REPO, {SUBJECT: record}, {SUBJECT: preview})
        HuggingFaceHub(REPO, endpoint=hub.endpoint).publish(publication)
        hub.requests.clear()
        yield hub, folder.shard(CONFIGS[0], SUBJECT)


def test_two_volumes_of_a_subject_are_read_and_little_else_travels(published, tmp_path):
    hub, shard = published
    env = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    script = str(REPOSITORY / "examples" / "read_two_volumes.py")
    code, said = shown(sys.executable, script, SUBJECT, *COLUMNS, cwd=tmp_path, env=env)
    assert code == 0, said
    assert said.splitlines()[-2:] == ["ncct (128, 128, 160)", "lesion_mask (48, 56, 12)"]
    group = pq.read_metadata(shard).row_group(0)
    chunks = [group.column(index) for index in range(group.num_columns)]
    wanted = sum(c.total_compressed_size for c in chunks if c.path_in_schema.split(".")[0] in COLUMNS)
    sent = sum(request.bytes_out for request in hub.requests)
    assert wanted < sent <= 1.1 * wanted
