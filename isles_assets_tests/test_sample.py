"""The synthetic tree has the release's layout, encodings and peculiarities, and says that it is synthetic."""

import gzip
from datetime import time, timedelta
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl
import pytest

from isles_assets.cli.sample import main
from isles_assets.lib.findings import Refusal
from isles_assets.reading.nifti import SYNTHETIC_MARK
from isles_assets.release.clinical import Kind
from isles_assets.release.oddities import Trait
from isles_assets.release.volumes import Content, Grid
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2, NAN_TICI, NO_SEX
from isles_assets.sample.tree import FILE_TIME, QFORM_ONLY_LESION, SCALED_LESION, make_sample
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

LESIONS = (Trait.EMPTY_LESION, Trait.TINY_LESION, Trait.OTHER_LESION_TYPE)
OBLIQUE, STRAY_LESION, DUPLICATE_ROWS = map(
    ISLES24.subjects_with, (Trait.OBLIQUE, Trait.SECOND_LESION, Trait.REPEATED_ROWS)
)
OF_LESIONS = [subject for oddity in ISLES24.oddities if oddity.trait in LESIONS for subject in oddity.subjects]
FEW = (subject_id(1), *OBLIQUE[:1], *STRAY_LESION, *DUPLICATE_ROWS)
TMAX_BACKGROUND = -30
STRAY_FILES = [file.path for file in ISLES24.stray_files]
SOME = sorted({*SUBJECT_IDS[::6], *FEW, *SCALED_LESION, *QFORM_ONLY_LESION, *OF_LESIONS})
AFFINE_TOLERANCE = 1e-4


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
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


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
                assert 8 <= len(np.unique(values[values > 0])) <= 12
            elif volume.content in (Content.CT, Content.CT_SERIES):
                assert image.get_data_dtype() == np.int16 and values.min() < -900 and values.max() > 850
            else:
                assert image.get_data_dtype() == np.float32 and np.nanmax(values) > 0


def test_registered_volumes_lie_on_the_ncct_grid_within_rounding(whole):
    exact = []
    for subject in SOME:
        ncct = load(whole, "ncct", subject)
        for volume in REGISTERED:
            image = nib.load(whole / volume.path(subject))
            assert image.shape[:3] == ncct.shape
            np.testing.assert_allclose(image.affine, ncct.affine, rtol=0, atol=AFFINE_TOLERANCE)
            if volume.content is Content.MAP:
                exact.append(np.array_equal(image.affine, ncct.affine))
    assert not any(exact)


def test_native_volumes_share_no_grid_with_the_ncct(whole):
    for subject in SOME:
        ncct, ctp, cta = (load(whole, column, subject) for column in ("ncct", "ctp", "cta"))
        assert ctp.shape[:3] != ncct.shape != cta.shape
        for volume in VOLUMES:
            if volume.grid is Grid.NATIVE and volume.content is Content.MAP:
                image = nib.load(whole / volume.path(subject))
                assert image.shape == ctp.shape[:3]
                np.testing.assert_allclose(image.affine, ctp.affine, rtol=0, atol=AFFINE_TOLERANCE)


def test_grids_vary_like_the_release(whole):
    aligned, oblique, positive_x = [], [], []
    for subject in SUBJECT_IDS:
        image = load(whole, "ncct", subject)
        turned = np.abs(nib.affines.obliquity(image.affine)) > 1e-6
        aligned.append(not turned.any())
        oblique.append(subject if turned.all() else None)
        positive_x.append(image.affine[0, 0] > 0)
        assert (image.shape[1] > image.shape[0]) == turned.any()
    assert 25 <= sum(aligned) <= 50
    assert tuple(filter(None, oblique)) == OBLIQUE
    assert 20 < sum(positive_x) < 129


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
        arteries = (voxels(whole, "cow_mask", subject) > 0) & (series.max(axis=3) > 0)
        assert (series.max(axis=3) - series[..., 0])[arteries].max() > 100


def test_lesions_are_empty_tiny_or_there_as_known(whole):
    for subject in SUBJECT_IDS:
        count = int((voxels(whole, "lesion_mask", subject) > 0.5).sum())
        if subject in ISLES24.subjects_with(Trait.EMPTY_LESION):
            assert count == 0
        elif subject in ISLES24.subjects_with(Trait.TINY_LESION):
            assert count == 3
        else:
            assert count > 3


def test_some_occlusion_masks_are_empty_and_most_are_not(whole):
    marked = [bool(voxels(whole, "lvo_mask", subject).any()) for subject in SUBJECT_IDS]
    assert len(marked) / 2 < sum(marked) < len(marked)


def test_lesion_masks_are_stored_in_the_ways_of_the_release(whole):
    replaced = ISLES24.subjects_with(Trait.OTHER_LESION_TYPE)
    for subject in SUBJECT_IDS:
        image = load(whole, "lesion_mask", subject)
        scaled, qform_only = subject in SCALED_LESION, subject in QFORM_ONLY_LESION
        assert image.get_data_dtype() == ("u2" if scaled or subject in replaced else "f8")
        assert (image.header["sform_code"] == 0) == qform_only
        assert load(whole, "ncct", subject).header["sform_code"] > 0
        if scaled:
            assert set(np.unique(image.dataobj.get_unscaled())) == {0, 65535}
            assert image.dataobj.slope == pytest.approx(1.5259e-05)


def test_mtt_is_not_finite_in_the_known_subjects_only(whole):
    for subject in SUBJECT_IDS:
        values = voxels(whole, "mtt", subject)
        known = subject in ISLES24.subjects_with(Trait.NON_FINITE_MTT)
        assert (np.isnan(values).any(), np.isinf(values).any()) == (known, known)
        for column in ("cbf", "cbv", "tmax"):
            assert np.isfinite(voxels(whole, column, subject)).all()


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
    odd = []
    for subject, variable, cell in clinical(whole):
        if cell is None:
            continue
        if variable.kind is Kind.MINUTES:
            if isinstance(cell, str):
                hours, minutes = map(int, cell.split(":"))
            else:
                assert isinstance(cell, time | timedelta)
                whole_minutes = (
                    cell.hour * 60 + cell.minute if isinstance(cell, time) else round(cell.total_seconds() / 60)
                )
                hours, minutes = divmod(whole_minutes, 60)
            value = 60 * hours + minutes
        else:
            value = str(cell) if variable.kind is Kind.LEVEL else cell
        if not variable.allows(value):
            odd.append((subject, variable.column, value))
    assert odd == [(HYPERLIPIDEMIA_2, "hyperlipidemia", 2), (NAN_TICI, "tici_postinterventional", "nan")]


def test_clinical_cells_are_mixed_and_missing_like_the_release(whole):
    cells = list(clinical(whole))
    durations = {type(cell) for _, variable, cell in cells if variable.kind is Kind.MINUTES and cell is not None}
    assert durations == {time, timedelta, str}
    assert any(isinstance(cell, timedelta) and cell >= timedelta(days=1) for *_, cell in cells)
    tici = {type(cell) for _, variable, cell in cells if variable.column == "tici_postinterventional"}
    assert {int, str} <= tici
    assert [s for s, variable, cell in cells if variable.column == "sex" and cell is None] == [NO_SEX]

    def missing(column):
        return sum(cell is None for _, variable, cell in cells if variable.column == column)

    assert missing("center") == missing("age") == 0
    assert 50 < missing("onset_to_door_min") < 100
    assert missing("alert_to_door_min") > 115
    assert 40 < missing("crp_mg_dl") < 80


def test_age_is_whole_in_centre_1_and_fractional_in_centre_2(whole):
    for subject in SUBJECT_IDS:
        row = rows(whole, BASELINE, subject)[0]
        assert row["Center"] == (2 if 133 <= int(subject[-4:]) <= 182 else 1)
        assert (row["Age"] == int(row["Age"])) == (row["Center"] == 1)


def test_dictionary_is_laid_out_like_the_release(few):
    book = openpyxl.load_workbook(few / DICTIONARY.path)
    table = list(book[DICTIONARY.sheet].iter_rows(values_only=True))
    assert table[0][0] == SYNTHETIC_MARK
    assert table[DICTIONARY.header_row - 1] == DICTIONARY.headers
    listed = table[DICTIONARY.header_row :]
    known = [variable for variable in VARIABLES if variable.dictionary is not None]
    assert [row[1] for row in listed] == [DICTIONARY.identifier] + [variable.dictionary for variable in known]
    assert [row[2] for row in listed[1:]] == [variable.unit for variable in known]
    assert all(row[3] and row[4] for row in listed)


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
        np.testing.assert_allclose(image.affine, affine, rtol=0, atol=AFFINE_TOLERANCE)
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
    assert list(tmp_path.iterdir()) == [root]
    with pytest.raises(SystemExit):
        main([str(root), "--lesion", "no-equals-sign"])


def test_outcome_workbook_holds_no_subject_id(few):
    for workbook in (BASELINE, OUTCOME):
        for row in rows(few, workbook, FEW[0]):
            assert FEW[0] not in map(str, row.values())
