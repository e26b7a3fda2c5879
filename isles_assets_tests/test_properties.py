"""Every property holds on the sample, and damage to real files makes exactly the right ones name the offender."""

import gzip

import nibabel as nib
import numpy as np
import openpyxl
import pyarrow as pa
import pytest
from nibabel.affines import voxel_sizes

from isles_assets.lib.findings import Level, Materialize, Refusal
from isles_assets.publication.properties import Evidence
from isles_assets.reading.workbooks import ClinicalRow
from isles_assets.release.problems import Problem
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2
from isles_assets.tables.clinical import clinical_values, read_clinical_table
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.storage import write_table
from isles_assets_tests.bench import (
    CBF,
    LESION,
    NCCT,
    OTHER,
    PART,
    PROPERTIES,
    STRAY,
    SUBJECT,
    WITHDRAWN,
    findings_by_name,
    only,
    what_stops_publishing,
)
from isles_assets_tests.isles24 import BASELINE, BY_COLUMN, DICTIONARY, ISLES24, OUTCOME, VOLUMES
from isles_assets_tests.materials import clinical_workbook, headers_of, write_volume
from isles_assets_tests.project import replace

pytest_plugins = ["isles_assets_tests.bench"]
NAMES = [prop.name for prop in PROPERTIES]


def test_each_property_says_what_it_enforces_in_a_sentence_of_its_own():
    assert len({prop.sentence_of(ISLES24) for prop in PROPERTIES}) == len(PROPERTIES)
    assert all(prop.sentence_of(ISLES24).endswith(".") for prop in PROPERTIES)


@pytest.mark.parametrize("name", NAMES)
def test_property_holds_on_the_sample_but_for_what_is_known(usual_findings, name):
    found = {(f.subject, f.code) for f in usual_findings.get(name, []) if f.code != Problem.EMPTY_IN_PART.code}
    known = {"release_layout": {(STRAY, "foreign-file")}, "value_ranges": {(HYPERLIPIDEMIA_2, "out-of-range")}}
    assert found == known.get(name, set())


def test_sample_may_be_published(bench):
    assert what_stops_publishing(bench.evidence()) == []


def test_evidence_may_look_at_the_tree_itself(bench):
    evidence = bench.evidence()
    (bench.tree / LESION).unlink()
    assert LESION in evidence.inventory
    assert LESION not in Evidence(bench.tree, bench.folder, fresh_tree=True).inventory


@pytest.mark.parametrize("name", [prop.name for prop in PROPERTIES if prop.on_card and prop.asset != "subject_shard"])
def test_table_that_is_not_there_is_refused_with_the_asset_that_makes_it(tmp_path, part_sample_tree, name):
    (prop,) = (prop for prop in PROPERTIES if prop.name == name)
    with pytest.raises(Refusal) as refusal:
        prop.find(Evidence(part_sample_tree, DataFolder(tmp_path, PART)))
    assert refusal.value.findings[0].mend == Materialize((prop.asset,))


# The clinical table and the dictionary


@pytest.mark.parametrize(("times", "problem"), [(0, "gives 0 rows"), (2, "gives 2 rows")])
def test_subject_without_its_one_row_is_named(bench, usual_findings, times, problem):
    evidence = bench.evidence()
    rows = dict(bench.usual.clinical)
    row = rows.pop(SUBJECT)
    bench.write_clinical([*rows.values(), *[row] * times])
    found = findings_by_name(evidence)
    assert found.keys() - usual_findings.keys() == {"one_row_per_subject"}
    (finding,) = found["one_row_per_subject"]
    assert (finding.subject, finding.path, finding.problem) == (SUBJECT, BASELINE.path(SUBJECT), problem)


def test_row_of_no_subject_is_named(bench):
    evidence = bench.evidence()
    stranger = ClinicalRow(WITHDRAWN, bench.usual.clinical[SUBJECT].values, ())
    bench.write_clinical([*bench.usual.clinical.values(), stranger])
    assert findings_by_name(evidence)["one_row_per_subject"][0].subject == WITHDRAWN


def test_column_that_is_blank_in_every_workbook_is_named(bench, new_findings):
    """The csv tables of release v3 had lost the durations."""
    for subject in PART.subjects:
        path = bench.tree / BASELINE.path(subject)
        book = openpyxl.load_workbook(path)
        (sheet,) = book.worksheets
        for line in range(2, sheet.max_row + 1):
            sheet.cell(line, headers_of(BASELINE).index("Onset to door") + 1).value = None
        path.unlink()
        book.save(path)
    finding = only(new_findings(*PART.subjects), "all_variables")
    assert "`onset_to_door_min` is empty in every subject" in finding.problem
    assert finding.mend


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda table: table.drop_columns("mrs_3month"), "column `mrs_3month` is missing"),
        (
            lambda table: table.set_column(3, "age", table["age"].cast(pa.float32())),
            "column `age` is float, not double",
        ),
    ],
    ids=["missing", "other type"],
)
def test_column_that_is_not_as_it_should_be_is_named(bench, edit, problem):
    evidence = bench.evidence()
    write_table(bench.folder.clinical, edit(read_clinical_table(bench.folder)))
    (prop,) = (prop for prop in PROPERTIES if prop.name == "all_variables")
    (finding,) = [each for each in prop.find(evidence) if each.level is Level.FATAL]
    assert (finding.problem, finding.mend) == (problem, "materialize clinical_table again")


DICTIONARY_NOTE = Problem.DICTIONARY


def line_of(sheet, parameter):
    return next(row for row in sheet.iter_rows() if row[1].value == parameter)


@pytest.mark.parametrize(
    ("edit", "problems"),
    [
        (
            lambda sheet: setattr(line_of(sheet, "Statins")[1], "value", "Lipid lowering drugs"),
            [("does not list `Statins`", DICTIONARY_NOTE), ("lists `Lipid lowering drugs`, which no", DICTIONARY_NOTE)],
        ),
        (
            lambda sheet: setattr(line_of(sheet, "Glucose")[2], "value", "mmol/l"),
            [("gives `Glucose` in mmol/l; `glucose_mg_dl` is made from mg/dl", Problem.DICTIONARY_UNIT)],
        ),
        (
            lambda sheet: setattr(line_of(sheet, "Glucose")[2], "value", None),
            [("gives `Glucose` in no unit; mg/dl is expected", DICTIONARY_NOTE)],
        ),
        (
            lambda sheet: setattr(line_of(sheet, "Door to groin")[2], "value", "min"),
            [("gives `Door to groin` in min; `door_to_groin_min` is made from hrs:min", Problem.DICTIONARY_UNIT)],
        ),
        (
            lambda sheet: setattr(line_of(sheet, "Age")[2], "value", "years"),
            [("gives `Age` in years; none is expected", DICTIONARY_NOTE)],
        ),
        (lambda sheet: setattr(line_of(sheet, "Glucose")[2], "value", "mg/dL"), []),
        (
            lambda sheet: sheet.append(["", "Weight", "kg", "float", ""]),
            [("lists `Weight`, which no variable has", DICTIONARY_NOTE)],
        ),
        (lambda sheet: sheet.delete_rows(1), [("row 3 is not the header", Problem.WORKBOOK_FORM)]),
        (lambda sheet: setattr(sheet, "title", "Table 1"), [("has no sheet `Suppl. Tab. 1`", Problem.WORKBOOK_FORM)]),
    ],
    ids=[
        "renamed",
        "other unit",
        "no unit",
        "other unit of a duration",
        "unit of age",
        "unit in another case",
        "one more",
        "header moved",
        "sheet renamed",
    ],
)
def test_dictionary_that_differs_is_named(bench, new_findings, edit, problems):
    bench.edit_dictionary(edit)
    found = new_findings()
    assert found.keys() == ({"dictionary_agreement"} if problems else set())
    findings = found.get("dictionary_agreement", [])
    assert [finding.code for finding in findings] == [kind.code for _, kind in problems]
    for finding, (problem, _) in zip(findings, problems, strict=True):
        assert finding.path == DICTIONARY.path
        assert problem in finding.problem
        assert finding.mend


def test_dictionary_that_cannot_be_read_is_named(bench, new_findings):
    replace(bench.tree / DICTIONARY.path, b"no workbook")
    assert "cannot be read as a workbook" in only(new_findings(), "dictionary_agreement").problem


def test_odd_value_is_named_as_a_note_and_kept(bench, new_findings):
    odd = {
        BASELINE: {"Hyperlipidemia": 2, "Age": -1, "Door to groin": "-0:30"},
        OUTCOME: {"TICI postinterventional": "2d", "mRS 3 months": 42},
    }
    for which, cells in odd.items():
        replace(bench.tree / which.path(SUBJECT), clinical_workbook(which, cells))
    found = new_findings(SUBJECT)
    assert found.keys() == {"value_ranges"}
    assert {(finding.subject, finding.path, finding.problem) for finding in found["value_ranges"]} == {
        (SUBJECT, BASELINE.path(SUBJECT), "`Hyperlipidemia` is 2, outside 0, 1"),
        (SUBJECT, BASELINE.path(SUBJECT), "`Age` is -1.0, outside 0 to 120"),
        (SUBJECT, BASELINE.path(SUBJECT), "`Door to groin` is -30.0, outside 0 to 2880"),
        (SUBJECT, OUTCOME.path(SUBJECT), "`TICI postinterventional` is 2d, outside 0, 1, 2a, 2b, 2c, 3"),
        (SUBJECT, OUTCOME.path(SUBJECT), "`mRS 3 months` is 42, outside 0 to 6"),
    }
    assert all("published as it is" in finding.mend for finding in found["value_ranges"])
    kept = clinical_values(read_clinical_table(bench.folder))[SUBJECT]
    assert (kept["mrs_3month"], kept["age"], kept["tici_postinterventional"]) == (42, -1, "2d")


def test_bounds_belong_to_the_range_and_missing_is_not_odd(bench, new_findings):
    baseline = {"Age": 120, "NIHSS at admission": 0, "Door to groin": "48:00"}
    replace(bench.tree / BASELINE.path(SUBJECT), clinical_workbook(BASELINE, baseline))
    replace(bench.tree / OUTCOME.path(SUBJECT), clinical_workbook(OUTCOME, {"mRS 3 months": 6, "NIHSS 24h": 42}))
    assert new_findings(SUBJECT) == {}


# The manifest


def shifted(affine, millimetres):
    moved = affine.copy()
    moved[0, 3] += millimetres
    return moved


@pytest.mark.parametrize("path", [LESION, CBF])
@pytest.mark.parametrize("code", ["sform", "qform"])
def test_volume_displaced_from_its_ncct_is_named(bench, new_findings, path, code):
    image = bench.image(path)
    affine = shifted(bench.image(NCCT).affine, 3)
    image.set_sform(affine if code == "sform" else None, int(code == "sform"))
    image.set_qform(affine if code == "qform" else None, int(code == "qform"))
    write_volume(bench.tree / path, image)
    finding = only(new_findings(SUBJECT), "ncct_grid")
    assert (finding.subject, finding.path, finding.code) == (SUBJECT, path, "off-grid")
    assert "displaced from its NCCT by up to 3 mm" in finding.problem
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == [finding]


@pytest.mark.parametrize(
    ("of_the_edge", "code"), [(0.49, "grid-rounding"), (0.51, "off-grid")], ids=["less than half a voxel", "more"]
)
def test_half_of_the_smallest_voxel_edge_decides(bench, new_findings, of_the_edge, code):
    image, ncct = bench.image(CBF), bench.image(NCCT)
    edge = min(voxel_sizes(ncct.affine))
    image.set_sform(shifted(ncct.affine, of_the_edge * edge), 1)
    image.set_qform(None, 0)
    write_volume(bench.tree / CBF, image)
    finding = only(new_findings(SUBJECT), "ncct_grid")
    assert finding.code == code
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == [finding] * (code == "off-grid")


@pytest.mark.parametrize("origin", [0, -1272.57])
def test_rounding_of_an_affine_is_no_displacement(bench, new_findings, origin):
    """One step of float32 at the release's farthest NCCT is 0.00012 mm."""
    ncct = bench.image(NCCT)
    affine = ncct.affine.copy()
    affine[0, 3] = origin
    for column in ("ncct", *(volume.column for volume in ISLES24.registered)):
        path = BY_COLUMN[column].path(SUBJECT)
        image = bench.image(path)
        step = np.spacing(np.float32(origin)) if column != "ncct" else 0
        image.set_sform(shifted(affine, float(step)), 1)
        image.set_qform(None, 0)
        write_volume(bench.tree / path, image)
    assert new_findings(SUBJECT) == {}


def test_displacement_by_a_rotation_is_told_at_the_farthest_corner(bench, new_findings):
    image = bench.image(LESION)
    affine = bench.image(NCCT).affine.copy()
    affine[0, 0] += 0.1
    image.set_sform(affine, 1)
    image.set_qform(None, 0)
    write_volume(bench.tree / LESION, image)
    expected = 0.1 * (image.shape[0] - 0.5)  # at the outer edge of the last voxel
    (finding,) = new_findings(SUBJECT)["ncct_grid"]
    assert f"by up to {expected:.3g} mm" in finding.problem


def test_mask_on_another_grid_is_named(bench, new_findings):
    image = bench.image(LESION)
    cropped = nib.Nifti1Image(np.asanyarray(image.dataobj)[:, :, :-1], image.affine, image.header)
    write_volume(bench.tree / LESION, cropped)
    finding = only(new_findings(SUBJECT), "ncct_grid")
    shapes = ["x".join(map(str, shape)) for shape in (cropped.shape, image.shape)]
    assert finding.problem == f"has shape {shapes[0]}, its NCCT {shapes[1]}"


def test_every_registered_volume_is_named_if_the_ncct_is_displaced(bench, new_findings):
    image = bench.image(NCCT)
    image.set_sform(shifted(image.affine, 3), 1)
    image.set_qform(None, 0)
    write_volume(bench.tree / NCCT, image)
    found = new_findings(SUBJECT)
    assert found.keys() == {"ncct_grid"}
    assert len(found["ncct_grid"]) == 11


@pytest.mark.parametrize("column", ["cta", "ctp", "cbf_native"])
def test_native_volumes_may_lie_anywhere(bench, new_findings, column):
    path = BY_COLUMN[column].path(SUBJECT)
    image = bench.image(path)
    image.set_sform(shifted(image.affine, 37), 1)
    image.set_qform(None, 0)
    write_volume(bench.tree / path, image)
    assert new_findings(SUBJECT) == {}


def test_text_that_could_identify_is_named(bench, new_findings):
    fields = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
    bench.edit_volume(CBF, **dict.fromkeys(fields, b"Doe, John"))
    found = new_findings(SUBJECT)
    assert found.keys() == {"no_identifying_text"}
    assert [finding.problem for finding in found["no_identifying_text"]] == [f"{f} says 'Doe, John'" for f in fields]
    for finding in found["no_identifying_text"]:
        assert (finding.subject, finding.path) == (SUBJECT, CBF)
        assert "identifies nobody" in finding.mend
        assert "Doe" not in finding.found
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == found["no_identifying_text"]


def test_extension_that_could_identify_is_named(bench, new_findings):
    image = bench.image(CBF)
    image.header.extensions.append(nib.nifti1.Nifti1Extension(6, b"Doe, John"))
    write_volume(bench.tree / CBF, image)
    assert only(new_findings(SUBJECT), "no_identifying_text").problem == "extension 6 says 'Doe, John'"


def test_only_text_of_known_tools_is_accepted(bench, new_findings):
    accepted = ["", "Warped image using NiftyReg (reg_resample)", "FSL5.0", "FSL"]
    others = [
        "6.0.4",
        "Warped image using NiftyReg (reg_resample) of John Doe",
        "John Doe Warped image using NiftyReg (reg_resample)",
        "FSL patient 1234",
    ]
    for volume, text in zip(VOLUMES, [*accepted, *others], strict=False):
        bench.edit_volume(volume.path(SUBJECT), descrip=text.encode())
    found = new_findings(SUBJECT)
    assert found.keys() == {"no_identifying_text"}
    assert [f.problem for f in found["no_identifying_text"]] == [f"descrip says {text!r}" for text in others]


def test_unreadable_header_is_fatal_for_its_subject(bench, new_findings):
    damaged = {
        "cbf": (b"this is no gzip", "is not a gzip file"),
        "cta": (gzip.compress(b"no image"), "ends after 8 bytes, inside the NIfTI header"),
        "lvo_mask": (gzip.compress(bytes(1000))[:12], "is cut short"),
    }
    for column, (content, _) in damaged.items():
        replace(bench.tree / BY_COLUMN[column].path(SUBJECT), content)
    found = new_findings(SUBJECT, OTHER)
    assert found.keys() == {"readable_headers"}
    problems = {finding.path: finding.problem for finding in found["readable_headers"]}
    assert problems.keys() == {BY_COLUMN[column].path(SUBJECT) for column in damaged}
    for column, (_, problem) in damaged.items():
        assert problem in problems[BY_COLUMN[column].path(SUBJECT)]
    assert all(finding.subject == SUBJECT and finding.mend for finding in found["readable_headers"])
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == found["readable_headers"]


@pytest.mark.parametrize(("column", "shape"), [("ctp", (4, 5, 6)), ("cta", (4, 5, 6, 7))])
def test_volume_with_too_few_or_too_many_axes_is_named(bench, new_findings, column, shape):
    path = BY_COLUMN[column].path(SUBJECT)
    write_volume(bench.tree / path, nib.Nifti1Image(np.zeros(shape, "i2"), np.eye(4)))
    finding = only(new_findings(SUBJECT), "readable_headers")
    assert (finding.path, finding.code) == (path, "dimensions")
    assert finding.problem.startswith(f"has shape {'x'.join(map(str, shape))}, where")
