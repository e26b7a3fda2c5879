"""Restoring the release's files from what was published: byte for byte, no more travels than is asked for."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from isles_assets.cli.restore import main
from isles_assets.hub import reading
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.ownership import tag_of
from isles_assets.lib.files import sha256_of
from isles_assets.lib.findings import Refusal
from isles_assets.lib.parquet import write_row
from isles_assets.products.config import MEDIA
from isles_assets.products.dataset import Dataset
from isles_assets.products.footer import FOOTER_KEY
from isles_assets.publication.guard import recorded_publication
from isles_assets.tables.clinical import clinical_schema
from isles_assets.tables.storage import SUBJECT_COLUMN
from isles_assets_tests.hub_server import HubServer, Token, cut_response, expire_token, hold, lose_response
from isles_assets_tests.isles24 import BY_COLUMN, CONFIGS, ISLES24, SHARD, SMALL, SUBJECT_IDS
from isles_assets_tests.processes import LONG, as_nobody, python, reachable_folder, runner, shown
from isles_assets_tests.project import part_of, replace
from isles_assets_tests.running import WARM, eventually
from isles_assets_tests.thirty import THIRTY

pytestmark = pytest.mark.slow

REPO = "hugging-science/isles24-stroke"
SECRET = "hf_SecretThatMustNotShow"
DEFAULT, CTP_NCCT = CONFIGS
SUBJECTS = SMALL.subjects
THREE = SUBJECTS[3:6]
VOLUMES_OF_SMALL = len(SUBJECTS) * len(BY_COLUMN)
RESOLVE = {"method": "GET", "path": r"/resolve/"}


@pytest.fixture(scope="module")
def whole(small_built):
    return recorded_publication(Dataset.of(SMALL), small_built.folder, REPO)


@pytest.fixture
def published(small_built):
    return small_built.setup.target().location


@pytest.fixture
def hub(small_built, whole, tmp_path, monkeypatch):
    """A Hub where three subjects are published, which the clients of this process know without a token."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    token = Token("ada", orgs={"hugging-science": "write"})
    with HubServer(tmp_path / "hub", tokens={SECRET: token}) as server:
        three = part_of(whole, small_built.folder, tmp_path / "three", THREE)
        HuggingFaceHub(REPO, three.dataset, endpoint=server.endpoint).publish(three)
        server.requests.clear()
        with server.clients(tmp_path / "home"):
            monkeypatch.delenv("HF_TOKEN", raising=False)
            yield server


@pytest.fixture
def restore(caplog):
    return runner(main, caplog, ISLES24)


def files_in(tree: Path) -> dict[str, bytes]:
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in tree.rglob("*") if path.is_file()}


def volumes_of(sample_tree: Path, subjects=SUBJECTS, columns=tuple(BY_COLUMN)) -> dict[str, bytes]:
    paths = [BY_COLUMN[column].path(subject) for subject in subjects for column in columns]
    return {path: (sample_tree / path).read_bytes() for path in paths}


def chunk_bytes(small_built, subjects, columns) -> int:
    """Bytes of the column chunks that hold the volumes of `columns`."""
    total = 0
    for config in CONFIGS:
        for subject in subjects:
            group = pq.read_metadata(SHARD.path(small_built.folder, config, subject)).row_group(0)
            chunks = map(group.column, range(group.num_columns))
            total += sum(c.total_compressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
    return total


def sent(hub: HubServer) -> int:
    return sum(request.bytes_out for request in hub.requests)


def parts(hub: HubServer) -> list[tuple[str, str | None]]:
    """The parts of files that left the Hub in full."""
    return [(r.path.partition("/resolve/")[2], r.range) for r in hub.requests if r.status == 206]


# All of it


def test_the_whole_sample_comes_back_byte_for_byte(published, small_sample_tree, tmp_path, restore):
    code, said = restore(published, tmp_path / "tree", release=SMALL)
    assert code == 0, said
    restored = files_in(tmp_path / "tree")
    assert len(restored) == VOLUMES_OF_SMALL
    assert restored == volumes_of(small_sample_tree)
    assert f"6 of the release's 6 subjects, {VOLUMES_OF_SMALL} volumes" in said
    assert "SYNTHETIC SAMPLE" in said
    assert f"Files: {VOLUMES_OF_SMALL} restored to" in said


def test_three_subjects_come_back_from_the_hub_and_little_else_travels(
    hub, small_built, small_sample_tree, tmp_path, restore
):
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 0, said
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE)
    assert f"{REPO} at commit {hub.head(REPO)}" in said
    assert "3 of the release's 149 subjects, 54 volumes" in said
    wanted = chunk_bytes(small_built, THREE, tuple(BY_COLUMN))
    assert sent(hub) <= 1.1 * wanted
    assert len(parts(hub)) == 54 + 6


def test_only_the_ends_of_shards_and_the_chosen_volumes_are_read(
    hub, small_built, small_sample_tree, tmp_path, restore
):
    columns = ("ncct", "lesion_mask")
    code, said = restore(REPO, tmp_path / "tree", "--subject", *THREE[:2], "--volume", *columns)
    assert code == 0, said
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE[:2], columns)
    assert sum(request.bytes_out for request in hub.requests if request.range is None) < 1000
    for subject in THREE[:2]:
        shard = SHARD.path(small_built.folder, DEFAULT, subject).read_bytes()
        read = [range_ for path, range_ in parts(hub) if path.endswith(DEFAULT.path(subject))]
        first, last = (int(number) for number in read.pop(0).removeprefix("bytes=").split("-"))
        assert last == len(shard) - 1
        assert first > len(shard) - 15_000
        values = [(small_sample_tree / BY_COLUMN[column].path(subject)).read_bytes() for column in columns]
        places = [(shard.index(value), len(value)) for value in values]
        assert sorted(read) == sorted(f"bytes={start}-{start + size - 1}" for start, size in places)
    assert not any("ctp_ncct" in path for path, _ in parts(hub))


def test_all_may_be_said_and_is_the_default(published, small_sample_tree, tmp_path, restore):
    for tree, more in (("a", ()), ("b", ("--volume", "all"))):
        assert restore(published, tmp_path / tree, "--subject", THREE[0], *more)[0] == 0
        assert files_in(tmp_path / tree) == volumes_of(small_sample_tree, THREE[:1])


# Which state of the dataset


def test_a_tag_is_another_revision_than_main(hub, small_built, whole, small_sample_tree, tmp_path, restore):
    tag, old = tag_of(part_of(whole, small_built.folder, tmp_path / "again", THREE)), hub.head(REPO)
    hub.put_commit(REPO, {DEFAULT.path(THREE[0]): b"replaced"})
    for name in (tag, old):
        code, said = restore(REPO, tmp_path / name, "--revision", name, "--volume", "dwi")
        assert (code, f"at commit {old}" in said) == (0, True), said
        assert files_in(tmp_path / name) == volumes_of(small_sample_tree, THREE, ["dwi"])
    code, said = restore(REPO, tmp_path / "main", "--volume", "dwi")
    assert code == 1
    assert f"{DEFAULT.path(THREE[0])}: is not a Parquet file" in said
    assert files_in(tmp_path / "main") == volumes_of(small_sample_tree, THREE[1:], ["dwi"])


def test_a_move_of_main_on_the_way_mixes_nothing(hub, small_built, whole, small_sample_tree, tmp_path, restore):
    """Held before a footer and again before a volume, `main` moves to the shards of other subjects and back."""
    other = {
        config.path(subject): SHARD.path(small_built.folder, config, SUBJECTS[0]).read_bytes()
        for config in CONFIGS
        for subject in THREE
    }
    held = [hub.fail(**RESOLVE, after=after, how=hold()) for after in (2, 20)]
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(restore(REPO, tmp_path / "tree")))
    thread.start()
    before = hub.head(REPO)
    for fault, files in zip(held, (other, dict.fromkeys(other)), strict=True):
        fault.wait()
        assert hub.put_commit(REPO, files) != before
        fault.release()
    thread.join()
    ((code, said),) = outcome
    assert code == 0, said
    assert f"at commit {before}" in said
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE)


def test_a_publication_to_the_folder_on_the_way_mixes_nothing(small_built, small_sample_tree, tmp_path, restore):
    """The folder is a link; what it leads to is looked up once."""
    old, new = tmp_path / ".repo" / "old", tmp_path / ".repo" / "new"
    for config in CONFIGS:
        for subject, folder in ((THREE[0], old), (SUBJECTS[0], new)):
            path = folder / config.path(THREE[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(SHARD.path(small_built.folder, config, subject))
    (tmp_path / "repo").symlink_to(old)
    revision = reading.open_revision(str(tmp_path / "repo"))
    (tmp_path / "repo").unlink()
    (tmp_path / "repo").symlink_to(new)
    path = DEFAULT.path(THREE[0])
    assert revision.find([path])[path].path.samefile(SHARD.path(small_built.folder, DEFAULT, THREE[0]))


# What goes wrong on the way


def test_a_damaged_volume_is_refused_by_name_and_the_others_go_on(
    hub, small_built, small_sample_tree, tmp_path, restore
):
    path = BY_COLUMN["adc"].path(THREE[1])
    value = (small_sample_tree / path).read_bytes()
    at = SHARD.path(small_built.folder, DEFAULT, THREE[1]).read_bytes().index(value) + len(value) // 2
    hub.damage(REPO, DEFAULT.path(THREE[1]), at=at)
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 1
    assert f"1 problem:\n  {path}: is not published as it was packed: its SHA-256 is" in said
    expected = volumes_of(small_sample_tree, THREE)
    del expected[path]
    assert files_in(tmp_path / "tree") == expected


def test_an_answer_that_is_cut_is_continued_where_it_ended(hub, small_sample_tree, tmp_path, restore, monkeypatch):
    monkeypatch.setattr(reading, "_LONGEST_WAIT", 0.01)
    hub.fail(**RESOLVE, times=1, after=4, how=cut_response(500))
    hub.fail(**RESOLVE, times=1, after=9, how=cut_response(300, reset=True))
    hub.fail(**RESOLVE, times=2, after=20, how=lose_response())
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 0, said
    assert said.count("going on at byte") == 4
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE)
    whole = sum(len(content) for content in volumes_of(small_sample_tree, THREE).values())
    assert sent(hub) < 1.1 * whole


def test_a_hub_that_is_gone_ends_it_at_once_and_what_is_done_stays(
    hub, small_sample_tree, tmp_path, restore, monkeypatch
):
    monkeypatch.setattr(reading, "_LONGEST_WAIT", 0.01)
    fault = hub.fail(**RESOLVE, times=10_000, after=30, how=lose_response())
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 1
    assert "the Hub cannot be reached" in said
    assert "run again, which resumes" in said
    assert "not reached" in said
    done = files_in(tmp_path / "tree")
    assert 20 <= len(done) <= 24
    assert fault.hits <= 4 * 6

    fault.times = fault.hits
    hub.requests.clear()
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 0, said
    assert f"Files: {54 - len(done)} restored" in said and f"{len(done)} there already and kept" in said
    assert len(parts(hub)) == 6 + 54 - len(done)
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE)


def test_a_token_that_expires_on_the_way_is_said_and_never_shown(hub, tmp_path, restore, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    hub.store.repos[REPO].private = True
    hub.fail(**RESOLVE, after=25, how=expire_token(SECRET))
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 1
    assert "answers 401: Invalid credentials in Authorization header" in said and "hf auth login" in said
    assert SECRET not in said
    assert {request.token for request in hub.requests} == {SECRET}


RESTORE = (sys.executable, "-m", "isles_assets.cli", "restore")


def test_killed_in_the_middle_only_what_is_missing_is_fetched_again(hub, small_sample_tree, tmp_path):
    tree = tmp_path / "tree"
    command = [*RESTORE, REPO, str(tree), "--workers", "2"]
    environment = hub.environment(tmp_path / "home")
    fault = hub.fail(**RESOLVE, after=6 + 30, times=10_000, how=hold())
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        fault.wait(2)
        left = [path for path in tree.rglob("*") if path.is_file()]
        process.send_signal(signal.SIGKILL)
    fault.times = fault.hits
    fault.release()
    hub.quiet()
    assert len([path for path in left if path.name.startswith(".")]) == 2
    done = {path: content for path, content in files_in(tree).items() if "/." not in path}
    assert len(done) == 30 and done.items() <= volumes_of(small_sample_tree, THREE).items()

    hub.requests.clear()
    code, said = shown(*command, cwd=tmp_path, env=environment)
    assert code == 0, said
    assert "Files: 24 restored" in said and "30 there already and kept" in said
    assert len(parts(hub)) == 6 + 24
    assert files_in(tree) == volumes_of(small_sample_tree, THREE)


@pytest.mark.long
def test_killed_at_any_moment_every_file_is_whole_or_not_there(thirty_built, thirty_sample_tree, tmp_path):
    """kill -9 three times on the way to the whole tree."""
    published, tree = thirty_built.setup.target().location, tmp_path / "tree"
    whole = volumes_of(thirty_sample_tree, THIRTY.subjects)
    for reached in (THIRTY.subjects[4], THIRTY.subjects[12], THIRTY.subjects[20]):
        process = WARM.Process(target=main, args=([published, str(tree)],))
        process.start()
        eventually((tree / BY_COLUMN["tmax_native"].path(reached)).exists)
        process.kill()
        process.join()
        done = {path: content for path, content in files_in(tree).items() if "/." not in path}
        assert len(done) < len(whole) and done.items() <= whole.items()
    assert main([published, str(tree)]) == 0
    assert files_in(tree) == whole


def there(tree: Path) -> list[Path]:
    return list(tree.rglob("[!.]*.nii.gz"))


# What is there already


def test_what_is_there_is_kept_and_another_content_is_refused_unless_told(
    published, small_sample_tree, tmp_path, restore
):
    arguments = (published, tmp_path / "tree", "--subject", THREE[0])
    assert restore(*arguments)[0] == 0
    paths = [BY_COLUMN[column].path(THREE[0]) for column in ("ncct", "cta", "dwi")]
    same, longer, gone = (tmp_path / "tree" / path for path in paths)
    kept = same.stat().st_ino
    flipped = bytes([longer.read_bytes()[0] ^ 1]) + longer.read_bytes()[1:]
    replace(longer, flipped)
    gone.unlink()

    code, said = restore(*arguments)
    assert code == 1
    assert f"{paths[1]}: is there with other content -> move it away, name another TREE, or use --overwrite" in said
    assert "Files: 1 restored" in said and "16 there already and kept" in said
    assert longer.read_bytes() == flipped

    code, said = restore(*arguments, "--overwrite")
    assert code == 0, said
    assert "Files: 1 restored" in said and "17 there already and kept" in said
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE[:1])
    assert same.stat().st_ino == kept


def test_the_releases_own_tree_is_kept_as_it_is(published, small_tree, restore):
    before = {path: path.stat().st_ino for path in small_tree.rglob("*")}
    code, said = restore(published, small_tree)
    assert code == 0 and "Files: 0 restored" in said and f"{VOLUMES_OF_SMALL} there already and kept" in said
    assert {path: path.stat().st_ino for path in small_tree.rglob("*")} == before


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_a_folder_or_a_file_in_the_way_is_named_and_left_alone(published, tmp_path, restore, overwrite):
    folder = tmp_path / "tree" / BY_COLUMN["ncct"].path(THREE[0])
    folder.mkdir(parents=True)
    replace(tmp_path / "tree" / "derivatives", b"mine")
    arguments = (published, tmp_path / "tree", "--subject", THREE[0], "--volume", "ncct", "cta", "dwi", *overwrite)
    code, said = restore(*arguments)
    assert code == 1
    assert f"{BY_COLUMN['ncct'].path(THREE[0])}: is a folder" in said
    assert "a file stands where a folder is needed -> set TREE to a folder" in said
    assert set(files_in(tmp_path / "tree")) == {"derivatives", BY_COLUMN["cta"].path(THREE[0])}


def test_a_disk_without_room_is_refused_before_a_volume_is_read(hub, tmp_path, restore, monkeypatch):
    monkeypatch.setattr("isles_assets.lib.files.free_space", lambda path: 10_000)
    code, said = restore(REPO, tmp_path / "tree")
    assert code == 1
    assert "has 10 kB free, and" in said and "are needed -> free space" in said
    assert len(parts(hub)) == 6
    assert not (tmp_path / "tree").exists()


# Shards that lie


def forged(folder: Path, subject: str = THREE[0], *, content: bytes = b"volume", **source: object) -> Path:
    """A folder whose only shard holds `content` as its NCCT, and says of it what `source` says, not the truth."""
    truth = {"path": BY_COLUMN["ncct"].path(subject), "size": 6, "sha256": hashlib.sha256(b"volume").hexdigest()}
    truth |= {"crc32": zlib.crc32(b"volume")}
    footer = {"release": {"version": "v7"}, "synthetic": False, "sources": {"ncct": truth | source}}
    return with_footer(folder, json.dumps(footer), subject, content)


def with_footer(folder: Path, footer: str, subject: str = THREE[0], content: bytes = b"volume") -> Path:
    path = folder / DEFAULT.path(subject)
    path.parent.mkdir(parents=True)
    schema = pa.schema([(SUBJECT_COLUMN, pa.string()), ("ncct", MEDIA)])
    row = {SUBJECT_COLUMN: subject, "ncct": {"bytes": content, "path": "x"}}
    with path.open("wb") as file:
        write_row(file, schema, row, lambda: {FOOTER_KEY: footer}, created_by="tests")
    return folder


def test_a_shard_that_tells_the_truth_is_restored(tmp_path, restore):
    code, said = restore(forged(tmp_path / "repo"), tmp_path / "tree", "--volume", "ncct")
    assert code == 0, said
    assert files_in(tmp_path / "tree") == {BY_COLUMN["ncct"].path(THREE[0]): b"volume"}
    assert "SYNTHETIC" not in said


@pytest.mark.parametrize(
    ("lie", "problem"),
    [
        ({"path": "../outside.nii.gz"}, "has another path in its shard: '../outside.nii.gz'"),
        ({"path": "/tmp/outside.nii.gz"}, "has another path in its shard"),
        ({"path": "raw_data/../../outside.nii.gz"}, "has another path in its shard"),
        ({"path": BY_COLUMN["ncct"].path(THREE[1])}, "has another path in its shard"),
        ({"path": BY_COLUMN["cta"].path(THREE[0])}, "has another path in its shard"),
        ({"path": "\x1b[2J"}, r"has another path in its shard: '\x1b[2J'"),
        ({"path": None}, "has a footer that cannot be understood"),
        ({"size": 5}, "is not where its shard says: ncct.bytes does not hold 5 bytes"),
        ({"size": 2**40}, "is not where its shard says"),
        ({"size": -1}, "is not where its shard says"),
        ({"size": "6"}, "has a footer that cannot be understood"),
        ({"size": True}, "has a footer that cannot be understood"),
        ({"sha256": "0" * 64}, "is not published as it was packed"),
        ({"sha256": ""}, "has no SHA-256 in its shard"),
        ({"content": b"vOlume"}, "is not published as it was packed"),
    ],
)
def test_what_a_shard_says_wrongly_is_refused_and_nothing_is_written(tmp_path, restore, lie, problem):
    code, said = restore(forged(tmp_path / "repo", **lie), tmp_path / "tree", "--volume", "ncct")
    assert code == 1
    assert problem in said
    assert THREE[0] in said
    assert files_in(tmp_path) == files_in(tmp_path / "repo" / "..") and not files_in(tmp_path / "tree")
    assert not Path("/tmp/outside.nii.gz").exists() and not (tmp_path / "outside.nii.gz").exists()


@pytest.mark.parametrize("footer", ["", "[]", "{", "{}", '{"sources": 1}', "[" * 100_000, '{"sources": {"ncct": []}}'])
def test_a_footer_that_is_none_is_refused(tmp_path, restore, footer):
    code, said = restore(with_footer(tmp_path / "repo", footer), tmp_path / "tree", "--volume", "ncct")
    assert code == 1
    assert f"{DEFAULT.path(THREE[0])}: has a footer that cannot be understood" in said
    assert len(said) < 1000
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda content: b"", "is not a Parquet file"),
        (lambda content: b"PAR1", "is not a Parquet file"),
        (lambda content: content[:-1], "is not a Parquet file"),
        (lambda content: content[:-8] + b"\xff\xff\xff\xff" + content[-4:], "is not a Parquet file"),
        (lambda content: content[:-8] + b"\x10\0\0\0" + content[-4:], "has a footer that cannot be read"),
        (lambda content: content[:8] + content[-20_000:], "is not where its shard says: that is beyond its end"),
    ],
)
def test_a_file_that_is_no_shard_is_refused_and_the_others_go_on(
    small_built, small_sample_tree, tmp_path, restore, damage, problem
):
    folder = tmp_path / "repo"
    for subject in THREE[:2]:
        content = SHARD.path(small_built.folder, DEFAULT, subject).read_bytes()
        replace(folder / DEFAULT.path(subject), content if subject == THREE[1] else damage(content))
    code, said = restore(folder, tmp_path / "tree", "--volume", "dwi", "adc")
    assert code == 1
    assert problem in said
    assert files_in(tmp_path / "tree") == volumes_of(small_sample_tree, THREE[1:2], ["dwi", "adc"])


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path, restore):
    path = tmp_path / "repo" / DEFAULT.path(THREE[0])
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"subject_id": [THREE[0]]}), path)
    code, said = restore(tmp_path / "repo", tmp_path / "tree")
    assert code == 1
    assert "has no `isles_assets` in its footer: it was not made by isles-assets" in said
    assert f"{CTP_NCCT.path(THREE[0])}: is not there" in said


# The clinical table


def test_the_clinical_table_is_written_as_csv_and_no_volume_is_read(hub, small_built, tmp_path, restore):
    path = tmp_path / "clinical.csv"
    code, said = restore(REPO, "--clinical", path)
    assert code == 0, said
    assert f"3 clinical rows written to {path}" in said
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    table = pq.read_table(small_built.folder.clinical)
    assert header == clinical_schema(ISLES24).names == table.schema.names
    rows = {row[SUBJECT_COLUMN]: row for row in table.to_pylist()}
    assert lines == [["" if value is None else str(value) for value in rows[subject].values()] for subject in THREE]
    assert sum("" in line for line in lines) == 3
    assert len(parts(hub)) == 3
    assert sent(hub) < 3 * 15_000 + 2000


def test_the_clinical_table_comes_with_the_volumes_at_no_further_request(hub, tmp_path, restore):
    assert restore(REPO, tmp_path / "tree", "--volume", "dwi", "--clinical", tmp_path / "clinical.csv")[0] == 0
    assert len(parts(hub)) == 6


def test_a_clinical_table_that_is_there_is_kept_or_refused_or_replaced(published, tmp_path, restore):
    path = tmp_path / "tables" / "clinical.csv"
    assert restore(published, "--clinical", path)[0] == 0
    content = path.read_bytes()
    assert content.count(b"\n") == 1 + len(SUBJECTS)
    assert "6 clinical rows already in" in restore(published, "--clinical", path)[1]
    replace(path, b"mine")
    code, said = restore(published, "--clinical", path)
    assert (code, path.read_bytes()) == (1, b"mine")
    assert "is there with other content -> move it away, name another file, or use --overwrite" in said
    assert restore(published, "--clinical", path, "--overwrite")[0] == 0
    assert path.read_bytes() == content


def test_a_clinical_table_is_never_written_in_part(small_built, tmp_path, restore):
    folder = tmp_path / "repo"
    replace(folder / DEFAULT.path(THREE[0]), SHARD.path(small_built.folder, DEFAULT, THREE[0]).read_bytes())
    replace(folder / DEFAULT.path(THREE[1]), b"no shard")
    forged(tmp_path / "other", THREE[2])
    replace(folder / DEFAULT.path(THREE[2]), (tmp_path / "other" / DEFAULT.path(THREE[2])).read_bytes())
    code, said = restore(folder, "--clinical", tmp_path / "clinical.csv")
    assert code == 1
    assert f"the clinical values of {THREE[1]}, {THREE[2]} could not be read" in said
    assert "does not hold one row of the 33 clinical variables" in said
    assert not (tmp_path / "clinical.csv").exists()


def packed_again(small_built, folder: Path, **values: object) -> Path:
    """A folder with the shard of a subject, which holds nothing but other clinical `values` and no volumes."""
    shard = pq.ParquetFile(SHARD.path(small_built.folder, DEFAULT, THREE[0]))
    columns = [SUBJECT_COLUMN, *(variable.column for variable in SMALL.variables)]
    table = shard.read(columns=columns)
    path = folder / DEFAULT.path(THREE[0])
    path.parent.mkdir(parents=True)
    footer = shard.metadata.metadata[FOOTER_KEY.encode()].decode()
    with path.open("wb") as file:
        row = table.to_pylist()[0] | values
        write_row(file, table.schema.remove_metadata(), row, lambda: {FOOTER_KEY: footer}, created_by="tests")
    return folder


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\n=x", " =x", "\uff1dx", '=HYPERLINK("x")', "a;=b", "2b", "", "'x"],
)
def test_a_text_is_no_formula_for_a_spreadsheet_program(small_built, tmp_path, restore, text):
    folder = packed_again(small_built, tmp_path / "repo", tici_postinterventional=text, age=-4.5)
    code, said = restore(folder, "--clinical", tmp_path / "clinical.csv")
    assert code == 0, said
    with (tmp_path / "clinical.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    is_formula = text[:1] not in ("a", "2", "", "'")
    assert row["tici_postinterventional"] == f"{chr(39) * is_formula}{text}"
    assert row["age"] == "-4.5"


def many_rows(table: pa.Table, path: Path) -> None:
    columns = [pa.nulls(2_000_000, field.type) for field in table.schema]
    pq.write_table(pa.table(columns, schema=table.schema), path)


def two_rows(table: pa.Table, path: Path) -> None:
    pq.write_table(pa.concat_tables([table, table]), path)


def many_groups(table: pa.Table, path: Path) -> None:
    pq.write_table(pa.concat_tables([table] * 300), path, row_group_size=1)


def large_text(table: pa.Table, path: Path) -> None:
    at = table.schema.names.index("tici_postinterventional")
    text = pa.array(["x" * 150_000_000])
    pq.write_table(table.set_column(at, table.schema[at], text), path, compression="zstd", use_dictionary=False)


def large_dictionary(table: pa.Table, path: Path) -> None:
    at = table.schema.names.index("tici_postinterventional")
    text = pa.array(["x" * 150_000_000])
    pq.write_table(table.set_column(at, table.schema[at], text), path, compression="gzip", use_dictionary=True)


def another_writer(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path)


def large_footer(table: pa.Table, path: Path) -> None:
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, "more": "x" * 20_000_000}), path)


def many_columns(table: pa.Table, path: Path) -> None:
    for number in range(2000):
        table = table.append_column(f"{number}", pa.array([1], pa.int8()))
    pq.write_table(table, path, write_statistics=False)


CRAFTED = {
    many_rows: "does not hold one row",
    two_rows: "does not hold one row",
    many_groups: "has a footer",
    large_text: "is not stored as it should be",
    large_dictionary: "is not stored as it should be",
    another_writer: "is not stored as it should be",
    large_footer: "has a footer of",
    many_columns: "has a footer of",
}
PEAK = """
import resource, sys
from isles_assets.cli.restore import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset, target = sys.argv[1:]
before = peak()
code = main([dataset, "--clinical", target])
print(code, (peak() - before) / 1024)
"""


LARGE_CRAFTED = {large_text, large_dictionary, many_columns}


@pytest.mark.parametrize(
    "craft", [pytest.param(craft, marks=pytest.mark.long) if craft in LARGE_CRAFTED else craft for craft in CRAFTED]
)
def test_a_crafted_shard_takes_no_memory_and_is_refused_by_name(small_built, tmp_path, craft):
    shard = pq.ParquetFile(SHARD.path(small_built.folder, DEFAULT, THREE[0]))
    footer = {FOOTER_KEY: shard.metadata.metadata[FOOTER_KEY.encode()]}
    table = shard.read(columns=[variable.column for variable in SMALL.variables]).replace_schema_metadata(footer)
    path = tmp_path / "repo" / DEFAULT.path(THREE[0])
    path.parent.mkdir(parents=True)
    craft(table, path)
    run = python(PEAK, tmp_path / "repo", tmp_path / "clinical.csv")
    code, megabytes = run.stdout.split()
    assert code == "1"
    assert f"{DEFAULT.path(THREE[0])}: " in run.stderr and CRAFTED[craft] in run.stderr
    assert float(megabytes) < 100


@pytest.mark.parametrize("place", range(12))
def test_numbers_in_a_page_are_not_believed(small_built, tmp_path, restore, place):
    """Sizes, counts and encodings stand in its header."""
    folder = packed_again(small_built, tmp_path / "repo")
    path = folder / DEFAULT.path(THREE[0])
    group = pq.read_metadata(path).row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "age")
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + place] ^= 0x7F
    replace(path, bytes(content))
    code, said = restore(folder, "--clinical", tmp_path / "clinical.csv")
    assert code == 1
    assert "age is not stored as it should be" in said


# What is asked for and is not there


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--subject", "sub-stroke0160"], "sub-stroke0160: is no subject of the release"),
        (
            ["--subject", THREE[0], "sub-stroke001"],
            "sub-stroke001: is no subject of the release -> choose among sub-stroke0",
        ),
        (["--subject", SUBJECT_IDS[0]], f"{SUBJECT_IDS[0]}: is not in this dataset -> choose among the 3 that are"),
        (["--volume", "cow_segmentation"], "cow_segmentation: is no volume of the release"),
        (["--volume", "lesion"], "choose among lesion_mask"),
        (["--revision", "v8"], "has no revision v8 -> name a branch, a tag or a commit of the repo"),
    ],
)
def test_what_is_not_there_is_named(hub, tmp_path, restore, arguments, words):
    code, said = restore(REPO, tmp_path / "tree", *arguments)
    assert code == 1
    assert words in said
    assert not (tmp_path / "tree").exists()


def test_another_dataset_a_missing_and_a_hidden_one_are_told_apart(hub, tmp_path, restore):
    hub.put_commit("ada/other", {"data/train-00000-of-00149.parquet": b"another layout"})
    hub.put_commit("ada/hidden", {"README.md": b"x"}, private=True)
    code, said = restore("ada/other", tmp_path / "tree")
    assert code == 1
    assert "This is another dataset." in said and "holds no data/train/*.parquet or ctp_ncct/train/*.parquet" in said
    for repo in ("ada/missing", "ada/hidden"):
        code, said = restore(repo, tmp_path / "tree")
        assert code == 1
        assert f"{repo}: is no folder, and no dataset repo that can be seen -> check its name; if private" in said
    code, said = restore("ada", tmp_path / "tree")
    assert code == 1 and "ada: is neither a folder nor the id of a repo" in said


def test_a_token_is_used_if_there_is_one_and_a_bad_one_is_said(hub, tmp_path, restore, monkeypatch):
    hub.store.repos[REPO].private = True
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert restore(REPO, tmp_path / "tree", "--volume", "dwi")[0] == 0
    monkeypatch.setenv("HF_TOKEN", "hf_AnotherSecret")
    code, said = restore(REPO, tmp_path / "other")
    assert code == 1
    assert "answers 401: Invalid credentials in Authorization header" in said
    assert "hf_AnotherSecret" not in said


def test_a_folder_has_no_revisions(published, tmp_path, restore):
    code, said = restore(published, tmp_path / "tree", "--revision", "main")
    assert code == 1 and "is a folder, which has none" in said


def refusals_of(locations: list[str]) -> list[str]:
    said = []
    for location in locations:
        with pytest.raises(Refusal) as refusal:
            reading.open_revision(location).find([DEFAULT.path(THREE[0])])
        said.append(str(refusal.value))
    return said


@pytest.mark.long
def test_a_folder_that_may_not_be_read_is_named():
    with reachable_folder() as folder:
        repos = [folder / "closed" / "repo", folder / "repo"]
        for repo in repos:
            (repo / "data" / "train").mkdir(parents=True)
        closed = [folder / "closed", folder / "repo" / "data"]
        for path in closed:
            path.chmod(0)
        said = as_nobody(refusals_of, list(map(str, repos)))
        for path in closed:
            path.chmod(0o755)
    assert [text.splitlines()[1].strip() for text in said] == [
        f"{repo}: cannot be read: Permission denied -> grant read and search rights" for repo in repos
    ]


# The command


def test_the_command_says_what_it_did_and_what_it_refused(hub, tmp_path):
    command = str(Path(sys.executable).parent / "isles24-restore")
    environment = hub.environment(tmp_path / "home", SECRET)
    code, said = shown(command, REPO, "tree", "--volume", "lesion_mask", cwd=tmp_path, env=environment)
    assert code == 0
    lines = said.splitlines()
    assert lines[:2] == [f"{REPO} at commit {hub.head(REPO)}", "Reading the footers of 3 shards"]
    assert lines[2].startswith("3 of the release's 149 subjects, 3 volumes, ")
    assert lines[3] == "SYNTHETIC SAMPLE: computed phantoms and invented clinical values, not the ISLES'24 release"
    assert lines[4].startswith("3 of 3 files, ") and lines[4].endswith("/s")
    assert lines[5:] == ["Files: 3 restored to tree"]
    code, said = shown(command, "ada/nothing", "tree", cwd=tmp_path, env=environment)
    assert code == 1
    assert len(said.splitlines()) == 2 and "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: DATASET"),
        ([REPO], "name a TREE for the volumes, or a file for --clinical"),
        ([REPO, "tree", "--workers", "0"], "--workers must be at least 1"),
        ([REPO, "--clinical", "x.csv", "--volume", "dwi"], "--volume needs a TREE"),
    ],
)
def test_a_wrong_command_line_is_explained(capsys, arguments, words):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the Hub cannot be reached: [Errno 111] Connection refused"),
        pytest.param(
            {"HF_HUB_OFFLINE": "1"},
            "cannot be read while HF_HUB_OFFLINE is set -> unset it, or name a folder",
            marks=pytest.mark.long,
        ),
    ],
)
def test_no_network_is_said_in_a_line(tmp_path, variables, words):
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    code, said = shown(*RESTORE, REPO, "tree", cwd=tmp_path, env=kept | variables)
    assert code == 1
    assert words in said
    assert "Traceback" not in said


def test_ctrl_c_stops_at_once_and_leaves_no_part_of_a_file(hub, tmp_path):
    command = [*RESTORE, REPO, str(tmp_path / "tree"), "--workers", "2"]
    fault = hub.fail(**RESOLVE, after=6 + 30, times=10_000, how=hold())
    with subprocess.Popen(
        command, env=hub.environment(tmp_path / "home"), stderr=subprocess.PIPE, text=True
    ) as process:
        fault.wait(2)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        fault.release()
        _, said = process.communicate(timeout=LONG)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Stopped. Complete files stay; run the same command again to continue."
    assert len(there(tmp_path / "tree")) == 30
    assert not [path for path in files_in(tmp_path / "tree") if "/." in path]


# Memory


LARGE = """
import hashlib, json, sys
from pathlib import Path
import pyarrow as pa
from isles_assets.lib.parquet import Streamed, write_row
from isles_assets.products.dataset import Dataset
from isles_assets.release.isles24 import ISLES24
config = next(config for config in Dataset.of(ISLES24).configs if config.name == "ctp_ncct")
path, subject, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
digest = hashlib.sha256()
def write_to(sink):
    for i in range(size >> 20):
        piece = bytes([i % 256]) * (1 << 20)
        digest.update(piece)
        sink(piece)
def footer():
    source = {"path": ISLES24.by_column["ctp_ncct"].path(subject), "size": size, "sha256": digest.hexdigest()}
    source["crc32"] = 0
    said = {"release": {"version": "v7"}, "synthetic": True, "sources": {"ctp_ncct": source}}
    return {"isles_assets": json.dumps(said)}
path.parent.mkdir(parents=True, exist_ok=True)
row = {"subject_id": subject, "ctp_ncct": {"bytes": Streamed(size, write_to), "path": "x"}}
with path.open("wb") as file:
    write_row(file, config.schema, row, footer, created_by="tests")
print(digest.hexdigest())
"""
MEMORY = """
import resource, sys
from isles_assets.cli.restore import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset, tree, small, large = sys.argv[1:]
for subject in (small, large):
    before = peak()
    assert main([dataset, tree, "--volume", "ctp_ncct", "--subject", subject]) == 0
print((peak() - before) / 1024)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A folder with a volume of a megabyte and one of much more; the digests of both, and their shards."""
    folder = tmp_path_factory.mktemp("large")
    shards = {}
    for subject, size in zip(THREE[:2], (1 << 20, 1 << 27), strict=True):
        path = folder / CTP_NCCT.path(subject)
        shards[subject] = path, python(LARGE, path, subject, size).stdout.strip()
    yield folder, shards
    for path, _ in shards.values():
        path.unlink()


def test_memory_does_not_grow_with_the_volume_from_a_folder(large, tmp_path):
    folder, shards = large
    assert_small(shards, folder, tmp_path / "tree")


@pytest.mark.long
def test_memory_does_not_grow_with_the_volume_from_the_hub(large, tmp_path):
    _, shards = large
    with HubServer(tmp_path / "hub") as hub:
        hub.put_commit("ada/large", {CTP_NCCT.path(subject): path for subject, (path, _) in shards.items()})
        assert_small(shards, "ada/large", tmp_path / "tree", env=hub.environment(tmp_path / "home"))
        shutil.rmtree(tmp_path / "hub")


def assert_small(shards, dataset, tree: Path, **options) -> None:
    run = python(MEMORY, dataset, tree, *shards, **options)
    assert float(run.stdout) < 20
    for subject, (_, sha256) in shards.items():
        path = tree / BY_COLUMN["ctp_ncct"].path(subject)
        assert sha256_of(path) == sha256
        path.unlink()
