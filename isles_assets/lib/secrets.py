"""Removing secrets from texts, exceptions and logs: tokens, signatures and passwords in addresses, secret addresses.

The clients put whole addresses into exceptions and logs. Code that passes on a client's words calls `without_secrets`
first. `keep_secrets_out_of_logs` covers all that this process logs, by any logger.
"""

import logging
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

_REDACTED = "***"
_SHORTEST = 6
"""Shorter values of variables are no secrets and may be words, such as `true`."""

_BEARERS = re.compile("(TOKEN|PASSWORD|SECRET)$", re.IGNORECASE)
_ADDRESSES = re.compile("(ENDPOINT|PROXY|URL)$", re.IGNORECASE)
_SECRET_ADDRESSES = re.compile("WEBHOOK", re.IGNORECASE)
_PATTERNS = (
    re.compile(r"(?P<kept>\b[a-z][a-z0-9+.-]*://)[^\s/?#'\"<>]*(?=@)", re.IGNORECASE),  # user and password
    re.compile(r"(?P<kept>\?)[^\s?'\"<>=]+=[^\s'\"<>]*"),  # the query of an address, where signatures are
    re.compile(r"(?P<kept>\b(?:Bearer|Basic)\s+)[^\s'\",]+"),
    re.compile(r"(?P<kept>(?:access-?token|authorization|cookie|signature)['\"]?(?:, b|: ?|=)['\"]?)[^\s'\",&]+", re.I),
    re.compile(r"(?P<kept>\bhf_)[A-Za-z0-9]{16,}\b"),
)


def without_secrets(text: str) -> str:
    """Return `text` without tokens, queries and passwords of addresses, and secrets of this process's environment."""
    for secret in _secrets_of_environment():
        text = text.replace(secret, _REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<kept>{_REDACTED}", text)
    return text


def _secrets_of_environment() -> list[str]:
    """Return the secrets in environment variables, the longest first, because one may be a part of another."""
    secrets: set[str] = set()
    for name, value in os.environ.items():
        if _BEARERS.search(name):
            secrets.add(value.strip())
        elif _SECRET_ADDRESSES.search(name):
            secrets |= {value, *_secrets_of_address(value, path_is_secret=True)}
        elif _ADDRESSES.search(name):
            secrets |= {*_secrets_of_address(value, path_is_secret=False)}
    return sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)


def _secrets_of_address(address: str, *, path_is_secret: bool) -> Iterator[str]:
    """Yield user with password, the password alone, and a secret path; `address` may be malformed."""
    before, at, _ = address.rpartition("@")
    if at:
        credentials = before.rpartition("//")[2]
        yield from (credentials, credentials.partition(":")[2])
    if path_is_secret:
        try:
            parts = urlsplit(address)
        except ValueError:
            return
        yield from (f"{parts.path}?{parts.query}", parts.path)


def remove_secrets(error: BaseException) -> None:
    """Remove the secrets from the arguments and notes of `error` and of its causes and contexts, in place."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        inner = (arg for arg in current.args if isinstance(arg, BaseException))
        pending += [current.__cause__, current.__context__, *inner]
        if (args := tuple(_redacted(arg) for arg in current.args)) != current.args:
            current.args = args
        if notes := getattr(current, "__notes__", None):
            current.__notes__ = [_redacted(note) for note in notes]


def _redacted(value: Any) -> Any:
    return without_secrets(value) if isinstance(value, str) else value


def keep_secrets_out_of_logs() -> None:
    """Remove the secrets from every log record that this process makes from now on, by any logger."""
    make = logging.getLogRecordFactory()
    if getattr(make, "keeps_secrets", False):
        return

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # the call is wrong, and `logging` reports that itself
            return record
        if (redacted := without_secrets(message)) != message:
            record.msg, record.args = redacted, None
        if record.exc_info and record.exc_info[1]:
            remove_secrets(record.exc_info[1])
        return record

    make_redacted.keeps_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(make_redacted)
