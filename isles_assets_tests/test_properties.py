"""Every property holds on the sample, and damage to real files makes exactly the right ones name the offender."""

import gzip
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from isles_assets.lib.findings import Finding, Materialize, Refusal, Rename, fatal
from isles_assets.publication.properties import Evidence, properties_of
from isles_assets.reading.tree import take_inventory
from isles_assets.reading.workbooks import ClinicalRow, read_clinical_rows
from isles_assets.sample.clinical import HYPERLIPIDEMIA_2
from isles_assets.sample.tree import make_sample
from isles_assets.tables.clinical import clinical_table, clinical_values, read_clinical_table
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import write_inventory
from isles_assets.tables.manifest import manifest_table, survey
from isles_assets.tables.storage import write_table
from isles_assets_tests.conftest import MadeOnce
from isles_assets_tests.isles24 import BASELINE, BY_COLUMN, DICTIONARY, ISLES24, OUTCOME, SMALL, VOLUMES
from isles_assets_tests.materials import clinical_workbook, headers_of, write_volume
from isles_assets_tests.project import replace

SUBJECT = "sub-stroke0014"
OTHER = "sub-stroke0002"
WITHDRAWN = "sub-stroke0160"
NCCT, LESION, CBF = (BY_COLUMN[column].path(SUBJECT) for column in ("ncct", "lesion_mask", "cbf"))
PROPERTIES = properties_of(ISLES24)
NAMES = [prop.name for prop in PROPERTIES]
STRAY = "sub-stroke0142"
PART = ISLES24.only([*SMALL.subjects, OTHER, STRAY, HYPERLIPIDEMIA_2])
"""A part of the release that holds all that a property is known to find."""


@pytest.fixture(scope="session")
def sample_tree(made_once: MadeOnce) -> Path:
    """The sample of that part; not to be changed."""
    return made_once("part", lambda folder: make_sample(PART, folder / "train", workers=2)) / "train"


@dataclass(frozen=True)
class Tables:
    """The rows by subject as the assets make them from the untouched sample."""

    clinical: Mapping[str, ClinicalRow]
    manifest: pa.Table


@pytest.fixture(scope="module")
def usual(sample_tree):
    inventory = take_inventory(PART, sample_tree)
    clinical = {row.subject: row for row in read_clinical_rows(PART, sample_tree, PART.subjects)}
    manifest = survey(PART, sample_tree, inventory, {s: row.values for s, row in clinical.items()})
    return Tables(clinical, manifest_table(PART, manifest))


@dataclass(frozen=True)
class Bench:
    """A tree to damage, and the evidence that the assets would then make of it."""

    tree: Path
    folder: DataFolder
    usual: Tables

    def evidence(self, *touched: str) -> Evidence:
        """Write the tables; only the workbooks and volumes of the `touched` subjects are read again."""
        inventory = take_inventory(PART, self.tree)
        write_inventory(self.folder, inventory)
        found = set(map(PART.subject_of, inventory)).intersection(PART.subjects)
        clinical = dict(self.usual.clinical)
        clinical |= {row.subject: row for row in read_clinical_rows(PART, self.tree, found.intersection(touched))}
        self.write_clinical(clinical[subject] for subject in found)
        surveyed = survey(PART, self.tree, inventory, {subject: clinical[subject].values for subject in touched})
        others = self.usual.manifest.filter(
            pc.field("subject_id").isin(pa.array(found.difference(touched), pa.string()))
        )
        manifest = pa.concat_tables([others, manifest_table(PART, surveyed)]).sort_by("subject_id")
        write_table(self.folder.manifest, manifest)
        return Evidence(self.tree, self.folder)

    def write_clinical(self, rows):
        write_table(self.folder.clinical, clinical_table(PART, rows))

    def edit_volume(self, path, **fields):
        """The image at `path`, to be saved again; `fields` are set in its header."""
        image = self.image(path)
        for name, value in fields.items():
            image.header[name] = value
        write_volume(self.tree / path, image)

    def image(self, path):
        return nib.Nifti1Image.from_bytes(gzip.decompress((self.tree / path).read_bytes()))

    def edit_dictionary(self, edit):
        path = self.tree / DICTIONARY.path
        book = openpyxl.load_workbook(path)
        edit(book[DICTIONARY.sheet])
        path.unlink()
        book.save(path)


@pytest.fixture
def bench(tree, tmp_path, usual):
    return Bench(tree, DataFolder(tmp_path / "data", PART), usual)


@pytest.fixture(scope="module")
def usual_findings(sample_tree, tmp_path_factory, usual):
    """What the properties find in the untouched sample."""
    bench = Bench(sample_tree, DataFolder(tmp_path_factory.mktemp("usual"), PART), usual)
    return findings_by_name(bench.evidence())


def findings_by_name(evidence):
    found = {prop.name: prop.find(evidence) for prop in PROPERTIES}
    return {name: findings for name, findings in found.items() if findings}


def what_stops_publishing(evidence: Evidence) -> list[Finding]:
    return fatal([finding for prop in PROPERTIES if prop.blocking for finding in prop.find(evidence)])


@pytest.fixture
def new_findings(bench, usual_findings):
    """Function: what the properties find beyond what they find in the untouched sample, by their names."""

    def find(*touched):
        found = findings_by_name(bench.evidence(*touched))
        new = {name: [f for f in findings if f not in usual_findings.get(name, [])] for name, findings in found.items()}
        return {name: findings for name, findings in new.items() if findings}

    return find


def only(findings, name):
    """The one finding of the one property that found anything."""
    assert list(findings) == [name], findings
    (finding,) = findings[name]
    return finding


def test_each_property_says_what_it_enforces_in_a_sentence_of_its_own():
    assert len({prop.sentence_of(ISLES24) for prop in PROPERTIES}) == len(PROPERTIES)
    assert all(prop.sentence_of(ISLES24).endswith(".") for prop in PROPERTIES)


@pytest.mark.parametrize("name", NAMES)
def test_property_holds_on_the_sample_but_for_what_is_known(usual_findings, name):
    found = [(finding.subject, finding.fatal) for finding in usual_findings.get(name, [])]
    known = {"release_layout": [(STRAY, False)], "value_ranges": [(HYPERLIPIDEMIA_2, True)]}
    assert found == known.get(name, [])


def test_sample_may_be_published(bench):
    assert what_stops_publishing(bench.evidence()) == []


def test_evidence_may_look_at_the_tree_itself(bench):
    evidence = bench.evidence()
    (bench.tree / LESION).unlink()
    assert LESION in evidence.inventory
    assert LESION not in Evidence(bench.tree, bench.folder, fresh_tree=True).inventory


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("dictionary_agreement", "volumes_decoded")])
def test_table_that_is_not_there_is_refused_with_the_asset_that_makes_it(tmp_path, sample_tree, name):
    (prop,) = (prop for prop in PROPERTIES if prop.name == name)
    with pytest.raises(Refusal) as refusal:
        prop.find(Evidence(sample_tree, DataFolder(tmp_path, PART)))
    assert refusal.value.findings[0].mend == Materialize((prop.asset,))


# The tree


def test_missing_subject_is_named(bench, new_findings):
    for top in PART.tops:
        shutil.rmtree(bench.tree / top / SUBJECT)
    found = new_findings()
    assert found.keys() == {"subject_count", "release_layout", "one_row_per_subject", "all_modalities"}
    (missing,) = found["subject_count"]
    assert (missing.subject, missing.problem, missing.fatal) == (SUBJECT, "is missing from the tree", True)
    assert "archive" in missing.mend
    assert [finding.path for finding in found["release_layout"]] == PART.subject_paths(SUBJECT)
    assert [(finding.subject, finding.problem) for finding in found["one_row_per_subject"]] == [
        (SUBJECT, "gives 0 rows")
    ]
    assert [(finding.subject, finding.problem) for finding in found["all_modalities"]] == [
        (SUBJECT, "is not in the manifest")
    ]


def test_subject_of_another_release_is_named(bench, new_findings):
    for path in PART.subject_paths(SUBJECT):
        replace(bench.tree / path.replace(SUBJECT, WITHDRAWN), (bench.tree / path).read_bytes())
    finding = only(new_findings(), "subject_count")
    assert (finding.subject, finding.problem, finding.fatal) == (WITHDRAWN, "is no subject of the release", True)
    assert "move it out of the tree" in finding.mend


def rename_session_in_folder(tree):
    path = tree / f"derivatives/{SUBJECT}/ses-02"
    path.rename(path.with_name("ses-0002"))


def rename_session_in_file_names(tree):
    for path in (tree / f"derivatives/{SUBJECT}/ses-02").iterdir():
        path.rename(path.with_name(path.name.replace("ses-02", "ses-0002")))


def rename_session_everywhere(tree):
    rename_session_in_file_names(tree)
    rename_session_in_folder(tree)


def rename_session_of_all_subjects(tree):
    for subject in PART.subjects:
        path = tree / f"derivatives/{subject}/ses-02"
        path.rename(path.with_name("ses-2"))


@pytest.mark.parametrize(
    ("damage", "names", "files"),
    [
        (rename_session_in_folder, 1, 3),
        (rename_session_in_file_names, 3, 3),
        (rename_session_everywhere, 4, 3),
        (rename_session_of_all_subjects, len(PART.subjects), len(PART.subjects) * 3 + 1),
    ],
)
def test_other_session_names_are_named_with_the_commands_that_mend_them(bench, new_findings, damage, names, files):
    before = take_inventory(PART, bench.tree)
    damage(bench.tree)
    found = new_findings()
    assert found.keys() == {"session_naming", "release_layout"}
    assert (len(found["session_naming"]), len(found["release_layout"])) == (names, files)
    for finding in found["session_naming"]:
        assert finding.subject in finding.path
        assert finding.fatal
        subprocess.run(str(finding.mend).split(), cwd=bench.tree, check=True)
    assert take_inventory(PART, bench.tree) == before


def test_session_that_is_neither_is_left_to_the_reader(bench, new_findings):
    path = bench.tree / f"raw_data/{SUBJECT}/ses-03/{SUBJECT}_ses-01_ncct.nii.gz"
    replace(path, b"x")
    found = new_findings()
    (finding,) = found["session_naming"]
    assert finding.problem == "ses-03 has a session other than ses-01 and ses-02"
    assert finding.mend == "find out which session it is"


def test_file_in_another_case_is_named_with_the_command_that_mends_it(bench, new_findings):
    before = take_inventory(PART, bench.tree)
    other = NCCT.replace("ncct.nii", "NCCT.nii")
    (bench.tree / NCCT).rename(bench.tree / other)
    finding = new_findings(SUBJECT)["release_layout"][0]
    assert (finding.subject, finding.path, finding.problem) == (SUBJECT, NCCT, f"is named {other}")
    assert finding.mend == Rename(other, NCCT)
    assert str(finding.mend) == f"mv {other} {NCCT}"
    subprocess.run(str(finding.mend).split(), cwd=bench.tree, check=True)
    assert take_inventory(PART, bench.tree) == before


@pytest.mark.parametrize("column", ["ncct", "ctp_ncct", "lesion_mask"])
def test_missing_volume_is_named(bench, new_findings, column):
    path = BY_COLUMN[column].path(SUBJECT)
    (bench.tree / path).unlink()
    found = new_findings(SUBJECT)
    assert found.keys() == {"release_layout", "all_modalities"}
    for findings, problem in ((found["release_layout"], "is missing"), (found["all_modalities"], f"has no {column}")):
        (finding,) = findings
        assert (finding.subject, finding.path, finding.problem, finding.fatal) == (SUBJECT, path, problem, True)
        assert finding.mend == "restore it from the release archive"


def test_empty_file_is_named_and_counts_as_missing_and_stops_publishing(bench, new_findings):
    path = BY_COLUMN["tmax"].path(SUBJECT)
    replace(bench.tree / path, b"")
    found = new_findings(SUBJECT)
    assert found.keys() == {"release_layout", "all_modalities"}
    (finding,) = found["release_layout"]
    assert (finding.subject, finding.path, finding.problem) == (SUBJECT, path, "is empty (0 bytes)")
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == [finding, *found["all_modalities"]]


@pytest.mark.parametrize("which", [BASELINE, OUTCOME])
def test_missing_workbook_is_named(bench, new_findings, which):
    (bench.tree / which.path(SUBJECT)).unlink()
    finding = only(new_findings(), "release_layout")
    assert (finding.subject, finding.path, finding.problem) == (SUBJECT, which.path(SUBJECT), "is missing")


def test_missing_phenotype_folder_is_named_by_both_workbooks(bench, new_findings):
    shutil.rmtree(bench.tree / "phenotype" / SUBJECT)
    found = new_findings()
    assert found.keys() == {"release_layout"}
    paths = [BASELINE.path(SUBJECT), OUTCOME.path(SUBJECT)]
    assert [finding.path for finding in found["release_layout"]] == paths
    with pytest.raises(Refusal) as caught:
        read_clinical_rows(PART, bench.tree, PART.subjects)
    assert [(finding.path, finding.problem) for finding in caught.value.findings] == [(p, "is missing") for p in paths]


def test_missing_dictionary_is_named(bench, new_findings):
    (bench.tree / DICTIONARY.path).unlink()
    found = new_findings()
    assert {name: [finding.problem for finding in findings] for name, findings in found.items()} == {
        "release_layout": ["is missing"],
        "dictionary_agreement": ["is missing"],
    }


@pytest.mark.parametrize(
    "path",
    ["raw_data/.DS_Store", f"raw_data/{SUBJECT}/ses-01/._x.nii.gz", "__MACOSX/train/x"],
)
def test_junk_of_operating_systems_is_noted_and_stops_nothing(bench, new_findings, path):
    replace(bench.tree / path, b"junk")
    finding = only(new_findings(), "release_layout")
    assert (finding.path, finding.fatal) == (path, False)


@pytest.mark.parametrize(
    "path",
    ["notes.txt", LESION.removesuffix(".gz"), f"{NCCT}.part"],
)
def test_file_that_is_not_of_the_release_is_named(bench, new_findings, path):
    replace(bench.tree / path, b"x")
    finding = only(new_findings(), "release_layout")
    assert (finding.path, finding.problem, finding.fatal) == (path, "is not part of the release", True)
    assert finding.mend == "move it out of the tree"


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/outside", "is a symlink that leaves the tree"),
        ("nothing", "is a symlink to nothing"),
        (".", "is a symlink to a folder"),
    ],
)
def test_symlink_that_is_no_file_of_the_tree_is_named(bench, new_findings, tmp_path, target, problem):
    path = bench.tree / LESION
    outside = tmp_path / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside if target == "/outside" else target)
    found = new_findings()
    (finding,) = found["release_layout"]
    assert (finding.subject, finding.path, finding.problem, finding.fatal) == (SUBJECT, LESION, problem, True)
    assert "replace it by the file itself" in finding.mend


def test_symlink_within_the_tree_will_do(bench, new_findings):
    path = bench.tree / LESION
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    assert only(new_findings(SUBJECT), "release_layout").path.endswith("/elsewhere")


def test_folder_that_is_a_symlink_is_named_as_such(bench, new_findings, tmp_path):
    """As of a user who keeps the large half of the release on another disk."""
    (bench.tree / "derivatives").rename(tmp_path / "derivatives")
    (bench.tree / "derivatives").symlink_to(tmp_path / "derivatives")
    (finding,) = (f for f in new_findings()["release_layout"] if f.path == "derivatives")
    assert "symlink" in finding.problem


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
    (finding,) = prop.find(evidence)
    assert (finding.problem, finding.mend) == (problem, "materialize clinical_table again")


def line_of(sheet, parameter):
    return next(row for row in sheet.iter_rows() if row[1].value == parameter)


@pytest.mark.parametrize(
    ("edit", "problems"),
    [
        (
            lambda sheet: setattr(line_of(sheet, "Statins")[1], "value", "Lipid lowering drugs"),
            [("does not list `Statins`", True), ("lists `Lipid lowering drugs`, which no variable has", False)],
        ),
        (
            lambda sheet: setattr(line_of(sheet, "Glucose")[2], "value", "mmol/l"),
            [("gives `Glucose` in mmol/l; `glucose_mg_dl` is made from mg/dl", True)],
        ),
        (
            lambda sheet: setattr(line_of(sheet, "Glucose")[2], "value", None),
            [("gives `Glucose` in no unit; `glucose_mg_dl` is made from mg/dl", True)],
        ),
        (lambda sheet: setattr(line_of(sheet, "Glucose")[2], "value", "mg/dL"), []),
        (
            lambda sheet: sheet.append(["", "Weight", "kg", "float", ""]),
            [("lists `Weight`, which no variable has", False)],
        ),
        (lambda sheet: sheet.delete_rows(1), [("row 3 is not the header", True)]),
        (lambda sheet: setattr(sheet, "title", "Table 1"), [("has no sheet `Suppl. Tab. 1`", True)]),
    ],
    ids=["renamed", "other unit", "no unit", "unit in another case", "one more", "header moved", "sheet renamed"],
)
def test_dictionary_that_differs_is_named(bench, new_findings, edit, problems):
    bench.edit_dictionary(edit)
    found = new_findings()
    assert found.keys() == ({"dictionary_agreement"} if problems else set())
    findings = found.get("dictionary_agreement", [])
    assert [finding.fatal for finding in findings] == [is_fatal for _, is_fatal in problems]
    for finding, (problem, _) in zip(findings, problems, strict=True):
        assert finding.path == DICTIONARY.path
        assert problem in finding.problem
        assert finding.mend


def test_dictionary_that_cannot_be_read_is_named(bench, new_findings):
    replace(bench.tree / DICTIONARY.path, b"no workbook")
    assert "cannot be read as a workbook" in only(new_findings(), "dictionary_agreement").problem


def test_odd_value_is_named_as_a_warning_and_kept(bench, new_findings):
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
        (SUBJECT, OUTCOME.path(SUBJECT), "`mRS 3 months` is 42, outside 0, 1, 2, 3, 4, 5, 6"),
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
    affine = shifted(bench.image(NCCT).affine, 1)
    image.set_sform(affine if code == "sform" else None, int(code == "sform"))
    image.set_qform(affine if code == "qform" else None, int(code == "qform"))
    write_volume(bench.tree / path, image)
    finding = only(new_findings(SUBJECT), "ncct_grid")
    assert (finding.subject, finding.path, finding.fatal) == (SUBJECT, path, True)
    assert "displaced from its NCCT by up to 1 mm" in finding.problem
    assert "register it to the NCCT" in finding.mend


def test_rounding_of_an_affine_is_no_displacement(bench, new_findings):
    image = bench.image(CBF)
    image.set_sform(shifted(bench.image(NCCT).affine, 1e-5), 1)
    write_volume(bench.tree / CBF, image)
    assert new_findings(SUBJECT) == {}


def test_displacement_by_a_rotation_is_told_at_the_farthest_corner(bench, new_findings):
    image = bench.image(LESION)
    affine = bench.image(NCCT).affine.copy()
    affine[0, 0] += 0.01
    image.set_sform(affine, 1)
    write_volume(bench.tree / LESION, image)
    expected = 0.01 * (image.shape[0] - 1)
    assert f"by up to {expected:.3g} mm" in only(new_findings(SUBJECT), "ncct_grid").problem


def test_mask_on_another_grid_is_named(bench, new_findings):
    image = bench.image(LESION)
    cropped = nib.Nifti1Image(np.asanyarray(image.dataobj)[:, :, :-1], image.affine, image.header)
    write_volume(bench.tree / LESION, cropped)
    finding = only(new_findings(SUBJECT), "ncct_grid")
    shapes = ["x".join(map(str, shape)) for shape in (cropped.shape, image.shape)]
    assert finding.problem == f"has shape {shapes[0]}, its NCCT {shapes[1]}"


def test_every_registered_volume_is_named_if_the_ncct_is_displaced(bench, new_findings):
    image = bench.image(NCCT)
    image.set_sform(shifted(image.affine, 1), 1)
    write_volume(bench.tree / NCCT, image)
    found = new_findings(SUBJECT)
    assert found.keys() == {"ncct_grid"}
    assert len(found["ncct_grid"]) == 11


@pytest.mark.parametrize("column", ["cta", "ctp", "cbf_native"])
def test_native_volumes_may_lie_anywhere(bench, new_findings, column):
    path = BY_COLUMN[column].path(SUBJECT)
    image = bench.image(path)
    image.set_sform(shifted(image.affine, 37), 1)
    write_volume(bench.tree / path, image)
    assert new_findings(SUBJECT) == {}


def test_text_that_could_identify_is_named_as_a_warning(bench, new_findings):
    fields = ("data_type", "db_name", "descrip", "aux_file", "intent_name")
    bench.edit_volume(CBF, **dict.fromkeys(fields, b"Doe, John"))
    found = new_findings(SUBJECT)
    assert found.keys() == {"no_identifying_text"}
    assert [finding.problem for finding in found["no_identifying_text"]] == [f"{f} says 'Doe, John'" for f in fields]
    for finding in found["no_identifying_text"]:
        assert (finding.subject, finding.path) == (SUBJECT, CBF)
        assert "identifies nobody" in finding.mend


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


def test_unreadable_header_is_named_as_a_warning_and_stops_nothing(bench, new_findings):
    damaged = {
        "cbf": (b"this is no gzip", "is not a sound gzip file"),
        "cta": (gzip.compress(b"no image"), "ends after 8 bytes, inside the NIfTI header"),
        "lvo_mask": (gzip.compress(bytes(1000))[:20], "is cut short"),
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
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == []


@pytest.mark.parametrize(("column", "shape"), [("ctp", (4, 5, 6)), ("cta", (4, 5, 6, 7))])
def test_volume_with_too_few_or_too_many_axes_is_named(bench, new_findings, column, shape):
    path = BY_COLUMN[column].path(SUBJECT)
    write_volume(bench.tree / path, nib.Nifti1Image(np.zeros(shape, "i2"), np.eye(4)))
    finding = only(new_findings(SUBJECT), "readable_headers")
    assert finding.path == path
    assert finding.problem.startswith(f"has shape {'x'.join(map(str, shape))}, where")
