"""One publication: every file of the repo with its size and digest, known before a byte is moved."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from isles_assets.products.preview.preview import PreviewRecord
from isles_assets.products.schema import ALL_CONFIGS, Config, PreviewConfig
from isles_assets.products.shard import ShardRecord


@dataclass(frozen=True)
class RepoFile:
    """A file of the repo: its `path` there, where its bytes come from, `size` in bytes, SHA-256.

    `source` is None for a shard that was freed: only the Hub has it.
    """

    path: str
    source: Path | bytes | None
    size: int
    sha256: str

    @classmethod
    def of_bytes(cls, path: str, content: bytes) -> "RepoFile":
        """A small file that is in memory."""
        return cls(path, content, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Contents:
    """How much one config holds: `rows`, `files`, their `size` and the bytes of the `values` in them."""

    rows: int
    files: int
    size: int
    values: int


@dataclass(frozen=True)
class Publication:
    """What the repo shall hold: the shards in `records`, the `previews` (both by subject) and what describes them."""

    repo: str
    records: Mapping[str, ShardRecord]
    previews: Mapping[str, PreviewRecord]
    files: tuple[RepoFile, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects in it, sorted."""
        return tuple(sorted(self.records))

    @property
    def synthetic(self) -> bool:
        """Whether any subject is not of the release but made by the sample generator."""
        return any(record.synthetic for record in self.records.values())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 over path, size and digest of every file: equal for equal content."""
        return _digest_of_lines(f"{file.path} {file.size} {file.sha256}" for file in self.files)

    @property
    def sources_digest(self) -> str:
        """SHA-256 over path, size and digest of every volume of the release in it: equal for equal volumes."""
        sources = (source for record in self.records.values() for source in record.sources.values())
        return _digest_of_lines(f"{source.path} {source.size} {source.sha256}" for source in sources)

    @property
    def contents(self) -> dict[str, Contents]:
        """How much each config holds, by its name."""
        return {config.name: self._contents_of(config) for config in ALL_CONFIGS}

    def _contents_of(self, config: Config | PreviewConfig) -> Contents:
        if isinstance(config, PreviewConfig):
            (table,) = [file for file in self.files if file.path == config.path]
            return Contents(len(self.previews), 1, table.size, table.size)
        files = [record.files[config.name] for record in self.records.values()]
        return Contents(len(files), len(files), sum(f.size for f in files), sum(f.values for f in files))


def _digest_of_lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
