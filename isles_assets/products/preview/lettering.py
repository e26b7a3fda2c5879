"""Text in pictures, in the font that comes with Pillow."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Text = tuple[str, tuple[float, float], str]
"""A text, its position (x, y) in px, and its anchor as Pillow defines it."""


@cache
def font(px: int) -> ImageFont.FreeTypeFont:
    """Return the font at a height of `px`."""
    default = ImageFont.load_default(px)
    assert isinstance(default, ImageFont.FreeTypeFont)  # true of every Pillow that is built with FreeType
    return default


def text_coverage(size: tuple[int, int], px: int, *texts: Text) -> NDArray[np.uint8]:
    """Return how much of each pixel the `texts` cover.

    Args:
        size: Width and height of the picture.
        px: Height of the font.

    Returns:
        Coverage from 0 to 255, shape (height, width).
    """
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    for text, position, anchor in texts:
        draw.text(position, text, fill=255, font=font(px), anchor=anchor)
    return np.asarray(image)
