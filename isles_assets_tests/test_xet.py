"""What `hf_xet` raises is understood though it hides the words; its folder is looked at, and its memory is bounded."""

import os
from unittest import mock

import pytest
from hf_xet import XetConfig

from isles_assets.hub.denials import denials_explained
from isles_assets.hub.xet import check_cache, limit_memory
from isles_assets.lib.findings import Refusal, TransientRefusal
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.hub_server.clients import printed, script
from isles_assets_tests.processes import free_port

ANSWER = "Request error: HTTP status {} error ({}), domain: http://127.0.0.1:1/v1/xorb-grants/default/H"


def test_a_denial_is_a_refusal_that_blames_no_token_though_nobody_can_be_asked_for_the_words():
    endpoint = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(Refusal, match=r"the Xet store at 127.0.0.1:1 answers 403 -> ") as refusal,
        denials_explained("toys/toy", endpoint=endpoint),
    ):
        raise ConnectionError(f"Network error: {ANSWER.format('client', '403 Forbidden')}")
    assert "HF_TOKEN" not in str(refusal.value) and refusal.value.__suppress_context__


@pytest.mark.parametrize(
    "text",
    [
        f"Server error: {ANSWER.format('server', '503 Service Unavailable')}",
        f"Rate limited: {ANSWER.format('client', '429 Too Many Requests')}",
        "Network error: Request middleware error: error sending request for url (http://127.0.0.1:1/v2/shards)",
    ],
)
def test_what_may_pass_is_a_refusal_that_may_pass(text):
    with pytest.raises(TransientRefusal, match=r"Xet store .*which resumes"), denials_explained("toys/toy"):
        raise ConnectionError(text)


@pytest.mark.parametrize("name", ["HF_XET_CACHE", "HF_HOME"])
def test_a_folder_that_cannot_be_used_is_named(tmp_path, monkeypatch, name):
    monkeypatch.delenv("HF_XET_CACHE", raising=False)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv(name, str(tmp_path / "file" / "folder"))
    with pytest.raises(
        Refusal, match="cannot be written to: Not a directory -> set HF_XET_CACHE, or HF_HOME"
    ) as refusal:
        check_cache(1)
    assert str(tmp_path / "file" / "folder") in str(refusal.value)
    monkeypatch.setenv(name, str(tmp_path / "new"))
    check_cache(1)
    with pytest.raises(Refusal, match=r"free, and .* are needed"):
        check_cache(10**18)


SEND = """
import hashlib, os, sys
from pathlib import Path
from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.release.isles24 import ISLES24

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:"))

def file(number):
    content = os.urandom(int(sys.argv[3]))
    path = Path(sys.argv[1], str(number))
    path.write_bytes(content)
    return PublicationFile(f"data/{number}.parquet", path, len(content), hashlib.sha256(content).hexdigest())

files = [file(number) for number in range(int(sys.argv[2]))]
target = HuggingFaceHub("toys/toy", Dataset.of(ISLES24))
target.prepare_staging()
before = peak()
target.stage(files)
print(peak() - before)
"""


@pytest.mark.long
def test_an_upload_holds_no_more_for_many_files_than_for_few(tmp_path):
    """Without limits it takes 600 MB here, and 1.3 GB or more for a group of subjects of the release."""
    (tmp_path / "files").mkdir()
    with HubServer(tmp_path / "hub", {"writer": Token("ada", orgs={"toys": "write"})}, xet=True) as hub:
        (kilobytes,) = printed(script(hub, tmp_path / "home", SEND, tmp_path / "files", 8, 40_000_000))
        assert len(hub.files("toys/toy", "staging")) == 8 + 1
        assert hub.stored_bytes() >= 8 * 40_000_000
    assert int(kilobytes) < 450_000


DECIDED = ("data.max_concurrent_file_ingestion", "client.ac_max_upload_concurrency")


@pytest.mark.parametrize(
    ("variables", "then"),
    [
        ({}, (1, 3)),
        ({"HF_XET_HIGH_PERFORMANCE": "0"}, (1, 3)),
        ({"HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION": "5"}, (5, 3)),
        ({"HF_XET_MAX_CONCURRENT_FILE_INGESTION": "5"}, (5, 3)),
        ({"HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY": "9"}, (1, 9)),
        ({"HF_XET_FIXED_UPLOAD_CONCURRENCY": "9"}, (1, 9)),
    ],
    ids=str,
)
def test_what_the_user_says_of_an_upload_holds(variables, then):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_XET_")}
    with mock.patch.dict(os.environ, {**kept, **variables}, clear=True):
        limit_memory(1 << 30)
        limit_memory(1 << 30)
        config = XetConfig()
        assert tuple(config.get(name) for name in DECIDED) == then


@pytest.mark.parametrize("name", ["HF_XET_HIGH_PERFORMANCE", "HF_XET_HP"])
def test_nothing_is_bounded_for_one_who_wants_speed_alone(name):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_XET_")} | {name: "1"}
    with mock.patch.dict(os.environ, kept, clear=True):
        limit_memory(1 << 30)
        assert dict(os.environ) == kept


def test_what_is_small_is_not_slowed_down():
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_XET_")}
    with mock.patch.dict(os.environ, kept, clear=True):
        limit_memory(100_000_000)
        assert dict(os.environ) == kept
