"""The local target: a folder laid out exactly as the Hub repo.

`hub/<owner>/<name>` is a link to the folder of one revision, `hub/<owner>/.<name>/<revision>`. A publication
builds a new revision, compares it with the publication, and then replaces the link, which is atomic: a reader sees the
old dataset or the new one. One process publishes at a time; others wait for the lock `hub/<owner>/.<name>.lock`.

A reader who followed the link earlier goes on reading the old revision. A later publication removes it. Shards are hard
links to the finished files, so a publication takes no disk space until these are replaced (nobody ever writes to them
in place). Across file systems shards are copies. A hard link is trusted only if its file still has the noted status;
else its bytes are read, because somebody may have written to it.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from isles_assets.hub.changes import PUBLISH, StoredFile, compare, local_damage
from isles_assets.hub.repo import check_repo_id
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.lib.files import (
    locked,
    make_folder,
    remove_leftovers,
    sha256_of,
    status_of,
    sync_folder,
    sync_tree,
    temporary_beside,
    write_errors_refused,
)
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.config import CARD
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

KEPT_FOR_READERS = 10 * 60
"""Seconds that a revision stays, at least, after the link left it."""


@dataclass(frozen=True)
class LocalHub(Target):
    """The repo `repo` below the folder `root`."""

    root: Path
    repo: str
    log: Callable[[str], None] = field(default=logging.getLogger(__name__).info, repr=False, compare=False)
    revision: Path | None = None
    """The folder to read; None for the one that the link leads to."""

    def __post_init__(self) -> None:
        check_repo_id(self.repo)

    @classmethod
    def at(cls, destination: Destination) -> "LocalHub":
        return cls(destination.folder.hub, destination.repo, destination.log)

    @property
    def folder(self) -> Path:
        """The repo as users see it: the link."""
        return self.root / self.repo

    @property
    def location(self) -> str:
        return str(self.revision or self.folder)

    def pinned(self) -> "LocalHub":
        return replace(self, revision=self.folder.resolve()) if self.folder.exists() else self

    @property
    def _revisions(self) -> Path:
        return self.folder.with_name(f".{self.folder.name}")

    @property
    def _current(self) -> Path | None:
        """The folder of the revision that the link leads to."""
        return self._revisions / self.folder.readlink().name if self.folder.is_symlink() else None

    def publish(self, publication: Publication) -> Published:
        """Make the folder hold `publication`. Does nothing if it does so already; mends damage.

        Waits while another process publishes here.

        Raises:
            Refusal: A file is not what was recorded, or the disk does not take it. The link stays as it was.
        """
        if freed := [file.path for file in publication.files if file.content is None]:
            mend = "publish to the Hub, which has them, or remove shards/records and materialize them again"
            raise Refusal("Not published.", [Finding("was freed from this disk", mend, path=path) for path in freed])
        waits = f"Waiting: another process publishes to {self.folder}"
        with write_errors_refused(self.folder):
            make_folder(self.folder.parent)
            with locked(self.folder.with_name(f".{self.folder.name}.lock"), lambda: self.log(waits)):
                return self._publish(publication)

    def _publish(self, publication: Publication) -> Published:
        if self.folder.exists() and not self.folder.is_symlink():
            mend = "move it away; isles-assets puts a link of that name there"
            raise Refusal.of("Not published.", "is a folder of somebody else's", mend, path=self.folder)
        make_folder(self._revisions)
        publication = self._after_cleanup(publication)
        revision, current = publication.digest[:40], self._current
        is_current = current and current.name.startswith(revision)
        if current and is_current and not compare(publication, _stored_in(current, publication)):
            sync_folder(self.folder.parent)  # a process that was killed may have made the link without a sync
            return Published(str(self.folder), revision, changed=False)
        earlier = self._revisions / revision
        if earlier != current and _holds_exactly(publication, _stored_in(earlier, publication)):
            sync_tree(earlier)
            self._switch_to(earlier)
        else:
            self._build(publication, self._unused_folder(revision))
        return Published(str(self.folder), revision, changed=True)

    def _build(self, publication: Publication, target: Path) -> None:
        """Build the revision `target` and switch to it, or leave all as it was."""
        staging = temporary_beside(target)
        shutil.rmtree(staging, ignore_errors=True)  # a killed process with the same number may have left it
        try:
            _check(publication, staging, [_place(file, staging / file.path) for file in publication.files])
            sync_tree(staging)
            os.utime(staging, (0, 0))  # so the next publication removes it if the switch never comes
            staging.rename(target)
            sync_folder(self._revisions)
            self._switch_to(target)
        except BaseException:
            for unfinished in {staging, target} - {self._current}:
                shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def stored(self, local: Publication | None = None) -> Mapping[str, StoredFile]:
        """Return every file of the folder. Reads each in full, except links to `local` files with the noted status."""
        return _stored_in(Path(self.address()), local)

    def card(self) -> str:
        try:
            return Path(self.location, CARD).read_text()
        except FileNotFoundError as error:
            raise Refusal.of("Nothing is published.", "holds no card", PUBLISH, path=self.location) from error

    def address(self) -> str:
        return str(Path(self.location).resolve())

    def _switch_to(self, target: Path) -> None:
        if (current := self._current) and current.exists():
            os.utime(current)  # the time that it is kept for readers begins now
        link = temporary_beside(self.folder)
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(target.relative_to(self.folder.parent))
            link.rename(self.folder)
        except BaseException:
            link.unlink(missing_ok=True)
            raise
        sync_folder(self.folder.parent)

    def _unused_folder(self, revision: str) -> Path:
        """Return a new folder for `revision`. One may exist that is damaged, or that somebody still reads."""
        number, folder = 1, self._revisions / revision
        while folder.exists():
            number, folder = number + 1, self._revisions / f"{revision}-{number + 1}"
        return folder

    def _after_cleanup(self, publication: Publication) -> Publication:
        """Remove leftovers and old revisions. Return `publication` with the status that its files have then.

        Removing a hard link changes the ctime of the file.
        """
        as_noted = [_is_as_noted(file) for file in publication.files]
        remove_leftovers(self.folder.parent)
        remove_leftovers(self._revisions)
        for revision in self._revisions.glob("[!.]*"):
            if revision != self._current and time.time() - revision.stat().st_mtime > KEPT_FOR_READERS:
                shutil.rmtree(revision)
        files = map(_note_again, publication.files, as_noted)
        return replace(publication, files=tuple(files))


def _stored_in(folder: Path, local: Publication | None) -> dict[str, StoredFile]:
    files = {file.path: file for file in local.files} if local else {}
    return {
        name: StoredFile(path.stat().st_size, _digest(path, files.get(name)))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix())
    }


def _holds_exactly(publication: Publication, stored: Mapping[str, StoredFile]) -> bool:
    """Return whether `stored` are the files of `publication` and no others."""
    files = {file.path: file for file in publication.files}
    return files.keys() == stored.keys() and all(stored[path].matches(file) for path, file in files.items())


def _digest(path: Path, local: PublicationFile | None) -> str:
    """Return the SHA-256 of the file at `path`: the recorded one if it is the `local` file with the noted status."""
    if local and isinstance(local.content, Path) and local.content.samefile(path) and status_of(path) == local.noted:
        return local.sha256
    return sha256_of(path)


def _is_as_noted(file: PublicationFile) -> bool:
    return isinstance(file.content, Path) and status_of(file.content) == file.noted


def _note_again(file: PublicationFile, was_as_noted: bool) -> PublicationFile:
    """Return `file` with its new status after a link was added or removed, which changes only its ctime.

    The status is None, and the file is read again, if it was not as noted before.
    """
    status = status_of(file.content) if isinstance(file.content, Path) else None
    return replace(file, noted=status if status and was_as_noted and status.same_but_for_ctime(file.noted) else None)


def _place(file: PublicationFile, path: Path) -> PublicationFile:
    """Put the content of `file` at `path`, by a hard link if possible. Return `file` with its new status."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, bytes):
        path.write_bytes(file.content)
        return file
    assert file.content is not None
    as_noted = _is_as_noted(file)
    try:
        path.hardlink_to(file.content)
    except FileExistsError:  # a copy would write into the file that is linked there
        raise
    except OSError:
        shutil.copyfile(file.content, path)
    return _note_again(file, as_noted)


def _check(publication: Publication, folder: Path, placed: list[PublicationFile]) -> None:
    """Raise `Refusal` unless `folder` holds exactly the files of `publication`, which were `placed` there."""
    stored = _stored_in(folder, replace(publication, files=tuple(placed)))
    if _holds_exactly(publication, stored):
        return
    wrong = [file for file in placed if file.path not in stored or not stored[file.path].matches(file)]
    findings = [_finding_of(publication, file) for file in wrong]
    findings += [
        Finding("is no file of this publication: nobody else may write there", PUBLISH, path=path)
        for path in sorted(stored.keys() - {file.path for file in placed})
    ]
    raise Refusal("Not published.", findings)


def _finding_of(publication: Publication, file: PublicationFile) -> Finding:
    if isinstance(file.content, Path) and sha256_of(file.content) != file.sha256:
        return local_damage(publication.dataset, file, "is not what was recorded")
    return Finding("did not arrive in the local hub as it is here", PUBLISH, path=file.path)
