"""A Hugging Face Hub on loopback, for tests that drive the unmodified `huggingface_hub` and `datasets` clients.

    with HubServer(tmp_path / "hub", tokens={"hf_w": Token("ada", orgs={"lab": "write"})}) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_w")
        hub.fail(method="POST", path=r"/commit/", how=lose_response())
        ...
        assert hub.ref_moves("lab/data") == [...]

It serves datasets only. Large files travel by the LFS transfers `basic` and `multipart` or, if it is told to have Xet
storage, by Xet's own protocol, both ways, with `hf_xet` 1.8. What the clients send and read was taken from
huggingface_hub 2.4 and is noted where it is served, as file: function of that package. Wordings and statuses that no
client depends on are the Hub's own where they are known.

The modules: `store` is the state (repositories, commits, refs, large objects), `cas` that of Xet storage, `tokens` who
may do what, `faults` what can go wrong, `http` requests and answers on the socket, `api` and `xet` the routes, `server`
the whole.
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
