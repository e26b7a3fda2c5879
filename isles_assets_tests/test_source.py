"""The release comes from Zenodo by itself, in real Dagster runs: downloaded, extracted, checked, and not again."""

import json
import shutil
from dataclasses import replace

import dagster as dg
import pytest

from isles_assets.graph.resources import Settings
from isles_assets.lib.findings import Refusal
from isles_assets.reading.tree import take_inventory
from isles_assets.release.record import RELEASE, Record
from isles_assets.source.arrival import Places, fetch, room_needed, unpack
from isles_assets.source.verified import is_known, note_beside
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.project import Project, failure
from isles_assets_tests.zenodo_server import FAST, Cut, Deposit, ZenodoServer, record_of

pytestmark = pytest.mark.slow


class OfAnotherRelease(Settings):
    """Settings that pin another archive than the release's."""

    archive_size: int
    archive_md5: str

    @property
    def release(self) -> Record:
        return replace(RELEASE, size=self.archive_size, md5=self.archive_md5)


@pytest.fixture
def server(packed):
    with ZenodoServer(Deposit(record_of(packed), packed)) as server:
        yield server


@pytest.fixture
def record(server):
    return server.deposits[0].record


def from_zenodo(server, record, data):
    """Settings by which `record` comes from the server into the data folder `data`."""
    return OfAnotherRelease(
        raw_root="",
        source="zenodo",
        zenodo_endpoint=server.endpoint,
        data_dir=str(data),
        workers=2,
        archive_size=record.size,
        archive_md5=record.md5,
    )


@pytest.fixture
def project(server, record, tmp_path):
    """A project in which nothing is there, and the release comes from the server."""
    with Project.of(from_zenodo(server, record, tmp_path / "data")) as project:
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
    project, server, record, sample_tree
):
    folder = project.folder
    server.faults.extend([Cut(10_000_000), Cut(20_000_000)])
    result = project.materialize("zenodo_archive", "raw_tree")
    assert result.success
    assert [seen.status for seen in server.downloads] == [200, 206, 206]
    assert sum(seen.sent for seen in server.downloads) == record.size

    assert {path.name for path in folder.archive.parent.iterdir()} == {"train.7z", "train.7z.json"}
    assert {path.name for path in folder.release.parent.iterdir()} == {"train", "train.json"}
    assert take_inventory(folder.release) == take_inventory(sample_tree)
    for path in take_inventory(sample_tree):
        assert (folder.release / path).read_bytes() == (sample_tree / path).read_bytes()
    checks = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert checks == {"subject_count": True, "session_naming": True, "release_layout": True}

    facts, version = metadata(project, "zenodo_archive")
    assert version == record.md5 == facts["md5"]
    assert facts["how"] == "downloaded" and facts["bytes"] == record.size and facts["version"] == "v7"
    facts, _ = metadata(project, "raw_tree")
    assert facts["source"] == "zenodo" and facts["tree"] == str(folder.release)
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
    shutil.rmtree(folder.release)
    assert project.materialize("zenodo_archive", "raw_tree").success
    assert folder.release.is_dir() and metadata(project, "raw_tree")[1] == version
    assert not server.downloads


def test_a_newer_version_is_reported_and_not_taken(project, server, record, packed):
    server.deposits.append(Deposit(replace(record, record="18000000", version="v8"), packed, "2026-03-01"))
    result = project.materialize("zenodo_archive")
    assert result.success
    assert observations(result) == [
        {
            "newer version": "v8",
            "record": "18000000",
            "date": "2026-03-01",
            "url": "https://zenodo.org/records/18000000",
        }
    ]
    assert {seen.path for seen in server.downloads} == {f"/api/records/{record.record}/files/train.7z/content"}
    log = [entry.user_message for entry in project.instance.all_logs(result.run_id)]
    assert any("a version after v7, which is pinned and used: v8 of 2026-03-01, https://zenodo" in line for line in log)


@pytest.mark.parametrize(("given", "says"), [("raw_root", "ISLES_RAW_ROOT"), ("source", "sample")])
def test_what_needs_no_archive_touches_no_network(server, sample_tree, tmp_path, given, says):
    tree = {"raw_root": str(sample_tree)} if given == "raw_root" else {"raw_root": "", "source": "sample"}
    settings = Settings(data_dir=str(tmp_path / "data"), zenodo_endpoint=server.endpoint, **tree)
    with Project.of(settings) as project:
        result = project.materialize("zenodo_archive")
        facts, version = metadata(project, "zenodo_archive")
    assert result.success
    assert facts == {"how": f"not needed: the tree comes from {says}, {settings.tree}"} and version == "not needed"
    assert not server.requests and not settings.folder.root.exists()


def test_raw_tree_alone_says_what_fetches_its_archive(project, server, packed):
    message = failure(project.materialize("raw_tree"), "raw_tree")
    assert f"{project.folder.archive}: is not there -> dagster asset materialize -m isles_assets" in message
    assert "--select zenodo_archive" in message
    project.folder.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, project.folder.archive)
    assert "was not seen to be the pinned one" in failure(project.materialize("raw_tree"), "raw_tree")
    assert not server.requests and not project.folder.release.exists()


def test_a_refusal_fails_the_run_with_its_words_and_nothing_follows(project, server):
    server.deposits[0].record = replace(server.deposits[0].record, md5="0" * 32)
    result = project.materialize("zenodo_archive", "raw_tree")
    assert "md5 00000000" in failure(result, "zenodo_archive")
    assert not server.downloads and not project.folder.root.exists()
    assert {event.step_key for event in result.all_events if event.is_step_failure} == {"zenodo_archive"}


@pytest.fixture
def places(tmp_path):
    folder = DataFolder(tmp_path / "data")
    return Places(folder.archive, folder.release, folder.shards)


def test_a_disk_that_cannot_hold_all_that_follows_is_refused_with_numbers(server, places):
    large = replace(RELEASE, size=10**15)
    with pytest.raises(Refusal) as caught:
        fetch(large, places, Zenodo(server.endpoint, FAST), shards=large.size)
    (finding,) = caught.value.findings
    assert "free, and 3e+03 TB are needed: 1e+03 TB for train.7z, 1e+03 TB for train, 1e+03 TB for shards" in str(
        finding
    )
    assert "ISLES_DATA_DIR" in finding.mend and "free_disk" in finding.mend
    assert not server.requests and not places.archive.parent.exists()


def test_what_is_there_already_needs_no_room(places):
    record = replace(RELEASE, size=1000)
    assert list(room_needed(record, places, shards=800).values()) == [1000, 1000, 800]
    for path in (places.archive.with_name("train.7z.part"), places.shards / "default" / "shard"):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(300))
    assert list(room_needed(record, places, shards=800).values()) == [700, 1000, 500]
    places.archive.touch()
    places.tree.mkdir(parents=True)
    assert list(room_needed(record, places, shards=200).values()) == [0, 0, 0]


@pytest.mark.parametrize(("free_disk", "room"), [(False, "149 TB for shards"), (True, "10 TB for shards")])
def test_free_disk_asks_for_room_for_ten_subjects_of_149(server, record, tmp_path, free_disk, room):
    config = {"ops": {"zenodo_archive": {"config": {"free_disk": free_disk}}}}
    with Project.of(from_zenodo(server, replace(record, size=149 * 10**12), tmp_path / "data")) as project:
        assert room in failure(project.materialize("zenodo_archive", run_config=config), "zenodo_archive")


def test_a_tree_of_another_archive_is_not_used(project, record, places):
    tree = project.folder.release
    tree.mkdir(parents=True)
    for asset in ("zenodo_archive", "raw_tree"):
        message = failure(project.materialize(asset), asset)
        assert f"{tree}: was not extracted here, and v7 is pinned" in message and "ISLES_RAW_ROOT" in message
    note_beside(tree).write_text(json.dumps({"record": "16813698", "version": "v3", "md5": "36ae"}))
    message = failure(project.materialize("zenodo_archive"), "zenodo_archive")
    assert "was extracted from {'record': '16813698', 'version': 'v3', 'md5': '36ae'}, and v7 is pinned" in message


def test_an_archive_or_tree_that_is_there_needs_no_network(packed, record, places):
    places.archive.parent.mkdir(parents=True)
    shutil.copyfile(packed, places.archive)
    nowhere = Zenodo("http://127.0.0.1:9", FAST)
    assert fetch(record, places, nowhere, shards=0) == "was there"
    assert is_known(places.archive, record)
    unpack(record, places, workers=2)
    assert fetch(record, places, nowhere, shards=0).startswith("not needed")
