"""The release's volumes as sources of what is made from them: read once, and only as what the manifest says."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isles_assets.graph.commands import TAKE_STOCK
from isles_assets.lib.findings import Finding
from isles_assets.reading.nifti import NiftiError, See, SourceReader, inspect, voxel_ml
from isles_assets.release.volumes import BY_COLUMN
from isles_assets.tables.manifest import SubjectManifest, VolumeFacts

_RESTORE = "restore the file from the release archive, then materialize this subject again"


@dataclass(frozen=True)
class Voxels:
    """What decoding a volume showed: NaN and infinite voxels, and of a mask its labels other than 0.

    `marked` is the number of voxels that the mask marks and `marked_ml` their volume in millilitres.
    """

    non_finite: int
    marked: int
    marked_ml: float
    labels: list[int]


@dataclass(frozen=True)
class Source:
    """A volume as it was read: `path` in the tree, `size` (bytes), `mtime_ns`, digest; `voxels` if it was decoded."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    voxels: Voxels | None

    def is_still(self, facts: VolumeFacts | None) -> bool:
        """Whether the manifest's `facts` are of the same bytes: by digest if they have one, else by time."""
        if facts is None or (facts.path, facts.size) != (self.path, self.size):
            return False
        return facts.sha256 == self.sha256 if facts.sha256 else facts.mtime_ns == self.mtime_ns

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Source":
        """The inverse of `dataclasses.asdict`. Raises `KeyError` or `TypeError` for anything else."""
        voxels = content["voxels"]
        return cls(**{**content, "voxels": voxels and Voxels(**voxels)})


Sources = Mapping[str, Source]
"""By the volumes' columns."""


def changed_sources(sources: Sources, subject: SubjectManifest) -> list[str]:
    """The columns whose files are not those of the manifest's row."""
    return [column for column, source in sources.items() if not source.is_still(subject.volumes[column])]


def with_times_of(sources: Sources, subject: SubjectManifest) -> dict[str, Source]:
    """Unchanged `sources` with the files' times as the manifest's row has them."""
    return {column: replace(s, mtime_ns=facts_of(subject, column).mtime_ns) for column, s in sources.items()}


def clinical_digest(subject: SubjectManifest) -> str:
    """SHA-256 of the clinical values."""
    return hashlib.sha256(json.dumps(dict(subject.clinical), sort_keys=True).encode()).hexdigest()


def facts_of(subject: SubjectManifest, column: str) -> VolumeFacts:
    """What the manifest says of a volume that is there."""
    facts = subject.volumes[column]
    assert facts is not None
    return facts


class OffenceError(Exception):
    """A source that cannot be used."""

    def __init__(self, finding: Finding):
        super().__init__(finding.problem)
        self.finding = finding


def offence(subject: SubjectManifest, column: str, problem: str, mend: str = _RESTORE) -> OffenceError:
    """To be raised for a volume."""
    path = BY_COLUMN[column].path(subject.subject)
    return OffenceError(Finding(subject.subject, path, problem, mend))


def offences(columns: Iterable[str], use: Callable[[str], object]) -> list[Finding]:
    """What is wrong with each of `columns`, as `use` of it says by an `OffenceError`."""
    findings = []
    for column in columns:
        try:
            use(column)
        except OffenceError as error:
            findings.append(error.finding)
    return findings


def check_facts(root: Path, subject: SubjectManifest, column: str) -> None:
    """Raise `OffenceError` for a volume that is known to be unfit before it is read."""
    facts = subject.volumes[column]
    if facts is None:
        raise offence(subject, column, "is missing or empty")
    try:
        status = (root / facts.path).stat()
    except OSError as error:
        raise offence(subject, column, f"cannot be read: {error.strerror}") from error
    if (status.st_size, status.st_mtime_ns) != (facts.size, facts.mtime_ns):
        raise offence(subject, column, "has changed since the manifest was made", TAKE_STOCK)
    if facts.fault:
        raise offence(subject, column, facts.fault)


def read_source(
    root: Path,
    subject: SubjectManifest,
    column: str,
    *,
    decode: bool = True,
    sink: Callable[[memoryview], None] = lambda piece: None,
    see: See = lambda *voxels: None,
) -> Source:
    """Read a volume once, giving its bytes to `sink` and, decoded, its voxels to `see`.

    Raises `OffenceError` unless it is what the manifest says. Only then was what `sink` and `see` got sound.
    """
    facts = facts_of(subject, column)
    voxels = None
    try:
        with SourceReader(root / facts.path, sink) as source:
            if decode:
                seen = inspect(source, BY_COLUMN[column].content, see)
                header = seen.header
                marked_ml = round(seen.marked * voxel_ml(header.affine), 6)
                voxels = Voxels(seen.non_finite, seen.marked, marked_ml, list(seen.labels))
                if (header.shape, header.affine, header.dtype) != (facts.shape, facts.affine, facts.dtype):
                    raise NiftiError("is on another grid than the manifest says, though its size and time are the same")
            source.drain()
    except NiftiError as error:
        raise offence(subject, column, str(error)) from error
    if source.size != facts.size or (facts.sha256 and source.sha256 != facts.sha256):
        raise offence(subject, column, "has changed since the manifest was made", TAKE_STOCK)
    return Source(facts.path, source.size, facts.mtime_ns, source.sha256, voxels)
