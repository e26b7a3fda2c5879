"""The local target: a folder laid out exactly as the Hub repo.

`hub/<owner>/<name>` is a link to the folder of one revision, `hub/<owner>/.<name>/<revision>`. A publication
builds a new revision beside it, compares it with what was to be published, and then replaces the link, which is
atomic: a reader sees the old dataset or the new one. One publishes at a time, others wait for the lock
`hub/<owner>/.<name>.lock`.

Who followed the link before goes on reading the old revision, which stays until a later publication. Shards are
hard links to the finished files, which are only ever replaced, never written to, so that a publication takes no disk
until they are; across file systems they are copied. That nobody else wrote to one is not taken for granted: a link is
trusted if its file is in every respect as it was noted, and read otherwise.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from isles_assets.hub.changes import PUBLISH, StoredFile, compare, spoiled
from isles_assets.hub.repo import check_repo_id
from isles_assets.hub.target import Destination, Published, Target
from isles_assets.lib.files import (
    explained,
    locked,
    make_folder,
    sha256_of,
    status_of,
    sweep,
    sync_folder,
    sync_tree,
    temporary_beside,
)
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.products.config import CARD
from isles_assets.products.product import PublicationFile
from isles_assets.publication.publication import Publication

KEPT_FOR_READERS = 10 * 60
"""Seconds for which a revision stays, at least, after the link was taken from it."""


@dataclass(frozen=True)
class LocalHub(Target):
    """The repo `repo` below the folder `root`; `log` is told what a publication waits for.

    What is read is of the folder `revision`, if it is given.
    """

    root: Path
    repo: str
    log: Callable[[str], None] = field(default=logging.getLogger(__name__).info, repr=False, compare=False)
    revision: Path | None = None

    def __post_init__(self) -> None:
        check_repo_id(self.repo)

    @classmethod
    def at(cls, destination: Destination) -> "LocalHub":
        return cls(destination.folder.hub, destination.repo, destination.log)

    @property
    def folder(self) -> Path:
        """The repo as a user sees it."""
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
        """The revision that the link leads to."""
        return self._revisions / self.folder.readlink().name if self.folder.is_symlink() else None

    def publish(self, publication: Publication) -> Published:
        """Make the folder hold `publication`; nothing is done where it does already, and damage is mended.

        Waits while another process publishes here. Raises `Refusal`, and leaves the folder as it is, where a file is
        not what was recorded of it.
        """
        if freed := [file.path for file in publication.files if file.content is None]:
            mend = "publish to the Hub, which has them, or remove shards/records and materialize them again"
            raise Refusal("Not published.", [Finding("was freed from this disk", mend, path=path) for path in freed])
        waits = f"Waiting: another process publishes to {self.folder}"
        with explained(self.folder):
            make_folder(self.folder.parent)
            with locked(self.folder.with_name(f".{self.folder.name}.lock"), lambda: self.log(waits)):
                return self._publish(publication)

    def _publish(self, publication: Publication) -> Published:
        if self.folder.exists() and not self.folder.is_symlink():
            mend = "move it away; isles-assets puts a link of that name there"
            raise Refusal.of("Not published.", "is a folder of somebody else's", mend, path=self.folder)
        make_folder(self._revisions)
        publication = self._after_clearing(publication)
        revision, current = publication.digest[:40], self._current
        there = current and current.name.startswith(revision)
        if current and there and not compare(publication, _stored_in(current, publication)):
            sync_folder(self.folder.parent)  # whoever put the link there may have been killed before that
            return Published(str(self.folder), revision, changed=False)
        kept = self._revisions / revision
        if kept != current and _holds_just(publication, _stored_in(kept, publication)):
            sync_tree(kept)
            self._switch_to(kept)
        else:
            self._build(publication, self._unused(revision))
        return Published(str(self.folder), revision, changed=True)

    def _build(self, publication: Publication, target: Path) -> None:
        """Make the revision `target` and switch to it, or leave all as it was."""
        staging = temporary_beside(target)
        shutil.rmtree(staging, ignore_errors=True)  # of a killed process that had the number of this one
        try:
            _check(publication, staging, [_placed(file, staging / file.path) for file in publication.files])
            sync_tree(staging)
            os.utime(staging, (0, 0))  # if nobody ever reads it, the next publication removes it
            staging.rename(target)
            sync_folder(self._revisions)
            self._switch_to(target)
        except BaseException:
            for unfinished in {staging, target} - {self._current}:
                shutil.rmtree(unfinished, ignore_errors=True)
            raise

    def stored(self, known: Publication | None = None) -> Mapping[str, StoredFile]:
        """Every file of the folder, read in full for its digest unless it is a hard link to one of `known` as noted."""
        return _stored_in(Path(self.address()), known)

    def card(self) -> str:
        try:
            return Path(self.location, CARD).read_text()
        except FileNotFoundError as error:
            raise Refusal.of("Nothing is published.", "holds no card", PUBLISH, path=self.location) from error

    def address(self) -> str:
        return str(Path(self.location).resolve())

    def _switch_to(self, target: Path) -> None:
        if (current := self._current) and current.exists():
            os.utime(current)  # from now on it is kept for those who read it already
        link = temporary_beside(self.folder)
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(target.relative_to(self.folder.parent))
            link.rename(self.folder)
        except BaseException:
            link.unlink(missing_ok=True)
            raise
        sync_folder(self.folder.parent)

    def _unused(self, revision: str) -> Path:
        """A folder for `revision`, of which there may be one that is spoiled, or that readers still have."""
        number, folder = 1, self._revisions / revision
        while folder.exists():
            number, folder = number + 1, self._revisions / f"{revision}-{number + 1}"
        return folder

    def _after_clearing(self, publication: Publication) -> Publication:
        """`publication`, noted as it is after what nobody needs was removed: that takes links from its files."""
        as_noted = [_is_as_noted(file) for file in publication.files]
        sweep(self.folder.parent)
        sweep(self._revisions)
        for revision in self._revisions.glob("[!.]*"):
            if revision != self._current and time.time() - revision.stat().st_mtime > KEPT_FOR_READERS:
                shutil.rmtree(revision)
        files = map(_noted_again, publication.files, as_noted)
        return replace(publication, files=tuple(files))


def _stored_in(folder: Path, known: Publication | None) -> dict[str, StoredFile]:
    files = {file.path: file for file in known.files} if known else {}
    return {
        name: StoredFile(path.stat().st_size, _digest(path, files.get(name)))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (name := path.relative_to(folder).as_posix())
    }


def _holds_just(publication: Publication, stored: Mapping[str, StoredFile]) -> bool:
    """Whether `stored` are the files of `publication` and no others."""
    files = {file.path: file for file in publication.files}
    return files.keys() == stored.keys() and all(stored[path].holds(file) for path, file in files.items())


def _digest(path: Path, known: PublicationFile | None) -> str:
    if known and isinstance(known.content, Path) and known.content.samefile(path) and status_of(path) == known.noted:
        return known.sha256
    return sha256_of(path)


def _is_as_noted(file: PublicationFile) -> bool:
    return isinstance(file.content, Path) and status_of(file.content) == file.noted


def _noted_again(file: PublicationFile, was_as_noted: bool) -> PublicationFile:
    """`file` after we gave it a link or took one, by which ctime alone differs; as not known if it was not as noted."""
    now = status_of(file.content) if isinstance(file.content, Path) else None
    return replace(file, noted=now if now and was_as_noted and now.is_of_file(file.noted) else None)


def _placed(file: PublicationFile, path: Path) -> PublicationFile:
    """Put the content of `file` at `path`; `file` as it is then noted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, bytes):
        path.write_bytes(file.content)
        return file
    assert file.content is not None
    as_noted = _is_as_noted(file)
    try:
        path.hardlink_to(file.content)
    except FileExistsError:  # to copy would write into what has a link there
        raise
    except OSError:
        shutil.copyfile(file.content, path)
    return _noted_again(file, as_noted)


def _check(publication: Publication, folder: Path, placed: list[PublicationFile]) -> None:
    """Raise `Refusal` unless `folder` holds the files of `publication`, which were `placed` there, and no others."""
    stored = _stored_in(folder, replace(publication, files=tuple(placed)))
    if _holds_just(publication, stored):
        return
    wrong = [file for file in placed if file.path not in stored or not stored[file.path].holds(file)]
    findings = [_fault(publication, file) for file in wrong]
    findings += [
        Finding("is in the way: nobody else may write there", PUBLISH, path=path)
        for path in sorted(stored.keys() - {file.path for file in placed})
    ]
    raise Refusal("Not published.", findings)


def _fault(publication: Publication, file: PublicationFile) -> Finding:
    if isinstance(file.content, Path) and sha256_of(file.content) != file.sha256:
        return spoiled(publication.dataset, file, "is not what was recorded")
    return Finding("did not arrive in the local hub as it is here", PUBLISH, path=file.path)
