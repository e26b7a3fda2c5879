"""What the pictures show, on heads made for the purpose: which side and slice, how bright, and where the lesion is."""

import io
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from nibabel.eulerangles import euler2mat
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from PIL import Image, ImageDraw

from isles_assets.products.preview.montage import MAX_BYTES as MAX_MONTAGE_BYTES
from isles_assets.products.preview.montage import MAX_SMALL_BYTES, montage, small_montage
from isles_assets.products.preview.pictures import MAX_BYTES, PICTURES, SIZE, THICKNESS, draw, thickness_of
from isles_assets.products.preview.scene import Axes, Scene, read_scene
from isles_assets.reading.nifti import DigestingReader, NiftiError, inspect
from isles_assets_tests.isles24 import BY_COLUMN
from isles_assets_tests.materials import volume, write_volume

AIR, BONE, BRAIN = -1000, 1000, 30
SHOWN = (SIZE[1] - 20, SIZE[0])  # rows and columns above the caption
OUTLINE = (255, 64, 64)
BACKGROUNDS = {"tmax": -30.0}


def grid(shape, linear):
    """An affine (4, 4) whose origin is such that the middle of the volume is at 0 mm."""
    return from_matvec(linear, -linear @ ((np.array(shape) - 1) / 2))


def positions(shape, affine):
    """x, y, z in mm, RAS+, of each voxel."""
    return np.moveaxis(apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1)), -1, 0)


def head(shape, affine):
    """HU of a brain in a skull of 150 x 180 x 160 mm."""
    x, y, z = positions(shape, affine)
    depth = np.sqrt((x / 75) ** 2 + (y / 90) ** 2 + (z / 80) ** 2)
    return np.where(depth < 0.88, BRAIN, np.where(depth < 1, BONE, AIR)).astype("<i2")


def marker(shape, affine):
    """A mask of what lies at the right, in front, and somewhat above the middle."""
    x, y, z = positions(shape, affine)
    return np.hypot(np.hypot(x - 35, y - 45), z - 20) < 16


def write(folder, affine, **voxels):
    """Files of all volumes that pictures show; those that are not given hold zeros on the grid of `ncct`."""
    shape = voxels["ncct"].shape
    for column in ("lesion_mask", *THICKNESS):
        given = voxels.get(column)
        image = volume(np.zeros(shape, "<f4") if given is None else given, affine)
        write_volume(folder / f"{column}.nii.gz", image)
    return folder


def scene_of(folder, left_out=()):
    def read(column, see):
        with DigestingReader(folder / f"{column}.nii.gz") as source:
            inspect(source, BY_COLUMN[column].content, see)

    image = nib.load(folder / "ncct.nii.gz")
    return read_scene(Axes.of(image.shape, tuple(image.affine.ravel())), THICKNESS, read, left_out)


def scene(**changes):
    """A plane of 280 x 240 pixels of 1 mm without bone, which a picture shows one to one."""
    planes = {column: np.full(SHOWN, 30, np.float32) for column in THICKNESS}
    planes |= {column: np.asarray(plane, np.float32) for column, plane in changes.pop("planes", {}).items()}
    lesion = changes.pop("lesion", np.zeros(SHOWN, bool))
    return Scene(3, (1.0, 1.0), lesion, planes, dict.fromkeys(THICKNESS, 2.0))


def pictures_of(seen, left_out=MappingProxyType({})):
    return draw(seen, BACKGROUNDS, left_out)


def grey(drawings, name="ncct"):
    return np.asarray(drawings[name].image.convert("L"))[: SHOWN[0]]


def rgb(drawings, name):
    return np.asarray(drawings[name].image.convert("RGB"))[: SHOWN[0]]


def ring(drawings, name):
    return (rgb(drawings, name) == OUTLINE).all(axis=2)


@pytest.mark.parametrize(
    "turn",
    [np.eye(3), euler2mat(z=np.radians(20)), euler2mat(x=np.radians(20)), euler2mat(*np.radians((-20, 15, 20)))],
    ids=["straight", "turned", "tilted gantry", "oblique"],
)
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, -1)], ids=["RAS", "LAS", "LPS", "RPI"])
def test_right_is_left_and_anterior_is_up(tmp_path, turn, signs):
    shape = (70, 80, 40)
    affine = grid(shape, turn @ np.diag((3.5 * signs[0], 3.5 * signs[1], 6.0 * signs[2])))
    lesion = marker(shape, affine)
    volumes = {"ncct": head(shape, affine), "dwi": lesion.astype("<f4"), "lesion_mask": lesion.astype("u1")}
    drawings = pictures_of(scene_of(write(tmp_path, affine, **volumes)))
    middle = np.array(SHOWN) / 2
    for shown in (
        grey(drawings, "dwi")[20:] > 40,
        ring(drawings, "ncct_lesion")[20:],
        ring(drawings, "dwi_lesion")[20:],
    ):
        up, left = middle - (20, 0) - np.argwhere(shown).mean(axis=0)
        assert up > 20 and left > 20


@pytest.mark.parametrize("codes", ["LAS", "LPS", "PIR", "SRA", "IPL", "ASL"])
def test_the_order_of_the_voxel_axes_changes_nothing(tmp_path, codes):
    shape = (60, 70, 30)
    affine = grid(shape, np.diag((3.0, 3.3, 5.0)))
    rng = np.random.default_rng(3)
    volumes = {column: rng.uniform(0, 90, shape).astype("<f4") for column in THICKNESS}
    volumes |= {"ncct": head(shape, affine), "lesion_mask": marker(shape, affine).astype("<f8")}
    volumes["lesion_mask"][30, 35, 18] = 1  # one slice has more than any other
    straight = scene_of(write(tmp_path, affine, **volumes))
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    turned = {column: np.asarray(apply_orientation(voxels, turn)) for column, voxels in volumes.items()}
    other = scene_of(write(tmp_path, affine @ inv_ornt_aff(turn, shape), **turned))
    assert (straight.slice, other.slice) == (18, 18 if "S" in codes else 30 - 1 - 18)
    pngs = {name: drawing.png for name, drawing in pictures_of(straight).items()}
    assert {name: drawing.png for name, drawing in pictures_of(other).items()} == pngs


def test_an_affine_that_does_not_span_space_is_refused():
    with pytest.raises(NiftiError, match="does not span space"):
        Axes.of((4, 5, 6), tuple(np.diag([1.0, 1.0, 0.0, 1.0]).ravel()))


@pytest.mark.parametrize("spacing", [(1, 2.5, 5), (2.5, 1, 4), (3, 3, 2)])
def test_a_sphere_is_round_whatever_the_voxels(tmp_path, spacing):
    shape = tuple(int(180 / mm) for mm in spacing)
    affine = grid(shape, np.diag(spacing))
    ball = np.where(np.linalg.norm(positions(shape, affine), axis=0) < 60, BONE, AIR).astype("<i2")
    rows, columns = np.nonzero(grey(pictures_of(scene_of(write(tmp_path, affine, ncct=ball)))) == 255)
    rows, columns = rows[rows > 20], columns[rows > 20]  # below the letters
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=4)
    assert np.ptp(rows) == pytest.approx(SHOWN[1] * 120 / 140, abs=4)  # 10 mm around it


def test_the_slice_is_that_of_the_largest_lesion_area(tmp_path):
    shape = (20, 30, 9)
    lesion = np.zeros(shape, "u1")
    lesion[2:5, 2:5, 1] = lesion[10:18, 9:13, 6] = lesion[3, 3, 7] = 1
    affine = np.diag([9.0, 7.0, 4.0, 1.0])
    seen = scene_of(write(tmp_path, affine, ncct=np.zeros(shape, "<i2"), lesion_mask=lesion))
    assert (seen.slice, seen.lesion.sum(), seen.spacing) == (6, 32, (7, 9))
    assert seen.thickness == {column: 20 if column == "cta_ncct" else 4 for column in THICKNESS}


def test_without_a_lesion_the_slice_has_the_most_soft_tissue(tmp_path):
    shape = (60, 70, 20)
    affine = grid(shape, np.diag((3.0, 3.0, 8.0)))
    affine[2, 3] += 24  # the middle of the head is three slices below that of the volume
    hu = head(shape, affine)
    hu[:, :, 15] = 300  # bone, air and contrast are larger elsewhere
    hu[:, :, 16] = AIR
    seen = scene_of(write(tmp_path, affine, ncct=hu))
    assert seen.slice in (6, 7)
    assert not seen.lesion.any()
    drawings = pictures_of(seen)
    assert not ring(drawings, "ncct_lesion").any() and not ring(drawings, "dwi_lesion").any()
    assert BRAIN in seen.planes["ncct"] and AIR in seen.planes["ncct"]


def test_a_volume_of_air_is_shown_in_its_middle(tmp_path):
    shape = (10, 12, 7)
    seen = scene_of(write(tmp_path, np.eye(4), ncct=np.full(shape, AIR, "<i2")))
    assert seen.slice == 3
    assert (grey(pictures_of(seen))[20:] == 0).all()


def test_a_slab_shows_the_maximum_and_is_cut_at_the_end_of_the_volume(tmp_path):
    shape = (8, 8, 12)
    cta = np.zeros(shape, "<i2")
    cta[1, 1, 0], cta[2, 2, 3], cta[3, 3, 4] = 100, 200, 300
    lesion = np.zeros(shape, "u1")
    lesion[4, 4, 1] = 1
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    seen = scene_of(write(tmp_path, affine, ncct=np.zeros(shape, "<i2"), lesion_mask=lesion, cta_ncct=cta))
    assert set(np.unique(seen.planes["cta_ncct"])) == {0, 100, 200}
    assert seen.thickness["cta_ncct"] == 16


@pytest.mark.parametrize(
    ("stored", "background", "fields"),
    [
        (np.uint16(65535), 0, {"scl_slope": 1.5259e-05, "scl_inter": 0}),
        (np.float64(1), 0, {}),
        (np.float64(np.nan), 0, {}),
        (np.uint8(1), 0, {}),
        (np.int16(-3), -2, {"scl_slope": -1, "scl_inter": -2}),
        (np.uint8(13), 3, {"scl_slope": 0.1, "scl_inter": -0.3}),
    ],
)
def test_a_lesion_is_read_however_it_is_stored(tmp_path, stored, background, fields):
    shape = (12, 14, 5)
    marked = np.zeros(shape, bool)
    marked[3:6, 4, 2] = True
    write(tmp_path, np.eye(4), ncct=np.zeros(shape, "<i2"))
    voxels = np.where(marked, stored, background).astype(stored.dtype)
    write_volume(tmp_path / "lesion_mask.nii.gz", volume(voxels, **fields))
    seen = scene_of(tmp_path)
    assert (seen.slice, seen.lesion.sum()) == (2, 3)


def test_values_are_scaled_as_the_header_says(tmp_path):
    shape = (6, 6, 3)
    write(tmp_path, np.eye(4), ncct=np.zeros(shape, "<i2"))
    image = volume(np.full(shape, 2100, "<u2"), scl_slope=0.5, scl_inter=-1024)
    write_volume(tmp_path / "ncct.nii.gz", image)
    assert (scene_of(tmp_path).planes["ncct"] == 26).all()


@pytest.mark.parametrize(("hu", "shade"), [(19, 0), (20, 0), (30, 64), (36, 102), (48, 178), (60, 255), (200, 255)])
def test_the_stroke_window_is_40_wide_around_40(hu, shade):
    drawings = pictures_of(scene(planes={"ncct": np.full(SHOWN, hu)}))
    assert (grey(drawings)[20:] == shade).all()
    assert (grey(drawings, "ncct_lesion")[20:] == min(shade, 254)).all()


@pytest.mark.parametrize(("hu", "shade"), [(-100, 0), (50, 64), (200, 128), (350, 191), (500, 255)])
def test_the_window_of_vessels_is_600_wide_around_200(hu, shade):
    drawings = pictures_of(scene(planes={"cta_ncct": np.full(SHOWN, hu)}))
    assert (grey(drawings, "cta")[20:] == shade).all()


@pytest.mark.parametrize(("name", "times"), [("dwi", 3), ("adc", 2)])
def test_mri_is_shown_up_to_so_many_medians_of_the_soft_tissue(name, times):
    ncct = np.full(SHOWN, 30)
    ncct[:, :150] = 150
    values = np.full(SHOWN, 200)
    values[:, :150] = 100_000  # most of the plane, but no soft tissue
    values[200:, :] = 0
    values[150:160, 160:] = 200 * times / 4
    shown = grey(pictures_of(scene(planes={"ncct": ncct, name: values})), name)
    assert (shown[100, 200], shown[155, 200]) == (round(255 / times), 64)
    assert (shown[100, 10], shown[250, 200]) == (255, 0)


def colour_bar(drawings, name):
    """The colours (n, 3) of the bar in the caption."""
    line = np.asarray(drawings[name].image.convert("RGB"))[SHOWN[0] + 10]
    colours = np.flatnonzero(np.ptp(line.astype(int), axis=1) > 20)
    return line[colours[0] : colours[-1] + 1]


@pytest.mark.parametrize(("tmax", "along"), [(0, 0), (3, 0.25), (6, 0.5), (9, 0.75), (12, 1), (40, 1)])
def test_tmax_is_shown_in_the_colours_of_its_bar_from_0_to_12(tmax, along):
    drawings = pictures_of(scene(planes={"tmax": np.full(SHOWN, tmax)}))
    bar = colour_bar(drawings, "tmax")
    assert len(bar) == 80
    shown = rgb(drawings, "tmax")[100, 100].astype(int)
    assert np.abs(shown - bar[round(along * 79)]).max() <= 8


def test_cbf_is_shown_up_to_three_medians():
    cbf = np.full(SHOWN, 20)
    cbf[:100] = 60
    drawings = pictures_of(scene(planes={"cbf": cbf}))
    bar = colour_bar(drawings, "cbf").astype(int)
    assert np.abs(rgb(drawings, "cbf")[50, 100] - bar[-1]).max() <= 8
    assert np.abs(rgb(drawings, "cbf")[200, 100] - bar[79 // 3]).max() <= 8


@pytest.mark.parametrize("name", ["tmax", "cbf"])
@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf, -30, -0.5])
def test_background_and_non_finite_voxels_of_a_map_are_black(name, nothing):
    plane = np.full(SHOWN, 6, np.float32)
    plane[100:150, 100:150] = nothing
    shown = rgb(pictures_of(scene(planes={name: plane})), name)
    black = (shown == 0).all(axis=2)
    assert black[100:150, 100:150].all() and not black[160:].any()


def test_a_zero_is_background_of_cbf_and_a_value_of_tmax():
    drawings = pictures_of(scene(planes={"tmax": np.zeros(SHOWN), "cbf": np.zeros(SHOWN)}))
    assert (rgb(drawings, "cbf")[20:] == 0).all()
    assert rgb(drawings, "tmax")[100, 100].any()


@pytest.mark.parametrize("name", ["ncct", "dwi", "adc", "cta_ncct"])
def test_a_volume_of_nothing_finite_is_drawn_black(name):
    drawings = pictures_of(scene(planes={name: np.full(SHOWN, np.nan)}))
    picture = next(picture.name for picture in PICTURES if picture.volume == name)
    assert (grey(drawings, picture)[20:] == 0).all()


def test_non_finite_voxels_of_one_slice_of_a_slab_hide_nothing(tmp_path):
    shape = (8, 8, 5)
    cta = np.full(shape, 50, "<f4")
    cta[2, 2, 0], cta[3, 3] = np.nan, np.nan
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    seen = scene_of(write(tmp_path, affine, ncct=np.full(shape, 30, "<i2"), cta_ncct=cta))
    assert np.isnan(seen.planes["cta_ncct"]).sum() == 1


def enclosed(outline):
    """The pixels that cannot be reached from the corner without crossing `outline`, and are not on it."""
    image = Image.fromarray(outline.astype(np.uint8)).copy()  # one of its own, to be painted on
    ImageDraw.floodfill(image, (0, 0), 2)
    return np.asarray(image) == 0


@pytest.mark.parametrize("name", ["ncct_lesion", "dwi_lesion"])
def test_the_outline_encloses_the_lesion_and_covers_none_of_it(name):
    rows, columns = np.indices(SHOWN)
    hole = np.hypot(rows - 150, columns - 90) < 12
    lesion = (np.hypot(rows - 150, columns - 90) < 40) & ~hole
    lesion[60, 200] = True
    drawn = ring(pictures_of(scene(lesion=lesion)), name)
    np.testing.assert_array_equal(enclosed(drawn) & ~hole, lesion)


def test_three_voxels_at_release_scale_are_outlined(tmp_path):
    shape = (512, 512, 3)
    affine = grid(shape, np.diag((0.42, 0.42, 2.0)))
    lesion = np.zeros(shape, "<f8")
    lesion[300:303, 200, 1] = 1
    drawings = pictures_of(scene_of(write(tmp_path, affine, ncct=head(shape, affine), lesion_mask=lesion)))
    drawn = ring(drawings, "dwi_lesion")
    assert 15 < drawn.sum() < 60
    assert 1 <= enclosed(drawn).sum() <= 3


def test_a_lesion_outside_the_skull_is_not_cropped_away(tmp_path):
    shape = (120, 120, 5)
    affine = grid(shape, np.diag((3.0, 3.0, 6.0)))
    lesion = np.zeros(shape, "u1")
    lesion[2:6, 60, 2] = 1
    assert ring(
        pictures_of(scene_of(write(tmp_path, affine, ncct=head(shape, affine), lesion_mask=lesion))), "ncct_lesion"
    ).any()


def test_a_head_rest_does_not_make_the_head_smaller(tmp_path):
    shape = (120, 150, 3)
    affine = grid(shape, np.diag((2.0, 2.0, 6.0)))
    hu = head(shape, affine)
    alone = pictures_of(scene_of(write(tmp_path, affine, ncct=hu)))
    hu[20:100, 8:12] = -100
    hu[10, 140] = 2000  # and a piece of metal
    with_rest = pictures_of(scene_of(write(tmp_path, affine, ncct=hu)))
    skull = [np.argwhere(grey(drawings)[20:] == 255) for drawings in (alone, with_rest)]
    assert np.ptp(skull[0], axis=0).tolist() == np.ptp(skull[1], axis=0).tolist()


def test_a_volume_that_is_smaller_than_its_picture_is_framed_in_black(tmp_path):
    shape = (50, 20, 3)
    shown = grey(pictures_of(scene_of(write(tmp_path, np.eye(4), ncct=np.full(shape, 40, "<i2")))))[20:]
    assert set(np.unique(shown)) <= {0, 127, 128}
    rows = np.flatnonzero((shown > 0).any(axis=1))
    assert np.ptp(rows) == pytest.approx(SHOWN[1] * 20 / 50, abs=3)


@pytest.mark.parametrize(
    ("spacing", "rows", "columns"),
    [
        ((5, 0.05), 280, 3),
        ((0.05, 5), 2, 240),
        ((1, 1e-30), 280, 1),
        ((1e37, 1), 280, 1),
        ((1e-44, 1e-44), 240, 240),
    ],
)
def test_a_plane_far_from_square_is_a_strip_in_the_middle(spacing, rows, columns):
    planes = {column: np.full((100, 100), 40, np.float32) for column in THICKNESS}
    seen = Scene(0, spacing, np.eye(100) > 0, planes, dict.fromkeys(THICKNESS, 1.0))
    drawings = pictures_of(seen)
    shown = np.argwhere(grey(drawings)[20:-20] if rows < 280 else grey(drawings)[20:])
    assert np.ptp(shown, axis=0) + 1 == pytest.approx((min(rows, 260), columns), abs=1)
    assert shown[:, 1].mean() == pytest.approx(119.5, abs=1)
    assert ring(drawings, "ncct_lesion").any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 50, 3), (50, 1, 3), (50, 60, 1), (1, 1, 400)])
def test_volumes_of_single_voxels_are_drawn(tmp_path, shape):
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    seen = scene_of(write(tmp_path, affine, ncct=np.full(shape, 40, "<i2"), lesion_mask=np.ones(shape, "u1")))
    drawings = pictures_of(seen)
    assert (seen.slice, seen.lesion.sum()) == (0, shape[0] * shape[1])
    assert (grey(drawings)[20:] > 0).any() and ring(drawings, "dwi_lesion").any()


@pytest.mark.parametrize(("value", "shade"), [(3.4e38, 0), (-3.4e38, 0), (1e29, 85), (1e-44, 85)])
def test_values_at_the_ends_of_what_32_bits_hold_are_drawn(value, shade):
    planes = {column: np.full(SHOWN, value) for column in THICKNESS} | {"ncct": np.full(SHOWN, 30)}
    np.testing.assert_allclose(grey(pictures_of(scene(planes=planes)), "dwi")[20:].astype(int), shade, atol=1)


def test_values_beyond_32_bits_are_black(tmp_path):
    shape = (8, 8, 3)
    adc = np.full(shape, 1e300, "<f8")
    seen = scene_of(write(tmp_path, np.diag([20.0, 20.0, 5.0, 1.0]), ncct=np.full(shape, 30, "<i2"), adc=adc))
    assert (grey(pictures_of(seen), "adc")[20:] == 0).all()


def test_a_volume_that_is_left_out_is_not_read_and_its_picture_says_so(tmp_path):
    shape = (60, 70, 9)
    affine = grid(shape, np.diag((3.0, 3.0, 8.0)))
    volumes = {"ncct": head(shape, affine), "lesion_mask": marker(shape, affine).astype("u1")}
    all_there = pictures_of(scene_of(write(tmp_path, affine, **volumes)))
    write_volume(tmp_path / "dwi.nii.gz", volume(np.zeros((5, 6, 7))))
    left_out = {"dwi": "not on the NCCT grid"}
    drawings = pictures_of(scene_of(tmp_path, left_out), left_out)
    assert list(drawings) == list(all_there)
    missing = {picture.name for picture in PICTURES if picture.volume == "dwi"}
    assert {name for name, drawing in drawings.items() if drawing.png is None} == missing == {"dwi", "dwi_lesion"}
    assert all(drawings[name].png == all_there[name].png for name in drawings.keys() - missing)
    words = np.asarray(drawings["dwi"].image)
    rows = np.flatnonzero(words.any(axis=1))
    assert words.shape == SIZE[::-1] and rows[0] > 120 and rows[-1] < 180 and (words > 0).sum() > 300


def test_a_lesion_that_is_left_out_is_said_to_be_and_chooses_no_slice(tmp_path):
    shape = (60, 70, 20)
    affine = grid(shape, np.diag((3.0, 3.0, 8.0)))
    lesion = np.zeros(shape, "u1")
    write(tmp_path, affine, ncct=head(shape, affine), lesion_mask=lesion)
    without = scene_of(tmp_path)
    lesion[20:40, 20:40, 3] = 1
    write(tmp_path, affine, ncct=head(shape, affine), lesion_mask=lesion)
    assert scene_of(tmp_path).slice == 3
    (tmp_path / "lesion_mask.nii.gz").unlink()
    left_out = {"lesion_mask": "not on the NCCT grid"}
    seen = scene_of(tmp_path, left_out)
    assert seen.slice == without.slice and not seen.lesion.any()
    drawings, empty = pictures_of(seen, left_out), pictures_of(without)
    assert {name for name in drawings if drawings[name].png != empty[name].png} == {"ncct_lesion", "dwi_lesion"}
    np.testing.assert_array_equal(rgb(drawings, "ncct_lesion"), rgb(empty, "ncct_lesion"))


def test_without_an_ncct_the_others_are_drawn_whole(tmp_path):
    shape = (60, 70, 9)
    affine = grid(shape, np.diag((3.0, 3.0, 8.0)))
    write(tmp_path, affine, ncct=head(shape, affine), dwi=np.full(shape, 200, "<f4"))
    left_out = {"ncct": "not of real numbers"}
    drawings = pictures_of(scene_of(tmp_path, left_out), left_out)
    assert {name for name, drawing in drawings.items() if drawing.png is None} == {"ncct", "ncct_lesion"}
    assert (grey(drawings, "dwi")[20:, 5:-5] == 85).all(), "a third of three medians"


def test_without_a_scene_every_picture_says_why():
    left_out = {column: f"without {column}" for column in THICKNESS}
    drawings = draw(None, BACKGROUNDS, left_out)
    assert len({drawing.image.tobytes() for drawing in drawings.values()}) == len(THICKNESS)
    assert not any(drawing.png for drawing in drawings.values())
    assert Image.open(io.BytesIO(montage(drawings, "nothing"))).width == 4 * SIZE[0]


def test_every_picture_has_the_size_and_says_what_it_is():
    drawings = pictures_of(scene())
    assert list(drawings) == [picture.name for picture in PICTURES]
    for name, drawing in drawings.items():
        image = Image.open(io.BytesIO(drawing.png))
        assert (image.size, image.format) == (SIZE, "PNG")
        assert image.mode == ("L" if name in ("ncct", "cta", "dwi", "adc") else "P")
        assert np.asarray(image.convert("L"))[SHOWN[0] :].max() > 200, "a caption"
        np.testing.assert_array_equal(image.convert("RGB"), drawing.image.convert("RGB"))


def test_right_and_left_are_marked():
    shown = grey(pictures_of(scene(planes={"ncct": np.zeros(SHOWN)})))
    right, left = shown[:20, :30] > 0, shown[:20, -30:] > 0
    assert right.any() and left.any() and not shown[:20, 30:-30].any()
    assert right.sum() > left.sum(), "an R has more ink than an L"


def noise():
    rng = np.random.default_rng(1)
    return scene(
        planes={column: rng.uniform(-500, 600, SHOWN) for column in THICKNESS} | {"ncct": rng.uniform(20, 60, SHOWN)},
        lesion=rng.random(SHOWN) < 0.02,
    )


def test_even_pure_noise_stays_within_the_sizes():
    drawings = pictures_of(noise())
    assert MAX_BYTES / 2 < sum(len(drawing.png) for drawing in drawings.values()) <= MAX_BYTES == 300_000
    page = montage(drawings, "noise")
    assert len(page) <= MAX_MONTAGE_BYTES == 120_000
    assert len(small_montage(page)) <= MAX_SMALL_BYTES


def test_common_noise_costs_no_shade():
    rng = np.random.default_rng(1)
    ncct = rng.normal(35, 3, SHOWN)
    drawings = pictures_of(scene(planes={"ncct": ncct}))
    assert len(np.unique(drawings["ncct"].image)) > 100


def test_the_same_scene_gives_the_same_bytes():
    first, second = pictures_of(noise()), pictures_of(noise())
    assert {name: d.png for name, d in first.items()} == {name: d.png for name, d in second.items()}
    assert montage(first, "a") == montage(second, "a") != montage(first, "b")


def test_a_montage_shows_all_pictures_in_order_under_its_line():
    lesion = np.zeros(SHOWN, bool)
    lesion[100:200, 80:160] = True
    drawings = pictures_of(scene(lesion=lesion))
    page = Image.open(io.BytesIO(montage(drawings, "a line of text")))
    assert page.format == "JPEG" and page.size == (4 * SIZE[0], 2 * SIZE[1] + 28)
    assert np.asarray(page.crop((0, 0, page.width, 28))).max() > 200
    for number, drawing in enumerate(drawings.values()):
        corner = number % 4 * SIZE[0], 28 + number // 4 * SIZE[1]
        shown = page.crop((*corner, corner[0] + SIZE[0], corner[1] + SIZE[1]))
        difference = np.abs(np.asarray(shown, int) - np.asarray(drawing.image.convert("RGB"), int))
        assert difference.mean() < 4


def test_a_small_montage_shows_the_same():
    page = Image.open(io.BytesIO(content := montage(pictures_of(scene()), "a line of text")))
    shown = Image.open(io.BytesIO(small_montage(content)))
    assert len(small_montage(content)) <= MAX_SMALL_BYTES
    assert shown.format == "WEBP" and shown.size == (page.width // 2, page.height // 2)
    assert np.abs(np.asarray(shown.convert("RGB"), int) - np.asarray(page.resize(shown.size), int)).mean() < 8


def test_a_long_line_is_made_to_fit():
    drawings = pictures_of(scene())
    pages = [montage(drawings, "word " * count) for count in (10, 30)]
    for page in pages:
        header = np.asarray(Image.open(io.BytesIO(page)).convert("L"))[:28]
        assert header.max() > 150 and header[:, -4:].max() < 60


def test_descriptions_follow_from_the_table():
    described: Mapping[str, str] = {picture.name: picture.description for picture in PICTURES}
    assert described["cta"] == "CT angiography at admission, maximum of a slab of about 20 mm, W 600 L 200 HU"
    assert described["tmax"].endswith("from 0 to 12 in the volume's own numbers, in colours")
    assert "second" not in "".join(described.values())


def test_pictures_of_one_volume_share_its_slab():
    """The volume is read for one slab: another picture must not change the first in silence."""
    assert thickness_of(PICTURES)["cta_ncct"] == 20
    with pytest.raises(ValueError, match="cta_lesion has a slab_mm of 0, which is 20 in another picture of cta_ncct"):
        thickness_of([*PICTURES, replace(PICTURES[1], name="cta_lesion", slab_mm=0)])
