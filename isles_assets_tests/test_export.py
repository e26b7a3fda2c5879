"""Exports for nnU-Net and as BIDS: whole or not at all, of the release's bytes, and accepted by their real readers."""

import codecs
import csv
import errno
import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from math import inf, nan
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isles_assets.cli.export import main
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.lib.files import sha256_of
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.published import linking
from isles_assets.published.linking import How, link
from isles_assets.release.release import Release
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.isles24 import BY_COLUMN, SMALL
from isles_assets_tests.materials import image_of, volume, write_volume
from isles_assets_tests.processes import as_nobody, on_small_disk, python, reachable_folder, runner
from isles_assets_tests.project import part_of, replace
from isles_assets_tests.running import WARM, eventually
from isles_assets_tests.toy import MASK, T1, TOY

SUBJECTS = SMALL.subjects
NAME = "Dataset024_ISLES24"
CASE, OTHER = TOY.subjects[:2]
SHAPE = (5, 4, 3)
OBLIQUE = np.array([[0.4, 0.1, 0, -80], [-0.1, 0.4, 0, 30.5], [0, 0, 5, -1100.25], [0, 0, 0, 1]])
DEFAULT_CHANNELS = ("ncct", "cbf", "cbv", "mtt", "tmax", "cta_ncct")
WITHOUT_NNUNET = pytest.mark.skipif(
    importlib.util.find_spec("nnunetv2") is None, reason="nnunetv2 is not installed: EXTRAS=dev,nnunet"
)


@pytest.fixture
def export(caplog):
    return runner(main, caplog, TOY)


@pytest.fixture
def tree(tmp_path):
    """A tree of the toy release with two cases, in a folder with a space in its name."""
    root = tmp_path / "a tree"
    for number, subject in enumerate((CASE, OTHER)):
        write(root, T1, subject, np.arange(60, dtype=np.int16).reshape(SHAPE) + number)
        write(root, MASK, subject, lesion(np.float64))
    return root


def lesion(dtype: Any) -> np.ndarray:
    voxels = np.zeros(SHAPE, dtype)
    voxels[1:3, 1, 1] = 1
    return voxels


def write(root: Path, of: Any, subject: str, voxels: Any, affine: Any = OBLIQUE, **fields: Any) -> Path:
    return write_volume(root / of.path(subject), volume(voxels, affine, **fields))


def digests(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in folder.rglob("*") if p.is_file()}


def image(out: Path, number: int = 0, case: str = CASE) -> Path:
    return out / "imagesTr" / f"{case}_{number:04d}.nii.gz"


def label(out: Path, case: str = CASE) -> nib.Nifti1Image:
    return image_of(out / "labelsTr" / f"{case}.nii.gz")


def report(out: Path) -> list[dict[str, str]]:
    with (out / "export_report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def dataset_json(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return content


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob("*.tmp"))


# For nnU-Net: six subjects of ISLES'24


def test_six_subjects_become_a_dataset_of_nnunet(small_sample_tree, tmp_path, export):
    before = digests(small_sample_tree)
    code, said = export("nnunet", small_sample_tree, tmp_path, release=SMALL)
    assert code == 0, said
    out = tmp_path / NAME
    content = dataset_json(out)
    assert content["channel_names"] == {"0": "CT", "1": "cbf", "2": "cbv", "3": "mtt", "4": "tmax", "5": "CT"}
    assert content["columns"] == list(DEFAULT_CHANNELS)
    assert content["labels"] == {"background": 0, "lesion": 1}
    assert (content["numTraining"], content["file_ending"]) == (6, ".nii.gz")
    assert "CC BY-NC-SA 4.0" in content["licence"] and "17652035" in content["reference"]
    assert content["release"] == "v7" and content["description"].startswith("SYNTHETIC SAMPLE")
    assert {path.name for path in (out / "imagesTr").iterdir()} == {
        f"{subject}_{number:04d}.nii.gz" for subject in SUBJECTS for number in range(6)
    }
    changed = {row["file"] for row in report(out)}
    for subject in SUBJECTS:
        for number, column in enumerate(DEFAULT_CHANNELS):
            source, path = small_sample_tree / BY_COLUMN[column].path(subject), image(out, number, subject)
            name = path.relative_to(out).as_posix()
            assert (sha256_of(path) == sha256_of(source)) == path.samefile(source) == (name not in changed)
            assert (image_of(path).get_fdata() == np.nan_to_num(image_of(source).get_fdata(), posinf=0)).all()
            assert np.allclose(image_of(path).affine, image_of(image(out, 0, subject)).affine)
        mask, drawn = label(out, subject), image_of(small_sample_tree / BY_COLUMN["lesion_mask"].path(subject))
        assert mask.get_data_dtype() == np.uint8
        assert (np.asarray(mask.dataobj.get_unscaled()) == np.asarray(mask.dataobj)).all()
        assert (np.asarray(mask.dataobj) == (drawn.get_fdata() > 0.5)).all()
        assert (mask.affine == image_of(image(out, 0, subject)).affine).all()
    assert "sub-stroke0001 mtt: voxels replaced: 2 voxels NaN or infinite, now 0" in said
    assert "sub-stroke0141 lesion_mask: label is empty" in said
    assert f"{sum(row['change'] == 'grid made equal' for row in report(out))} images differ from the grid" in said
    assert "No splits_final.json: a restored tree has no folds" in said
    assert digests(small_sample_tree) == before


@pytest.mark.slow
def test_published_volumes_are_restored_once_and_linked(small_built, small_sample_tree, tmp_path, export):
    published, out = small_built.setup.target().location, tmp_path / "raw" / NAME
    arguments = (published, tmp_path / "raw", "--channels", "ncct", "cta_ncct", "--subject", *SUBJECTS[:2])
    code, said = export("nnunet", *arguments, release=SMALL)
    assert code == 0, said
    restored = tmp_path / "raw" / "isles24-v7"
    columns = ("ncct", "cta_ncct", "lesion_mask")
    assert digests(restored) == {
        BY_COLUMN[column].path(subject): sha256_of(small_sample_tree / BY_COLUMN[column].path(subject))
        for subject in SUBJECTS[:2]
        for column in columns
    }
    assert image(out, 1, SUBJECTS[0]).samefile(restored / BY_COLUMN["cta_ncct"].path(SUBJECTS[0]))
    code, said = export("nnunet", *arguments, "--id", 31, release=SMALL)
    assert code == 0 and "0 restored to" in said and "6 there already and kept" in said
    assert dataset_json(tmp_path / "raw" / "Dataset031_ISLES24")["numTraining"] == 2


@pytest.fixture
def with_folds(small_built, tmp_path):
    """A published folder whose previews have the column `fold`; a function that makes it with some folds."""

    def make(folds: list[int | None]) -> Path:
        folder: Path = tmp_path / "published"
        shutil.copytree(Path(small_built.setup.target().location).resolve(), folder, symlinks=False)
        path = folder / "preview" / "train.parquet"
        table = pq.read_table(path)
        path.unlink()
        pq.write_table(table.append_column("fold", pa.array(folds, pa.int8())), path)
        return folder

    return make


@pytest.mark.slow
def test_splits_are_the_published_folds(with_folds, small_sample_tree, tmp_path, export):
    published = with_folds([0, 1, 2, 3, 4, 0])
    options = ("--channels", "ncct")
    assert export("nnunet", published, tmp_path / "a", *options, release=SMALL)[0] == 0
    code, said = export("nnunet", small_sample_tree, tmp_path / "b", *options, "--tables", published, release=SMALL)
    assert code == 0 and "splits_final.json holds the published folds. Copy it to $nnUNet_preprocessed/" in said
    splits = json.loads((tmp_path / "a" / NAME / "splits_final.json").read_text())
    assert [fold["val"] for fold in splits] == [
        [SUBJECTS[0], SUBJECTS[5]],
        *([subject] for subject in SUBJECTS[1:5]),
    ]
    assert all(sorted(fold["train"] + fold["val"]) == list(SUBJECTS) for fold in splits)
    assert json.loads((tmp_path / "b" / NAME / "splits_final.json").read_text()) == splits
    code, said = export("nnunet", published, tmp_path / "c", *options, "--subject", *SUBJECTS[1:5], release=SMALL)
    assert code == 0 and "No splits_final.json: the chosen subjects leave fold 0 without a case" in said
    assert not (tmp_path / "c" / NAME / "splits_final.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("folds", [[None] * 6, None], ids=["null", "none"])
def test_a_dataset_without_folds_gives_no_splits_and_says_so(with_folds, small_built, tmp_path, export, folds):
    published = with_folds(folds) if folds else small_built.setup.target().location
    code, said = export("nnunet", published, tmp_path / "out", "--channels", "ncct", release=SMALL)
    assert code == 0 and "No splits_final.json: the dataset " in said
    assert not (tmp_path / "out" / NAME / "splits_final.json").exists()


@pytest.mark.slow
def test_from_the_hub_only_the_needed_columns_travel(small_built, tmp_path, monkeypatch, export):
    repo, subject = "hugging-science/isles24-stroke", SUBJECTS[3]
    whole = recorded_publication(Dataset.of(SMALL), small_built.folder, repo)
    monkeypatch.setenv("HF_TOKEN", "hf_Secret")
    tokens = {"hf_Secret": Token("ada", orgs={"hugging-science": "write"})}
    with HubServer(tmp_path / "hub", tokens=tokens) as server:
        one = part_of(whole, small_built.folder, tmp_path / "one", [subject])
        HuggingFaceHub(repo, one.dataset, endpoint=server.endpoint).publish(one)
        server.requests.clear()
        with server.clients(tmp_path / "home"):
            code, said = export("nnunet", repo, tmp_path / "out", "--channels", "dwi", release=SMALL)
    assert code == 0, said
    assert "NOT KNOWN AT ADMISSION: dwi" in said
    files = digests(tmp_path / "out" / "isles24-v7")
    assert set(files) == {BY_COLUMN[column].path(subject) for column in ("dwi", "lesion_mask")}
    size = sum((tmp_path / "out" / "isles24-v7" / path).stat().st_size for path in files)
    sent = {
        name: sum(r.bytes_out for r in server.requests if name in r.path) for name in ("/data/", "/preview/", "ctp")
    }
    assert sent["/data/"] < size + 16_000 and sent["/preview/"] < 150_000 and not sent["ctp"]


def test_a_label_mask_is_numbered_without_gaps(small_tree, tmp_path, export):
    subject, path = SUBJECTS[1], small_tree / BY_COLUMN["cow_mask"].path(SUBJECTS[1])
    stored = image_of(path)
    voxels = np.zeros(stored.shape, np.uint8)
    voxels[0, 0, :3], voxels[1, 0, 0] = (1, 12, 15), 2
    write_volume(path, volume(voxels, stored.affine))
    arguments = (small_tree, tmp_path / "out", "--target", "cow_mask", "--channels", "ncct", "--subject", subject)
    code, said = export("nnunet", *arguments, release=SMALL)
    assert code == 0, said
    out = tmp_path / "out" / NAME
    assert list(dataset_json(out)["labels"].values()) == list(range(14))
    assert dataset_json(out)["labels"]["cow 15"] == 13
    assert [int(label(out, subject).dataobj[0, 0, z]) for z in range(3)] == [1, 12, 13]
    voxels[0, 0, 0] = 14
    write_volume(path, volume(voxels, stored.affine))
    code, said = export("nnunet", *arguments, "--overwrite", release=SMALL)
    assert code == 1 and "cow_mask has unexpected labels 14" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--channels", "ctp_ncct"), "ctp_ncct: is a series of frames"),
        (
            ("--channels", "cta"),
            "cta: is on a grid of its own, not registered to the NCCT -> choose",
        ),
        (("--channels", "lvo_mask"), "lvo_mask: is a mask, and no image"),
        (("--channels", "ncct", "ncct"), "ncct ncct: are not all different"),
        (("--channels", "flair"), "flair: is no volume of the release"),
        (("--target", "dwi"), "dwi: is no mask of the release -> choose the target among lesion_mask, lvo_mask"),
        (("--subject", "sub-9"), "sub-9: is no subject of the release"),
        (("--tree", "x"), "is a restored tree -> leave --revision and --tree out"),
    ],
)
def test_what_nnunet_cannot_use_is_refused_by_name(small_sample_tree, tmp_path, export, arguments, words):
    code, said = export("nnunet", small_sample_tree, tmp_path / "out", *arguments, release=SMALL)
    assert code == 1 and words in said
    assert not (tmp_path / "out").exists()


# Volumes that are not as they should be


def exported(export, tree, tmp_path, *options) -> tuple[Path, str]:
    """Export the tree, which must succeed and leave the tree as it is."""
    before = digests(tree)
    code, said = export("nnunet", tree, tmp_path / "raw data" / "Dataset007_Toy", *options)
    assert code == 0, said
    assert digests(tree) == before and not leftovers(tmp_path)
    return tmp_path / "raw data" / "Dataset007_Toy", said


MASKS: Mapping[str, Any] = {
    "float32 just below 1": lesion(np.float32) * np.float32(0.99999857),
    "integers": lesion(np.uint8),
    "big-endian": lesion(">f4"),
    "bool-like 255": lesion(np.int16) * 255,
    "one axis more": lesion(np.float32)[..., None],
}


@pytest.mark.parametrize("voxels", MASKS.values(), ids=MASKS)
def test_a_label_is_what_is_above_one_half(tree, tmp_path, export, voxels):
    write(tree, MASK, CASE, voxels, endianness=">" if voxels.dtype.byteorder == ">" else "<")
    out, _ = exported(export, tree, tmp_path)
    mask = label(out)
    assert mask.get_data_dtype() == np.uint8 and mask.shape == SHAPE
    assert (np.asarray(mask.dataobj) == lesion(np.uint8)).all()
    assert (mask.affine == image_of(image(out)).affine).all()
    assert not (out / "labelsTr" / f"{CASE}.nii.gz").samefile(tree / MASK.path(CASE))


def test_a_scaled_mask_is_scaled_before_it_is_compared(tree, tmp_path, export):
    write(tree, MASK, CASE, lesion(np.uint16) * 65535, scl_slope=1 / 65535, scl_inter=0)
    assert (np.asarray(label(exported(export, tree, tmp_path)[0]).dataobj) == lesion(np.uint8)).all()


def test_nan_and_infinity_in_a_mask_are_background_and_listed(tree, tmp_path, export):
    voxels = lesion(np.float32)
    voxels[0, 0] = (nan, inf, -inf)
    write(tree, MASK, CASE, voxels)
    out, said = exported(export, tree, tmp_path)
    assert (np.asarray(label(out).dataobj) == lesion(np.uint8)).all()
    (row,) = report(out)
    assert (row["case"], row["column"], row["voxels"]) == (CASE, "tumour_mask", "3")
    assert f"{CASE} tumour_mask: voxels replaced: 3 voxels NaN or infinite, now 0" in said


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("scaling", [{}, {"scl_slope": 2, "scl_inter": -1024}])
def test_unusable_voxels_of_an_image_become_background_and_no_other_byte_changes(
    tree, tmp_path, export, order, scaling
):
    voxels = np.linspace(-7, 7, 60, dtype=f"{order}f4").reshape(SHAPE)
    voxels[0, 0] = (nan, inf, -inf)
    path = write(tree, T1, CASE, voxels, endianness=order, **scaling)
    out, said = exported(export, tree, tmp_path)
    ours, theirs = image_of(image(out)), image_of(path)
    wrong = ~np.isfinite(voxels)
    assert (ours.get_fdata()[wrong] == T1.background).all()
    assert (ours.get_fdata()[~wrong] == theirs.get_fdata()[~wrong]).all()
    content, source = gzip.decompress(image(out).read_bytes()), gzip.decompress(path.read_bytes())
    flat = np.frombuffer(source, np.uint8)[352:].reshape(-1, 4)
    same = (flat == np.frombuffer(content, np.uint8)[352:].reshape(-1, 4)).all(axis=1)
    assert content[:348] == source[:348] and (same == ~wrong.ravel(order="F")).all()
    assert [row["detail"] for row in report(out)] == ["3 voxels NaN or infinite, now 0"]
    assert f"{CASE} t1: voxels replaced" in said


def test_a_float64_that_is_infinite_in_float32_is_replaced(tree, tmp_path, export):
    voxels = np.ones(SHAPE)
    voxels[0, 0, 0] = 1e300
    write(tree, T1, CASE, voxels)
    assert image_of(image(exported(export, tree, tmp_path)[0])).get_fdata()[0, 0, 0] == 0


@pytest.mark.parametrize("fields", [{"scl_slope": 3, "scl_inter": 5}, {"endianness": ">"}, {"descrip": b"x"}])
def test_an_image_that_nnunet_can_read_is_linked(tree, tmp_path, export, fields):
    write(tree, T1, CASE, np.arange(60, dtype=np.int16).reshape(SHAPE), **fields)
    out, said = exported(export, tree, tmp_path)
    assert image(out).samefile(tree / T1.path(CASE))
    assert "Images and labels: 2 hard links, 2 written anew" in said and not report(out)


def test_an_axis_of_length_one_is_dropped(tree, tmp_path, export):
    path = write(tree, T1, CASE, np.arange(60, dtype=np.int16).reshape(*SHAPE, 1))
    out, _ = exported(export, tree, tmp_path)
    ours = image_of(image(out))
    assert ours.shape == SHAPE and (ours.get_fdata() == image_of(path).get_fdata()[..., 0]).all()


def two_channels() -> Release:
    """The toy release with its mask as an image, too, so that a case has two channels."""
    from dataclasses import replace as changed

    second = changed(MASK, column="t2", entities="space-T1w_T2w", content=T1.content, labels=())
    return changed(TOY, volumes=(T1, second, *TOY.volumes[1:]))


def with_second(tree: Path, affine: np.ndarray, **fields: Any) -> tuple[Release, Path]:
    """A release of two channels, and the second one's file with that affine."""
    release = two_channels()
    second = release.by_column["t2"]
    write(tree, second, OTHER, np.ones(SHAPE, np.float32))
    return release, write(tree, second, CASE, np.arange(60, dtype=np.float32).reshape(SHAPE), affine, **fields)


@pytest.mark.parametrize("difference", ["affine", "pixdim", "qform"])
def test_rounding_of_a_grid_is_made_equal(tree, tmp_path, export, difference):
    affine = OBLIQUE + (1e-4 if difference == "affine" else 0) * np.eye(4)[:, [1, 0, 2, 3]] * [1, 1, 1, 0]
    release, path = with_second(tree, affine)
    stored = image_of(path)
    if difference == "pixdim":
        stored.header["pixdim"][1] *= 1.01
    if difference == "qform":
        stored.header.set_qform(OBLIQUE + 1e-2 * np.eye(4)[:, [3, 0, 1, 2]], 1)
    write_volume(path, stored)
    code, said = export("nnunet", tree, tmp_path / "out", release=release)
    assert code == 0, said
    out = tmp_path / "out" / "Dataset024_Toy"
    ours, reference = image_of(image(out, 1)), image_of(image(out))
    assert (ours.affine == reference.affine).all()
    assert (ours.header["pixdim"][:4] == reference.header["pixdim"][:4]).all()
    assert ours.get_qform(coded=True)[1] == reference.get_qform(coded=True)[1]
    assert (ours.get_fdata() == stored.get_fdata()).all()
    assert [(row["case"], row["change"]) for row in report(out)] == [(CASE, "grid made equal")]
    assert "1 image differs from the grid of the T1 by rounding" in said


@pytest.mark.parametrize("of", [MASK, T1], ids=["mask", "image"])
@pytest.mark.parametrize("how", ["affine", "shape", "flat", "frames"])
def test_a_case_with_a_volume_on_another_grid_is_left_out_by_name(tree, tmp_path, export, of, how):
    affine, shape = OBLIQUE.copy(), SHAPE
    if how == "affine":
        affine[0, 3] += 0.3
    shape = {"shape": (5, 4, 6), "frames": (*SHAPE, 2)}.get(how, SHAPE)
    path = write(tree, of, CASE, np.zeros(shape, np.float32), affine)
    if how == "flat":
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[280:312] = bytes(32)  # srow_x and srow_y
        replace(path, gzip.compress(content))
    out, said = exported(export, tree, tmp_path)
    assert "1 case, 1 left out" in said and f"{CASE} " in said
    assert dataset_json(out)["numTraining"] == 1
    assert [path.name for path in (out / "imagesTr").iterdir()] == [f"{OTHER}_0000.nii.gz"]
    (row,) = report(out)
    assert (row["case"], row["change"]) == (CASE, "left out")
    assert ("--resample takes in" in said) == (how in ("affine", "shape"))


def test_a_volume_on_another_grid_can_be_resampled(tree, tmp_path, export):
    """A mask of half the voxels, and an image shifted by three quarters of a voxel."""
    coarse = np.zeros((3, 2, 3), np.float32)
    coarse[1, 0, 1] = 1
    write(tree, MASK, CASE, coarse, OBLIQUE @ np.diag([2, 2, 1, 1]) @ shifted(0.25))
    release, _ = with_second(tree, OBLIQUE @ shifted(0.75))
    code, said = export("nnunet", tree, tmp_path / "out", "--resample", release=release)
    assert code == 0, said
    out = tmp_path / "out" / "Dataset024_Toy"
    assert set(map(tuple, np.argwhere(np.asarray(label(out).dataobj)))) == {(x, y, 1) for x in (2, 3) for y in (0, 1)}
    values = image_of(image(out, 1)).get_fdata()
    between = np.arange(60, dtype=np.float32).reshape(SHAPE)
    assert np.allclose(values[1:], 0.25 * between[1:] + 0.75 * between[:-1], atol=1e-3)
    assert {row["change"] for row in report(out)} == {"resampled"}


def shifted(columns: float) -> np.ndarray:
    shift = np.eye(4)
    shift[0, 3] = columns
    return shift


def test_a_sheared_grid_names_the_reader_that_reads_it(tree, tmp_path, export):
    assert "overwrite_image_reader_writer" not in dataset_json(exported(export, tree, tmp_path)[0])
    sheared = OBLIQUE.copy()
    sheared[2, 0] = 0.2
    write(tree, T1, CASE, np.zeros(SHAPE, np.int16), sheared)
    write(tree, MASK, CASE, lesion(np.uint8), sheared)
    code, said = export("nnunet", tree, tmp_path / "out")
    assert code == 0, said
    assert dataset_json(tmp_path / "out" / "Dataset024_Toy")["overwrite_image_reader_writer"] == "NibabelIO"


def truncated(path: Path) -> None:
    replace(path, path.read_bytes()[:-30])


def colours(path: Path) -> None:
    write_volume(path, volume(np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), OBLIQUE))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (Path.unlink, "is not there -> restore it into this tree"),
        (truncated, "-> restore it again, or choose other subjects"),
        (lambda path: replace(path, b"no gzip"), "-> restore it again, or choose other subjects"),
        (colours, "which are no real numbers"),
    ],
)
def test_a_damaged_file_is_named_and_nothing_is_exported(tree, tmp_path, export, damage, words):
    damage(tree / T1.path(CASE))
    code, said = export("nnunet", tree, tmp_path / "out")
    assert code == 1
    assert T1.path(CASE) in said and words in said
    assert not (tmp_path / "out" / "Dataset024_Toy").exists() and not leftovers(tmp_path)


# OUT


def test_what_stands_in_the_way_stays(tree, tmp_path, export):
    out = tmp_path / "Dataset001_Mine"
    out.mkdir()
    assert export("nnunet", tree, out)[0] == 0, "an empty folder is not in the way"
    before = digests(out)
    code, said = export("nnunet", tree, out)
    assert code == 1 and "is an export already -> move it away, or name another OUT, or use --overwrite" in said
    assert digests(out) == before
    code, said = export("nnunet", tree, out, "--subject", CASE, "--overwrite")
    assert code == 0 and dataset_json(out)["numTraining"] == 1 and not leftovers(tmp_path)
    (out / "export_report.csv").unlink()
    code, said = export("nnunet", tree, out, "--overwrite")
    assert code == 1 and "is there already, and is no export" in said
    for path in (tmp_path / "Dataset002_File", tmp_path / "Dataset003_Link"):
        path.write_text("mine") if "File" in path.name else path.symlink_to(out)
        assert export("nnunet", tree, path, "--overwrite")[0] == 1
    assert (tmp_path / "Dataset002_File").read_text() == "mine"


def test_a_number_that_another_dataset_has_is_refused(tree, tmp_path, export):
    (tmp_path / "Dataset024_Other").mkdir()
    code, said = export("nnunet", tree, tmp_path)
    assert code == 1 and "has the number of Dataset024_Other" in said and "choose another one with --id" in said
    assert export("nnunet", tree, tmp_path, "--id", 25)[0] == 0


def test_a_failed_replacement_leaves_the_earlier_export(tree, tmp_path, export):
    assert export("nnunet", tree, tmp_path)[0] == 0
    before = digests(tmp_path / "Dataset024_Toy")
    truncated(tree / T1.path(CASE))
    assert export("nnunet", tree, tmp_path, "--overwrite")[0] == 1
    assert digests(tmp_path / "Dataset024_Toy") == before and not leftovers(tmp_path)


def test_killed_in_the_middle_nothing_is_there_and_the_same_command_completes_it(tree, tmp_path, export):
    """The last volume is a pipe that nobody writes to, so the export waits for it."""
    path = tree / MASK.path(OTHER)
    content = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    process = WARM.Process(target=main, args=(["nnunet", str(tree), str(tmp_path / "raw"), "--workers", "1"], TOY))
    process.start()
    written = f".*/labelsTr/{CASE}.nii.gz"
    eventually(lambda: not process.is_alive() or list((tmp_path / "raw").glob(written)))
    assert process.is_alive()
    process.kill()
    process.join()
    assert not (tmp_path / "raw" / "Dataset024_Toy").exists() and leftovers(tmp_path)
    replace(path, content)
    assert export("nnunet", tree, tmp_path / "raw")[0] == 0
    assert dataset_json(tmp_path / "raw" / "Dataset024_Toy")["numTraining"] == 2
    assert not leftovers(tmp_path)


FULL_DISK = """
import sys
from isles_assets.cli.export import main
from isles_assets_tests.toy import TOY
print(main(["nnunet", sys.argv[1], sys.argv[2] + "/out"], TOY))
import os
print(os.listdir(sys.argv[2] + "/out"))
"""


def test_on_a_full_disk_nothing_is_left_behind(tree, tmp_path):
    voxels = np.random.default_rng(1).standard_normal((64, 64, 64)).astype(np.float32)
    voxels[0, 0, 0] = nan
    write(tree, T1, CASE, voxels)
    write(tree, MASK, CASE, np.zeros((64, 64, 64), np.uint8))
    disk = tmp_path / "disk"
    disk.mkdir()
    assert on_small_disk(disk, "256k", FULL_DISK, tree, disk).split() == ["1", "[]"]


codecs.lookup("unicode_escape")  # Python's own files may lie where nobody may read them


def whole_export(tree: str, out: str) -> int:
    return main(["nnunet", tree, out], TOY)


@pytest.mark.long
def test_a_source_of_somebody_else_that_cannot_be_written_to_is_enough():
    with reachable_folder() as folder:
        tree, out = folder / "tree", folder / "out"
        for of in (T1, MASK):
            write(tree, of, CASE, np.ones(SHAPE, np.int16)).chmod(0o444)
        out.mkdir()
        out.chmod(0o777)
        assert as_nobody(whole_export, str(tree), str(out)) == 0
        path = image(out / "Dataset024_Toy")
        assert path.samefile(tree / T1.path(CASE))
        protected = Path("/proc/sys/fs/protected_hardlinks")
        if protected.exists() and protected.read_text().strip() == "1":
            assert path.is_symlink()


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system")
def test_across_file_systems_symlinks_lead_to_the_tree(tree, tmp_path, export):
    with reachable_folder() as folder:
        if Path("/dev/shm").stat().st_dev == folder.stat().st_dev:
            pytest.skip("there is no second file system")
    out = Path("/dev/shm") / f"isles export {os.getpid()}" / "Dataset024_Toy"
    try:
        code, said = export("nnunet", tree, out)
        assert code == 0 and "2 symlinks, 2 written anew" in said
        assert image(out).is_symlink() and image(out).samefile(tree / T1.path(CASE))
    finally:
        shutil.rmtree(out.parent, ignore_errors=True)


def test_a_copy_is_made_where_no_link_can_be(tmp_path, monkeypatch):
    """As on FAT."""

    def refused(*arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setattr(linking.os, "link", refused)
    monkeypatch.setattr(Path, "symlink_to", refused)
    assert link(tmp_path / "a", tmp_path / "b" / "c") is How.COPY
    assert (tmp_path / "b" / "c").read_bytes() == b"content"


def test_a_tree_of_links_is_followed_to_the_files(tree, tmp_path, export):
    path = tree / T1.path(CASE)
    path.rename(tmp_path / "store")
    path.symlink_to(tmp_path / "store")
    out, _ = exported(export, tree, tmp_path)
    assert image(out).samefile(tmp_path / "store") and not image(out).is_symlink()


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: None, lambda path: (path / "rawdata").mkdir(parents=True)])
def test_what_is_no_dataset_is_refused(tmp_path, export, make):
    make(tmp_path / "given")
    code, said = export("nnunet", tmp_path / "given", tmp_path / "out")
    assert code == 1 and " -> " in said and not (tmp_path / "out").exists()


# The real readers

VERIFY = """
import sys
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
verify_dataset_integrity(sys.argv[1], 1)
"""


@pytest.mark.long
@WITHOUT_NNUNET
@pytest.mark.parametrize("options", [(), ("--target", "cow_mask", "--channels", "ncct", "dwi", "--resample")])
def test_nnunet_takes_the_dataset_without_a_warning(sample_tree, tmp_path, export, options):
    subjects = (*SUBJECTS, "sub-stroke0016", "sub-stroke0113", "sub-stroke0104", "sub-stroke0005", "sub-stroke0007")
    from isles_assets.release.isles24 import ISLES24

    code, said = export("nnunet", sample_tree, tmp_path, *options, "--subject", *subjects, release=ISLES24)
    assert code == 0, said
    script = tmp_path / "verify.py"
    script.write_text(f"if __name__ == '__main__':\n    {VERIFY.strip().replace(chr(10), chr(10) + '    ')}\n")
    done = subprocess.run([sys.executable, script, tmp_path / NAME], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "verify_dataset_integrity Done" in said and "warning" not in done.stdout.lower()


def problems(dataset: Path) -> list[tuple[str, str]]:
    """The errors that the BIDS validator finds: code and place."""
    command = [str(Path(sys.executable).parent / "bids-validator-deno"), "--format", "json", str(dataset)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    issues = found["issues"]["issues"]
    return [(issue["code"], issue["location"]) for issue in issues if issue["severity"] == "error"]


@pytest.fixture
def bids(small_sample_tree, small_built, tmp_path, export):
    """An export of all volumes of six subjects, with their clinical variables."""
    out, tables = tmp_path / "bids data", small_built.setup.target().location
    code, said = export("bids", small_sample_tree, out, "--tables", tables, release=SMALL)
    assert code == 0, said
    assert "6 participants, 33 clinical variables" in said and "108 hard links" in said
    return out


@pytest.mark.long
@pytest.mark.slow
def test_the_bids_validator_finds_no_error(bids):
    derived = bids / "derivatives" / "isles24"
    assert problems(bids) == problems(derived) == []
    for dataset in (bids, derived):
        ignored = [line for line in (dataset / ".bidsignore").read_text().splitlines() if not line.startswith("#")]
        assert ignored == ["**/ct", "**/ct/**"], "nothing but CT is passed over"
        (dataset / ".bidsignore").unlink()
        assert {code for code, _ in problems(dataset)} <= {"NOT_INCLUDED", "ALL_FILENAME_RULES_HAVE_ISSUES"}
    (derived / SUBJECTS[0] / "ses-02" / "dwi" / f"{SUBJECTS[0]}_ses-02_space-ncct_ADC.json").unlink()
    assert any(code == "SIDECAR_KEY_REQUIRED" for code, _ in problems(derived)), "the validator reads sidecars"


@pytest.mark.slow
def test_bids_holds_every_byte_of_the_release_under_other_names(bids, small_sample_tree):
    with (bids / "code" / "export_report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(SUBJECTS) * len(BY_COLUMN)
    for row in rows:
        assert sha256_of(bids / row["file"]) == sha256_of(small_sample_tree / row["file_of_release"])
    volumes = {path.relative_to(bids).as_posix() for path in bids.rglob("*.nii.gz")}
    assert volumes == {row["file"] for row in rows}
    assert all((bids / name.replace(".nii.gz", ".json")).is_file() for name in volumes)
    assert {name.split("/")[2] for name in volumes if not name.startswith("derivatives")} == {"ct"}


@pytest.mark.slow
def test_participants_are_the_clinical_variables(bids, small_built):
    with (bids / "participants.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    columns = json.loads((bids / "participants.json").read_text())
    table = pq.read_table(small_built.folder.clinical).to_pylist()
    assert [row["participant_id"] for row in rows] == list(SUBJECTS)
    for row, values in zip(rows, table, strict=True):
        for variable in SMALL.variables:
            value = values[variable.column]
            assert row[variable.column] == ("n/a" if value is None else str(value))
            assert columns[variable.column]["Known"] == variable.known
            assert columns[variable.column]["Description"] == variable.description
    assert columns["glucose_mg_dl"]["Units"] == "mg/dl" and columns["onset_to_door_min"]["Units"] == "min"
    assert columns["age"]["Units"] == "years"
    assert columns["sex"]["Levels"] == {"M": "male", "F": "female"}
    described = json.loads((bids / "dataset_description.json").read_text())
    assert described["DatasetType"] == "raw" and described["GeneratedBy"][0]["Name"] == "isles-assets"
    assert described["SourceDatasets"][0]["DOI"] == "doi:10.5281/zenodo.17652035"
    derived = json.loads((bids / "derivatives" / "isles24" / "dataset_description.json").read_text())
    assert derived["DatasetType"] == "derivative" and derived["DatasetLinks"] == {"raw": "../.."}


def test_bids_of_some_volumes_brings_the_grid_that_they_lie_on(small_tree, tmp_path, export):
    subject, out = SUBJECTS[2], tmp_path / "out"
    image_ = image_of(small_tree / BY_COLUMN["ncct"].path(subject))
    bone = image_.get_fdata() > 300
    assert bone.sum() >= 100
    write_volume(
        small_tree / BY_COLUMN["adc"].path(subject), volume(np.where(bone, 0, 9).astype(np.float32), image_.affine)
    )
    code, said = export("bids", small_tree, out, "--volume", "adc", "dwi", "--subject", subject, release=SMALL)
    assert code == 0 and "1 participant, no clinical variables: a restored tree has none" in said
    assert sorted(path.name for path in out.rglob("*.nii.gz")) == [
        f"{subject}_ses-01_acq-ncct_ct.nii.gz",
        *(f"{subject}_ses-02_space-ncct_{suffix}.nii.gz" for suffix in ("ADC", "trace")),
    ]
    assert (out / "participants.tsv").read_text() == f"participant_id\n{subject}\n"
    stripped = {p.stem[-5:]: json.loads(p.read_text())["SkullStripped"] for p in out.rglob("*ses-02*.json")}
    assert stripped == {"t_ADC": True, "trace": False}
    code, said = export("bids", small_tree, out, "--volume", "adc", "--overwrite", release=SMALL)
    assert code == 0 and len(list(out.rglob("*.nii.gz"))) == 12
    code, said = export("bids", small_tree, tmp_path / "toy", "--volume", "flair", release=SMALL)
    assert code == 1 and "flair: is no volume of the release" in said


def test_a_release_without_names_in_bids_says_so(tree, tmp_path, export):
    code, said = export("bids", tree, tmp_path / "out")
    assert code == 1 and "has no name in BIDS" in said


def test_the_command_says_what_it_takes(capsys):
    for arguments in (
        [],
        ["nnunet"],
        ["nnunet", "a", "b", "--workers", "0"],
        ["nnunet", "a", "b", "--id", "0"],
        ["other", "a", "b"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_an_export_needs_no_dagster():
    code = "import sys, isles_assets.cli.export; sys.exit('dagster' in sys.modules)"
    python(code)
