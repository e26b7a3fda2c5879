"""Damage to the tree makes exactly the right properties name the offender, and what they print leads back."""

import os
import shutil
import subprocess
import unicodedata
from dataclasses import replace as with_
from pathlib import Path

import pytest

from isles_assets.lib.findings import Level, Rename
from isles_assets.publication.evidence import Evidence
from isles_assets.publication.properties import properties_of
from isles_assets.publication.waivers import judge, lines_to_waive, read_waivers
from isles_assets.reading.tree import take_inventory
from isles_assets.release.oddities import StrayFile
from isles_assets.release.problems import Problem
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.inventory import write_inventory
from isles_assets_tests.bench import PART, only, what_stops_publishing
from isles_assets_tests.isles24 import BASELINE, BY_COLUMN, DICTIONARY, OUTCOME, SMALL
from isles_assets_tests.project import replace

pytest_plugins = ["isles_assets_tests.bench"]

SUBJECT, OTHER = SMALL.subjects[1:3]
UNKNOWN = "sub-stroke0160"
NCCT, LESION, CBF = (BY_COLUMN[column].path(SUBJECT) for column in ("ncct", "lesion_mask", "cbf"))
RESTORE = "restore it from the release archive"
COMPARE = "compare the two, and move the one that is not the release's out of the tree"


@pytest.fixture
def find(small_tree, tmp_path):
    """Function: what the properties of the tree find in it now, by their names."""

    def look(release=SMALL):
        folder = DataFolder(tmp_path / "data", release)
        write_inventory(folder, take_inventory(release, small_tree))
        evidence = Evidence(small_tree, folder)
        found = {prop.name: prop.find(evidence) for prop in properties_of(release) if prop.asset == "raw_tree"}
        return {name: findings for name, findings in found.items() if findings}

    return look


def contents(tree):
    """The bytes of every file."""
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def commands(found):
    """The commands in the order in which they are printed."""
    lines = [finding.text().partition(" -> ")[2] for findings in found.values() for finding in findings]
    return [line for line in lines if line.startswith(("mv ", "for "))]


def run(found, tree):
    """Run what is printed; no byte may be lost by that."""
    before = sorted(contents(tree).values())
    for command in commands(found):
        subprocess.run(["sh", "-c", command], cwd=tree, check=True)
    assert sorted(contents(tree).values()) == before


def mended(find, tree):
    """What is found when all that was printed has been run, once."""
    run(find(), tree)
    return find()


def move(tree, found, right):
    (tree / right).parent.mkdir(parents=True, exist_ok=True)
    (tree / found).rename(tree / right)


def copy(tree, found, right, content=None):
    replace(tree / right, (tree / found).read_bytes() if content is None else content)


def test_the_sample_is_as_it_should_be(find):
    assert find() == {}


# Subjects


@pytest.mark.parametrize("name", [UNKNOWN, "sub-strokecase0001", "sub-x"])
def test_subject_of_another_release_is_named(find, small_tree, name):
    for path in SMALL.subject_paths(SUBJECT):
        copy(small_tree, path, path.replace(SUBJECT, name))
    finding = only(find(), "subject_count")
    assert (finding.subject, finding.problem, finding.level) == (name, "is no subject of the release", Level.FATAL)
    assert "move it out of the tree" in finding.mend


@pytest.mark.parametrize(
    "path", ["raw_data/sub-notes.txt", "raw_data/group/x", "derivatives/subjects/x", "phenotype/a"]
)
def test_what_could_be_no_subject_is_noted(find, small_tree, path):
    replace(small_tree / path, b"x")
    finding = only(find(), "release_layout")
    assert (finding.level, finding.subject) == (Level.NOTE, "")


# Sessions


def rename_session_in_folder(tree):
    move(tree, f"derivatives/{SUBJECT}/ses-02", f"derivatives/{SUBJECT}/ses-0002")


def rename_session_in_file_names(tree):
    for path in (tree / f"derivatives/{SUBJECT}/ses-02").iterdir():
        path.rename(path.with_name(path.name.replace("ses-02", "ses-0002")))


def rename_session_everywhere(tree):
    rename_session_in_file_names(tree)
    rename_session_in_folder(tree)


def rename_session_of_all_subjects(tree):
    for subject in SMALL.subjects:
        move(tree, f"derivatives/{subject}/ses-02", f"derivatives/{subject}/ses-2")


def move_some_files(tree):
    """The right folder holds the others."""
    for path in (LESION, BY_COLUMN["dwi"].path(SUBJECT)):
        move(tree, path, path.replace("ses-02", "ses-0002"))


def leave_an_empty_folder(tree):
    rename_session_everywhere(tree)
    (tree / f"derivatives/{SUBJECT}/ses-02").mkdir()


def put_nested_folders_apart(tree):
    path = f"derivatives/{SUBJECT}/ses-01"
    move(tree, f"{path}/perfusion-maps", f"derivatives/{SUBJECT}/ses-1/perfusion-maps")
    move(tree, BY_COLUMN["cta"].path(SUBJECT), BY_COLUMN["cta"].path(SUBJECT).replace("ses-01", "ses-001"))


@pytest.mark.parametrize(
    ("damage", "names"),
    [
        (rename_session_in_folder, 1),
        (rename_session_in_file_names, 3),
        (rename_session_everywhere, 4),
        (rename_session_of_all_subjects, len(SMALL.subjects)),
        (move_some_files, 2),
        (leave_an_empty_folder, 3),
        (put_nested_folders_apart, 2),
    ],
)
def test_other_session_names_are_named_with_the_commands_that_mend_them(find, small_tree, damage, names):
    before = contents(small_tree)
    damage(small_tree)
    found = find()
    assert found.keys() == {"session_naming", "release_layout"}
    assert len(found["session_naming"]) == names
    for finding in found["session_naming"]:
        assert finding.subject in finding.path
        assert (finding.level, finding.code) == (Level.FATAL, "session-name")
        assert "has a session other than ses-01 and ses-02" in finding.problem
    (missing,) = found["release_layout"]
    assert (missing.level, missing.code) == (Level.FATAL, "file-missing")
    assert missing.mend == "rename the sessions, see session_naming"
    run(found, small_tree)
    assert contents(small_tree) == before
    assert find() == {}


def name_all_after_the_page(path):
    """As the release's page names sessions."""
    return path.replace("ses-0", "ses-000")


def odd_names(path):
    """Zeros at will."""
    return path.replace("ses-01", "ses-1").replace("ses-02", "ses-002")


@pytest.mark.parametrize("rename", [name_all_after_the_page, odd_names])
@pytest.mark.parametrize("apart", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_whole_tree_of_other_sessions_is_mended_by_one_command_for_each(find, small_tree, rename, apart):
    before = contents(small_tree)
    mine = [f"raw_data/{SUBJECT}/ses-01/a b", f"derivatives/{SUBJECT}/ses-02/$(rm -rf x)_ses-02_'.txt"]
    for path in SMALL.expected_paths():
        if "ses-" in path:
            move(small_tree, path, rename(path))
    for path in mine:
        replace(small_tree / rename(path), b"mine")
    for folder in sorted((path for path in small_tree.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()) and not (apart and folder.name.startswith("ses-")):
            folder.rmdir()
    found = find()
    assert len(commands(found)) == len(found["session_naming"]) == 2
    assert all(finding.level is Level.FATAL for finding in found["session_naming"])
    run(found, small_tree)
    assert contents(small_tree) == before | dict.fromkeys(mine, b"mine")
    assert {finding.level for finding in find().get("release_layout", [])} <= {Level.NOTE}


def test_the_command_for_a_whole_tree_replaces_nothing(find, small_tree):
    for path in SMALL.expected_paths():
        if "ses-02" in path:
            move(small_tree, path, path.replace("ses-02", "ses-0002"))
    copy(small_tree, LESION.replace("ses-02", "ses-0002"), LESION, b"the right one")
    folder = BY_COLUMN["lesion_mask"].path(OTHER)
    (small_tree / folder).mkdir(parents=True)
    left = mended(find, small_tree)
    assert (small_tree / LESION).read_bytes() == b"the right one"
    assert not any((small_tree / folder).iterdir())
    assert [(finding.path, finding.mend) for finding in left["session_naming"]] == [
        (f"derivatives/{SUBJECT}/ses-0002", COMPARE),
        (f"derivatives/{OTHER}/ses-0002", COMPARE),
    ]
    assert [finding.problem for finding in left["release_layout"]] == ["is a folder"]


@pytest.mark.parametrize("name", ["ses-03", "ses-0012", "ses-x", "ses-$(touch x)", "ses-'; touch x", "ses-1 2"])
def test_session_that_is_neither_is_left_to_the_reader(find, small_tree, name):
    path = f"raw_data/{SUBJECT}/{name}"
    replace(small_tree / path / f"{SUBJECT}_ses-01_ncct.nii.gz", b"x")
    finding = only(find(), "session_naming")
    assert (finding.path, finding.problem) == (path, f"{name} has a session other than ses-01 and ses-02")
    assert (finding.mend, finding.level) == ("find out which session it is", Level.FATAL)


def test_session_of_braces_is_named_as_it_is(find, small_tree):
    replace(small_tree / f"raw_data/{SUBJECT}/ses-{{subjects}}{{}}/x", b"x")
    assert only(find(), "session_naming").problem.startswith("ses-{subjects}{} has a session")


def test_file_of_a_session_that_is_neither_is_left_to_the_reader(find, small_tree):
    replace(small_tree / NCCT.replace("_ses-01", "_ses-03"), b"x")
    assert only(find(), "session_naming").mend == "find out which session it is"


@pytest.mark.parametrize("name", ["{}_ses-1_report.pdf", "{}_ses-03_report.pdf", "ses-3.txt", "notes/ses-7/x"])
def test_session_in_the_name_of_a_file_that_is_not_of_the_release_is_noted(find, small_tree, name):
    replace(small_tree / Path(NCCT).parent / name.format(SUBJECT), b"x")
    assert only(find(), "release_layout").level is Level.NOTE


def test_older_file_under_another_session_name_is_never_moved_onto_the_right_one(find, small_tree):
    older = LESION.replace("_ses-02", "_ses-0002")
    copy(small_tree, LESION, older, b"older")
    finding = only(find(), "session_naming")
    assert (finding.path, finding.subject, finding.level) == (older, SUBJECT, Level.FATAL)
    assert finding.problem.endswith(f"beside {LESION}")
    assert finding.mend == COMPARE


@pytest.mark.parametrize("files", [{LESION: b"older"}, {LESION: b"older", LESION.replace("lesion", "x"): b"more"}])
def test_older_folder_under_another_session_name_is_never_moved_into_the_right_one(find, small_tree, files):
    for path, content in files.items():
        replace(small_tree / path.replace("ses-02", "ses-0002"), content)
    finding = only(find(), "session_naming")
    assert (finding.path, finding.mend) == (f"derivatives/{SUBJECT}/ses-0002", COMPARE)
    assert commands(find()) == []


@pytest.mark.parametrize("subjects", [SMALL.subjects[1:2], SMALL.subjects])
def test_nothing_is_moved_through_a_link_out_of_the_tree(find, small_tree, tmp_path, subjects):
    for subject in subjects:
        move(small_tree, f"phenotype/{subject}/ses-02", f"phenotype/{subject}/ses-0002")
        move(small_tree, f"derivatives/{subject}/ses-02", f"derivatives/{subject}/ses-0002")
        for path in (small_tree / f"derivatives/{subject}/ses-0002").iterdir():
            path.rename(path.with_name(path.name.replace("ses-02", "ses-0002")))
    (tmp_path / "elsewhere").mkdir()
    (small_tree / f"derivatives/{SUBJECT}/ses-02").symlink_to(tmp_path / "elsewhere")
    run(find(), small_tree)
    assert not any((tmp_path / "elsewhere").iterdir())
    assert [f.path for f in find()["session_naming"]] == [f"derivatives/{SUBJECT}/ses-0002"]


def test_folder_in_the_place_of_a_file_is_not_moved_into(find, small_tree):
    move(small_tree, LESION, LESION.replace("_ses-02", "_ses-0002"))
    (small_tree / LESION).mkdir()
    found = find()
    assert commands(found) == []
    assert [finding.problem for finding in found["release_layout"]] == ["is a folder"]


@pytest.mark.parametrize("name", ["ses-02 ", "SES-0002", "ses-02\u200b", "Ses\u20110002", "\u00a0ses-2", "ses-02.\t"])
def test_session_folder_that_only_looks_like_it_is_renamed_by_a_quoted_command(find, small_tree, name):
    before = contents(small_tree)
    move(small_tree, f"derivatives/{SUBJECT}/ses-02", f"derivatives/{SUBJECT}/{name}")
    found = find()
    assert len(commands(found)) == 1
    assert commands(found)[0].isprintable()
    run(found, small_tree)
    assert contents(small_tree) == before


# Names that differ in case or Unicode form


def in_capitals(path):
    return path.replace("_ncct", "_NCCT")


def in_wide_letters(path):
    return path.replace("_ncct", "_\uff4e\uff43\uff43\uff54")


def with_something_invisible(path):
    return path.replace("_ncct", "_ncct\u200d")


def with_a_space(path):
    return f"{path} "


def with_a_newline(path):
    return path.replace("_ncct", "_nc\nct")


def with_another_dash(path):
    return path.replace("ses-01_", "ses\u201301_")


LOOKS = [in_capitals, in_wide_letters, with_something_invisible, with_a_space, with_a_newline, with_another_dash]


@pytest.mark.parametrize("look", LOOKS)
def test_file_that_only_looks_right_is_named_with_the_command_that_mends_it(find, small_tree, look):
    before = contents(small_tree)
    move(small_tree, NCCT, look(NCCT))
    finding = only(find(), "release_layout")
    assert (finding.subject, finding.path, finding.problem) == (SUBJECT, NCCT, f"is named {look(NCCT)}")
    assert finding.mend == Rename(look(NCCT), NCCT)
    run(find(), small_tree)
    assert contents(small_tree) == before


@pytest.mark.parametrize("look", LOOKS)
def test_file_that_looks_like_the_right_one_beside_it_is_to_be_waived(find, small_tree, tmp_path, look):
    copy(small_tree, NCCT, look(NCCT))
    finding = only(find(), "no_look_alikes")
    assert (finding.subject, finding.path, finding.level) == (SUBJECT, look(NCCT), Level.WAIVABLE)
    assert (finding.problem, finding.mend) == (f"could be taken for {NCCT}", COMPARE)
    (tmp_path / "waivers").write_text(lines_to_waive(SMALL, [finding]))
    waivers = read_waivers(tmp_path / "waivers")
    assert not judge(SMALL, [finding], waivers).stopping
    copy(small_tree, NCCT, look(NCCT), b"another")
    assert judge(SMALL, find()["no_look_alikes"], waivers).stopping


@pytest.mark.parametrize("names", [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301")])
def test_forms_of_unicode_are_one(find, small_tree, names):
    """No name of ISLES'24 has an accent; another release's may."""
    found, right = names
    assert unicodedata.normalize("NFC", found) == unicodedata.normalize("NFC", right)
    volumes = tuple(
        with_(volume, entities=f"space-{right}") if volume.column == "ncct" else volume for volume in SMALL.volumes
    )
    release = with_(SMALL, volumes=volumes)
    for subject in SMALL.subjects:
        path = release.by_column["ncct"].path(subject)
        move(small_tree, SMALL.by_column["ncct"].path(subject), path)
    path = release.by_column["ncct"].path(SUBJECT)
    assert find(release) == {}
    copy(small_tree, path, path.replace(right, found))
    assert only(find(release), "no_look_alikes").path == path.replace(right, found)


@pytest.mark.parametrize("folder", ["raw_data", f"raw_data/{SUBJECT}", f"derivatives/{SUBJECT}/ses-01"])
def test_second_folder_is_one_finding(find, small_tree, folder):
    second = folder.rpartition("/")[0] + "/" * ("/" in folder) + folder.rpartition("/")[2].upper()
    paths = [path for path in SMALL.expected_paths() if path.startswith(f"{folder}/")]
    for path in paths:
        copy(small_tree, path, path.replace(folder, second, 1))
    finding = only(find(), "no_look_alikes")
    assert (finding.path, finding.level) == (second, Level.WAIVABLE)
    assert finding.problem == f"could be taken for {folder}, with {len(paths)} files"


@pytest.mark.parametrize("folder", ["derivatives", f"raw_data/{SUBJECT}", f"derivatives/{SUBJECT}/ses-01"])
def test_folder_that_only_looks_right_is_renamed(find, small_tree, folder):
    before = contents(small_tree)
    move(small_tree, folder, folder.rpartition("/")[0] + "/" * ("/" in folder) + folder.rpartition("/")[2].upper())
    assert len(commands(find())) == 1
    assert mended(find, small_tree) == {}
    assert contents(small_tree) == before


def test_subject_of_which_all_folders_only_look_right_is_missing_until_they_are_renamed(find, small_tree):
    for top in SMALL.tops:
        move(small_tree, f"{top}/{SUBJECT}", f"{top}/{SUBJECT.title()}")
    (finding,) = find()["subject_count"]
    assert (finding.subject, finding.mend) == (SUBJECT, "rename its folders, see release_layout")
    assert mended(find, small_tree) == {}


def test_what_a_second_folder_alone_has_is_moved_and_what_both_have_is_not(find, small_tree):
    before = contents(small_tree)
    move(small_tree, f"derivatives/{SUBJECT}", f"Derivatives/{SUBJECT}")
    move(small_tree, BY_COLUMN["dwi"].path(OTHER), BY_COLUMN["dwi"].path(OTHER).replace("derivatives", "Derivatives"))
    both = BY_COLUMN["adc"].path(OTHER)
    copy(small_tree, both, both.replace("derivatives", "Derivatives"), b"other")
    assert len(commands(find())) == 2
    finding = only(mended(find, small_tree), "no_look_alikes")
    assert finding.path == "Derivatives"
    assert contents(small_tree) == before | {both.replace("derivatives", "Derivatives"): b"other"}


def test_case_and_session_are_mended_in_the_printed_order(find, small_tree):
    before = contents(small_tree)
    rename_session_everywhere(small_tree)
    lesion = LESION.replace("ses-02", "ses-0002")
    move(small_tree, lesion, lesion.replace("lesion", "Lesion"))
    move(small_tree, f"derivatives/{SUBJECT}", f"derivatives/{SUBJECT.upper()}")
    assert mended(find, small_tree) == {}
    assert contents(small_tree) == before


def test_of_two_files_that_could_be_the_missing_one_neither_is_chosen(find, small_tree):
    copy(small_tree, NCCT, in_capitals(NCCT), b"other")
    move(small_tree, NCCT, NCCT.replace("_ncct", "_Ncct"))
    finding = only(find(), "release_layout")
    assert finding.path == NCCT
    assert in_capitals(NCCT) in finding.problem and "_Ncct" in finding.problem
    assert commands(find()) == []


def test_many_names_in_capitals_are_one_finding(find, small_tree):
    for subject in SMALL.subjects:
        for path in SMALL.subject_paths(subject):
            move(small_tree, path, f"{path.rpartition('/')[0]}/{path.rpartition('/')[2].upper()}")
    finding = only(find(), "release_layout")
    assert (finding.level, finding.problem.split()[0]) == (Level.FATAL, str(20 * len(SMALL.subjects)))


def test_file_of_the_other_session_in_the_folder_could_be_taken_for_the_right_one(find, small_tree):
    path = NCCT.replace("_ses-01", "_ses-02")
    replace(small_tree / path, b"x")
    finding = only(find(), "no_look_alikes")
    assert (finding.path, finding.problem) == (path, f"could be taken for {NCCT}")


# Files that are missing, or are none


@pytest.mark.parametrize("path", [NCCT, LESION, BASELINE.path(SUBJECT), OUTCOME.path(SUBJECT), DICTIONARY.path])
def test_missing_file_is_named(find, small_tree, path):
    (small_tree / path).unlink()
    finding = only(find(), "release_layout")
    assert (finding.path, finding.problem, finding.mend) == (path, "is missing", RESTORE)
    assert (finding.level, finding.subject) == (Level.FATAL, "" if path == DICTIONARY.path else SUBJECT)


@pytest.mark.parametrize("content", [[], ["x_ncct.nii"]])
def test_folder_in_the_place_of_a_file_is_called_that(find, small_tree, content):
    """Some programs unpack `x.nii.gz` to a folder of that name."""
    (small_tree / NCCT).unlink()
    (small_tree / NCCT).mkdir()
    for name in content:
        (small_tree / NCCT / name).write_bytes(b"x")
    finding = only(find(), "release_layout")
    assert (finding.path, finding.problem, finding.level) == (NCCT, "is a folder", Level.FATAL)
    assert finding.mend == f"move the folder out of the tree, and {RESTORE}"


def test_file_in_the_place_of_a_folder_is_named_once(find, small_tree):
    folder = small_tree / "derivatives" / SUBJECT
    shutil.rmtree(folder)
    folder.write_bytes(b"x")
    finding = only(find(), "release_layout")
    count = sum(path.startswith(f"derivatives/{SUBJECT}/") for path in SMALL.subject_paths(SUBJECT))
    assert finding.path == f"derivatives/{SUBJECT}"
    assert finding.problem == f"is a file, where a folder should be; {count} files of the release are below it"


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("/outside", "is a symlink that leaves the tree"),
        ("nothing", "is a symlink to nothing"),
        (Path(LESION).name, "is a symlink to nothing"),
        (".", "is a symlink to a folder"),
    ],
)
def test_symlink_that_is_no_file_of_the_tree_is_named(find, small_tree, tmp_path, target, problem):
    path = small_tree / LESION
    outside = tmp_path / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside if target == "/outside" else target)
    finding = only(find(), "release_layout")
    assert (finding.subject, finding.path, finding.problem, finding.level) == (SUBJECT, LESION, problem, Level.FATAL)
    assert "replace it by the file itself" in finding.mend


def test_symlink_within_the_tree_will_do(find, small_tree):
    path = small_tree / LESION
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    finding = only(find(), "release_layout")
    assert (finding.path.rpartition("/")[2], finding.level) == ("elsewhere", Level.NOTE)


@pytest.mark.parametrize("folder", ["derivatives", f"raw_data/{SUBJECT}"])
@pytest.mark.parametrize("inside", [True, False])
def test_folder_that_is_a_symlink_is_named_once_as_the_cause(find, small_tree, tmp_path, folder, inside):
    """As of a user who keeps the large half of the release on another disk."""
    elsewhere = small_tree / "elsewhere" if inside else tmp_path / "elsewhere"
    (small_tree / folder).rename(elsewhere)
    (small_tree / folder).symlink_to(elsewhere)
    (finding,) = (one for one in find()["release_layout"] if one.level is Level.FATAL)
    count = sum(path.startswith(f"{folder}/") for path in SMALL.expected_paths())
    kind = "to a folder" if inside else "that leaves the tree"
    assert finding.path == folder
    assert finding.problem == f"is a symlink {kind}; {count} files of the release are below it"
    assert finding.mend == "put the folder itself there, not a link"


# Files that are not of the release


@pytest.mark.parametrize(
    ("path", "noted"),
    [
        ("raw_data/.DS_Store", "raw_data/.DS_Store"),
        (f"{Path(NCCT).parent}/._x.nii.gz", f"{Path(NCCT).parent}/._x.nii.gz"),
        ("__MACOSX/train/x", "__MACOSX"),
        ("$RECYCLE.BIN/S-1/desktop.ini", "$RECYCLE.BIN"),
        ("System Volume Information/x", "System Volume Information"),
        (f"raw_data/{SUBJECT}/@eaDir/x", f"raw_data/{SUBJECT}/@eaDir"),
        (f"{Path(NCCT).parent}/.nfs000000000012d68700000001", f"{Path(NCCT).parent}/.nfs000000000012d68700000001"),
    ],
)
def test_junk_of_operating_systems_is_noted_and_stops_nothing(find, small_tree, path, noted):
    replace(small_tree / path, b"junk")
    finding = only(find(), "release_layout")
    assert (finding.path, finding.problem, finding.level) == (noted, "is an operating system's", Level.NOTE)
    assert "move" not in finding.mend


def test_junk_beside_every_file_is_one_note(find, small_tree):
    for path in SMALL.expected_paths():
        replace(small_tree / f"{path.rpartition('/')[0]}/._{path.rpartition('/')[2]}".removeprefix("/"), b"junk")
    finding = only(find(), "release_layout")
    more = len(SMALL.expected_paths()) - 1
    assert finding.problem == f"is an operating system's, as are {more} more files and folders"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("notes.txt", ""),
        (f"{NCCT}.part", ""),
        (LESION.replace("lesion-msk", "brain-msk"), ""),
        (f"raw_data/{SUBJECT}/ses-02/x", ""),
        (LESION.removesuffix(".gz"), f"; {Path(LESION).name} is"),
    ],
)
def test_file_that_is_not_of_the_release_is_noted(find, small_tree, path, problem):
    replace(small_tree / path, b"x")
    finding = only(find(), "release_layout")
    assert finding.path in (path, str(Path(path).parent))
    assert (finding.level, finding.code) == (Level.NOTE, "foreign-file")
    assert finding.problem in (f"is not part of the release{problem}", "is not part of the release; 1 file")
    assert finding.mend == "nothing has to be done: it is not published"


def test_many_files_in_a_foreign_folder_are_one_note(find, small_tree):
    for number in range(30):
        replace(small_tree / f"derivatives/fmriprep/{SUBJECT}/ses-0001/{number}/x", b"x")
    finding = only(find(), "release_layout")
    assert (finding.path, finding.problem) == ("derivatives/fmriprep", "is not part of the release; 30 files")


def test_many_foreign_files_in_a_folder_of_the_release_are_one_note(find, small_tree):
    for number in range(30):
        replace(small_tree / f"{Path(NCCT).parent}/slice-{number}", b"x")
    finding = only(find(), "release_layout")
    assert finding.path == str(Path(NCCT).parent)
    assert finding.problem.startswith("holds 30 files and folders that are not part of the release, such as ")


def make_pipe(path):
    os.mkfifo(path)


def make_broken_link(path):
    path.symlink_to("nothing")


def make_loop(path):
    path.symlink_to(path.name)


def make_link(path):
    path.symlink_to("/etc")


@pytest.mark.parametrize("make", [make_pipe, make_broken_link, make_loop, make_link])
@pytest.mark.parametrize("folder", ["", f"raw_data/{SUBJECT}"])
def test_what_is_no_file_and_not_of_the_release_is_noted(find, small_tree, make, folder):
    make(small_tree / folder / "mine")
    finding = only(find(), "release_layout")
    assert finding.problem.startswith("is not part of the release; is ")
    assert finding.level is Level.NOTE


def test_names_that_cannot_be_read_are_noted(find, small_tree):
    for folder in ("", "derivatives", f"derivatives/{SUBJECT}/ses-01"):
        replace(small_tree / folder / os.fsdecode(b"L\xe4sionen.txt"), b"x")
    findings = find()["release_layout"]
    assert {finding.level for finding in findings} == {Level.NOTE}
    assert [finding.path for finding in findings if "/" not in finding.path] == ["L\\xe4sionen.txt"]


def test_folders_too_deep_to_be_listed_are_noted_in_few_words(find, small_tree):
    here = os.open(small_tree, os.O_RDONLY)
    for _ in range(40):
        os.mkdir("t" * 120, dir_fd=here)
        here = os.open("t" * 120, os.O_RDONLY, dir_fd=here)
    finding = only(find(), "release_layout")
    assert (finding.path, finding.level) == ("t" * 120, Level.NOTE)
    assert finding.problem == "is not part of the release; something in it holds paths too long to be listed"
    subprocess.run(["rm", "-r", small_tree / ("t" * 120)], check=True)  # pytest cannot remove it


def test_stray_file_of_the_release_is_noted_as_what_it_is(find, small_tree):
    path = LESION.removesuffix(".gz")
    replace(small_tree / path, b"x")
    finding = only(find(with_(SMALL, stray_files=(StrayFile(path, "a second mask"),))), "release_layout")
    assert (finding.path, finding.problem, finding.level) == (path, "is a second mask", Level.NOTE)


def test_the_properties_of_the_tree_stop_nothing_that_is_not_fatal():
    """What can be waived must not stop the partitions of other subjects."""
    assert Problem.LOOK_ALIKE.level is Level.WAIVABLE
    blocking = {prop.name for prop in properties_of(SMALL) if prop.asset == "raw_tree" and prop.blocking}
    assert blocking == {"subject_count", "session_naming", "release_layout"}


# What follows for other assets


def test_missing_subject_is_named(bench, new_findings):
    for top in PART.tops:
        shutil.rmtree(bench.tree / top / SUBJECT)
    found = new_findings()
    assert found.keys() == {"subject_count", "release_layout", "one_row_per_subject", "all_modalities"}
    (missing,) = found["subject_count"]
    assert (missing.subject, missing.problem, missing.level) == (SUBJECT, "is missing from the tree", Level.FATAL)
    assert "archive" in missing.mend
    assert [finding.path for finding in found["release_layout"]] == PART.subject_paths(SUBJECT)
    assert [(finding.subject, finding.problem) for finding in found["one_row_per_subject"]] == [
        (SUBJECT, "gives 0 rows")
    ]
    assert [(finding.subject, finding.problem) for finding in found["all_modalities"]] == [
        (SUBJECT, "is not in the manifest")
    ]


@pytest.mark.parametrize("column", ["ncct", "ctp_ncct", "lesion_mask"])
def test_missing_volume_is_named(bench, new_findings, column):
    path = BY_COLUMN[column].path(SUBJECT)
    (bench.tree / path).unlink()
    found = new_findings(SUBJECT)
    assert found.keys() == {"release_layout", "all_modalities"}
    for findings, problem in ((found["release_layout"], "is missing"), (found["all_modalities"], f"has no {column}")):
        (finding,) = findings
        assert (finding.subject, finding.path, finding.problem, finding.level) == (SUBJECT, path, problem, Level.FATAL)
        assert finding.mend == "restore it from the release archive"


def test_empty_file_is_named_and_counts_as_missing_and_stops_publishing(bench, new_findings):
    path = BY_COLUMN["tmax"].path(SUBJECT)
    replace(bench.tree / path, b"")
    found = new_findings(SUBJECT)
    assert found.keys() == {"release_layout", "all_modalities"}
    (finding,) = found["release_layout"]
    assert (finding.subject, finding.path, finding.problem) == (SUBJECT, path, "is empty (0 bytes)")
    assert what_stops_publishing(Evidence(bench.tree, bench.folder)) == [finding, *found["all_modalities"]]


def test_missing_phenotype_folder_is_named_by_both_workbooks(bench, new_findings):
    shutil.rmtree(bench.tree / "phenotype" / SUBJECT)
    found = new_findings()
    assert found.keys() == {"release_layout"}
    paths = [BASELINE.path(SUBJECT), OUTCOME.path(SUBJECT)]
    assert [finding.path for finding in found["release_layout"]] == paths


def test_missing_dictionary_is_named(bench, new_findings):
    (bench.tree / DICTIONARY.path).unlink()
    found = new_findings()
    assert {name: [finding.problem for finding in findings] for name, findings in found.items()} == {
        "release_layout": ["is missing"],
        "dictionary_agreement": ["is missing"],
    }
