"""Faults that a test can order: before a request's body is read, while it is read, or after the work is done."""

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isles_assets_tests.hub_server.http import Call, DroppedError, Response, refusal
from isles_assets_tests.processes import LONG

if TYPE_CHECKING:
    from isles_assets_tests.hub_server.server import HubServer


class How:
    """A kind of fault. Its methods may change the exchange, or raise `DroppedError` to drop the connection."""

    def before(self, hub: "HubServer", call: Call, fault: "Fault") -> Response | None:
        """Act when the headers have arrived, before the body is read. A returned response ends the exchange."""
        return None

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        """Act when the work is done, before any of the response is sent."""


@dataclass
class Fault:
    """A rule that `HubServer.fail` has set: which requests it hits, and how."""

    method: str
    path: re.Pattern[str]
    times: int
    """Number of requests that it hits."""
    skip: int
    """Number of matching requests that still pass before the first hit."""
    how: How
    hits: int = 0
    """Number of requests hit so far."""
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def takes(self, call: Call) -> bool:
        """Return whether the rule hits this request, and count it."""
        if self.method not in (call.method, "*") or not self.path.search(call.target):
            return False
        with self._lock:
            if self.skip > 0:
                self.skip -= 1
                return False
            if self.hits == self.times:
                return False
            self.hits += 1
            return True

    def arrive(self) -> None:
        self._arrivals.release()

    def wait(self, arrivals: int = 1, timeout: float = LONG) -> None:
        """Wait until that many more requests were hit; with `hold`, until they are held.

        Raises:
            TimeoutError: They did not come within `timeout` seconds.
        """
        for _ in range(arrivals):
            if not self._arrivals.acquire(timeout=timeout):
                raise TimeoutError(f"no request has met the fault at {self.path.pattern}")

    def release(self) -> None:
        """Let the requests continue that `hold` holds."""
        self.released.set()


@dataclass(frozen=True)
class status(How):  # noqa: N801 - reads as a word of the call: how=status(503)
    """Respond with this status and do no work. The request's body is read and ignored."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "made to fail"
    body: bytes | None = None
    """Body of the response, as a store or proxy would send it, instead of the Hub's JSON with `message`."""

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> Response:
        if self.body is not None:
            return Response(self.code, self.body, dict(self.headers))
        return refusal(self.code, self.message, headers=self.headers)


@dataclass(frozen=True)
class cut_request_body(How):  # noqa: N801
    """Close the connection after `after_bytes` of the request's body."""

    after_bytes: int

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        call.body.at(self.after_bytes, _drop)


@dataclass(frozen=True)
class cut_response(How):  # noqa: N801
    """Do the work, and close the connection after `after_bytes` of the response's body; `reset` sends a TCP reset."""

    after_bytes: int
    reset: bool = False

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        response.cut, response.reset = self.after_bytes, self.reset


@dataclass(frozen=True)
class lose_response(How):  # noqa: N801
    """Do the work, and drop the connection before the first byte of the response."""

    reset: bool = False

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        raise DroppedError(reset=self.reset)


@dataclass(frozen=True)
class delay(How):  # noqa: N801
    """Respond `seconds` late."""

    seconds: float

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        hub.stopping.wait(self.seconds)


@dataclass(frozen=True)
class hold(How):  # noqa: N801
    """Hold the request until `Fault.release`.

    If its client is killed meanwhile, up to several MB of the body may still arrive from the operating system.
    """

    after_bytes: int | None = None
    """Bytes of the body to read first, or all of a shorter body; None to hold when the headers have arrived."""

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        if self.after_bytes is None:
            self._hold(fault)
        else:
            call.body.at(self.after_bytes, lambda: self._hold(fault))

    @staticmethod
    def _hold(fault: Fault) -> None:
        fault.arrive()
        fault.released.wait()


@dataclass(frozen=True)
class damage(How):  # noqa: N801
    """Flip the byte at `at` of each large object that this request has stored."""

    at: int = 0

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        for sha256 in call.stored:
            hub.flip(sha256, self.at)


@dataclass(frozen=True)
class damage_response(How):  # noqa: N801
    """Do the work, and flip the byte at `at` of the response's body. The stored object stays sound."""

    at: int = 0

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        response.flipped = self.at


@dataclass(frozen=True)
class expire_token(How):  # noqa: N801
    """Let the token expire when this request arrives."""

    token: str

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        hub.tokens[self.token].expired = True


def _drop() -> None:
    raise DroppedError
