"""The published dataset, read by the lowest version of `datasets` that the card names, where this package is not."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pyarrow.parquet as pq
import pytest

from isles_assets.publication.card import LOWEST_DATASETS
from isles_assets_tests.isles24 import BY_COLUMN, CONFIGS, SMALL

pytestmark = [pytest.mark.slow, pytest.mark.long]

READER = "READER"
"""Names a Python that has that version; without it the test makes an environment of its own."""

READ = """
import hashlib, importlib.util, json, os, sys
import datasets
from datasets import get_dataset_split_names, load_dataset

repo, shard = sys.argv[1:]
said = {"version": datasets.__version__, "here": importlib.util.find_spec("isles_assets") is not None}
said["splits"] = {config: get_dataset_split_names(repo, config) for config in datasets.get_dataset_config_names(repo)}

rows = load_dataset(repo, split="train", streaming=True, columns=["subject_id", "ncct", "lesion_mask"])
row = next(iter(rows))
said["columns"], said["subject"], said["shape"] = list(row), row["subject_id"], row["ncct"].shape
said["slice"] = row["ncct"].dataobj[..., 1].shape
said["marked"] = int((row["lesion_mask"].get_fdata(dtype="float32") > 0.5).sum())
said["sha256"] = hashlib.sha256(next(iter(rows.decode(False)))["ncct"]["bytes"]).hexdigest()

preview = load_dataset(repo, "preview", split="train")
said["preview"] = len(preview), preview.features["fold"].dtype, preview[0]["subject_id"]

look = list(load_dataset(repo, split="look", streaming=True))
said["look"] = len(look), [row["subject_id"] for row in look if row["montage"].size < (100, 100) or row["ncct"]]

# Without `streaming` it fails: this version misses the split `look`, of which no file was named.
(one,) = load_dataset(repo, data_files={"train": shard}, split="train", streaming=True)
said["one"] = one["subject_id"], one["montage"], one["ncct"].shape, len(one)
print(json.dumps(said), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A Python with that version, in an environment as the card says to make one, and Pillow for the pictures."""
    if python := os.environ.get(READER):
        return python
    folder = tmp_path_factory.mktemp("reader")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", f"datasets=={LOWEST_DATASETS}", "nibabel", "pillow"]
    made = subprocess.run(list(map(str, install)), capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"datasets {LOWEST_DATASETS} cannot be installed: {made.stderr.strip()[-200:]}")
    return str(python)


def test_the_lowest_datasets_reads_all_that_is_published(reader, small_built, small_sample_tree, tmp_path):
    location, subject = small_built.setup.target().location, SMALL.subjects[0]
    shard = CONFIGS[0].path(subject)
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": os.environ["PATH"]}
    command = [reader, "-c", READ, location, shard]
    read = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    said = json.loads(read.stdout.splitlines()[-1])
    assert (said["version"], said["here"]) == (LOWEST_DATASETS, False)
    assert said["splits"] == {"default": ["look", "train"], "ctp_ncct": ["train"], "preview": ["train"]}
    ncct, mask = (small_sample_tree / BY_COLUMN[column].path(subject) for column in ("ncct", "lesion_mask"))
    shape = list(nib.load(ncct).shape)
    assert (said["columns"], said["subject"]) == (["subject_id", "ncct", "lesion_mask"], subject)
    assert (said["shape"], said["slice"]) == (shape, shape[:2])
    assert said["marked"] == int((nib.load(mask).get_fdata() > 0.5).sum()) > 0
    assert said["sha256"] == hashlib.sha256(ncct.read_bytes()).hexdigest()
    assert said["preview"] == [len(SMALL.subjects), "int8", subject]
    assert said["look"] == [len(SMALL.subjects), []]
    columns = pq.read_schema(Path(location) / shard).names
    assert said["one"] == [subject, None, shape, len(columns) + 1], "the column of the pictures is added"
