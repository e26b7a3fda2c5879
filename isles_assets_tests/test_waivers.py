"""Levels and waivers: what stops publication, and how people take responsibility for it by pasting what is printed."""

from dataclasses import replace as changed
from pathlib import Path

import numpy as np
import pytest
import yaml

from isles_assets.graph.settings import Settings
from isles_assets.lib.findings import Finding, Level, Refusal
from isles_assets.publication.properties import Evidence, properties_of
from isles_assets.publication.property import property_names
from isles_assets.publication.waivers import how_to_waive, judge, lines_to_waive, read_waivers, unused
from isles_assets.release.isles24 import ISLES24
from isles_assets.release.problems import Problem, problem_of
from isles_assets.release.waivers import Waiver
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.materials import image_of, workbook, write_volume
from isles_assets_tests.project import Project, failure, replace
from isles_assets_tests.toy import AGE, CLINIC, HAND, MASK, SCORE, SHARD, T1, TOY

SUBJECT, OTHER = "sub-a02", "sub-a05"
FOUND = changed(
    Problem.OFF_GRID.finding("is off", "look", path="a/b.nii.gz", subject=SUBJECT, found="shape 1x2x3"),
    property="ncct_grid",
)
WAIVER = Waiver("v2", "ncct_grid", FOUND.found, "seen", SUBJECT, FOUND.path)
LINES = """- release: v2
  property: ncct_grid
  subject: sub-a02
  path: a/b.nii.gz
  found: off-grid shape 1x2x3
  reason: seen
"""


def findings_of(count: int) -> list[Finding]:
    return [changed(FOUND, subject=f"sub-a{number:02d}") for number in range(count)]


@pytest.mark.parametrize("problem", Problem)
def test_each_kind_of_problem_has_one_level_and_words_of_its_own(problem):
    finding = problem.finding("is odd", "look", found="x")
    assert (finding.level, finding.code, finding.found) == (problem.level, problem.code, f"{problem.code} x")
    assert problem_of(finding.code) is problem
    assert [each for each in Problem if each.meaning == problem.meaning] == [problem]


@pytest.mark.parametrize("waiver", [WAIVER, changed(WAIVER, found=FOUND.code)])
def test_a_waiver_covers_what_it_names(waiver):
    judgement = judge(TOY, [FOUND], [waiver])
    assert (judgement.stopping, judgement.waived) == ((), ((FOUND, waiver),))


@pytest.mark.parametrize(
    "other",
    [
        {"property": "readable_headers"},
        {"subject": OTHER},
        {"path": "a/c.nii.gz"},
        {"found": "off-grid shape 1x2x4"},
        {"found": "off-grid shape"},
        {"subject": "", "path": ""},
        {"release": "v1"},
    ],
)
def test_a_waiver_of_something_else_covers_nothing(other):
    waiver = changed(WAIVER, **other)
    assert judge(TOY, [FOUND], [waiver]).stopping == (FOUND,)
    (note,) = unused(TOY, [FOUND], [waiver])
    assert (note.level, note.code) == (Level.NOTE, "waiver-unused")


@pytest.mark.parametrize("problem", Problem)
def test_the_level_decides_what_stops_and_what_the_printed_lines_let_through(problem, tmp_path):
    found = changed(problem.finding("is odd", "look", subject=SUBJECT, path="a/b", found="x"), property="ncct_grid")
    assert bool(judge(TOY, [found], []).stopping) is (problem.level is not Level.NOTE)
    path = tmp_path / "waivers.yaml"
    path.write_text(lines_to_waive(TOY, [found]))
    waived = judge(TOY, [found], read_waivers(path))
    assert bool(waived.stopping) is (problem.level is Level.FATAL)
    assert bool(waived.waived) is (problem.level is Level.WAIVABLE)


def test_what_is_fatal_cannot_be_waived():
    fatal = changed(FOUND, level=Level.FATAL)
    assert judge(TOY, [fatal], [WAIVER]).stopping == (fatal,)
    assert lines_to_waive(TOY, [fatal]) == ""


def test_a_note_stops_nothing():
    note = changed(FOUND, level=Level.NOTE)
    judgement = judge(TOY, [note], [])
    assert (judgement.stopping, judgement.notes) == ((), (note,))


@pytest.mark.parametrize(("found", "stopping"), [(2, 0), (3, 0), (4, 4)])
def test_a_waiver_of_all_subjects_covers_no_more_than_it_states(found, stopping):
    waiver = Waiver("v2", "ncct_grid", "off-grid", "seen", count=3)
    assert len(judge(TOY, findings_of(found), [waiver]).stopping) == stopping


def test_the_printed_lines_are_read_as_the_waiver(tmp_path):
    path = tmp_path / "waivers.yaml"
    path.write_text(LINES)
    assert read_waivers(path) == [WAIVER]
    assert LINES.replace("seen", "looked at, and published as it is in the release") in how_to_waive(TOY, [FOUND], path)


@pytest.mark.parametrize("count", [1, 10, 11])
def test_pasting_the_printed_lines_covers_all_that_was_found(tmp_path, count):
    findings, path = findings_of(count), tmp_path / "waivers.yaml"
    lines = lines_to_waive(TOY, findings)
    path.write_text(f"# mine\n{LINES}{lines}")
    assert not judge(TOY, findings, read_waivers(path)).stopping
    assert lines.count("- release") == (count if count <= 10 else 1)


@pytest.mark.parametrize("odd", ["a: b", "- x", "'", '"', "#c", "ä 🙂", "x" * 500, "1", "null", "{", " lead", "a\tb"])
def test_any_text_in_a_finding_survives_the_file(tmp_path, odd):
    finding = changed(FOUND, path=odd, found=f"off-grid {odd}")
    path = tmp_path / "waivers.yaml"
    path.write_text(lines_to_waive(TOY, [finding]))
    assert not judge(TOY, [finding], read_waivers(path)).stopping


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (LINES + "  who: me\n", 7, "`who` is unknown"),
        (LINES.replace("release: v2", "release: 2"), 1, "`release` is '2', which is not text"),
        (LINES + "  count: 3\n", 1, "has a count, which covers all subjects, and names one subject or path"),
        (LINES.replace("  subject: sub-a02\n  path: a/b.nii.gz\n", "  count: three\n"), 3, "`count` is 'three'"),
        (LINES.replace("  subject: sub-a02\n  path: a/b.nii.gz\n", "  count: 0\n"), 3, "`count` is '0'"),
        (LINES.replace("  reason: seen\n", ""), 1, "has no reason"),
        (LINES.replace("seen", "''"), 6, "`reason` is ''"),
        (LINES + LINES.replace("ncct_grid", "grid"), 8, "'grid' is no property; there are"),
        (LINES + "  found: x\n", 7, "`found` stands twice"),
        ("release: v2\n", 1, "is no list of waivers"),
        ("\n- nonsense\n", 2, "is no waiver"),
        ("- 1: 2\n", 1, "`1` is unknown"),
        ("- [a]: 2\n", 1, "is unknown"),
        ("- release: [v2]\n", 1, "which is not text"),
        ("- release: !!python/object:x {}\n", 1, "which is not text"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(tmp_path, text, line, problem):
    path = tmp_path / "waivers.yaml"
    path.write_text(text)
    with pytest.raises(Refusal) as caught:
        read_waivers(path)
    first = caught.value.findings[0]
    assert (first.path, first.problem.startswith(f"line {line}: ")) == (str(path), True)
    assert problem in first.problem


@pytest.mark.parametrize("content", [b"- a: [", b"\xff\xfe\x00", b"a: b: c", b"- &a [*a]", b"%x"])
def test_a_file_that_is_no_list_of_waivers_is_refused_by_name(tmp_path, content):
    path = tmp_path / "waivers.yaml"
    path.write_bytes(content)
    with pytest.raises(Refusal) as caught:
        read_waivers(path)
    assert {finding.path for finding in caught.value.findings} == {str(path)}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "[]\n"])
def test_no_waivers_are_none(tmp_path, text):
    path = tmp_path / "waivers.yaml"
    assert read_waivers(path) == []
    path.write_text(text)
    assert read_waivers(path) == []


def label_2(tree: Path) -> None:
    path = tree / MASK.path(SUBJECT)
    image = image_of(path)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[0, 0, :2] = 2
    write_volume(path, type(image)(voxels, image.affine, image.header))


def off_grid(tree: Path) -> None:
    path = tree / MASK.path(SUBJECT)
    image = image_of(path)
    image.set_sform(image.affine + np.eye(4, k=3) * 40, 1)
    image.set_qform(image.affine, 1)
    write_volume(path, image)


def unreadable_cell(tree: Path) -> None:
    row = {AGE.header: "seventy", HAND.header: "left", SCORE.header: 3}
    replace(tree / CLINIC.path(SUBJECT), workbook([list(row), list(row.values())]))


def text_in_header(tree: Path) -> None:
    path = tree / T1.path(SUBJECT)
    image = image_of(path)
    image.header["descrip"] = b"Doe, Jane"
    write_volume(path, image)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "asset", "check"),
    [
        pytest.param(label_2, "subject_shard", "mask_labels", marks=pytest.mark.long),
        (off_grid, "subject_manifest", "ncct_grid"),
        pytest.param(unreadable_cell, "clinical_table", "readable_workbooks", marks=pytest.mark.long),
        pytest.param(text_in_header, "subject_manifest", "no_identifying_text", marks=pytest.mark.long),
    ],
)
def test_odd_data_is_made_and_stops_until_the_printed_lines_are_pasted(toy_unbuilt, toy_tree, damage, asset, check):
    damage(toy_tree)
    first = toy_unbuilt.build()
    assert not first.success
    message = failure(first, "subject_shard")
    if asset == "subject_shard":  # whose checks wait for all of its partitions
        (evaluation,) = toy_unbuilt.evaluate(asset, check).get_asset_check_evaluations()
        assert not evaluation.passed
    else:
        red = [e for e in first.get_asset_check_evaluations() if not e.passed and e.check_name != "notes"]
        assert [(e.asset_key.to_user_string(), e.check_name) for e in red] == [(asset, check)]

    # It is written and recorded, its partition alone is red, and nothing is published.
    assert toy_unbuilt.partition_states() == dict.fromkeys(TOY.subjects, "MATERIALIZED") | {SUBJECT: "FAILED"}
    made = SHARD.path(toy_unbuilt.folder, SHARD.configs[0], SUBJECT)
    inode = made.stat().st_ino
    assert not toy_unbuilt.folder.hub.exists()
    published = toy_unbuilt.materialize("hub_dataset", checks=False)
    refusal = failure(published, "hub_dataset")

    for text in (message, refusal):
        lines = text[text.index("- release: v2") :]
        waivers = toy_unbuilt.folder.waivers
        assert str(waivers) in text
        waivers.write_text(lines)
        assert len(read_waivers(waivers)) == 1

    # The same command goes through, and nothing is made again.
    assert toy_unbuilt.build().success
    assert toy_unbuilt.partition_states() == dict.fromkeys(TOY.subjects, "MATERIALIZED")
    assert made.stat().st_ino == inode
    card = next(toy_unbuilt.folder.hub.rglob("README.md")).read_text()
    (waiver,) = read_waivers(waivers)
    assert waiver.reason in card
    assert not {"seventy", "Doe", "Jane"} & set(card.replace(",", " ").split())

    # A later damage of the same file is not covered.
    assert toy_unbuilt.run("verify").success


@pytest.mark.long
@pytest.mark.slow
def test_a_waiver_does_not_cover_a_later_damage(toy_unbuilt, toy_tree):
    label_2(toy_tree)
    toy_unbuilt.build()
    evidence = Evidence(toy_tree, toy_unbuilt.folder)
    toy_unbuilt.folder.waivers.write_text(lines_to_waive(TOY, labels(evidence)))
    assert toy_unbuilt.build().success
    path = toy_tree / MASK.path(SUBJECT)
    image = image_of(path)
    voxels = np.asanyarray(image.dataobj).copy()
    voxels[0, 0, 0] = 3
    write_volume(path, type(image)(voxels, image.affine, image.header))
    assert not toy_unbuilt.build().success
    assert toy_unbuilt.partition_states()[SUBJECT] == "FAILED"


def labels(evidence: Evidence) -> list[Finding]:
    return [f for prop in properties_of(TOY) if prop.name == "mask_labels" for f in prop.find(evidence)]


@pytest.mark.slow
def test_a_shard_that_was_not_decoded_reaches_the_hub_only_if_that_is_waived(toy_built_copy, tmp_path, monkeypatch):
    made, folder = toy_built_copy.settings, toy_built_copy.folder
    SHARD.sidecar_path(folder, SUBJECT).unlink()
    settings = Settings(raw_root=made.raw_root, data_dir=made.data_dir, workers=1, hub_target="huggingface")
    project = Project(settings, toy_built_copy.instance, TOY)
    undecoded = {"ops": {"subject_shard": {"config": {"decode": False}}}}
    assert project.materialize("subject_shard", checks=False, partitions=[SUBJECT], run_config=undecoded).success

    tokens = {"hf_w": Token("ada", orgs={"toys": "write"})}
    with HubServer(tmp_path / "hub", tokens=tokens) as hub, hub.clients(tmp_path / "home"):
        monkeypatch.setenv("HF_TOKEN", "hf_w")

        def published():
            config = {"ops": {"hub_dataset": {"config": {"allow_synthetic": True}}}}
            return project.materialize("hub_dataset", checks=False, run_config=config)

        refusal = failure(published(), "hub_dataset")
        assert "was packed without decoding its volumes" in refusal and not hub.requests
        folder.waivers.write_text(refusal[refusal.index("- release: v2") :])
        assert published().success
        assert SHARD.configs[0].path(SUBJECT) in hub.files(TOY.repo)


@pytest.mark.slow
def test_notes_are_yellow_and_stop_nothing(toy_unbuilt, toy_tree):
    """A value outside its range, a file that is not the release's, and a waiver that covers nothing."""
    row = {AGE.header: 140, HAND.header: "left", SCORE.header: 3}
    replace(toy_tree / CLINIC.path(SUBJECT), workbook([list(row), list(row.values())]))
    replace(toy_tree / "notes.txt", b"x")
    toy_unbuilt.folder.root.mkdir(exist_ok=True)
    toy_unbuilt.folder.waivers.write_text(LINES)
    result = toy_unbuilt.build()
    assert result.success
    noted = {
        each.asset_key.to_user_string(): each.metadata["offenders"].value
        for each in result.get_asset_check_evaluations()
        if not each.passed
    }
    assert noted == {"raw_tree": 1, "clinical_table": 1, "subject_manifest": 1}
    assert {e.check_name for e in result.get_asset_check_evaluations() if not e.passed} == {"notes"}


@pytest.mark.slow
def test_waivers_may_lie_elsewhere_and_bad_ones_are_named_with_their_line(toy_built_copy, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(LINES + "  who: me\n")
    given = toy_built_copy.settings
    settings = Settings(raw_root=given.raw_root, data_dir=given.data_dir, waivers=str(path))
    with Project.of(settings, release=TOY) as project:
        result = project.materialize("hub_dataset", checks=False)
        assert f"{path}: line 7: `who` is unknown" in failure(result, "hub_dataset")


def test_every_waiver_of_a_release_names_a_property():
    assert {waiver.property for waiver in ISLES24.waivers} <= set(property_names())
    assert {waiver.release for waiver in ISLES24.waivers} == {ISLES24.version}


def test_the_file_for_the_lines_is_plain_yaml():
    assert yaml.safe_load(LINES)[0]["found"] == FOUND.found
