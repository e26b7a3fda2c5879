"""ISLES'24, version 7: the facts of the release. Data only.

A subject, volume, clinical variable, oddity or citation is one line here. Paths, schemas, checks, manifest, sample and
card are derived.

Source:
    Zenodo record 17652035, the release's own files and papers.
"""

from dataclasses import replace

from isles_assets.release.clinical import Dictionary, Kind, Known, Variable, Workbook
from isles_assets.release.guidance import Guidance
from isles_assets.release.oddities import Oddity, StrayFile, Trait
from isles_assets.release.release import Release
from isles_assets.release.volumes import Content, Grid, Volume
from isles_assets.release.waivers import Waiver
from isles_assets.release.zenodo_record import Citation, ZenodoRecord

# Most gaps are the challenge's hidden test cases. 0160 was in the challenge release of 2024, but is not in v7.
_NUMBERS = (
    *range(1, 18), *range(19, 23), *range(25, 29), 30, 33, *range(36, 39), 40, 43, 45, *range(47, 50),
    *range(52, 56), 57, 62, 66, 68, 70, 71, *range(73, 120), *range(133, 160), *range(161, 190),
)  # fmt: skip


def subject_id(number: int) -> str:
    """Return the id of the subject with that number: 14 -> `sub-stroke0014`."""
    return f"sub-stroke{number:04d}"


_TMAX_BACKGROUND = -30.0  # of a Tmax map outside the brain; the other maps have 0 there
_CIRCLE_LABELS = (*range(1, 13), 15)  # 13 and 14 occur in no subject
# Source: the scheme of TopCoW; the names of 1 to 7 and 12 are in tables that others made of the release.
_CIRCLE_NAMES = (
    "BA", "R-PCA", "L-PCA", "R-ICA", "R-MCA", "L-ICA", "L-MCA", "R-Pcom", "L-Pcom", "Acom", "R-ACA", "L-ACA", "3rd-A2",
)  # fmt: skip
_RAW, _DERIVED = "raw_data", "derivatives"
_CT, _MRI = "ses-01", "ses-02"
_MAPS = "perfusion-maps"

_VOLUMES: tuple[Volume, ...] = (
    Volume("ncct", _RAW, _CT, "", "ncct", Grid.COMMON, Content.CT,
           "Non-contrast CT at admission; its grid is the common grid",
           bids="ct/acq-ncct_ct"),
    Volume("cta", _RAW, _CT, "", "cta", Grid.NATIVE, Content.CT,
           "CT angiography at admission, as acquired",
           bids="ct/acq-cta_ct"),
    Volume("ctp", _RAW, _CT, "", "ctp", Grid.NATIVE, Content.CT_SERIES,
           "CT perfusion series at admission on its own grid. By the release's text it is motion-corrected and "
           "resampled to one frame a second; headers need not state the interval",
           bids="ct/acq-ctp_ct"),
    Volume("cbf", _DERIVED, _CT, _MAPS, "space-ncct_cbf", Grid.COMMON, Content.MAP,
           "Cerebral blood flow, resampled to the NCCT",
           bids="ct/space-ncct_cbf"),
    Volume("cbv", _DERIVED, _CT, _MAPS, "space-ncct_cbv", Grid.COMMON, Content.MAP,
           "Cerebral blood volume, resampled to the NCCT",
           bids="ct/space-ncct_cbv"),
    Volume("mtt", _DERIVED, _CT, _MAPS, "space-ncct_mtt", Grid.COMMON, Content.MAP,
           "Mean transit time, resampled to the NCCT; some subjects hold non-finite voxels",
           bids="ct/space-ncct_mtt"),
    Volume("tmax", _DERIVED, _CT, _MAPS, "space-ncct_tmax", Grid.COMMON, Content.MAP,
           f"Time to maximum of the residue function, resampled to the NCCT; background is {_TMAX_BACKGROUND:g}",
           background=_TMAX_BACKGROUND,
           bids="ct/space-ncct_tmax"),
    Volume("dwi", _DERIVED, _MRI, "", "space-ncct_dwi", Grid.COMMON, Content.MRI,
           "Follow-up diffusion-weighted MRI, registered to the NCCT",
           bids="dwi/space-ncct_trace"),
    Volume("adc", _DERIVED, _MRI, "", "space-ncct_adc", Grid.COMMON, Content.MRI,
           "Follow-up apparent diffusion coefficient, registered to the NCCT",
           bids="dwi/space-ncct_ADC"),
    Volume("lesion_mask", _DERIVED, _MRI, "", "space-ncct_lesion-msk", Grid.COMMON, Content.MASK,
           "Final infarct drawn on the follow-up MRI; empty in two subjects",
           bids="anat/space-ncct_label-lesion_mask"),
    Volume("lvo_mask", _DERIVED, _CT, "", "space-ncct_lvo-msk", Grid.COMMON, Content.MASK,
           "Large vessel occlusion; empty in some subjects",
           bids="anat/space-ncct_label-lvo_mask"),
    Volume("cow_mask", _DERIVED, _CT, "", "space-ncct_cow-msk", Grid.COMMON, Content.LABELS,
           "Circle of Willis, one label a vessel segment, numbered as in TopCoW", labels=_CIRCLE_LABELS,
           label_names=_CIRCLE_NAMES,
           bids="anat/space-ncct_desc-cow_dseg"),
    Volume("cta_ncct", _DERIVED, _CT, "", "space-ncct_cta", Grid.COMMON, Content.CT,
           "CT angiography, registered to the NCCT",
           bids="ct/acq-cta_space-ncct_ct"),
    Volume("ctp_ncct", _DERIVED, _CT, "", "space-ncct_ctp", Grid.COMMON, Content.CT_SERIES,
           "CT perfusion series, registered and resampled to the NCCT",
           apart="the CT perfusion series on the NCCT grid, apart because it is three quarters of the release's bytes",
           bids="ct/acq-ctp_space-ncct_ct"),
    Volume("cbf_native", _RAW, _CT, _MAPS, "cbf", Grid.NATIVE, Content.MAP,
           "Cerebral blood flow on the grid of `ctp`",
           bids="ct/acq-ctp_cbf"),
    Volume("cbv_native", _RAW, _CT, _MAPS, "cbv", Grid.NATIVE, Content.MAP,
           "Cerebral blood volume on the grid of `ctp`",
           bids="ct/acq-ctp_cbv"),
    Volume("mtt_native", _RAW, _CT, _MAPS, "mtt", Grid.NATIVE, Content.MAP,
           "Mean transit time on the grid of `ctp`",
           bids="ct/acq-ctp_mtt"),
    Volume("tmax_native", _RAW, _CT, _MAPS, "tmax", Grid.NATIVE, Content.MAP,
           "Time to maximum of the residue function on the grid of `ctp`", background=_TMAX_BACKGROUND,
           bids="ct/acq-ctp_tmax"),
)  # fmt: skip

# An outcome workbook without a data row means that no outcome is known.
BASELINE = Workbook("ses-01", "demographic_baseline", may_be_blank=False)
OUTCOME = Workbook("ses-02", "outcome", may_be_blank=True)


def _flag(header: str, column: str, description: str, dictionary: str | None = None) -> Variable:
    return Variable(BASELINE, header, dictionary or header, column, Kind.WHOLE, None, Known.ADMISSION,
                    f"{description}: 1 yes, 0 no", levels=(0, 1))  # fmt: skip


def _number(header: str, column: str, unit: str | None, description: str, low: float, high: float,
            measured_in: str = "") -> Variable:  # fmt: skip
    return Variable(BASELINE, header, header, column, Kind.NUMBER, unit, Known.ADMISSION, description, low, high,
                    measured_in=measured_in)  # fmt: skip


def _minutes(header: str, column: str, known: Known, description: str) -> Variable:
    return Variable(BASELINE, header, header, column, Kind.MINUTES, "hrs:min", known, description, 0, 2880)


def _score(workbook: Workbook, header: str, column: str, description: str, high: int,
           dictionary: str | None = None) -> Variable:  # fmt: skip
    known = Known.ADMISSION if workbook is BASELINE else Known.OUTCOME
    return Variable(workbook, header, dictionary or header, column, Kind.WHOLE, None, known, description,
                    levels=tuple(range(high + 1)))  # fmt: skip


_ALTERED = "randomly altered by up to 5 % in the release"
_NIHSS, _MRS = "NIH Stroke Scale", "modified Rankin Scale"

# Headers are verbatim from the release's workbooks, in file order. The dictionary workbook has other names for some,
# does not list `Center`, and has units for three laboratory values and the durations only.
_VARIABLES: tuple[Variable, ...] = (
    Variable(BASELINE, "Center", None, "center", Kind.WHOLE, None, Known.ADMISSION,
             "Centre code; by the ids 1 is Munich, 2 is Zurich", levels=(1, 2)),
    Variable(BASELINE, "Sex", "Sex", "sex", Kind.LEVEL, None, Known.ADMISSION, "Sex", levels=("M", "F")),
    _number("Age", "age", None, "Age in years; fractional in centre 2", 0, 120, measured_in="years"),
    _flag("Atrial fibrillation", "atrial_fibrillation", "Atrial fibrillation"),
    _flag("Hypertension", "hypertension", "Hypertension"),
    _flag("Diabetes", "diabetes", "Diabetes"),
    _flag("Hyperlipidemia", "hyperlipidemia", "Hyperlipidemia"),
    _flag("Anticoagulation", "anticoagulation", "On anticoagulants"),
    _flag("Lipid lowering drugs", "lipid_lowering_drugs", "On lipid lowering drugs", dictionary="Statins"),
    _flag("PAIs", "pais", "On platelet aggregation inhibitors"),
    _number("Glucose", "glucose_mg_dl", "mg/dl", f"Blood glucose, {_ALTERED}", 20, 1000),
    _number("Leucocytes", "leucocytes_g_l", "G/l", f"Leucocyte count, {_ALTERED}", 0.1, 100),
    _number("CRP", "crp_mg_dl", "mg/dl", f"C-reactive protein, {_ALTERED}", 0, 100),
    _number("INR", "inr", None, f"International normalized ratio, {_ALTERED}", 0.5, 15),
    _flag("Wake-up", "wake_up", "Wake-up stroke"),
    _flag("In-House", "in_house", "In-house stroke"),
    _flag("Referral", "referral", "External referral"),
    _minutes("Onset to door", "onset_to_door_min", Known.ADMISSION, "Symptom onset to arrival"),
    _minutes("Alert to door", "alert_to_door_min", Known.ADMISSION, "Alert to arrival, wake-up strokes only"),
    _score(BASELINE, "NIHSS at admission", "nihss_admission", f"{_NIHSS} at admission", 42),
    _score(BASELINE, "mRS at admission", "mrs_admission", f"{_MRS} at admission", 6),
    _score(BASELINE, "mRS premorbid", "mrs_premorbid", f"{_MRS} before the stroke", 6),
    _minutes("Door to imaging", "door_to_imaging_min", Known.ADMISSION, "Arrival to imaging"),
    _minutes("Door to groin", "door_to_groin_min", Known.OUTCOME, "Arrival to groin puncture"),
    _minutes("Door to first series", "door_to_first_series_min", Known.OUTCOME, "Arrival to first angiography series"),
    _minutes("Time of intervention", "time_of_intervention_min", Known.OUTCOME,
             "First to last angiography series"),
    _minutes("Door to recanalization", "door_to_recanalization_min", Known.OUTCOME, "Arrival to recanalization"),
    Variable(OUTCOME, "TICI postinterventional", "mTici postinterventional", "tici_postinterventional", Kind.LEVEL,
             None, Known.OUTCOME, "Modified TICI grade after the intervention",
             levels=("0", "1", "2a", "2b", "2c", "3")),
    _score(OUTCOME, "NIHSS 24h", "nihss_24h", f"{_NIHSS} after 24 hours", 42),
    _score(OUTCOME, "mRS 24h", "mrs_24h", f"{_MRS} after 24 hours", 6),
    _score(OUTCOME, "NIHSS discharge", "nihss_discharge", f"{_NIHSS} at discharge", 42),
    _score(OUTCOME, "mRS discharge", "mrs_discharge", f"{_MRS} at discharge", 6, dictionary="MRS discharge"),
    _score(OUTCOME, "mRS 3 months", "mrs_3month", f"{_MRS} after 3 months", 6, dictionary="MRS 3 months"),
)  # fmt: skip

_DICTIONARY = Dictionary(
    path="clinical_data-description.xlsx",
    sheet="Suppl. Tab. 1",
    header_row=3,
    headers=("Timepoint", "Parameter", "Unit", "Data type", "Description"),
    identifier="Identifier",
)

_RECORD = ZenodoRecord(
    title="ISLES'24 - A Real-World Longitudinal Multimodal Stroke Dataset",
    version="v7",
    record="17652035",
    concept="16731717",
    archive="train.7z",
    size=99_022_114_670,
    md5="4959a5dd2438d53e3c86d6858484e781",
    license_id="cc-by-nc-sa-4.0",
    license_name="CC BY-NC-SA 4.0",
    license_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
    license_terms=(
        "attribution, non-commercial, share alike. What you derive from\n"
        "this dataset and share, a subset or a resampled copy included, carries the same licence"
    ),
)

_EARLIER = (
    replace(_RECORD, version="v3", record="16813698", size=99_014_629_647, md5="36ae28b9a17f7340b8bbef62b595cb57"),
)
"""Other known versions of the archive, which is always named `train.7z`."""

_CITATIONS = (
    Citation(
        key="riedel2026isles",
        about="the dataset",
        bibtex="""@article{riedel2026isles,
  title   = {{ISLES'24}: A Real-World Longitudinal Multimodal Stroke Dataset},
  author  = {Riedel, Evamaria Olga and de la Rosa, Ezequiel and Baran, The Anh and Hernandez Petzsche, Moritz
             and Baazaoui, Hakim and Yang, Kaiyuan and Musio, Fabio Antonio and Huang, Houjing and Robben, David
             and Seia, Joaquin Oscar and Wiest, Roland and Reyes, Mauricio and Su, Ruisheng and Zimmer, Claus
             and Boeckh-Behrens, Tobias and Berndt, Maria and Menze, Bjoern and Rueckert, Daniel
             and Wiestler, Benedikt and Wegener, Susanne and Kirschke, Jan Stefan},
  journal = {Radiology: Artificial Intelligence},
  year    = {2026},
  doi     = {10.1148/ryai.250603},
  note    = {arXiv:2408.11142}
}""",
    ),
    Citation(
        key="delarosa2024isles",
        about="the challenge",
        bibtex="""@article{delarosa2024isles,
  title   = {{ISLES'24}: Final Infarct Prediction with Multimodal Imaging and Clinical Data. Where Do We Stand?},
  author  = {de la Rosa, Ezequiel and others},
  journal = {arXiv preprint arXiv:2408.10966},
  year    = {2024}
}""",
    ),
    Citation(
        key="yang2023topcow",
        about="the Circle of Willis masks, if you use `cow_mask`",
        bibtex="""@article{yang2023topcow,
  title   = {Benchmarking the {CoW} with the {TopCoW} Challenge: Topology-Aware Anatomical Segmentation of the
             Circle of Willis for {CTA} and {MRA}},
  author  = {Yang, Kaiyuan and others},
  journal = {arXiv preprint arXiv:2312.17670},
  year    = {2023}
}""",
    ),
)

_STRAY_FILES = (
    StrayFile(
        "derivatives/sub-stroke0142/ses-02/sub-stroke0142_ses-02_lesion-msk.nii",
        "a second, uncompressed lesion mask of the release itself; the published one is the .nii.gz",
    ),
)


def _oddity(trait: Trait, text: str, *numbers: int) -> Oddity:
    return Oddity(trait, tuple(subject_id(number) for number in numbers), text)


# Source: the listings of the archives of v3 and v7 for the first two, the workbooks as others read them for the rest.
_ODDITIES = (
    _oddity(Trait.SECOND_LESION,
            "The release holds a second, uncompressed lesion mask; the compressed one is published.", 142),
    _oddity(Trait.REPLACED_LESION, "The lesion mask differs from the one in v3.", 145),
    _oddity(Trait.REPEATED_ROWS, "Both workbooks hold the same row twice; it is published once.", 180),
    _oddity(Trait.DEATH_CODE,
            "The NIHSS of 42 at discharge is a code for death, not a score: the mRS at discharge is 6.", 26),
)  # fmt: skip

_WAIVERS = (
    Waiver(
        release=_RECORD.version,
        property="ncct_grid",
        found="off-grid",
        reason=(
            "the circle-of-Willis mask is on another grid in the release itself (seen by CRC-32 c8817d49 in v3 and v7)"
        ),
        subject=subject_id(16),
        path=next(volume for volume in _VOLUMES if volume.column == "cow_mask").path(subject_id(16)),
    ),
)

# Source: the release's record and paper for the cohort and the hidden cases, its dictionary workbook for the altered
# values, its workbooks as others read them for the differences between the centres.
_GUIDANCE = Guidance(
    intended="research on stroke images, such as predicting the final infarct from what is known at admission",
    not_intended="decisions on patients; identifying people",
    not_in_it="the hidden test cases of the challenge; most gaps between the subjects' numbers are theirs",
    contact=f"on the data: its authors, by the [Zenodo record]({_RECORD.url})",
    limits=(
        "The subjects are of two centres, and had CT perfusion at admission and MRI afterwards. They are no sample of "
        "all strokes.",
        "Scanners, protocols and laboratories differ between the centres, and so do the values: age is fractional in "
        "one of them, and its glucose is converted from mmol/l. A model may learn the centre.",
        "The final infarct is drawn on the follow-up MRI. It depends on the treatment, which is known only afterwards.",
        "By the release's text, the perfusion series are motion-corrected and resampled in time, also the native ones.",
    ),
)

ISLES24 = Release(
    name="isles24",
    label="ISLES'24",
    about=(
        "subjects with acute ischaemic stroke: CT, CT angiography and CT perfusion at admission,\n"
        "follow-up MRI with the final infarct, and clinical variables"
    ),
    repo="hugging-science/isles24-stroke",
    subjects=tuple(subject_id(number) for number in _NUMBERS),
    volumes=_VOLUMES,
    workbooks=(BASELINE, OUTCOME),
    variables=_VARIABLES,
    dictionary=_DICTIONARY,
    record=_RECORD,
    examples=("ncct", "lesion_mask"),
    first_look=("center", "sex", "age", "nihss_admission", "onset_to_door_min", "mrs_3month"),
    centre="center",
    earlier=_EARLIER,
    oddities=_ODDITIES,
    stray_files=_STRAY_FILES,
    waivers=_WAIVERS,
    citations=_CITATIONS,
    known_text=(r"Warped image using NiftyReg \([\w -]+\)", r"FSL[\d.: -]*"),
    guidance=_GUIDANCE,
    tags=("medical", "neuroimaging", "stroke", "ct", "mri", "nifti"),
)
"""ISLES'24, version 7."""
