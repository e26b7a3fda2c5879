"""Several processes publish to one repo of the Hub at the same time, and whoever reads sees whole datasets only."""

import contextlib
import os
import time
from collections.abc import Mapping
from typing import Any

import pytest
from huggingface_hub import constants

from isles_assets.hub.huggingface import HuggingFaceHub
from isles_assets.hub.ownership import tag_of
from isles_assets.hub.verification import remote_matches_local
from isles_assets.lib.findings import Refusal
from isles_assets.publication.guard import recorded_publication
from isles_assets.publication.publication import Publication
from isles_assets_tests.hub_server import HubServer, Token
from isles_assets_tests.processes import LONG
from isles_assets_tests.running import WARM, forked
from isles_assets_tests.test_local_hub import files_of, variant
from isles_assets_tests.toy import DATASET, TOY

REPO = TOY.repo
TOKEN = "hf_w"
LOOKS = 8


@pytest.fixture(params=["LFS", "Xet"])
def hub(request, tmp_path):
    tokens = {TOKEN: Token("ada", orgs={"toys": "write"})}
    with HubServer(tmp_path / "hub", tokens, xet=request.param == "Xet") as server, server.clients(tmp_path / "home"):
        yield server


def publish_again_and_again(
    endpoint: str, environment: Mapping[str, str], publication: Publication, published: Any, enough: Any
) -> None:
    """Publish until it is `enough`, and once at least, by clients that know one Hub; others do so in between."""
    os.environ.update(environment)
    constants.HF_HUB_DISABLE_XET = environment["HF_HUB_DISABLE_XET"] == "1"
    target = HuggingFaceHub(REPO, DATASET, endpoint=endpoint)
    done = False
    while not (done and enough.is_set()):
        try:
            target.publish(publication)
        except Refusal as refusal:
            if "somebody else did" not in str(refusal):
                raise
        else:
            done = True
            published.release()
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, pytest.param(3, marks=pytest.mark.long)])
def test_readers_see_whole_datasets_while_several_processes_publish(hub, toy_built, tmp_path, number):
    whole = recorded_publication(DATASET, toy_built.folder, REPO)
    known = [variant(whole, tmp_path / str(one), str(one).encode()) for one in range(number)]
    published, enough = WARM.Semaphore(0), WARM.Event()
    target = HuggingFaceHub(REPO, DATASET, endpoint=hub.endpoint)
    with contextlib.ExitStack() as stack:
        publishers = [
            stack.enter_context(
                forked(
                    publish_again_and_again,
                    hub.endpoint,
                    hub.environment(tmp_path / f"home {one}", TOKEN),
                    publication,
                    published,
                    enough,
                )
            )
            for one, publication in enumerate(known)
        ]
        assert published.acquire(timeout=LONG)
        seen = []
        deadline = time.monotonic() + LONG
        while len(seen) < LOOKS or len(set(seen)) < 3:
            assert time.monotonic() < deadline
            pinned = target.pinned()
            assert sum(not remote_matches_local(pinned, one) for one in known) == 1
            seen.append(pinned.revision)
        enough.set()
        for publisher in publishers:
            publisher.join()
            assert publisher.exitcode == 0
    for publication in known:
        stored = hub.files(REPO, tag_of(publication))
        assert {path: file[1] for path, file in stored.items() if path != ".gitattributes"} == files_of(publication)
