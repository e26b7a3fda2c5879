"""`hf_xet`, the client of Xet: its exceptions for denials, and the folder and memory that it needs.

It raises builtin exceptions whose text has the HTTP status and the address, but not the words of the answer. To learn
these, the request is repeated once.
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

from isles_assets.lib.files import lack_of_space, nearest_existing
from isles_assets.lib.findings import Refusal

_ANSWER = re.compile(r"HTTP status (?:client|server) error \((\d{3})[^)]*\), domain: ([^\s,]+)")
_ERROR_OF_DISK = re.compile(r"\(os error (\d+)\)")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_TIMEOUT = 20.0
"""Seconds."""
_MIN_CACHE = 16_000_000
"""Bytes."""
_CACHE_PART = 200
"""The cache takes less than this part of the bytes sent: lists of chunks are 1/1,365, in up to three copies."""
_CACHE_USE = "Xet keeps its notes there"
_MEND = "set HF_XET_CACHE, or HF_HOME, to a folder that can be written to and has room"

LIMITS = {
    ("HF_XET_DATA_MAX_CONCURRENT_FILE_INGESTION", "HF_XET_MAX_CONCURRENT_FILE_INGESTION"): "1",
    ("HF_XET_CLIENT_AC_MAX_UPLOAD_CONCURRENCY", "HF_XET_FIXED_UPLOAD_CONCURRENCY"): "3",
    ("HF_XET_DATA_INGESTION_BLOCK_SIZE", "HF_XET_INGESTION_BLOCK_SIZE"): "1mb",
}
"""Values that bound the memory of an upload, by the names of the environment variable that sets each.

It packs files into blocks of 64 MB. Each file being read has one block to fill and one that waits, and each connection
holds one more. By default it reads eight files, and opens up to 64 connections if the store is fast. One file at a time
keeps two cores busy. Small read buffers go back to the system when they are free.
"""
_SMALL_UPLOAD = 1 << 28
"""Bytes."""
_HIGH_PERFORMANCE = ("HF_XET_HIGH_PERFORMANCE", "HF_XET_HP")


def answer_in(error: BaseException) -> tuple[int, str] | None:
    """Return the HTTP status in an exception of `hf_xet`, and the address that answered; None if there is no status."""
    if not isinstance(error, OSError | RuntimeError) or isinstance(error, HfHubHTTPError):
        return None
    answer = _ANSWER.search(str(error))
    return (int(answer[1]), answer[2]) if answer else None


def asked_again(url: str, status: int, token_url: str) -> httpx2.Response | None:
    """Repeat a denied request to `url` without data. Return the answer if it has `status` again, else None.

    It first asks the Hub at `token_url` for the right to write. Servers deny before they read any data.

    Raises:
        HfHubHTTPError: The Hub denies that right.
    """
    session = get_session()
    try:
        response = session.get(token_url, headers=build_hf_headers(), timeout=_TIMEOUT)
        hf_raise_for_status(response)
        if "/xet-write-token/" in url:
            return None
        grant: dict[str, Any] = response.json()
        if httpx2.URL(str(grant["casUrl"])).host != httpx2.URL(url).host:
            return None
        headers = {"Authorization": f"Bearer {grant['accessToken']}"}
        answer = session.post(url, headers=headers, content=b"", timeout=_TIMEOUT)
    except (httpx2.TransportError, ValueError, KeyError):
        return None
    return answer if answer.status_code == status else None


def check_cache(size: int, *, make: bool = True) -> None:
    """Check that the cache of `hf_xet` can be written to, and has room for an upload of `size` bytes.

    Args:
        make: Make the folder if it is missing. Otherwise the nearest folder above it is tried.

    Raises:
        Refusal: It cannot, or has not.
    """
    folder, headline = cache_folder(), "Nothing was sent to the Hub."
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=nearest_existing(folder)) as file:
            file.write(bytes(1 << 16))
            file.flush()
    except OSError as error:
        raise Refusal.of(headline, _unwritable(error.strerror), _MEND, path=folder) from None
    if problem := lack_of_space(folder, max(_MIN_CACHE, size // _CACHE_PART)):
        raise Refusal.of(headline, f"{_CACHE_USE}: it {problem}", _MEND, path=folder)


@contextmanager
def lack_of_room_explained(headline: str) -> Iterator[None]:
    """Turn the exception of `hf_xet` for a full cache into a `Refusal` with the `headline`.

    That is an `OSError` without `errno` and file name. Only its text has the number.
    """
    try:
        yield
    except OSError as error:
        number = _ERROR_OF_DISK.search(str(error))
        if not number or int(number[1]) not in _NO_ROOM:
            raise
        raise Refusal.of(headline, _unwritable(os.strerror(int(number[1]))), _MEND, path=cache_folder()) from None


def _unwritable(why: str | None) -> str:
    return f"{_CACHE_USE}, and it cannot be written to: {why}"


def limit_memory(size: int) -> None:
    """Bound the memory of `hf_xet` for an upload of `size` bytes, unless the user set its variables.

    A small upload has no limits: it takes no more memory than its size, and small files go faster several at a time.
    `hf_xet` reads the variables when its first session in the process begins, so call this before.
    """
    if size < _SMALL_UPLOAD or any(
        os.environ.get(name, "").upper() in constants.ENV_VARS_TRUE_VALUES for name in _HIGH_PERFORMANCE
    ):
        return
    for names, limit in LIMITS.items():
        if not any(map(os.environ.get, names)):
            os.environ[names[0]] = limit


def cache_folder() -> Path:
    """Return the cache folder of `hf_xet`, from the variables that it reads, too. It need not exist."""
    if cache := os.environ.get("HF_XET_CACHE"):
        return Path(cache)
    if home := os.environ.get("HF_HOME"):
        return Path(home, "xet")
    return Path(constants.HF_XET_CACHE)
