"""One page of all pictures of a subject: for the card, and smaller for a run's metadata."""

import io
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from isles_assets.products.preview.lettering import font
from isles_assets.products.preview.pictures import PICTURES, SIZE, Drawing

LARGEST = 120_000
"""Bytes of a montage."""

SMALL_LARGEST = 6_000
"""Bytes of a small one. The history stores it twice for each subject of a run, and a run shall take 10 MB at most."""

_COLUMNS = 4
_HEADER_PX, _MARGIN_PX = 28, 8
_LETTERS_PX = range(15, 7, -1)
_QUALITIES = range(90, 0, -5)
_SMALL_QUALITIES = (5, 1)


def montage(drawings: Mapping[str, Drawing], header: str) -> bytes:
    """The pictures in the order of their table under a line of text, as JPEG of at most `LARGEST` bytes."""
    width, height = SIZE
    rows = -(-len(PICTURES) // _COLUMNS)
    page = Image.new("RGB", (_COLUMNS * width, _HEADER_PX + rows * height))
    px = next((px for px in _LETTERS_PX if font(px).getlength(header) <= page.width - 2 * _MARGIN_PX), _LETTERS_PX[-1])
    ImageDraw.Draw(page).text((_MARGIN_PX, _HEADER_PX / 2), header, fill="white", font=font(px), anchor="lm")
    for number, picture in enumerate(PICTURES):
        row, column = divmod(number, _COLUMNS)
        page.paste(drawings[picture.name].image.convert("RGB"), (column * width, _HEADER_PX + row * height))
    return _encoded(page, "JPEG", LARGEST, _QUALITIES, subsampling=0)  # thin coloured lines stay sharp


def small(page: bytes) -> bytes:
    """The montage `page` half as wide, or less if it is all noise, as WebP of at most `SMALL_LARGEST` bytes.

    It takes milliseconds, for it is made again in each run.
    """
    image: Image.Image = Image.open(io.BytesIO(page))
    image.draft("RGB", (image.width // 2, image.height // 2))
    while len(content := _encoded(image, "WEBP", SMALL_LARGEST, _SMALL_QUALITIES, method=4)) > SMALL_LARGEST:
        image = image.reduce(2)
    return content


def _encoded(image: Image.Image, form: str, largest: int, qualities: Sequence[int], **options: int) -> bytes:
    """`image` in the first of `qualities` in which it has at most `largest` bytes, or in the last."""
    for quality in qualities:
        content = io.BytesIO()
        image.save(content, form, quality=quality, **options)
        if content.tell() <= largest:
            break
    return content.getvalue()
