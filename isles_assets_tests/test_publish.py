"""Publishing to a Hub on loopback with the real client: one move of `main`, nothing sent twice, clear refusals."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from isles_assets.hub.changes import compare
from isles_assets.hub.huggingface import HuggingFaceHub, groups_of
from isles_assets.hub.local import LocalHub
from isles_assets.hub.ownership import tag_of
from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.verification import card_valid, remote_matches_local
from isles_assets.lib.files import free_space
from isles_assets.lib.findings import Finding, Refusal, TransientRefusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.products.building import MAX_LOCAL_SUBJECTS, STAGE_SIZE, build_subjects, state_of
from isles_assets.products.config import CARD, CROISSANT, LOOK_PATH, METADATA, VOLUMES
from isles_assets.products.dataset import Dataset
from isles_assets.products.features import annotated_schema
from isles_assets.products.preview.product import CARD_PICTURE
from isles_assets.products.product import Build, PublicationFile
from isles_assets.publication.assembling import assemble
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.release.release import Release
from isles_assets.sample.tree import make_sample
from isles_assets.tables.folder import DataFolder
from isles_assets.tables.manifest import ManifestRow, read_manifest
from isles_assets_tests import isles24
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
from isles_assets_tests.isles24 import ISLES24, PREVIEW, SMALL
from isles_assets_tests.processes import END_AT_ONCE, LONG, shown
from isles_assets_tests.project import MEMORY, build_all, linked, part_of
from isles_assets_tests.running import WARM, eventually, forked
from isles_assets_tests.toy import TOY

pytestmark = pytest.mark.slow

MANY = replace(TOY, subjects=tuple(f"sub-a{number:02}" for number in range(1, 26)))
"""The toy release with so many subjects that they are staged in several groups."""

SUBJECTS = MANY.subjects
DATASET = Dataset.of(MANY)
(SHARD,) = DATASET.products
CONFIGS = DATASET.configs
LARGE_FILES = len(SUBJECTS) * len(CONFIGS)
"""All of it that travels as large files: everything but the card and the metadata tables."""

DESCRIBING = (LOOK_PATH, CARD_PICTURE, PREVIEW.configs[0].path(""))
LARGE_FILES_OF_SMALL = len(SMALL.subjects) * len(isles24.CONFIGS) + len(DESCRIBING)
FILES_OF_SMALL = LARGE_FILES_OF_SMALL + 1 + len(METADATA)

PART = ISLES24.only(ISLES24.subjects[:12])
"""So many subjects with previews that some are freed and others left."""

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


@pytest.fixture
def target(hub):
    return HuggingFaceHub(REPO, DATASET, endpoint=hub.endpoint)


@pytest.fixture
def target_of_small(hub):
    return HuggingFaceHub(REPO, Dataset.of(SMALL), endpoint=hub.endpoint)


@pytest.fixture(scope="session")
def many(made_once):
    """The folder with tree and data of all of these subjects, which is not to be changed."""
    return made_once("many_toys", partial(build_all, MANY))


@pytest.fixture(scope="session")
def data(many):
    return DataFolder(many / "data", MANY)


@pytest.fixture(scope="module")
def whole(data):
    return recorded_publication(DATASET, data, REPO)


@pytest.fixture(scope="module")
def whole_of_small(small_built):
    """A publication that has previews."""
    return recorded_publication(Dataset.of(SMALL), small_built.folder, REPO)


@pytest.fixture
def first(data, whole, tmp_path):
    """The publication of the first so many subjects."""
    return lambda number: part_of(whole, data, tmp_path / f"first {number}", SUBJECTS[:number])


@pytest.fixture
def small(first):
    return first(6)


def large_files(publication: Publication) -> int:
    return sum(file.path not in (CARD, *METADATA) for file in publication.files)


def moves_of_main(hub: HubServer) -> int:
    """How often `main` moved since the repo was made."""
    return sum(move.ref == MAIN and move.old is not None for move in hub.ref_moves(REPO))


def uploads(hub: HubServer) -> list[str]:
    """The large objects that arrived in full, by request."""
    return [record.path for record in hub.requests if record.method == "PUT" and record.status == 200]


def is_there(hub: HubServer, publication: Publication) -> bool:
    wanted = {file.path: (file.size, file.sha256) for file in publication.files}
    return {path: file for path, file in hub.files(REPO).items() if path != ".gitattributes"} == wanted


def test_first_publication_moves_main_once_and_is_tagged(hub, target_of_small, whole_of_small):
    target, whole, said = target_of_small, whole_of_small, []
    published = replace(target, log=said.append).publish(whole)
    assert is_there(hub, whole)
    assert moves_of_main(hub) == 1
    assert published.changed and published.revision == hub.head(REPO)
    assert hub.head(REPO, tag_of(whole)) == published.revision
    assert published.changes.by_kind() == {
        "added": sorted([CARD, *METADATA, *DESCRIBING, *SMALL.subjects]),
        "changed": [],
        "removed": [],
    }
    assert len(uploads(hub)) == len(set(uploads(hub))) == LARGE_FILES_OF_SMALL
    assert said[-1].startswith(f"{FILES_OF_SMALL} of {FILES_OF_SMALL} files")
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


def test_one_changed_subject_sends_one_subject(hub, target, data, whole, small, tmp_path):
    target.publish(small)
    before = len(uploads(hub))
    changed, other = SUBJECTS[2], SUBJECTS[20]  # the files of `other` under the name of `changed`
    folder = linked(DATASET, data, tmp_path / "changed", small.subjects)
    for config in CONFIGS:
        SHARD.path(folder, config, changed).unlink()
        SHARD.path(folder, config, changed).hardlink_to(SHARD.path(data, config, other))
    sidecars = {**small.made[SHARD.name], changed: replace(whole.made[SHARD.name][other], subject=changed)}
    published = target.publish(assemble(DATASET, folder, REPO, {SHARD.name: sidecars}, read_manifest(data)))
    assert published.changes.by_kind() == {"added": [], "changed": [CARD, CROISSANT, VOLUMES, changed], "removed": []}
    assert len(uploads(hub)) - before == len(CONFIGS)
    assert moves_of_main(hub) == 2


def test_stale_files_go_in_the_same_commit_and_files_of_others_stay(hub, target, small):
    there = hub.put_commit(
        REPO,
        {
            "data/train-00000-of-00149.parquet": b"old layout",
            "data/train/sub-stroke0160.parquet": b"dropped subject",
            f"{CONFIGS[1].folder}/train/sub-stroke0018.parquet": b"another config",
            "notes/mine.md": b"mine",
        },
    )
    moves = moves_of_main(hub)
    published = replace(target, take_over=there).publish(small)
    assert moves_of_main(hub) == moves + 1
    assert published.changes.by_kind()["removed"] == ["sub-stroke0018", "sub-stroke0160", "train-00000-of-00149"]
    assert set(hub.files(REPO)) - {".gitattributes"} == {file.path for file in small.files} | {"notes/mine.md"}


def test_a_failed_publication_is_resumed_and_nothing_is_sent_twice(hub, target, small):
    fault = hub.fail(**UPLOAD, after=5, times=10_000, how=status(400))
    with pytest.raises(TransientRefusal, match="which resumes"):
        target.publish(small)
    assert moves_of_main(hub) == 0
    fault.times = fault.hits
    target.publish(small)
    assert is_there(hub, small)
    assert len(uploads(hub)) == len(set(uploads(hub))) == large_files(small)
    assert moves_of_main(hub) == 1


def sized(megabytes: list[int]) -> list[PublicationFile]:
    return [PublicationFile(f"{n}.parquet", None, size * 1_000_000, "0" * 64) for n, size in enumerate(megabytes)]


@pytest.mark.parametrize(
    ("megabytes", "numbers"),
    [
        ([], []),
        ([1] * 5, [5]),
        ([300] * 23, [10, 10, 3]),
        ([1] * 300, [268, 32]),
        ([20] * 9 + [300] * 3, [10, 2]),
        ([20] * 12 + [300] * 12, [12, 10, 2]),
    ],
)
def test_files_are_sent_ten_at_a_time_and_more_if_they_are_small(megabytes, numbers):
    files = sized(megabytes)
    groups = list(groups_of(files))
    assert [len(group) for group in groups] == numbers
    assert [file for group in groups for file in group] == files


def test_a_group_is_told_before_it_is_sent_and_after(hub, small):
    said = []
    HuggingFaceHub(REPO, DATASET, endpoint=hub.endpoint, log=said.append).publish(small)
    size = readable_bytes(sum(file.size for file in small.files))
    number = len(small.files)
    before, after = [words for words in said if "sen" in words.lower()]
    assert before == f"Sending {number} files, {size}"
    assert re.fullmatch(rf"{number} of {number} files sent, {size}, .*/s", after)


@pytest.mark.parametrize(
    "fault",
    [
        {**UPLOAD, "times": 2, "how": status(500)},
        pytest.param({**UPLOAD, "times": 2, "how": status(503)}, marks=pytest.mark.long),
        {**UPLOAD, "times": 1, "how": cut_request_body(3000)},
        pytest.param({**UPLOAD, "times": 2, "how": delay(0.5)}, marks=pytest.mark.long),
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
    assert len(uploads(hub)) == large_files(small)


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
    with pytest.raises(Refusal, match="not ours: data/train/theirs"):
        target.publish(small)
    replace(target, take_over=base["theirs"]).publish(small)
    assert is_there(hub, small)


def test_a_token_that_expires_on_the_way_is_named_and_nothing_is_published(hub, target, small):
    hub.fail(**COMMIT, how=expire_token(SECRET))
    with pytest.raises(
        Refusal, match=r"answers 401: Invalid credentials.*set HF_TOKEN.*wrong, revoked or expired"
    ) as refusal:
        target.publish(small)
    assert SECRET not in str(refusal.value)
    assert moves_of_main(hub) == 0
    hub.tokens[SECRET].expired = False
    target.publish(small)
    assert is_there(hub, small) and len(uploads(hub)) == large_files(small)


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (
            Token("ada", role="read", orgs={"hugging-science": "write"}),
            "lacks the right `repo.write` on hugging-science",
        ),
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
    ids=["read token", "expired", "fine-grained"],
)
def test_a_token_without_the_right_is_found_before_anything_is_sent(hub, target, small, token, problem):
    hub.tokens[SECRET] = token
    with pytest.raises(Refusal) as refusal:
        target.publish(small)
    assert problem in str(refusal.value) and "set HF_TOKEN" in str(refusal.value)
    assert SECRET not in str(refusal.value)
    assert [record.path for record in hub.requests] == ["/api/whoami-v2"]


def test_a_fine_grained_token_for_the_repo_is_enough(hub, target, small):
    hub.put_commit(REPO, {})
    hub.tokens[SECRET] = Token(
        "ada", role="fineGrained", orgs={"hugging-science": "write"}, scopes={REPO: {"repo.write", "repo.content.read"}}
    )
    target.publish(small)
    assert is_there(hub, small)


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


def publish(folder: Path, endpoint: str, token: str, ready: Any) -> None:
    os.environ["HF_TOKEN"] = token
    publication = recorded_publication(DATASET, DataFolder(folder, MANY), REPO)
    ready.set()
    HuggingFaceHub(REPO, DATASET, endpoint=endpoint, log=print).publish(publication)


def test_killed_at_any_moment_the_next_publication_completes_it(hub, target, data, whole):
    """kill -9 six times on the way to one publication of 25 subjects."""
    for kill in range(6):
        ready = WARM.Event()
        with forked(publish, data.root, hub.endpoint, SECRET, ready):
            assert ready.wait(LONG)
            eventually(lambda wanted=8 * kill: len(uploads(hub)) >= wanted)
        hub.quiet()
        assert REPO not in hub.store.repos or moves_of_main(hub) <= 1
    assert uploads(hub)
    target.publish(whole)
    assert is_there(hub, whole)
    assert moves_of_main(hub) == 1
    assert len(uploads(hub)) == len(set(uploads(hub))) == LARGE_FILES


def shards_here(folder: DataFolder) -> int:
    return len(list((folder.root / "shards").rglob("*.parquet")))


def other_size(row: ManifestRow) -> ManifestRow:
    volumes = {column: replace(entry, size=entry.size + 1) for column, entry in row.volumes.items() if entry}
    return replace(row, volumes=volumes)


@pytest.fixture
def freeing(many, data, target, tmp_path):
    """Build all 25 subjects, or `some`, into an empty folder, staging and freeing them; what was there at each moment.

    A subject of `odd` has another size in the manifest than in the tree, and is not made.
    """
    everything = read_manifest(data)
    folder = DataFolder(tmp_path / "data", MANY)
    schemas = {config.name: annotated_schema(config) for config in CONFIGS}
    held = []

    def stage(sidecars):
        held.append(shards_here(folder))
        stage_and_free(target, SHARD, folder, lambda sidecar: [], sidecars)

    def build(stage=stage, some=SUBJECTS, odd=()):
        held.clear()
        target.prepare_staging()
        parts = Build(many / MANY.record.top, folder, schemas)
        rows = [other_size(everything[subject]) if subject in odd else everything[subject] for subject in some]
        outcomes = []
        for outcome in build_subjects(SHARD, parts, rows, workers=1, log=lambda words: None, stage=stage):
            outcomes.append(outcome)
            held.append(shards_here(folder))
        sidecars = {row.subject: sidecar for row in rows if (sidecar := state_of(SHARD, folder, row).sidecar)}
        publication = assemble(DATASET, folder, REPO, {SHARD.name: sidecars}, everything)
        return outcomes, publication, list(held)

    return folder, build


@pytest.mark.long
def test_shards_can_be_freed_group_by_group_and_published_by_copies(hub, target, whole, freeing):
    folder, build = freeing
    outcomes, publication, held = build()
    assert [outcome.written for outcome in outcomes] == [True] * 25
    assert max(held) == STAGE_SIZE * len(CONFIGS) and shards_here(folder) == 0
    assert len(uploads(hub)) == 50 and moves_of_main(hub) == 0

    published = target.publish(publication)
    assert is_there(hub, whole)
    assert moves_of_main(hub) == 1
    assert len(uploads(hub)) == len(set(uploads(hub))) == LARGE_FILES
    assert {move.new for move in hub.ref_moves(REPO) if move.ref == "refs/heads/staging"} >= {None}
    assert not target.publish(publication).changed

    outcomes, again, _ = build()
    assert not any(outcome.written for outcome in outcomes)
    assert again.digest == publication.digest and published.revision == hub.head(REPO)


def test_fewer_than_three_groups_are_on_the_disk_at_any_moment(hub, target, freeing):
    """What an earlier run has left, a group that is being sent, and the group that is made meanwhile."""
    folder, build = freeing
    left, most = STAGE_SIZE - 1, MAX_LOCAL_SUBJECTS * len(CONFIGS)
    build(some=SUBJECTS[:left])
    assert shards_here(folder) == left * len(CONFIGS) and not uploads(hub)

    def stage_slowly(sidecars):
        if not uploads(hub):
            eventually(lambda: shards_here(folder) == most)
        stage_and_free(target, SHARD, folder, lambda sidecar: [], sidecars)

    _, _, held = build(stage=stage_slowly)
    assert max(held) <= most
    assert shards_here(folder) == (len(SUBJECTS) - left) % STAGE_SIZE * len(CONFIGS)
    assert len(uploads(hub)) == len(set(uploads(hub)))


def test_an_interrupted_run_does_not_wait_for_what_is_being_sent(many, data, tmp_path):
    begun, ended = threading.Event(), threading.Event()

    def stage(sidecars):
        begun.set()
        assert ended.wait(LONG)

    schemas = {config.name: annotated_schema(config) for config in CONFIGS}
    build = Build(many / MANY.record.top, DataFolder(tmp_path / "data", MANY), schemas)
    rows = list(read_manifest(data).values())
    outcomes = build_subjects(SHARD, build, rows, workers=1, log=print, stage=stage)
    while not begun.is_set():
        next(outcomes)
    outcomes.close()  # as an exception in the loop over it does
    ended.set()


def test_a_group_of_which_some_cannot_be_made_is_no_room_for_the_next(freeing):
    folder, build = freeing
    odd = SUBJECTS[1 : STAGE_SIZE - 1]
    outcomes, _, held = build(odd=odd)
    assert {outcome.subject for outcome in outcomes if isinstance(outcome.result, Refusal)} == set(odd)
    assert max(held) == STAGE_SIZE * len(CONFIGS) and shards_here(folder) == 0


def test_a_shard_that_may_not_be_published_is_not_staged_and_stays(hub, target, freeing):
    folder, build = freeing
    _, publication, _ = build(stage=None)
    kept, *others = publication.made[SHARD.name].values()
    target.prepare_staging()

    def stopping(sidecar):
        return [Finding("is odd", "look")] if sidecar == kept else []

    stage_and_free(target, SHARD, folder, stopping, [kept])
    assert not uploads(hub) and shards_here(folder) == 50
    stage_and_free(target, SHARD, folder, stopping, [kept, *others[:2]])
    assert len(uploads(hub)) == 4 and shards_here(folder) == 46
    assert all(SHARD.path(folder, config, kept.subject).exists() for config in CONFIGS)


def test_shards_that_were_built_before_are_freed_as_well(hub, target, whole, freeing):
    folder, build = freeing
    build(stage=None)
    assert shards_here(folder) == 50
    outcomes, publication, _ = build()
    assert not any(outcome.written for outcome in outcomes)
    assert shards_here(folder) == 0 and len(uploads(hub)) == 50
    target.publish(publication)
    assert is_there(hub, whole)


@pytest.mark.long
def test_a_break_while_staging_costs_nothing_that_was_done(hub, target, whole, freeing):
    folder, build = freeing
    fault = hub.fail(**UPLOAD, after=27, times=10_000, how=status(400))
    with pytest.raises(TransientRefusal, match="which resumes"):
        build()
    in_vain_and_next = 2 * STAGE_SIZE
    assert shards_here(folder) == in_vain_and_next * len(CONFIGS)
    fault.times = fault.hits
    outcomes, publication, _ = build()
    assert sum(outcome.written for outcome in outcomes) == len(SUBJECTS) - 2 * STAGE_SIZE - in_vain_and_next
    target.publish(publication)
    assert is_there(hub, whole)
    assert len(uploads(hub)) == len(set(uploads(hub))) == LARGE_FILES


def test_a_freed_shard_that_the_hub_lost_is_named(hub, target, data, freeing):
    folder, build = freeing
    linked(DATASET, data, folder.root, SUBJECTS)
    _, publication, _ = build()
    hub.put_commit(REPO, {CONFIGS[0].path(SUBJECTS[0]): None}, ref="staging")
    with pytest.raises(Refusal, match="neither on this disk nor staged") as refusal:
        target.publish(publication)
    assert [finding.path for finding in refusal.value.findings] == [CONFIGS[0].path(SUBJECTS[0])]
    assert moves_of_main(hub) == 0


def test_freed_shards_cannot_be_published_to_a_folder(data, freeing, tmp_path):
    folder, build = freeing
    linked(DATASET, data, folder.root, SUBJECTS)
    _, publication, _ = build()
    with pytest.raises(Refusal, match="was freed from this disk"):
        LocalHub(tmp_path / "local", REPO).publish(publication)


def test_a_disk_without_room_is_refused_before_anything_is_written(data, tmp_path):
    row = next(iter(read_manifest(data).values()))
    huge = {column: replace(entry, size=10**15) for column, entry in row.volumes.items()}
    build = Build(Path(), DataFolder(tmp_path / "data", MANY), {})
    with pytest.raises(Refusal, match="free_disk") as refusal:
        list(build_subjects(SHARD, build, [replace(row, volumes=huge)], workers=1, log=print))
    assert "3000 TB are needed" in str(refusal.value).replace("3e+03", "3000")
    assert not build.folder.root.exists()


def test_shards_that_a_publication_still_holds_are_no_room_for_those_that_replace_them(data, tmp_path):
    folder = DataFolder(tmp_path / "data", MANY)
    rows = list(read_manifest(data).values())[:3]
    paths = [SHARD.path(folder, SHARD.configs[0], row.subject) for row in rows]
    paths[0].parent.mkdir(parents=True)
    size = free_space(tmp_path) // 2
    large = [
        replace(row, volumes={c: replace(entry, size=size // len(row.volumes)) for c, entry in row.volumes.items()})
        for row in rows
    ]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(size)  # takes no room itself
    rebuild = partial(build_subjects, SHARD, Build(tmp_path, folder, {}), large, workers=1, log=print)
    assert all(isinstance(outcome.result, Refusal) for outcome in rebuild())  # there is room, but no tree
    for path in paths:
        path.with_suffix(".published").hardlink_to(path)
    with pytest.raises(Refusal, match="are needed"):
        list(rebuild())


PUBLICATION = """
import sys
from pathlib import Path
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.verification import loads
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.release.isles24 import ISLES24
from isles_assets.tables.folder import DataFolder
data, repo, *subjects = sys.argv[1:]
release = ISLES24.only(subjects)
dataset = Dataset.of(release)
publication = recorded_publication(dataset, DataFolder(Path(data), release), repo)
"""
PUBLISH = f"""{PUBLICATION}
print("ready", flush=True)
HuggingFaceHub(repo, dataset, log=print).publish(publication)
"""


def test_a_hub_without_xet_is_served_by_lfs_without_a_setting(hub, small_built, whole_of_small, tmp_path):
    environment = hub.environment(tmp_path / "home", SECRET)
    del environment["HF_HUB_DISABLE_XET"]
    arguments = [sys.executable, "-c", PUBLISH, str(small_built.folder.root), REPO, *SMALL.subjects]
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    assert [record.status for record in hub.requests if "xet-write-token" in record.path] == [404]
    assert is_there(hub, whole_of_small)
    assert len(uploads(hub)) == LARGE_FILES_OF_SMALL and moves_of_main(hub) == 1


@pytest.fixture
def home():
    """A DAGSTER_HOME."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


DEFINITIONS = """
from isles_assets.definitions import build_defs
from isles_assets.graph.settings import Settings
from isles_assets.release.isles24 import ISLES24
defs = build_defs(ISLES24.only({subjects}), Settings())
"""
"""A code location of some subjects; the tests' own package would forget the token."""


def dagster(release: Release, tree: Path, data: Path | str, hub, home: Path, *arguments: str) -> tuple[int, str]:
    """Run a command of Dagster on `release`, which is the module `part` there."""
    (home / "part.py").write_text(DEFINITIONS.format(subjects=release.subjects))
    environment = hub.environment(home / "hf", SECRET) | {
        "DAGSTER_HOME": str(home),
        "ISLES_RAW_ROOT": str(tree),
        "ISLES_DATA_DIR": str(data),
        "ISLES_HUB_TARGET": "huggingface",
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    }
    return shown("dagster", *arguments, cwd=home, env=environment)


@pytest.mark.long
def test_hub_dataset_publishes_verifies_and_never_shows_the_token(hub, small_built, home):
    outputs = []
    folder, lost = small_built.folder, isles24.CONFIGS[0].path(SMALL.subjects[3])

    def run(*arguments):
        code, output = dagster(SMALL, small_built.setup.tree, folder.root, hub, home, *arguments)
        outputs.append(output)
        return code, output

    publish = ("asset", "materialize", "-m", "part", "--select", "hub_dataset", "--config-json")
    code, output = run(*publish, "{}")
    assert code == 1 and "would show a synthetic sample to the public" in output
    assert hub.requests == []

    allowed = '{"ops": {"hub_dataset": {"config": {"allow_synthetic": true}}}}'
    code, output = run(*publish, allowed)
    assert code == 0, output
    assert f"{FILES_OF_SMALL} of {FILES_OF_SMALL} files" in output
    assert f"Published {hub.endpoint}/datasets/{REPO}/tree/{hub.head(REPO)}" in output
    assert "failed" not in output

    verify = ("job", "execute", "-m", "part", "-j", "verify")
    before = len(hub.requests)
    assert run(*verify)[0] == 0
    assert {record.method for record in hub.requests[before:]} <= {"GET", "HEAD"}
    hub.put_commit(REPO, {lost: None})
    code, output = run(*verify)
    assert code == 1
    assert f"{lost}: is not published" in output
    assert "has 5 rows instead of 6" in output

    (home / "rollback.yaml").write_text("ops: {restore_revision: {config: {to: nothing-of-that-name}}}")
    code, output = run("job", "execute", "-m", "part", "-j", "rollback", "-c", "rollback.yaml")
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


@pytest.fixture(scope="session")
def part_tree(made_once):
    return made_once("part_sample", lambda folder: make_sample(PART, folder / "train", workers=2)) / "train"


@pytest.mark.long
def test_the_whole_graph_runs_on_a_disk_that_frees_itself(hub, part_tree, home):
    (home / "free-disk.yaml").write_text(FREE_DISK)
    build = ("job", "execute", "-m", "part", "-j", "build", "-c", "free-disk.yaml")
    code, output = dagster(PART, part_tree, "data", hub, home, *build)
    assert code == 0, output
    left, configs = len(PART.subjects) % STAGE_SIZE, len(isles24.CONFIGS)
    assert shards_here(DataFolder(home / "freed", PART)) == left * configs == 4
    assert moves_of_main(hub) == 1
    assert (
        len(hub.files(REPO)) == len(PART.subjects) * configs + len(DESCRIBING) + len(METADATA) + 2
    )  # the card and .gitattributes
    assert "failed:" not in output.replace("value_ranges failed:", "")


UNDECODED = """
ops:
  subject_shard:
    config: {decode: false}
  hub_dataset:
    config: {allow_synthetic: true}
"""


@pytest.mark.long
def test_shards_that_were_not_decoded_reach_the_hub_only_if_that_is_waived(hub, small_sample_tree, home):
    (home / "undecoded.yaml").write_text(UNDECODED)
    build = ("job", "execute", "-m", "part", "-j", "build", "-c", "undecoded.yaml")
    code, output = dagster(SMALL, small_sample_tree, home / "data", hub, home, *build)
    assert code == 1 and "was packed without decoding its volumes" in output
    assert not uploads(hub)

    lines = re.findall(r"^(?:- release|  (?:property|subject|found|reason)): .*\n", output, re.MULTILINE)
    (home / "data" / "waivers.yaml").write_text("".join(dict.fromkeys(blocks(lines))))
    code, output = dagster(SMALL, small_sample_tree, home / "data", hub, home, *build)
    assert code == 0, output
    assert moves_of_main(hub) == 1


def blocks(lines):
    """The waivers of which a message has the `lines`."""
    return re.findall(r"- release.*?(?=- release|\Z)", "".join(lines), re.DOTALL)


STREAM = f"""
import datasets
rows = datasets.load_dataset("hugging-science/isles24-stroke", split="train", streaming=True)
row = next(iter(rows))
print(row["subject_id"], row["t1"].shape, sum(1 for _ in rows.select_columns(["subject_id"])))
{END_AT_ONCE}"""


def test_anybody_can_stream_what_is_published(hub, target, whole, tmp_path):
    target.publish(whole)
    anonymous = hub.environment(tmp_path / "home")
    run = subprocess.run([sys.executable, "-c", STREAM], env=anonymous, capture_output=True, text=True, check=True)
    assert run.stdout.split()[0] == SUBJECTS[0] and run.stdout.split()[-1] == "25"


def test_nothing_is_published_while_it_is_uploaded(hub, target, small):
    """Readers see the old dataset until the one commit."""
    held = hub.fail(**COMMIT, how=hold())
    thread = threading.Thread(target=target.publish, args=(small,))
    thread.start()
    held.wait()
    assert set(hub.files(REPO)) <= {".gitattributes"}
    assert len(uploads(hub)) == large_files(small)
    held.release()
    thread.join()
    assert not compare(small, target.stored())


LOADS = f"""{PUBLICATION}
print(*loads(HuggingFaceHub(repo, dataset), publication))
{END_AT_ONCE}"""


@pytest.mark.long
def test_a_blob_damaged_in_storage_does_not_load(hub, target_of_small, small_built, whole_of_small, tmp_path):
    target_of_small.publish(whole_of_small)
    arguments = [sys.executable, "-c", LOADS, str(small_built.folder.root), REPO, *SMALL.subjects]
    environment = hub.environment(tmp_path / "home", SECRET)
    assert subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout == "\n"
    hub.damage(REPO, isles24.CONFIGS[0].path(SMALL.subjects[0]), at=5000)
    found = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout
    assert "default: does not load" in found
