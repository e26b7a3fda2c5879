"""Files on their way to the Hub: what was sent is digested as it is sent, and compared with the record.

The record is not handed to the client to be believed. By Xet `hf_xet` computes the SHA-256 while it cuts the file
into chunks, if it is told none, and the client leaves it in `upload_info`: no further pass over the bytes. By LFS the
Hub has to be asked for a digest before it is sent anything, and that is the record's; the client then reads from a file
of ours that digests what passes.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd

from isles_assets.hub.changes import spoiled
from isles_assets.lib.files import status_of
from isles_assets.lib.findings import Refusal
from isles_assets.products.dataset import Dataset
from isles_assets.products.product import PublicationFile

Upload = Callable[[list[CommitOperationAdd]], None]


class DigestingFile(io.BufferedIOBase):
    """A file that can be read on, or again from any place at which reading has begun: as a client does that retries.

    The digest is of what was read last of each byte, so of what was sent if the sending succeeds.
    """

    def __init__(self, path: Path):
        self._file = path.open("rb", buffering=0)
        self._digest, self._position = hashlib.sha256(), 0
        self._began = {0: self._digest.copy()}
        self._sought = False

    @property
    def sha256(self) -> str | None:
        """The digest of the whole file; None while it was not read to its end."""
        return self._digest.hexdigest() if self._position == status_of(self._file).size else None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._sought = True
        return self._file.seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        if self._sought:
            self._begin_at(self._file.tell())
        data = self._file.read(-1 if size is None else size)
        self._digest.update(data)
        self._position += len(data)
        return data

    def _begin_at(self, position: int) -> None:
        if position == self._position:
            self._began[position] = self._digest.copy()
        elif position in self._began:
            self._digest, self._position = self._began[position].copy(), position
        else:
            raise io.UnsupportedOperation(f"reading began neither at byte {position} before nor ended there")
        self._sought = False

    def close(self) -> None:
        self._file.close()
        super().close()


def send(
    files: Sequence[PublicationFile], dataset: Dataset, upload: Upload, headline: str, *, by_lfs: bool
) -> list[CommitOperationAdd]:
    """Let `upload` send `files`, of `dataset`; what a commit is made of then.

    Raises `Refusal` with the `headline`, naming each file of which other bytes were sent than were recorded. What
    `upload` raises for another reason is passed on.
    """
    additions = {file: _addition(file, by_lfs=by_lfs) for file in files}
    if other := [file for file, addition in additions.items() if addition.upload_info.size != file.size]:
        raise _refused(other, dataset, headline)
    if not by_lfs:
        upload(list(additions.values()))
        sent = {file: _digest_of(addition) for file, addition in additions.items()}
    else:
        with _read_through(additions) as readers:
            try:
                upload(list(additions.values()))
            except Exception as error:  # a Hub that compares has refused them, with other words
                if other := [file for file, reader in readers.items() if reader.sha256 not in (None, file.sha256)]:
                    raise _refused(other, dataset, headline) from error
                raise
            sent = {file: reader.sha256 for file, reader in readers.items()}
    sent |= {file: _held(addition) for file, addition in additions.items() if _goes_with_the_commit(addition)}
    if other := [file for file, digest in sent.items() if digest not in (None, file.sha256)]:
        raise _refused(other, dataset, headline)
    return list(additions.values())


def _refused(files: Sequence[PublicationFile], dataset: Dataset, headline: str) -> Refusal:
    problem = "was not what was recorded when it was sent"
    return Refusal(headline, [spoiled(dataset, file, problem) for file in files])


def _addition(file: PublicationFile, *, by_lfs: bool) -> CommitOperationAdd:
    assert file.content is not None
    addition = CommitOperationAdd(file.path, file.content)
    if by_lfs and isinstance(file.content, Path):
        addition.upload_info.sha256 = bytes.fromhex(file.sha256)
    return addition


def _digest_of(addition: CommitOperationAdd) -> str | None:
    """What the client says of the bytes that it has sent or will send; None where it did not look at them yet."""
    return addition.upload_info.sha256.hex() if addition.upload_info.is_hashed else None


def _goes_with_the_commit(addition: CommitOperationAdd) -> bool:
    """Whether the Hub wants it in the commit itself, as it does small text; the client has no public word for that."""
    return addition._upload_mode == "regular"


def _held(addition: CommitOperationAdd) -> str:
    """Read what goes with the commit, so that what is sent is what is digested here."""
    if isinstance(addition.path_or_fileobj, str):
        addition.path_or_fileobj = Path(addition.path_or_fileobj).read_bytes()
    assert isinstance(addition.path_or_fileobj, bytes)
    return hashlib.sha256(addition.path_or_fileobj).hexdigest()


@contextmanager
def _read_through(
    additions: dict[PublicationFile, CommitOperationAdd],
) -> Iterator[dict[PublicationFile, DigestingFile]]:
    """Let the client read files through readers that digest, which it sends by LFS and never by Xet."""
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
