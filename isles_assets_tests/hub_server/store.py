"""The state of the Hub: repositories of immutable commits, refs that point at them, and large objects in a folder."""

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAIN = "refs/heads/main"
# What the Hub puts into a new dataset; files that match a pattern are large ones, whatever their size.
GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.arrow", "*.bin", "*.gz", "*.jpg", "*.jpeg", "*.npy", "*.npz", "*.parquet", "*.png", "*.zip")
).encode()
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def git_blob_id(content: bytes) -> str:
    """What git calls a file of that content; the client computes the same (utils/sha.py: git_hash)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class File:
    """One version of a file. Small ones carry their content; of large ones it is in the store, named by `sha256`."""

    size: int
    sha256: str
    content: bytes | None = field(default=None, repr=False)

    @classmethod
    def inline(cls, content: bytes) -> "File":
        return cls(len(content), hashlib.sha256(content).hexdigest(), content)

    @property
    def is_lfs(self) -> bool:
        return self.content is None

    @property
    def pointer(self) -> bytes:
        """What git stores in place of a large file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @property
    def blob_id(self) -> str:
        return git_blob_id(self.pointer if self.content is None else self.content)


@dataclass(frozen=True)
class Commit:
    """An immutable tree with its history."""

    oid: str
    parent: "Commit | None"
    files: Mapping[str, File]
    title: str
    message: str
    author: str
    date: datetime

    def history(self) -> "Iterator[Commit]":
        """This commit and all before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def entry(self, path: str) -> File | str | None:
        """The file of that path; of a folder the id of its tree; nothing if there is neither."""
        if (file := self.files.get(path)) is not None:
            return file
        below = [(name, file.blob_id) for name, file in sorted(self.files.items()) if name.startswith(f"{path}/")]
        return hashlib.sha1(json.dumps(below).encode(), usedforsecurity=False).hexdigest() if below else None

    def last_changed(self, path: str) -> "Commit":
        """The commit that gave the path what it has here."""
        entry, last = self.entry(path), self
        for commit in self.history():
            if commit.entry(path) != entry:
                break
            last = commit
        return last


class RefMove(NamedTuple):
    """One move of a ref such as `refs/heads/main`; `old` is None where it was created, `new` where it was deleted."""

    ref: str
    old: str | None
    new: str | None


@dataclass
class Repo:
    """A dataset: its commits, its refs, and which large objects were uploaded to it."""

    repo_id: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    moves: list[RefMove] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)

    def commit(self, parent: Commit | None, files: Mapping[str, File], title: str, message: str, author: str) -> Commit:
        """A new commit, to which no ref points yet."""
        date = EPOCH + timedelta(seconds=len(self.commits))
        what = [parent and parent.oid, title, message, author, len(self.commits)]
        tree = [(path, file.blob_id) for path, file in sorted(files.items())]
        oid = hashlib.sha1(json.dumps([self.repo_id, what, tree]).encode(), usedforsecurity=False).hexdigest()
        self.commits[oid] = Commit(oid, parent, dict(files), title, message, author, date)
        return self.commits[oid]

    def move(self, ref: str, new: str | None) -> None:
        """Point a ref at a commit, or delete it."""
        self.moves.append(RefMove(ref, self.refs.get(ref), new))
        if new is None:
            del self.refs[ref]
        else:
            self.refs[ref] = new

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, a tag, a full ref name, or (the beginning of) an oid."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        found = [
            commit for oid, commit in tuple(self.commits.items()) if len(revision) >= 7 and oid.startswith(revision)
        ]
        return found[0] if len(found) == 1 else None


class WrongBytesError(Exception):
    """The bytes received are not the object that was announced."""


class Objects:
    """Large objects in a folder by their SHA-256. One appears there only whole and, unless `believed`, verified."""

    def __init__(self, root: Path, *, believed: bool) -> None:
        self._believed = believed
        self._stored, self._incoming = root / "objects", root / "incoming"
        for folder in (self._stored, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self._stored / sha256

    def incoming(self) -> Path:
        """A new name for bytes that are not yet what they should be."""
        return self._incoming / uuid.uuid4().hex

    def accept(self, arrived: list[Path], sha256: str, size: int) -> None:
        """Store what is in the files `arrived`, one after the other, if it is that object; they are gone afterwards."""
        whole, *others = arrived
        try:
            with whole.open("ab") as target:
                for part in others:
                    with part.open("rb") as source:
                        shutil.copyfileobj(source, target)
            if whole.stat().st_size != size:
                raise WrongBytesError(f"{whole.stat().st_size} bytes arrived, {size} were announced")
            with whole.open("rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
            if got != sha256 and not self._believed:
                raise WrongBytesError(f"the bytes that arrived have the SHA-256 {got}, {sha256} was announced")
            whole.rename(self.path(sha256))
        finally:
            for path in arrived:
                path.unlink(missing_ok=True)

    def put(self, content: bytes) -> File:
        """Store the content of a large file."""
        file = File(len(content), hashlib.sha256(content).hexdigest())
        arrived = self.incoming()
        arrived.write_bytes(content)
        self.accept([arrived], file.sha256, file.size)
        return file

    def link(self, path: Path) -> File:
        """Store the large file at `path` without copying it."""
        with path.open("rb") as content:
            file = File(path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())
        self.path(file.sha256).hardlink_to(path)
        return file

    def open(self, sha256: str) -> BinaryIO:
        return self.path(sha256).open("rb")

    def flip(self, sha256: str, at: int = 0) -> None:
        """Damage a stored object: all bits of the byte at `at` are turned over."""
        with self.path(sha256).open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))

    def total(self) -> int:
        return sum(path.stat().st_size for path in self._stored.iterdir())


class Upload(NamedTuple):
    """A transfer the Hub has agreed to: what `PUT` to its address will be taken as."""

    repo: Repo
    sha256: str
    size: int
    parts: dict[int, Path]


class Store:
    """All repositories. Whoever reads or changes several things of one holds `lock`."""

    def __init__(self, root: Path, *, believes: bool) -> None:
        self.lock = threading.RLock()
        self.objects = Objects(root, believed=believes)
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, Upload] = {}

    def create(self, repo_id: str, *, private: bool, author: str) -> Repo:
        """A dataset as the Hub creates it: with one commit, of `.gitattributes`."""
        with self.lock:
            repo = self.repos[repo_id] = Repo(repo_id, private)
            files = {".gitattributes": File.inline(GITATTRIBUTES)}
            repo.move(MAIN, repo.commit(None, files, "initial commit", "", author).oid)
            return repo
