"""The subjects' pictures as `data:` URLs inside the page, made smaller if they do not fit."""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

_QUALITIES = (80, 65, 50, 35, 20)
_SHRINK = 0.8


def data_urls(pictures: Mapping[str, bytes], max_chars: int, *, workers: int = 1) -> dict[str, str]:
    """Return each picture as a `data:` URL, by subject.

    If they do not fit unchanged, those larger than an equal share become WebP, of lower quality first, then narrower.

    Args:
        pictures: JPEG files by subject.
        max_chars: Characters that all URLs may have together.
        workers: Number of threads.
    """
    urls = {subject: _data_url("jpeg", picture) for subject, picture in pictures.items()}
    if sum(map(len, urls.values())) <= max_chars:
        return urls
    share = max_chars // len(pictures)
    large = [subject for subject, url in urls.items() if len(url) > share]
    with ThreadPoolExecutor(workers) as executor:
        smaller = executor.map(lambda subject: _shrunk(pictures[subject], share), large)
        return urls | dict(zip(large, smaller, strict=True))


def _shrunk(picture: bytes, max_chars: int) -> str:
    """Return the best picture that fits; a single pixel may be larger."""
    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    while True:
        for quality in _QUALITIES:
            content = io.BytesIO()
            image.save(content, "WEBP", quality=quality, method=2)
            url = _data_url("webp", content.getvalue())
            if len(url) <= max_chars or image.width == 1:
                return url
        image = image.resize((max(1, int(image.width * _SHRINK)), max(1, int(image.height * _SHRINK))))


def _data_url(kind: str, picture: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
