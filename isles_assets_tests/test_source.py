"""The release comes from Zenodo by itself, in real Dagster runs: downloaded, extracted, checked, and not again."""

import json
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace

import dagster as dg
import pytest

from isles_assets.graph.settings import Settings
from isles_assets.lib.findings import Refusal
from isles_assets.reading.tree import take_inventory
from isles_assets.release.zenodo_record import ORIGIN_NOTE
from isles_assets.source.arrival import Places, fetch, room_needed, unpack
from isles_assets.source.verified import is_verified
from isles_assets.source.zenodo import Zenodo
from isles_assets_tests.archives import pack
from isles_assets_tests.isles24 import ISLES24
from isles_assets_tests.processes import REPOSITORY
from isles_assets_tests.project import Project, failure
from isles_assets_tests.toy import SHARD, TOY, folder_at
from isles_assets_tests.zenodo_server import FAST, Cut, Deposit, ZenodoServer, record_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def packed(toy_sample_tree, made_once):
    """The sample of the toy release as a 7z archive; not to be changed."""
    return made_once("toy_packed", lambda to: pack(to / TOY.record.archive, toy_sample_tree)) / TOY.record.archive


@pytest.fixture
def server(packed):
    with ZenodoServer(Deposit(record_of(packed, TOY.record), packed)) as server:
        yield server


@pytest.fixture
def release(server):
    """The toy release with the server's archive pinned."""
    return replace(TOY, record=server.deposits[0].record)


@pytest.fixture
def record(release):
    return release.record


def from_zenodo(server, data):
    """Settings by which the release comes from the server into the data folder `data`."""
    return Settings(raw_root="", source="zenodo", zenodo_endpoint=server.endpoint, data_dir=str(data), workers=2)


@pytest.fixture
def project(server, release, tmp_path):
    """A project in which nothing is there, and the release comes from the server."""
    with Project.of(from_zenodo(server, tmp_path / "data"), release=release) as project:
        yield project


def metadata(project, asset):
    event = project.instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization
    return {name: value.value for name, value in event.metadata.items()}, event.tags["dagster/data_version"]


def observations(result):
    return [
        {name: value.value for name, value in event.asset_observation_data.asset_observation.metadata.items()}
        for event in result.all_events
        if event.event_type_value == "ASSET_OBSERVATION"
    ]


def test_the_release_is_downloaded_in_pieces_extracted_and_checked_and_never_again(
    project, server, record, toy_sample_tree
):
    folder = project.folder
    server.faults.extend([Cut(record.size // 4), Cut(record.size // 2)])
    result = project.materialize("zenodo_archive", "raw_tree")
    assert result.success
    assert [seen.status for seen in server.downloads] == [200, 206, 206]
    assert sum(seen.sent for seen in server.downloads) == record.size

    assert {path.name for path in folder.archive.parent.iterdir()} == {"toys.7z", "toys.7z.json"}
    assert {path.name for path in folder.tree.parent.iterdir()} == {"toys"}
    assert {path.name for path in folder.tree.iterdir()} == {*TOY.tops, ORIGIN_NOTE}
    assert take_inventory(TOY, folder.tree) == take_inventory(TOY, toy_sample_tree)
    for path in take_inventory(TOY, toy_sample_tree):
        assert (folder.tree / path).read_bytes() == (toy_sample_tree / path).read_bytes()
    checks = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert checks.keys() == {
        "subject_count",
        "session_naming",
        "release_layout",
        "no_look_alikes",
        "as_listed",
        "notes",
    }
    assert all(checks.values())

    facts, version = metadata(project, "zenodo_archive")
    assert version == record.md5 == facts["md5"]
    assert facts["how"] == "downloaded" and facts["bytes"] == record.size and facts["version"] == "v2"
    facts, _ = metadata(project, "raw_tree")
    assert facts["source"] == "zenodo" and facts["tree"] == str(folder.tree)
    assert not observations(result)

    server.requests.clear()
    folder.archive.unlink()
    assert project.materialize("zenodo_archive", "raw_tree").success
    assert not server.downloads and not folder.archive.exists()
    facts, version = metadata(project, "zenodo_archive")
    assert facts["how"].startswith("not needed: the tree") and version == record.md5


def test_a_tree_that_is_extracted_again_is_the_same_to_everything_that_follows(project, server, packed):
    folder = project.folder
    folder.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, folder.archive)
    assert project.materialize("zenodo_archive", "raw_tree").success
    assert metadata(project, "zenodo_archive")[0]["how"] == "was there"
    version = metadata(project, "raw_tree")[1]
    shutil.rmtree(folder.tree)
    assert project.materialize("zenodo_archive", "raw_tree").success
    assert folder.tree.is_dir() and metadata(project, "raw_tree")[1] == version
    assert not server.downloads


def test_a_newer_version_is_reported_and_not_taken(project, server, record, packed):
    server.deposits.append(Deposit(replace(record, record="18000000", version="v3"), packed, "2026-03-01"))
    result = project.materialize("zenodo_archive")
    assert result.success
    assert observations(result) == [
        {
            "newer version": "v3",
            "record": "18000000",
            "date": "2026-03-01",
            "url": "https://zenodo.org/records/18000000",
        }
    ]
    assert {seen.path for seen in server.downloads} == {f"/api/records/{record.record}/files/toys.7z/content"}
    log = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    assert any(
        "a newer version: v3 of 2026-03-01, https://zenodo" in line and "version v2 is used" in line for line in log
    )


@pytest.mark.parametrize(("given", "says"), [("raw_root", "ISLES_RAW_ROOT"), ("source", "sample")])
def test_what_needs_no_archive_touches_no_network(server, toy_sample_tree, tmp_path, given, says):
    tree = {"raw_root": str(toy_sample_tree)} if given == "raw_root" else {"raw_root": "", "source": "sample"}
    settings = Settings(data_dir=str(tmp_path / "data"), zenodo_endpoint=server.endpoint, **tree)
    with Project.of(settings, release=TOY) as project:
        result = project.materialize("zenodo_archive")
        facts, version = metadata(project, "zenodo_archive")
        setup = project.setup
    assert result.success
    assert facts == {"how": f"not needed: the tree comes from {says}, {setup.tree}"} and version == "not needed"
    assert not server.requests and not setup.folder.root.exists()


def test_raw_tree_alone_says_what_fetches_its_archive(project, server, packed):
    message = failure(project.materialize("raw_tree"), "raw_tree")
    assert f"{project.folder.archive}: is not there -> dagster asset materialize" in message
    assert "--select zenodo_archive" in message
    project.folder.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, project.folder.archive)
    assert "was not seen to be the pinned one" in failure(project.materialize("raw_tree"), "raw_tree")
    assert not server.requests and not project.folder.tree.exists()


def test_a_refusal_fails_the_run_with_its_words_and_nothing_follows(project, server):
    server.deposits[0].record = replace(server.deposits[0].record, md5="0" * 32)
    result = project.materialize("zenodo_archive", "raw_tree")
    assert "md5 00000000" in failure(result, "zenodo_archive")
    assert not server.downloads and not project.folder.root.exists()
    assert {event.step_key for event in result.all_events if event.is_step_failure} == {"zenodo_archive"}


@pytest.fixture
def places(tmp_path):
    folder = folder_at(tmp_path / "data")
    return Places(folder.archive, folder.tree, SHARD.root(folder))


def test_a_disk_that_cannot_hold_all_that_follows_is_refused_with_numbers(server, places):
    large = replace(TOY, record=replace(TOY.record, size=10**15))
    with pytest.raises(Refusal) as caught:
        fetch(large, places, Zenodo(server.endpoint, FAST), shards=large.record.size)
    (finding,) = caught.value.findings
    assert "free, and 3e+03 TB are needed: 1e+03 TB for toys.7z, 1e+03 TB for toys, 1e+03 TB for shards" in str(finding)
    assert "ISLES_DATA_DIR" in finding.mend and "free_disk" in finding.mend
    assert not server.requests and not places.archive.parent.exists()


def test_what_is_there_already_needs_no_room(places):
    record = replace(TOY.record, size=1000)
    assert list(room_needed(record, places, shards=800).values()) == [1000, 1000, 800]
    for path in (places.archive.with_name("toys.7z.part"), places.shards / "default" / "shard"):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(300))
    assert list(room_needed(record, places, shards=800).values()) == [700, 1000, 500]
    extracted = places.tree.parent / ".toys.part" / "toys" / "file"
    extracted.parent.mkdir(parents=True)
    extracted.write_bytes(bytes(200))
    assert list(room_needed(record, places, shards=800).values()) == [700, 800, 500]
    places.archive.touch()
    places.tree.mkdir(parents=True)
    assert list(room_needed(record, places, shards=200).values()) == [0, 0, 0]


@pytest.mark.parametrize(("free_disk", "room"), [(False, "149 TB for shards"), (True, "14 TB for shards")])
def test_free_disk_asks_for_room_for_fourteen_subjects_of_149(server, tmp_path, free_disk, room):
    release = replace(ISLES24, record=replace(ISLES24.record, size=149 * 10**12))
    config = {"ops": {"zenodo_archive": {"config": {"free_disk": free_disk}}}}
    with Project.of(from_zenodo(server, tmp_path / "data"), release=release) as project:
        assert room in failure(project.materialize("zenodo_archive", run_config=config), "zenodo_archive")


def test_a_tree_of_another_archive_is_not_used(project):
    tree = project.folder.tree
    tree.mkdir(parents=True)
    for asset in ("zenodo_archive", "raw_tree"):
        message = failure(project.materialize(asset), asset)
        assert f"{tree}: was not extracted here, and v2 is pinned" in message and "ISLES_RAW_ROOT" in message
    (tree / ORIGIN_NOTE).write_text(json.dumps({"record": "1234560", "version": "v1", "md5": "36ae"}))
    message = failure(project.materialize("zenodo_archive"), "zenodo_archive")
    assert "was extracted from {'record': '1234560', 'version': 'v1', 'md5': '36ae'}, and v2 is pinned" in message


def test_an_archive_or_tree_that_is_there_needs_no_network(packed, release, places):
    places.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, places.archive)
    nowhere = Zenodo("http://127.0.0.1:9", FAST)
    assert fetch(release, places, nowhere, shards=0) == "was there"
    assert is_verified(places.archive, release.record)
    unpack(release, places, workers=2)
    assert fetch(release, places, nowhere, shards=0).startswith("not needed")


EXTRACT = """
import pickle, sys, threading
from isles_assets.lib.progress import ByteProgress
from isles_assets.source.arrival import unpack
ByteProgress.advance = lambda self, size: (print("at work", flush=True), threading.Event().wait())
release, places = pickle.load(sys.stdin.buffer)
unpack(release, places, workers=1)
"""


def test_a_failed_extraction_does_not_vouch_for_a_tree_that_is_put_there(packed, release, places, toy_sample_tree):
    places.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, places.archive)
    nowhere = Zenodo("http://127.0.0.1:9", FAST)
    fetch(release, places, nowhere, shards=0)
    task = pickle.dumps((release, places))
    with subprocess.Popen(
        [sys.executable, "-c", EXTRACT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY
    ) as process:
        process.stdin.write(task)
        process.stdin.close()
        assert process.stdout.readline() == b"at work\n"
        process.kill()
    (partial,) = places.tree.parent.iterdir()
    assert partial.name.startswith(f".{places.tree.name}.") and not list(partial.rglob(ORIGIN_NOTE))

    shutil.copytree(toy_sample_tree, places.tree)
    for come in (
        lambda: fetch(release, places, nowhere, shards=0),
        lambda: unpack(release, places, workers=2),
    ):
        with pytest.raises(Refusal, match="was not extracted here"):
            come()
    shutil.rmtree(places.tree)
    unpack(release, places, workers=2)
    assert list(places.tree.parent.iterdir()) == [places.tree]
    assert fetch(release, places, nowhere, shards=0).startswith("not needed")
    assert take_inventory(TOY, places.tree) == take_inventory(TOY, toy_sample_tree)


def test_what_an_extraction_has_left_beside_its_tree_is_removed(packed, release, places):
    places.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, places.archive)
    fetch(release, places, Zenodo("http://127.0.0.1:9", FAST), shards=0)
    unpack(release, places, workers=2)
    part, said = places.tree.parent / ".toys.part", []
    part.mkdir()
    (part / "archive.json").touch()
    unpack(release, places, workers=2, log=said.append)
    assert said == [f"Removing {part}, which an extraction has left"]
    assert list(places.tree.parent.iterdir()) == [places.tree]


def test_a_tree_that_is_given_is_what_was_given_whatever_note_is_in_it(packed, release, places, tmp_path):
    places.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, places.archive)
    fetch(release, places, Zenodo("http://127.0.0.1:9", FAST), shards=0)
    unpack(release, places, workers=2)
    given = tmp_path / "given"
    shutil.copytree(places.tree, given)
    other = given / release.tops[0] / ORIGIN_NOTE
    other.write_bytes(b"")
    with Project.temporary(given, tmp_path / "other", release=release) as project:
        assert project.materialize("raw_tree").success
        assert metadata(project, "raw_tree")[0]["source"] == "ISLES_RAW_ROOT"
    inventory = take_inventory(TOY, given)
    assert set(inventory) - {*take_inventory(TOY, places.tree)} == {other.relative_to(given).as_posix()}
