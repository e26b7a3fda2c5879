"""The Hub server of these tests is a Hub to the clients: what they ask it, and what they make of its faults.

What the other tests lean on is tested each time, the rest in the long tests.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    DatasetCard,
    HfApi,
    HfFileSystem,
    file_download,
)
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import _http

from isles_assets_tests.hub_server import (
    HubServer,
    Token,
    cut_request_body,
    cut_response,
    damage,
    delay,
    expire_token,
    hold,
    lose_response,
    status,
)
from isles_assets_tests.hub_server.clients import printed, script
from isles_assets_tests.processes import END_AT_ONCE, LONG

REPO = "lab/data"
TOKENS = {
    "writer": Token("ada", orgs={"lab": "write"}),
    "reader": Token("ada", role="read", orgs={"lab": "write"}),
    "member": Token("bob", orgs={"lab": "read"}),
    "stranger": Token("eve"),
    "narrow": Token("ada", role="fineGrained", scopes={REPO: ["repo.content.read", "repo.write"]}),
    "old": Token("ada", orgs={"lab": "write"}, expired=True),
}
SHARD = "data/train-00000-of-00001.parquet"
BYTES = bytes(range(256)) * 4096  # a megabyte


pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")  # the client's own


@pytest.fixture
def hub(tmp_path):
    tokens = {name: Token(**vars(token)) for name, token in TOKENS.items()}
    with HubServer(tmp_path / "hub", tokens) as server, server.clients(tmp_path / "home"):
        yield server


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint, token="writer")


@pytest.fixture
def repo(hub):
    """A dataset that has a card; its commit."""
    return hub.put_commit(REPO, {"README.md": b"---\nlicense: mit\n---\n# Data\n"})


@pytest.fixture
def waits(monkeypatch):
    """How long the client would have waited before each retry."""
    waited = []
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waited.append))
    return waited


def add(content=BYTES, path=SHARD):
    return CommitOperationAdd(path, content)


def commit(api, operations, **kwargs):
    return api.create_commit(REPO, operations, commit_message="a commit", repo_type="dataset", **kwargs)


def preupload(api, *additions):
    api.preupload_lfs_files(REPO, additions, repo_type="dataset")


def download(api, **kwargs):
    return Path(api.hf_hub_download(REPO, SHARD, repo_type="dataset", **kwargs)).read_bytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def asked(hub, method, part):
    return [record for record in hub.requests if record.method == method and part in record.path]


def result(process):
    """What a process has printed last, as JSON."""
    return json.loads(printed(process)[-1])


def sent(hub):
    """The bytes of large files that clients have sent."""
    return sum(record.bytes_in for record in asked(hub, "PUT", "/transfer/"))


# The sequence of a publication


def test_a_repository_is_created_once_and_described(hub, api):
    assert api.whoami()["orgs"][0]["roleInOrg"] == "write"
    for _ in range(2):
        url = api.create_repo(REPO, repo_type="dataset", private=True, exist_ok=True)
    assert url.repo_id == REPO
    info = api.dataset_info(REPO, files_metadata=True)
    assert info.private and info.sha == hub.head(REPO)
    assert [sibling.rfilename for sibling in info.siblings] == [".gitattributes"]
    with pytest.raises(HfHubHTTPError, match="already created"):
        api.create_repo(REPO, repo_type="dataset")
    api.delete_repo(REPO, repo_type="dataset")
    assert not api.repo_exists(REPO, repo_type="dataset")


def test_first_publish_asks_exactly_this(hub, api, tmp_path):
    api.create_repo(REPO, repo_type="dataset")
    base = api.repo_info(REPO, repo_type="dataset").sha
    files = {f"data/train-{n:05}-of-00003.parquet": bytes([n]) * 1000 for n in range(3)}
    for path, content in files.items():
        (tmp_path / path.split("/")[1]).write_bytes(content)
    additions = [CommitOperationAdd(path, tmp_path / path.split("/")[1]) for path in files]
    preupload(api, *additions)
    card = CommitOperationAdd("README.md", b"---\nlicense: mit\n---\n")
    made = commit(api, [*additions, card], parent_commit=base)
    assert [f"{record.method} {record.path.split('/')[-1][:12]}" for record in hub.requests[:4]] == [
        "POST create",
        "GET data",
        "POST main",
        "POST batch",
    ]
    assert sorted(f"{r.method} {r.path.split('/')[1]}" for r in hub.requests[4:10]) == 3 * ["POST datasets"] + 3 * [
        "PUT transfer"
    ]
    assert [record.path.rsplit("/", 2)[-2] for record in hub.requests[10:]] == ["api", "preupload", "commit"]
    assert sent(hub) == 3000
    assert hub.stored_bytes() == 3000
    assert made.oid == hub.head(REPO)
    assert [move.new for move in hub.ref_moves(REPO)] == [base, made.oid]
    remote = {
        entry.path: (entry.lfs.size, entry.lfs.sha256)
        for entry in api.list_repo_tree(REPO, recursive=True, revision=made.oid, repo_type="dataset")
        if getattr(entry, "lfs", None)
    }
    assert remote == {path: (len(content), sha256(content)) for path, content in files.items()}
    assert remote.items() <= hub.files(REPO).items()


@pytest.mark.long
def test_known_hash_is_taken_for_granted(hub, api, repo, tmp_path):
    (tmp_path / "shard").write_bytes(BYTES)
    right, wrong = (CommitOperationAdd(path, tmp_path / "shard") for path in ("right.parquet", "wrong.parquet"))
    assert not right.upload_info.is_hashed
    right.upload_info.sha256 = hashlib.sha256(BYTES).digest()
    preupload(api, right)
    wrong.upload_info.sha256 = hashlib.sha256(b"something else").digest()
    with pytest.raises(RuntimeError, match=r"wrong\.parquet") as error:
        preupload(api, wrong)
    assert isinstance(error.value.__cause__, BadRequestError)
    assert "BadDigest" in str(error.value.__cause__)
    assert hub.stored_bytes() == len(BYTES)


@pytest.mark.long
def test_large_files_go_in_parts(hub, api, repo, tmp_path):
    hub.multipart_above, hub.part_size = 500_000, 300_000
    (tmp_path / "shard").write_bytes(BYTES)
    commit(api, [CommitOperationAdd(SHARD, tmp_path / "shard")])
    assert [record.bytes_in for record in asked(hub, "PUT", "/transfer/")] == 3 * [300_000] + [148_576]
    assert hub.files(REPO)[SHARD] == (len(BYTES), sha256(BYTES))
    assert hub.content(REPO, SHARD) == BYTES


def test_what_is_there_is_not_sent_again(hub, api, repo):
    preupload(api, add())
    preupload(api, add(), add(b"another", "data/other.parquet"))
    assert sent(hub) == len(BYTES) + 7
    commit(api, [add()])
    assert sent(hub) == len(BYTES) + 7
    moves = hub.ref_moves(REPO)
    assert commit(api, [add()]).oid == hub.head(REPO)
    assert hub.ref_moves(REPO) == moves


@pytest.mark.long
def test_large_objects_belong_to_a_repository(hub, api, repo):
    api.create_repo("ada/mine", repo_type="dataset")
    preupload(api, add())
    api.preupload_lfs_files("ada/mine", [add()], repo_type="dataset")
    assert sent(hub) == 2 * len(BYTES)


@pytest.mark.long
def test_commit_refuses_an_object_that_is_missing(hub, api, repo):
    addition = add()
    preupload(api, addition)
    hub.store.repos[REPO].objects.clear()
    with pytest.raises(BadRequestError, match="pointed to a file that does not exist"):
        commit(api, [addition])
    assert hub.head(REPO) == repo


@pytest.mark.long
def test_commit_deletes_and_is_seen_as_a_whole(hub, api, repo):
    hub.put_commit(REPO, {"data/old.parquet": b"old", "preview/a/1.parquet": b"1", "preview/b/2.parquet": b"2"})
    commit(api, [CommitOperationDelete("data/old.parquet"), CommitOperationDelete("preview/"), add()])
    assert set(hub.files(REPO)) == {".gitattributes", "README.md", SHARD}
    with pytest.raises(EntryNotFoundError, match="doesn't exist"):
        commit(api, [CommitOperationDelete("nothing.parquet"), add(b"new")])
    assert hub.files(REPO)[SHARD][0] == len(BYTES)


def test_commit_with_another_parent_is_refused(hub, api, repo):
    theirs = hub.put_commit(REPO, {"theirs.txt": b"first"})
    with pytest.raises(HfHubHTTPError, match="A commit has happened since") as error:
        commit(api, [add()], parent_commit=repo)
    assert error.value.response.status_code == 412
    assert hub.head(REPO) == theirs


def test_of_two_commits_at_once_one_is_refused(hub, api, repo):
    preupload(api, add())
    both = hub.fail(method="POST", path="/commit/", times=2, how=hold())
    with ThreadPoolExecutor(2) as pool:
        racing = [pool.submit(commit, api, [add(path=path)], parent_commit=repo) for path in ("a.bin", "b.bin")]
        both.wait(2)
        both.release()
    errors = [future.exception() for future in racing]
    assert sorted(getattr(getattr(error, "response", None), "status_code", 200) for error in errors) == [200, 412]
    assert len(hub.ref_moves(REPO)) == 3


def test_branches_copies_and_tags(hub, api, repo):
    api.create_branch(REPO, branch="staging", repo_type="dataset")
    api.create_branch(REPO, branch="staging", repo_type="dataset", exist_ok=True)
    staged = commit(api, [add()], revision="staging").oid
    before = sent(hub)
    made = commit(api, [CommitOperationCopy(SHARD, SHARD, src_revision="staging")], parent_commit=repo).oid
    assert sent(hub) == before
    assert hub.files(REPO)[SHARD] == hub.files(REPO, "staging")[SHARD]
    api.delete_branch(REPO, branch="staging", repo_type="dataset")
    api.create_tag(REPO, tag="v1", revision=made, tag_message="one", repo_type="dataset")
    with pytest.raises(HfHubHTTPError, match="exists already"):
        api.create_tag(REPO, tag="v1", repo_type="dataset")
    refs = api.list_repo_refs(REPO, repo_type="dataset")
    assert [(ref.name, ref.target_commit) for ref in [*refs.branches, *refs.tags]] == [("main", made), ("v1", made)]
    assert api.dataset_info(REPO, revision="v1").sha == made
    api.delete_tag(REPO, tag="v1", repo_type="dataset")
    assert hub.ref_moves(REPO)[2:] == [
        ("refs/heads/staging", None, repo),
        ("refs/heads/staging", repo, staged),
        ("refs/heads/main", repo, made),
        ("refs/heads/staging", staged, None),
        ("refs/tags/v1", None, made),
        ("refs/tags/v1", made, None),
    ]
    with pytest.raises(HfHubHTTPError, match="Cannot delete"):
        api.delete_branch(REPO, branch="main", repo_type="dataset")
    for call in (
        lambda: api.delete_tag(REPO, tag="v1", repo_type="dataset"),
        lambda: commit(api, [add()], revision="x"),
    ):
        with pytest.raises(RevisionNotFoundError):
            call()


def test_tree_comes_in_pages_and_paths_one_by_one(hub, api, repo):
    hub.tree_page = 2
    made = hub.put_commit(REPO, {f"data/{n}.parquet": b"%d" % n for n in range(5)})
    tree = [entry.path for entry in api.list_repo_tree(REPO, recursive=True, repo_type="dataset", revision=made)]
    assert tree == [".gitattributes", "README.md", "data", *(f"data/{n}.parquet" for n in range(5))]
    assert len(asked(hub, "GET", "/tree/")) == 4
    top = list(api.list_repo_tree(REPO, expand=True, repo_type="dataset"))
    assert [(entry.path, entry.last_commit.oid) for entry in top[1:]] == [("README.md", repo), ("data", made)]
    assert [entry.path for entry in api.list_repo_tree(REPO, "data", repo_type="dataset")] == tree[3:]
    found = api.get_paths_info(REPO, ["data/3.parquet", "data", "nothing"], repo_type="dataset", expand=True)
    assert [entry.path for entry in found] == ["data/3.parquet", "data"]
    assert found[0].lfs.sha256 == sha256(b"3")
    assert [one.title for one in api.list_repo_commits(REPO, repo_type="dataset")][1:] == [
        "put by the test",
        "initial commit",
    ]


def test_files_come_back_whole_and_in_ranges(hub, api, repo):
    made = hub.put_commit(REPO, {SHARD: BYTES})
    assert download(api, revision=made) == BYTES
    system = HfFileSystem(endpoint=hub.endpoint, token="writer", skip_instance_cache=True)
    with system.open(f"datasets/{REPO}@{made}/{SHARD}", block_size=1000, cache_type="none") as file:
        file.seek(5000)
        assert file.read(10) == BYTES[5000:5010]
    assert hub.requests[-1].range == "bytes=5000-5009"
    assert (hub.requests[-1].status, hub.requests[-1].bytes_out) == (206, 10)
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "nothing", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        download(api, revision="nothing")


# Who may do what


@pytest.mark.parametrize("token", ["reader", "member", "stranger"])
def test_without_the_right_to_write_nothing_is_changed(hub, repo, token):
    api = HfApi(endpoint=hub.endpoint, token=token)
    assert api.dataset_info(REPO).sha == repo
    for call in (
        lambda: api.create_repo("lab/other", repo_type="dataset"),
        lambda: preupload(api, add()),
        lambda: commit(api, [CommitOperationDelete("README.md")]),
        lambda: api.create_tag(REPO, tag="v1", repo_type="dataset"),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            call()
        assert error.value.response.status_code == 403
    assert api.create_repo(REPO, repo_type="dataset", exist_ok=True) == f"{hub.endpoint}/datasets/{REPO}"
    assert hub.head(REPO) == repo


@pytest.mark.long
def test_a_token_of_narrow_scope_writes_there_only(hub, repo):
    api = HfApi(endpoint=hub.endpoint, token="narrow")
    assert api.whoami()["auth"]["accessToken"]["role"] == "fineGrained"
    commit(api, [add()])
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("lab/other", repo_type="dataset")


@pytest.mark.long
def test_an_expired_token_is_refused_even_for_reading(hub, repo):
    api = HfApi(endpoint=hub.endpoint, token="old")
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami()
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as error:
        api.dataset_info(REPO)
    assert error.value.response.status_code == 401


@pytest.mark.parametrize("token", [False, "stranger"])
def test_a_private_repository_is_not_there_for_others(hub, token):
    hub.put_commit(REPO, {SHARD: BYTES}, private=True)
    assert HfApi(endpoint=hub.endpoint, token="member").dataset_info(REPO).private
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.endpoint, token=token).dataset_info(REPO)


# Faults


@pytest.mark.long
@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("path", ["/preupload/", "/objects/batch", "/transfer/", "/objects/verify"])
def test_client_tries_again_on_the_way_to_the_commit(hub, api, repo, waits, path, code):
    hub.fail(path=path, how=status(code), times=2)
    preupload(api, add())
    assert waits == [1, 2]
    assert hub.stored_bytes() == len(BYTES)


@pytest.mark.long
def test_client_tries_again_to_list_and_to_read_a_range(hub, api, repo, waits):
    hub.put_commit(REPO, {SHARD: BYTES})
    hub.fail(path="/tree/", how=status(503))
    assert SHARD in [entry.path for entry in api.list_repo_tree(REPO, recursive=True, repo_type="dataset")]
    hub.fail(method="GET", path="/resolve/", how=status(503))
    with HfFileSystem(skip_instance_cache=True, token="writer").open(f"datasets/{REPO}/{SHARD}") as file:
        assert file.read(10) == BYTES[:10]
    assert waits == [1, 1]


@pytest.mark.long
def test_a_download_that_is_not_in_the_cache_tries_again_to_ask_but_not_to_get(hub, api, repo, waits):
    hub.put_commit(REPO, {SHARD: BYTES})
    hub.fail(method="HEAD", path="/resolve/", how=status(503), times=2)
    hub.fail(method="GET", path="/resolve/", how=status(503))
    with pytest.raises(HfHubHTTPError, match="503"):
        download(api)
    assert [record.status for record in asked(hub, "HEAD", "/resolve/")] == [503, 503, 200]
    assert waits == [1]
    assert download(api) == BYTES


@pytest.mark.long
def test_client_gives_up_after_six_times(hub, api, repo, waits):
    hub.fail(method="PUT", path="/transfer/", how=status(503), times=100)
    with pytest.raises(RuntimeError) as error:
        preupload(api, add())
    assert error.value.__cause__.response.status_code == 503
    assert waits == [1, 2, 4, 8, 8]


@pytest.mark.long
def test_client_waits_as_long_as_it_is_told(hub, api, repo, waits):
    hub.fail(path="/objects/batch", how=status(429, {"Retry-After": "7"}))
    hub.fail(method="PUT", path="/transfer/", how=status(429, {"ratelimit": '"api";r=0;t=55'}))
    preupload(api, add())
    assert waits == [8, 56]


@pytest.mark.long
@pytest.mark.parametrize("code", [429, 500, 503, 504])
@pytest.mark.parametrize(
    "path",
    ["/commit/", "/api/datasets/lab/data$", "/refs$", "/tag/", "/branch/", "/repos/create", "/paths-info/", "whoami"],
)
def test_client_does_not_try_again(hub, api, repo, waits, path, code):
    fault = hub.fail(path=path, how=status(code), times=2)
    calls = {
        "/commit/": lambda: commit(api, [add()]),
        "/api/datasets/lab/data$": lambda: api.dataset_info(REPO),
        "/refs$": lambda: api.list_repo_refs(REPO, repo_type="dataset"),
        "/tag/": lambda: api.create_tag(REPO, tag="v1", repo_type="dataset"),
        "/branch/": lambda: api.create_branch(REPO, branch="staging", repo_type="dataset"),
        "/paths-info/": lambda: api.get_paths_info(REPO, SHARD, repo_type="dataset"),
        "/repos/create": lambda: api.create_repo(REPO, repo_type="dataset", exist_ok=True),
        "whoami": api.whoami,
    }
    with pytest.raises(HfHubHTTPError) as error:
        calls[path]()
    assert error.value.response.status_code == code
    assert (fault.hits, waits) == (1, [])
    assert hub.head(REPO) == repo


@pytest.mark.long
def test_a_connection_cut_in_an_upload_is_tried_again(hub, api, repo, waits, tmp_path):
    (tmp_path / "shard").write_bytes(8 * BYTES)
    hub.fail(method="PUT", how=cut_request_body(3_000_000))
    preupload(api, CommitOperationAdd(SHARD, tmp_path / "shard"))
    first, second = asked(hub, "PUT", "/transfer/")
    assert (first.bytes_in, first.status) == (3_000_000, None)
    assert (second.bytes_in, second.status) == (8 * len(BYTES), 200)
    assert waits == [1]


@pytest.mark.long
def test_only_the_part_that_failed_is_sent_again(hub, api, repo, waits, tmp_path):
    hub.multipart_above, hub.part_size = 500_000, 300_000
    (tmp_path / "shard").write_bytes(BYTES)
    hub.fail(method="PUT", path="/2$", how=cut_request_body(100_000))
    preupload(api, CommitOperationAdd(SHARD, tmp_path / "shard"))
    parts = [(record.path[-2:], record.bytes_in) for record in asked(hub, "PUT", "/transfer/")]
    assert parts == [("/1", 300_000), ("/2", 100_000), ("/2", 300_000), ("/3", 300_000), ("/4", 148_576)]
    assert waits == [1]


@pytest.mark.long
def test_a_lost_answer_to_an_upload_is_sent_twice_and_stored_once(hub, api, repo, waits):
    hub.fail(method="PUT", how=lose_response())
    preupload(api, add())
    assert (sent(hub), hub.stored_bytes(), waits) == (2 * len(BYTES), len(BYTES), [1])


@pytest.mark.parametrize("reset", [False, True])
def test_a_lost_answer_to_a_commit_leaves_the_commit(hub, api, repo, waits, reset):
    hub.fail(path="/commit/", how=lose_response(reset=reset))
    with pytest.raises(httpx2.ReadError if reset else httpx2.RemoteProtocolError):
        commit(api, [add()], parent_commit=repo)
    assert waits == []
    assert hub.files(REPO)[SHARD] == (len(BYTES), sha256(BYTES))
    # The same additions once more are none: no commit is sent, and the old parent goes unnoticed.
    assert commit(api, [add()], parent_commit=repo).oid == hub.head(REPO)
    assert len(hub.ref_moves(REPO)) == 3


@pytest.mark.long
def test_a_token_that_expires_on_the_way_stops_the_commit(hub, api, repo):
    preupload(api, add())
    hub.fail(path="/commit/", how=expire_token("writer"))
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as error:
        commit(api, [add()])
    assert error.value.response.status_code == 401
    assert hub.head(REPO) == repo
    hub.tokens["writer"].expired = False
    commit(api, [add()])
    assert sent(hub) == len(BYTES)


@pytest.mark.long
def test_a_download_that_is_cut_goes_on_where_it_was(hub, api, repo, waits):
    hub.put_commit(REPO, {SHARD: 16 * BYTES})
    hub.fail(method="GET", path="/resolve/", how=cut_response(12_000_000))
    assert download(api) == 16 * BYTES
    first, second = asked(hub, "GET", "/resolve/")
    assert first.bytes_out == 12_000_000
    assert second.range == "bytes=10485760-"  # whole chunks are kept (constants.DOWNLOAD_CHUNK_SIZE)
    assert waits == [1]


@pytest.mark.long
def test_a_download_that_is_reset_is_not_tried_again(hub, api, repo, waits):
    hub.put_commit(REPO, {SHARD: BYTES})
    hub.fail(method="GET", path="/resolve/", how=cut_response(400_000, reset=True))
    with pytest.raises(httpx2.ReadError):
        download(api)
    assert waits == []


@pytest.mark.long
def test_damage_in_storage_is_seen_by_reading_only(hub, api, repo):
    hub.fail(method="PUT", how=damage(at=1000))
    made = commit(api, [add()]).oid
    entry = api.get_paths_info(REPO, SHARD, repo_type="dataset", revision=made)[0]
    assert (entry.lfs.sha256, entry.size) == (sha256(BYTES), len(BYTES))
    got = download(api)
    assert [at for at in range(len(BYTES)) if got[at] != BYTES[at]] == [1000]
    hub.damage(REPO, SHARD, at=1000)
    assert hub.content(REPO, SHARD) == BYTES


@pytest.mark.long
def test_a_slow_server_is_waited_for(hub, api, repo):
    slow = hub.fail(path="/revision/main", how=delay(0.3))
    assert api.dataset_info(REPO, revision="main").sha == repo
    assert slow.hits == 1
    hub.fail(path="/revision/main", how=delay(30))
    with pytest.raises(httpx2.ReadTimeout):
        api.dataset_info(REPO, revision="main", timeout=0.1)


@pytest.mark.long
def test_faults_spare_the_first_and_end(hub, api, repo):
    fault = hub.fail(method="GET", path="/refs", after=1, times=2, how=status(418))
    seen = []
    for _ in range(4):
        try:
            api.list_repo_refs(REPO, repo_type="dataset")
            seen.append(200)
        except HfHubHTTPError as error:
            seen.append(error.response.status_code)
    assert seen == [200, 418, 418, 200]
    assert fault.hits == 2


BIG = 16_000_000  # more than the system takes from a client before the server has read it
PUBLISH = f"""
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi()
operations = [CommitOperationAdd(f"data/{{n}}.parquet", bytes([n]) * {BIG}) for n in range(3)]
for operation in operations:
    api.preupload_lfs_files("{REPO}", [operation], repo_type="dataset")
api.create_commit("{REPO}", operations, commit_message="killed", repo_type="dataset", parent_commit="%s")
"""


def kill_at(hub, repo, tmp_path, **fault):
    """kill -9 a publication where it meets the fault, and wait until the server has seen the end of it."""
    moment = hub.fail(**fault)
    process = script(hub, tmp_path / "home", PUBLISH % repo)
    moment.wait()
    process.kill()
    process.communicate()
    moment.release()
    hub.quiet()


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "path", "after", "how", "stored", "moved"),
    [
        ("POST", "/preupload/", 0, hold(), 0, False),
        ("PUT", "/transfer/", 0, hold(100_000), 0, False),
        ("PUT", "/transfer/", 2, hold(2_000_000), 2, False),
        ("POST", "/commit/", 0, hold(BIG), 3, True),  # it has arrived as a whole, and is made whoever waits for it
    ],
)
def test_killed_at_any_moment_only_what_was_whole_is_there(
    hub, repo, tmp_path, method, path, after, how, stored, moved
):
    kill_at(hub, repo, tmp_path, method=method, path=path, after=after, how=how)
    assert hub.stored_bytes() == stored * BIG
    assert (hub.head(REPO) != repo) == moved


@pytest.mark.long
def test_a_killed_publication_goes_on_where_it_was(hub, repo, tmp_path):
    kill_at(hub, repo, tmp_path, method="PUT", after=1, how=hold(1_000_000))
    before = sent(hub)
    again = script(hub, tmp_path / "home", PUBLISH % repo + "\nprint(1)")
    assert result(again) == 1
    assert sent(hub) - before == 2 * BIG
    assert len(hub.ref_moves(REPO)) == 3


# What users load it with


@pytest.fixture
def loadable(hub, tmp_path):
    """A dataset of two shards, of one row each: of a small column and one of 15 MB."""
    card = b"---\nconfigs:\n- config_name: default\n  data_files: [{split: train, path: data/train-*}]\n---\n"
    files = {"README.md": card}
    for n in range(2):
        table = pa.table({"id": [f"sub-{n}"], "scan": [bytes([n]) * 15_000_000]})
        pq.write_table(table, tmp_path / "shard", compression="none", use_dictionary=False)
        files[f"data/train-{n:05}-of-00002.parquet"] = (tmp_path / "shard").read_bytes()
    return hub.put_commit(REPO, files, private=True)


LOAD = f"""
import json
from datasets import load_dataset
rows = load_dataset("{REPO}", split="train"%s)
print(json.dumps([[row["id"] for row in rows], rows.column_names]))
{END_AT_ONCE}"""


@pytest.mark.long
def test_streaming_moves_the_columns_that_are_read(hub, loadable, tmp_path):
    ids, columns = result(script(hub, tmp_path / "home", LOAD % ', streaming=True, columns=["id"]'))
    assert (ids, columns) == (["sub-0", "sub-1"], ["id"])
    reads = asked(hub, "GET", ".parquet")
    assert {record.status for record in reads} == {206}
    read_ahead, footer = 5 * 2**20, 2**16  # HfFileSystem's block, and what is read of a file's end to find the columns
    assert sum(record.bytes_out for record in reads) <= 2 * (read_ahead + 2 * footer)


@pytest.mark.long
def test_loading_moves_everything_once(hub, loadable, tmp_path):
    ids, columns = result(script(hub, tmp_path / "home", LOAD % ""))
    assert (ids, columns) == (["sub-0", "sub-1"], ["id", "scan"])
    whole = sum(size for path, (size, _) in hub.files(REPO).items() if path.endswith(".parquet"))
    assert sum(record.bytes_out for record in asked(hub, "GET", ".parquet")) == pytest.approx(whole, rel=0.01)


@pytest.mark.long
def test_the_card_and_the_file_system_of_this_process_know_the_hub(hub, repo):
    assert DatasetCard.load(REPO).data.license == "mit"
    assert HfFileSystem(skip_instance_cache=True).ls(f"datasets/{REPO}", detail=False) == [
        f"datasets/{REPO}/.gitattributes",
        f"datasets/{REPO}/README.md",
    ]


@pytest.mark.long
def test_the_card_and_the_file_system_of_another_process_know_the_hub(hub, repo, tmp_path):
    code = f"""
import json
from huggingface_hub import DatasetCard, HfFileSystem
license, system, root = DatasetCard.load("{REPO}").data.license, HfFileSystem(), "datasets/{REPO}"
print(json.dumps([license, system.read_text(root + "/README.md"), system.ls(root, detail=False)]))
"""
    licence, text, names = result(script(hub, tmp_path / "home", code))
    assert (licence, text.splitlines()[-1]) == ("mit", "# Data")
    assert names == [f"datasets/{REPO}/.gitattributes", f"datasets/{REPO}/README.md"]


def test_other_hosts_are_out_of_reach(hub, tmp_path):
    code = "import httpx2\ntry: httpx2.head('https://huggingface.co/x')\nexcept httpx2.ProxyError: print('true')"
    assert result(script(hub, tmp_path / "home", code)) is True
    assert [(stray.method, stray.path) for stray in hub.strays] == [("CONNECT", "huggingface.co:443")]
    hub.requests.clear()


def test_the_server_stops_at_once_with_requests_open(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        with HubServer(tmp_path) as server:
            faults = [server.fail(how=delay(100)), server.fail(how=hold())]
            asking = [pool.submit(httpx2.get, server.endpoint, timeout=20) for _ in faults]
            for fault in faults:
                fault.wait()
        assert all(isinstance(future.exception(LONG), httpx2.TransportError) for future in asking)


def test_a_defect_of_the_server_fails_the_test(tmp_path):
    with pytest.raises(AssertionError, match="JSONDecodeError"), HubServer(tmp_path, TOKENS) as server:
        header = {"Authorization": "Bearer writer"}
        assert httpx2.post(f"{server.endpoint}/api/repos/create", content=b"{", headers=header).status_code == 500
