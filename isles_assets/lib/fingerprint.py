"""Short digests of the tables that a result derives from, so that a change of one cannot be forgotten."""

import hashlib
import json
from typing import Any

import pyarrow as pa

_LENGTH = 10


def fingerprint(*parts: Any) -> str:
    """Ten hex digits for `parts`: numbers, strings, Arrow schemas, and lists, tuples and dicts of such."""
    return hashlib.sha256(json.dumps(parts, default=_plain).encode()).hexdigest()[:_LENGTH]


def _plain(part: Any) -> Any:
    if isinstance(part, pa.Schema):
        return [(field.name, str(field.type)) for field in part]
    raise TypeError(f"there is no fingerprint of {type(part).__name__}")
