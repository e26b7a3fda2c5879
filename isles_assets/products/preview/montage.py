"""One page with all pictures of a subject: for the card, and smaller for a run's metadata."""

import io
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from isles_assets.products.preview.lettering import font
from isles_assets.products.preview.pictures import PICTURES, SIZE, Drawing

MAX_BYTES = 120_000
"""Largest size of a montage."""

MAX_SMALL_BYTES = 6_000
"""Largest size of a small montage. The history stores two per subject and run; a run should add at most 10 MB."""

_COLUMNS = 4
_HEADER_PX, _MARGIN_PX = 28, 8
_LETTERS_PX = range(15, 7, -1)
_QUALITIES = range(90, 0, -5)
_SMALL_QUALITIES = (5, 1)


def montage(drawings: Mapping[str, Drawing], header: str) -> bytes:
    """Return a page of the pictures, in the order of their table.

    Args:
        drawings: Drawings by name of the picture.
        header: Line of text above the pictures.

    Returns:
        A JPEG of at most `MAX_BYTES`.
    """
    width, height = SIZE
    rows = -(-len(PICTURES) // _COLUMNS)
    page = Image.new("RGB", (_COLUMNS * width, _HEADER_PX + rows * height))
    px = next((px for px in _LETTERS_PX if font(px).getlength(header) <= page.width - 2 * _MARGIN_PX), _LETTERS_PX[-1])
    ImageDraw.Draw(page).text((_MARGIN_PX, _HEADER_PX / 2), header, fill="white", font=font(px), anchor="lm")
    for number, picture in enumerate(PICTURES):
        row, column = divmod(number, _COLUMNS)
        page.paste(drawings[picture.name].image.convert("RGB"), (column * width, _HEADER_PX + row * height))
    return _encoded(page, "JPEG", MAX_BYTES, _QUALITIES, subsampling=0)  # thin coloured lines stay sharp


def small_montage(page: bytes) -> bytes:
    """Return the montage `page` at half the width, or less if it is all noise.

    It is fast, because each run repeats it.

    Returns:
        A WebP of at most `MAX_SMALL_BYTES`.
    """
    image: Image.Image = Image.open(io.BytesIO(page))
    image.draft("RGB", (image.width // 2, image.height // 2))
    while len(content := _encoded(image, "WEBP", MAX_SMALL_BYTES, _SMALL_QUALITIES, method=4)) > MAX_SMALL_BYTES:
        image = image.reduce(2)
    return content


def _encoded(image: Image.Image, form: str, max_bytes: int, qualities: Sequence[int], **options: int) -> bytes:
    """Return the encoded `image`, in the first of `qualities` with at most `max_bytes`, or in the last."""
    for quality in qualities:
        content = io.BytesIO()
        image.save(content, form, quality=quality, **options)
        if content.tell() <= max_bytes:
            break
    return content.getvalue()
