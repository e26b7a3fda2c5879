"""Sidecars: JSON records beside a subject's files. A sidecar exists only while all of its files are complete."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from isles_assets.lib.files import FileStatus, atomic_write
from isles_assets.products.sources import Source


@dataclass(frozen=True)
class BuiltFile:
    """A finished Parquet file."""

    size: int
    """Size of the file in bytes."""
    sha256: str
    values: int
    """Bytes of the values in it."""


@dataclass(frozen=True)
class Sidecar:
    """The record of a subject's files of one product, and of the sources that they were built from."""

    subject: str
    version: str
    """The product's version."""
    clinical: str
    """Digest of the clinical values."""
    synthetic: bool
    files: Mapping[str, BuiltFile]
    """Files by config."""
    sources: Mapping[str, Source]
    """Sources by column."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts about the subject, by column."""
    noted: Mapping[str, FileStatus] = field(default_factory=dict)
    """By config, the status of the file when its digest was last confirmed."""
    freed: bool = False
    """Whether the files may be missing, because the Hub has them."""

    @property
    def size(self) -> int:
        """Size of all its files in bytes."""
        return sum(file.size for file in self.files.values())

    @property
    def data_version(self) -> str:
        """Digest of the content of its files."""
        return hashlib.sha256("".join(file.sha256 for _, file in sorted(self.files.items())).encode()).hexdigest()

    @property
    def decoded(self) -> bool:
        """Whether every volume was decoded when it was read."""
        return all(source.voxels for source in self.sources.values())

    def to_json(self) -> str:
        """Return the sidecar and its digest as JSON."""
        content = asdict(self)
        return json.dumps({"sidecar": content, "sha256": _digest(content)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Sidecar":
        """Return the sidecar that `to_json` wrote.

        Raises:
            ValueError: The text differs from what `to_json` wrote.
        """
        stored = json.loads(text)
        if not isinstance(stored, dict) or stored.get("sha256") != _digest(stored.get("sidecar")):
            raise ValueError("is not what was stored")
        return _SIDECAR.validate_python(stored["sidecar"])


_SIDECAR = TypeAdapter(Sidecar)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_sidecar(path: Path) -> Sidecar | None:
    """Return the sidecar at `path`; None if it cannot be read, or is missing, as while a run replaces the files."""
    try:
        return Sidecar.from_json(path.read_text())
    except (OSError, ValueError):
        return None


def store_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Store `sidecar` at `path`, unless the same one is stored there.

    Raises:
        Refusal: The disk is full, or does not allow writing.
    """
    if read_sidecar(path) == sidecar:
        return
    with atomic_write(path) as temporary:
        temporary.write_text(sidecar.to_json())
