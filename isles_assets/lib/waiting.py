"""The pause that a server requests before the next attempt."""

import time
from collections.abc import Mapping

import urllib3


def requested_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, by the `headers` of a response; None if they do not say.

    A server says it by `Retry-After`, in seconds or as a date, or by `X-RateLimit-Reset`, as a time since 1970.

    Args:
        headers: A mapping that ignores case.
    """
    if after := headers.get("Retry-After"):
        try:
            return urllib3.Retry().parse_retry_after(after)
        except urllib3.exceptions.InvalidHeader:
            return None
    reset = headers.get("X-RateLimit-Reset", "")
    return max(int(reset) - time.time(), 0) if reset.isdecimal() else None
