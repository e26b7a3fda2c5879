"""Sidecars: what is known of the files made of a subject, as JSON beside them, and only while they are complete."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from isles_assets.lib.files import FileStatus, written_whole
from isles_assets.products.sources import Source


@dataclass(frozen=True)
class BuiltFile:
    """One finished Parquet file: `size` in bytes, SHA-256, and the bytes of the `values` in it."""

    size: int
    sha256: str
    values: int


@dataclass(frozen=True)
class Sidecar:
    """What a subject's files of one product were made from and hold: `files` by config, `sources` by column.

    `version` is the product's, `clinical` a digest of the clinical values, `facts` what the product notes of the
    subject by column. `noted`, by config, is the status that a file had when it was last seen to have its digest.
    `freed`: the files need not be here any more, because the Hub has them.
    """

    subject: str
    version: str
    clinical: str
    synthetic: bool
    files: Mapping[str, BuiltFile]
    sources: Mapping[str, Source]
    facts: Mapping[str, Any] = field(default_factory=dict)
    noted: Mapping[str, FileStatus] = field(default_factory=dict)
    freed: bool = False

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())

    @property
    def data_version(self) -> str:
        """A digest of what is in its files: equal for equal content."""
        return hashlib.sha256("".join(file.sha256 for _, file in sorted(self.files.items())).encode()).hexdigest()

    @property
    def decoded(self) -> bool:
        """Whether every volume was decoded when it was read."""
        return all(source.voxels for source in self.sources.values())

    def to_json(self) -> str:
        """The JSON of an object that holds the sidecar and the digest of that."""
        content = asdict(self)
        return json.dumps({"sidecar": content, "sha256": _digest(content)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Sidecar":
        """Raises `ValueError` for a text that says anything else than one that `to_json` wrote."""
        stored = json.loads(text)
        if not isinstance(stored, dict) or stored.get("sha256") != _digest(stored.get("sidecar")):
            raise ValueError("is not what was stored")
        return _SIDECAR.validate_python(stored["sidecar"])


_SIDECAR = TypeAdapter(Sidecar)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_sidecar(path: Path) -> Sidecar | None:
    """The sidecar at `path`; None if it is not there, as while another run replaces the files, or cannot be read."""
    try:
        return Sidecar.from_json(path.read_text())
    except (OSError, ValueError):
        return None


def store_sidecar(path: Path, sidecar: Sidecar) -> None:
    """Store `sidecar` at `path`, if it is not what is stored there."""
    if read_sidecar(path) == sidecar:
        return
    with written_whole(path) as temporary:
        temporary.write_text(sidecar.to_json())
