"""A Hugging Face Hub on loopback, for tests that drive the unmodified `huggingface_hub` and `datasets` clients.

    with HubServer(tmp_path / "hub", tokens={"hf_w": Token("ada", orgs={"lab": "write"})}) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_w")
        hub.fail(method="POST", path=r"/commit/", how=lose_response())
        ...
        assert hub.ref_moves("lab/data") == [...]

It serves datasets only. Large files travel by the LFS transfers `basic` and `multipart`. With `xet=True` they travel by
Xet's protocol, up and down, as `hf_xet` 1.8 speaks it. The routes answer what the clients of huggingface_hub 2.4 read;
their docstrings name the client's code as file: function. Messages and statuses that no client reads are the Hub's own
where they are known.

The modules: `store` holds repositories, commits, refs and large objects, `cas` the files of Xet storage, `tokens` the
rights, `faults` the failures that a test can order, `http` requests and responses on the socket, `api` and `xet` the
routes. `server` has the class that tests use.
"""

from isles_assets_tests.hub_server.faults import (
    Fault,
    cut_request_body,
    cut_response,
    damage,
    damage_response,
    delay,
    expire_token,
    hold,
    lose_response,
    status,
)
from isles_assets_tests.hub_server.http import Record
from isles_assets_tests.hub_server.server import HubServer
from isles_assets_tests.hub_server.store import RefMove
from isles_assets_tests.hub_server.tokens import Token

__all__ = [
    "Fault",
    "HubServer",
    "Record",
    "RefMove",
    "Token",
    "cut_request_body",
    "cut_response",
    "damage",
    "damage_response",
    "delay",
    "expire_token",
    "hold",
    "lose_response",
    "status",
]
