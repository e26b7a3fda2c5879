"""Text inside binary files: finding it, and showing it in ASCII so that no odd character is overlooked."""

import hashlib
import re

_MOST_SHOWN = 300
"""Most bytes of a text that are shown; a longer text is shown with its digest."""

_SHORTEST = 4
_UNDECIDED = 2 * _SHORTEST
_UTF16 = rb"(?:[ -~]\0){4,}|(?:\0[ -~]){4,}"
_UTF8 = rb"(?:[\t\n\r -~]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})+"
_RUN = re.compile(_UTF16 + rb"|(?=[\t\n\r -~\x80-\xf4]{4})" + _UTF8)


class Excerpt:
    """Texts from one place of a file, joined: the first `_MOST_SHOWN` bytes, and a digest of all if there are more.

    Characters outside ASCII are escaped, also a no-break space. Equal texts in a row count once.
    """

    def __init__(self) -> None:
        self._shown, self._last = bytearray(), b""
        self._size, self._digest = 0, hashlib.sha256()

    def add(self, raw: bytes) -> None:
        raw = raw.strip(b"\0 \r\n\t")
        if not raw or raw == self._last:
            return
        self._last = raw
        piece = b" " + raw if self._size else raw
        self._shown += piece[: _MOST_SHOWN - len(self._shown)]
        self._size += len(piece)
        self._digest.update(piece)

    @property
    def is_full(self) -> bool:
        return self._size > _MOST_SHOWN

    def __str__(self) -> str:
        shown = self._shown.decode("latin-1").encode("unicode_escape").decode("ascii")
        more = f" ... ({self._size} bytes, SHA-256 {self._digest.hexdigest()[:10]})"
        return f"{shown}{more if self.is_full else ''}"


def printable(raw: bytes) -> str:
    """Return `raw` as an excerpt shows it; empty for white space and zero bytes."""
    excerpt = Excerpt()
    excerpt.add(raw)
    return str(excerpt)


class TextSeeker:
    """A search for text in a stream: four or more printable characters in a row, in ASCII, UTF-8 or UTF-16.

    It stops once it has more than an excerpt shows, because the rest would not be shown.
    """

    def __init__(self) -> None:
        self._excerpt, self._left = Excerpt(), b""

    def feed(self, piece: bytes | memoryview) -> None:
        """Search the next bytes. A text may continue in the bytes after them."""
        if self._excerpt.is_full:
            return
        data, done = self._left + piece, 0
        for run in _RUN.finditer(data):
            if run.end() == len(data) and len(run[0]) <= _MOST_SHOWN:
                self._left = run[0]
                return
            self._add(run[0])
            done = run.end()
        self._left = data[max(done, len(data) - _UNDECIDED) :]

    def end(self) -> str:
        """Return the text that was found, once no more bytes follow; empty for none."""
        for run in _RUN.finditer(self._left):
            self._add(run[0])
        self._left = b""
        return str(self._excerpt)

    def _add(self, raw: bytes) -> None:
        text = raw.replace(b"\0", b"").strip()
        if len(text) >= _SHORTEST:
            self._excerpt.add(text)
