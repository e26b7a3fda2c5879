"""One publication: every file of the repo with its size and digest, known before a byte is moved."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isles_assets.dataset.card import render_card
from isles_assets.dataset.folder import DataFolder
from isles_assets.dataset.schema import CARD, CONFIGS
from isles_assets.dataset.shard import ShardRecord


@dataclass(frozen=True)
class RepoFile:
    """A file of the repo: its `path` there, where its bytes come from, `size` in bytes, SHA-256.

    `source` is None for a shard that was freed: only the Hub has it.
    """

    path: str
    source: Path | bytes | None
    size: int
    sha256: str


@dataclass(frozen=True)
class Publication:
    """What the repo shall hold: the shards in `records` (by subject) and the card that describes them."""

    repo: str
    records: Mapping[str, ShardRecord]
    files: tuple[RepoFile, ...]

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects in it, sorted."""
        return tuple(sorted(self.records))

    @property
    def synthetic(self) -> bool:
        """Whether any subject is not of the release but made by the sample generator."""
        return _synthetic(self.records)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def digest(self) -> str:
        """SHA-256 over path, size and digest of every file: equal for equal content."""
        lines = "".join(f"{file.path} {file.size} {file.sha256}\n" for file in sorted(self.files, key=lambda f: f.path))
        return hashlib.sha256(lines.encode()).hexdigest()


def assemble(folder: DataFolder, repo: str, records: Mapping[str, ShardRecord]) -> Publication:
    """The publication of the shards in `records`, with the card that describes them. Reads no shard."""
    shards = [file for _, record in sorted(records.items()) for file in shard_files(folder, record)]
    card = render_card(repo, records, _synthetic(records)).encode()
    return Publication(repo, records, (*shards, RepoFile(CARD, card, len(card), hashlib.sha256(card).hexdigest())))


def shard_files(folder: DataFolder, record: ShardRecord) -> list[RepoFile]:
    """The files of one subject."""
    return [
        RepoFile(config.path(record.subject), source if source.exists() else None, known.size, known.sha256)
        for config in CONFIGS
        for known, source in [(record.files[config.name], folder.shard(config, record.subject))]
    ]


def _synthetic(records: Mapping[str, ShardRecord]) -> bool:
    return any(record.synthetic for record in records.values())
