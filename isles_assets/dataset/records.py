"""What is known of the files made of a subject: stored as JSON beside them, and only while they are complete."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

from isles_assets.files import written_whole


class Storable(Protocol):
    """What a record must offer; `from_json` raises `ValueError`, `KeyError` or `TypeError` for another text."""

    def to_json(self) -> str: ...

    @classmethod
    def from_json(cls, text: str) -> Self: ...


Record = TypeVar("Record", bound=Storable)


@dataclass(frozen=True)
class State(Generic[Record]):
    """The record of files that are up to date, else None and why they are not."""

    record: Record | None
    reason: str = ""


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """The record at `path`, which must be there; None if it cannot be read."""
    try:
        return kind.from_json(path.read_text())
    except (ValueError, KeyError, TypeError):
        return None


def store_record(path: Path, record: Storable) -> None:
    """Store `record` at `path`, if it is not what is stored there."""
    if path.exists() and read_record(path, type(record)) == record:
        return
    with written_whole(path) as temporary:
        temporary.write_text(record.to_json())
