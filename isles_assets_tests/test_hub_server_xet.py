"""Xet storage of the tests' Hub: hf_xet itself uploads to it and reads from it, and meets its faults."""

import random
from collections import Counter
from pathlib import Path

import httpx2
import numpy as np
import pytest
from hf_xet import XetFileInfo
from huggingface_hub import CommitOperationAdd, HfApi, HfFileSystem
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._xet import get_xet_session

from isles_assets_tests.hub_server import (
    HubServer,
    Token,
    cut_request_body,
    cut_response,
    damage,
    damage_response,
    delay,
    hold,
    lose_response,
    status,
)
from isles_assets_tests.hub_server.clients import printed, script

REPO = "lab/data"
TOKENS = {
    "writer": Token("ada", orgs={"lab": "write"}),
    "reader": Token("ada", role="read", orgs={"lab": "write"}),
    "stranger": Token("eve"),
}
PATH = "data.bin"
BYTES = random.Random(0).randbytes(300_000)  # some chunks that cannot be compressed
UPLOAD = ("/xet-write-token/", "/v1/xorb-grants/", "/v1/xorb-commits/", "/v2/shards")


@pytest.fixture(params=[False], ids=["verifies"])
def hub(request, tmp_path):
    server = HubServer(tmp_path / "hub", TOKENS, xet=True, believes=request.param)
    with server, server.clients(tmp_path / "home"):
        HfApi(endpoint=server.endpoint, token="writer").create_repo(REPO, repo_type="dataset", private=True)
        yield server


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint, token="writer")


@pytest.fixture
def file(tmp_path):
    """A file of `BYTES`: hf_xet is asked for paths only."""
    path = tmp_path / "file"
    path.write_bytes(BYTES)
    return path


@pytest.fixture
def published(api, file):
    return commit(api, file)


def commit(api, file, path=PATH):
    return api.create_commit(
        REPO, [CommitOperationAdd(path, str(file))], commit_message="a commit", repo_type="dataset"
    )


def download(api, path=PATH):
    return Path(api.hf_hub_download(REPO, path, repo_type="dataset")).read_bytes()


def asked(hub, part):
    return [record for record in hub.requests if part in record.path]


DOWNLOAD = f"""
import hashlib, sys
from huggingface_hub import hf_hub_download
for name in sys.argv[1:]:
    with open(hf_hub_download("{REPO}", name, repo_type="dataset"), "rb") as file:
        print(hashlib.file_digest(file, "sha256").hexdigest())
"""


def test_a_folder_goes_up_once_for_all_that_repeats_in_it_and_comes_back_in_another_process(hub, api, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    random_bytes = random.Random(1).randbytes(4_000_000)
    contents = {
        "repeats.bin": (random_bytes + bytes(7_000_000)) * 6,  # 66 MB
        "text.bin": b"".join(b"line %d\n" % n for n in range(200_000)),
        "floats.npy": np.cumsum(np.ones(300_001, np.float32)).tobytes()[:-1],  # of which four bytes are a number
        "tiny.npy": b"x",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    api.upload_folder(repo_id=REPO, repo_type="dataset", folder_path=folder)
    assert {name: hub.content(REPO, name) for name in contents} == contents
    assert sum(record.bytes_in for record in asked(hub, "/xet-store/uploads/")) < 6_000_000
    assert Counter(record.status for record in asked(hub, "/v1/xorb-grants/")) == {201: 1}

    known = [hub.files(REPO)[name][1] for name in contents]
    assert printed(script(hub, tmp_path / "other home", DOWNLOAD, *contents)) == known
    assert asked(hub, "/v2/reconstructions/") and asked(hub, "/xet-store/xorbs/")
    assert not asked(hub, "/xet-store/objects/")
    assert {record.token for record in asked(hub, "/xet-store/")} == {None}


def test_what_was_sent_is_not_sent_again(hub, api, published, file):
    file.write_bytes(BYTES + b"more")
    before = sum(record.bytes_in for record in asked(hub, "/xet-store/uploads/"))
    commit(api, file)
    assert sum(record.bytes_in for record in asked(hub, "/xet-store/uploads/")) - before < len(BYTES)
    assert download(api) == BYTES + b"more"


@pytest.mark.long
@pytest.mark.parametrize(("start", "end"), [(0, 1), (140_000, 141_000), (1, 299_999), (299_999, None)])
def test_ranges_are_made_of_the_chunks_that_hold_them(hub, api, published, start, end):
    (described,) = api.get_paths_info(REPO, [PATH], repo_type="dataset")
    group = get_xet_session().new_download_stream_group(
        token_refresh_url=f"{hub.endpoint}/api/datasets/{REPO}/xet-read-token/main",
        token_refresh_headers={"Authorization": "Bearer writer"},
    )
    with group:
        stream = group.download_stream(XetFileInfo(described.xet_hash, described.size), start=start, end=end)
        assert b"".join(stream) == BYTES[start:end]
    assert sum(record.bytes_out for record in asked(hub, "/xet-store/xorbs/")) < (end or 300_000) - start + 2 * 131_072


@pytest.mark.long
def test_ranges_are_read_behind_a_redirect_that_carries_the_right_to_read(hub, api, published):
    system = HfFileSystem(endpoint=hub.endpoint, token="writer", skip_instance_cache=True)
    with system.open(f"datasets/{REPO}/{PATH}", "rb", block_size=1000) as remote:
        remote.seek(200_000)
        assert remote.read(100) == BYTES[200_000:200_100]
    (record,) = asked(hub, "/xet-store/objects/")
    assert (record.token, record.status) == (None, 206) and record.bytes_out < 2000
    store = hub.store_address(record.path)
    assert httpx2.get(f"{store}?{record.query}").content == BYTES
    assert httpx2.get(store).status_code == 403
    assert httpx2.get(f"{store}?{record.query}", headers={"Authorization": "Bearer writer"}).status_code == 400


@pytest.mark.long
def test_a_file_is_described_with_its_hash(hub, api, published):
    (described,) = api.get_paths_info(REPO, [PATH], repo_type="dataset")
    head = httpx2.head(
        f"{hub.endpoint}/datasets/{REPO}/resolve/main/{PATH}", headers={"Authorization": "Bearer writer"}
    )
    assert described.xet_hash == head.headers["X-Xet-Hash"] and head.status_code == 302


UPLOADS = f"""
import sys
from huggingface_hub import CommitOperationAdd, HfApi
operation = CommitOperationAdd(sys.argv[1], sys.argv[2])
HfApi().create_commit("{REPO}", [operation], commit_message="one of several", repo_type="dataset")
"""


@pytest.mark.long
def test_processes_may_upload_at_once(hub, tmp_path, file):
    held = hub.fail(path="/v2/shards", how=hold(), times=3)
    files = {f"{n}.bin": BYTES + bytes([n]) * 100_000 for n in range(3)}
    processes = []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        processes.append(script(hub, tmp_path / f"home of {name}", UPLOADS, name, tmp_path / name))
    held.wait(3)
    held.release()
    for process in processes:
        printed(process)
    assert {name: hub.content(REPO, name) for name in files} == files


@pytest.mark.long
def test_killed_in_an_upload_nothing_of_it_is_there_and_the_next_goes_through(hub, tmp_path, file):
    moment = hub.fail(path="/xet-store/uploads/", how=hold(1000))
    process = script(hub, tmp_path / "home", UPLOADS, PATH, file)
    moment.wait()
    process.kill()
    process.communicate()
    moment.release()
    hub.quiet()
    assert hub.stored_bytes() == 0 and PATH not in hub.files(REPO)
    printed(script(hub, tmp_path / "home", UPLOADS, PATH, file))
    assert hub.content(REPO, PATH) == BYTES


# Rights


def test_an_access_token_is_for_one_repository_and_for_reading_or_writing(hub, api, published):
    def token(name, right="read", repo=REPO):
        answer = httpx2.get(
            f"{hub.endpoint}/api/datasets/{repo}/xet-{right}-token/main", headers={"Authorization": f"Bearer {name}"}
        )
        return answer.status_code, answer.headers.get("X-Xet-Access-Token")

    def status_of(access, method, path):
        url = f"{hub.endpoint}{path}"
        return httpx2.request(method, url, headers={"Authorization": f"Bearer {access}"}).status_code

    assert [token("reader", "write")[0], token("stranger", "read")[0]] == [403, 404]
    api.create_repo("lab/other", repo_type="dataset")
    (described,) = api.get_paths_info(REPO, [PATH], repo_type="dataset")
    file = f"/v2/reconstructions/{described.xet_hash}"
    _, access = token("reader")
    assert [status_of(access, "GET", file), status_of(access, "POST", "/v2/shards")] == [200, 403]
    assert status_of(token("writer", repo="lab/other")[1], "GET", file) == 404
    assert status_of("writer", "GET", file) == 401
    hub.cas.grants[access] = hub.cas.grants[access]._replace(expires=0)
    assert status_of(access, "GET", file) == 401


@pytest.mark.parametrize(("hub", "accepted"), [(False, False), (True, True)], indirect=["hub"])
def test_content_is_verified_unless_the_hub_believes(hub, api, file, accepted):
    operation = CommitOperationAdd(PATH, str(file))
    operation.upload_info.sha256 = bytes(32)  # known before, as the client thinks
    arguments = {"commit_message": "a commit", "repo_type": "dataset"}
    if accepted:
        api.create_commit(REPO, [operation], **arguments)
        assert hub.files(REPO)[PATH] == (len(BYTES), bytes(32).hex())
    else:
        with pytest.raises(ConnectionError, match=r"400 Bad Request.*/v2/shards"):
            api.create_commit(REPO, [operation], **arguments)
        assert PATH not in hub.files(REPO) and hub.stored_bytes() == 0


# What goes wrong in an upload


@pytest.mark.long
@pytest.mark.parametrize("path", UPLOAD)
@pytest.mark.parametrize("code", [401, 403])
def test_a_denial_is_raised_at_once_with_its_status_and_address_and_no_words(hub, api, file, path, code):
    fault = hub.fail(path=path, how=status(code, message="the storage of lab is used up"), times=99)
    with pytest.raises(ConnectionError, match=rf"Network error: .*\({code} .*{path}") as raised:
        commit(api, file)
    assert fault.hits == 1 and "used up" not in str(raised.value)
    assert PATH not in hub.files(REPO)


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "said"), [(429, "Rate limited: .*429"), (503, "Server error: .*503"), (507, "Server error: .*507")]
)
def test_what_may_pass_is_tried_six_times(hub, api, file, code, said):
    fault = hub.fail(path="/v2/shards", how=status(code, {"Retry-After": "20"}), times=99)
    with pytest.raises(ConnectionError, match=said):
        commit(api, file)
    assert fault.hits == 6


@pytest.mark.long
@pytest.mark.parametrize(
    "how",
    [
        status(429, {"Retry-After": "20"}),  # which hf_xet does not heed
        status(503),
        cut_request_body(50),
        lose_response(),
        lose_response(reset=True),
        delay(0.2),
    ],
    ids=lambda how: type(how).__name__,
)
@pytest.mark.parametrize("path", [*UPLOAD, "/xet-store/uploads/"])
def test_a_fault_that_passes_is_got_over(hub, api, file, path, how):
    fault = hub.fail(path=path, how=how)
    commit(api, file)
    assert fault.hits == 1 and hub.content(REPO, PATH) == BYTES


def test_where_the_store_denies_the_xorb_goes_to_the_storage_itself(hub, api, file):
    fault = hub.fail(path="/xet-store/uploads/", how=status(403), times=99)
    commit(api, file)
    assert fault.hits == 3 and hub.content(REPO, PATH) == BYTES
    assert [record.status for record in asked(hub, "/v1/xorbs/")] == [200]


@pytest.mark.long
def test_a_storage_without_grants_takes_xorbs_itself_or_denies_them(hub, api, file):
    hub.fail(path="/v1/xorb-grants/", how=status(404), times=99)
    denial = hub.fail(path="/v1/xorbs/", how=status(403))
    with pytest.raises(ConnectionError, match=r"403 Forbidden.*/v1/xorbs/"):
        commit(api, file)
    commit(api, file)
    assert denial.hits == 1 and hub.content(REPO, PATH) == BYTES


# What goes wrong in a download


@pytest.mark.parametrize(("path", "tries"), [("/v2/reconstructions/", 1), ("/xet-store/xorbs/", 6)])
def test_a_denial_to_a_reader_is_raised_with_its_status_and_address(hub, api, published, path, tries):
    fault = hub.fail(path=path, how=status(403, message="not for you"), times=99)
    with pytest.raises(RuntimeError, match=rf"File reconstruction error: .*403 Forbidden.*{path}"):
        download(api)
    assert fault.hits == tries


@pytest.mark.long
def test_a_denial_of_the_token_to_read_has_the_words_of_the_hub(hub, api, published):
    hub.fail(path="/xet-read-token/", how=status(403, message="not for you"), times=99)
    with pytest.raises(HfHubHTTPError, match="not for you"):
        download(api)


@pytest.mark.long
@pytest.mark.parametrize(
    "how", [status(503), status(429), cut_response(1000), damage_response(0)], ids=lambda how: type(how).__name__
)
@pytest.mark.parametrize("path", ["/v2/reconstructions/", "/xet-store/xorbs/"])
def test_a_reader_tries_again(hub, api, published, path, how):
    fault = hub.fail(path=path, how=how)
    assert download(api) == BYTES
    assert fault.hits == 1


def differences(content, other):
    return [at for at, (byte, wanted) in enumerate(zip(content, other, strict=True)) if byte != wanted]


def test_damage_in_storage_reaches_whoever_reads(hub, api, published):
    hub.damage(REPO, PATH, at=200_000)
    assert differences(download(api), BYTES) == differences(hub.content(REPO, PATH), BYTES) == [200_000]


@pytest.mark.long
def test_a_store_may_damage_what_it_has_just_taken_compressed_or_not(hub, api, file):
    file.write_bytes(b"".join(b"line %d\n" % n for n in range(50_000)))
    hub.fail(path="/v2/shards", how=damage(300_000))
    commit(api, file)
    assert differences(download(api), file.read_bytes()) == [300_000]


@pytest.mark.long
def test_a_damaged_chunk_is_damaged_wherever_it_is_used(hub, api, file):
    file.write_bytes(bytes(1_000_000))
    commit(api, file)
    hub.damage(REPO, PATH)
    found = differences(download(api), file.read_bytes())
    assert len(found) > 1 and found == differences(hub.content(REPO, PATH), file.read_bytes())
