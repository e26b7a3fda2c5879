"""The routes of Xet storage: tokens of the Hub, the storage's own interface, and the addresses that it signs.

On the Hub each of the three is a host of its own; here the store is `localhost`, so that clients take it for another.
Requests and answers are those of hf_xet 1.8 and of what is published of the storage (xet-core:
openapi/cas.openapi.yaml, xet_client/README.md). Tokens are asked for by huggingface_hub for reading (utils/_xet.py), by
hf_xet for writing.
"""

import json
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from isles_assets_tests.hub_server.api import API, at, byte_range, piece, readable, route, writable
from isles_assets_tests.hub_server.cas import Arriving, Grant, MalformedError, merged
from isles_assets_tests.hub_server.http import Call, RefusedError, Response, answer
from isles_assets_tests.hub_server.store import WrongBytesError

if TYPE_CHECKING:
    from isles_assets_tests.hub_server.server import HubServer

HASH = "[0-9a-f]{64}"


@route("GET", f"{API}/xet-(?P<right>read|write)-token/(?P<revision>[^/]+)")
def xet_token(hub: "HubServer", call: Call, repo_id: str, right: str, revision: str) -> Response:
    """utils/_xet.py: parse_xet_connection_info_from_headers; hf_xet reads the same from the body."""
    repo = (writable if right == "write" else readable)(hub, call, repo_id)
    if not hub.xet:
        raise RefusedError(404, "this server has no Xet storage")
    at(repo, revision)
    token, grant = hub.cas.grant(repo, writes=right == "write")
    headers = {"X-Xet-Cas-Url": hub.endpoint, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(grant.expires)}
    return answer({"casUrl": hub.endpoint, "accessToken": token, "exp": grant.expires}, headers=headers)


def granted(hub: "HubServer", call: Call, *, writes: bool = False) -> Grant:
    """What the access token of the request stands for."""
    grant = hub.cas.grants.get(call.record.token or "")
    if grant is None or grant.expires <= time.time():
        raise RefusedError(401, "Unauthorized: the access token is not valid, or not any more")
    if writes and not grant.writes:
        raise RefusedError(403, "Forbidden: the access token is for reading")
    return grant


@route("POST", f"/v1/xorb-grants/default/(?P<xorb>{HASH})")
def grant_upload(hub: "HubServer", call: Call, xorb: str) -> Response:
    """Where to send a xorb: 201 with an address that is the right to do so, or 200 if it is there already.

    The body has a CRC-64 for the store, which does not look at it here.
    """
    granted(hub, call, writes=True)
    size = call.body.json()["length"]
    if hub.cas.has(xorb):
        return answer({})
    upload = uuid.uuid4().hex
    hub.cas.uploads[upload] = Arriving(xorb, size, hub.store.objects.incoming())
    url = hub.store_address(hub.cas.sign(f"/xet-store/uploads/{upload}"))
    return answer(
        {"id": upload, "method": "PUT", "url": url, "headers": {"Content-Type": "application/octet-stream"}}, 201
    )


@route("PUT", "/xet-store/uploads/(?P<upload>[0-9a-f]{32})")
def store_xorb(hub: "HubServer", call: Call, upload: str) -> Response:
    """The xorb arrives, at an address that was granted."""
    signed(hub, call)
    arriving = hub.cas.uploads[upload]
    call.body.save(arriving.path)
    if arriving.path.stat().st_size != arriving.size:
        raise RefusedError(400, "IncompleteBody: not as many bytes have arrived as were announced")
    return Response(200)


@route("POST", f"/v1/xorb-commits/default/(?P<xorb>{HASH})/grant/(?P<upload>[0-9a-f]{{32}})")
def commit_xorb(hub: "HubServer", call: Call, xorb: str, upload: str) -> Response:
    """Take what has arrived for the xorb that it was announced as. It counts for nothing before a shard names it."""
    granted(hub, call, writes=True)
    arriving = hub.cas.uploads.get(upload)
    if arriving is None or arriving.xorb != xorb or not arriving.path.exists():
        raise RefusedError(404, "Not Found: nothing was uploaded by this grant")
    return _taken(hub, xorb, arriving.path)


@route("POST", f"/v1/xorbs/default/(?P<xorb>{HASH})")
def upload_xorb(hub: "HubServer", call: Call, xorb: str) -> Response:
    """All of this at once: hf_xet asks for it if a storage answers 404 to its asking for a grant."""
    granted(hub, call, writes=True)
    arrived = hub.store.objects.incoming()
    call.body.save(arrived)
    return _taken(hub, xorb, arrived)


def _taken(hub: "HubServer", xorb: str, arrived: Path) -> Response:
    try:
        return answer({"was_inserted": hub.cas.put(xorb, arrived)})
    except MalformedError as wrong:
        raise RefusedError(400, f"Bad Request: {wrong}") from None


@route("POST", "/v2/shards")
def upload_shard(hub: "HubServer", call: Call) -> Response:
    """The end of an upload: its files are there from now on. The answer is a line of JSON for each step."""
    grant = granted(hub, call, writes=True)
    try:
        call.stored = hub.cas.register(call.body.read(), grant.repo)
    except (MalformedError, WrongBytesError) as wrong:
        raise RefusedError(400, f"Bad Request: {wrong}") from None
    return Response(200, json.dumps({"type": "result"}).encode() + b"\n", {"Content-Type": "application/x-ndjson"})


@route("GET", f"/v1/chunks/default/(?P<chunk>{HASH})")
def known_chunk(hub: "HubServer", call: Call, chunk: str) -> Response:
    """Whether anybody has uploaded that chunk. Here nobody has; what a client has sent itself, its cache knows."""
    granted(hub, call)
    raise RefusedError(404, "Not Found: this chunk is not tracked")


@route("GET", f"/v2/reconstructions/(?P<xet_hash>{HASH})")
def reconstruction(hub: "HubServer", call: Call, xet_hash: str) -> Response:
    """Of which chunks a file, or a range of it, is made, and where to get them. Addresses are signed for one range."""
    grant = granted(hub, call)
    if not hub.cas.may_read(xet_hash, grant.repo):
        raise RefusedError(404, f"Not Found: no file {xet_hash}")
    size = hub.cas.size(xet_hash)
    wanted = byte_range(call.record.range, size)
    skipped, segments = hub.cas.segments(xet_hash, range(size) if wanted is None else wanted)
    if not segments:
        raise RefusedError(416, "Range Not Satisfiable")
    xorbs: dict[str, list[dict[str, object]]] = {}
    for segment in merged(segments):  # hf_xet fails at ranges that overlap
        place = hub.cas.place(segment)
        url = hub.store_address(hub.cas.sign(f"/xet-store/xorbs/{segment.xorb}", place))
        ranges = {"chunks": _range(segment.first, segment.end), "bytes": _range(place.start, place.stop - 1)}
        xorbs.setdefault(segment.xorb, []).append({"url": url, "ranges": [ranges]})
    terms = [
        {"hash": segment.xorb, "range": _range(segment.first, segment.end), "unpacked_length": hub.cas.length(segment)}
        for segment in segments
    ]
    return answer({"offset_into_first_range": skipped, "terms": terms, "xorbs": xorbs})


def _range(start: int, end: int) -> dict[str, int]:
    return {"start": start, "end": end}


@route("POST", "/v1/telemetry")
def telemetry(hub: "HubServer", call: Call) -> Response:
    """hf_xet tells how fast it was; the answer is not read."""
    return answer({})


@route("GET", f"/xet-store/(?P<kind>xorbs|objects)/(?P<name>{HASH})")
@route("HEAD", f"/xet-store/(?P<kind>xorbs|objects)/(?P<name>{HASH})")
def stored(hub: "HubServer", call: Call, kind: str, name: str) -> Response:
    """What lies behind a signed address: a range of a xorb, or a whole file for clients without hf_xet."""
    signed(hub, call)
    file = hub.cas.path(name) if kind == "xorbs" else hub.store.objects.path(name)
    return piece(call, file, file.stat().st_size, {"Content-Type": "application/octet-stream"})


def signed(hub: "HubServer", call: Call) -> None:
    """Refuse a request to the store without the right signature; with a token in addition as well, as S3 does."""
    path, place = hub.cas.signed.get(call.query.get("X-Xet-Signature", ""), ("", None))
    if path != call.path or (place is not None and call.record.range != f"bytes={place.start}-{place.stop - 1}"):
        raise RefusedError(403, "AccessDenied: the signature is not valid for this request")
    if call.record.token is not None:
        raise RefusedError(400, "InvalidArgument: Only one auth mechanism allowed")
