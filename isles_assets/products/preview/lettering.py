"""Text in pictures, in the font that comes with Pillow."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Text = tuple[str, tuple[float, float], str]
"""What to write, where (x, y) in px, and which point of it lies there, as Pillow's anchors say."""


@cache
def font(px: int) -> ImageFont.FreeTypeFont:
    """The font at a height of `px`."""
    found = ImageFont.load_default(px)
    assert isinstance(found, ImageFont.FreeTypeFont)  # as in every Pillow that is built with FreeType
    return found


def lettered(size: tuple[int, int], px: int, *texts: Text) -> NDArray[np.uint8]:
    """How much of each pixel (height, width) the `texts` cover, 0 to 255, in a picture of `size` (width, height)."""
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    for words, at, anchor in texts:
        draw.text(at, words, fill=255, font=font(px), anchor=anchor)
    return np.asarray(image)
