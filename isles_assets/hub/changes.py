"""Differences between a publication and the revision that a target holds."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isles_assets.lib.files import invalidate_status, sha256_of
from isles_assets.lib.findings import Finding, InOrder, Materialize
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

PUBLISH = Materialize(("hub_dataset",))

RETURNS_OTHER_BYTES = "comes back from the Hub with other bytes than it states: its store has damaged them"
"""The problem of a file of which the Hub states the right digest but returns other bytes."""

REPORT_TO_HUB = (
    "report it to the Hub, with this path. To mend it without the Hub, delete the file's object for good (in the "
    "repo's settings, under large files), and publish again, which sends it; deleting the file alone keeps the object, "
    "and publishing again sends nothing while the Hub states that it has it"
)
"""The mend for such a file."""


def local_damage(dataset: Dataset, file: PublicationFile, problem: str) -> Finding:
    """Return the finding that a local file of `dataset` is not what was recorded, with the whole way back.

    Marks the file as doubtful, so its digest is computed again before anyone trusts the record.
    """
    assert isinstance(file.content, Path)
    invalidate_status(file.content)
    products = {config.name: p for p in dataset.products if p.published_as_built for config in p.configs}
    product = products.get(file.config)
    rebuild = product and Materialize((product.asset,), PurePosixPath(file.path).stem)
    return Finding(problem, InOrder((rebuild, PUBLISH)) if rebuild else PUBLISH, path=file.path)


@dataclass(frozen=True)
class StoredFile:
    """A file of a published revision: `size` in bytes, and its SHA-256 or, if the store has none, its git blob id."""

    size: int
    sha256: str | None
    blob_id: str | None = None

    def matches(self, file: PublicationFile) -> bool:
        """Return whether it has the bytes that were recorded of `file`."""
        if self.sha256 is not None:
            return (self.size, self.sha256) == (file.size, file.sha256)
        return self.size == file.size and self.blob_id == _git_blob_id(file)


def _git_blob_id(file: PublicationFile) -> str | None:
    """Return the git blob id of `file`; None if it was freed or is not what was recorded."""
    if file.content is None:
        return None
    content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
    if hashlib.sha256(content).hexdigest() != file.sha256:
        return None
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Changes:
    """How a publication differs from a published revision."""

    added: tuple[PublicationFile, ...]
    changed: tuple[PublicationFile, ...]
    """Files that are published with other bytes."""
    unchanged: tuple[PublicationFile, ...]
    removed: tuple[str, ...]
    """Published paths of this dataset that are not in the publication."""
    common_files: tuple[str, ...]
    """Paths of the dataset's files that belong to no single subject."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    @property
    def files(self) -> tuple[PublicationFile, ...]:
        """The files to send."""
        return (*self.added, *self.changed)

    def by_kind(self) -> dict[str, list[str]]:
        """Return the subjects and common files that were added, changed and removed, sorted, without repetition."""
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
    """Return the changes from a revision that holds `stored` to `publication`. Ignores files of other people."""
    paths = {file.path for file in publication.files}
    present = [file for file in publication.files if file.path in stored]
    return Changes(
        added=tuple(file for file in publication.files if file.path not in stored),
        changed=tuple(file for file in present if not stored[file.path].matches(file)),
        unchanged=tuple(file for file in present if stored[file.path].matches(file)),
        removed=tuple(sorted(path for path in stored if publication.dataset.is_ours(path) and path not in paths)),
        common_files=publication.dataset.common_files,
    )


def differences(publication: Publication, stored: Mapping[str, StoredFile]) -> list[Finding]:
    """Return a finding for each difference between a revision that holds `stored` and `publication`."""
    changes = compare(publication, stored)
    return [
        *(Finding("is not published", PUBLISH, path=file.path) for file in changes.added),
        *(_difference(publication.dataset, file, stored[file.path]) for file in changes.changed),
        *(Finding("is published but not of this dataset", PUBLISH, path=path) for path in changes.removed),
    ]


def _difference(dataset: Dataset, file: PublicationFile, stored: StoredFile) -> Finding:
    if isinstance(file.content, Path) and sha256_of(file.content) != file.sha256:  # often the same file, by a link
        return local_damage(dataset, file, "has other bytes than were recorded, and so has the local one")
    if stored.size != file.size:
        return Finding(f"has {stored.size} bytes instead of {file.size}", PUBLISH, path=file.path)
    return Finding("has other bytes than the local one", PUBLISH, path=file.path)
