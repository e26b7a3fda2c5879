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
# The first file of a new dataset. Files that match a pattern are large ones, whatever their size.
GITATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.arrow", "*.bin", "*.gz", "*.jpg", "*.jpeg", "*.npy", "*.npz", "*.parquet", "*.png", "*.zip")
).encode()
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def git_blob_id(content: bytes) -> str:
    """Return git's id of the content, as clients compute it (utils/sha.py: git_hash)."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class File:
    """One version of a file. `content` is None for a large file; the store has it by `sha256`."""

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
        """The text that git stores in place of a large file."""
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
        """Yield this commit and all before it, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def entry(self, path: str) -> File | str | None:
        """Return the file at the path, or the tree id of a folder there; None if there is neither."""
        if (file := self.files.get(path)) is not None:
            return file
        below = [(name, file.blob_id) for name, file in sorted(self.files.items()) if name.startswith(f"{path}/")]
        return hashlib.sha1(json.dumps(below).encode(), usedforsecurity=False).hexdigest() if below else None

    def last_changed(self, path: str) -> "Commit":
        """Return the commit that last changed the path."""
        entry, last = self.entry(path), self
        for commit in self.history():
            if commit.entry(path) != entry:
                break
            last = commit
        return last


class RefMove(NamedTuple):
    """One move of a ref such as `refs/heads/main`; `old` is None for its creation, `new` for its deletion."""

    ref: str
    old: str | None
    new: str | None


@dataclass
class Repo:
    """A dataset: its commits, its refs, and the SHA-256 of the large objects uploaded to it."""

    repo_id: str
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    moves: list[RefMove] = field(default_factory=list)
    objects: set[str] = field(default_factory=set)

    def commit(self, parent: Commit | None, files: Mapping[str, File], title: str, message: str, author: str) -> Commit:
        """Add a commit, and return it. No ref points to it yet."""
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
        """Return the commit of a branch, tag, full ref name, or oid (7 characters suffice); None if there is none."""
        for ref in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            if ref in self.refs:
                return self.commits[self.refs[ref]]
        matches = [
            commit for oid, commit in tuple(self.commits.items()) if len(revision) >= 7 and oid.startswith(revision)
        ]
        return matches[0] if len(matches) == 1 else None


class WrongBytesError(Exception):
    """The received bytes are not the announced object."""


def check_digest(got: str, announced: str) -> None:
    """Check the SHA-256 of bytes that have arrived. Raises `WrongBytesError`."""
    if got != announced:
        raise WrongBytesError(f"the bytes that arrived have the SHA-256 {got}, {announced} was announced")


class Objects:
    """Large objects in a folder, by SHA-256. Each appears complete and, unless `believed`, verified."""

    def __init__(self, root: Path, *, believed: bool) -> None:
        self._believed = believed
        self._stored, self._incoming = root / "objects", root / "incoming"
        for folder in (self._stored, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self._stored / sha256

    def incoming(self) -> Path:
        """Return a new path for bytes that are not verified yet."""
        return self._incoming / uuid.uuid4().hex

    def accept(self, arrived: list[Path], sha256: str, size: int) -> None:
        """Store the concatenated files `arrived` if they are the announced object. They are removed in any case.

        Raises:
            WrongBytesError: Size or SHA-256 differ.
        """
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
            if not self._believed:
                check_digest(got, sha256)
            whole.rename(self.path(sha256))
        finally:
            for path in arrived:
                path.unlink(missing_ok=True)

    def put(self, content: bytes) -> File:
        """Store the content of a large file, and return the file."""
        file = File(len(content), hashlib.sha256(content).hexdigest())
        arrived = self.incoming()
        arrived.write_bytes(content)
        self.accept([arrived], file.sha256, file.size)
        return file

    def link(self, path: Path) -> File:
        """Store the large file at `path` as a hard link, and return the file."""
        with path.open("rb") as content:
            file = File(path.stat().st_size, hashlib.file_digest(content, "sha256").hexdigest())
        self.path(file.sha256).hardlink_to(path)
        return file

    def open(self, sha256: str) -> BinaryIO:
        return self.path(sha256).open("rb")

    def flip(self, sha256: str, at: int = 0) -> None:
        """Damage a stored object: invert all bits of the byte at `at`."""
        with self.path(sha256).open("r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0xFF]))

    def total(self) -> int:
        return sum(path.stat().st_size for path in self._stored.iterdir())


class Upload(NamedTuple):
    """An LFS upload that the Hub has granted: the announced object, and the parts that have arrived."""

    repo: Repo
    sha256: str
    size: int
    parts: dict[int, Path]


class Store:
    """All repositories. Hold `lock` to read or change several things of one."""

    def __init__(self, root: Path, *, believes: bool) -> None:
        self.lock = threading.RLock()
        self.objects = Objects(root, believed=believes)
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, Upload] = {}

    def create(self, repo_id: str, *, private: bool, author: str) -> Repo:
        """Create a dataset as the Hub does, with one commit of `.gitattributes`, and return it."""
        with self.lock:
            repo = self.repos[repo_id] = Repo(repo_id, private)
            files = {".gitattributes": File.inline(GITATTRIBUTES)}
            repo.move(MAIN, repo.commit(None, files, "initial commit", "", author).oid)
            return repo
