"""The examples, run as a reader would run them against the published dataset."""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.products.building import build_subject
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import Build, Product
from isles_assets.products.sidecar import Sidecar
from isles_assets.publication.assembling import assemble
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import read_clinical_rows
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample
from isles_assets.tables.clinical import clinical_table, clinical_values
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow, read_manifest, survey
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.isles24 import BY_COLUMN, CONFIGS, ISLES24, PREVIEW, SHARD, SMALL, VARIABLES
from isles_assets_tests.materials import volume, write_volume
from isles_assets_tests.processes import REPOSITORY, python, shown

pytestmark = pytest.mark.slow

REPO = "hugging-science/isles24-stroke"
EXAMPLES = REPOSITORY / "examples"
THREE = ("sub-stroke0014", "sub-stroke0015", "sub-stroke0158")
COLUMNS = ("ncct", "lesion_mask")
SHAPE = (128, 128, 160)
PREVIEW_PATH = "preview/train.parquet"
VOLUMES_OF_SHARD = CONFIGS[0].volumes
SERIES = (64, 64, 16, 40)
FOLDS = (0, 1, 0)
BLOCK = 1 << 16
"""Bytes that most examples fetch at once. So each value outside a footer that is read costs as much."""
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: pip install -e '.[torch]'"
)
needs_monai = pytest.mark.skipif(
    importlib.util.find_spec("monai") is None, reason="MONAI is not installed: pip install -e '.[torch]'"
)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A Hub with three subjects whose NCCT, and what lies behind it, are large enough for reading ahead to show."""
    root = tmp_path_factory.mktemp("published")
    release = ISLES24.only(THREE)
    sample, tree, folder = root / "sample", root / "train", DataFolder(root / "data", release)
    make_sample(release, sample)
    clinical = clinical_values(clinical_table(release, read_clinical_rows(release, sample, THREE)))
    previews = build(PREVIEW, folder, sample, survey_of(release, sample, clinical))
    enlarge(sample, tree)
    manifest = survey_of(release, tree, clinical)
    shards = build(SHARD, folder, tree, manifest)
    publication = assemble(Dataset.of(release), folder, REPO, {PREVIEW.name: previews, SHARD.name: shards}, manifest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_writer")
        with HubServer(root / "hub", tokens={"hf_writer": Token("ada", orgs={"hugging-science": "write"})}) as hub:
            HuggingFaceHub(REPO, publication.dataset, endpoint=hub.endpoint).publish(publication)
            hub.put_commit(REPO, {PREVIEW_PATH: with_folds(hub.content(REPO, PREVIEW_PATH), FOLDS)})
            yield hub, folder


def with_folds(preview: bytes, folds: Sequence[int]) -> bytes:
    """The table `preview` of a part of the release, which has no folds, with these."""
    table, out = pq.read_table(pa.BufferReader(preview)), pa.BufferOutputStream()
    index = table.schema.get_field_index("fold")
    pq.write_table(table.set_column(index, table.schema.field(index), [pa.array(folds, pa.int8())]), out)
    return bytes(out.getvalue())


def series() -> np.ndarray:
    """The stored voxels of every perfusion series."""
    return np.random.default_rng(2).integers(-999, 9999, SERIES, "i2")


def enlarge(sample: Path, tree: Path) -> None:
    """Make of the sample a tree with some larger volumes."""
    noise = np.random.default_rng(1)
    for subject in THREE:
        for column, content in BY_COLUMN.items():
            path = tree / content.path(subject)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(sample / content.path(subject))
            if column in ("ncct", "cta"):
                write_volume(path, volume(noise.integers(-999, 9999, SHAPE, "i2")))
            if column == "ctp":
                write_volume(path, volume(series(), scl_slope=2, scl_inter=1))
        lesion = np.zeros(SHAPE, "u1")
        lesion[30:60, 30:60, 30:60] = 1
        write_volume(tree / BY_COLUMN["lesion_mask"].path(subject), volume(lesion))


def survey_of(release: Release, tree: Path, clinical: Mapping[str, Any]) -> dict[str, ManifestRow]:
    """The manifest of `tree`."""
    return {row.subject: row for row in survey(release, tree, take_inventory(release, tree), clinical)}


def build(product: Product, folder: DataFolder, tree: Path, manifest: Mapping[str, ManifestRow]) -> dict[str, Sidecar]:
    """Make `product` of what is in `tree`."""
    schemas = {config.name: annotated_schema(config) for config in product.configs}
    return {s: build_subject(product, Build(tree, folder, schemas), row) for s, row in manifest.items()}


@pytest.fixture
def on_hub(published, tmp_path):
    """Run an example against the Hub; its output, and the bytes that left the Hub meanwhile."""
    hub, _ = published

    def run(name: str, *arguments: str) -> tuple[list[str], int]:
        before = len(hub.requests)
        environment = hub.environment(tmp_path / "home")
        code, said = shown(sys.executable, str(EXAMPLES / name), *arguments, cwd=tmp_path, env=environment)
        assert code == 0, said
        hub.quiet()
        return said.splitlines(), sum(request.bytes_out for request in hub.requests[before:])

    return run


@pytest.fixture
def location(small_built, monkeypatch, tmp_path):
    """The sample as it is published to the local target."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return small_built.setup.target().location


def chunk_bytes(folder: DataFolder, subjects, columns) -> int:
    """Bytes of the column chunks that hold `columns`."""
    total = 0
    for subject in subjects:
        group = pq.read_metadata(SHARD.path(folder, CONFIGS[0], subject)).row_group(0)
        chunks = [group.column(index) for index in range(group.num_columns)]
        total += sum(c.total_compressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
    return total


def example(location: str, code: str, *arguments: object) -> str:
    """What `code` prints, which can import the examples and has `location` and `arguments` in `sys.argv`."""
    return python(code, location, *arguments, env=os.environ | {"PYTHONPATH": str(EXAMPLES)}).stdout


def test_two_volumes_of_a_subject_are_read_and_little_else_travels(published, on_hub):
    said, sent = on_hub("read_two_volumes.py", THREE[0], *COLUMNS)
    assert said[-2:] == ["ncct (128, 128, 160)", "lesion_mask (128, 128, 160)"]
    wanted = chunk_bytes(published[1], THREE[:1], COLUMNS)
    assert wanted < sent <= 1.1 * wanted


@pytest.mark.long
def test_subjects_are_streamed_and_little_else_than_the_columns_shown_travels(published, on_hub):
    said, sent = on_hub("stream_subjects.py", "--number", "2")
    assert [line.split()[0] for line in said[-2:]] == list(THREE[:2])
    assert said[-1].startswith("sub-stroke0015 (128, 128, 160) (128, 128, 160) NIHSS ")
    wanted = chunk_bytes(published[1], THREE[:2], COLUMNS)
    assert wanted < sent <= 1.1 * wanted


def test_the_first_three_subjects_of_a_folder_are_those_of_the_release(location, small_built):
    code, said = shown(
        sys.executable, str(EXAMPLES / "stream_subjects.py"), "--repo", location, cwd=EXAMPLES, env=os.environ
    )
    assert code == 0, said
    rows = read_manifest(small_built.folder)
    for line, subject in zip(said.splitlines()[-3:], SMALL.subjects, strict=False):
        row = rows[subject]
        shapes = [row.volumes[column].shape for column in COLUMNS]
        assert line == f"{subject} {shapes[0]} {shapes[1]} NIHSS {row.clinical['nihss_admission']}"


@needs_torch
def test_two_workers_feed_torch_and_little_else_than_two_volumes_travels(published, on_hub):
    said, sent = on_hub("torch_dataloader.py", "--size", "128", "--batch", "40", "--workers", "2", "--number", "1000")
    said = [line for line in said if line.startswith("(")]
    assert [line.partition(" sub-")[0] for line in said] == ["(40, 1, 128, 128) torch.float32"] * (3 * 160 // 40)
    assert {line.split()[5] for line in said} == set(THREE)
    wanted = chunk_bytes(published[1], THREE, COLUMNS)
    assert wanted < sent <= 1.1 * wanted


EPOCHS = """
import json, sys
from torch_dataloader import batches
loader = batches(sys.argv[1], size=32, batch=8, workers=2, seed=1)
for epoch in range(2):
    loader.dataset.set_epoch(epoch)
    shapes, seen = set(), []
    for batch in loader:
        shapes.add((*batch["ncct"].shape[1:], *batch["lesion"].shape[1:], str(batch["ncct"].dtype)))
        seen += zip(batch["subject_id"], batch["slice"].tolist())
    print(json.dumps([sorted(shapes), seen]))
"""


@needs_torch
def test_every_slice_of_every_subject_comes_once_an_epoch_with_two_workers(location, small_built):
    slices = [
        [subject, z]
        for subject, row in read_manifest(small_built.folder).items()
        for z in range(row.volumes["ncct"].shape[2])
    ]
    epochs = [json.loads(line) for line in example(location, EPOCHS).splitlines()]
    for shapes, seen in epochs:
        assert shapes == [[1, 32, 32, 1, 32, 32, "torch.float32"]]
        assert sorted(seen) == slices
    assert epochs[0][1] != epochs[1][1]


VALUES = """
import sys
import nibabel as nib
import numpy as np
from torch_dataloader import Slices
for size, path in zip((32, 80), sys.argv[2:]):
    items = list(Slices(sys.argv[1], size))
    np.savez(path, **{name: np.stack([item[name].numpy()[0] for item in items], -1) for name in ("ncct", "lesion")})
"""


@needs_torch
def test_slices_are_in_hounsfield_units_and_masks_are_zero_and_one(small_built, small_sample_tree, tmp_path):
    """Cut and padded; this subject's mask is stored as 0 and 65535 with a slope."""
    subject = "sub-stroke0158"
    shard = tmp_path / "repo" / CONFIGS[0].path(subject)
    shard.parent.mkdir(parents=True)
    shard.symlink_to(SHARD.path(small_built.folder, CONFIGS[0], subject))
    example(str(tmp_path / "repo"), VALUES, tmp_path / "cut.npz", tmp_path / "padded.npz")
    ncct, lesion = (nib.load(small_sample_tree / BY_COLUMN[column].path(subject)).get_fdata() for column in COLUMNS)
    assert 0.9 < lesion.max() < 1
    cut, padded = (dict(np.load(tmp_path / name)) for name in ("cut.npz", "padded.npz"))
    for name, whole, around in (("ncct", ncct, -1024), ("lesion", lesion > 0.5, 0)):
        top, left = (-((32 - length) // 2) for length in whole.shape[:2])
        assert np.array_equal(cut[name], whole[top : top + 32, left : left + 32])
        top, left = ((80 - length) // 2 for length in whole.shape[:2])
        inside = (slice(top, top + whole.shape[0]), slice(left, left + whole.shape[1]))
        assert np.array_equal(padded[name][inside], whole)
        padded[name][inside] = around
        assert (padded[name] == around).all()
    assert cut["lesion"].dtype == np.uint8 and cut["ncct"].dtype == np.float32
    assert cut["lesion"].max() == 1


@pytest.mark.long
def test_the_clinical_table_travels_without_volumes(on_hub):
    said, sent = on_hub("clinical_table.py")
    assert said[-34] == "3 subjects, 33 variables"
    words = {line.split()[0]: line.split()[1:] for line in said[-33:]}
    assert list(words) == [variable.column for variable in VARIABLES]
    assert {column: known for column, (known, *_) in words.items()} == {v.column: v.known.value for v in VARIABLES}
    assert words["glucose_mg_dl"][1] == "mg/dl"
    assert sent < 150_000
    assert not [line for line in on_hub("clinical_table.py", "--known", "admission")[0] if " outcome " in line]


def test_missing_values_of_a_folder_are_counted(location, small_built):
    code, said = shown(
        sys.executable, str(EXAMPLES / "clinical_table.py"), "--repo", location, cwd=EXAMPLES, env=os.environ
    )
    assert code == 0, said
    table = pq.read_table(small_built.folder.clinical)
    missing = {line.split()[0]: int(line.split()[-2]) for line in said.splitlines()[-33:]}
    assert missing == {variable.column: table.column(variable.column).null_count for variable in VARIABLES}


def test_a_lesion_is_drawn_and_little_else_than_two_volumes_travels(published, on_hub, tmp_path):
    said, sent = on_hub("draw_lesion.py", THREE[0], tmp_path / "lesion.png")
    assert said[-1] == str(tmp_path / "lesion.png")
    with Image.open(tmp_path / "lesion.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape == (600, 600, 3)
    ys, xs = np.nonzero((pixels[..., 0] > 200) & (pixels[..., 1:] < 90).all(-1))
    # The mask, voxels 30 to 60 of 128 both ways, grows to the patient's right and to the front.
    assert 0.6 < np.median(xs) / 600 < 0.75
    assert 0.6 < np.median(ys) / 600 < 0.75
    wanted = chunk_bytes(published[1], THREE[:1], COLUMNS)
    assert wanted < sent <= 1.1 * wanted


DRAWN = """
import sys
import nibabel as nib
import numpy as np
from draw_lesion import draw, upright
for axes in ("RAS", "LPS", "LAS"):
    affine = np.diag([{"R": 1, "L": -1}[axes[0]], {"A": 1, "P": -1}[axes[1]], 1, 1])
    plane = np.array([["right" if (x > 0) == (axes[0] == "R") else "left" for y in range(2)] for x in range(2)])
    plane = np.char.add(plane, [" front" if (y > 0) == (axes[1] == "A") else " back" for y in range(2)])
    print(upright(plane, nib.Nifti1Image(np.zeros((2, 2, 1)), affine)).tolist())
for subject in sys.argv[2:]:
    figure = draw(sys.argv[1], subject)
    print(figure.axes[0].get_title(), len(figure.axes[0].collections))
"""


def test_a_slice_is_upright_whatever_its_axes_and_a_lesion_is_measured(location, small_sample_tree):
    """Of one subject the mask is stored with a slope, of the other it is empty."""
    subjects = ("sub-stroke0158", "sub-stroke0141")
    *upright, marked, empty = example(location, DRAWN, *subjects).splitlines()
    assert set(upright) == {"[['right front', 'left front'], ['right back', 'left back']]"}
    mask = nib.load(small_sample_tree / BY_COLUMN["lesion_mask"].path(subjects[0]))
    lesion = mask.get_fdata() > 0.5
    litres = lesion.sum() * np.prod(mask.header.get_zooms()) / 1000
    assert marked == f"{subjects[0]}, slice {lesion.sum((0, 1)).argmax()}, infarct {litres:.1f} ml 1"
    assert empty == f"{subjects[1]}, slice 0, infarct 0.0 ml 0"


@pytest.mark.long
def test_folds_part_the_subjects_and_little_else_than_their_column_travels(published, on_hub):
    said, sent = on_hub("folds.py", "--validate", "1")
    for line, side in zip(said[-2:], (("train: 2", THREE[0]), ("validation: 1", THREE[1])), strict=True):
        shard = pq.read_table(SHARD.path(published[1], CONFIGS[0], side[1]), columns=["nihss_admission"])
        nihss = shard.column(0)[0].as_py()
        assert line == f"{side[0]} subjects, first {side[1]} (128, 128, 160) NIHSS {nihss}"
    assert sent < chunk_bytes(published[1], THREE[:2], ["lesion_mask"]) + 12 * BLOCK


def test_a_part_of_the_release_has_no_folds(location):
    code, said = shown(sys.executable, str(EXAMPLES / "folds.py"), "--repo", location, cwd=EXAMPLES, env=os.environ)
    assert code == 1 and said.splitlines()[-1].endswith("a part of the release has no folds")


@pytest.mark.long
@pytest.mark.parametrize("number", [0, 39])
def test_a_frame_costs_the_series_up_to_it(published, on_hub, number):
    said, sent = on_hub("ctp_frame.py", THREE[0], str(number))
    frame = series()[..., number] * 2.0 + 1
    assert said[-1] == f"ctp {number} (64, 64, 16) mean {frame.mean():.3f}"
    wanted = chunk_bytes(published[1], THREE[:1], ["ctp"]) * (number + 1) / SERIES[-1]
    assert wanted < sent < wanted + 1.2 * 2**20


def test_a_frame_that_is_not_there_is_refused(location):
    code, said = shown(
        sys.executable,
        *(str(EXAMPLES / "ctp_frame.py"), THREE[0], "6", "--column", "ctp_ncct", "--repo", location),
        cwd=EXAMPLES,
        env=os.environ,
    )
    assert (code, said.splitlines()[-1]) == (1, f"{THREE[0]} has the frames 0 to 5")


def test_polars_and_duckdb_ask_the_shards_and_no_volume_travels(published, on_hub):
    folder = published[1]
    said, sent = on_hub("query_shards.py")
    shards = [SHARD.path(folder, CONFIGS[0], subject) for subject in THREE]
    table = pq.ParquetDataset(shards).read(["sex", "nihss_admission"]).to_pandas()
    expected = [
        f"{sex}: {len(rows)} subjects, median NIHSS {rows['nihss_admission'].median()}"
        for sex, rows in table.groupby("sex")
    ]
    at = len(said) - len(VOLUMES_OF_SHARD)
    assert said[at - len(expected) : at] == expected
    sizes = [pq.read_metadata(shard).row_group(0) for shard in shards]
    for line in said[at:]:
        volume, words = line.split()[0], line.replace(",", "").split()[1:]
        numbers = [int(word) for word in words if word.isdigit()]
        chunks = sorted(chunk_of(group, volume).total_compressed_size for group in sizes)
        assert numbers == [3, chunks[1], chunks[2]]
    assert {line.split()[0] for line in said[at:]} == set(VOLUMES_OF_SHARD)
    assert sent < 2 * BLOCK * len(THREE)


@pytest.mark.long
def test_polars_and_duckdb_ask_the_shards_of_a_folder(location, small_built):
    code, said = shown(
        sys.executable, str(EXAMPLES / "query_shards.py"), "--repo", location, cwd=EXAMPLES, env=os.environ
    )
    assert code == 0, said
    lines = said.splitlines()[-len(VOLUMES_OF_SHARD) - 2 :]
    assert [line.split(",")[0] for line in lines[:2]] == ["F: 2 subjects", "M: 4 subjects"]
    assert {tuple(line.split()[:2]) for line in lines[2:]} == {(volume, "6") for volume in VOLUMES_OF_SHARD}


def chunk_of(group, column):
    """The chunk of a volume's bytes."""
    chunks = map(group.column, range(group.num_columns))
    return next(chunk for chunk in chunks if chunk.path_in_schema == f"{column}.bytes")


ALIGNED = """
import nibabel as nib
import numpy as np
from monai.utils import set_determinism
from monai_patches import tensor, transform
set_determinism(0)
lesion = np.zeros((24, 30, 20), np.uint16)
lesion[3:9, 4:20, 5:11] = 65535
def image(voxels, slope):
    made = nib.Nifti1Image(voxels, np.diag([-1, -2, 3, 1]))
    made.header.set_slope_inter(slope, 0)
    return nib.Nifti1Image.from_bytes(made.to_bytes())
volumes = {"image": image(lesion // 65535 * 160, 1), "label": image(lesion, 0.99999857 / 65535)}
patches = transform(16, 20)({name: tensor(volume) for name, volume in volumes.items()})
assert {tuple(patch[name].shape) for patch in patches for name in volumes} == {(1, 16, 16, 16)}
inside, outside = (np.concatenate([p["image"][p["label"] == value].numpy() for p in patches]) for value in (1, 0))
print(len(inside), inside.mean(), outside.mean(), {int(p["label"].sum()) > 0 for p in patches})
"""


@needs_monai
def test_patches_of_image_and_label_are_of_the_same_place(tmp_path):
    """The axes of the volumes point elsewhere, their voxels are oblong, and the mask is stored with a slope."""
    number, inside, outside, *_ = example(str(tmp_path), ALIGNED).split()
    assert int(number) > 1000 and float(inside) > 0.95 and float(outside) < 0.1


@needs_monai
@pytest.mark.long
def test_two_workers_feed_monai_each_subject_once_and_little_else_than_two_volumes_travels(published, on_hub):
    said, sent = on_hub("monai_patches.py", "--size", "32", "--samples", "2", "--batch", "2", "--number", "1000")
    said = [line for line in said if line.startswith("(")]
    assert {line.partition(" sub-")[0] for line in said} == {"(2, 1, 32, 32, 32)"}
    assert sorted(line.split()[5] for line in said) == list(THREE)
    wanted = chunk_bytes(published[1], THREE, COLUMNS)
    assert wanted < sent <= 1.1 * wanted


def test_the_docs_list_every_example():
    page = (REPOSITORY / "docs" / "reading.md").read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f"examples/{path.name}" not in page] == []


LIST_SUBJECTS = """
from isles_assets.hub.streaming import subject_rows
print(*(row["subject_id"] for row in subject_rows("hugging-science/isles24-stroke", "default")))
"""


@pytest.mark.long
def test_the_check_of_what_loads_lists_subjects_without_their_volumes(published, tmp_path):
    hub, folder = published
    before = len(hub.requests)
    said = python(LIST_SUBJECTS, env=hub.environment(tmp_path / "home")).stdout
    hub.quiet()
    assert tuple(said.split()) == THREE
    sent = sum(request.bytes_out for request in hub.requests[before:])
    assert sent < 0.1 * sum(SHARD.path(folder, CONFIGS[0], subject).stat().st_size for subject in THREE)
