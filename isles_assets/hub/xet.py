"""Xet, as `hf_xet` speaks it: what it raises where somebody says no, and the folder and the memory that it needs.

It raises builtins whose text has the status and the address. The words of the answer are in none of them, so the one
who said no is asked again, once.
"""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from isles_assets.lib.files import lack_of_room
from isles_assets.lib.findings import Refusal

_ANSWER = re.compile(r"HTTP status (?:client|server) error \((\d{3})[^)]*\), domain: ([^\s,]+)")
_ERROR_OF_DISK = re.compile(r"\(os error (\d+)\)")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_SECONDS = 20.0
_LEAST = 16_000_000
_OF_WHAT_IS_SENT = 200
"""What the list of the chunks of a file takes is less than this part of the file: 1/1,365, in up to three copies."""
_KEEPS = "Xet keeps its notes there"
_MEND = "set HF_XET_CACHE, or HF_HOME, to a folder that can be written to and has room"

LIMITS = {
    ("HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION", "HF_XET_MAX_CONCURRENT_FILE_INGESTION"): "1",
    ("HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY", "HF_XET_FIXED_UPLOAD_CONCURRENCY"): "3",
    ("HF_XET_DATA_INGESTION_BLOCK_SIZE", "HF_XET_INGESTION_BLOCK_SIZE"): "1mb",
}
"""What bounds the memory of an upload, under the names that `hf_xet` reads it by.

It packs files into pieces of 64 MB. Each file that is being read has one that is filled and one that waits to be sent,
and each that is being sent is held as well: without limits eight files, and as many connections as a fast store is
worth, up to 64. One file at a time keeps two cores busy. Small blocks are given back to the system when they are free.
"""
_SMALL = 1 << 28
_SPEED_IS_ALL = ("HF_XET_HIGH_PERFORMANCE", "HF_XET_HP")


def answer_in(error: BaseException) -> tuple[int, str] | None:
    """The status of the answer that `hf_xet` met, and the address that it came from; None if this is about none."""
    if not isinstance(error, OSError | RuntimeError) or isinstance(error, HfHubHTTPError):
        return None
    answer = _ANSWER.search(str(error))
    return (int(answer[1]), answer[2]) if answer else None


def asked_again(url: str, status: int, token_url: str) -> httpx2.Response | None:
    """The answer of `url`, if it is `status` again; or of the Hub, where the right to write is got, at `token_url`.

    Raises `HfHubHTTPError` if it is the Hub that says no now. Sends no data: what is denied, is so before any is read.
    """
    session = get_session()
    try:
        granted = session.get(token_url, headers=build_hf_headers(), timeout=_SECONDS)
        hf_raise_for_status(granted)
        if "/xet-write-token/" in url:
            return None
        said: dict[str, Any] = granted.json()
        if httpx2.URL(str(said["casUrl"])).host != httpx2.URL(url).host:
            return None
        headers = {"Authorization": f"Bearer {said['accessToken']}"}
        answer = session.post(url, headers=headers, content=b"", timeout=_SECONDS)
    except (httpx2.TransportError, ValueError, KeyError):
        return None
    return answer if answer.status_code == status else None


def check_cache(size: int) -> None:
    """Raise `Refusal` unless there is a folder for what `hf_xet` notes while it sends `size` bytes."""
    folder, headline = _cache(), "Nothing was sent to the Hub."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))
            file.flush()
    except OSError as error:
        raise Refusal.of(headline, _unwritable(error.strerror), _MEND, path=folder) from None
    if problem := lack_of_room(folder, max(_LEAST, size // _OF_WHAT_IS_SENT)):
        raise Refusal.of(headline, f"{_KEEPS}: it {problem}", _MEND, path=folder)


@contextmanager
def lack_of_room_explained(headline: str) -> Iterator[None]:
    """Turn what `hf_xet` raises where that folder has no room any more into a `Refusal` with the `headline`.

    It is an `OSError` without a number, which names no file; its text has the number.
    """
    try:
        yield
    except OSError as error:
        said = _ERROR_OF_DISK.search(str(error))
        if not said or int(said[1]) not in _NO_ROOM:
            raise
        raise Refusal.of(headline, _unwritable(os.strerror(int(said[1]))), _MEND, path=_cache()) from None


def _unwritable(why: str | None) -> str:
    return f"{_KEEPS}, and it cannot be written to: {why}"


def limit_memory(size: int) -> None:
    """Bound what `hf_xet` holds while it sends `size` bytes, unless the user has said otherwise, or that speed is all.

    What is small is held as a whole at most, and many small files are sent faster several at a time.
    It reads the variables when its first session in the process begins, so this comes before all that it does.
    """
    if size < _SMALL or any(
        os.environ.get(name, "").upper() in constants.ENV_VARS_TRUE_VALUES for name in _SPEED_IS_ALL
    ):
        return
    for names, limit in LIMITS.items():
        if not any(map(os.environ.get, names)):
            os.environ[names[0]] = limit


def _cache() -> Path:
    """Where `hf_xet` keeps what it notes: it reads the variables when it begins."""
    if cache := os.environ.get("HF_XET_CACHE"):
        return Path(cache)
    if home := os.environ.get("HF_HOME"):
        return Path(home, "xet")
    return Path(constants.HF_XET_CACHE)
