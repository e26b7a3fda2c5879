"""One page of all pictures of a subject, for a run's metadata."""

import io
from collections.abc import Mapping

from PIL import Image, ImageDraw

from isles_assets.products.preview.lettering import font
from isles_assets.products.preview.pictures import PICTURES, SIZE, Drawing

LARGEST = 120_000
"""Bytes of a montage."""

_COLUMNS = 4
_HEADER_PX, _MARGIN_PX = 28, 8
_LETTERS_PX = range(15, 7, -1)
_QUALITIES = range(90, 0, -5)


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
    for quality in _QUALITIES:
        content = io.BytesIO()
        page.save(content, "JPEG", quality=quality, subsampling=0)  # thin coloured lines stay sharp
        if content.tell() <= LARGEST:
            break
    return content.getvalue()
