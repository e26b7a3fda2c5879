"""What can go wrong: rules that meet a request before its body is read, on the way, or after the work is done."""

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
    """A way to go wrong; each of the two moments may change the exchange, answer it, or drop the connection."""

    def before(self, hub: "HubServer", call: Call, fault: "Fault") -> Response | None:
        """Called when the request line and headers are there and nothing of the body; an answer ends the exchange."""
        return None

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        """Called when the work is done and nothing of the answer sent."""


@dataclass
class Fault:
    """A rule given to `HubServer.fail`."""

    method: str
    path: re.Pattern[str]
    times: int
    skip: int
    how: How
    hits: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def takes(self, call: Call) -> bool:
        """Whether the rule applies to this request; counts it if so."""
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
        """Wait until so many more requests have met the rule (with `hold`: and are held)."""
        for _ in range(arrivals):
            if not self._arrivals.acquire(timeout=timeout):
                raise TimeoutError(f"no request has met the fault at {self.path.pattern}")

    def release(self) -> None:
        """Let the requests go on that `hold` holds."""
        self.released.set()


@dataclass(frozen=True)
class status(How):  # noqa: N801 - reads as a word of the call: how=status(503)
    """Answer with this status, before any work; the body of the request is read and forgotten.

    With a `body` that is the answer, in the type of the headers, as that of a store or proxy, instead of the message.
    """

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "made to fail"
    body: bytes | None = None

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> Response:
        if self.body is not None:
            return Response(self.code, self.body, dict(self.headers))
        return refusal(self.code, self.message, headers=self.headers)


@dataclass(frozen=True)
class cut_request_body(How):  # noqa: N801
    """Close the connection when so many bytes of the request's body have arrived."""

    after_bytes: int

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        call.body.at(self.after_bytes, _drop)


@dataclass(frozen=True)
class cut_response(How):  # noqa: N801
    """Do the work, but close the connection after so many bytes of the answer's body; with `reset` not cleanly."""

    after_bytes: int
    reset: bool = False

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        response.cut, response.reset = self.after_bytes, self.reset


@dataclass(frozen=True)
class lose_response(How):  # noqa: N801
    """Do the work, then drop the connection before the first byte of the answer."""

    reset: bool = False

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        raise DroppedError(reset=self.reset)


@dataclass(frozen=True)
class delay(How):  # noqa: N801
    """Answer so many seconds late."""

    seconds: float

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        hub.stopping.wait(self.seconds)


@dataclass(frozen=True)
class hold(How):  # noqa: N801
    """Stop when so many bytes of the body (or all of a shorter one) were read, until `Fault.release`.

    Without a number: when the headers are there. A client that is killed meanwhile has handed some of the body to its
    system, up to several MB, which still arrives.
    """

    after_bytes: int | None = None

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
    """Flip the byte at `at` of each large object this request has stored, so that it is not what it was any more."""

    at: int = 0

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        for sha256 in call.stored:
            hub.flip(sha256, self.at)


@dataclass(frozen=True)
class damage_response(How):  # noqa: N801
    """Do the work, but flip the byte at `at` of the answer's body on its way; what is stored stays as it is."""

    at: int = 0

    def after(self, hub: "HubServer", call: Call, response: Response) -> None:
        response.flipped = self.at


@dataclass(frozen=True)
class expire_token(How):  # noqa: N801
    """The token has expired when this request arrives."""

    token: str

    def before(self, hub: "HubServer", call: Call, fault: Fault) -> None:
        hub.tokens[self.token].expired = True


def _drop() -> None:
    raise DroppedError
