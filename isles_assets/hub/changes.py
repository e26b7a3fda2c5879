"""What lies between what is published and what shall be."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from isles_assets.graph.commands import PUBLISH
from isles_assets.lib.findings import Finding
from isles_assets.products.schema import OF_ALL_SUBJECTS, is_ours
from isles_assets.publication.publication import Publication, RepoFile


@dataclass(frozen=True)
class StoredFile:
    """A file of a published revision: `size` in bytes and its SHA-256, or where the store has none its git blob id."""

    size: int
    sha256: str | None
    blob_id: str | None = None

    def holds(self, file: RepoFile) -> bool:
        """Whether its bytes are those of `file`."""
        if self.sha256 is not None:
            return (self.size, self.sha256) == (file.size, file.sha256)
        return self.size == file.size and self.blob_id == _git_blob_id(file)


def _git_blob_id(file: RepoFile) -> str | None:
    if file.source is None:
        return None
    content = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Changes:
    """Files to add, files whose bytes differ, files that are there, and paths of ours that should not be there."""

    added: tuple[RepoFile, ...]
    changed: tuple[RepoFile, ...]
    unchanged: tuple[RepoFile, ...]
    removed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def files(self) -> tuple[RepoFile, ...]:
        """What has to be sent."""
        return (*self.added, *self.changed)

    def by_kind(self) -> dict[str, list[str]]:
        """The subjects, and the files that are of all, that were added, changed and removed, each sorted and once."""
        kinds = {
            "added": [file.path for file in self.added],
            "changed": [file.path for file in self.changed],
            "removed": list(self.removed),
        }
        return {kind: sorted({_subject_or_file(path) for path in paths}) for kind, paths in kinds.items()}


def compare(publication: Publication, stored: Mapping[str, StoredFile]) -> Changes:
    """What makes a revision that holds `stored` into `publication`. Files that are not ours do not count."""
    wanted = {file.path for file in publication.files}
    there = [file for file in publication.files if file.path in stored]
    return Changes(
        added=tuple(file for file in publication.files if file.path not in stored),
        changed=tuple(file for file in there if not stored[file.path].holds(file)),
        unchanged=tuple(file for file in there if stored[file.path].holds(file)),
        removed=tuple(sorted(path for path in stored if is_ours(path) and path not in wanted)),
    )


def differences(publication: Publication, stored: Mapping[str, StoredFile]) -> list[Finding]:
    """What is wrong with a revision that holds `stored` and should be `publication`."""
    changes = compare(publication, stored)
    return [
        *(Finding("", file.path, "is not published", PUBLISH) for file in changes.added),
        *(Finding("", file.path, _difference(file, stored[file.path]), PUBLISH) for file in changes.changed),
        *(Finding("", path, "is published but not of this dataset", PUBLISH) for path in changes.removed),
    ]


def _difference(file: RepoFile, stored: StoredFile) -> str:
    if stored.size != file.size:
        return f"has {stored.size} bytes instead of {file.size}"
    return "has other bytes than the local one"


def _subject_or_file(path: str) -> str:
    return path if path in OF_ALL_SUBJECTS else PurePosixPath(path).stem
