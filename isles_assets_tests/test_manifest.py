"""What the manifest says of a volume by its header alone: its grid, its transforms, its axes, its text."""

import dataclasses
import gzip
import hashlib
import math
import os
import zlib

import nibabel as nib
import numpy as np
import pytest

from isles_assets.lib.files import status_of
from isles_assets.products.sources import Source, UnfitError, check_entry, read_source
from isles_assets.reading.tree import take_inventory
from isles_assets.release.problems import Problem
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import manifest_table, read_manifest, survey
from isles_assets.tables.storage import write_table
from isles_assets_tests.materials import volume
from isles_assets_tests.toy import MASK, PERFUSION, T1, TOY

SUBJECT = TOY.subjects[0]
SHAPE = (20, 30, 10)
COS, SIN = np.cos(0.3), np.sin(0.3)
AFFINE = np.array([[0.4, 0, 0, -80], [0, 0.4 * COS, -2 * SIN, -70], [0, 0.4 * SIN, 2 * COS, 12], [0, 0, 0, 1]])
CLINICAL = {SUBJECT: {"age": 71.5, "hand": "left", "score": None}}


def image(shape=SHAPE, affine=AFFINE, dtype="u1", **fields):
    return volume(np.zeros(shape, dtype), affine, **fields)


def row_of(root, files, **options):
    """The manifest's row of a tree that holds `files`: what is in the file of each volume."""
    for each in TOY.volumes:
        path = root / each.path(SUBJECT)
        path.parent.mkdir(parents=True, exist_ok=True)
        if each in files:
            path.write_bytes(files[each] if isinstance(files[each], bytes) else gzip.compress(files[each].to_bytes()))
    (row,) = survey(TOY, root, take_inventory(TOY, root), CLINICAL, **options)
    return row


@pytest.fixture
def entry(tmp_path):
    """The entry of a volume in whose file something is."""
    return lambda content, of=T1: row_of(tmp_path, {of: content}).entry(of.column)


@pytest.fixture
def difference(tmp_path):
    """How the grid of one image differs from that of another."""

    def between(one, reference):
        row = row_of(tmp_path, {T1: reference, MASK: one})
        return row.entry(MASK.column).grid_difference(row.entry(T1.column))

    return between


def moved(*mm, affine=AFFINE):
    result = affine.copy()
    result[:3, 3] += mm
    return result


@pytest.mark.parametrize("far", [-1272.57, -1191.03, -1183.5, -1176.8, -1156.2, -1101.4, -1080.1, -1050.9, -1029.8])
@pytest.mark.parametrize("steps", [1, -1, 2])
def test_step_of_rounding_far_from_the_origin_is_no_difference(difference, far, steps):
    there = np.float32(far)
    beside = there + np.float32(steps) * np.spacing(np.abs(there))
    assert abs(beside - there) > 1e-4
    reference, one = image(affine=moved(0, 0, far)), image(affine=moved(0, 0, far))
    reference.header["srow_z"][3], one.header["srow_z"][3] = there, beside
    reference, one = (nib.Nifti1Image(np.asanyarray(i.dataobj), None, i.header) for i in (reference, one))
    assert difference(one, reference) is None


@pytest.mark.parametrize(
    ("one", "found", "is_off"),
    [
        (image(), None, None),
        (image(affine=moved(0, 0, 0.009)), None, None),
        (image(affine=moved(0.02, 0, 0)), "displaced by 0.02 mm", False),
        (image(affine=moved(0, 0.15, 0.1)), "displaced by 0.18 mm", False),
        (image(affine=moved(0.2001, 0, 0)), "displaced by 0.2 mm", True),
        (image(affine=moved(0, 0, 37)), "displaced by 37 mm", True),
        (image(affine=AFFINE @ np.diag([1, 1, 1.005, 1])), "displaced by 0.095 mm", False),
        (image(affine=AFFINE @ np.diag([1, 1, 1.05, 1])), "displaced by 0.95 mm", True),
        (image(affine=AFFINE @ np.diag([-1, 1, 1, 1])), "displaced by 15.6 mm", True),
        (image((*SHAPE, 1)), None, None),
        (image((20, 30, 9)), "shape 20x30x9", True),
        (image((30, 20, 10)), "shape 30x20x10", True),
        (image((20, 30)), "shape 20x30", True),
        (image((20, 30, 10, 4)), None, None),
    ],
    ids=[
        "same", "9 um", "20 um", "0.18 mm", "half a voxel", "37 mm", "thicker by 5 per mille", "thicker by 5 %", "flip",
        "fourth axis", "a slice less", "axes swapped", "two axes", "frames",
    ],
)  # fmt: skip
def test_grids_are_compared_in_mm_at_the_corners(difference, one, found, is_off):
    seen = difference(one, image())
    assert (seen and seen.found, seen and seen.is_off) == (found, is_off)
    if found:
        words = f"has {found}, its T1 grid 20x30x10" if "shape" in found else "is displaced from its T1 grid by up to"
        assert seen.describe("T1 grid").startswith(words)


def test_half_a_voxel_is_that_of_the_reference(difference):
    coarse = AFFINE @ np.diag([4, 4, 1, 1])
    assert not difference(image(affine=moved(0.3, 0, 0, affine=coarse)), image(affine=coarse)).is_off
    assert difference(image(affine=moved(0.3, 0, 0)), image()).is_off
    one_voxel = (1, 1, 1)
    assert not difference(image(one_voxel, np.diag([0.5, 0.5, 0.5, 1])), image(one_voxel, np.eye(4))).is_off
    assert difference(image(one_voxel, np.eye(4)), image(one_voxel, np.diag([0.5, 0.5, 0.5, 1]))).is_off


def test_flip_of_a_single_slice_is_a_difference(difference):
    assert difference(image((20, 30, 1), AFFINE @ np.diag([1, 1, -1, 1])), image((20, 30, 1))).found


def of_fields(image, **fields):
    """The file of `image` with header fields set as they are."""
    raw = image.to_bytes()
    header = nib.Nifti1Header(raw[:348])
    for name, value in fields.items():
        header[name] = value
    return gzip.compress(header.binaryblock + raw[348:])


NO_AFFINE = {"srow_x": [np.nan, 0, 0, 0]}


def test_only_shapes_are_compared_where_an_affine_cannot_be_used(difference):
    assert difference(of_fields(image(), **NO_AFFINE), image()) is None
    assert difference(image(), of_fields(image(), srow_z=0)) is None
    assert difference(of_fields(image((20, 30, 9)), **NO_AFFINE), image()).found == "shape 20x30x9"


def test_grid_of_a_damaged_volume_is_not_compared(difference):
    assert difference(b"no gzip", image()) is None
    assert difference(image(), b"no gzip") is None


def posed(qform, sform=AFFINE):
    made = image()
    made.set_sform(sform, 1)
    made.set_qform(qform, 1)
    return made


@pytest.mark.parametrize(
    ("content", "kinds", "words", "found"),
    [
        (posed(AFFINE), [], "", ""),
        (posed(moved(0.005, 0, 0)), [], "", ""),
        (posed(moved(0.1, 0, 0)), [Problem.TRANSFORMS_ROUNDING], "up to 0.1 mm apart", ""),
        (posed(moved(0.21, 0, 0)), [Problem.TRANSFORMS_DISAGREE], "up to 0.21 mm apart", "0.21 mm"),
        (posed(moved(37, 0, 0)), [Problem.TRANSFORMS_DISAGREE], "up to 37 mm apart", "37 mm"),
        (posed(AFFINE @ np.diag([1, 1, -1, 1])), [Problem.TRANSFORMS_DISAGREE], "up to 38 mm apart", "38 mm"),
        (of_fields(posed(AFFINE), quatern_b=3), [Problem.TRANSFORMS_DISAGREE], "cannot be used", "cannot be used"),
        (of_fields(posed(AFFINE), qform_code=0, qoffset_x=37), [], "", ""),
        (of_fields(posed(AFFINE), sform_code=0, srow_x=0), [], "", ""),
        (of_fields(posed(AFFINE), srow_x=0, srow_y=0, srow_z=0), [Problem.TRANSFORM_UNUSABLE], "is zero", "is zero"),
        (of_fields(posed(AFFINE), srow_z=0), [Problem.TRANSFORM_UNUSABLE], "is flat", "is flat"),
        (of_fields(posed(AFFINE), **NO_AFFINE), [Problem.TRANSFORM_UNUSABLE], "is not finite", "is not finite"),
        (of_fields(image(), pixdim=[1, 1, 1, 1, 0, 0, 0, 0]), [Problem.PIXDIM], "1x1x1 mm, its affine 0.4x0.4x2", ""),
        (of_fields(image(), pixdim=[1, 0.4001, 0.4, 2, 0, 0, 0, 0]), [], "", ""),
        (of_fields(image(), pixdim=[1, 0.41, 0.4, 2, 0, 0, 0, 0]), [Problem.PIXDIM], "0.41x0.4x2", ""),
        (of_fields(image(), pixdim=[1, -0.4, 0.4, 2, 0, 0, 0, 0]), [Problem.PIXDIM], "-0.4x0.4x2", ""),
        (of_fields(image(), pixdim=[1, 0, 0, 0, 0, 0, 0, 0]), [Problem.PIXDIM], "0x0x0", ""),
        (of_fields(image(), pixdim=[1, np.nan, 0.4, 2, 0, 0, 0, 0]), [Problem.PIXDIM], "nanx0.4x2", ""),
    ],
    ids=[
        "same", "5 um", "0.1 mm", "half a voxel", "37 mm", "flip", "qform no rotation", "no qform", "no sform", "zeros",
        "flat", "not finite", "pixdim stale", "pixdim rounded", "pixdim another", "pixdim negative", "pixdim zero",
        "pixdim NaN",
    ],
)  # fmt: skip
def test_transforms_that_disagree_or_cannot_be_used_are_said(entry, content, kinds, words, found):
    problems = list(entry(content).transform_problems())
    assert [kind for kind, *_ in problems] == kinds
    for _, problem, named in problems:
        assert words in problem
        assert named.endswith(found) and bool(named) == bool(found)


def test_spacing_is_the_affines(entry):
    seen = entry(of_fields(image(), pixdim=[1, 1, 1, 1, 0, 0, 0, 0]))
    assert seen.spacing == pytest.approx((0.4, 0.4, 2))
    assert seen.pixdim == (1, 1, 1)
    assert entry(of_fields(image(), **NO_AFFINE)).spacing is None


@pytest.mark.parametrize(
    ("shape", "three", "four"),
    [
        ((4, 5, 6), True, False),
        ((4, 5, 6, 1), True, True),
        ((4, 5, 6, 1, 1), True, True),
        ((4, 5, 6, 7), False, True),
        ((4, 5, 6, 7, 1), False, True),
        ((4, 5, 6, 1, 7), False, False),
        ((4, 5), False, False),
        ((4,), False, False),
    ],
)
def test_axes_are_those_of_the_volume_or_not(entry, shape, three, four):
    seen = entry(image(shape))
    assert (seen.fault, seen.shape) == (None, shape)
    assert (seen.fits(T1), seen.fits(PERFUSION)) == (three, four)


def test_colours_are_no_numbers_and_no_fault(entry):
    colours = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    seen = entry(volume(colours, AFFINE))
    assert (seen.fault, seen.is_numeric, entry(image()).is_numeric) == (None, False, True)


def test_name_in_the_gzip_header_is_noted_unless_it_is_the_files(tmp_path):
    for named, noted in ((T1.path(SUBJECT), None), (T1.path(SUBJECT)[:-3], None), ("x/DOE_JANE.nii", "DOE_JANE.nii")):
        with gzip.GzipFile(named, "wb", fileobj=(tmp_path / "packed").open("wb")) as file:
            file.write(image().to_bytes())
        assert row_of(tmp_path, {T1: (tmp_path / "packed").read_bytes()}).entry("t1").gzip_name == noted


def test_what_is_odd_is_kept_in_the_table(tmp_path):
    """Among it what Arrow has no place for in narrower types."""
    huge = of_fields(image(), dim=[7, 2, 2, 2, 32767, 32767, 32767, 32767], **NO_AFFINE)
    odd = of_fields(posed(AFFINE), quatern_b=3, descrip=b"J\xf6rg\xa0", pixdim=[1, np.inf, 0, 1, 0, 0, 0, 0])
    folder = DataFolder(tmp_path / "data", TOY)
    row = row_of(tmp_path / "toys", {T1: huge, MASK: odd, PERFUSION: b"no gzip"})
    folder.manifest.parent.mkdir(parents=True)
    write_table(folder.manifest, manifest_table(TOY, [row]))
    back = read_manifest(folder)[SUBJECT]
    assert repr(back.volumes) == repr(row.volumes)
    assert back.entry("t1").frames == 32767**4
    assert (back.entry("tumour_mask").qform_mm, back.entry("tumour_mask").text) == (
        math.inf, ({"field": "descrip", "text": r"J\xf6rg\xa0"},),
    )  # fmt: skip
    assert back.entry("perfusion").fault == "is not a gzip file"


@pytest.mark.parametrize(
    ("content", "voxels", "others"),
    [
        (gzip.compress(image().to_bytes()), {}, {}),
        (of_fields(image(), **NO_AFFINE), {"marked_ml": None}, {}),
        (gzip.compress(image().to_bytes() + b"and more"), {}, {
            "surplus": 8, "text": ({"field": "end of the file, after its last voxel,", "text": "and more"},)
        }),
        (gzip.compress(image().to_bytes()) + bytes(9) + b"\1", {}, {"trailing": 10, "garbage": 1}),
        (gzip.compress(volume(np.full(SHAPE, 0.5), AFFINE).to_bytes()), {
            "marked": 6000, "marked_ml": 1.92, "no_labels": "fractions"
        }, {}),
        (gzip.compress(volume(np.arange(6000).reshape(SHAPE), AFFINE).to_bytes()), {
            "marked": 5999, "marked_ml": 1.91968, "labels": list(range(1, 257)), "more_labels": True
        }, {}),
    ],
    ids=["sound", "affine not finite", "after the last voxel", "after the gzip stream", "fractions", "an image"],
)  # fmt: skip
def test_whatever_can_be_read_is_read_and_counted(tmp_path, content, voxels, others):
    row = row_of(tmp_path, {MASK: content})
    check_entry(tmp_path, row, MASK)
    source = read_source(tmp_path, row, MASK)
    usual = {"non_finite": 0, "marked": 0, "marked_ml": 0, "labels": [], "more_labels": False}
    usual |= {"inexact_labels": False, "no_labels": ""}
    assert dataclasses.asdict(source.voxels) == usual | voxels
    seen = {name: getattr(source, name) for name in ("surplus", "trailing", "garbage", "text")}
    assert seen == {"surplus": 0, "trailing": 0, "garbage": 0, "text": ()} | others
    entry = row.entry(MASK.column)
    digests = hashlib.sha256(content).hexdigest(), zlib.crc32(content)
    quick = Source(entry.path, len(content), *digests, status_of(tmp_path / entry.path), None)
    assert read_source(tmp_path, row, MASK, decode=False) == quick


def test_volume_of_another_grid_than_the_manifests_is_refused(tmp_path):
    row = row_of(tmp_path, {MASK: image()})
    path = tmp_path / MASK.path(SUBJECT)
    status = path.stat()
    for other in (image((20, 30, 9)), image(affine=moved(1, 0, 0)), of_fields(image(), **NO_AFFINE)):
        path.write_bytes(other if isinstance(other, bytes) else gzip.compress(other.to_bytes()))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(UnfitError, match="is on another grid than the manifest says"):
            read_source(tmp_path, row, MASK)


def test_volume_that_cannot_be_read_is_refused_by_its_fault(tmp_path):
    for content, reason in ((b"no gzip", "is not a gzip file"), (gzip.compress(b"x"), "ends after 1 bytes")):
        with pytest.raises(UnfitError, match=reason) as error:
            check_entry(tmp_path, row_of(tmp_path, {MASK: content}), MASK)
        assert error.value.path == MASK.path(SUBJECT)


def test_time_beyond_2262_is_that_of_the_manifest(tmp_path):
    row_of(tmp_path, {MASK: image()})
    path = tmp_path / MASK.path(SUBJECT)
    os.utime(path, (10_000_000_000, 10_000_000_000))
    check_entry(tmp_path, row_of(tmp_path, {}), MASK)
