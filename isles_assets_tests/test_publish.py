"""Publishing to a Hub on loopback with the real client: one move of `main`, nothing sent twice, clear refusals."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isles_assets.hub.changes import compare
from isles_assets.hub.huggingface import HuggingFaceHub, tag_of
from isles_assets.hub.local import LocalHub
from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.verification import card_valid, remote_matches_local
from isles_assets.lib.findings import Refusal
from isles_assets.products.building import build_shards
from isles_assets.products.features import annotated_schema
from isles_assets.products.schema import CARD, CARD_PICTURE, CONFIGS, PREVIEW
from isles_assets.products.shard import shard_state
from isles_assets.publication.assembling import assemble
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.release.subjects import SUBJECT_IDS
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import read_manifest
from isles_assets_tests.hub_server import (
    HubServer,
    Token,
    cut_request_body,
    delay,
    expire_token,
    hold,
    lose_response,
    status,
)
from isles_assets_tests.processes import END_AT_ONCE, shown
from isles_assets_tests.project import MEMORY, linked, part_of
from isles_assets_tests.running import LONG, WARM, forked

pytestmark = pytest.mark.slow

DESCRIBING = (CARD_PICTURE, PREVIEW.path)
LARGE_FILES = len(SUBJECT_IDS) * len(CONFIGS) + len(DESCRIBING)
"""All that travels as large files: everything but the card."""

REPO = "hugging-science/isles24-stroke"
SECRET = "hf_SecretThatMustNotShow"
MAIN = "refs/heads/main"
UPLOAD = {"method": "PUT"}
COMMIT = {"method": "POST", "path": r"/commit/"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    token = Token("ada", orgs={"hugging-science": "write"})
    with HubServer(tmp_path / "hub", tokens={SECRET: token}) as server:
        yield server
        assert server.strays == []


@pytest.fixture
def target(hub):
    return HuggingFaceHub(REPO, endpoint=hub.endpoint)


@pytest.fixture(scope="module")
def whole(built):
    return recorded_publication(built.folder, REPO)


@pytest.fixture
def first(built, whole, tmp_path):
    """The publication of the first so many subjects."""
    return lambda number: part_of(whole, built.folder, tmp_path / f"first {number}", SUBJECT_IDS[:number])


@pytest.fixture
def small(first):
    return first(6)


def moves_of_main(hub: HubServer) -> int:
    """How often `main` moved since the repo was made."""
    return sum(move.ref == MAIN and move.old is not None for move in hub.ref_moves(REPO))


def uploads(hub: HubServer) -> list[str]:
    """The large objects that arrived in full, by request."""
    return [record.path for record in hub.requests if record.method == "PUT" and record.status == 200]


def is_there(hub: HubServer, publication: Publication) -> bool:
    wanted = {file.path: (file.size, file.sha256) for file in publication.files}
    return {path: file for path, file in hub.files(REPO).items() if path != ".gitattributes"} == wanted


def test_first_publication_moves_main_once_and_is_tagged(hub, target, whole):
    said = []
    published = replace(target, say=said.append).publish(whole)
    assert is_there(hub, whole)
    assert moves_of_main(hub) == 1
    assert published.changed and published.revision == hub.head(REPO)
    assert hub.head(REPO, tag_of(whole)) == published.revision
    assert published.changes.by_kind() == {"added": [CARD, *DESCRIBING, *SUBJECT_IDS], "changed": [], "removed": []}
    assert len(uploads(hub)) == len(set(uploads(hub))) == LARGE_FILES
    assert said[-1].startswith(f"{LARGE_FILES + 1} of {LARGE_FILES + 1} files")
    assert remote_matches_local(target, whole) == []
    assert card_valid(target, whole) == []


def test_the_same_again_makes_no_commit_and_sends_no_file(hub, target, small):
    first = target.publish(small)
    before = len(hub.requests)
    second = target.publish(small)
    assert (second.changed, second.revision, second.tag) == (False, first.revision, first.tag)
    sent = hub.requests[before:]
    assert moves_of_main(hub) == 1
    assert {record.method for record in sent} <= {"GET", "HEAD", "POST"}
    assert not [record for record in sent if re.search("preupload|lfs|commit/", record.path)]
    assert sum(record.bytes_in for record in sent) < 1000


def test_one_changed_subject_sends_one_subject(hub, target, built, whole, small, tmp_path):
    target.publish(small)
    before = len(uploads(hub))
    changed, other = SUBJECT_IDS[2], SUBJECT_IDS[100]  # the files of `other` under the name of `changed`
    folder = linked(built.folder, tmp_path / "changed", small.subjects)
    for config in CONFIGS:
        folder.shard(config, changed).unlink()
        folder.shard(config, changed).hardlink_to(built.folder.shard(config, other))
    records = {**small.records, changed: replace(whole.records[other], subject=changed)}
    published = target.publish(assemble(folder, REPO, records, small.previews))
    assert published.changes.by_kind() == {"added": [], "changed": [CARD, SUBJECT_IDS[2]], "removed": []}
    assert len(uploads(hub)) - before == len(CONFIGS)
    assert moves_of_main(hub) == 2


def test_stale_files_go_in_the_same_commit_and_files_of_others_stay(hub, target, small):
    hub.put_commit(
        REPO,
        {
            "data/train-00000-of-00149.parquet": b"old layout",
            "data/train/sub-stroke0160.parquet": b"dropped subject",
            "notes/mine.md": b"mine",
        },
    )
    moves = moves_of_main(hub)
    published = target.publish(small)
    assert moves_of_main(hub) == moves + 1
    assert published.changes.by_kind()["removed"] == ["sub-stroke0160", "train-00000-of-00149"]
    assert set(hub.files(REPO)) - {".gitattributes"} == {file.path for file in small.files} | {"notes/mine.md"}


def test_a_failed_publication_is_resumed_and_nothing_is_sent_twice(hub, target, small):
    fault = hub.fail(**UPLOAD, after=5, times=10_000, how=status(400))
    with pytest.raises(RuntimeError, match="uploading"):
        target.publish(small)
    assert moves_of_main(hub) == 0
    fault.times = fault.hits
    target.publish(small)
    assert is_there(hub, small)
    assert len(uploads(hub)) == len(set(uploads(hub))) == len(small.files) - 1
    assert moves_of_main(hub) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {**UPLOAD, "times": 2, "how": status(500)},
        {**UPLOAD, "times": 2, "how": status(503)},
        {**UPLOAD, "times": 1, "how": cut_request_body(3000)},
        {**UPLOAD, "times": 2, "how": delay(0.5)},
        {"method": "POST", "path": r"/lfs/objects/batch", "times": 1, "how": status(429, {"Retry-After": "1"})},
        {"method": "POST", "path": r"/preupload/", "times": 1, "how": status(503)},
        {**COMMIT, "times": 1, "how": status(503)},
        {**COMMIT, "times": 1, "how": status(429, {"Retry-After": "1"})},
    ],
    ids=["500", "503", "cut body", "slow", "429 batch", "503 preupload", "503 commit", "429 commit"],
)
def test_a_passing_fault_ends_in_one_publication(hub, target, small, fault):
    hub.fail(**fault)
    try:
        target.publish(small)
    except Exception:  # what the client does not retry, Dagster's retry policy does: by publishing again
        target.publish(small)
    assert is_there(hub, small)
    assert moves_of_main(hub) == 1
    assert len(uploads(hub)) == len(small.files) - 1


def test_a_lost_answer_to_the_commit_is_looked_up_and_not_repeated(hub, target, small):
    hub.fail(**COMMIT, times=10, how=lose_response())
    published = target.publish(small)
    assert moves_of_main(hub) == 1
    assert published.revision == hub.head(REPO) == hub.head(REPO, tag_of(small))
    assert is_there(hub, small)


def test_a_second_publisher_is_not_overwritten(hub, target, small):
    base = {}

    class PutFirst(lose_response):
        def before(self, server, call, fault):
            base["theirs"] = server.put_commit(REPO, {"data/train/theirs.parquet": b"theirs"})

        def after(self, server, call, response):
            return None

    hub.fail(**COMMIT, how=PutFirst())
    with pytest.raises(Refusal, match="somebody else did") as refusal:
        target.publish(small)
    assert base["theirs"] in str(refusal.value)
    assert hub.head(REPO) == base["theirs"]
    assert moves_of_main(hub) == 1
    target.publish(small)
    assert is_there(hub, small)


def test_a_token_that_expires_on_the_way_is_named_and_nothing_is_published(hub, target, small):
    hub.fail(method="POST", path=r"/lfs/objects/batch", after=1, how=expire_token(SECRET))
    with pytest.raises(Refusal, match="stopped accepting the token") as refusal:
        target.publish(small)
    assert SECRET not in str(refusal.value)
    assert moves_of_main(hub) == 0
    hub.tokens[SECRET].expired = False
    target.publish(small)
    assert is_there(hub, small) and len(uploads(hub)) == len(small.files) - 1


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (
            Token("ada", role="read", orgs={"hugging-science": "write"}),
            "lacks the right `repo.write` on hugging-science",
        ),
        (Token("ada", orgs={"hugging-science": "read"}), "role `read` in hugging-science"),
        (Token("ada"), "no member of hugging-science"),
        (Token("ada", orgs={"hugging-science": "write"}, expired=True), "wrong, revoked or expired"),
        (
            Token(
                "ada",
                role="fineGrained",
                orgs={"hugging-science": "write"},
                scopes={"hugging-science": {"repo.content.read"}},
            ),
            "fine-grained token lacks the right `repo.write` on hugging-science",
        ),
    ],
    ids=["read token", "read role", "no member", "expired", "fine-grained"],
)
def test_a_token_without_the_right_is_found_before_anything_is_sent(hub, target, small, token, problem):
    hub.tokens[SECRET] = token
    with pytest.raises(Refusal) as refusal:
        target.publish(small)
    assert problem in str(refusal.value) and "set HF_TOKEN" in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert [record.path for record in hub.requests] == ["/api/whoami-v2"]


def test_a_fine_grained_token_for_the_repo_is_enough(hub, target, small):
    hub.put_commit(REPO, {"x.md": b"x"})
    hub.tokens[SECRET] = Token(
        "ada", role="fineGrained", orgs={"hugging-science": "write"}, scopes={REPO: {"repo.write", "repo.content.read"}}
    )
    target.publish(small)
    assert (CARD in hub.files(REPO)) and ("x.md" in hub.files(REPO))


def test_no_token_is_a_clear_refusal(hub, target, small, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(Refusal, match="there is no token"):
        target.publish(small)
    assert hub.requests == []


def test_a_rehearsal_is_private(hub, target, small):
    replace(target, private=True).publish(small)
    assert hub.store.repos[REPO].private


def test_a_blob_that_is_stored_otherwise_is_found(hub, target, small):
    target.publish(small)
    other = replace(small.files[0], sha256="0" * 64)
    wrong = replace(small, files=(other, *small.files[1:]))
    (finding,) = remote_matches_local(target, wrong)
    assert finding.path == other.path


def test_rollback_is_one_commit_without_data_and_back_again(hub, target, small, first):
    old = target.publish(small)
    larger = first(8)
    second = target.publish(larger)
    before = len(uploads(hub))
    back = target.roll_back(old.tag)
    assert back.changed and moves_of_main(hub) == 3
    assert is_there(hub, small)
    assert remote_matches_local(target, small) == []
    assert not target.roll_back(old.revision).changed
    target.roll_back(second.revision)
    assert is_there(hub, larger)
    assert len(uploads(hub)) == before


def test_rollback_to_what_is_not_there_is_refused(hub, target, small):
    target.publish(small)
    with pytest.raises(Refusal, match="has no revision v7-nothing"):
        target.roll_back("v7-nothing")
    assert moves_of_main(hub) == 1


PUBLISH = """
import sys
from pathlib import Path
from isles_assets.tables.folder import DataFolder
from isles_assets.publication.guard import recorded_publication
from isles_assets.hub.huggingface import HuggingFaceHub
publication = recorded_publication(DataFolder(Path(sys.argv[1])), sys.argv[2])
print("ready", flush=True)
HuggingFaceHub(sys.argv[2], say=print).publish(publication)
"""


def publish(data: Path, endpoint: str, token: str, ready: Any) -> None:
    os.environ["HF_TOKEN"] = token
    publication = recorded_publication(DataFolder(data), REPO)
    ready.set()
    HuggingFaceHub(REPO, endpoint=endpoint, say=print).publish(publication)


def test_killed_at_any_moment_the_next_publication_completes_it(hub, target, built, whole):
    """kill -9 six times on the way to one publication of 149 subjects."""
    for kill in range(6):
        ready = WARM.Event()
        with forked(publish, built.folder.root, hub.endpoint, SECRET, ready):
            assert ready.wait(LONG)
            time.sleep(0.15 * (kill + 1))
        assert REPO not in hub.store.repos or moves_of_main(hub) <= 1
    assert uploads(hub)
    target.publish(whole)
    assert is_there(hub, whole)
    assert moves_of_main(hub) == 1
    assert len(uploads(hub)) == len(set(uploads(hub))) == LARGE_FILES


def shards_here(folder: DataFolder) -> int:
    return len(list(folder.shards.rglob("*.parquet")))


@pytest.fixture
def freeing(built, whole, target, tmp_path):
    """Build the first 25 subjects into an empty folder, staging and freeing ten or more at a time."""
    rows = list(read_manifest(built.folder).values())[:25]
    folder, previews = DataFolder(tmp_path / "data"), whole.previews
    shutil.copytree(built.folder.previews, folder.previews)
    schemas = {config.name: annotated_schema(config) for config in CONFIGS}
    most = []

    def stage(records):
        most.append(shards_here(folder))
        stage_and_free(target, folder, records)

    def build(stage=stage):
        target.prepare_staging()
        tree = Path(built.settings.raw_root)
        outcomes = list(build_shards(tree, folder, rows, schemas, workers=2, say=most.append, stage=stage))
        records = {row.subject: shard_state(folder, row).record for row in rows}
        publication = assemble(folder, REPO, records, {subject: previews[subject] for subject in records})
        return outcomes, publication, [number for number in most if isinstance(number, int)]

    return folder, build


def test_shards_can_be_freed_group_by_group_and_published_by_copies(hub, target, first, freeing):
    folder, build = freeing
    outcomes, publication, held = build()
    assert [outcome.written for outcome in outcomes] == [True] * 25
    assert held == [20, 20] and shards_here(folder) == 10
    assert len(uploads(hub)) == 40 and moves_of_main(hub) == 0

    published = target.publish(publication)
    assert is_there(hub, first(25))
    assert moves_of_main(hub) == 1
    assert len(uploads(hub)) == len(set(uploads(hub))) == 50 + len(DESCRIBING)
    assert {move.new for move in hub.ref_moves(REPO) if move.ref == "refs/heads/staging"} >= {None}
    assert not target.publish(publication).changed

    outcomes, again, _ = build()
    assert not any(outcome.written for outcome in outcomes)
    assert again.digest == publication.digest and published.revision == hub.head(REPO)


def test_shards_that_were_built_before_are_freed_as_well(hub, target, first, freeing):
    folder, build = freeing
    build(stage=None)
    assert shards_here(folder) == 50
    outcomes, publication, _ = build()
    assert not any(outcome.written for outcome in outcomes)
    assert shards_here(folder) == 0 and len(uploads(hub)) == 50
    target.publish(publication)
    assert is_there(hub, first(25))


def test_a_break_while_staging_costs_nothing_that_was_done(hub, target, first, freeing):
    folder, build = freeing
    fault = hub.fail(**UPLOAD, after=27, times=10_000, how=status(400))
    with pytest.raises(RuntimeError, match="uploading"):
        build()
    assert shards_here(folder) == 20
    fault.times = fault.hits
    outcomes, publication, _ = build()
    assert sum(outcome.written for outcome in outcomes) == 5
    target.publish(publication)
    assert is_there(hub, first(25))
    assert len(uploads(hub)) == len(set(uploads(hub))) == 50 + len(DESCRIBING)


def test_a_freed_shard_that_the_hub_lost_is_named(hub, target, freeing):
    _, build = freeing
    _, publication, _ = build()
    hub.put_commit(REPO, {CONFIGS[0].path(SUBJECT_IDS[0]): None}, ref="staging")
    with pytest.raises(Refusal, match="neither on this disk nor staged") as refusal:
        target.publish(publication)
    assert [finding.path for finding in refusal.value.findings] == [CONFIGS[0].path(SUBJECT_IDS[0])]
    assert moves_of_main(hub) == 0


def test_freed_shards_cannot_be_published_to_a_folder(freeing, tmp_path):
    _, build = freeing
    _, publication, _ = build()
    with pytest.raises(Refusal, match="was freed from this disk"):
        LocalHub(tmp_path / "local", REPO).publish(publication)


def test_a_disk_without_room_is_refused_before_anything_is_written(built, tmp_path):
    row = next(iter(read_manifest(built.folder).values()))
    huge = {column: replace(facts, size=10**15) for column, facts in row.volumes.items()}
    folder = DataFolder(tmp_path / "data")
    with pytest.raises(Refusal, match="free_disk") as refusal:
        list(build_shards(Path(), folder, [replace(row, volumes=huge)], {}, workers=1, say=print))
    assert "18000 TB are needed" in str(refusal.value).replace("1.8e+04", "18000")
    assert not folder.root.exists()


def test_a_hub_without_xet_is_served_by_lfs_without_a_setting(hub, built, whole, tmp_path):
    environment = hub.environment(tmp_path / "home", SECRET)
    del environment["HF_HUB_DISABLE_XET"]
    arguments = [sys.executable, "-c", PUBLISH, str(built.folder.root), REPO]
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    assert [record.status for record in hub.requests if "xet-write-token" in record.path] == [404]
    assert is_there(hub, whole)
    assert len(uploads(hub)) == LARGE_FILES and moves_of_main(hub) == 1


@pytest.fixture
def home():
    """A DAGSTER_HOME."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def dagster(project, hub, home: Path, *arguments: str) -> tuple[int, str]:
    environment = hub.environment(home / "hf", SECRET) | {
        "DAGSTER_HOME": str(home),
        "ISLES_RAW_ROOT": project.settings.raw_root,
        "ISLES_DATA_DIR": project.settings.data_dir,
        "ISLES_HUB_TARGET": "huggingface",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    return shown("dagster", *arguments, cwd=home, env=environment)


def test_hub_dataset_publishes_verifies_and_never_shows_the_token(hub, built, home):
    outputs = []

    def run(*arguments):
        code, output = dagster(built, hub, home, *arguments)
        outputs.append(output)
        return code, output

    publish = ("asset", "materialize", "-m", "isles_assets", "--select", "hub_dataset", "--config-json")
    code, output = run(*publish, "{}")
    assert code == 1 and "would show a synthetic sample to the public" in output
    assert hub.requests == []

    allowed = '{"ops": {"hub_dataset": {"config": {"allow_synthetic": true}}}}'
    code, output = run(*publish, allowed)
    assert code == 0, output
    assert f"{LARGE_FILES + 1} of {LARGE_FILES + 1} files" in output
    assert f"Published {hub.endpoint}/datasets/{REPO}/tree/{hub.head(REPO)}" in output
    assert "failed" not in output

    verify = ("job", "execute", "-m", "isles_assets", "-j", "verify")
    before = len(hub.requests)
    assert run(*verify)[0] == 0
    assert {record.method for record in hub.requests[before:]} <= {"GET", "HEAD"}
    hub.put_commit(REPO, {CONFIGS[0].path(SUBJECT_IDS[3]): None})
    code, output = run(*verify)
    assert f"{CONFIGS[0].path(SUBJECT_IDS[3])}: is not published" in output
    assert "has 148 rows instead of 149" in output

    (home / "rollback.yaml").write_text("ops: {restore_revision: {config: {to: nothing-of-that-name}}}")
    code, output = dagster(
        built, hub, home, "job", "execute", "-m", "isles_assets", "-j", "rollback", "-c", "rollback.yaml"
    )
    assert code == 1 and "has no revision nothing-of-that-name" in output

    hub.tokens[SECRET].expired = True
    code, output = run(*publish, allowed)
    assert code == 1 and "wrong, revoked or expired" in output

    assert SECRET not in "".join(outputs)
    for path in home.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
    for database in home.rglob("*.db"):
        with sqlite3.connect(database) as connection:
            assert SECRET not in "\n".join(connection.iterdump())


FREE_DISK = """
resources:
  settings:
    config: {data_dir: freed}
ops:
  subject_shard:
    config: {free_disk: true, allow_synthetic: true}
  hub_dataset:
    config: {allow_synthetic: true}
"""


@pytest.mark.long
def test_the_whole_graph_runs_on_a_disk_that_frees_itself(hub, built, home):
    shutil.copytree(built.folder.previews, home / "freed/previews")  # drawn from the same tree: they are up to date
    (home / "free-disk.yaml").write_text(FREE_DISK)
    build = ("job", "execute", "-m", "isles_assets", "-j", "build", "-c", "free-disk.yaml")
    code, output = dagster(built, hub, home, *build)
    assert code == 0, output
    assert shards_here(DataFolder(home / "freed")) == 18
    assert moves_of_main(hub) == 1
    assert len(hub.files(REPO)) == LARGE_FILES + 2  # the card and .gitattributes
    assert "failed:" not in output.replace("value_ranges failed:", "")


STREAM = f"""
import datasets
rows = datasets.load_dataset("hugging-science/isles24-stroke", split="train", streaming=True)
row = next(iter(rows))
print(row["subject_id"], row["ncct"].shape, sum(1 for _ in rows.select_columns(["subject_id"])))
{END_AT_ONCE}"""


def test_anybody_can_stream_what_is_published(hub, target, whole, tmp_path):
    target.publish(whole)
    anonymous = hub.environment(tmp_path / "home")
    run = subprocess.run([sys.executable, "-c", STREAM], env=anonymous, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == "sub-stroke0001" and run.stdout.split()[-1] == "149"


def test_nothing_is_published_while_it_is_uploaded(hub, target, small):
    """Readers see the old dataset until the one commit."""
    held = hub.fail(**COMMIT, how=hold())
    thread = threading.Thread(target=target.publish, args=(small,))
    thread.start()
    held.wait()
    assert set(hub.files(REPO)) <= {".gitattributes"}
    assert len(uploads(hub)) == len(small.files) - 1
    held.release()
    thread.join()
    assert not compare(small, target.stored())


LOADS = f"""
import sys
from pathlib import Path
from isles_assets.tables.folder import DataFolder
from isles_assets.publication.guard import recorded_publication
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.verification import loads
print(*loads(HuggingFaceHub(sys.argv[2]), recorded_publication(DataFolder(Path(sys.argv[1])), sys.argv[2])))
{END_AT_ONCE}"""


def test_a_blob_damaged_in_storage_does_not_load(hub, target, built, whole, tmp_path):
    target.publish(whole)
    arguments = [sys.executable, "-c", LOADS, str(built.folder.root), REPO]
    environment = hub.environment(tmp_path / "home", SECRET)
    assert subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout == "\n"
    hub.damage(REPO, CONFIGS[0].path(SUBJECT_IDS[0]), at=5000)
    found = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    assert "default: does not load" in found
