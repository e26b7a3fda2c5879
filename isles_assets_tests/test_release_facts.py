"""The release's facts as the package states them, against the fact sheet's words."""

import hashlib

import pytest

from isles_assets.release.clinical import Known
from isles_assets.release.oddities import Trait
from isles_assets.release.volumes import Grid
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
    subject_id,
)
from isles_assets_tests.materials import headers_of

PATHS = {
    "ncct": "raw_data/sub-stroke0014/ses-01/sub-stroke0014_ses-01_ncct.nii.gz",
    "cta": "raw_data/sub-stroke0014/ses-01/sub-stroke0014_ses-01_cta.nii.gz",
    "ctp": "raw_data/sub-stroke0014/ses-01/sub-stroke0014_ses-01_ctp.nii.gz",
    "cbf": "derivatives/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_space-ncct_cbf.nii.gz",
    "cbv": "derivatives/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_space-ncct_cbv.nii.gz",
    "mtt": "derivatives/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_space-ncct_mtt.nii.gz",
    "tmax": "derivatives/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_space-ncct_tmax.nii.gz",
    "dwi": "derivatives/sub-stroke0014/ses-02/sub-stroke0014_ses-02_space-ncct_dwi.nii.gz",
    "adc": "derivatives/sub-stroke0014/ses-02/sub-stroke0014_ses-02_space-ncct_adc.nii.gz",
    "lesion_mask": "derivatives/sub-stroke0014/ses-02/sub-stroke0014_ses-02_space-ncct_lesion-msk.nii.gz",
    "lvo_mask": "derivatives/sub-stroke0014/ses-01/sub-stroke0014_ses-01_space-ncct_lvo-msk.nii.gz",
    "cow_mask": "derivatives/sub-stroke0014/ses-01/sub-stroke0014_ses-01_space-ncct_cow-msk.nii.gz",
    "cta_ncct": "derivatives/sub-stroke0014/ses-01/sub-stroke0014_ses-01_space-ncct_cta.nii.gz",
    "ctp_ncct": "derivatives/sub-stroke0014/ses-01/sub-stroke0014_ses-01_space-ncct_ctp.nii.gz",
    "cbf_native": "raw_data/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_cbf.nii.gz",
    "cbv_native": "raw_data/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_cbv.nii.gz",
    "mtt_native": "raw_data/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_mtt.nii.gz",
    "tmax_native": "raw_data/sub-stroke0014/ses-01/perfusion-maps/sub-stroke0014_ses-01_tmax.nii.gz",
}
NATIVE = {"cta", "ctp", "cbf_native", "cbv_native", "mtt_native", "tmax_native"}

BASELINE_HEADERS = (
    "Center, Sex, Age, Atrial fibrillation, Hypertension, Diabetes, Hyperlipidemia, Anticoagulation, "
    "Lipid lowering drugs, PAIs, Glucose, Leucocytes, CRP, INR, Wake-up, In-House, Referral, Onset to door, "
    "Alert to door, NIHSS at admission, mRS at admission, mRS premorbid, Door to imaging, Door to groin, "
    "Door to first series, Time of intervention, Door to recanalization"
)
OUTCOME_HEADERS = "TICI postinterventional, NIHSS 24h, mRS 24h, NIHSS discharge, mRS discharge, mRS 3 months"

OTHERWISE_IN_DICTIONARY = {
    "Center": None,
    "Lipid lowering drugs": "Statins",
    "TICI postinterventional": "mTici postinterventional",
    "mRS discharge": "MRS discharge",
    "mRS 3 months": "MRS 3 months",
}
UNITS = {
    "glucose_mg_dl": "mg/dl",
    "leucocytes_g_l": "G/l",
    "crp_mg_dl": "mg/dl",
    "onset_to_door_min": "hrs:min",
    "alert_to_door_min": "hrs:min",
    "door_to_imaging_min": "hrs:min",
    "door_to_groin_min": "hrs:min",
    "door_to_first_series_min": "hrs:min",
    "time_of_intervention_min": "hrs:min",
    "door_to_recanalization_min": "hrs:min",
}
OUTCOMES = {
    "door_to_groin_min",
    "door_to_first_series_min",
    "time_of_intervention_min",
    "door_to_recanalization_min",
    "tici_postinterventional",
    "nihss_24h",
    "mrs_24h",
    "nihss_discharge",
    "mrs_discharge",
    "mrs_3month",
}


def test_the_149_ids_are_those_of_the_fact_sheet():
    assert len(SUBJECT_IDS) == len(set(SUBJECT_IDS)) == 149
    assert tuple(sorted(SUBJECT_IDS)) == SUBJECT_IDS
    listed = "".join(f"{subject}\n" for subject in SUBJECT_IDS)
    assert (
        hashlib.sha256(listed.encode()).hexdigest()
        == "7a7cf757f52dca2645f8a6defcb47fed94705a26e6d83b32aab8ef3bf0861013"
    )


def test_the_withdrawn_case_is_no_subject():
    assert "sub-stroke0160" not in SUBJECT_IDS


def test_every_column_lies_where_the_contract_says():
    assert {volume.column: volume.path("sub-stroke0014") for volume in VOLUMES} == PATHS
    assert len(VOLUMES) == len(BY_COLUMN) == len(PATHS) == 18


def test_every_column_is_on_the_grid_the_contract_says():
    assert {volume.column for volume in VOLUMES if volume.grid is Grid.NATIVE} == NATIVE
    assert {volume.column for volume in REGISTERED} == PATHS.keys() - NATIVE - {"ncct"}


def test_labels_of_the_circle_are_those_that_were_seen():
    assert BY_COLUMN["cow_mask"].labels == (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 15)
    assert {volume.column for volume in VOLUMES if volume.labels} == {"cow_mask"}


def test_the_one_mask_that_is_off_the_grid_in_the_release_is_waived():
    (waiver,) = ISLES24.waivers
    assert (waiver.release, waiver.property, waiver.found) == ("v7", "ncct_grid", "off-grid")
    assert (waiver.subject, waiver.path) == ("sub-stroke0016", BY_COLUMN["cow_mask"].path("sub-stroke0016"))
    assert waiver.count is None and "c8817d49" in waiver.reason
    assert ISLES24.only(["sub-stroke0014"]).waivers == ()


def test_the_interval_of_the_series_is_not_said_to_be_the_headers():
    assert "By the release's text" in BY_COLUMN["ctp"].description


def test_series_alone_have_a_fourth_dimension():
    assert {volume.column for volume in VOLUMES if volume.dimensions == 4} == {"ctp", "ctp_ncct"}


def test_workbooks_lie_where_the_contract_says():
    assert [book.path("sub-stroke0014") for book in (BASELINE, OUTCOME)] == [
        "phenotype/sub-stroke0014/ses-01/sub-stroke0014_ses-01_demographic_baseline.xlsx",
        "phenotype/sub-stroke0014/ses-02/sub-stroke0014_ses-02_outcome.xlsx",
    ]
    assert DICTIONARY.path == "clinical_data-description.xlsx"
    assert ISLES24.sessions == ("ses-01", "ses-02")


def test_release_has_2982_files_with_the_stray():
    assert len(ISLES24.subject_paths("sub-stroke0014")) == 20
    expected = ISLES24.expected_paths()
    strays = [file.path for file in ISLES24.stray_files]
    assert len(expected) == len(set(expected)) == 2_981
    assert len({*expected, *strays}) == 2_982
    assert strays == ["derivatives/sub-stroke0142/ses-02/sub-stroke0142_ses-02_lesion-msk.nii"]


@pytest.mark.parametrize(
    ("workbook", "headers"), [(BASELINE, BASELINE_HEADERS), (OUTCOME, OUTCOME_HEADERS)], ids=["baseline", "outcome"]
)
def test_headers_are_the_files_own_in_file_order(workbook, headers):
    assert ", ".join(headers_of(workbook)) == headers


def test_clinical_columns_are_unique_and_clash_with_no_volume():
    columns = [variable.column for variable in VARIABLES]
    assert len(columns) == len(set(columns)) == 33
    assert not {*columns, "subject_id"} & BY_COLUMN.keys()
    assert all(column == column.lower() and column.isidentifier() for column in columns)


def test_columns_of_the_public_dataset_keep_their_names():
    assert {"age", "sex", "nihss_admission", "mrs_admission", "mrs_3month"} <= {v.column for v in VARIABLES}


def test_dictionary_names_that_differ_are_known():
    assert {v.header: v.dictionary for v in VARIABLES if v.dictionary != v.header} == OTHERWISE_IN_DICTIONARY


def test_units_are_the_dictionarys():
    """It gives none for the age, which our description has to say."""
    units = {v.column: v.unit for v in VARIABLES if v.unit}
    assert units == UNITS
    (age,) = (v for v in VARIABLES if v.column == "age")
    assert "in years" in age.description


@pytest.mark.parametrize(
    ("column", "seen", "odd"),
    [
        ("glucose_mg_dl", (36.04, 54.06, 304), 0),
        ("leucocytes_g_l", (17.5,), 0),
        ("inr", (1.31,), 0),
        ("age", (29.9, 98), 980),
        ("door_to_imaging_min", (0, 670), -1),
        ("nihss_discharge", (42,), 43),
        ("hyperlipidemia", (0, 1), 2),
        ("tici_postinterventional", ("2a", "2b", "2c", "3"), "4"),
    ],
)
def test_ranges_hold_what_was_seen_and_leave_out_what_is_odd(column, seen, odd):
    (variable,) = (v for v in VARIABLES if v.column == column)
    assert all(map(variable.allows, seen)) and not variable.allows(odd)


def test_what_is_known_only_after_admission_is_an_outcome():
    assert {v.column for v in VARIABLES if v.known is Known.OUTCOME} == OUTCOMES


def test_archive_is_pinned():
    record = ISLES24.record
    assert (record.record, record.version, record.archive) == ("17652035", "v7", "train.7z")
    assert (record.size, record.md5) == (99_022_114_670, "4959a5dd2438d53e3c86d6858484e781")
    assert record.doi == "10.5281/zenodo.17652035"
    assert record.license_id == "cc-by-nc-sa-4.0"


@pytest.mark.parametrize("work", ["10.1148/ryai.250603", "2408.11142", "2408.10966", "2312.17670"])
def test_works_to_cite_are_cited(work):
    assert any(work in citation.bibtex for citation in ISLES24.citations)


@pytest.mark.parametrize(
    ("trait", "number"),
    [
        (Trait.SECOND_LESION, 142),
        (Trait.REPLACED_LESION, 145),
        (Trait.REPEATED_ROWS, 180),
        (Trait.DEATH_CODE, 26),
    ],
    ids=str,
)
def test_peculiar_subjects_are_those_of_the_fact_sheet(trait, number):
    assert ISLES24.subjects_with(trait) == (subject_id(number),)


def test_what_can_be_computed_is_not_told_from_memory():
    """Empty masks, values that are not finite and oblique grids are counted, so that no list of them can be wrong."""
    told = " ".join(oddity.text for oddity in ISLES24.oddities).lower()
    assert not [word for word in ("empty", "few voxels", "nan", "finite", "oblique", "data type") if word in told]


def test_peculiar_subjects_are_in_the_release():
    assert {subject for oddity in ISLES24.oddities for subject in oddity.subjects} <= set(SUBJECT_IDS)
