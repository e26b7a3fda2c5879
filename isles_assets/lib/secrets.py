"""What must not be told: signatures and passwords in addresses, tokens, and addresses that are secrets themselves.

The clients name addresses as they are, in exceptions and in what they log. Whoever tells what a client has said takes
the secrets out first, by `without_secrets`; `kept_out_of_logs` does so for all that this process logs, whoever logs it.
"""

import logging
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

LEFT_OUT = "***"
_SHORTEST = 6
"""Shorter values of variables are no secrets and may be words, such as `true`."""

_BEARERS = re.compile("(TOKEN|PASSWORD|SECRET)$", re.IGNORECASE)
_ADDRESSES = re.compile("(ENDPOINT|PROXY|URL)$", re.IGNORECASE)
_SECRET_ADDRESSES = re.compile("WEBHOOK", re.IGNORECASE)
_PATTERNS = (
    re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]*://)[^\s/?#'\"<>]*(?=@)", re.IGNORECASE),  # user and password
    re.compile(r"(?P<kept>\?)[^\s?'\"<>=]+=[^\s'\"<>]*"),  # the query of an address, with any signature
    re.compile(r"(?P<kept>\b(?:Bearer|Basic)\s+)[^\s'\",]+"),
    re.compile(r"(?P<kept>(?:access-?token|authorization|cookie|signature)['\"]?(?:, b|: ?|=)['\"]?)[^\s'\",&]+", re.I),
    re.compile(r"(?P<kept>\bhf_)[A-Za-z0-9]{16,}\b"),
)


def without_secrets(text: str) -> str:
    """`text` without queries and passwords of addresses, tokens, and the secrets among this process's variables."""
    for secret in _known():
        text = text.replace(secret, LEFT_OUT)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<kept>{LEFT_OUT}", text)
    return text


def _known() -> list[str]:
    """What the environment holds that must not be told; the longest first, as one may be a part of another."""
    found: set[str] = set()
    for name, value in os.environ.items():
        if _BEARERS.search(name):
            found.add(value.strip())
        elif _SECRET_ADDRESSES.search(name):
            found |= {value, *_within(value, path=True)}
        elif _ADDRESSES.search(name):
            found |= {*_within(value, path=False)}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST), key=len, reverse=True)


def _within(address: str, *, path: bool) -> Iterator[str]:
    """User with password, and the password, of an `address` that has any, well-formed or not; its path, if asked."""
    before, at, _ = address.rpartition("@")
    if at:
        credentials = before.rpartition("//")[2]
        yield from (credentials, credentials.partition(":")[2])
    if path:
        try:
            parts = urlsplit(address)
        except ValueError:
            return
        yield from (f"{parts.path}?{parts.query}", parts.path)


def clean(error: BaseException) -> None:
    """Take the secrets out of the words of `error`, and of all that it was raised from, in place."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        waiting += [each.__cause__, each.__context__, *(arg for arg in each.args if isinstance(arg, BaseException))]
        if (args := tuple(_cleaned(arg) for arg in each.args)) != each.args:
            each.args = args
        if notes := getattr(each, "__notes__", None):
            each.__notes__ = [_cleaned(note) for note in notes]


def _cleaned(value: Any) -> Any:
    return without_secrets(value) if isinstance(value, str) else value


def kept_out_of_logs() -> None:
    """From now on: let no record of this process hold a secret, whichever logger it is of and wherever it goes."""
    make = logging.getLogRecordFactory()
    if getattr(make, "keeps_secrets", False):
        return

    def make_clean(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            said = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a call that is wrong, which `logging` reports itself
            return record
        if (told := without_secrets(said)) != said:
            record.msg, record.args = told, None
        if record.exc_info and record.exc_info[1]:
            clean(record.exc_info[1])
        return record

    make_clean.keeps_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_clean)
