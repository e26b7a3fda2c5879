"""The routes of Xet storage: the Hub's tokens for it, its own interface, and the addresses that it signs.

The Hub has a host for each of the three. Here the store is `localhost`, which clients take for another host. Requests
and responses are those of hf_xet 1.8 and of the published interface (xet-core: openapi/cas.openapi.yaml,
xet_client/README.md). huggingface_hub requests tokens for reading (utils/_xet.py), hf_xet those for writing.
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
    """Return the grant of the request's access token."""
    grant = hub.cas.grants.get(call.record.token or "")
    if grant is None or grant.expires <= time.time():
        raise RefusedError(401, "Unauthorized: the access token is not valid, or not any more")
    if writes and not grant.writes:
        raise RefusedError(403, "Forbidden: the access token is for reading")
    return grant


@route("POST", f"/v1/xorb-grants/default/(?P<xorb>{HASH})")
def grant_upload(hub: "HubServer", call: Call, xorb: str) -> Response:
    """Return where to send a xorb: 201 with an address that grants the upload, or 200 if the xorb is stored already.

    The CRC-64 in the body is not checked.
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
    """Receive a xorb at a granted address."""
    signed(hub, call)
    arriving = hub.cas.uploads[upload]
    call.body.save(arriving.path)
    if arriving.path.stat().st_size != arriving.size:
        raise RefusedError(400, "IncompleteBody: not as many bytes have arrived as were announced")
    return Response(200)


@route("POST", f"/v1/xorb-commits/default/(?P<xorb>{HASH})/grant/(?P<upload>[0-9a-f]{{32}})")
def commit_xorb(hub: "HubServer", call: Call, xorb: str, upload: str) -> Response:
    """Store a received xorb. No file uses it before a shard names it."""
    granted(hub, call, writes=True)
    arriving = hub.cas.uploads.get(upload)
    if arriving is None or arriving.xorb != xorb or not arriving.path.exists():
        raise RefusedError(404, "Not Found: nothing was uploaded by this grant")
    return _taken(hub, xorb, arriving.path)


@route("POST", f"/v1/xorbs/default/(?P<xorb>{HASH})")
def upload_xorb(hub: "HubServer", call: Call, xorb: str) -> Response:
    """Receive and store a xorb in one request. hf_xet sends it if the request for a grant gets a 404."""
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
    """End an upload: its files exist from now on. The response has one line of JSON for each step."""
    grant = granted(hub, call, writes=True)
    try:
        call.stored = hub.cas.register(call.body.read(), grant.repo)
    except (MalformedError, WrongBytesError) as wrong:
        raise RefusedError(400, f"Bad Request: {wrong}") from None
    return Response(200, json.dumps({"type": "result"}).encode() + b"\n", {"Content-Type": "application/x-ndjson"})


@route("GET", f"/v1/chunks/default/(?P<chunk>{HASH})")
def known_chunk(hub: "HubServer", call: Call, chunk: str) -> Response:
    """Return whether a chunk was uploaded: never here. A client finds its own chunks in its cache."""
    granted(hub, call)
    raise RefusedError(404, "Not Found: this chunk is not tracked")


@route("GET", f"/v2/reconstructions/(?P<xet_hash>{HASH})")
def reconstruction(hub: "HubServer", call: Call, xet_hash: str) -> Response:
    """Return the chunks of a file or a range of it, and where to fetch them. Each address is signed for one range."""
    grant = granted(hub, call)
    if not hub.cas.may_read(xet_hash, grant.repo):
        raise RefusedError(404, f"Not Found: no file {xet_hash}")
    size = hub.cas.size(xet_hash)
    wanted = byte_range(call.record.range, size)
    skipped, segments = hub.cas.segments(xet_hash, range(size) if wanted is None else wanted)
    if not segments:
        raise RefusedError(416, "Range Not Satisfiable")
    xorbs: dict[str, list[dict[str, object]]] = {}
    for segment in merged(segments):  # hf_xet fails on overlapping ranges
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
    """Accept the speed that hf_xet reports. It reads no response."""
    return answer({})


@route("GET", f"/xet-store/(?P<kind>xorbs|objects)/(?P<name>{HASH})")
@route("HEAD", f"/xet-store/(?P<kind>xorbs|objects)/(?P<name>{HASH})")
def stored(hub: "HubServer", call: Call, kind: str, name: str) -> Response:
    """Return the content at a signed address: a range of a xorb, or a whole file for clients without hf_xet."""
    signed(hub, call)
    file = hub.cas.path(name) if kind == "xorbs" else hub.stored(name)
    return piece(call, file, {"Content-Type": "application/octet-stream"})


def signed(hub: "HubServer", call: Call) -> None:
    """Refuse a request to the store that lacks a valid signature or has a token besides, as S3 does."""
    path, place = hub.cas.signed.get(call.query.get("X-Xet-Signature", ""), ("", None))
    if path != call.path or (place is not None and call.record.range != f"bytes={place.start}-{place.stop - 1}"):
        raise RefusedError(403, "AccessDenied: the signature is not valid for this request")
    if call.record.token is not None:
        raise RefusedError(400, "InvalidArgument: Only one auth mechanism allowed")
