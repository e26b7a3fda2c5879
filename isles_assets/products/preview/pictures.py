"""The table of the pictures, and how they are drawn. Columns of the published table and its docs follow from it."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isles_assets.products.preview.crop import Crop
from isles_assets.products.preview.lettering import font, lettered
from isles_assets.products.preview.scene import LESION, REFERENCE, Mask, Plane, Scene, soft_tissue
from isles_assets.products.preview.shades import Fixed, Palette, Shading, UpToMedians, Window, greys, turbo

SIZE = (240, 300)
"""Width and height of every picture in px, the caption's line included."""

LARGEST = 300_000
"""Bytes that all pictures of a subject may have as files."""

_SHADES = (256, 128, 64, 32, 16, 8)
_SOME_TISSUE_HU = 50
_LARGEST_VALUE = 1e30  # more is shown as what is not finite: sums of it are
_CAPTION_PX, _LETTERS_PX, _MARGIN_PX = 20, 12, 6
_SHOWN = (SIZE[0], SIZE[1] - _CAPTION_PX)
_BELOW = ((0, _CAPTION_PX), (0, 0))
_BAR_PX = 80
_OUTLINE = (255, 64, 64)
_OUTLINE_BYTE = 255
_LETTER_SHADES = 16
_COLOUR_SHADES = 255 - _LETTER_SHADES


@dataclass(frozen=True)
class Picture:
    """One picture of the slice.

    `volume` is the column of the volume that it shows, `slab_mm` how much of it at once, as the maximum (0: one slice).
    A picture `in_colours` is black where nothing was scanned. With `outlined` the lesion's outline lies over it.
    """

    name: str
    title: str
    volume: str
    shading: Shading
    what: str
    slab_mm: float = 0
    in_colours: bool = False
    outlined: bool = False

    @property
    def column(self) -> str:
        """Its column in the published table."""
        return f"{self.name}_picture"

    @property
    def description(self) -> str:
        """What it shows, for the table's docs."""
        parts = [self.what, str(self.shading)]
        if self.slab_mm:
            parts.insert(1, f"maximum of a slab of about {self.slab_mm:g} mm")
        if self.in_colours:
            parts.append("in colours")
        if self.outlined:
            parts.append("with the outline of the final infarct")
        return ", ".join(parts)

    def filename(self, subject: str) -> str:
        """Its name in the published table, e.g. `sub-stroke0001_ncct.png`."""
        return f"{subject}_{self.name}.png"


_STROKE, _VESSELS = Window(40, 40), Window(600, 200)
_NCCT, _DWI = "Non-contrast CT at admission", "Follow-up diffusion-weighted MRI"

PICTURES: tuple[Picture, ...] = (
    Picture("ncct", "NCCT", "ncct", _STROKE, _NCCT),
    Picture("cta", "CTA", "cta_ncct", _VESSELS, "CT angiography at admission", slab_mm=20),
    Picture("tmax", "Tmax", "tmax", Fixed(0, 12), "Tmax at admission", in_colours=True),
    Picture("cbf", "CBF", "cbf", UpToMedians(3), "Cerebral blood flow at admission", in_colours=True),
    Picture("ncct_lesion", "NCCT", "ncct", _STROKE, _NCCT, outlined=True),
    Picture("dwi", "DWI", "dwi", UpToMedians(3), _DWI),
    Picture("adc", "ADC", "adc", UpToMedians(2), "Follow-up apparent diffusion coefficient"),
    Picture("dwi_lesion", "DWI", "dwi", UpToMedians(3), _DWI, outlined=True),
)

THICKNESS: dict[str, float] = {picture.volume: picture.slab_mm for picture in PICTURES}
"""The volumes to show, and how many mm of each at once; 0 for one slice."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture of `SIZE` and, as a file, its `png`: None if the volume is left out, and `image` says in words why.

    Grey ones are of mode L, others of mode P with a palette.
    """

    image: Image.Image
    png: bytes | None


def draw(scene: Scene | None, backgrounds: Mapping[str, float], left_out: Mapping[str, str]) -> dict[str, Drawing]:
    """The pictures by name, together at most `LARGEST` bytes as files: where noise makes them larger, in fewer shades.

    `backgrounds` are the values of voxels without data, by column, where that is not 0. `left_out` are the volumes that
    the scene does without, and why; without any scene, all are. The same scene gives the same bytes.
    """
    drawings: dict[str, Drawing] = {}
    for shades in _SHADES:
        images = _images(scene, backgrounds, left_out, shades) if scene else ()
        drawings = {picture.name: _drawing(image) for picture, image in images}
        if sum(len(drawing.png or b"") for drawing in drawings.values()) <= LARGEST:
            break
    return {p.name: drawings.get(p.name) or Drawing(_words(p.title, left_out[p.volume]), None) for p in PICTURES}


def _drawing(image: Image.Image) -> Drawing:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=6)
    return Drawing(image, content.getvalue())


def _words(title: str, reason: str) -> Image.Image:
    """What stands in the place of a picture."""
    (width, height), line = SIZE, _LETTERS_PX
    texts = [(title, (width / 2, height / 2 - line), "mm"), (reason, (width / 2, height / 2 + line), "mm")]
    return Image.fromarray(lettered(SIZE, line, *texts))


def _images(
    scene: Scene, backgrounds: Mapping[str, float], left_out: Mapping[str, str], shades: int
) -> Iterator[tuple[Picture, Image.Image]]:
    """Each picture of the table whose volume the scene has, in so many shades."""
    # Without an NCCT all that is scanned counts as soft tissue.
    head = scene.planes.get(REFERENCE, np.full(scene.lesion.shape, _SOME_TISSUE_HU, np.float32))
    crop = Crop.around_head(head, scene.lesion, scene.spacing, _SHOWN)
    lesion = crop.marks(scene.lesion)
    ring = _wider(_wider(lesion)) & ~lesion
    for picture in PICTURES:
        if picture.volume not in scene.planes:
            continue
        plane = scene.planes[picture.volume]
        known = np.abs(plane) < _LARGEST_VALUE
        if picture.in_colours:
            known &= (plane > backgrounds.get(picture.volume, 0)) & (plane >= 0)
        darkest, brightest = picture.shading.limits(plane[known & soft_tissue(head)])
        values, shown = crop.values(plane, known)
        fraction = np.clip((values - darkest) / (brightest - darkest), 0, 1)
        fraction = np.rint(fraction * (shades - 1)) / (shades - 1)
        limits = picture.shading.words(darkest, brightest) if shown.any() else "not scanned"
        caption = _caption(picture, scene, limits, LESION in left_out)
        if picture.in_colours:
            yield picture, _in_colours(fraction, shown, caption)
        else:
            yield picture, _in_grey(fraction, shown, caption, ring if picture.outlined else None)


def _caption(picture: Picture, scene: Scene, limits: str, without_lesion: bool) -> str:
    title = picture.title
    if picture.slab_mm:
        title += f", MIP of {scene.thickness[picture.volume]:.0f} mm"
    if picture.outlined:
        no_lesion = ", lesion left out" if without_lesion else ", no lesion marked"
        title += ", lesion outlined" if scene.lesion.any() else no_lesion
    return f"{title}   {limits}"


def _in_grey(fraction: Plane, shown: Mask, caption: str, ring: Mask | None) -> Image.Image:
    shades = np.where(shown, np.rint(fraction * 255), 0).astype(np.uint8)
    shades = np.maximum(np.pad(shades, _BELOW), _letters(caption))
    if ring is None:
        return Image.fromarray(shades)
    shades = np.minimum(shades, _OUTLINE_BYTE - 1)
    shades[: _SHOWN[1]][ring] = _OUTLINE_BYTE
    return _with_palette(shades, _GREYS_AND_OUTLINE)


def _in_colours(fraction: Plane, shown: Mask, caption: str) -> Image.Image:
    shades = np.where(shown, 1 + np.rint(fraction * (_COLOUR_SHADES - 1)), 0).astype(np.uint8)
    shades = np.pad(shades, _BELOW)
    start = int(_MARGIN_PX * 2 + font(_LETTERS_PX).getlength(caption))
    bar = 1 + np.rint(np.linspace(0, _COLOUR_SHADES - 1, _BAR_PX)).astype(np.uint8)
    shades[_SHOWN[1] + _MARGIN_PX : -_MARGIN_PX, start : start + _BAR_PX] = bar
    letters = _letters(caption) // (256 // _LETTER_SHADES)
    return _with_palette(np.where(letters > 0, _COLOUR_SHADES + letters, shades), _COLOURS_AND_GREYS)


def _letters(caption: str) -> NDArray[np.uint8]:
    """The caption, and which side is the patient's right."""
    width, height = SIZE
    return lettered(
        SIZE,
        _LETTERS_PX,
        ("R", (_MARGIN_PX, _MARGIN_PX), "lt"),
        ("L", (width - _MARGIN_PX, _MARGIN_PX), "rt"),
        (caption, (_MARGIN_PX, height - _CAPTION_PX / 2), "lm"),
    )


def _wider(mask: Mask) -> Mask:
    """`mask` and the pixels that touch it by a side or a corner."""
    framed = np.pad(mask, 1)
    tall = framed[:-2] | framed[1:-1] | framed[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


def _with_palette(shades: NDArray[np.uint8], palette: Palette) -> Image.Image:
    image = Image.fromarray(shades)
    image.putpalette(palette.tobytes())
    return image


_GREYS_AND_OUTLINE = np.vstack([greys(256)[:_OUTLINE_BYTE], np.array([_OUTLINE], np.uint8)])
_COLOURS_AND_GREYS = np.vstack([greys(1), turbo(_COLOUR_SHADES), greys(_LETTER_SHADES)])
