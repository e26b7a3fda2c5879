"""What is called done is what it says: files that changed after everything was green, whatever their times say."""

import dataclasses
import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from isles_assets.lib.files import FileStatus, status_of
from isles_assets.products.building import build_subject, state_of, update_noted_status
from isles_assets.products.features import annotated_schema
from isles_assets.products.product import Build
from isles_assets.products.shard.product import Shard
from isles_assets.products.sidecar import Sidecar, read_sidecar, store_sidecar
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_manifest
from isles_assets_tests.isles24 import BY_COLUMN, SMALL
from isles_assets_tests.materials import image_of
from isles_assets_tests.project import OF_TABLES, PARTITIONED, Project, failure, flip, replace
from isles_assets_tests.toy import TOY

TRUNCATED, FLIPPED, LABELLED = SMALL.subjects[1], SMALL.subjects[2], SMALL.subjects[3]
SHARD = Shard(TOY)


def truncated(path: Path) -> bytes:
    return path.read_bytes()[:-1]


def flipped_crc(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    return bytes(content)


def with_label_3(path: Path) -> bytes:
    """Of the size that it has."""
    image = image_of(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[voxels == 1] = 3
    content = gzip.compress(type(image)(voxels, None, image.header).to_bytes(), 9, mtime=0)
    size = path.stat().st_size
    assert len(content) <= size
    return content + bytes(size - len(content))


DAMAGE: dict[str, tuple[str, Callable[[Path], bytes], str, str]] = {
    TRUNCATED: ("cta", truncated, "has changed since the manifest was made", "is cut short"),
    FLIPPED: ("dwi", flipped_crc, "its content does not match its gzip CRC and length", "does not match its gzip CRC"),
    LABELLED: ("lesion_mask", with_label_3, "holds labels other than 1: 3", "holds labels other than 1: 3"),
}
"""By subject: the column, what happens to its file, and what is said of it before and after the tree is looked at."""


def path_of(tree: Path, subject: str) -> Path:
    return tree / BY_COLUMN[DAMAGE[subject][0]].path(subject)


def put(path: Path, content: bytes, status: os.stat_result) -> None:
    replace(path, content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    "looked_at",
    [
        pytest.param(False, id="as the manifest has it"),
        pytest.param(True, id="after taking stock", marks=pytest.mark.long),
    ],
)
def test_what_changed_with_its_times_kept_makes_exactly_its_partitions_red(small_built_copy, small_tree, looked_at):
    originals = {subject: path_of(small_tree, subject).read_bytes() for subject in DAMAGE}
    times = {subject: path_of(small_tree, subject).stat() for subject in DAMAGE}
    for subject, (_, damage, *_) in DAMAGE.items():
        put(path_of(small_tree, subject), damage(path_of(small_tree, subject)), times[subject])
    if looked_at:
        assert small_built_copy.materialize(*OF_TABLES, checks=False).success
    result = small_built_copy.materialize("subject_shard", partitions=SMALL.subjects)
    states = small_built_copy.partition_states()
    assert {subject for subject, state in states.items() if state != "MATERIALIZED"} == DAMAGE.keys()
    words = failure(result, "subject_shard")
    for subject, (_, _, before, after) in DAMAGE.items():
        (line,) = [line for line in words.splitlines() if f"{path_of(Path(), subject).name}: " in line]
        assert (after if looked_at else before) in line, line
    for subject in (TRUNCATED, FLIPPED):
        (line,) = [line for line in words.splitlines() if f"{path_of(Path(), subject).name}: " in line]
        stock = line.index("--select raw_tree,clinical_table,subject_manifest")
        assert stock < line.index(f"--select subject_shard --partition {subject}")
    assert not small_built_copy.materialize("hub_dataset").success
    if not looked_at:
        return
    for subject, content in originals.items():
        put(path_of(small_tree, subject), content, times[subject])
    assert small_built_copy.materialize(*OF_TABLES).success
    for asset in PARTITIONED:
        assert small_built_copy.materialize(asset, partitions=SMALL.subjects).success
    assert set(small_built_copy.partition_states().values()) == {"MATERIALIZED"}
    assert small_built_copy.materialize("hub_dataset").success


@pytest.fixture
def own(toy_built_copy: Project) -> Project:
    """A project whose shards are files of its own, not links of those that other tests have."""
    for path in SHARD.root(toy_built_copy.folder).rglob("sub-*.parquet"):
        replace(path, path.read_bytes())
    shutil.rmtree(toy_built_copy.folder.hub)
    assert toy_built_copy.materialize("subject_shard", partitions=TOY.subjects).success
    return toy_built_copy


def shard_of(folder: DataFolder, subject: str) -> Path:
    return SHARD.path(folder, SHARD.configs[0], subject)


def state(folder: DataFolder, subject: str, tree: Path | None = None):
    return state_of(SHARD, folder, read_manifest(folder)[subject], tree)


def test_a_bit_flipped_in_a_shard_with_its_times_kept_is_found_without_reading_the_others(own, toy_tree):
    subject, other = TOY.subjects[:2]
    path = shard_of(own.folder, subject)
    flip(path)
    place = path.relative_to(own.folder.root)
    assert state(own.folder, subject).reason == f"has a shard that is not the one recorded: {place}"
    assert state(own.folder, other).sidecar
    assert not own.materialize("hub_dataset").success
    assert own.materialize("subject_shard", partitions=TOY.subjects).success
    assert own.materialize("hub_dataset").success


@pytest.mark.long
def test_a_bit_flipped_through_the_published_link_is_found_by_publishing_again(own):
    subject = TOY.subjects[0]
    assert own.materialize("hub_dataset").success
    published = own.folder.hub / own.setup.repo / SHARD.configs[0].path(subject)
    assert published.samefile(shard_of(own.folder, subject))
    flip(published)
    result = own.materialize("hub_dataset")
    assert not result.success
    assert subject in failure(result, "hub_dataset")
    assert own.materialize("subject_shard", partitions=TOY.subjects).success
    assert own.materialize("hub_dataset").success
    assert own.run("verify").success


def test_what_a_disk_lost_without_a_trace_is_found_by_verify_and_then_by_all(own):
    subject = TOY.subjects[0]
    assert own.materialize("hub_dataset").success
    path, record = shard_of(own.folder, subject), SHARD.sidecar_path(own.folder, subject)
    flip(path)
    sidecar = read_sidecar(record)
    assert sidecar is not None
    # A disk changes no status when it loses a bit; here what was noted follows the status instead.
    store_sidecar(record, dataclasses.replace(sidecar, noted={**sidecar.noted, "default": status_of(path)}))
    assert state(own.folder, subject).sidecar
    assert not own.run("verify").success
    assert state(own.folder, subject).sidecar is None
    assert own.materialize("subject_shard", partitions=TOY.subjects).success
    assert own.materialize("hub_dataset").success
    assert own.run("verify").success


def test_publishing_and_its_links_make_nothing_to_read_again(own):
    assert own.materialize("hub_dataset", checks=False).success
    for subject in TOY.subjects:
        sidecar = read_sidecar(SHARD.sidecar_path(own.folder, subject))
        assert sidecar is not None
        assert sidecar.noted == {c.name: status_of(SHARD.path(own.folder, c, subject)) for c in SHARD.configs}


def test_what_other_attributes_say_is_noted_once(own, toy_tree):
    subject = TOY.subjects[0]
    source = toy_tree / TOY.volumes[0].path(subject)
    for path in (source, shard_of(own.folder, subject)):
        path.chmod(0o600)
    known = read_sidecar(SHARD.sidecar_path(own.folder, subject))
    found = state(own.folder, subject, toy_tree).sidecar
    assert found is not None and known is not None and found != known
    assert found.noted["default"] == status_of(shard_of(own.folder, subject))
    assert found.sources[TOY.volumes[0].column].noted == status_of(source)
    assert own.materialize("subject_shard", partitions=TOY.subjects).success
    assert read_sidecar(SHARD.sidecar_path(own.folder, subject)) == found


def test_another_file_in_the_place_of_a_noted_one_is_not_noted(own):
    subject, other = TOY.subjects[:2]
    sidecar = read_sidecar(SHARD.sidecar_path(own.folder, subject))
    assert sidecar is not None
    replace(shard_of(own.folder, subject), shard_of(own.folder, other).read_bytes())
    assert update_noted_status(SHARD, own.folder, sidecar) == sidecar
    assert state(own.folder, subject).sidecar is None


def test_a_record_says_what_was_stored_or_nothing(own):
    path = SHARD.sidecar_path(own.folder, TOY.subjects[0])
    text = path.read_text()
    sidecar = Sidecar.from_json(text)
    assert Sidecar.from_json(sidecar.to_json()) == sidecar
    for other in (
        text.replace('"synthetic": true', '"synthetic": false'),
        text.replace('"marked": ', '"marked": 1'),
        json.dumps(json.loads(text)["sidecar"]),
        "[]",
        "{}",
    ):
        with pytest.raises(ValueError, match="is not what was stored"):
            Sidecar.from_json(other)


def test_a_finished_shard_is_noted_as_it_lies_there(own, toy_tree):
    row = read_manifest(own.folder)[TOY.subjects[0]]
    schemas = {config.name: annotated_schema(config) for config in SHARD.configs}
    sidecar = build_subject(SHARD, Build(toy_tree, own.folder, schemas), row)
    assert sidecar.noted == {c.name: status_of(SHARD.path(own.folder, c, row.subject)) for c in SHARD.configs}
    assert read_sidecar(SHARD.sidecar_path(own.folder, row.subject)) == sidecar


def test_statuses_tell_another_file_from_a_renamed_one(tmp_path):
    (path := tmp_path / "file").write_bytes(b"content")
    before = status_of(path)
    path = path.rename(tmp_path / "renamed")
    after = status_of(path)
    assert after.same_but_for_ctime(before)
    assert not after.same_but_for_ctime(None)
    for change in ({"size": 1}, {"mtime_ns": 1}, {"inode": 1}):
        assert not after.same_but_for_ctime(FileStatus(**(vars(before) | change)))
    with path.open("rb") as file:
        assert status_of(file) == after
