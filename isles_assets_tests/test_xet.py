"""What `hf_xet` raises is understood though it hides the words, and its folder is looked at before it begins."""

import pytest

from isles_assets.hub.denials import denials_explained
from isles_assets.hub.xet import check_cache
from isles_assets.lib.findings import Refusal
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
def test_what_may_pass_is_raised_as_it_is(text):
    with pytest.raises(ConnectionError, match="error"), denials_explained("toys/toy"):
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
