"""What the footer of a published shard says of the volumes in it, read by whoever does not trust it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isles_assets.products.footer import FOOTER_KEY


@dataclass(frozen=True)
class PackedSource:
    """A volume as a shard's footer names it: `path` in the tree, `size` (bytes), SHA-256, CRC-32."""

    path: str
    size: int
    sha256: str
    crc32: int


@dataclass(frozen=True)
class ShardFooter:
    """What a shard's footer says of its volumes, by column, and of the release (its version) that they are of."""

    release: str
    synthetic: bool
    sources: Mapping[str, PackedSource]


def parse_footer(metadata: Mapping[bytes, bytes] | None) -> ShardFooter:
    """What the footer whose key-value metadata is `metadata` says. Raises `ValueError` if it is not of a shard."""
    text = (metadata or {}).get(FOOTER_KEY.encode())
    if text is None:
        raise ValueError(f"has no `{FOOTER_KEY}` in its footer: it was not made by isles-assets")
    try:
        content = json.loads(text)
        sources = {column: _packed_source(source) for column, source in content["sources"].items()}
        return ShardFooter(str(content["release"]["version"]), bool(content["synthetic"]), sources)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"has a footer that cannot be understood: {type(error).__name__}: {error!s:.200}") from error


def _packed_source(content: Mapping[str, Any]) -> PackedSource:
    source = PackedSource(content["path"], content["size"], content["sha256"], content["crc32"])
    texts, numbers = (source.path, source.sha256), (source.size, source.crc32)
    if not (all(isinstance(text, str) for text in texts) and all(type(number) is int for number in numbers)):
        raise TypeError(f"{content} is not the path, size and digests of a file")
    return source
