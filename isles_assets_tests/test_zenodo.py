"""What Zenodo says of a record is compared with what is pinned, whatever form it says it in."""

import time
from dataclasses import replace
from email.utils import formatdate

import pytest

from isles_assets import __version__
from isles_assets.lib.findings import Refusal
from isles_assets.source.patience import TransientError
from isles_assets.source.zenodo import Zenodo
from isles_assets_tests.isles24 import ISLES24
from isles_assets_tests.processes import URLS
from isles_assets_tests.zenodo_server import FAST, Deposit, Status, ZenodoServer, record_of


@pytest.fixture
def content(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(b"seven zip")
    return path


@pytest.fixture
def server(content):
    with ZenodoServer(Deposit(record_of(content), content)) as server:
        yield server


@pytest.fixture
def record(server):
    return server.deposits[0].record


@pytest.fixture
def zenodo(server):
    return Zenodo(server.endpoint, FAST)


def test_the_pinned_record_is_accepted_with_one_question(server, zenodo, record):
    zenodo.check(record)
    (seen,) = server.requests
    assert seen.path == f"/api/records/{record.record}"
    assert seen.headers["User-Agent"] == f"isles-assets/{__version__} (+{URLS['Repository']})"


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"size": 8}, "holds a train.7z of 8 bytes"),
        ({"md5": "0" * 32}, f"of 9 bytes, md5 {'0' * 32}; v7, 9 bytes, md5 "),
        ({"archive": "train.zip"}, "holds train.zip, and train.7z of v7, 9 bytes"),
    ],
)
def test_a_record_that_holds_something_else_is_refused_with_both_facts(server, zenodo, record, facts, says):
    server.deposits[0].record = replace(record, **facts)
    with pytest.raises(Refusal, match=says):
        zenodo.check(record)


def test_a_record_without_files_is_refused(server, zenodo, record):
    server.api_faults.append(Status(200, body=server.deposits[0].described() | {"files": []}))
    with pytest.raises(Refusal, match="holds no file"):
        zenodo.check(record)


def test_the_answer_of_another_record_is_refused(server, zenodo, record):
    server.api_faults.append(Status(200, body=server.deposits[0].described() | {"id": 16813698}))
    with pytest.raises(Refusal, match=r"is record 16813698, and 17652035 is pinned"):
        zenodo.check(record)


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"", [], "text", {}, {"id": None}, {"id": True}])
def test_an_answer_of_another_form_is_refused(server, zenodo, record, body):
    server.api_faults.append(Status(200, body=body))
    with pytest.raises(Refusal, match=r"no record of Zenodo's: it (has no id|is no JSON object) -> see ISLES_ZENODO"):
        zenodo.check(record)


@pytest.mark.parametrize(
    "said",
    [
        {"id": "17652035"},
        {"id": None, "recid": 17652035},
        {"conceptrecid": 5, "conceptdoi": None},
        {"metadata": None},
        {"metadata": []},
        {"metadata": {"version": None, "publication_date": 2025, "creators": "?"}},
        {"more": {"deep": [None]}},
    ],
)
def test_what_is_not_used_may_be_anything(server, zenodo, record, said):
    server.api_faults.append(Status(200, body=server.deposits[0].described() | said))
    zenodo.check(record)


def entry_of(record, **more):
    return {"key": record.archive, "size": record.size, "checksum": f"md5:{record.md5}"} | more


FORMS = {
    "other files": lambda r: [{"key": "x"}, {"key": "y", "size": "?", "checksum": None}, None, "z", {}, entry_of(r)],
    "of 2023": lambda r: [{"filename": r.archive, "filesize": r.size, "checksum": r.md5, "links": {}, "id": "0-1"}],
    "entries": lambda r: {"enabled": True, "entries": {"x": None, r.archive: entry_of(r, access={"hidden": False})}},
    "names of entries": lambda r: {"entries": {r.archive: {"size": r.size, "checksum": f"md5:{r.md5}"}}},
    "entries in a list": lambda r: {"entries": [entry_of(r, key="x"), entry_of(r)]},
    "size as text": lambda r: [entry_of(r, size=str(r.size))],
    "no size": lambda r: [entry_of(r, size=None)],
    "SHA-256": lambda r: [entry_of(r, checksum=f"sha256:{'0' * 64}")],
    "no checksum": lambda r: [{"key": r.archive, "size": r.size}],
    "checksum null": lambda r: [entry_of(r, checksum=None)],
    "checksum apart": lambda r: [entry_of(r, checksum={"md5": r.md5})],
    "capitals": lambda r: [entry_of(r, checksum=f"MD5:{r.md5.upper()}")],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_files_may_be_described_in_any_form(server, zenodo, record, form):
    server.api_faults.append(Status(200, body=server.deposits[0].described() | {"files": form(record)}))
    zenodo.check(record)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_another_archive_is_refused_in_any_form(server, zenodo, record, form):
    other = replace(record, size=8, md5="0" * 32)
    server.api_faults.append(Status(200, body=server.deposits[0].described() | {"files": form(other)}))
    with pytest.raises(Refusal, match=r"holds a train.7z (of 8 bytes|md5 0{32}).*; v7, 9 bytes, md5 "):
        zenodo.check(record)


@pytest.mark.parametrize("files", [None, {}, {"enabled": False}, {"entries": None}, 5, [None], [{"size": 9}]])
def test_a_record_without_a_usable_list_of_files_is_refused(server, zenodo, record, files):
    server.api_faults.append(Status(200, body=server.deposits[0].described() | {"files": files}))
    with pytest.raises(Refusal, match=r"holds (no file|), and train.7z"):
        zenodo.check(record)


def test_an_archive_of_which_nothing_is_said_is_refused(server, zenodo, record):
    server.api_faults.append(Status(200, body=server.deposits[0].described() | {"files": [{"key": "train.7z"}]}))
    with pytest.raises(Refusal, match=r"states neither size nor MD5 of its train.7z; v7, 9 bytes"):
        zenodo.check(record)


@pytest.mark.parametrize(("code", "mend"), [(401, "not open"), (403, "blocks this address"), (404, "ENDPOINT")])
def test_a_final_status_is_refused_at_once_with_what_to_do(server, zenodo, record, code, mend):
    server.api_faults.append(Status(code, body={"message": "because"}))
    with pytest.raises(Refusal, match=f"answers {code} .*: because -> .*{mend}"):
        zenodo.check(record)
    assert len(server.requests) == 1


def test_a_withdrawn_record_is_refused_at_once(server, zenodo, record):
    server.api_faults.append(Status(410))
    with pytest.raises(Refusal, match="answers 410 Gone -> the record was withdrawn"):
        zenodo.check(record)


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_passing_status_is_waited_for(server, zenodo, record, code):
    server.api_faults.extend([Status(code), Status(code)])
    zenodo.check(record)
    assert [seen.status for seen in server.requests] == [code, code, 200]


@pytest.mark.parametrize(
    "headers",
    [
        lambda: {"Retry-After": "1"},
        lambda: {"Retry-After": formatdate(time.time() + 2, usegmt=True)},
        lambda: {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 2)},
    ],
    ids=["seconds", "date", "reset"],
)
def test_the_server_says_how_long_to_wait(server, record, headers):
    server.api_faults.append(Status(429, headers()))
    start = time.monotonic()
    Zenodo(server.endpoint, replace(FAST, in_all=5)).check(record)
    assert time.monotonic() - start >= 0.9


def test_a_pause_that_is_longer_than_the_patience_is_refused_at_once(server, zenodo, record):
    server.api_faults.append(Status(429, {"Retry-After": "3600"}))
    with pytest.raises(Refusal, match=r"answers 429 Too Many Requests; .* asks to wait for 60 min -> run again later"):
        zenodo.check(record)


def test_patience_ends(server, zenodo, record):
    server.api_faults.extend([Status(503)] * 1000)
    with pytest.raises(Refusal, match="answers 503 Service Unavailable; this went on for"):
        zenodo.check(record)
    assert len(server.requests) > 5


def test_nobody_at_the_endpoint_is_waited_for_and_then_refused(server, record):
    said = []
    port = server.server_port
    server.__exit__()
    with pytest.raises(Refusal, match="Connection refused; this went on for"):
        Zenodo(f"http://127.0.0.1:{port}", FAST, said.append).check(record)
    assert "Connection refused; going on in" in said[0]


@pytest.mark.parametrize("endpoint", ["", "zenodo.org", "ftp://zenodo.org", "https://"])
def test_an_endpoint_that_is_no_address_is_refused(endpoint):
    with pytest.raises(Refusal, match="ISLES_ZENODO_ENDPOINT: is"):
        Zenodo(endpoint)


def test_a_slash_at_the_end_of_the_endpoint_does_no_harm(server, record):
    Zenodo(f"{server.endpoint}/", FAST).check(record)


def test_the_newest_version_is_none_newer(server, zenodo, record):
    assert zenodo.newer(record) is None


@pytest.mark.parametrize("redirect", [True, False], ids=["redirect", "JSON"])
def test_a_newer_version_is_found_in_either_form_without_asking_another_host(server, zenodo, record, content, redirect):
    server.deposits.append(Deposit(replace(record, record="18000000", version="v8"), content, "2026-03-01"))
    server.latest_is_a_redirect = redirect
    found = zenodo.newer(record)
    assert (found.record, found.version, found.date) == ("18000000", "v8", "2026-03-01")
    assert found.url == "https://zenodo.org/records/18000000"


def test_a_newer_version_that_says_little_of_itself_is_found(server, zenodo):
    server.latest_is_a_redirect = False
    server.deposits[0].described = lambda: {"id": 18000000, "metadata": {"version": None}}
    found = zenodo.newest("17652035")
    assert (found.record, found.version, found.date) == ("18000000", "", "")


@pytest.mark.parametrize("fault", [Status(404), Status(503), Status(200, body=b"no JSON")])
def test_a_server_that_does_not_say_what_is_newest_is_no_reason_to_stop(server, zenodo, record, fault):
    server.api_faults.append(fault)
    said = []
    assert replace(zenodo, log=said.append).newer(record) is None
    assert "It is not known whether there is a version after v7" in said[0]
    with pytest.raises((Refusal, TransientError)):
        server.api_faults.append(fault)
        zenodo.newest(record.record)


def test_the_release_that_is_pinned_is_the_one_of_the_fact_sheet():
    pinned = ISLES24.record
    assert (pinned.record, pinned.size) == ("17652035", 99_022_114_670)
    assert pinned.md5 == "4959a5dd2438d53e3c86d6858484e781"
    zenodo = Zenodo()
    assert zenodo.content_url(pinned.record, pinned.archive) == (
        "https://zenodo.org/api/records/17652035/files/train.7z/content"
    )
