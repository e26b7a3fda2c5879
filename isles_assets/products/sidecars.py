"""What is known of the files made of a subject: stored as JSON beside them, and only while they are complete."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from isles_assets.lib.files import written_whole
from isles_assets.products.sources import Source, changed_sources, clinical_digest, with_times_of
from isles_assets.tables.manifest import SubjectManifest


class Recorded(Protocol):
    """A dataclass that says what the files were made from, and by which `version` of their writer.

    `clinical` is a digest of the clinical values, `sources` are by column. `from_json` raises `ValueError`, `KeyError`
    or `TypeError` for a text that `to_json` did not write.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def version(self) -> int: ...

    @property
    def clinical(self) -> str: ...

    @property
    def sources(self) -> Mapping[str, Source]: ...

    def to_json(self) -> str: ...

    @classmethod
    def from_json(cls, text: str) -> Self: ...


Record = TypeVar("Record", bound=Recorded)


@dataclass(frozen=True)
class State(Generic[Record]):
    """The record of files that are up to date, else None and why they are not."""

    record: Record | None
    reason: str = ""


def recorded_state(path: Path, kind: type[Record], subject: SubjectManifest, version: int, what: str) -> State[Record]:
    """The record at `path` if it says that `what` it is of was made from the manifest's row by this `version`.

    No file but the record is looked at. Where the manifest has digests, they decide and not the sources' times; the
    record returned has the times as the manifest has them.
    """
    record = read_record(path, kind)
    if record is None:
        return State(None, f"has a {what} record that cannot be read" if path.exists() else f"has no {what} yet")
    if record.version != version:
        return State(None, f"has a {what} of format {record.version}, which is now {version}")
    if record.clinical != clinical_digest(subject):
        return State(None, f"has a {what} with other clinical values")
    if changed := changed_sources(record.sources, subject):
        return State(None, f"has a {what} made before these changed: {', '.join(changed)}")
    return State(replace(record, sources=with_times_of(record.sources, subject)))


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """The record at `path`; None if it is not there, as while another run replaces the files, or cannot be read."""
    try:
        return kind.from_json(path.read_text())
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_record(path: Path, record: Recorded) -> None:
    """Store `record` at `path`, if it is not what is stored there."""
    if read_record(path, type(record)) == record:
        return
    with written_whole(path) as temporary:
        temporary.write_text(record.to_json())
