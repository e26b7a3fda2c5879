"""How long a server asks to wait before it is asked again."""

import time
from collections.abc import Mapping

import urllib3


def pause_asked(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, by the `headers` of an answer, whose names know no case; None if they do not say.

    They say it as `Retry-After`, in seconds or as a date, or as the time in `X-RateLimit-Reset`.
    """
    if after := headers.get("Retry-After"):
        try:
            return urllib3.Retry().parse_retry_after(after)
        except urllib3.exceptions.InvalidHeader:
            return None
    reset = headers.get("X-RateLimit-Reset", "")
    return max(int(reset) - time.time(), 0) if reset.isdecimal() else None
