"""A small Zenodo on loopback: the API of its records, the bytes of their archives, and faults that a test can order.

Like a mirror it responds with addresses of the original, which clients must not request.
"""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO, Self

from isles_assets.release.isles24 import ISLES24
from isles_assets.release.zenodo_record import ZenodoRecord
from isles_assets.source.patience import Patience
from isles_assets_tests.connections import drop

FAST = Patience(in_all=1.5, first=0.01, longest=0.05, connect=20, stall=20)
"""Patience for a server on loopback."""

_PIECE = 1 << 16


def record_of(content: Path, record: ZenodoRecord = ISLES24.record) -> ZenodoRecord:
    """Return a copy of `record` with size and MD5 of the archive at `content`."""
    digest = md5(content.read_bytes(), usedforsecurity=False).hexdigest()
    return replace(record, size=content.stat().st_size, md5=digest)


@dataclass
class Deposit:
    """A record on the server: its metadata, and the bytes of its archive."""

    record: ZenodoRecord
    content: Path
    date: str = "2025-11-20"
    etag: str | None = ""
    """Empty for Zenodo's own, made of the MD5; None to send none."""

    def __post_init__(self) -> None:
        if self.etag == "":
            self.etag = f'"md5:{self.record.md5}"'

    def described(self) -> dict[str, Any]:
        record = self.record
        self_link = f"https://zenodo.invalid/api/records/{record.record}/files/{record.archive}/content"
        file = {
            "id": "0e4b9a0f",
            "key": record.archive,
            "size": record.size,
            "checksum": f"md5:{record.md5}",
            "links": {"self": self_link},
        }
        return {
            "id": int(record.record),
            "conceptrecid": record.concept,
            "metadata": {"title": record.title, "version": record.version, "publication_date": self.date},
            "files": [file],
            "links": {"self": f"https://zenodo.invalid/api/records/{record.record}"},
        }


@dataclass
class ReceivedRequest:
    """A request, with the status of its response and the number of bytes of its body that were sent."""

    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class Cut:
    """Ends the connection after `after` bytes of the body; `then` is called first."""

    after: int
    reset: bool = False
    then: Callable[[], None] = lambda: None


@dataclass
class Stall:
    """Sends `after` bytes of the body and no more, until the server ends."""

    after: int


@dataclass
class Trickle:
    """Sends the bytes after the first `after` one by one."""

    after: int


@dataclass
class Status:
    """Responds with this status instead."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


Fault = Cut | Stall | Trickle | Status


class ZenodoServer(ThreadingHTTPServer):
    """Serves `deposits` inside its context; the last one is the newest version.

    Each request for bytes takes one of `faults`, each other request one of `api_faults`. `requests` lists them all.
    `states` makes the Content-Range of a start, an end (exclusive) and the archive's size.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, *deposits: Deposit):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.deposits = list(deposits)
        self.faults: deque[Fault] = deque()
        self.api_faults: deque[Fault] = deque()
        self.requests: list[ReceivedRequest] = []
        self.knows_ranges = True
        self.latest_is_a_redirect = True
        self.states: Callable[[int, int, int], str] = lambda start, end, size: f"bytes {start}-{end - 1}/{size}"
        self.stopping = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stopping.set()
        self.shutdown()
        self.server_close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def downloads(self) -> list[ReceivedRequest]:
        """The requests for bytes."""
        return [seen for seen in self.requests if seen.path.endswith("/content")]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore it; clients may vanish at any time."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ZenodoServer

    def do_GET(self) -> None:
        self.seen = ReceivedRequest(self.path, dict(self.headers.items()))
        self.server.requests.append(self.seen)
        faults = self.server.faults if self.path.endswith("/content") else self.server.api_faults
        fault = faults.popleft() if faults else None
        if isinstance(fault, Status):
            self._answer(fault.code, fault.body, fault.headers)
            return
        for deposit in self.server.deposits:
            here = f"/api/records/{deposit.record.record}"
            if self.path == here:
                return self._answer(200, deposit.described())
            if self.path == f"{here}/versions/latest":
                return self._latest()
            if self.path == f"{here}/files/{deposit.record.archive}/content":
                return self._send(deposit, fault)
        self._answer(404, {"status": 404, "message": "The persistent identifier does not exist."})

    def _latest(self) -> None:
        newest = self.server.deposits[-1]
        if self.server.latest_is_a_redirect:
            location = f"https://zenodo.invalid/api/records/{newest.record.record}"
            self._answer(302, headers={"Location": location})
        else:
            self._answer(200, newest.described())

    def _answer(self, code: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self._begin(code, {"Content-Length": str(len(content)), **(headers or {})})
        self.wfile.write(content)

    def _begin(self, code: int, headers: Mapping[str, str | None]) -> None:
        self.seen.status = code
        self.send_response(code)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _send(self, deposit: Deposit, fault: Fault | None) -> None:
        size = deposit.content.stat().st_size
        start, end = 0, size
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        in_part = asked and self.server.knows_ranges and self.headers.get("If-Range", deposit.etag) == deposit.etag
        if asked and in_part:
            start, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
        if start >= size:
            return self._begin(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
        headers = {"ETag": deposit.etag, "Content-Length": str(end - start)}
        if in_part:
            headers["Content-Range"] = self.server.states(start, end, size)
        self._begin(206 if in_part else 200, headers)
        cut = min(end, start + fault.after) if isinstance(fault, Cut | Stall | Trickle) else end
        with deposit.content.open("rb") as content:
            content.seek(start)
            for place in range(start, cut, _PIECE):
                self._write(content.read(min(_PIECE, cut - place)))
            self._falter(fault, content, end)

    def _falter(self, fault: Fault | None, content: BinaryIO, end: int) -> None:
        match fault:
            case Cut():
                fault.then()
                drop(self, reset=fault.reset)
            case Stall():
                self.server.stopping.wait()
                drop(self)
            case Trickle():
                while content.tell() < end:
                    self._write(content.read(1))
                    time.sleep(0.01)

    def _write(self, piece: bytes) -> None:
        self.wfile.write(piece)
        self.seen.sent += len(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing; `ZenodoServer.requests` lists the requests."""
