"""The synthetic tree has the release's layout, encodings and peculiarities, and says that it is synthetic."""

import gzip
import re
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl
import pandas as pd
import pytest
from nibabel.affines import apply_affine, obliquity

from isles_assets.cli.sample import main
from isles_assets.lib.findings import Refusal
from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.release.clinical import Kind
from isles_assets.release.volumes import Content, Grid
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2
from isles_assets.sample.grids import draw_geometry
from isles_assets.sample.peculiar import (
    NON_FINITE_MTT,
    OBLIQUE_1,
    QFORM_ONLY_LESION,
    RESTORED_LESION,
    SCALED_LESION,
    THIRD_A2,
    TILTED_2,
)
from isles_assets.sample.phantom import LEFT_MCA, RIGHT_MCA
from isles_assets.sample.tree import FILE_TIME, make_sample
from isles_assets_tests.isles24 import (
    BASELINE,
    BY_COLUMN,
    DICTIONARY,
    ISLES24,
    OUTCOME,
    REGISTERED,
    SUBJECT_IDS,
    VARIABLES,
    VOLUMES,
    WORKBOOKS,
    subject_id,
)


def ids(*numbers):
    return tuple(map(subject_id, numbers))


STRAY_LESION, DUPLICATE_ROWS = ids(142), ids(180)
EMPTY_LESION, TINY_LESION, EMPTY_LVO = ids(141, 162), ids(171), ids(100, 141, 147, 163)
(OFF_GRID,) = ids(16)
FAR = dict(
    zip(
        ids(77, 78, 79, 104, 109, 112, 114, 117, 185),
        (-1050.9, -1156, -1272.57, -1101.48, -1079.87, -1176.78, -1191.13, -1029.81, -1183.51),
        strict=True,
    )
)
"""The z translation of the NCCT in mm."""

FEW = (*ids(1), *OBLIQUE_1[:1], *STRAY_LESION, *DUPLICATE_ROWS)
LOWEST_MTT = {"sub-stroke0001": -54112, "sub-stroke0005": -20880}
TMAX_BACKGROUND, CTP_PADDING = -30, -1000
STRAY_FILES = [file.path for file in ISLES24.stray_files]
WAYS_OF_LESIONS = {*SCALED_LESION, *QFORM_ONLY_LESION, *RESTORED_LESION}
SOME = sorted({*SUBJECT_IDS[::6], *FEW, *WAYS_OF_LESIONS, *EMPTY_LESION, *TINY_LESION, OFF_GRID})
MAP_ROUNDING = 1e-5
DURATION = re.compile(r"\d\d:[0-5]\d:[0-5]\d(\.\d{6})?")


@pytest.fixture(scope="module")
def whole(sample_tree):
    return sample_tree


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    root = tmp_path_factory.mktemp("few") / "train"
    make_sample(ISLES24.only(FEW), root)
    return root


def files_of(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def expected_files(subjects):
    volumes = {volume.path(subject) for volume in VOLUMES for subject in subjects}
    workbooks = {workbook.path(subject) for workbook in WORKBOOKS for subject in subjects}
    strays = {path for path in STRAY_FILES if any(subject in path for subject in subjects)}
    return volumes | workbooks | strays | {DICTIONARY.path}


def contents(root):
    return {path: ((root / path).read_bytes(), (root / path).stat().st_mtime_ns) for path in files_of(root)}


def load(root, column, subject):
    return nib.load(root / BY_COLUMN[column].path(subject))


def voxels(root, column, subject):
    return np.asanyarray(load(root, column, subject).dataobj)


def rows(root, workbook, subject):
    """Data rows by header."""
    sheet = openpyxl.load_workbook(root / workbook.path(subject)).worksheets[0]
    header, *data = sheet.iter_rows(values_only=True)
    return [dict(zip(header, row, strict=True)) for row in data]


def test_all_subjects_have_exactly_the_files_of_the_release(whole):
    assert files_of(whole) == expected_files(SUBJECT_IDS)
    assert len(files_of(whole)) == 2982


def test_chosen_subjects_have_exactly_their_files(tmp_path):
    subjects = (subject_id(2), subject_id(189))
    make_sample(ISLES24.only(subjects), tmp_path / "train")
    assert files_of(tmp_path / "train") == expected_files(subjects)
    assert {path.name for path in tmp_path.iterdir()} == {"train", "train.listing.json"}


def test_whole_sample_is_small(whole):
    assert sum((whole / path).stat().st_size for path in files_of(whole)) < 80e6


def test_same_seed_gives_same_bytes_and_times_whatever_the_workers(few, tmp_path):
    make_sample(ISLES24.only(FEW[::-1]), tmp_path / "again", workers=2)
    assert contents(tmp_path / "again") == contents(few)
    assert {when for _, when in contents(few).values()} == {int(FILE_TIME * 1e9)}


def test_a_subject_does_not_depend_on_who_else_is_written(few, whole):
    assert contents(few).items() <= contents(whole).items()


def test_another_seed_gives_other_heads(few, tmp_path):
    make_sample(ISLES24.only(FEW[:1]), tmp_path / "other", seed=7)
    path = BY_COLUMN["ncct"].path(FEW[0])
    assert (tmp_path / "other" / path).read_bytes() != (few / path).read_bytes()


def test_every_volume_decodes_to_what_it_should_hold(whole):
    for subject in SOME:
        for volume in VOLUMES:
            path = whole / volume.path(subject)
            image = nib.load(path)
            values = np.asanyarray(image.dataobj)
            assert values.ndim == volume.dimensions
            assert bytes(image.header["descrip"]).rstrip(b"\0") == SYNTHETIC_MARK.encode()
            assert path.read_bytes()[3:8] == bytes(5), "gzip header holds a name or a time"
            if volume.content is Content.MASK:
                assert set(np.unique(np.rint(values))) <= {0, 1} and np.allclose(values, np.rint(values), atol=1e-4)
            elif volume.content is Content.LABELS:
                assert 8 <= len(np.unique(values[values > 0])) <= 13
            elif volume.content in (Content.CT, Content.CT_SERIES):
                assert image.get_data_dtype() == np.int16 and values.min() < -900 and values.max() > 850
            else:
                assert image.get_data_dtype() == np.float32 and np.nanmax(values) > 0


def on_the_ncct_grid(subject):
    return [volume for volume in REGISTERED if (subject, volume.column) != (OFF_GRID, "cow_mask")]


def sform_of(image):
    """The stored affine (3, 4), float32."""
    return np.array([image.header[f"srow_{axis}"] for axis in "xyz"])


def test_registered_volumes_lie_on_the_ncct_grid_within_rounding(whole):
    """A map's affine is rounded otherwise; all others but that of a lesion in the qform alone are bit-equal."""
    for subject in set(SOME).difference(FAR):
        ncct = load(whole, "ncct", subject)
        for volume in on_the_ncct_grid(subject):
            image = nib.load(whole / volume.path(subject))
            assert image.shape[:3] == ncct.shape
            if volume.content is Content.MAP:
                assert 0 < np.abs(sform_of(image) - sform_of(ncct)).max() < 4 * MAP_ROUNDING
            elif image.header["sform_code"]:
                np.testing.assert_array_equal(sform_of(image), sform_of(ncct))
            else:
                np.testing.assert_allclose(image.affine, ncct.affine, rtol=0, atol=1e-4)


def test_far_nccts_are_there_and_what_is_registered_is_one_step_of_float32_off(whole):
    for subject in SUBJECT_IDS:
        ncct = load(whole, "ncct", subject)
        assert (np.abs(ncct.affine[:3, 3]).max() > 1024) == (subject in FAR)
    for subject, translation in FAR.items():
        stored = sform_of(load(whole, "ncct", subject))
        assert stored[2, 3] == np.float32(translation)
        for volume in REGISTERED:
            off = sform_of(nib.load(whole / volume.path(subject)))
            assert off.dtype == np.float32 and off[2, 3] == np.nextafter(stored[2, 3], np.float32(0))
            assert 1e-4 < off[2, 3] - stored[2, 3] < 1.3e-4
            off[2, 3] = stored[2, 3]
            np.testing.assert_allclose(off, stored, rtol=0, atol=2 * MAP_ROUNDING)


def test_one_circle_mask_lies_on_another_grid_where_the_same_anatomy_is(whole):
    """Its labels are at the same places in mm as the arteries of the CT angiography on the NCCT's grid.

    The arteries past a clot are dark.
    """
    different = []
    for subject in SUBJECT_IDS:
        ncct, circle = load(whole, "ncct", subject), load(whole, "cow_mask", subject)
        if circle.shape != ncct.shape or np.abs(circle.affine - ncct.affine).max() > 1e-3:
            different.append(subject)
    assert different == [OFF_GRID]

    circle, angiography = load(whole, "cow_mask", OFF_GRID), load(whole, "cta_ncct", OFF_GRID)
    usual = load(whole, "cow_mask", SUBJECT_IDS[0])
    assert circle.get_data_dtype() != usual.get_data_dtype()
    path = BY_COLUMN["cow_mask"].path
    packed, usually = ((whole / path(subject)).read_bytes()[8] for subject in (OFF_GRID, SUBJECT_IDS[0]))
    assert packed != usually == 4, "the gzip header does not say that the others were packed fast"

    enhanced = np.asanyarray(angiography.dataobj)
    arteries = apply_affine(angiography.affine, np.argwhere((enhanced > 200) & (enhanced < 400)))  # brighter is bone
    labels = np.asanyarray(circle.dataobj)

    def to_arteries(label, affine):
        """The median distance in mm."""
        points = apply_affine(affine, np.argwhere(labels == label))
        return np.median(np.linalg.norm(points[:, None] - arteries, axis=2).min(axis=1))

    carry_blood = [label for label in np.unique(labels[labels > 0]) if label not in (RIGHT_MCA, LEFT_MCA)]
    assert max(to_arteries(label, circle.affine) for label in carry_blood) < circle.header.get_zooms()[2] / 2
    assert np.median([to_arteries(label, angiography.affine) for label in carry_blood]) > 10


@pytest.mark.parametrize(
    ("release_scale", "ncct", "circle"), [(True, (512, 610, 80), (512, 512, 50)), (False, (48, 58, 12), (48, 48, 8))]
)
def test_the_other_grid_is_as_large_as_in_the_release(release_scale, ncct, circle):
    geometry = draw_geometry(OFF_GRID, 2024, release_scale=release_scale)
    assert (geometry.ncct.shape, geometry.circle.shape) == (ncct, circle)


def test_circle_labels_are_those_of_the_release(whole):
    labels = {subject: set(np.unique(voxels(whole, "cow_mask", subject)).tolist()) for subject in SUBJECT_IDS}
    assert set().union(*labels.values()) == {*range(13), 15}
    assert tuple(subject for subject in SUBJECT_IDS if 15 in labels[subject]) == THIRD_A2
    assert len(THIRD_A2) == 5


def test_native_volumes_share_no_grid_with_the_ncct(whole):
    for subject in SOME:
        ncct, ctp, cta = (load(whole, column, subject) for column in ("ncct", "ctp", "cta"))
        assert ctp.shape[:3] != ncct.shape != cta.shape
        for volume in VOLUMES:
            if volume.grid is Grid.NATIVE and volume.content is Content.MAP:
                image = nib.load(whole / volume.path(subject))
                assert image.shape == ctp.shape[:3]
                np.testing.assert_allclose(image.affine, ctp.affine, rtol=0, atol=2 * MAP_ROUNDING)


def test_grids_vary_like_the_release(whole):
    turned, oblique, positive_x = set(), set(), []
    for subject in SUBJECT_IDS:
        image = load(whole, "ncct", subject)
        axes = np.abs(obliquity(image.affine)) > 1e-6
        if axes.any():
            turned.add(subject)
        if axes.all():
            oblique.add(subject)
        positive_x.append(image.affine[0, 0] > 0)
        assert (image.shape[1] > image.shape[0]) == axes.any()
    centre_2 = {subject for subject in SUBJECT_IDS if 133 <= int(subject[-4:]) <= 182}
    assert centre_2 - turned == {*ids(137, 154, 158, 170)}
    assert oblique == (centre_2 & turned) - {*TILTED_2} | {*ids(15, 26)}
    assert 25 <= len(SUBJECT_IDS) - len(turned) <= 50
    assert 20 < sum(positive_x) < 129


def test_a_registered_series_has_no_frame_time_and_is_padded_with_air(whole):
    for subject in SOME:
        native, registered = load(whole, "ctp", subject), load(whole, "ctp_ncct", subject)
        assert native.header["pixdim"][4] > 0 and native.header.get_xyzt_units() == ("mm", "sec")
        assert registered.header["pixdim"][4] == 0 and registered.header.get_xyzt_units() == ("mm", "unknown")
        faces = np.asanyarray(registered.dataobj)[:, :, [0, -1]]
        assert np.mean(faces.max(axis=-1) == CTP_PADDING) > 0.5


def test_background_of_tmax_is_exact(few):
    for subject in FEW:
        values = voxels(few, "tmax", subject)
        assert (values == TMAX_BACKGROUND).mean() > 0.5
        assert values[values != TMAX_BACKGROUND].min() > -5
        assert (voxels(few, "cbf", subject) == 0).mean() > 0.5


def test_stroke_shows_in_the_images(whole):
    for subject in FEW:
        lesion = voxels(whole, "lesion_mask", subject) > 0.5
        brain = (voxels(whole, "cbf", subject) > 20) & ~lesion
        assert np.median(voxels(whole, "dwi", subject)[lesion]) > np.median(voxels(whole, "dwi", subject)[brain]) * 1.5
        assert np.median(voxels(whole, "adc", subject)[lesion]) < np.median(voxels(whole, "adc", subject)[brain]) * 0.8
        series = voxels(whole, "ctp_ncct", subject).astype(float)
        arteries = (voxels(whole, "cow_mask", subject) > 0) & (series.max(axis=3) > CTP_PADDING)
        assert (series.max(axis=3) - series[..., 0])[arteries].max() > 100


def test_lesions_are_empty_tiny_or_there_as_known(whole):
    for subject in SUBJECT_IDS:
        count = int((voxels(whole, "lesion_mask", subject) > 0.5).sum())
        if subject in EMPTY_LESION:
            assert count == 0
        elif subject in TINY_LESION:
            assert count == 3
        else:
            assert count > 3


def test_four_occlusion_masks_are_empty(whole):
    assert tuple(s for s in SUBJECT_IDS if not voxels(whole, "lvo_mask", s).any()) == EMPTY_LVO


def test_lesion_masks_are_stored_in_the_ways_of_the_release(whole):
    for subject in SUBJECT_IDS:
        image = load(whole, "lesion_mask", subject)
        scaled, qform_only = subject in SCALED_LESION, subject in QFORM_ONLY_LESION
        assert image.get_data_dtype() == ("u2" if scaled or subject in RESTORED_LESION else "f8")
        assert (image.header["sform_code"] == 0) == qform_only
        assert load(whole, "ncct", subject).header["sform_code"] > 0
        if scaled:
            assert set(np.unique(image.dataobj.get_unscaled())) == {0, 65535}
            assert image.dataobj.slope == pytest.approx(1.5259e-05)


def test_mtt_is_odd_where_it_is_known_to_be(whole):
    non_finite = {}
    for subject in SUBJECT_IDS:
        values = voxels(whole, "mtt", subject)
        non_finite[subject] = np.count_nonzero(~np.isfinite(values))
        lowest = values[np.isfinite(values)].min()
        assert lowest == LOWEST_MTT.get(subject, lowest) and (lowest < -5) == (subject in LOWEST_MTT)
        known = subject in (*NON_FINITE_MTT, "sub-stroke0001")
        assert (np.isnan(values).any(), np.isinf(values).any()) == (known, known)
        for column in ("cbf", "cbv", "tmax"):
            assert np.isfinite(voxels(whole, column, subject)).all()
    assert non_finite["sub-stroke0001"] == 2
    (most, count), (_, second) = Counter(non_finite).most_common(2)
    assert most == "sub-stroke0113" and count > 3 * second


def test_stray_mask_is_the_uncompressed_lesion(whole):
    (stray,) = STRAY_FILES
    (subject,) = STRAY_LESION
    image = nib.load(whole / stray)
    assert image.get_data_dtype() == np.uint16
    assert (whole / stray).stat().st_size == 352 + 2 * np.prod(image.shape)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), voxels(whole, "lesion_mask", subject))


def test_workbooks_have_the_release_headers_and_rows(whole):
    for workbook in WORKBOOKS:
        headers = [variable.header for variable in VARIABLES if variable.workbook is workbook]
        for subject in SOME:
            book = openpyxl.load_workbook(whole / workbook.path(subject))
            assert book.properties.title == SYNTHETIC_MARK
            header, first, *rest = book.worksheets[0].iter_rows(values_only=True)
            assert list(header) == headers
            assert rest == ([first] if subject in DUPLICATE_ROWS else [])


def clinical(root):
    """(subject, variable, cell) of every cell in the first row of every workbook."""
    for workbook in WORKBOOKS:
        variables = [variable for variable in VARIABLES if variable.workbook is workbook]
        for subject in SUBJECT_IDS:
            row = rows(root, workbook, subject)[0]
            yield from ((subject, variable, row[variable.header]) for variable in variables)


def test_clinical_values_are_allowed_but_for_the_known_ones(whole):
    odd = [
        (subject, variable.column, cell)
        for subject, variable, cell in clinical(whole)
        if cell not in (None, "nan")
        and variable.kind is not Kind.MINUTES
        and not variable.allows(str(cell) if variable.kind is Kind.LEVEL else cell)
    ]
    assert odd == [
        (subject_id(27), "glucose_mg_dl", 0),
        (subject_id(27), "leucocytes_g_l", 0),
        (subject_id(27), "inr", 0),
        (HYPERLIPIDEMIA_2, "hyperlipidemia", 2),
    ]


def test_durations_are_text_with_or_without_microseconds(whole):
    cells = [
        (subject, variable.column, cell)
        for subject, variable, cell in clinical(whole)
        if variable.kind is Kind.MINUTES and cell is not None
    ]
    assert all(isinstance(cell, str) and DURATION.fullmatch(cell) for *_, cell in cells)
    assert {len(cell) for *_, cell in cells} == {len("00:04:12"), len("00:13:26.400000")}
    minutes = {(s, column): pd.to_timedelta(cell).total_seconds() / 60 for s, column, cell in cells}
    assert min(minutes.values()) == minutes[subject_id(55), "door_to_groin_min"] == 0
    assert Counter(minutes).most_common(2) == [
        ((subject_id(133), "door_to_imaging_min"), 670),
        ((subject_id(40), "door_to_imaging_min"), 596),
    ]


def test_clinical_cells_are_of_the_releases_types_and_missing_like_there(whole):
    cells = {(subject, variable.column): cell for subject, variable, cell in clinical(whole)}

    def column(name):
        return {subject: cells[subject, name] for subject in SUBJECT_IDS}

    def missing(name):
        return [subject for subject, cell in column(name).items() if cell is None]

    tici = column("tici_postinterventional")
    assert {(type(cell), cell) for cell in tici.values()} == {(int, 3), *((str, t) for t in ("2a", "2b", "2c", "nan"))}
    assert {subject for subject, cell in tici.items() if cell == "nan"} == {
        subject for subject in SUBJECT_IDS if 133 <= int(subject[-4:]) <= 182
    }
    assert {subject: cell for subject, cell in column("sex").items() if cell not in ("M", "F")} == {
        subject_id(157): "nan"
    }
    assert missing("center") == [subject_id(75)] and missing("age") == missing("sex") == []
    assert 50 < len(missing("onset_to_door_min")) < 100
    assert len(missing("alert_to_door_min")) > 115
    for name in ("crp_mg_dl", "mrs_admission", "nihss_discharge", "mrs_discharge"):
        assert 40 < len(missing(name)) < 80
    assert len(missing("mrs_3month")) < 40


def test_odd_clinical_values_are_those_of_the_release(whole):
    cells = {(subject, variable.column): cell for subject, variable, cell in clinical(whole)}
    for name in ("glucose_mg_dl", "leucocytes_g_l", "crp_mg_dl", "inr"):
        assert cells[subject_id(27), name] == 0
    assert (cells[subject_id(26), "nihss_discharge"], cells[subject_id(26), "mrs_discharge"]) == (42, 6)
    low = {136: 90.1, 157: 36.04, 180: 54.06}
    assert {number: cells[subject_id(number), "glucose_mg_dl"] for number in low} == low
    glucose = {s: cells[s, "glucose_mg_dl"] for s in SUBJECT_IDS if cells[s, "glucose_mg_dl"] is not None}
    whole_mmol = [subject for subject, value in glucose.items() if value and abs(value / 18.02 % 1 - 0.5) > 0.4999]
    assert set(whole_mmol) == {subject for subject in glucose if 133 <= int(subject[-4:]) <= 182}


def test_age_is_whole_in_centre_1_and_fractional_in_centre_2(whole):
    for subject in SUBJECT_IDS:
        row = rows(whole, BASELINE, subject)[0]
        centre = 2 if 133 <= int(subject[-4:]) <= 182 else 1
        assert row["Center"] == (None if subject == subject_id(75) else centre)
        assert (row["Age"] == int(row["Age"])) == (centre == 1)


def test_dictionary_is_the_releases_cell_by_cell(few):
    """But for the words of title and descriptions, which are our own."""
    sheet = openpyxl.load_workbook(few / DICTIONARY.path)[DICTIONARY.sheet]
    assert sheet.dimensions == "A1:E36"
    title, second, header, *listed = sheet.iter_rows(values_only=True)
    assert title[0].startswith(SYNTHETIC_MARK) and title[1:] == (None,) * 4
    assert second == (None,) * 5
    assert header == ("Timepoint", "Parameter", "Unit", "Data type", "Description")

    timepoints, parameters, units, types, descriptions = zip(*listed, strict=True)
    assert timepoints == ("Baseline",) * 27 + ("Outcome",) * 6
    assert parameters == (
        "Identifier", "Sex", "Age", "Atrial fibrillation", "Hypertension", "Diabetes", "Hyperlipidemia",
        "Anticoagulation", "Statins", "PAIs", "Glucose", "Leucocytes", "CRP", "INR", "Wake-up", "In-House", "Referral",
        "Onset to door", "Alert to door", "NIHSS at admission", "mRS at admission", "mRS premorbid", "Door to imaging",
        "Door to groin", "Door to first series", "Time of intervention", "Door to recanalization",
        "mTici postinterventional", "NIHSS 24h", "mRS 24h", "NIHSS discharge", "MRS discharge", "MRS 3 months",
    )  # fmt: skip
    laboratory = {"Glucose": "mg/dl", "Leucocytes": "G/l", "CRP": "mg/dl"}
    durations = dict.fromkeys(p for p, kind in zip(parameters, types, strict=True) if kind == "duration")
    assert len(durations) == 7
    given = {parameter: unit for parameter, unit in zip(parameters, units, strict=True) if unit is not None}
    assert given == laboratory | dict.fromkeys(durations, "hrs:min")
    assert types == (
        "text", "categorial", "numerical integer", *("categorial",) * 7, *("numerical float",) * 4,
        *("categorial",) * 3, *("duration",) * 2, *("numerical integer",) * 3, *("duration",) * 5, "ordinal",
        *("numerical integer",) * 5,
    )  # fmt: skip
    assert all(descriptions) and title[0].endswith(" ")
    assert any("  " in text for text in descriptions) and any(text.endswith(" ") for text in descriptions)


def test_a_given_lesion_is_kept_byte_for_byte_and_sets_the_grid(tmp_path):
    mask = np.zeros((30, 34, 9), dtype=np.uint16)
    mask[18:22, 15:19, 4:6] = 1
    affine = np.diag((-7.0, 7.0, 13.0, 1.0))
    given = tmp_path / "mask.nii.gz"
    nib.save(nib.Nifti1Image(mask, affine), given)
    subject = subject_id(14)
    make_sample(ISLES24.only([subject]), tmp_path / "train", lesions={subject: given})
    assert (tmp_path / "train" / BY_COLUMN["lesion_mask"].path(subject)).read_bytes() == given.read_bytes()
    for volume in REGISTERED:
        image = nib.load(tmp_path / "train" / volume.path(subject))
        assert image.shape[:3] == mask.shape
        np.testing.assert_allclose(image.affine, affine, rtol=0, atol=2 * MAP_ROUNDING)
    dwi = voxels(tmp_path / "train", "dwi", subject)
    assert np.median(dwi[mask > 0]) > 2 * np.median(dwi[(mask == 0) & (dwi > 200)])


def test_refuses_an_existing_root(tmp_path):
    root = tmp_path / "train"
    root.mkdir()
    with pytest.raises(Refusal, match="exists already"):
        make_sample(ISLES24.only(FEW[:1]), root)
    assert list(tmp_path.rglob("*")) == [root]


@pytest.mark.parametrize(
    "arguments",
    [
        {"release_scale": [FEW[1]]},
        {"lesions": {FEW[0]: Path("nowhere.nii.gz")}},
        {"lesions": {FEW[0]: Path(__file__)}},
    ],
)
def test_refuses_what_does_not_fit(tmp_path, arguments):
    with pytest.raises(Refusal):
        make_sample(ISLES24.only(FEW[:1]), tmp_path / "train", **arguments)
    assert list(tmp_path.iterdir()) == []


def test_refuses_a_subject_that_the_release_does_not_have():
    with pytest.raises(Refusal) as refusal:
        ISLES24.only(["sub-stroke0160"])
    assert [finding.subject for finding in refusal.value.findings] == ["sub-stroke0160"]


@pytest.mark.parametrize("workers", [1, 2])
def test_leaves_nothing_behind_when_it_fails(tmp_path, workers):
    """A mask whose header is sound and whose voxels are cut off fails in the middle of the work."""
    random = np.random.default_rng(0).integers(0, 2**16, (40, 40, 12), dtype=np.uint16)
    whole = nib.Nifti1Image(random, np.eye(4)).to_bytes()
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(gzip.compress(whole[: len(whole) // 2]))
    with pytest.raises(OSError):
        make_sample(ISLES24.only(FEW), tmp_path / "train", lesions={FEW[0]: cut}, workers=workers)
    assert list(tmp_path.iterdir()) == [cut]


def test_command_line(tmp_path, caplog):
    root = tmp_path / "train"
    assert main([str(root), "--subject", FEW[0], FEW[1], "--seed", "3"]) == 0
    assert files_of(root) == expected_files(FEW[:2])
    assert main([str(root)]) == 1
    assert "exists already" in caplog.text
    assert main([str(tmp_path / "other"), "--subject", "sub-stroke0160"]) == 1
    assert "sub-stroke0160: is no subject of the release" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"train", "train.listing.json"}
    with pytest.raises(SystemExit):
        main([str(root), "--lesion", "no-equals-sign"])


def test_outcome_workbook_holds_no_subject_id(few):
    for workbook in (BASELINE, OUTCOME):
        for row in rows(few, workbook, FEW[0]):
            assert FEW[0] not in map(str, row.values())
