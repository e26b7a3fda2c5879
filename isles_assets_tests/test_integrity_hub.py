"""What is published is what was recorded, by computation: bits turned over before, while and after it is published."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from huggingface_hub import HfApi

from isles_assets.hub import verification
from isles_assets.hub.huggingface import STAGING, HuggingFaceHub
from isles_assets.hub.local import LocalHub
from isles_assets.hub.sending import DigestingFile
from isles_assets.hub.staging import stage_and_free
from isles_assets.hub.verification import loads, remote_matches_local, subjects_to_read
from isles_assets.lib.files import sha256_of, status_of
from isles_assets.lib.findings import InOrder, Materialize, Refusal
from isles_assets.lib.progress import readable_bytes
from isles_assets.products.config import METADATA
from isles_assets.products.product import PublicationFile
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.hub_server import HubServer, Token, cut_request_body, damage
from isles_assets_tests.isles24 import ISLES24
from isles_assets_tests.materials import volume, write_volume
from isles_assets_tests.project import MEMORY, Project, failure, flip
from isles_assets_tests.project import replace as overwrite
from isles_assets_tests.toy import DATASET, PERFUSION, SHARD, TOY, folder_at

REPO = TOY.repo
SECRET = "hf_SecretThatMustNotShow"
SUBJECT, OTHER = TOY.subjects[1], TOY.subjects[2]
PATH, OTHER_PATH = (SHARD.configs[0].path(subject) for subject in (SUBJECT, OTHER))


def file_at(publication: Publication, path: str) -> PublicationFile:
    return next(file for file in publication.files if file.path == path)


def place_of(publication: Publication, path: str) -> Path:
    content = file_at(publication, path).content
    assert isinstance(content, Path)
    return content


@pytest.fixture
def folder(toy_built, tmp_path) -> DataFolder:
    """A copy of all that is made of the toy release, with no links to anything."""
    shutil.copytree(toy_built.folder.root, tmp_path / "data", symlinks=True, copy_function=shutil.copyfile)
    return folder_at(tmp_path / "data")


@pytest.fixture
def noted(folder) -> Callable[[], Publication]:
    """The publication of what is in the folder, noted as it is now."""
    whole = recorded_publication(DATASET, folder, REPO)

    def as_now(file: PublicationFile) -> PublicationFile:
        return replace(file, noted=status_of(file.content)) if isinstance(file.content, Path) else file

    return lambda: replace(whole, files=tuple(as_now(file) for file in whole.files))


@pytest.fixture
def publication(noted):
    return noted()


@pytest.fixture
def local(tmp_path):
    return LocalHub(tmp_path / "hub", REPO)


@pytest.fixture(params=["LFS", "LFS in parts", "LFS, a Hub that believes", "Xet"])
def hub(request, tmp_path, monkeypatch):
    parts = {"multipart_above": 1000, "part_size": 700} if request.param == "LFS in parts" else {}
    server = HubServer(
        tmp_path / "hub server",
        tokens={SECRET: Token("ada", orgs={"toys": "write"})},
        believes=request.param == "LFS, a Hub that believes",
        xet=request.param == "Xet",
        **parts,
    )
    with server, server.clients(tmp_path / "home"):
        monkeypatch.setenv("HF_TOKEN", SECRET)
        yield server


by_lfs = pytest.mark.parametrize("hub", ["LFS"], indirect=True)
both_ways = pytest.mark.parametrize("hub", ["LFS", "Xet"], indirect=True)


@pytest.fixture
def target(hub):
    return HuggingFaceHub(REPO, DATASET, endpoint=hub.endpoint)


def way_back(publication: Publication) -> InOrder:
    return InOrder((Materialize(("subject_shard",), SUBJECT), Materialize(("hub_dataset",))))


def test_a_shard_that_is_not_what_was_recorded_is_not_committed(hub, target, publication):
    flip(place_of(publication, PATH))
    with pytest.raises(Refusal) as refusal:
        target.publish(publication)
    (finding,) = refusal.value.findings
    assert (finding.path, finding.problem) == (PATH, "has other bytes than were recorded")
    assert finding.mend == way_back(publication)
    assert list(hub.files(REPO)) == [".gitattributes"]


def test_a_shard_of_another_size_is_not_sent(hub, target, publication):
    with place_of(publication, PATH).open("ab") as file:
        file.write(b"x")
    with pytest.raises(Refusal, match="has other bytes than were recorded"):
        target.publish(publication)
    assert list(hub.files(REPO)) == [".gitattributes"]


def test_sound_shards_are_published_with_the_digests_that_were_computed(hub, target, publication):
    target.publish(publication)
    assert {path: file[1] for path, file in hub.files(REPO).items() if path != ".gitattributes"} == {
        file.path: file.sha256 for file in publication.files
    }


def test_a_small_shard_that_goes_with_the_commit_is_looked_at_as_well(hub, target, publication):
    hub.put_commit(REPO, {".gitattributes": b""})
    flip(place_of(publication, PATH))
    with pytest.raises(Refusal, match="has other bytes than were recorded"):
        target.publish(publication)
    assert list(hub.files(REPO)) == [".gitattributes"]


def test_nothing_is_freed_of_which_other_bytes_were_sent(hub, target, publication, folder):
    flip(place_of(publication, PATH))
    target.prepare_staging()
    with pytest.raises(Refusal, match="nothing was freed") as refusal:
        stage_and_free(target, SHARD, folder, lambda sidecar: [], publication.sidecars)
    assert [finding.path for finding in refusal.value.findings] == [PATH]
    assert all(
        place_of(publication, file.path).exists() for file in publication.files if isinstance(file.content, Path)
    )
    assert list(hub.files(REPO, STAGING)) == [".gitattributes"]


@by_lfs
def test_what_is_sent_again_after_a_break_is_digested_again(hub, target, publication):
    broken = hub.fail(method="PUT", how=cut_request_body(500), times=2)
    assert target.publish(publication).changed
    assert broken.hits == 2


@both_ways
def test_nothing_is_freed_that_does_not_come_back(hub, target, publication, folder):
    """A store that spoils what it has taken."""
    hub.fail(path="/transfer/|/v2/shards", how=damage(100), times=100)
    target.prepare_staging()
    with pytest.raises(Refusal, match="comes back from the Hub with other bytes than it states"):
        stage_and_free(target, SHARD, folder, lambda sidecar: [], publication.sidecars)
    assert all(
        place_of(publication, file.path).exists() for file in publication.files if isinstance(file.content, Path)
    )


@both_ways
def test_what_was_staged_before_is_read_back_before_it_is_freed(hub, target, publication, folder):
    target.prepare_staging()
    target.stage([file for file in publication.files if isinstance(file.content, Path)])
    hub.damage(REPO, publication.files[0].path, revision=STAGING, at=100)
    with pytest.raises(Refusal, match="comes back from the Hub"):
        stage_and_free(target, SHARD, folder, lambda sidecar: [], publication.sidecars)
    assert place_of(publication, publication.files[0].path).exists()


def test_a_file_is_digested_as_it_is_read_also_again_from_where_reading_began(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(200)) * 10)
    with DigestingFile(path) as file:
        assert file.seek(0, os.SEEK_END) == 2000 and file.sha256 is None
        for start in (0, 700, 700, 1400, 700, 1400, 0, 700, 1400):
            file.seek(start)
            file.read(700)
        assert file.sha256 == sha256_of(path)
        file.seek(0)
        assert file.read() == path.read_bytes() and file.sha256 == sha256_of(path)
        file.seek(5)
        with pytest.raises(OSError, match="byte 5"):
            file.read(1)


@both_ways
def test_a_blob_that_the_store_damaged_is_found_where_it_is_read_back(hub, target, publication):
    target.publish(publication)
    hub.damage(REPO, PATH, at=100)
    said = []
    assert remote_matches_local(target, publication, subjects=[OTHER], log=said.append) == []
    assert said[-1].startswith(
        f"{len(publication.files)} files compared with what the Hub states; {3 + len(METADATA)}, "
    )
    assert said[-1].endswith(f"read back; digest {publication.digest}")
    (finding,) = remote_matches_local(target, publication, subjects=TOY.subjects)
    assert finding.path == PATH and "its store has damaged them" in finding.problem
    assert "delete the file's object for good" in str(finding.mend)


@pytest.mark.parametrize("hub", ["Xet"], indirect=True)
def test_a_release_goes_and_comes_by_xet(hub, target, publication):
    target.publish(publication)
    assert remote_matches_local(target, publication, subjects=TOY.subjects) == []
    paths = [record.path for record in hub.requests]
    assert "/v2/shards" in paths and not any("/transfer/" in path for path in paths)
    assert any(path.startswith("/xet-store/uploads/") for path in paths)
    assert any(path.startswith(("/xet-store/objects/", "/xet-store/xorbs/")) for path in paths)


@by_lfs
def test_publishing_mends_a_damaged_blob_only_once_its_object_is_gone(hub, target, publication):
    """As the finding says it."""
    target.publish(publication)
    hub.damage(REPO, PATH, at=100)
    assert not target.publish(publication).changed
    hub.put_commit(REPO, {PATH: None})
    assert target.publish(publication).changed
    assert remote_matches_local(target, publication, subjects=[SUBJECT])

    api = HfApi(endpoint=hub.endpoint)
    wanted = file_at(publication, PATH).sha256
    objects = [file for file in api.list_lfs_files(REPO, repo_type="dataset") if file.file_oid == wanted]
    api.permanently_delete_lfs_files(REPO, objects, repo_type="dataset")
    assert target.publish(publication).changed
    assert remote_matches_local(target, publication, subjects=TOY.subjects) == []


@both_ways
def test_a_check_is_of_the_revision_that_it_found(hub, target, publication):
    target.publish(publication)
    pinned = target.pinned()
    hub.put_commit(REPO, {PATH: None})
    assert remote_matches_local(pinned, publication, subjects=[SUBJECT]) == []
    assert len(remote_matches_local(target.pinned(), publication)) == 1


@pytest.mark.parametrize("spoil", [flip, lambda path: path.write_bytes(b"x" * path.stat().st_size)])
def test_a_shard_that_changed_since_it_was_noted_is_not_published(local, publication, spoil):
    before = local.publish(replace(publication, files=publication.files[:2]))
    spoil(place_of(publication, PATH))
    with pytest.raises(Refusal, match="is not what was recorded") as refusal:
        local.publish(publication)
    (finding,) = refusal.value.findings
    assert finding.path == PATH and finding.mend == way_back(publication)
    assert local.folder.resolve().name == before.revision
    assert len(list(local.folder.resolve().parent.iterdir())) == 1


@pytest.mark.skipif(MEMORY is None, reason="there is no second file system")
def test_a_shard_that_is_copied_is_read(noted):
    """Its disk has lost a bit, of which no time tells."""
    publication = noted()
    flip(place_of(publication, PATH))
    publication = noted()
    root = Path(str(MEMORY), f"isles-assets-{os.getpid()}")
    try:
        with pytest.raises(Refusal, match="is not what was recorded"):
            LocalHub(root, REPO).publish(publication)
        assert not LocalHub(root, REPO).folder.exists()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def test_a_bit_that_flips_in_what_is_published_is_found(local, noted):
    local.publish(noted())
    publication = noted()
    assert not local.publish(publication).changed
    published = local.folder / PATH
    assert published.samefile(place_of(publication, PATH))
    flip(published)
    said = []
    (finding,) = remote_matches_local(local, publication, log=said.append)
    assert (finding.path, finding.mend) == (PATH, way_back(publication))
    assert finding.problem == "has other bytes than were recorded, and so has the local one"
    assert said[-1].startswith(f"{len(publication.files)} files, ")
    with pytest.raises(Refusal, match="is not what was recorded"):
        local.publish(publication)


def test_verifying_finds_a_bit_of_which_no_time_tells(local, noted):
    local.publish(noted())
    flip(local.folder / PATH)
    assert [finding.path for finding in remote_matches_local(local, noted())] == [PATH]


@pytest.mark.parametrize(
    ("read_back", "after", "expected"),
    [("first", 0, "1"), (1, 0, "1"), ("2", 0, "12"), (3, 4, "561"), (99, 5, "612345"), ("all", 0, "123456")],
)
def test_subjects_are_chosen_to_be_read_back(read_back, after, expected):
    assert subjects_to_read("123456", read_back, after) == tuple(expected)


@pytest.mark.parametrize("read_back", ["", "none", 0, -1, "1.5", True, None, "²"])
def test_what_says_no_subjects_is_refused(read_back):
    with pytest.raises(Refusal, match=r"read_back: is .* say first, all, or how many subjects, from 1"):
        subjects_to_read(TOY.subjects, read_back)


def verify(project: Project, read: dict[str, Any] | None = None) -> tuple[dg.ExecuteInProcessResult, list[str]]:
    """The result of the job `verify`, and what its log says."""
    job = project.defs.resolve_job_def("verify")
    config = {"ops": {"hub_dataset_remote_matches_local": {"config": read}}} if read else None
    result = job.execute_in_process(instance=project.instance, run_config=config, raise_on_error=False)
    return result, [entry.user_message for entry in project.instance.all_logs(result.run_id)]


def test_verify_says_what_it_looked_at(toy_built_copy):
    publication = recorded_publication(DATASET, toy_built_copy.folder, REPO)
    result, said = verify(toy_built_copy)
    looked_at = f"{len(publication.files)} files, {readable_bytes(publication.size)}, read; digest {publication.digest}"
    assert result.success and looked_at in said
    evaluations = {each.check_name: each for each in result.get_asset_check_evaluations()}
    assert evaluations["remote_matches_local"].description == looked_at
    assert [words for words in said if "checks passed" in words] == ["3 of 3 checks passed"]
    assert "The first row of each config is decoded" in said

    published = Path(toy_built_copy.setup.target().location) / PATH
    content = bytearray(published.read_bytes())
    content[len(content) // 2] ^= 1
    overwrite(published, bytes(content))
    result, said = verify(toy_built_copy)
    assert not result.success
    assert [words for words in said if "checks passed" in words] == ["2 of 3 checks passed"]


def test_read_back_is_taken_from_the_run_config(toy_built_copy):
    assert verify(toy_built_copy)[0].success
    result, said = verify(toy_built_copy, {"read_back": 2})
    assert result.success and "The first row of each config is decoded" in said
    result, said = verify(toy_built_copy, {"read_back": "some"})
    assert "read_back: is 'some'" in failure(result, "hub_dataset_remote_matches_local")


def test_the_nightly_schedule_reads_every_subject_in_a_month(toy_built_copy):
    (schedule,) = toy_built_copy.defs.schedules or ()
    seen = []
    for day in range(1, 31):
        context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 6, day, 3, tzinfo=UTC))
        (request,) = schedule.evaluate_tick(context).run_requests
        read = request.run_config["ops"]["hub_dataset_remote_matches_local"]["config"]
        seen += subjects_to_read(ISLES24.subjects, **read)
    assert len(seen) == 150 and set(seen) == set(ISLES24.subjects)
    job = toy_built_copy.defs.resolve_job_def("verify")
    assert job.execute_in_process(instance=toy_built_copy.instance, run_config=request.run_config).success


MEASURE = """
import resource, sys
from pathlib import Path
from isles_assets.hub.local import LocalHub
from isles_assets.hub.verification import loads
from isles_assets.publication.guard import recorded_publication
from isles_assets_tests.toy import DATASET, TOY, folder_at
folder = folder_at(Path(sys.argv[1]))
target, publication = LocalHub(folder.hub, TOY.repo), recorded_publication(DATASET, folder, TOY.repo)
assert loads(target, publication, decode=False) == []
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = loads(target, publication)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *found)
"""


@pytest.mark.long
def test_a_volume_that_decompresses_to_much_is_decoded_in_little_memory(toy_unbuilt, toy_tree):
    write_volume(toy_tree / PERFUSION.path(TOY.subjects[0]), volume(np.zeros((128, 128, 64, 40), np.float32)))
    toy_unbuilt.make()
    command = [sys.executable, "-c", MEASURE, str(toy_unbuilt.folder.root)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    grown, *found = run.stdout.split()
    assert not found and int(grown) < 100_000, run.stdout  # kB, of a volume of 168 MB


def test_the_last_voxel_of_a_large_volume_is_looked_at(toy_built_copy, monkeypatch):
    """As of one too large for the library."""
    monkeypatch.setattr(verification, "_LARGEST_FOR_LIBRARY", 0)
    publication, target = recorded_publication(DATASET, toy_built_copy.folder, REPO), toy_built_copy.setup.target()
    assert loads(target, publication) == []
    published = Path(target.location) / SHARD.configs[1].path(TOY.subjects[0])
    stored = (toy_built_copy.setup.tree / PERFUSION.path(TOY.subjects[0])).read_bytes()
    content = published.read_bytes()
    assert stored in content
    overwrite(published, content.replace(stored, stored[:-8] + bytes(8)))
    (finding,) = loads(target, publication)
    assert "does not load: perfusion: NiftiError" in finding.problem


@pytest.mark.long
def test_publishing_notes_that_shards_got_a_link_and_a_bit_that_flips_in_one_is_found(toy_unbuilt):
    """Or each publication would read all shards again."""
    toy_unbuilt.make()
    publication = recorded_publication(DATASET, toy_unbuilt.folder, REPO)
    assert all(status_of(f.content) == f.noted for f in publication.files if isinstance(f.content, Path))
    flip(Path(toy_unbuilt.setup.target().location) / PATH)
    result, said = verify(toy_unbuilt)
    assert not result.success and any(SUBJECT in words and "subject_shard" in words for words in said)
    result = toy_unbuilt.materialize("hub_dataset")
    assert SUBJECT in failure(result, "hub_dataset")
    assert toy_unbuilt.materialize("subject_shard", partitions=[SUBJECT]).success
    assert toy_unbuilt.materialize("hub_dataset").success
    assert verify(toy_unbuilt)[0].success
