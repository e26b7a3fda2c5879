"""What lies between what is published and what shall be."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from isles_assets.lib.findings import Finding, Materialize
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

PUBLISH = Materialize(("hub_dataset",))


@dataclass(frozen=True)
class StoredFile:
    """A file of a published revision: `size` in bytes and its SHA-256, or where the store has none its git blob id."""

    size: int
    sha256: str | None
    blob_id: str | None = None

    def holds(self, file: PublicationFile) -> bool:
        """Whether its bytes are those of `file`."""
        if self.sha256 is not None:
            return (self.size, self.sha256) == (file.size, file.sha256)
        return self.size == file.size and self.blob_id == _git_blob_id(file)


def _git_blob_id(file: PublicationFile) -> str | None:
    if file.content is None:
        return None
    content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Changes:
    """Files to add, files whose bytes differ, files that are there, and paths of ours that should not be there.

    `common_files` are the paths of files that are not a subject's.
    """

    added: tuple[PublicationFile, ...]
    changed: tuple[PublicationFile, ...]
    unchanged: tuple[PublicationFile, ...]
    removed: tuple[str, ...]
    common_files: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def files(self) -> tuple[PublicationFile, ...]:
        """What has to be sent."""
        return (*self.added, *self.changed)

    def by_kind(self) -> dict[str, list[str]]:
        """The subjects, and the files that are of all, that were added, changed and removed, each sorted and once."""
        kinds = {
            "added": [file.path for file in self.added],
            "changed": [file.path for file in self.changed],
            "removed": list(self.removed),
        }
        return {
            kind: sorted({path if path in self.common_files else PurePosixPath(path).stem for path in paths})
            for kind, paths in kinds.items()
        }


def compare(publication: Publication, stored: Mapping[str, StoredFile]) -> Changes:
    """What makes a revision that holds `stored` into `publication`. Files that are not ours do not count."""
    wanted = {file.path for file in publication.files}
    there = [file for file in publication.files if file.path in stored]
    return Changes(
        added=tuple(file for file in publication.files if file.path not in stored),
        changed=tuple(file for file in there if not stored[file.path].holds(file)),
        unchanged=tuple(file for file in there if stored[file.path].holds(file)),
        removed=tuple(sorted(path for path in stored if publication.dataset.is_ours(path) and path not in wanted)),
        common_files=publication.dataset.common_files,
    )


def differences(publication: Publication, stored: Mapping[str, StoredFile]) -> list[Finding]:
    """What is wrong with a revision that holds `stored` and should be `publication`."""
    changes = compare(publication, stored)
    return [
        *(Finding("is not published", PUBLISH, path=file.path) for file in changes.added),
        *(Finding(_difference(file, stored[file.path]), PUBLISH, path=file.path) for file in changes.changed),
        *(Finding("is published but not of this dataset", PUBLISH, path=path) for path in changes.removed),
    ]


def _difference(file: PublicationFile, stored: StoredFile) -> str:
    if stored.size != file.size:
        return f"has {stored.size} bytes instead of {file.size}"
    return "has other bytes than the local one"
