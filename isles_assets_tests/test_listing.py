"""The archive's listing: read of 99 GB by a few ranges, compared with what is expected, and then with every file."""

import os
import shutil
import struct
import zlib
from dataclasses import replace as changed
from pathlib import Path

import dagster as dg
import py7zr
import pyarrow.parquet as pq
import pytest
import yaml

from isles_assets.graph.settings import Settings
from isles_assets.lib.findings import Refusal
from isles_assets.release.zenodo_record import ORIGIN_NOTE
from isles_assets.source.archive import members
from isles_assets.source.listing import (
    MOST_READ,
    UnansweredError,
    members_at_zenodo,
    members_of,
    own_listing,
    read_own_listing,
)
from isles_assets.source.zenodo import Zenodo
from isles_assets.tables.listing import obtain_listing, read_listing
from isles_assets.tables.manifest import read_manifest
from isles_assets_tests.archives import LZMA2, hollow, pack
from isles_assets_tests.isles24 import ISLES24, SMALL
from isles_assets_tests.materials import edited_zip, image_of, write_volume
from isles_assets_tests.project import OF_TABLES, Project, failure, replace, spoil_unseen
from isles_assets_tests.toy import CLINIC, MASK, PERFUSION, T1, TOY, folder_at
from isles_assets_tests.zenodo_server import FAST, Cut, Deposit, Status, Trickle, ZenodoServer, record_of

APPARENT = ISLES24.record.size
SUBJECT, OTHER = "sub-a02", "sub-a05"
TOYS = TOY.expected_paths()


def pack_names(archive: Path, release, names, *, top: str = "") -> Path:
    """An archive with a small file under each of `names`, and all in `release`'s top folder."""
    with py7zr.SevenZipFile(archive, "w", filters=LZMA2) as content:
        for name in names:
            content.writestr(f"bytes of {name}".encode(), f"{top or release.record.top}/{name}")
    return archive


@pytest.fixture(scope="session")
def large(made_once):
    """An archive of ISLES'24's names that seems to have the size of the release's; nearly all of it is a hole."""

    def fill(folder):
        hollow(pack_names(folder / "small.7z", ISLES24, ISLES24.expected_paths()), folder / "train.7z", APPARENT)

    return made_once("listing", fill) / "train.7z"


@pytest.fixture
def server(large):
    with ZenodoServer(Deposit(ISLES24.record, large)) as server:
        yield server


def ranges(server):
    return [seen.range for seen in server.downloads]


def moved(server):
    return sum(seen.sent for seen in server.downloads)


def asked(server):
    """The members at the server, by a client that is told nothing and waits for little."""
    return members_at_zenodo(ISLES24.record, Zenodo(server.endpoint), FAST)


def of_zenodo(server, data, **more):
    return Settings(
        raw_root="", source="zenodo", zenodo_endpoint=server.endpoint, listing="on", data_dir=str(data), workers=2,
        **more,
    )  # fmt: skip


def metadata(project, asset):
    event = project.instance.get_latest_materialization_event(dg.AssetKey(asset)).asset_materialization
    return {name: value.value for name, value in event.metadata.items()}


def told(result, check):
    """Whether a check passed, and what it says that it has looked at."""
    (one,) = (each for each in result.get_asset_check_evaluations() if each.check_name == check)
    return one.passed, one.metadata["looked at"].value


def test_the_listing_of_99_gb_is_read_by_less_than_2_mb_and_once(server, tmp_path):
    with Project.of(of_zenodo(server, tmp_path / "data")) as project:
        result = project.materialize("archive_listing")
        assert result.success
        assert moved(server) < MOST_READ and all(seen.status == 206 for seen in server.downloads)
        table = pq.read_table(project.folder.listing)
        facts = metadata(project, "archive_listing")
        before = project.folder.listing.read_bytes()

        server.requests.clear()
        assert project.materialize("archive_listing").success
        assert not server.requests and project.folder.listing.read_bytes() == before

    paths = ISLES24.expected_paths()
    assert table.column("path").to_pylist() == sorted(paths)
    assert table.schema.field("crc32").type == "uint32"
    contents = [f"bytes of {path}".encode() for path in sorted(paths)]
    assert table.column("crc32").to_pylist() == list(map(zlib.crc32, contents))
    assert table.column("size").to_pylist() == list(map(len, contents))
    assert facts["files"] == len(paths) and facts["methods"] == ["LZMA2"] and facts["files outside the top folder"] == 0
    assert facts["origin"] == f"{server.endpoint}/api/records/17652035/files/train.7z/content"
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True, True]


def test_what_is_read_by_ranges_is_what_is_read_of_the_file(server, large):
    assert asked(server) == members_of(large)


def test_after_a_break_or_a_rate_limit_only_what_is_missing_is_asked_for(server):
    asked(server)
    whole = ranges(server)
    server.requests.clear()
    server.faults.extend([Cut(1000), Status(429, {"Retry-After": "0"}), Cut(2000, reset=True)])
    assert len(asked(server)) == len(ISLES24.expected_paths())
    first, end = whole[0].removeprefix("bytes=").split("-")
    assert (first, ranges(server)[0]) == ("0", whole[0])
    assert ranges(server)[1:3] == [f"bytes=1000-{end}"] * 2
    assert moved(server) < MOST_READ


def no_ranges(server):
    server.knows_ranges = False


def other_range(server):
    server.states = lambda start, end, size: f"bytes {start + 1}-{end}/{size}"


def other_size(server):
    server.states = lambda start, end, size: f"bytes {start}-{end - 1}/{size - 1}"


def no_file(server):
    server.faults.append(Status(404))


def limited(server):
    server.faults.append(Status(429, {"Retry-After": "60"}))


def another_archive(server):
    server.deposits[0].record = changed(ISLES24.record, md5="0" * 32)


def trickle(server):
    server.faults.extend([Trickle(10)] * 20)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (no_ranges, "was asked for a range of bytes, and answers 200 OK"),
        (other_range, "was asked for bytes 0-65535 of 99022114670, and answers bytes 1-65536/99022114670"),
        (other_size, "and answers bytes 0-65535/99022114669"),
        (no_file, "answers 404 Not Found"),
        (limited, "the server asks to wait for 60 s"),
        (another_archive, "is pinned"),
        pytest.param(trickle, "sends too slowly", marks=pytest.mark.long),
    ],
)
def test_where_zenodo_does_not_answer_nothing_is_compared_and_that_is_said(server, tmp_path, monkeypatch, fault, why):
    fault(server)
    monkeypatch.setattr("isles_assets.source.listing.members_at_zenodo.__defaults__", (FAST,))
    with Project.of(of_zenodo(server, tmp_path / "data")) as project:
        result = project.materialize("archive_listing")
        assert result.success and why in metadata(project, "archive_listing")["not compared"]
        assert not read_listing(project.folder).members
        assert moved(server) < 20e6, "no server may make us read all"
        server.requests.clear()
        project.materialize("archive_listing")
        assert server.requests, "it is asked again another time"


def test_a_header_that_claims_to_be_large_is_not_read(server, tmp_path):
    start = struct.pack("<QQI", 0, APPARENT // 2, 1)
    content = server.deposits[0].content.open("rb").read(8)
    bad = tmp_path / "train.7z"
    bad.write_bytes(content + struct.pack("<I", zlib.crc32(start)) + start)
    os.truncate(bad, APPARENT)
    server.deposits[0].content = bad
    with pytest.raises(UnansweredError, match=r"needs 49,511,[0-9,]+ bytes read for its header"):
        asked(server)
    assert moved(server) < 1e6


@pytest.mark.parametrize("place", [12, -1])
def test_a_damaged_header_stops_with_the_way_to_go_on(server, tmp_path, large, place):
    bad = tmp_path / "train.7z"
    content = bytearray(pack_names(tmp_path / "small.7z", SMALL, SMALL.expected_paths()).read_bytes())
    content[place] ^= 1
    bad.write_bytes(content)
    server.deposits[0] = Deposit(record_of(bad), bad)
    release = changed(ISLES24, record=server.deposits[0].record)
    with Project.of(of_zenodo(server, tmp_path / "data"), release=release) as project:
        message = failure(project.materialize("archive_listing", "zenodo_archive"), "archive_listing")
    assert "is damaged, or no 7z archive" in message and "set ISLES_LISTING=off" in message
    assert moved(server) < MOST_READ


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (TOYS[1:], f"{TOYS[0]}: is not in the archive -> "),
        ([TOYS[0].replace("ses-1", "ses-01"), *TOYS[1:]], f"{TOYS[0]}: is not in the archive, which has "),
    ],
    ids=["missing", "another session"],
)
def test_a_listing_that_is_not_the_releases_stops_before_anything_is_downloaded(tmp_path, names, words):
    archive = pack_names(tmp_path / TOY.record.archive, TOY, names)
    record = record_of(archive, TOY.record)
    with (
        ZenodoServer(Deposit(record, archive)) as server,
        Project.of(of_zenodo(server, tmp_path / "data"), release=changed(TOY, record=record)) as project,
    ):
        result = project.build()
        assert not result.success and all(seen.status == 206 for seen in server.downloads)
        (check,) = (each for each in result.get_asset_check_evaluations() if each.check_name == "listed_as_expected")
        assert not check.passed and words in check.description
        assert not project.folder.archive.exists()
        assert not project.instance.get_latest_materialization_event(dg.AssetKey("zenodo_archive"))


def test_another_top_folder_is_one_finding_and_further_files_are_notes(tmp_path):
    release = changed(TOY, record=changed(TOY.record, size=1))

    def checks(archive):
        sized = changed(TOY, record=record_of(archive, release.record))
        with Project.of(Settings(raw_root=str(tmp_path), data_dir=str(tmp_path / archive.stem)), release=sized) as one:
            one.folder.archive.parent.mkdir(parents=True)
            shutil.copyfile(archive, one.folder.archive)
            result = one.materialize("archive_listing")
            return {each.check_name: each for each in result.get_asset_check_evaluations()}

    found = checks(pack_names(tmp_path / "other.7z", TOY, TOYS, top="games"))["listed_as_expected"]
    assert "holds no file below `toys`, but 24 elsewhere" in found.description
    more = [*TOYS, "rawdata/sub-z/x", "rawdata/sub-z/y", "README"]
    found = checks(pack_names(tmp_path / "more.7z", TOY, more))
    assert found["listed_as_expected"].passed
    assert found["notes"].metadata["offenders"].value == 2
    assert "rawdata/sub-z/x" in str(found["notes"].metadata["findings"].value)


def test_a_part_of_the_release_is_compared_with_the_listing_of_the_whole(tmp_path):
    archive = pack_names(tmp_path / "toys.7z", TOY, TOYS)
    part = changed(TOY.only([SUBJECT, OTHER]), record=record_of(archive, TOY.record))
    with Project.of(Settings(raw_root=str(tmp_path), data_dir=str(tmp_path / "data")), release=part) as project:
        project.folder.archive.parent.mkdir(parents=True)
        shutil.copyfile(archive, project.folder.archive)
        result = project.materialize("archive_listing")
    assert result.success and all(each.passed for each in result.get_asset_check_evaluations())


def test_zenodo_is_asked_of_a_real_tree_and_never_of_a_synthetic_one(toy_tree, tmp_path):
    archive = pack(tmp_path / TOY.record.archive, toy_tree)
    release = changed(TOY, record=record_of(archive, TOY.record))
    folder = folder_at(tmp_path / "data")
    folder = changed(folder, release=release)
    with ZenodoServer(Deposit(release.record, archive)) as server:
        zenodo = Zenodo(server.endpoint)
        assert obtain_listing(folder, toy_tree, zenodo).why_not == (
            "the tree is synthetic, and has no listing of its own beside it"
        )
        assert not server.requests
        reference = toy_tree / T1.path(OTHER)
        image = image_of(reference)
        image.header["descrip"] = b""
        write_volume(reference, image)
        assert obtain_listing(folder, toy_tree, None).why_not == "ISLES_LISTING is off"
        assert not server.requests
        listing = obtain_listing(folder, toy_tree, zenodo)
        assert sorted(listing.members) == sorted(TOYS) and server.requests


def test_the_samples_own_listing_is_what_lies_in_it(toy_sample_tree):
    listed = {member.name: member for member in read_own_listing(toy_sample_tree)}
    assert sorted(listed) == sorted(TOYS)
    for path, member in listed.items():
        file = toy_sample_tree / path
        assert member.crc32 == zlib.crc32(file.read_bytes())
        assert (member.size, member.mtime_ns) == (file.stat().st_size, file.stat().st_mtime_ns)


@pytest.mark.long
def test_the_demo_shows_the_chain(tmp_path):
    with Project.of(Settings(raw_root="", source="sample", data_dir=str(tmp_path), workers=2), release=TOY) as project:
        result = project.build()
        assert result.success
        own = own_listing(project.folder.sample)
        assert told(result, "as_listed") == (True, f"24 files by name and size compared with the listing of {own}")
        assert told(result, "bytes_of_archive") == (True, f"18 volumes by CRC-32 compared with the listing of {own}")
        assert metadata(project, "archive_listing")["origin"] == str(own)
        assert metadata(project, "subject_manifest")["volumes with the archive's CRC-32"] == 18
        entry = read_manifest(project.folder)[SUBJECT].volumes["t1"]
        assert entry.crc32 == zlib.crc32((project.folder.sample / entry.path).read_bytes())


@pytest.fixture
def given(toy_tree, toy_sample_tree):
    """A tree to damage with the listing of what it was."""
    shutil.copyfile(own_listing(toy_sample_tree), own_listing(toy_tree))
    return toy_tree


def save_again(path):
    """A workbook that says the same in other bytes."""
    replace(path, edited_zip(path.read_bytes(), "xl/workbook.xml", lambda text: text + " "))


def rewrite(path):
    """A volume of another size that decodes as before."""
    replace(path, path.read_bytes() + bytes(20))


@pytest.mark.parametrize(
    ("damage", "path", "found"),
    [
        (spoil_unseen, PERFUSION.path(SUBJECT), ["bytes_of_archive"]),
        pytest.param(rewrite, MASK.path(SUBJECT), ["as_listed", "bytes_of_archive"], marks=pytest.mark.long),
        pytest.param(save_again, CLINIC.path(SUBJECT), ["as_listed", "workbooks_of_archive"], marks=pytest.mark.long),
    ],
)
def test_a_file_of_a_given_tree_that_is_not_the_archives_stops_one_subject_until_it_is_waived(
    given, tmp_path, damage, path, found
):
    damage(given / path)
    with Project.temporary(given, tmp_path / "data", release=TOY) as project:
        result = project.build()
        assert not result.success
        assert project.partition_states() == {
            subject: "FAILED" if subject == SUBJECT else "MATERIALIZED" for subject in TOY.subjects
        }
        lines = [
            each.metadata["how to waive"].value.partition("\n")[2]
            for each in result.get_asset_check_evaluations()
            if "how to waive" in each.metadata
        ]
        words = failure(result, "subject_shard")
        assert f"{path}: has " in words and "bytes" in words and "the archive's listing says" in words
        # The shard was not published, so its property was not evaluated in that run; its lines are in the failure.
        lines.append(words.partition("in your own words:\n")[2])
        waivers = {(one["property"], one["path"]): one for text in lines for one in yaml.safe_load(text) or []}
        assert {name for name, _ in waivers} == set(found)
        size = (given / path).stat().st_size
        assert all(one["found"].startswith(f"other-bytes {size} bytes") for one in waivers.values())
        project.folder.waivers.write_text(yaml.safe_dump(list(waivers.values())))
        assert project.build().success

        (save_again if damage is save_again else rewrite)(given / path)
        assert not project.build().success, "a waiver covers no later damage"


def test_a_file_of_the_tree_that_was_extracted_is_damaged_if_it_is_not_the_archives(toy_sample_tree, tmp_path):
    archive = pack(tmp_path / TOY.record.archive, toy_sample_tree)
    release = changed(TOY, record=record_of(archive, TOY.record))
    with (
        ZenodoServer(Deposit(release.record, archive)) as server,
        Project.of(of_zenodo(server, tmp_path / "data"), release=release) as project,
    ):
        assert project.materialize("archive_listing", "zenodo_archive", *OF_TABLES).success
        of_archive = metadata(project, "archive_listing")["origin"]
        assert project.materialize("archive_listing", "raw_tree").success  # also now that the tree is there
        assert metadata(project, "archive_listing")["origin"] == of_archive
        spoil_unseen(project.folder.tree / PERFUSION.path(SUBJECT))
        result = project.materialize("subject_shard", partitions=TOY.subjects)
        words = failure(result, "subject_shard")
        assert project.partition_states()[SUBJECT] == "FAILED"
        assert PERFUSION.path(SUBJECT) in words and "add these lines" not in words
        (project.folder.tree / ORIGIN_NOTE).unlink()
        words = failure(project.materialize("subject_shard", partitions=[SUBJECT]), "subject_shard")
        assert PERFUSION.path(SUBJECT) in words and "add these lines" in words, "it was put there"


def test_the_manifest_takes_the_crc_of_a_later_listing_without_reading_a_header(toy_tree, toy_sample_tree, tmp_path):
    with Project.temporary(toy_tree, tmp_path / "data", release=TOY) as project:
        assert project.materialize("archive_listing", *OF_TABLES).success
        before = read_manifest(project.folder)[SUBJECT].volumes["t1"]
        shutil.copyfile(own_listing(toy_sample_tree), own_listing(toy_tree))
        assert project.materialize("archive_listing").success
        replace(toy_tree / T1.path(SUBJECT), b"")
        assert project.materialize("subject_manifest").success
        after = read_manifest(project.folder)[SUBJECT].volumes["t1"]
    assert before.crc32 is None
    assert after == changed(before, crc32=zlib.crc32((toy_sample_tree / before.path).read_bytes()))


def test_a_listing_of_the_local_archive_needs_no_question(toy_sample_tree, tmp_path):
    archive = pack(tmp_path / TOY.record.archive, toy_sample_tree)
    folder = folder_at(tmp_path / "data")
    folder = changed(folder, release=changed(TOY, record=record_of(archive, TOY.record)))
    folder.archive.parent.mkdir(parents=True)
    shutil.copyfile(archive, folder.archive)
    listing = obtain_listing(folder, tmp_path / "tree", None)
    assert listing.origin == str(folder.archive)
    assert {f"toys/{path}": one.crc32 for path, one in listing.members.items()} == {
        one.name: one.crc32 for one in members(archive)
    }


def test_a_listing_of_the_sample_that_is_none_is_refused(given):
    own_listing(given).write_text("[1")
    with pytest.raises(Refusal, match="is no listing of a synthetic tree"):
        obtain_listing(folder_at(given.parent / "data"), given, None)
