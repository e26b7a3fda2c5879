"""A Hub that says no, with the real client: its own words, who said them, and no token blamed that is not at fault."""

import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants

from isles_assets.hub.denials import denials_explained
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.reading import Unavailable, open_revision
from isles_assets.hub.verification import loads
from isles_assets.lib.findings import Refusal, TransientRefusal
from isles_assets.products.dataset import Dataset
from isles_assets.publication.guard import recorded_publication
from isles_assets.tables.folder import DataFolder
from isles_assets_tests.hub_server import HubServer, Token, lose_response, status
from isles_assets_tests.hub_server.clients import printed, script
from isles_assets_tests.processes import free_port
from isles_assets_tests.toy import TOY

REPO = "toys/isles24-stroke"
DATASET = Dataset.of(TOY)
SECRET = "hf_SecretThatMustNotShow"
SIGNED = "X-Amz-Signature=5ecret51gnature"

BATCH = {"method": "POST", "path": "/lfs/objects/batch"}
UPLOAD = {"method": "PUT", "path": "/transfer/"}
COMMIT = {"method": "POST", "path": "/commit/"}
PREUPLOAD = {"method": "POST", "path": "/preupload/"}
WRITE_TOKEN = {"method": "GET", "path": "/xet-write-token/"}
GRANT = {"path": "/v1/xorb-grants/"}
WHO = {"method": "GET", "path": "/api/whoami-v2"}

FULL = "Private repository storage limit reached, please upgrade your plan"
TRIPPED = "Your storage patterns tripped our internal systems! Please contact us at website@huggingface.co"
NO_RIGHT = "Forbidden: you must use a write token to upload to a repository."
DISABLED = "Access to this resource is disabled."
EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>'
    b"<Expires>2026-11-30T12:00:00Z</Expires></Error>"
)
XML = {"Content-Type": "application/xml"}

BLAMES_TOKEN = "set HF_TOKEN to a token with write access"
STORAGE = "have the storage of toys enlarged, or make room in it"
ASK = "do as it says, or ask the Hub"
ASK_HUB = "ask the Hub why"


@pytest.fixture(params=["LFS", pytest.param("Xet", marks=pytest.mark.long)])
def hub(request, tmp_path, monkeypatch):
    tokens = {SECRET: Token("ada", orgs={"toys": "write"})}
    server = HubServer(tmp_path / "hub server", tokens=tokens, xet=request.param == "Xet")
    with server, server.clients(tmp_path / "home"):
        monkeypatch.setenv("HF_TOKEN", SECRET)
        yield server


by_lfs = pytest.mark.parametrize("hub", ["LFS"], indirect=True)
by_xet = pytest.mark.parametrize("hub", ["Xet"], indirect=True)


@pytest.fixture
def target(hub):
    return HuggingFaceHub(REPO, DATASET, endpoint=hub.endpoint)


@pytest.fixture(scope="module")
def publication(toy_built):
    return recorded_publication(DATASET, toy_built.folder, REPO)


def refused(target, publication) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        target.publish(publication)
    assert SECRET not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__
    return refusal.value


@pytest.mark.parametrize(
    ("code", "words", "mend"),
    [
        (403, FULL, STORAGE),
        (403, TRIPPED, STORAGE),
        (402, "Payment required", STORAGE),
        (403, NO_RIGHT, BLAMES_TOKEN),
        (403, "", BLAMES_TOKEN),
        (401, "Invalid credentials in Authorization header", BLAMES_TOKEN),
        (403, DISABLED, ASK),
        (413, "the commit is too large", ASK),
    ],
)
@pytest.mark.parametrize("place", [PREUPLOAD, BATCH, COMMIT, WRITE_TOKEN], ids=["preupload", "batch", "commit", "xet"])
def test_the_hubs_own_words_are_given_and_the_token_is_blamed_only_if_at_fault(
    hub, target, publication, place, code, words, mend
):
    fault = hub.fail(**place, times=100, how=status(code, message=words))
    if (place is BATCH and hub.xet) or (place is WRITE_TOKEN and not hub.xet):
        pytest.skip("not asked")
    told = str(refused(target, publication))
    assert f"the Hub at {hub.endpoint.removeprefix('http://')} answers {code}{words and ': '}{words} -> " in told
    assert mend in told
    assert (BLAMES_TOKEN in told) == (mend is BLAMES_TOKEN)
    assert fault.hits == 1, "what is certain not to pass is not tried again"


@by_xet
@pytest.mark.parametrize("path", ["/v1/xorb-grants/", "/v1/xorb-commits/", "/v2/shards"])
@pytest.mark.parametrize(
    ("code", "words", "mend"),
    [(403, FULL, STORAGE), (402, "Payment required", STORAGE), (401, "The token has expired", ASK), (403, "", ASK_HUB)],
)
def test_the_words_of_a_xet_store_are_asked_for_once_and_no_token_is_blamed(
    hub, target, publication, path, code, words, mend
):
    fault = hub.fail(path=path, times=100, how=status(code, message=words))
    told = str(refused(target, publication))
    address = hub.endpoint.removeprefix("http://")
    assert f"the Xet store at {address} answers {code}{words and ': '}{words} -> {mend}" in told
    assert "HF_TOKEN" not in told and fault.hits == 2
    fault.times = fault.hits
    assert target.publish(publication).changed


@by_xet
def test_a_cache_that_cannot_be_used_is_named_before_anything_is_sent_or_made(
    hub, target, publication, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HF_XET_CACHE", str(tmp_path / "file" / "xet"))
    for begin in (partial(target.publish, publication), target.prepare_staging):
        with pytest.raises(Refusal, match=r"Nothing was sent to the Hub.\n .*/file/xet: Xet keeps its notes there"):
            begin()
    assert not hub.files(REPO).keys() - {".gitattributes"} and not hub.stored_bytes()


@pytest.mark.parametrize("place", [PREUPLOAD, BATCH, COMMIT, WRITE_TOKEN, GRANT], ids=lambda place: place["path"])
def test_staging_is_denied_in_the_same_words(hub, target, publication, place):
    if (place is BATCH and hub.xet) or (place in (WRITE_TOKEN, GRANT) and not hub.xet):
        pytest.skip("not asked")
    target.prepare_staging()
    hub.fail(**place, times=100, how=status(403, message=FULL))
    with pytest.raises(Refusal) as refusal:
        target.stage([file for file in publication.files if isinstance(file.content, Path)])
    assert FULL in str(refusal.value) and STORAGE in str(refusal.value) and "HF_TOKEN" not in str(refusal.value)


@pytest.mark.parametrize("how", [{"Retry-After": "1"}, {"RateLimit": '"api";r=0;t=1'}], ids=["seconds", "window"])
@pytest.mark.parametrize("code", [429, pytest.param(503, marks=pytest.mark.long)])
def test_a_commit_is_tried_again_when_the_hub_says(hub, target, publication, code, how):
    said: list[str] = []
    fault = hub.fail(**COMMIT, times=1, how=status(code, how, message="too many requests"))
    assert replace(target, log=said.append).publish(publication).changed
    assert [words for words in said if "too many requests. Waiting 1 s, as it asks" in words]
    assert fault.hits == 1
    first, second = (record.time for record in hub.requests if "/commit/" in record.path)
    assert second - first >= 1


@by_lfs
def test_who_asks_to_wait_is_told_with_how_long(hub, target, publication):
    fault = hub.fail(path="/refs", times=100, how=status(429, {"Retry-After": "20"}, message="too many requests"))
    refusal = refused(target, publication)
    assert isinstance(refusal, TransientRefusal) and refusal.pause == 20
    assert "answers 429: too many requests; it asks to wait 20 s -> publish again then, which resumes" in str(refusal)
    fault.how = status(429, {"Retry-After": "7200"})
    refusal = refused(target, publication)
    assert not isinstance(refusal, TransientRefusal) and "it asks to wait 2 h 0 min" in str(refusal)
    assert fault.hits == 2


@by_lfs
def test_an_error_of_one_file_in_an_answer_that_is_well_is_given_in_its_words(hub, target, publication):
    oid = publication.files[0].sha256
    error = {"objects": [{"oid": oid, "size": 1, "error": {"code": 403, "message": FULL}}]}
    hub.fail(**BATCH, how=status(200, {"Content-Type": "application/json"}, body=json.dumps(error).encode()))
    told = str(refused(target, publication))
    assert FULL in told and STORAGE in told and BLAMES_TOKEN not in told


@by_lfs
@pytest.mark.parametrize("code", [401, 403])
def test_a_store_that_refuses_an_address_says_nothing_of_the_token_and_may_be_tried_again(
    hub, target, publication, code
):
    fault = hub.fail(**UPLOAD, times=100, how=status(code, XML, body=EXPIRED))
    refusal = refused(target, publication)
    assert isinstance(refusal, TransientRefusal)
    assert "the store at 127.0.0.1" in str(refusal) and "AccessDenied: Request has expired" in str(refusal)
    assert "publish again, which resumes" in str(refusal) and "HF_TOKEN" not in str(refusal)
    fault.times = fault.hits
    assert target.publish(publication).changed


@by_lfs
def test_a_store_that_fails_is_named_and_may_be_tried_again(hub, target, publication):
    fault = hub.fail(**UPLOAD, times=100, how=status(400, XML, body=EXPIRED))
    refusal = refused(target, publication)
    assert isinstance(refusal, TransientRefusal) and refusal.pause is None
    assert "the store at 127.0.0.1" in str(refusal) and "-> run the same again later, which resumes" in str(refusal)
    fault.times = fault.hits
    assert target.publish(publication).changed


@pytest.mark.parametrize(
    ("place", "how", "words"),
    [
        (COMMIT, status(503, message="over capacity"), "answers 503: over capacity -> run the same again later"),
        (WHO, status(200, body=b"<html>"), "answers what is no answer of the Hub's: Expecting value"),
        (WHO, lose_response(), "gives no answer: Server disconnected without sending a response"),
    ],
    ids=["503", "no JSON", "cut off"],
)
def test_a_hub_that_fails_is_named_and_may_be_tried_again(hub, target, publication, place, how, words):
    fault = hub.fail(**place, times=100, how=how)
    refusal = refused(target, publication)
    assert isinstance(refusal, TransientRefusal) and refusal.pause is None
    assert f"{REPO}: the Hub at {hub.endpoint.removeprefix('http://')} {words}" in str(refusal)
    assert "which resumes" in str(refusal)
    fault.times = fault.hits
    assert target.publish(publication).changed


@by_xet
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (status(503), "the Xet store at 127.0.0.1:[0-9]+ answers 503 -> "),
        (lose_response(), "the Xet store gives no answer: Network error: "),
    ],
    ids=["503", "cut off"],
)
def test_a_xet_store_that_fails_is_named_and_may_be_tried_again(hub, target, publication, how, words):
    fault = hub.fail(**GRANT, times=100, how=how)
    refusal = refused(target, publication)
    assert isinstance(refusal, TransientRefusal) and re.search(words, str(refusal))
    fault.times = fault.hits
    assert target.publish(publication).changed


@by_lfs
def test_a_hub_that_is_not_there_is_named(hub, target, publication):
    place = f"127.0.0.1:{free_port()}"
    refusal = refused(replace(target, endpoint=f"http://{place}"), publication)
    assert isinstance(refusal, TransientRefusal)
    assert f"{REPO}: the Hub at {place} gives no answer: [Errno 111] Connection refused -> " in str(refusal)


@by_lfs
def test_an_endpoint_that_is_no_address_is_named_and_not_tried_again(hub, target, publication):
    refusal = refused(replace(target, endpoint="hub.example"), publication)
    assert not isinstance(refusal, TransientRefusal)
    assert "HF_ENDPOINT: is 'hub.example', which is no address of a web server -> unset it" in str(refusal)


@pytest.mark.parametrize("fault", [KeyError("column"), RuntimeError("an own one"), FileNotFoundError(2, "none", "a")])
def test_what_is_about_no_server_is_raised_as_it_is(fault):
    with pytest.raises(type(fault)) as raised, denials_explained(REPO):
        raise fault
    assert raised.value is fault


@by_lfs
@pytest.mark.parametrize(
    ("code", "answers"),
    [(401, "Invalid credentials in Authorization header"), (403, "this address is blocked for a while")],
)
def test_a_hub_that_does_not_say_who_the_token_is_of_is_quoted(hub, target, publication, code, answers):
    hub.fail(**WHO, how=status(code, message=answers))
    told = str(refused(target, publication))
    assert answers in told and "Nothing was sent to the Hub." in told
    assert (BLAMES_TOKEN in told) == (code == 401)
    assert [record.path for record in hub.requests] == ["/api/whoami-v2"]


@by_lfs
@pytest.mark.parametrize("code", [429, 503])
def test_a_hub_that_does_not_say_now_who_the_token_is_of_can_be_written_to(hub, target, publication, code):
    hub.fail(**WHO, how=status(code))
    assert target.publish(publication).changed


def answer_with(hub: HubServer, monkeypatch, token: Token, **said) -> None:
    """Let the Hub say other things of `token` than what it may do, as it does where rights are by a resource group."""
    told = token.whoami()
    for name, value in said.items():
        (told if name == "orgs" else told["auth"]["accessToken"])[name] = value
    monkeypatch.setattr(token, "whoami", lambda: told)
    hub.tokens[SECRET] = token


def scope(name: str | None, *permissions: str, kind: str = "org") -> dict[str, object]:
    return {"entity": {"type": kind, "name": name}, "permissions": [*permissions]}


def fine_grained(*scopes: dict[str, object], everywhere: tuple[str, ...] = ()) -> dict[str, object]:
    return {"role": "fineGrained", "fineGrained": {"global": [*everywhere], "scoped": [*scopes]}}


@by_lfs
@pytest.mark.parametrize(
    "said",
    [
        {"orgs": [{"name": "toys", "roleInOrg": "no_access"}]},
        {"orgs": [{"name": "toys", "roleInOrg": "read"}]},
        {"orgs": [{"name": "toys"}]},
        {"orgs": []},
        fine_grained(scope("toys", "repo.write"), scope("toys", "repo.content.read")),
        fine_grained(scope("Toys", "repo.write")),
        fine_grained(scope(REPO, "repo.write", kind="dataset"), scope(REPO, "discussion.write", kind="dataset")),
        fine_grained(scope("a group", "repo.write", kind="resourceGroup")),
        fine_grained(scope(None, "repo.write")),
        fine_grained(everywhere=("repo.write",)),
        {"role": "fineGrained"},
        {"role": None},
    ],
)
def test_a_writer_who_may_write_is_never_refused_beforehand(hub, target, publication, monkeypatch, said):
    answer_with(hub, monkeypatch, Token("ada", orgs={"toys": "write"}), **said)
    assert target.publish(publication).changed


@by_lfs
@pytest.mark.parametrize(
    "said",
    [
        {"role": "read"},
        fine_grained(scope("toys", "repo.content.read"), scope("toys", "discussion.write")),
        fine_grained(scope("others", "repo.write"), scope("toys/another", "repo.write", kind="dataset")),
        fine_grained(),
    ],
)
def test_what_is_certain_is_refused_before_anything_is_sent(hub, target, publication, monkeypatch, said):
    answer_with(hub, monkeypatch, Token("ada", orgs={"toys": "write"}), **said)
    told = str(refused(target, publication))
    assert "lacks the right `repo.write` on toys" in told and BLAMES_TOKEN in told
    assert [record.path for record in hub.requests] == ["/api/whoami-v2"]


@by_lfs
@pytest.mark.parametrize("token", [Token("ada"), Token("ada", orgs={"toys": "read"})], ids=["stranger", "reader"])
def test_what_is_not_certain_the_hub_itself_refuses_before_any_file_is_sent(hub, target, publication, token):
    hub.tokens[SECRET] = token
    told = str(refused(target, publication))
    assert "the Hub at 127.0.0.1" in told and BLAMES_TOKEN in told
    assert {record.method for record in hub.requests} <= {"GET", "HEAD", "POST"} and not hub.store.repos


@by_lfs
@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"])
def test_a_client_that_is_told_to_send_nothing_is_told_apart(hub, target, publication, monkeypatch, name):
    monkeypatch.setattr(constants, name, True)
    refusal = refused(target, publication)
    assert f"{name}: keeps the client from" in str(refusal) and "unset it" in str(refusal)
    assert hub.requests == []


@by_lfs
@pytest.mark.parametrize("token", ["hf_Sécret", "hf_Sec ret", "hf_Secret\x07"])
def test_a_token_that_cannot_be_sent_is_not_shown(hub, target, publication, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(Refusal) as not_read:
        open_revision(REPO, endpoint=hub.endpoint)
    for told in (str(refused(target, publication)), str(not_read.value)):
        assert "HF_TOKEN: the token holds a character that no token has" in told
        assert "cret" not in told
    assert hub.requests == []


@by_lfs
def test_a_gated_repo_is_called_so(hub, target, publication):
    gated = status(403, {"X-Error-Code": "GatedRepo"}, message="Access to dataset toys/isles24-stroke is restricted")
    hub.fail(**PREUPLOAD, how=gated)
    told = str(refused(target, publication))
    assert "is restricted -> ask for access on the repo's page" in told
    hub.fail(path="/api/datasets/", times=100, how=gated)
    with pytest.raises(Unavailable, match="is given to those who asked for access"):
        open_revision(REPO, endpoint=hub.endpoint)


@by_lfs
def test_a_store_behind_a_redirect_is_named_when_it_refuses_and_its_signature_is_not(hub, target, publication):
    target.publish(publication)
    file = next(file for file in publication.files if file.path.endswith(".parquet"))
    revision = open_revision(REPO, endpoint=hub.endpoint)
    to = {"Location": f"{hub.endpoint.replace('127.0.0.1', 'localhost')}/bucket/0e?{SIGNED}&Expires=1"}
    hub.fail(path="/resolve/", times=100, how=status(302, to))
    hub.fail(path="/bucket/", times=100, how=status(403, XML, body=EXPIRED))
    with pytest.raises(Unavailable) as refusal:
        list(revision.file(file.path, file.size).read(0, file.size))
    told = str(refusal.value)
    assert "the store at localhost" in told and "answers 403: AccessDenied: Request has expired" in told
    assert "run again, which resumes" in told and "token" not in told
    assert refusal.value.__cause__ is None and refusal.value.__suppress_context__
    assert SIGNED not in told


CHECKED = f"import sys; from {__name__} import print_findings as run; run(*sys.argv[1:])"


def print_findings(endpoint: str, data: str) -> None:
    """What the check `loads` says, one finding a line; `datasets` asks the Hub that it knew when it was imported."""
    target = HuggingFaceHub(REPO, DATASET, endpoint=endpoint)
    publication = recorded_publication(DATASET, DataFolder(Path(data), TOY), REPO)
    sys.stdout.writelines(f"{finding}\n" for finding in loads(target, publication))


@by_lfs
def test_a_check_quotes_who_says_no_and_no_signature(hub, target, publication, toy_built, tmp_path):
    target.publish(publication)
    to = {"Location": f"{hub.endpoint.replace('127.0.0.1', 'localhost')}/bucket/0e?{SIGNED}&Expires=1"}
    hub.fail(path="/resolve/.*parquet", times=100, how=status(302, to))
    hub.fail(path="/bucket/", times=100, how=status(403, XML, body=EXPIRED))
    problems = printed(script(hub, tmp_path / "home", CHECKED, hub.endpoint, toy_built.folder.root))
    assert len(problems) == len(DATASET.configs)
    for told in problems:
        assert "the store at localhost" in told and "answers 403: AccessDenied: Request has expired" in told
        assert "token" not in told and SIGNED not in told


@by_lfs
def test_a_card_that_may_not_be_read_is_not_called_missing(hub, target, publication):
    with pytest.raises(Refusal, match=r"holds no README.md -> publish"):
        target.card()
    target.publish(publication)
    fault = hub.fail(path="/resolve/.*README", times=100, how=status(403, message=DISABLED))
    with pytest.raises(Refusal, match=f"answers 403: {DISABLED} -> do as it says"):
        target.card()
    fault.times = fault.hits
    assert target.card()


@by_lfs
def test_reading_quotes_the_hub_and_names_the_variable_that_keeps_the_token(hub, target, publication, monkeypatch):
    target.publish(publication)
    hub.store.repos[REPO].private = True
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with pytest.raises(Unavailable, match="unset HF_HUB_DISABLE_IMPLICIT_TOKEN, which keeps the client from"):
        open_revision(REPO, endpoint=hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", False)
    assert open_revision(REPO, endpoint=hub.endpoint)
    hub.fail(path="/api/datasets/", how=status(403, message=DISABLED))
    with pytest.raises(Unavailable, match=f"answers 403: {DISABLED}"):
        open_revision(REPO, endpoint=hub.endpoint)
