"""An archive arrives whole and verified, whatever happens to the connection, the server, the process or the disk."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from isles_assets.lib.findings import Refusal
from isles_assets.source.download import download
from isles_assets.source.partial import Partial, part_beside
from isles_assets.source.patience import LEAST_PROGRESS
from isles_assets.source.verified import is_verified, note_beside, verify
from isles_assets.source.zenodo import Zenodo
from isles_assets_tests.isles24 import ISLES24
from isles_assets_tests.processes import REPOSITORY, on_small_disk
from isles_assets_tests.running import eventually
from isles_assets_tests.zenodo_server import FAST, Cut, Deposit, Stall, Status, Trickle, ZenodoServer, record_of

SIZE = 3_000_001
FAR = 2 * LEAST_PROGRESS


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("content") / "archive"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def server(content):
    with ZenodoServer(Deposit(record_of(content), content)) as server:
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "downloads" / "train.7z"


def fetch(server, path, record=None, patience=FAST):
    """Download; what was said."""
    said = []
    zenodo = Zenodo(server.endpoint, FAST, said.append)
    download(record or server.deposits[0].record, path, zenodo, patience=patience)
    return said


def pinning(server):
    """The release with the server's archive pinned."""
    return replace(ISLES24, record=server.deposits[0].record)


def assert_arrived(server, path):
    assert path.read_bytes() == server.deposits[0].content.read_bytes()
    assert is_verified(path, server.deposits[0].record)
    assert {file.name for file in path.parent.iterdir()} == {"train.7z", "train.7z.json"}


def ranges(server):
    return [seen.range for seen in server.downloads]


def test_the_archive_arrives_by_one_request_and_is_known_without_reading_it_again(server, path):
    said = fetch(server, path)
    assert_arrived(server, path)
    assert ranges(server) == [None]
    assert server.downloads[0].headers["Accept-Encoding"] == "identity"
    assert any("train.7z: 3 MB of 3 MB, " in words for words in said)
    path.chmod(0)
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    verify(path, pinning(server), pytest.fail)
    assert path.stat().st_atime_ns == 0


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_after_each_break_only_what_is_missing_is_asked_for(server, path, reset):
    server.faults.extend([Cut(1_000_000, reset=reset), Cut(500_000, reset=reset)])
    said = fetch(server, path)
    assert_arrived(server, path)
    etag = server.deposits[0].etag
    starts = [int(seen.range.removeprefix("bytes=").removesuffix("-")) for seen in server.downloads[1:]]
    assert [seen.headers.get("If-Range") for seen in server.downloads] == [None, etag, etag]
    assert [seen.status for seen in server.downloads] == [200, 206, 206]
    if not reset:  # a reset takes away bytes that are on the way
        assert starts == [1_000_000, 1_500_000]
        assert sum(seen.sent for seen in server.downloads) == SIZE
    assert sum("going on in" in words for words in said) == 2


@pytest.mark.parametrize("fault", [Stall(FAR), Trickle(FAR)], ids=["no byte", "a byte now and then"])
def test_a_connection_that_stalls_is_left_for_another(server, path, fault):
    server.faults.append(fault)
    fetch(server, path, patience=replace(FAST, stall=1))
    assert_arrived(server, path)
    assert server.downloads[1].status == 206


@pytest.mark.parametrize("fault", [Status(429, {"Retry-After": "1"}), Status(500), Status(503)])
def test_a_server_that_has_no_time_is_asked_again(server, path, fault):
    server.faults.extend([fault, Cut(FAR), fault])
    fetch(server, path)
    assert_arrived(server, path)


@pytest.mark.parametrize("code", [403, 404, 410])
def test_a_server_that_says_no_is_not_asked_again_and_what_has_arrived_is_kept(server, path, code):
    server.faults.extend([Cut(1_000_000), Status(code)])
    with pytest.raises(Refusal, match=f"answers {code}"):
        fetch(server, path)
    assert len(server.downloads) == 2
    assert part_beside(path).stat().st_size == 1_000_000 and not path.exists()
    fetch(server, path)
    assert ranges(server)[2:] == ["bytes=1000000-"]
    assert_arrived(server, path)


@pytest.mark.long
def test_patience_is_back_with_all_progress_and_ends_without(server, path):
    patience = replace(FAST, in_all=1, first=0.2, longest=0.2)
    server.faults.extend(Cut(LEAST_PROGRESS) for _ in range(12))
    server.faults.extend(Cut(100) for _ in range(100))
    with pytest.raises(Refusal, match=r"the connection ended early; .* went on for .*what has arrived is kept"):
        fetch(server, path, patience=patience)
    assert 14 < len(server.downloads) < 20
    server.faults.clear()
    fetch(server, path)
    assert_arrived(server, path)


def changed(server, tmp_path, **facts):
    """Other bytes of the same size in the place of the archive, of which the API says `facts`."""
    other = tmp_path / "other"
    other.write_bytes(os.urandom(SIZE))
    deposit = server.deposits[0]
    deposit.content, deposit.etag = other, '"another"'
    deposit.record = replace(deposit.record, **facts)


def test_a_file_that_changed_between_two_attempts_is_refused_when_the_record_changed(server, path, tmp_path):
    pinned = server.deposits[0].record
    server.faults.append(Cut(1_000_000, then=lambda: changed(server, tmp_path, md5="f" * 32)))
    with pytest.raises(Refusal, match=rf"holds a train.7z of {SIZE} bytes, md5 f+; v7, .* is pinned"):
        fetch(server, path, pinned)
    assert not path.exists()


def test_a_file_that_changed_on_the_server_alone_is_begun_anew(server, path, content):
    deposit = server.deposits[0]
    server.faults.append(Cut(1_000_000, then=lambda: setattr(deposit, "etag", '"again"')))
    said = fetch(server, path)
    assert_arrived(server, path)
    assert [seen.status for seen in server.downloads] == [200, 200, 200]
    assert any("Starting again from the first byte: " in words and 'its ETag is "again" now' in words for words in said)


def test_a_file_that_changes_again_and_again_is_refused(server, path):
    deposit = server.deposits[0]

    def change():
        deposit.etag = f'"{len(server.downloads)}"'

    server.faults.extend(Cut(FAR, then=change) for _ in range(100))
    with pytest.raises(Refusal, match="changed on the server in each of 3 attempts"):
        fetch(server, path)


def test_a_file_that_became_shorter_is_noticed_without_an_etag(server, path, tmp_path):
    deposit = server.deposits[0]
    deposit.etag = None
    short = tmp_path / "short"
    short.write_bytes(b"short")
    server.faults.append(Cut(1_000_000, then=lambda: setattr(deposit, "content", short)))
    with pytest.raises(Refusal, match="is not the file that Zenodo's record describes: it has 5 bytes now"):
        fetch(server, path)


def test_a_server_without_ranges_that_names_the_file_costs_bytes_but_is_used(server, path):
    server.knows_ranges = False
    server.faults.append(Cut(1_000_000))
    fetch(server, path)
    assert_arrived(server, path)
    assert [seen.status for seen in server.downloads] == [200, 200]
    assert server.downloads[1].range == "bytes=1000000-"


def test_a_server_without_ranges_or_etag_is_begun_anew(server, path):
    server.knows_ranges, server.deposits[0].etag = False, None
    server.faults.append(Cut(1_000_000))
    fetch(server, path)
    assert_arrived(server, path)


def test_without_an_etag_the_rest_is_asked_for_and_the_md5_decides(server, path):
    server.deposits[0].etag = None
    server.faults.append(Cut(1_000_000))
    fetch(server, path)
    assert_arrived(server, path)
    assert [(seen.range, seen.headers.get("If-Range")) for seen in server.downloads[1:]] == [("bytes=1000000-", None)]


def test_nothing_is_asked_for_when_the_record_is_another(server, path, tmp_path):
    pinned = server.deposits[0].record
    changed(server, tmp_path, size=SIZE + 1)
    with pytest.raises(Refusal, match=f"of {SIZE + 1} bytes"):
        fetch(server, path, pinned)
    assert not server.downloads and not path.parent.exists()


def test_a_file_of_another_size_than_the_record_says_is_refused(server, path, tmp_path):
    server.deposits[0].content = tmp_path / "larger"
    server.deposits[0].content.write_bytes(bytes(SIZE + 1))
    with pytest.raises(Refusal, match=f"it has {SIZE + 1} bytes now"):
        fetch(server, path)


def test_bytes_with_another_md5_are_refused_and_not_kept(server, path, tmp_path):
    pinned = server.deposits[0].record
    changed(server, tmp_path)
    with pytest.raises(Refusal, match=f"arrived with md5 .* instead of {pinned.md5}, and was not kept"):
        fetch(server, path)
    assert not list(path.parent.iterdir())


def begun(server, path, size):
    """A part of that size, as a process leaves it."""
    server.faults.extend([Cut(size), Status(403)])
    with pytest.raises(Refusal):
        fetch(server, path)
    assert part_beside(path).stat().st_size == size


@pytest.mark.parametrize("fact", [{"record": "16813698"}, {"size": SIZE + 1}, {"md5": "f" * 32}])
def test_a_part_of_another_file_is_noticed_and_not_continued(server, path, fact):
    begun(server, path, 1_000_000)
    note = note_beside(part_beside(path))
    note.write_text(json.dumps(json.loads(note.read_text()) | fact))
    server.requests.clear()
    said = fetch(server, path)
    assert ranges(server) == [None]
    assert any(f"Dropping 1 MB in {part_beside(path)}: they are of record " in words for words in said)
    assert_arrived(server, path)


@pytest.mark.parametrize("damage", [lambda note: note.unlink(), lambda note: note.write_text("{")], ids=["no", "half"])
def test_a_part_of_which_nothing_is_known_is_not_continued(server, path, damage):
    begun(server, path, 1_000_000)
    damage(note_beside(part_beside(path)))
    server.requests.clear()
    said = fetch(server, path)
    assert ranges(server) == [None] and any("they are of something unknown" in words for words in said)
    assert_arrived(server, path)


def test_a_part_of_a_file_that_changed_meanwhile_is_begun_anew(server, path):
    begun(server, path, 1_000_000)
    server.deposits[0].etag = '"again"'
    fetch(server, path)
    assert_arrived(server, path)


def test_a_complete_part_is_read_and_not_asked_for(server, path, content):
    begun(server, path, 1_000_000)
    part_beside(path).write_bytes(content.read_bytes())
    server.requests.clear()
    fetch(server, path)
    assert not server.downloads
    assert_arrived(server, path)


def part_with(path, deposit, content, noted_every):
    """A part of all of `content`, with its digest noted every so many bytes, as another process leaves it."""
    with Partial.opened(path, deposit.record, pytest.fail, noted_every) as partial:
        partial.begin(deposit.etag)
        partial.append(content)


def kept(path, record):
    with Partial.opened(path, record, lambda words: None) as partial:
        return partial.size


def test_what_a_crash_blanked_is_dropped_and_what_was_right_before_is_kept(server, path, content):
    record, right = server.deposits[0].record, content.read_bytes()[:1_050_000]
    part_with(path, server.deposits[0], right, 100_000)
    with part_beside(path).open("r+b") as file:
        file.seek(730_000)
        file.write(bytes(5000))
    assert kept(path, record) == 700_000
    fetch(server, path)
    assert ranges(server) == ["bytes=700000-"]
    assert_arrived(server, path)


def test_after_a_restart_of_the_system_only_what_was_noted_is_kept(server, path, content):
    record = server.deposits[0].record
    part_with(path, server.deposits[0], content.read_bytes()[:1_050_000], 100_000)
    assert kept(path, record) == 1_050_000
    note = note_beside(part_beside(path))
    note.write_text(json.dumps(json.loads(note.read_text()) | {"boot": "another"}))
    assert kept(path, record) == 1_000_000


def test_a_part_that_another_process_works_on_is_left_to_it(server, path):
    server.faults.append(Stall(1_000_000))
    other = threading.Thread(
        target=download,
        args=(server.deposits[0].record, path, Zenodo(server.endpoint, FAST)),
        kwargs={"patience": FAST},
        daemon=True,
    )
    other.start()
    eventually(lambda: part_beside(path).exists() and part_beside(path).stat().st_size == 1_000_000)
    with pytest.raises(Refusal, match="another process is downloading it"):
        fetch(server, path)
    assert part_beside(path).stat().st_size == 1_000_000
    server.stopping.set()
    other.join()
    assert_arrived(server, path)


def test_an_archive_that_appeared_meanwhile_is_not_touched(server, path):
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(Refusal, match="another process has just completed it"):
        fetch(server, path)
    assert path.read_bytes() == b"mine"


DOWNLOAD = """
import sys
from pathlib import Path
from isles_assets.source.download import download
from isles_assets.source.zenodo import Zenodo
from isles_assets_tests.zenodo_server import record_of
download(record_of(Path(sys.argv[1])), Path(sys.argv[2]), Zenodo(sys.argv[3]))
"""


def test_killed_in_the_middle_the_next_process_asks_only_for_what_is_missing(server, path, content):
    server.faults.append(Stall(1_234_567))
    command = [sys.executable, "-c", DOWNLOAD, str(content), str(path), server.endpoint]
    with subprocess.Popen(command, cwd=REPOSITORY) as process:
        eventually(lambda: part_beside(path).exists() and part_beside(path).stat().st_size == 1_234_567)
        process.send_signal(signal.SIGKILL)
    assert not path.exists()
    server.requests.clear()
    said = fetch(server, path)
    assert_arrived(server, path)
    assert ranges(server) == ["bytes=1234567-"]
    assert server.downloads[0].sent == SIZE - 1_234_567
    assert any("Reading the 1.23 MB that have arrived before" in words for words in said)


FILL_UP = """
import sys
from pathlib import Path
from isles_assets.lib.findings import Refusal
from isles_assets.source.download import download
from isles_assets.source.zenodo import Zenodo
from isles_assets_tests.zenodo_server import record_of
record, path, filler = record_of(Path(sys.argv[1])), Path(sys.argv[2], "train.7z"), Path(sys.argv[2], "filler")
filler.write_bytes(bytes(2_000_000))
try:
    download(record, path, Zenodo(sys.argv[3]))
except Refusal as refusal:
    print(refusal)
filler.unlink()
download(record, path, Zenodo(sys.argv[3]))
print(path.stat().st_size)
"""


def test_a_full_disk_is_refused_and_what_has_arrived_is_continued_with_room(server, tmp_path, content):
    folder = tmp_path / "disk"
    folder.mkdir()
    *refusal, size = on_small_disk(folder, "4m", FILL_UP, content, folder, server.endpoint).splitlines()
    assert "what has arrived is kept" in refusal[0] and "the disk is full -> free space" in refusal[1]
    assert int(size) == SIZE
    start = int(server.downloads[1].range.removeprefix("bytes=").removesuffix("-"))
    assert 1_000_000 < start < (4 << 20) - 2_000_000


def put(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    return path


def test_an_archive_that_was_put_there_is_read_once(server, path, content):
    put(path, content.read_bytes())
    release, said = pinning(server), []
    record = release.record
    verify(path, release, said.append)
    assert is_verified(path, record) and any("3 MB of 3 MB" in words for words in said)
    verify(path, release, pytest.fail)
    put_again = content.read_bytes()[::-1]
    path.write_bytes(put_again)
    os.utime(path, (0, 0))  # at once, the system's clock may not have moved on
    assert not is_verified(path, record)
    with pytest.raises(Refusal, match=f"has the size of v7, but md5 .* instead of {record.md5}"):
        verify(path, release, said.append)
    assert path.read_bytes() == put_again


def test_an_archive_of_another_size_is_refused_unread(server, path):
    put(path, b"other")
    with pytest.raises(Refusal, match=f"has 5 bytes, which is no version that is known; v7, of {SIZE}, is pinned"):
        verify(path, pinning(server), pytest.fail)
    assert path.read_bytes() == b"other"


def test_an_archive_of_version_3_is_named(path):
    put(path, b"")
    os.truncate(path, ISLES24.earlier[0].size)  # takes no disk
    with pytest.raises(Refusal, match="has 99014629647 bytes, which is v3; v7, of 99022114670, is pinned"):
        verify(path, ISLES24, pytest.fail)
    assert path.stat().st_size == ISLES24.earlier[0].size


def test_a_folder_in_its_place_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(Refusal, match="is not a file"):
        verify(path, ISLES24, pytest.fail)
