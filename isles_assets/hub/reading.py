"""Reading parts of published files, from a folder laid out as the repo or from a commit on the Hub.

The revision is fixed at the start, so a concurrent publication cannot mix versions. Only the bytes asked for are read
or transferred. `huggingface_hub` finds the token by itself, if there is one; this module never holds it.
"""

import hashlib
import io
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, errors, hf_hub_url
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from isles_assets.hub.denials import DENIED, Denial, check_token, denial_of
from isles_assets.hub.repo import check_repo_id
from isles_assets.lib.findings import Finding, Refusal
from isles_assets.lib.secrets import without_secrets

_LOG = logging.getLogger(__name__)

_TYPE: Any = "dataset"
_LIBRARY = "isles-assets"
_PIECE = 1 << 20
_TRIES = 6
_LONGEST_WAIT = 8.0
_PARTIAL_CONTENT = 206
_LOG_IN = "use `hf auth login` or HF_TOKEN with a token that may read it"


class Unavailable(Refusal):
    """No file of the dataset can be read, so the next ones need not be tried."""


@dataclass(frozen=True)
class LocalFile:
    """A file on this disk."""

    path: Path
    size: int

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                while size and (piece := file.read(min(_PIECE, size))):
                    yield piece
                    size -= len(piece)
        except OSError as error:
            problem, mend = f"cannot be read: {error.strerror}", "look at the folder"
            raise Refusal.of("A file could not be read.", problem, mend, path=self.path) from error


@dataclass(frozen=True)
class FileOnHub:
    """A file on the Hub. Each `read` is one request, and another one for the rest if the answer breaks off."""

    name: str
    url: str
    size: int

    def read(self, offset: int, size: int) -> Iterator[bytes]:
        end, patience = offset + size, _TRIES
        with reading_explained(self.name):
            while offset < end:
                start = offset
                try:
                    for piece in self._answer(offset, end):
                        offset += len(piece)
                        yield piece
                except httpx2.TransportError as error:
                    patience = _TRIES if offset > start else patience - 1
                    if not patience:
                        raise
                    _LOG.warning("%s: %s; going on at byte %d", self.name, _said(error), offset)
                    time.sleep(min(2.0 ** (_TRIES - patience), _LONGEST_WAIT))

    def _answer(self, offset: int, end: int) -> Iterator[bytes]:
        """Yield the bytes up to `end` that one request returns. The client retries HTTP statuses that may pass."""
        headers = build_hf_headers(library_name=_LIBRARY)
        headers |= {"Range": f"bytes={offset}-{end - 1}", "Accept-Encoding": "identity"}
        with http_stream_backoff(
            "GET", self.url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, retry_on_exceptions=()
        ) as response:
            hf_raise_for_status(response)
            if response.status_code != _PARTIAL_CONTENT and (offset, end) != (0, self.size):
                problem = "is given as a whole where a part was asked for"
                mend = "leave out the proxy that is between here and the Hub, or download the file and name the folder"
                raise Unavailable.of("The dataset cannot be read in parts.", problem, mend, path=self.name)
            for received in response.iter_bytes():
                piece = received[: end - offset]
                offset += len(piece)
                yield piece
                if len(piece) < len(received):
                    return
            if offset < end:
                raise httpx2.RemoteProtocolError("the answer ended early")


RemoteFile = LocalFile | FileOnHub
"""A file of a revision, of `size` bytes.

Its method `read` yields up to a number of bytes from an offset on, in pieces of at most some MB. It raises `Refusal` if
the file cannot be read, `Unavailable` if no file can.
"""


def digest_of(file: RemoteFile) -> str:
    """Return the SHA-256 of the bytes that `read` yields, and keep none of them. Raises what `read` raises."""
    digest = hashlib.sha256()
    for piece in file.read(0, file.size):
        digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class Folder:
    """A folder laid out as the repo. `root` is no link."""

    root: Path

    @property
    def name(self) -> str:
        return str(self.root)

    def find(self, paths: Sequence[str]) -> dict[str, LocalFile]:
        with _readable(self.root):
            files = {path: self.root / path for path in paths}
            return {path: LocalFile(file, file.stat().st_size) for path, file in files.items() if file.is_file()}

    def file(self, path: str, size: int) -> LocalFile:
        return LocalFile(self.root / path, size)


@dataclass(frozen=True)
class HubCommit:
    """A commit of the dataset repo `repo`."""

    api: HfApi
    repo: str
    commit: str

    @property
    def name(self) -> str:
        return f"{self.repo} at commit {self.commit}"

    def find(self, paths: Sequence[str]) -> dict[str, FileOnHub]:
        with reading_explained(self.name):
            entries = self.api.get_paths_info(self.repo, list(paths), revision=self.commit, repo_type=_TYPE)
        return {entry.path: self.file(entry.path, entry.size) for entry in entries if isinstance(entry, RepoFile)}

    def file(self, path: str, size: int) -> FileOnHub:
        url = hf_hub_url(self.repo, path, repo_type=_TYPE, revision=self.commit, endpoint=self.api.endpoint)
        return FileOnHub(f"{self.repo}/{path}", url, size)


Revision = Folder | HubCommit
"""A fixed revision of the dataset. `name` says which, for people.

Its method `find` returns the files among some paths, and raises `Unavailable`. `file` returns a file of known path and
size without a request.
"""


def open_revision(location: str, revision: str | None = None, endpoint: str | None = None) -> Revision:
    """Return a published dataset, fixed at a revision.

    Args:
        location: A folder, or else a repo id on the Hub.
        revision: A branch, tag or commit on the Hub; None for `main`, or for the folder as it is now.
        endpoint: Address of the Hub; None for `HF_ENDPOINT`.

    Raises:
        Refusal: There is no such dataset or revision, or it cannot be read.
    """
    folder = Path(location)
    with _readable(folder):
        is_folder = folder.is_dir()
    if is_folder:
        if revision is not None:
            mend = "leave the revision out, or name a repo of the Hub"
            raise Refusal.of("There is no such revision.", "is a folder, which has none", mend, path=location)
        return Folder(folder.resolve())
    try:
        check_repo_id(location)
    except Refusal:
        problem = "is neither a folder nor the id of a repo"
        mend = "name a repo of the Hub as <owner>/<name>, or a folder laid out as one"
        raise Refusal.of("There is no such dataset.", problem, mend, path=location) from None
    api, revision = HfApi(endpoint=endpoint, library_name=_LIBRARY), revision or constants.DEFAULT_REVISION
    check_token("The dataset could not be read.")
    with reading_explained(location, revision):
        info = api.dataset_info(location, revision=revision, expand=["sha"], timeout=constants.HF_HUB_ETAG_TIMEOUT)
    return HubCommit(api, location, str(info.sha))


class SeekableFile(io.RawIOBase):
    """A published file for readers that seek. Its last `tail` bytes are read once, at the start."""

    def __init__(self, file: RemoteFile, tail: int):
        self._file, self._position = file, 0
        self._tail_start = max(0, file.size - tail)
        self._tail = b"".join(file.read(self._tail_start, file.size - self._tail_start))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        start, end = self._position, min(self._position + len(buffer), self._file.size)
        content = self._between(start, end) if start < end else b""
        buffer[: len(content)] = content
        self._position += len(content)
        return len(content)

    def _between(self, start: int, end: int) -> bytes:
        if start < self._tail_start:
            return b"".join(self._file.read(start, end - start))
        return self._tail[start - self._tail_start : end - self._tail_start]


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn an `OSError` on reading `folder` into `Unavailable`, which says what to do."""
    try:
        yield
    except OSError as error:
        problem, mend = f"cannot be read: {error.strerror}", "grant read and search rights"
        raise Unavailable.of("The dataset could not be read.", problem, mend, path=folder) from error


@contextmanager
def reading_explained(what: str, revision: str = "") -> Iterator[None]:
    """Turn an exception of the client inside the block into a `Refusal` that says what to do."""
    try:
        yield
    except (OSError, httpx2.HTTPError) as error:
        raise _refusal(error, what, revision) from None  # `error` names addresses, which may be signed


def _refusal(error: Exception, what: str, revision: str) -> Refusal:
    denial = denial_of(error)
    match error:
        case errors.RevisionNotFoundError():
            finding = Finding(f"has no revision {revision}", "name a branch, a tag or a commit of the repo", path=what)
            return Unavailable("There is no such revision.", [finding])
        case errors.EntryNotFoundError() if not isinstance(error, errors.LocalEntryNotFoundError):
            return Refusal.of("A file could not be read.", "is not there any more", "run again", path=what)
        case errors.GatedRepoError():
            problem, mend = "is given to those who asked for access", f"ask for it on the repo's page; then {_LOG_IN}"
        case errors.RepositoryNotFoundError():
            problem = "is no folder, and no dataset repo that can be seen"
            mend = f"check its name; if private, {_LOG_IN}"
        case errors.OfflineModeIsEnabled():
            problem, mend = "cannot be read while HF_HUB_OFFLINE is set", "unset it, or name a folder"
        case _ if denial:
            problem, mend = str(denial), way_back(denial)
        case _:
            problem, mend = f"the Hub cannot be reached: {_said(error)}", "check the network; run again, which resumes"
    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN and denial and denial.status in (*DENIED, 404) and not denial.by_store:
        mend = f"unset HF_HUB_DISABLE_IMPLICIT_TOKEN, which keeps the client from sending a token; {mend}"
    return Unavailable.of("The dataset could not be read.", problem, mend, path=what)


def way_back(denial: Denial) -> str:
    """Return what to do about a denied read."""
    if denial.by_store and denial.status in DENIED:
        return "run again, which resumes, with new addresses; if it recurs, see the proxies on the way there"
    if denial.is_of_token:
        return f"{_LOG_IN}, or none"
    return "run again later, which resumes" if denial.may_pass else "do as it says, or ask the Hub"


def _said(error: Exception) -> str:
    return without_secrets(str(error)) or type(error).__name__
