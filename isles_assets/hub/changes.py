"""What lies between what is published and what shall be."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from isles_assets.lib.files import doubt, sha256_of
from isles_assets.lib.findings import Finding, InOrder, Materialize
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

PUBLISH = Materialize(("hub_dataset",))

RETURNS_OTHERS = "comes back from the Hub with other bytes than it states: its store has damaged them"
STORE = (
    "report it to the Hub, with this path. To mend it without the Hub, delete the file's object for good (in the "
    "repo's settings, under large files), and publish again, which sends it; deleting the file alone keeps the object, "
    "and publishing again sends nothing while the Hub states that it has it"
)
"""What to do about bytes of which the Hub states the right digest and has others."""


def spoiled(dataset: Dataset, file: PublicationFile, problem: str) -> Finding:
    """The finding that a local file of `dataset` was read and is not what was recorded of it, with the whole way back.

    From now on it is read again before it is taken for what was recorded.
    """
    assert isinstance(file.content, Path)
    doubt(file.content)
    made_apart = {config.name: p for p in dataset.products if p.published_as_built for config in p.configs}
    product = made_apart.get(file.config)
    again = product and Materialize((product.asset,), PurePosixPath(file.path).stem)
    return Finding(problem, InOrder((again, PUBLISH)) if again else PUBLISH, path=file.path)


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
    content = file.content.read_bytes() if isinstance(file.content, Path) else file.content
    if hashlib.sha256(content).hexdigest() != file.sha256:  # what is here is not what was recorded
        return None
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
        *(_difference(publication.dataset, file, stored[file.path]) for file in changes.changed),
        *(Finding("is published but not of this dataset", PUBLISH, path=path) for path in changes.removed),
    ]


def _difference(dataset: Dataset, file: PublicationFile, stored: StoredFile) -> Finding:
    if isinstance(file.content, Path) and sha256_of(file.content) != file.sha256:  # often the same file, by a link
        return spoiled(dataset, file, "has other bytes than were recorded, and so has the local one")
    if stored.size != file.size:
        return Finding(f"has {stored.size} bytes instead of {file.size}", PUBLISH, path=file.path)
    return Finding("has other bytes than the local one", PUBLISH, path=file.path)
