"""Subjects' pictures as they stand inside the page: together no larger than there is room for."""

import base64
import io
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

_QUALITIES = (80, 65, 50, 35, 20)
_SHRINK = 0.8


def data_addresses(pictures: Mapping[str, bytes], room: int, *, workers: int = 1) -> dict[str, str]:
    """The `pictures`, JPEG files by subject, as `data:` addresses of at most `room` characters together.

    They stand as they are if there is room. If not, those that are larger than an equal share are made smaller, as
    WebP, by quality and then by width, in `workers` threads.
    """
    whole = {subject: _address("jpeg", picture) for subject, picture in pictures.items()}
    if sum(map(len, whole.values())) <= room:
        return whole
    share = room // len(pictures)
    large = [subject for subject, address in whole.items() if len(address) > share]
    with ThreadPoolExecutor(workers) as executor:
        smaller = executor.map(lambda subject: _smaller(pictures[subject], share), large)
        return whole | dict(zip(large, smaller, strict=True))


def _smaller(picture: bytes, share: int) -> str:
    """The picture in at most `share` characters, as large as that can be; a single pixel may be larger."""
    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    while True:
        for quality in _QUALITIES:
            content = io.BytesIO()
            image.save(content, "WEBP", quality=quality, method=2)
            address = _address("webp", content.getvalue())
            if len(address) <= share or image.width == 1:
                return address
        image = image.resize((max(1, int(image.width * _SHRINK)), max(1, int(image.height * _SHRINK))))


def _address(kind: str, picture: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
