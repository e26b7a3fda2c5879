"""The local target: a folder laid out exactly as the Hub repo.

`hub/<owner>/<name>` is a link to the folder of one revision, `hub/<owner>/.<name>/<revision>`. A publication
builds a new revision beside it and then replaces the link, which is atomic: a reader sees the old dataset or
the new one. Shards are hard links to the finished files, which are only ever replaced, never written to, so that
a publication takes no disk; across file systems they are copied. That nobody else wrote to one is not taken for
granted: a link is trusted if its file is in every respect as it was noted, and read otherwise.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isles_assets.hub.changes import PUBLISH, StoredFile, differences, spoiled
from isles_assets.hub.repo import check_repo_id
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.lib.files import explained, sha256_of, status_of, sync_folder
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.config import CARD
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication


@dataclass(frozen=True)
class LocalHub(Target):
    """The repo `repo` below the folder `root`."""

    root: Path
    repo: str

    def __post_init__(self) -> None:
        check_repo_id(self.repo)

    @classmethod
    def at(cls, destination: Destination) -> "LocalHub":
        return cls(destination.folder.hub, destination.repo)

    @property
    def folder(self) -> Path:
        """The repo as a user sees it."""
        return self.root / self.repo

    @property
    def location(self) -> str:
        return str(self.folder)

    @property
    def _revisions(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}")

    def publish(self, publication: Publication) -> Published:
        """Make the folder hold `publication`; nothing is done where it does already, and damage is mended.

        Raises `Refusal`, and leaves the folder as it is, where a file is not what was recorded of it.
        """
        if freed := [file.path for file in publication.files if file.content is None]:
            mend = "publish to the Hub, which has them, or remove shards/records and materialize them again"
            raise Refusal("Not published.", [Finding("was freed from this disk", mend, path=path) for path in freed])
        revision = publication.digest[:40]
        with explained(self.folder):
            if self.folder.exists() and not self.folder.is_symlink():
                mend = "move it away; isles-assets puts a link of that name there"
                raise Refusal.of("Not published.", "is a folder of somebody else's", mend, path=self.folder)
            current = self.folder.resolve().name if self.folder.is_symlink() else ""
            if current.startswith(revision) and not differences(publication, self.stored(publication)):
                return Published(self.location, revision, changed=False)
            self._revisions.mkdir(parents=True, exist_ok=True)
            self._remove_all_but({current})
            target = self._revisions / (f"{revision}-mended" if current == revision else revision)
            staging = self._revisions / f"{revision}.staging"
            try:
                sound = {file: _placed(file, staging / file.path) for file in publication.files}
                if other := [file for file, is_sound in sound.items() if not is_sound]:
                    problem = "is not what was recorded"
                    findings = [spoiled(publication.dataset, file, problem) for file in other]
                    raise Refusal("Not published.", findings)
                staging.rename(target)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            sync_folder(self._revisions)
            self._switch_to(target)
            self._remove_all_but({target.name})
        return Published(self.location, revision, changed=True)

    def stored(self, known: Publication | None = None) -> Mapping[str, StoredFile]:
        """Every file of the folder, read in full for its digest unless it is a hard link to one of `known` as noted."""
        if not self.folder.exists():
            return {}
        folder = self.folder.resolve()
        files = {file.path: file for file in known.files} if known else {}
        return {
            name: StoredFile(path.stat().st_size, _digest(path, files.get(name)))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and (name := path.relative_to(folder).as_posix())
        }

    def card(self) -> str:
        try:
            return (self.folder / CARD).read_text()
        except FileNotFoundError as error:
            raise Refusal.of("Nothing is published.", "holds no card", PUBLISH, path=self.location) from error

    def address(self) -> str:
        return str(self.folder.resolve())

    def _switch_to(self, target: Path) -> None:
        link = self.folder.with_name(f".{self.folder.name}.link")
        link.unlink(missing_ok=True)
        link.symlink_to(target.relative_to(self.folder.parent))
        link.rename(self.folder)
        sync_folder(self.folder.parent)

    def _remove_all_but(self, kept: set[str]) -> None:
        for revision in self._revisions.iterdir():
            if revision.name not in kept:
                shutil.rmtree(revision)


def _digest(path: Path, known: PublicationFile | None) -> str:
    if known and isinstance(known.content, Path) and known.content.samefile(path) and status_of(path) == known.noted:
        return known.sha256
    return sha256_of(path)


def _placed(file: PublicationFile, path: Path) -> bool:
    """Put the content of `file` at `path`; whether what is there then has its digest."""
    assert file.content is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, bytes):
        path.write_bytes(file.content)
        return True
    as_noted = status_of(file.content) == file.noted
    try:
        path.hardlink_to(file.content)
    except OSError:
        shutil.copyfile(file.content, path)
        as_noted = False
    # The new link is a change of its own, by which ctime alone differs.
    return (as_noted and status_of(path).is_of_file(file.noted)) or sha256_of(path) == file.sha256
