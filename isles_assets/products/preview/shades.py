"""How values become shades: the range of values that is shown, its description, and the palettes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isles_assets.products.preview.scene import Plane

Palette = NDArray[np.uint8]
"""Red, green and blue of each shade, shape (n, 3)."""


class Shading(ABC):
    """The range of values that is shown. `str` describes it for the table's docs."""

    @abstractmethod
    def limits(self, tissue: Plane) -> tuple[float, float]:
        """Return the values of the darkest and of the brightest shade.

        Args:
            tissue: Known values of the soft tissue in the slice, shape (n,).
        """

    def caption(self, low: float, high: float) -> str:
        """Return the text about the limits in the picture."""
        return f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Window(Shading):
    """A CT window: `width` and `level` in HU."""

    width: float
    level: float

    def limits(self, tissue: Plane) -> tuple[float, float]:
        return self.level - self.width / 2, self.level + self.width / 2

    def caption(self, low: float, high: float) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"W {self.width:g} L {self.level:g} HU"


@dataclass(frozen=True)
class Fixed(Shading):
    """The same range in every subject, in the volume's own unit."""

    low: float
    high: float

    def limits(self, tissue: Plane) -> tuple[float, float]:
        return self.low, self.high

    def __str__(self) -> str:
        return f"from {self.caption(self.low, self.high)} in the volume's own numbers"


@dataclass(frozen=True)
class UpToMedians(Shading):
    """From 0 to a multiple of the tissue's median, rounded to two digits: for values of unknown unit."""

    times: float

    def limits(self, tissue: Plane) -> tuple[float, float]:
        positive = tissue[tissue > 0]
        return 0.0, float(f"{self.times * float(np.median(positive)):.2g}") if positive.size else 1.0

    def __str__(self) -> str:
        return f"from 0 to {self.times:g} times the median of the slice's soft tissue"


def greys(count: int) -> Palette:
    """Return `count` shades from black to white."""
    return np.repeat(np.rint(np.linspace(0, 255, count)).astype(np.uint8), 3).reshape(-1, 3)


def turbo(count: int) -> Palette:
    """Return `count` colours of the map Turbo, by its authors' polynomials.

    Its ends are left out: one is nearly black, and the other darkens again.
    """
    red = (59.28637943, -152.94239396, 132.13108234, -42.66032258, 4.61539260, 0.13572138)
    green = (2.82956604, 4.27729857, -14.18503333, 4.84296658, 2.19418839, 0.09140261)
    blue = (27.34824973, -89.90310912, 110.36276771, -60.58204836, 12.64194608, 0.10667330)
    x = np.linspace(0.04, 0.92, count)
    colours = np.stack([np.polyval(channel, x) for channel in (red, green, blue)], axis=1)
    return np.asarray(np.rint(np.clip(colours, 0, 1) * 255), np.uint8)
