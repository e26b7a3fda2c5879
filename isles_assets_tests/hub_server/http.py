"""Requests and responses on the socket. Faults can cut both at any byte."""

import json
import re
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from isles_assets_tests.connections import drop

if TYPE_CHECKING:
    from isles_assets_tests.hub_server.server import HubServer

CHUNK = 1 << 16


class DroppedError(Exception):
    """Ends the connection, because of a fault or because the client is gone; with `reset`, by a TCP reset."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("connection dropped")
        self.reset = reset


@dataclass
class Record:
    """One request as the server saw it."""

    method: str
    path: str
    query: str
    token: str | None
    range: str | None
    status: int | None = None
    """Status of the response; None if none was sent."""
    bytes_in: int = 0
    """Bytes of the request's body that were read."""
    bytes_out: int = 0
    """Bytes of the response's body that were sent."""
    time: float = field(default_factory=time.monotonic)
    """Time of arrival, in seconds of the monotonic clock."""


@dataclass
class Response:
    """A response, with the faults that apply when it is sent."""

    status: int
    body: bytes | tuple[Path, int, int] = b""
    """Bytes, or path, start and length of a range of a file."""
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    """Bytes of the body after which the connection ends; None to send all."""
    reset: bool = False
    """Whether it then ends by a TCP reset."""
    flipped: int | None = None
    """Position of a byte of the body that is flipped."""

    @property
    def length(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else self.body[2]

    def pieces(self) -> Iterator[bytes]:
        if isinstance(self.body, bytes):
            yield self.body
            return
        path, start, left = self.body
        with path.open("rb") as file:
            file.seek(start)
            while left and (piece := file.read(min(left, CHUNK))):
                left -= len(piece)
                yield piece


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a response in JSON."""
    return Response(status, json.dumps(content).encode(), {"Content-Type": "application/json", **(headers or {})})


def refusal(status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the Hub reports it: the message in the body and in a header, and often a code.

    The client chooses its exception by `X-Error-Code` first, then by `X-Error-Message` and the status
    (utils/_http.py: hf_raise_for_status), and shows both texts (_format).
    """
    line = " ".join(message.split())
    extra = {"X-Error-Message": line} | ({"X-Error-Code": code} if code else {}) | dict(headers or {})
    return answer({"error": message}, status, extra)


class RefusedError(Exception):
    """Ends the work on a request with an error response."""

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.response = refusal(status, message, code, headers)


class Body:
    """The body of a request, read as it arrives. `at` sets a trap at one of its bytes."""

    def __init__(self, stream: BufferedIOBase, headers: Message, record: Record) -> None:
        self._stream, self._record = stream, record
        self._chunked = "chunked" in headers.get("Transfer-Encoding", "")
        self._left = 0 if self._chunked else int(headers.get("Content-Length") or 0)
        self._trap: tuple[int, Callable[[], None]] | None = None

    def at(self, after_bytes: int, action: Callable[[], None]) -> None:
        """Call `action` once `after_bytes` were read, or at the end of a shorter body."""
        self._trap = after_bytes, action

    def __iter__(self) -> Iterator[bytes]:
        while size := self._next_size():
            piece = self._read(size)
            self._record.bytes_in += len(piece)
            self._left -= len(piece)
            if self._chunked and not self._left:
                self._stream.readline()
            yield piece
        self._spring()

    def _next_size(self) -> int:
        """Spring a trap that is due, and return how many bytes to read: up to the next trap, end of chunk, or end."""
        if self._trap and self._trap[0] <= self._record.bytes_in:
            self._spring()
        if self._chunked and not self._left:
            if not (line := self._stream.readline()):
                raise DroppedError
            self._left = int(line.split(b";")[0], 16)
            if not self._left:
                self._chunked = False
                self._stream.readline()
        to_trap = self._trap[0] - self._record.bytes_in if self._trap else CHUNK
        return min(self._left, to_trap, CHUNK)

    def _read(self, size: int) -> bytes:
        try:
            piece = self._stream.read(size)
        except OSError as error:
            raise DroppedError from error
        if len(piece) < size:
            raise DroppedError
        return piece

    def _spring(self) -> None:
        if self._trap:
            (_, action), self._trap = self._trap, None
            action()

    def read(self) -> bytes:
        return b"".join(self)

    def json(self) -> Any:
        return json.loads(self.read())

    def save(self, path: Path) -> None:
        """Write the body to a file. An incomplete one is removed."""
        try:
            with path.open("wb") as file:
                for piece in self:
                    file.write(piece)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


@dataclass
class Call:
    """A request that the server is working on."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Body
    record: Record
    stored: Collection[str] = ()  # SHA-256 of the large objects that it has stored

    @property
    def path(self) -> str:
        return self.record.path

    @property
    def query(self) -> dict[str, str]:
        return {key: values[-1] for key, values in parse_qs(self.record.query, keep_blank_values=True).items()}

    def multiple(self, key: str) -> list[str]:
        """Return all values of a key of the query."""
        return parse_qs(self.record.query).get(key, [])


class Handler(BaseHTTPRequestHandler):
    """One connection. `HubServer.answer` answers every method."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "Listener"

    def exchange(self) -> None:
        split = urlsplit(self.path)
        bearer = re.fullmatch("Bearer (.+)", self.headers.get("Authorization", ""))
        record = Record(
            self.command,
            split.path if self.path.startswith("/") else self.path,  # a proxy gets a URL: see HubServer.environment
            split.query,
            bearer[1] if bearer else None,
            self.headers.get("Range"),
        )
        call = Call(self.command, self.path, dict(self.headers.items()), Body(self.rfile, self.headers, record), record)
        with self.server.hub.at_work(record):
            try:
                response = self.server.hub.answer(call)
                for _ in call.body:  # clients read no response before they have sent the body
                    pass
                self._send(response, record)
            except DroppedError as dropped:
                drop(self, reset=dropped.reset)
            except OSError:  # the client is gone
                drop(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_CONNECT = exchange  # noqa: N815 - the names http.server calls

    def _send(self, response: Response, record: Record) -> None:
        record.status = response.status
        self.send_response(response.status)
        self.send_header("Content-Length", str(response.length))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in response.pieces():
            if response.flipped is not None and 0 <= (at := response.flipped - record.bytes_out) < len(piece):
                piece = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
            if response.cut is not None:
                piece = piece[: max(response.cut - record.bytes_out, 0)]
            record.bytes_out += len(piece)
            self.wfile.write(piece)
            if response.cut is not None and record.bytes_out >= response.cut:
                raise DroppedError(reset=response.reset)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing; `HubServer.requests` lists the requests."""


class Listener(ThreadingHTTPServer):
    """The listening socket and its open connections, which `stop` ends."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, hub: "HubServer", port: int) -> None:
        self.hub = hub
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep a defect of the server, which fails the test. A client may vanish at any time."""
        if not isinstance(sys.exception(), OSError):
            self.hub.keep_defect()
