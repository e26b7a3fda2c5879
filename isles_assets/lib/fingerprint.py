"""Short digests of the tables that a result derives from, so that no change of one is missed."""

import hashlib
import json
from typing import Any

import pyarrow as pa

_LENGTH = 10


def fingerprint(*parts: Any) -> str:
    """Return ten hex digits for `parts`: numbers, strings, Arrow schemas, and lists, tuples and dicts of these.

    Raises:
        TypeError: A part is of another type.
    """
    return hashlib.sha256(json.dumps(parts, default=_plain).encode()).hexdigest()[:_LENGTH]


def _plain(part: Any) -> Any:
    if isinstance(part, pa.Schema):
        return [(field.name, str(field.type)) for field in part]
    raise TypeError(f"there is no fingerprint of {type(part).__name__}")
