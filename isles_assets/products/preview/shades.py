"""How values become shades: the range that is shown, what is said of it, and the palettes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isles_assets.products.preview.scene import Plane

Palette = NDArray[np.uint8]
"""(n, 3): red, green, blue."""


class Shading(ABC):
    """Which values are shown, from the darkest shade to the brightest; as text, a phrase for the table's docs."""

    @abstractmethod
    def limits(self, tissue: Plane) -> tuple[float, float]:
        """The least and the greatest, given the known values (n,) of the soft tissue in the slice."""

    def words(self, low: float, high: float) -> str:
        """What stands in the picture of these limits."""
        return f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Window(Shading):
    """A window of CT: `width` and `level` in HU."""

    width: float
    level: float

    def limits(self, tissue: Plane) -> tuple[float, float]:
        return self.level - self.width / 2, self.level + self.width / 2

    def words(self, low: float, high: float) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"W {self.width:g} L {self.level:g} HU"


@dataclass(frozen=True)
class Fixed(Shading):
    """The same range in every subject, in the volume's own numbers."""

    low: float
    high: float

    def limits(self, tissue: Plane) -> tuple[float, float]:
        return self.low, self.high

    def __str__(self) -> str:
        return f"from {self.words(self.low, self.high)} in the volume's own numbers"


@dataclass(frozen=True)
class UpToMedians(Shading):
    """From 0 to so many `times` the median of the tissue, in two digits: for values of no known unit."""

    times: float

    def limits(self, tissue: Plane) -> tuple[float, float]:
        positive = tissue[tissue > 0]
        return 0.0, float(f"{self.times * float(np.median(positive)):.2g}") if positive.size else 1.0

    def __str__(self) -> str:
        return f"from 0 to {self.times:g} times the median of the slice's soft tissue"


def greys(count: int) -> Palette:
    """From black to white."""
    return np.repeat(np.rint(np.linspace(0, 255, count)).astype(np.uint8), 3).reshape(-1, 3)


def turbo(count: int) -> Palette:
    """The colour map Turbo by its authors' polynomials, without its ends: one is nearly black, one darkens again."""
    red = (59.28637943, -152.94239396, 132.13108234, -42.66032258, 4.61539260, 0.13572138)
    green = (2.82956604, 4.27729857, -14.18503333, 4.84296658, 2.19418839, 0.09140261)
    blue = (27.34824973, -89.90310912, 110.36276771, -60.58204836, 12.64194608, 0.10667330)
    x = np.linspace(0.04, 0.92, count)
    colours = np.stack([np.polyval(channel, x) for channel in (red, green, blue)], axis=1)
    return np.asarray(np.rint(np.clip(colours, 0, 1) * 255), np.uint8)
