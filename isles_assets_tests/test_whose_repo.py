"""What in a repo of the Hub is somebody else's: files, tags, staged files. It stays unless that is said."""

import shutil
from dataclasses import replace

import pytest
from huggingface_hub import HfApi

from isles_assets.graph.settings import Settings
from isles_assets.hub.huggingface import MAIN, STAGING, HuggingFaceHub
from isles_assets.hub.ownership import BACKUP_TAG, tag_of
from isles_assets.hub.rehearsal import rehearse
from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.verification import remote_matches_local
from isles_assets.lib.findings import Refusal
from isles_assets.products.building import build_subjects
from isles_assets.products.config import CARD, METADATA
from isles_assets.products.product import Build
from isles_assets.products.sidecar import store_sidecar
from isles_assets.publication.guard import recorded_publication
from isles_assets.tables.manifest import read_manifest
from isles_assets_tests.hub_server import HubServer, Token, lose_response, status
from isles_assets_tests.project import Project, failure, part_of
from isles_assets_tests.toy import CONFIGS, DATASET, SHARD, TOY, folder_at

REPO = TOY.repo
SECRET = "hf_w"
SUBJECTS = TOY.subjects
PEERS = {
    "data/train-00000-of-00002.parquet": b"PAR1 theirs",
    "data/train-00001-of-00002.parquet": b"PAR1 theirs too",
    "data/metadata.jsonl": b"{}",
    "README.md": b"# Theirs\n",
    "LICENSE": b"MIT",
}
"""What a peer has published, as `push_to_hub` lays it out."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    with HubServer(tmp_path / "hub", tokens={SECRET: Token("ada", orgs={"toys": "write"})}) as server:
        yield server


@pytest.fixture
def target(hub):
    return HuggingFaceHub(REPO, DATASET, endpoint=hub.endpoint)


@pytest.fixture
def folder(toy_built, tmp_path):
    """A copy of all that is made of the toy release."""
    shutil.copytree(toy_built.folder.root, tmp_path / "data", symlinks=True)
    return folder_at(tmp_path / "data")


@pytest.fixture
def whole(folder):
    return recorded_publication(DATASET, folder, REPO)


@pytest.fixture
def part(whole, folder, tmp_path):
    """Another publication: that of three of the six subjects."""
    return part_of(whole, folder, tmp_path / "part", SUBJECTS[:3])


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint)


def contents(hub, revision=MAIN):
    return {path: file for path, file in hub.files(REPO, revision).items() if path != ".gitattributes"}


def of(publication):
    return {file.path: (file.size, file.sha256) for file in publication.files}


def sent(hub, before):
    """What changed the Hub since so many requests."""
    return [record.path for record in hub.requests[before:] if record.method not in ("GET", "HEAD")]


def refusal_of(hub, publish, *arguments):
    """The words with which `publish` refuses, before anything is sent."""
    before = len(hub.requests)
    with pytest.raises(Refusal) as refusal:
        publish(*arguments)
    asked = [path for path in sent(hub, before) if "paths-info" not in path]
    assert asked == []
    return str(refusal.value)


def test_somebody_elses_files_are_refused_and_named_with_the_commit(hub, target, whole):
    head = hub.put_commit(REPO, PEERS)
    words = refusal_of(hub, target.publish, whole)
    assert f"`main` is at {head}, with 5 files that are not ours: LICENSE, README.md, data/metadata.jsonl" in words
    assert f"set `take_over: {head}`" in words
    assert f"set `take_over: {head}`" in refusal_of(hub, target.prepare_staging)
    assert hub.head(REPO) == head and [move.ref for move in hub.ref_moves(REPO)] == ["refs/heads/main"] * 2


@pytest.mark.parametrize("part_of_name", [slice(None), slice(12)], ids=["moved", "abbreviated"])
def test_another_commit_than_the_head_is_not_taken_over(hub, target, whole, part_of_name):
    seen = hub.put_commit(REPO, PEERS)
    head = hub.put_commit(REPO, {"data/train-00000-of-00002.parquet": b"PAR1 theirs, mended"})
    named = (seen if part_of_name == slice(None) else head)[part_of_name]
    for publish in (
        replace(target, take_over=named).publish,
        lambda _: replace(target, take_over=named).prepare_staging(),
    ):
        words = refusal_of(hub, publish, whole)
        assert f"`take_over` names {named}, but `main` is at {head}" in words


def test_taken_over_it_stays_under_a_tag_to_which_rollback_returns(hub, target, whole, part):
    head = hub.put_commit(REPO, PEERS)
    theirs, moves = contents(hub), len(hub.ref_moves(REPO))
    ours = replace(target, take_over=head)
    published = ours.publish(whole)
    assert published.backup_tag == BACKUP_TAG and hub.head(REPO, BACKUP_TAG) == head
    assert contents(hub) == of(whole) | {"LICENSE": theirs["LICENSE"]}
    assert [move.ref for move in hub.ref_moves(REPO)[moves:]] == [
        f"refs/tags/{BACKUP_TAG}",
        "refs/heads/main",
        f"refs/tags/{published.tag}",
    ]
    assert remote_matches_local(target, whole) == []
    again = ours.publish(whole)  # as a retry does, with the same run config
    assert (again.changed, again.backup_tag) == (False, None)
    assert target.publish(part).changed

    back = target.roll_back(BACKUP_TAG)
    assert contents(hub) == theirs
    assert f"`main` is at {back.revision}, with 4 files" in refusal_of(hub, target.publish, whole)
    published = replace(target, take_over=back.revision).publish(whole)
    assert published.backup_tag == f"{BACKUP_TAG}-{back.revision[:12]}" and hub.head(REPO, BACKUP_TAG) == head
    assert contents(hub, published.backup_tag) == theirs
    assert target.publish(part).changed


@pytest.mark.parametrize("files", [{}, {".gitattributes": b"*.parquet filter=lfs\n"}, {".gitattributes": None}])
def test_a_repo_without_files_is_nobodys(hub, target, whole, files):
    hub.put_commit(REPO, files)
    target.publish(whole)
    assert contents(hub) == of(whole)


def test_what_an_earlier_version_has_published_is_ours(hub, api, target, whole, part):
    """It said so by its tag and card, and not in its commit."""
    there = hub.put_commit(REPO, {file.path: hub_content(file) for file in whole.files})
    assert "not ours" in refusal_of(hub, target.publish, part)
    api.create_tag(REPO, tag="v1-0123456789ab", revision=there, repo_type="dataset")
    assert target.publish(part).changed
    assert target.publish(whole).changed


def hub_content(file):
    return file.content if isinstance(file.content, bytes) else file.content.read_bytes()


def test_a_tag_like_ours_at_a_card_that_is_not_ours_says_nothing(hub, api, target, whole):
    there = hub.put_commit(REPO, PEERS)
    api.create_tag(REPO, tag="v1-0123456789ab", revision=there, repo_type="dataset")
    assert "not ours" in refusal_of(hub, target.publish, whole)


def test_what_was_published_and_not_yet_tagged_is_ours(hub, target, whole, part):
    fault = hub.fail(method="POST", path="/tag/", times=100, how=status(400))
    with pytest.raises(Exception, match="made to fail"):
        target.publish(whole)
    assert contents(hub) == of(whole)
    fault.times = fault.hits
    assert target.publish(part).changed
    assert contents(hub) == of(part)


@pytest.mark.parametrize(
    "path", [CARD, "data/train/theirs.parquet", CONFIGS[0].path(SUBJECTS[0]), "dataset_infos.json"]
)
def test_what_somebody_commits_on_top_of_ours_is_not_lost(hub, target, whole, part, path):
    target.publish(part)
    head = hub.put_commit(REPO, {path: b"theirs", "notes/mine.md": b"mine"})
    for publication in (part, whole):
        assert f"at {head}, with a file that is not ours: {path}" in refusal_of(hub, target.publish, publication)
    published = replace(target, take_over=head).publish(whole)
    assert published.backup_tag == BACKUP_TAG and hub.content(REPO, path, BACKUP_TAG) == b"theirs"
    assert set(contents(hub)) == {*of(whole), "notes/mine.md"}
    target.roll_back(tag_of(part))
    assert target.publish(whole).changed


def test_other_files_of_others_in_our_repo_are_left_alone(hub, target, whole, part):
    target.publish(part)
    hub.put_commit(REPO, {"notes/mine.md": b"mine", CONFIGS[0].path(SUBJECTS[0]): None})
    target.publish(part)
    target.publish(whole)
    assert contents(hub).keys() == {*of(whole), "notes/mine.md"}


def test_our_tag_at_something_else_is_refused(hub, api, target, whole, part):
    earlier = target.publish(part).revision
    api.create_tag(REPO, tag=tag_of(whole), revision=earlier, repo_type="dataset")
    assert f"has the tag {tag_of(whole)} of this publication at {earlier}" in refusal_of(hub, target.publish, whole)
    assert contents(hub) == of(part)


def test_our_tag_at_another_revision_that_holds_the_same_is_kept(hub, target, whole, part):
    first = target.publish(whole)
    target.publish(part)
    again = target.publish(whole)
    assert (again.tag, again.changed) == (first.tag, True)
    assert hub.head(REPO, first.tag) == first.revision


def test_a_rollback_to_what_holds_no_dataset_is_refused(hub, target, whole):
    empty = hub.put_commit(REPO, {})
    target.publish(whole)
    before = len(hub.requests)
    with pytest.raises(Refusal, match=f"{empty} holds no dataset"):
        target.roll_back(empty)
    assert sent(hub, before) == [] and contents(hub) == of(whole)


def test_private_is_refused_for_a_public_repo(hub, target, whole):
    hub.put_commit(REPO, {})
    private = replace(target, private=True)
    assert "is public, and `private` is set" in refusal_of(hub, private.publish, whole)
    assert "is public, and `private` is set" in refusal_of(hub, private.prepare_staging)
    hub.store.repos[REPO].private = True
    assert private.publish(whole).changed
    assert target.publish(whole).revision == hub.head(REPO)


@pytest.mark.parametrize("default", ["public", "private"])
def test_a_new_repo_is_as_the_namespace_has_it(hub, target, whole, default):
    hub.default_visibility = default
    target.publish(whole)
    assert hub.store.repos[REPO].private == (default == "private")


def stage(target, folder, sidecars):
    stage_and_free(target, SHARD, folder, lambda sidecar: [], sidecars)


def sidecars_of(publication, subjects=SUBJECTS):
    return [publication.made[SHARD.name][subject] for subject in subjects]


def uploads(hub):
    return [record.path for record in hub.requests if record.method == "PUT" and record.status == 200]


def test_what_another_machine_has_staged_is_not_removed(hub, target, folder, whole, part):
    said = []
    target.prepare_staging()
    stage(target, folder, sidecars_of(whole, SUBJECTS[2:]))
    replace(target, log=said.append).publish(part)
    assert f"The branch {STAGING} stays: 6 of its files" in said[-1]
    freed = recorded_publication(DATASET, folder, REPO)
    before = len(uploads(hub))
    target.publish(freed)
    assert contents(hub) == of(whole)
    assert len(uploads(hub)) - before == 0
    assert STAGING not in {branch.name for branch in target._api.list_repo_refs(REPO, repo_type="dataset").branches}


def test_staging_goes_although_what_was_published_when_it_was_made_was_replaced(hub, target, folder, whole, part):
    target.publish(part)
    replaced = {CONFIGS[0].path(SUBJECTS[0]): b"PAR1 other", CARD: b"made with isles-assets 0"}
    there = hub.put_commit(REPO, replaced)
    HfApi(endpoint=hub.endpoint).create_tag(REPO, tag="v0-0123456789ab", revision=there, repo_type="dataset")
    target.prepare_staging()
    stage(target, folder, sidecars_of(whole, SUBJECTS[3:]))
    target.publish(recorded_publication(DATASET, folder, REPO))
    assert hub.ref_moves(REPO)[-1].ref == f"refs/heads/{STAGING}" and hub.ref_moves(REPO)[-1].new is None


def test_staging_that_was_removed_meanwhile_is_made_again(hub, target, folder, whole):
    target.prepare_staging()
    stage(target, folder, sidecars_of(whole, SUBJECTS[:2]))
    target.publish(recorded_publication(DATASET, folder, REPO))
    stage(target, folder, sidecars_of(whole, SUBJECTS[2:]))
    assert not list(SHARD.root(folder).rglob("*.parquet"))
    assert not target.publish(recorded_publication(DATASET, folder, REPO)).changed


def test_a_lost_answer_to_the_commit_to_staging_is_looked_up(hub, target, folder, whole):
    target.prepare_staging()
    hub.fail(method="POST", path=f"/commit/{STAGING}", times=10, how=lose_response())
    stage(target, folder, sidecars_of(whole))
    assert sum(move.ref == f"refs/heads/{STAGING}" for move in hub.ref_moves(REPO)) == 2
    assert target.publish(recorded_publication(DATASET, folder, REPO)).changed
    assert contents(hub) == of(whole)


def test_a_commit_to_staging_that_another_machine_overtook_is_made_again(hub, target, folder, whole):
    target.prepare_staging()
    overtaken = hub.fail(method="POST", path=f"/commit/{STAGING}", times=2, how=status(412))
    stage(target, folder, sidecars_of(whole))
    assert overtaken.hits == 2 and len(uploads(hub)) == len(set(uploads(hub))) == len(of(whole)) - 1 - len(METADATA)
    assert target.publish(recorded_publication(DATASET, folder, REPO)).changed
    assert contents(hub) == of(whole)


def test_freed_shards_are_found_in_what_was_published_before(hub, target, folder, whole, part):
    """Forward again after a rollback: on neither `main` nor staging."""
    first = target.publish(part)
    target.prepare_staging()
    stage(target, folder, sidecars_of(whole))
    freed = recorded_publication(DATASET, folder, REPO)
    target.publish(freed)
    target.roll_back(first.tag)
    before = len(uploads(hub))
    assert target.publish(freed).changed
    assert contents(hub) == of(whole) and len(uploads(hub)) == before


def build(target, folder, tree):
    """Build with `free_disk`."""
    rows = list(read_manifest(folder).values())
    target.prepare_staging()
    done = build_subjects(
        SHARD, Build(tree, folder, {}), rows, workers=1, log=print, stage=lambda some: stage(target, folder, some)
    )
    return list(done)


@pytest.mark.parametrize("left", [CONFIGS, CONFIGS[1:]], ids=["all", "some"])
@pytest.mark.parametrize("then", ["staged", "published", "rolled back"])
def test_a_freeing_that_was_interrupted_is_finished_by_the_next_run(
    hub, target, folder, whole, toy_built, part, left, then
):
    subject = SUBJECTS[4]
    sidecar = whole.made[SHARD.name][subject]
    kept = {path: path.read_bytes() for path in (SHARD.path(folder, config, subject) for config in left)}
    first = target.publish(part) if then == "rolled back" else None
    target.prepare_staging()
    stage(target, folder, sidecars_of(whole))
    for path, content in kept.items():
        path.write_bytes(content)
    if then != "staged":
        target.publish(recorded_publication(DATASET, folder, REPO))
    if first:
        target.roll_back(first.tag)
    store_sidecar(SHARD.sidecar_path(folder, subject), replace(sidecar, freed=True))

    before = len(uploads(hub))
    assert not any(outcome.written for outcome in build(target, folder, toy_built.setup.tree))
    assert not list(SHARD.root(folder).rglob("*.parquet"))
    assert len(uploads(hub)) == before
    target.publish(recorded_publication(DATASET, folder, REPO))
    assert contents(hub) == of(whole)


def test_a_freeing_is_not_finished_unless_the_hub_has_it_all(hub, api, target, folder, whole, toy_built):
    target.prepare_staging()
    stage(target, folder, sidecars_of(whole))
    kept = SHARD.path(folder, CONFIGS[1], SUBJECTS[4])
    kept.write_bytes(hub.content(REPO, CONFIGS[1].path(SUBJECTS[4]), STAGING))
    api.delete_branch(REPO, branch=STAGING, repo_type="dataset")
    with pytest.raises(Refusal, match="neither on this disk") as refusal:
        build(target, folder, toy_built.setup.tree)
    assert [finding.path for finding in refusal.value.findings] == [CONFIGS[0].path(SUBJECTS[4])]
    assert kept.exists()


@pytest.fixture
def project(hub, toy_built_copy, tmp_path, monkeypatch):
    """The project with everything made, that publishes to this Hub."""
    made = toy_built_copy.settings
    settings = Settings(raw_root=made.raw_root, data_dir=made.data_dir, workers=1, hub_target="huggingface")
    with hub.clients(tmp_path / "home"):
        monkeypatch.setenv("HF_TOKEN", SECRET)
        yield Project(settings, toy_built_copy.instance, TOY)


def test_the_run_config_says_what_is_taken_over_and_the_job_gives_it_back(hub, project):
    head = hub.put_commit(REPO, PEERS)
    theirs = contents(hub)

    def publish(**config):
        config = {"ops": {"hub_dataset": {"config": {"allow_synthetic": True, **config}}}}
        return project.materialize("hub_dataset", checks=False, run_config=config)

    dry = publish(dry_run=True)
    (seen,) = [event for event in dry.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    shown = seen.event_specific_data.asset_observation.metadata["in the way"].value
    assert dry.success and f"`main` is at {head}, with 5 files that are not ours" in shown
    assert f"take_over: {head}" in failure(publish(), "hub_dataset")
    assert contents(hub) == theirs

    result = publish(take_over=head)
    (materialization,) = result.asset_materializations_for_node("hub_dataset")
    assert materialization.metadata["taken over"].value == BACKUP_TAG
    assert "README.md" in contents(hub) and "data/metadata.jsonl" not in contents(hub)

    job = project.defs.resolve_job_def("rollback")
    config = {"ops": {"restore_revision": {"config": {"to": BACKUP_TAG}}}}
    assert job.execute_in_process(instance=project.instance, run_config=config).success
    assert contents(hub) == theirs


def test_a_dry_run_needs_neither_repo_nor_hub(hub, target, whole, folder, monkeypatch):
    assert target.in_the_way(whole) == []
    without_repo = rehearse(target, whole, folder)
    assert without_repo.changes and without_repo.changes.added == whole.files and without_repo.to_send == whole.size
    gone = replace(target, endpoint="http://127.0.0.1:9")
    told = dict(rehearse(gone, whole, folder).rows())
    assert told["compared"].startswith("no, the Hub at 127.0.0.1:9 gives no answer: ")
    assert told["files"] == f"at most all {len(whole.files)} are sent"
    monkeypatch.delenv("HF_TOKEN")
    unseen = rehearse(target, whole, folder)
    assert unseen.changes is None or unseen.changes.added == whole.files
    assert REPO not in hub.store.repos


def test_a_dry_run_counts_what_the_hub_does_not_hold(hub, api, target, whole, folder):
    target.publish(whole)
    there, moves = rehearse(target, whole, folder), len(hub.ref_moves(REPO))
    assert (there.to_send, bool(there.changes), dict(there.rows())["target"]) == (0, False, target.page)
    path = SHARD.configs[0].path(SUBJECTS[0])
    api.delete_file(path, REPO, repo_type="dataset")
    changes = rehearse(target, whole, folder).changes
    assert changes and [file.path for file in changes.added] == [path]
    assert len(hub.ref_moves(REPO)) == moves + 1


def test_shards_are_staged_in_a_repo_that_is_taken_over_only_if_that_is_said(hub, project):
    head = hub.put_commit(REPO, PEERS)

    def free(**config):
        config = {"ops": {"subject_shard": {"config": {"free_disk": True, "allow_synthetic": True, **config}}}}
        return project.materialize("subject_shard", partitions=SUBJECTS, run_config=config)

    assert f"take_over: {head}" in failure(free(), "subject_shard")
    assert free(take_over=head).success
    assert hub.head(REPO, STAGING) != head == hub.head(REPO)
    config = {"ops": {"hub_dataset": {"config": {"allow_synthetic": True, "take_over": head}}}}
    assert project.materialize("hub_dataset", checks=False, run_config=config).success
    assert hub.ref_moves(REPO)[-1].ref == f"refs/heads/{STAGING}" and hub.ref_moves(REPO)[-1].new is None
