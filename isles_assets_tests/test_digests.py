"""What reading volumes to their ends showed stays known while path, size and time agree, and is asked again else."""

import os
import shutil
import sys

import pytest

from isles_assets.lib.findings import Refusal
from isles_assets.products.building import state_of
from isles_assets.tables.digests import read_digests
from isles_assets.tables.inventory import read_inventory
from isles_assets.tables.manifest import read_manifest, read_previous_manifest, survey
from isles_assets_tests.project import OF_TABLES, Project, failure, replace
from isles_assets_tests.toy import SHARD, T1, TOY

SUBJECT, NEIGHBOUR = TOY.subjects[2], TOY.subjects[3]
PATH = T1.path(SUBJECT)
FULL = {"ops": {"subject_manifest": {"config": {"full": True}}}}
STALE = {SUBJECT: "has a shard made before these changed: t1"}


@pytest.fixture
def tree(toy_sample_tree, tmp_path):
    """A copy of the sample with inodes of its own, to which no other test makes links."""
    return shutil.copytree(toy_sample_tree, tmp_path / TOY.record.top)


@pytest.fixture
def project(toy_built_folder, tree, tmp_path):
    """A copy, to change, of a project in which everything is materialized."""
    with Project.temporary(tree, tmp_path / "data", release=TOY) as new:
        shutil.copytree(toy_built_folder / "data", new.folder.root, symlinks=True, copy_function=os.link)
        yield new


def put(path, content, status):
    """Give a file other bytes in a new file, with the times that `status` has."""
    replace(path, content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def flipped(content, at=9):
    """One bit is another; at 9, the operating system in the gzip header: the volume decodes as before."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def digest(project, path=PATH):
    """What the manifest has for a volume of the first subject that the tests are about."""
    entries = read_manifest(project.folder)[SUBJECT].volumes.values()
    return next(entry.sha256 for entry in entries if entry.path == path)


def stale(project):
    """Why a shard is not what the manifest asks for, by subject."""
    states = {s: state_of(SHARD, project.folder, row) for s, row in read_manifest(project.folder).items()}
    return {subject: state.reason for subject, state in states.items() if state.reason}


def opened(project, tree):
    """The volumes that an ordinary survey of `tree` opens, in a run that stores what it found."""
    seen = []
    sys.addaudithook(lambda event, args: seen is not None and event == "open" and seen.append(str(args[0])))
    assert project.materialize(*OF_TABLES).success
    names = {os.path.relpath(name, tree) for name in seen if name.startswith(str(tree)) and name.endswith(".nii.gz")}
    seen = None
    return names


def test_what_full_found_stays_known_until_the_file_is_right_again(project, tree):
    path = tree / PATH
    right, status = path.read_bytes(), path.stat()
    put(path, flipped(right), status)
    assert project.materialize(*OF_TABLES).success
    assert digest(project) is None and stale(project) == {}

    assert project.materialize("subject_manifest", run_config=FULL).success
    found = digest(project)
    assert stale(project) == STALE
    table, manifest = project.folder.digests.read_bytes(), project.folder.manifest.read_bytes()
    assert project.materialize(*OF_TABLES).success
    assert (digest(project), stale(project)) == (found, STALE)
    assert project.folder.digests.read_bytes() == table
    assert project.folder.manifest.read_bytes() == manifest
    assert "1 of 6 shards missing or stale" in failure(project.materialize("hub_dataset"), "hub_dataset")

    assert project.materialize("subject_shard", partitions=[SUBJECT]).success
    assert project.materialize("hub_dataset").success
    put(path, right, status)
    assert project.materialize(*OF_TABLES).success
    assert digest(project) != found and stale(project) == STALE
    assert project.materialize("subject_shard", partitions=[SUBJECT]).success
    assert project.materialize("hub_dataset").success


def test_a_damaged_header_is_read_again_with_the_file(project, tree):
    path = tree / PATH
    right, status = path.read_bytes(), path.stat()
    put(path, flipped(right, at=0), status)
    assert project.materialize(*OF_TABLES, run_config=FULL).success
    assert read_manifest(project.folder)[SUBJECT].entry("t1").fault
    put(path, right, status)
    assert project.materialize(*OF_TABLES).success
    assert not read_manifest(project.folder)[SUBJECT].entry("t1").fault and stale(project) == {}


@pytest.mark.long
def test_a_tree_that_was_copied_or_touched_without_a_time_is_read_once_and_nothing_is_stale(project, tmp_path):
    tree = tmp_path / "other" / TOY.record.top
    shutil.copytree(project.setup.tree, tree)
    with Project.temporary(tree, project.folder.root, release=TOY) as moved:
        assert opened(moved, tree) == set()
        assert moved.materialize("subject_manifest", run_config=FULL).success
        manifest = moved.folder.manifest.read_bytes()
        assert opened(moved, tree) == set()
        (tree / PATH).chmod(0o600)
        assert opened(moved, tree) == {PATH}
        assert opened(moved, tree) == set()
        shutil.move(tree, tmp_path / "away")
        shutil.copytree(tmp_path / "away", tree)
        assert len(opened(moved, tree)) == len(TOY.subjects) * len(TOY.volumes)
        assert opened(moved, tree) == set()
        assert moved.folder.manifest.read_bytes() == manifest and stale(moved) == {}


def test_what_is_known_outlives_that_a_volume_or_a_subject_is_away(project, tree):
    path = tree / PATH
    right, status = path.read_bytes(), path.stat()
    put(path, flipped(right), status)
    assert project.materialize(*OF_TABLES, run_config=FULL).success
    known = {each.path: each.sha256 for each in read_digests(project.folder)}
    path.unlink()
    workbook = tree / TOY.workbooks[0].path(NEIGHBOUR)
    shutil.move(workbook, tree.parent / "workbook")
    assert project.materialize(*OF_TABLES, checks=False).success
    assert NEIGHBOUR not in read_manifest(project.folder)
    assert {each.path: each.sha256 for each in read_digests(project.folder)} == known
    put(path, right, status)
    shutil.move(tree.parent / "workbook", workbook)
    assert project.materialize(*OF_TABLES).success
    assert digest(project) not in (None, known.pop(PATH)) and stale(project) == {}
    assert known.items() <= {each.path: each.sha256 for each in read_digests(project.folder)}.items()


def test_a_change_while_a_volume_is_read_shows_in_the_next_survey(project, tree):
    path = tree / PATH
    right, status = path.read_bytes(), path.stat()
    clinical = {subject: row.clinical for subject, row in read_manifest(project.folder).items()}
    digests = read_digests(project.folder)

    def change(said):
        put(path, flipped(right), status)

    inventory, previous = read_inventory(project.folder), read_previous_manifest(project.folder)
    survey(TOY, tree, inventory, clinical, previous, digests=digests, full=True, log=change)
    at_first = digests.of(inventory[PATH])
    survey(TOY, tree, inventory, clinical, previous, digests=digests)
    assert digests.of(inventory[PATH]) not in (None, at_first)


def test_a_table_of_digests_that_cannot_be_read_is_not_forgotten_but_made_again(project):
    assert project.materialize("subject_manifest", run_config=FULL).success
    right = project.folder.digests.read_bytes()
    replace(project.folder.digests, right[:-50])
    with pytest.raises(Refusal, match=r"digests\.parquet.*is damaged.*`full: true`"):
        read_digests(project.folder)
    message = failure(project.materialize("subject_manifest"), "subject_manifest")
    assert "digests.parquet: is damaged" in message and "full: true" in message
    assert project.materialize("subject_manifest", run_config=FULL).success
    assert project.folder.digests.read_bytes() == right
