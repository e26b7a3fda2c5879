"""Sending files to the Hub: the bytes sent are digested on the way, and the digest is compared with the record.

By Xet, `hf_xet` computes the SHA-256 while it cuts the file into chunks, if the caller gives none. The client leaves it
in `upload_info`, so there is no further pass over the bytes. By LFS, the client has to state a digest before it sends
anything, so it states the recorded one. It then reads through a `DigestingFile`, which digests the bytes sent.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd

from isles_assets.hub.changes import local_damage
from isles_assets.lib.files import status_of
from isles_assets.lib.findings import Refusal
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile

Upload = Callable[[list[CommitOperationAdd]], None]


class DigestingFile(io.BufferedIOBase):
    """A file that computes its digest while a client reads it, even if the client retries.

    A retry may seek back to any position at which reading began before. The digest covers the last read of each byte,
    so it is that of the bytes sent if the upload succeeds.
    """

    def __init__(self, path: Path):
        self._file = path.open("rb", buffering=0)
        self._digest, self._position = hashlib.sha256(), 0
        self._digests_at = {0: self._digest.copy()}
        self._has_sought = False

    @property
    def sha256(self) -> str | None:
        """The hex digest of the whole file; None until it is read to its end."""
        return self._digest.hexdigest() if self._position == status_of(self._file).size else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._has_sought = True
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if self._has_sought:
            self._continue_at(self._file.tell())
        data = self._file.read(-1 if size is None else size)
        self._digest.update(data)
        self._position += len(data)
        return data

    def _continue_at(self, position: int) -> None:
        """Set the digest to that of the bytes before `position`."""
        if position == self._position:
            self._digests_at[position] = self._digest.copy()
        elif position in self._digests_at:
            self._digest, self._position = self._digests_at[position].copy(), position
        else:
            raise io.UnsupportedOperation(f"no earlier read began or ended at byte {position}")
        self._has_sought = False

    def close(self) -> None:
        self._file.close()
        super().close()


def send(
    files: Sequence[PublicationFile], dataset: Dataset, upload: Upload, headline: str, *, by_lfs: bool
) -> list[CommitOperationAdd]:
    """Send `files` by `upload`. Return the operations that add them in a commit.

    Raises:
        Refusal: Files have other bytes than were recorded. It has the `headline` and names each of them.
        Exception: Whatever else `upload` raises.
    """
    additions = {file: _addition(file, by_lfs=by_lfs) for file in files}
    if wrong := [file for file, addition in additions.items() if addition.upload_info.size != file.size]:
        raise _refusal(wrong, dataset, headline)
    if not by_lfs:
        upload(list(additions.values()))
        sent = {file: _digest_of(addition) for file, addition in additions.items()}
    else:
        with _digesting_files(additions) as readers:
            try:
                upload(list(additions.values()))
            except Exception as error:  # the Hub may have compared, and refused with words of its own
                if wrong := [file for file, reader in readers.items() if reader.sha256 not in (None, file.sha256)]:
                    raise _refusal(wrong, dataset, headline) from error
                raise
            sent = {file: reader.sha256 for file, reader in readers.items()}
    sent |= {file: _load(addition) for file, addition in additions.items() if _goes_into_commit(addition)}
    if wrong := [file for file, digest in sent.items() if digest not in (None, file.sha256)]:
        raise _refusal(wrong, dataset, headline)
    return list(additions.values())


def _refusal(files: Sequence[PublicationFile], dataset: Dataset, headline: str) -> Refusal:
    problem = "has other bytes than were recorded"
    return Refusal(headline, [local_damage(dataset, file, problem) for file in files])


def _addition(file: PublicationFile, *, by_lfs: bool) -> CommitOperationAdd:
    assert file.content is not None
    addition = CommitOperationAdd(file.path, file.content)
    if by_lfs and isinstance(file.content, Path):
        addition.upload_info.sha256 = bytes.fromhex(file.sha256)
    return addition


def _digest_of(addition: CommitOperationAdd) -> str | None:
    """Return the SHA-256 that the client computed of the bytes it sent; None if it did not read them yet."""
    return addition.upload_info.sha256.hex() if addition.upload_info.is_hashed else None


def _goes_into_commit(addition: CommitOperationAdd) -> bool:
    """Return whether the Hub wants the bytes in the commit itself, as of small text. The client has no public API."""
    return addition._upload_mode == "regular"


def _load(addition: CommitOperationAdd) -> str:
    """Load the bytes into memory, so the commit sends the bytes digested here. Return their SHA-256."""
    if isinstance(addition.path_or_fileobj, str):
        addition.path_or_fileobj = Path(addition.path_or_fileobj).read_bytes()
    assert isinstance(addition.path_or_fileobj, bytes)
    return hashlib.sha256(addition.path_or_fileobj).hexdigest()


@contextmanager
def _digesting_files(
    additions: dict[PublicationFile, CommitOperationAdd],
) -> Iterator[dict[PublicationFile, DigestingFile]]:
    """Let the client read the files of `additions` as `DigestingFile`s inside the block. It sends these only by LFS."""
    readers: dict[PublicationFile, DigestingFile] = {}
    try:
        for file, addition in additions.items():
            if isinstance(file.content, Path):
                reader: Any = DigestingFile(file.content)
                readers[file] = addition.path_or_fileobj = reader
        yield readers
    finally:
        for file, reader in readers.items():
            additions[file].path_or_fileobj = str(file.content)
            reader.close()
