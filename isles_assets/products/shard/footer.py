"""The footer of a published shard, with the digests of its volumes. Readers parse it without trusting it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isles_assets.products.footer import FOOTER_KEY


@dataclass(frozen=True)
class PackedSource:
    """A volume in a shard's footer."""

    path: str
    """Path relative to the tree."""
    size: int
    """Size of the file in bytes."""
    sha256: str
    crc32: int


@dataclass(frozen=True)
class ShardFooter:
    """The content of a shard's footer."""

    release: str
    """The release's version."""
    synthetic: bool
    sources: Mapping[str, PackedSource]
    """Volumes by column."""


def parse_footer(metadata: Mapping[bytes, bytes] | None) -> ShardFooter:
    """Return the content of a footer.

    Args:
        metadata: The footer's key-value metadata.

    Raises:
        ValueError: The footer is not that of a shard.
    """
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
