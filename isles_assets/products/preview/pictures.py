"""The table of the pictures, and how to draw them. Columns of the published table and its docs follow from it."""

import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isles_assets.products.preview.crop import Crop
from isles_assets.products.preview.lettering import font, text_coverage
from isles_assets.products.preview.scene import LESION, REFERENCE, Mask, Plane, Scene, soft_tissue
from isles_assets.products.preview.shades import Fixed, Palette, Shading, UpToMedians, Window, greys, turbo
from isles_assets.release.clinical import Known

SIZE = (240, 300)
"""Width and height of each picture in px, with the line of the caption."""

MAX_BYTES = 300_000
"""Largest size of all PNGs of a subject together."""

_SHADE_COUNTS = (256, 128, 64, 32, 16, 8)
_SOME_TISSUE_HU = 50
_MAX_VALUE = 1e30  # larger values count as not finite, because sums of them are not
_CAPTION_PX, _LETTERS_PX, _MARGIN_PX = 20, 12, 6
_PLANE_SIZE = (SIZE[0], SIZE[1] - _CAPTION_PX)
_CAPTION_PADDING = ((0, _CAPTION_PX), (0, 0))
_BAR_PX = 80
_OUTLINE = (255, 64, 64)
_OUTLINE_BYTE = 255
_LETTER_SHADES = 16
_COLOUR_SHADES = 255 - _LETTER_SHADES


@dataclass(frozen=True)
class Picture:
    """One picture of the slice."""

    name: str
    title: str
    """Text in the picture."""
    volume: str
    """Column of the volume that it shows."""
    shading: Shading
    contents: str
    """What the volume is, for the table's docs."""
    slab_mm: float = 0
    """How many mm of the volume it shows at once, as their maximum; 0 for one slice."""
    in_colours: bool = False
    """Whether it has colours. Then it is black where nothing was scanned."""
    outlined: bool = False
    """Whether the lesion's outline lies over it."""

    known: ClassVar[Known] = Known.OUTCOME
    """Every picture is an outcome, whatever it shows: the lesion decides which slice it is, and how it is cropped."""

    @property
    def column(self) -> str:
        """Its column in the published table."""
        return f"{self.name}_picture"

    @property
    def description(self) -> str:
        """Description for the table's docs."""
        parts = [self.contents, str(self.shading)]
        if self.slab_mm:
            parts.insert(1, f"maximum of a slab of about {self.slab_mm:g} mm")
        if self.in_colours:
            parts.append("in colours")
        if self.outlined:
            parts.append("with the outline of the final infarct")
        return ", ".join(parts)

    def filename(self, subject: str) -> str:
        """Return its file name in the published table, such as `sub-stroke0001_ncct.png`."""
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


def thickness_of(pictures: Iterable[Picture]) -> dict[str, float]:
    """Return the thickness in mm of the slab of each volume, by column; 0 for one slice.

    Raises:
        ValueError: Two pictures of one volume have different slabs. A volume is read once, for one slab.
    """
    slabs: dict[str, float] = {}
    for picture in pictures:
        if slabs.setdefault(picture.volume, picture.slab_mm) != picture.slab_mm:
            other = f"{slabs[picture.volume]:g} in another picture of {picture.volume}"
            raise ValueError(f"{picture.name} has a slab_mm of {picture.slab_mm:g}, which is {other}")
    return slabs


THICKNESS = thickness_of(PICTURES)


@dataclass(frozen=True, eq=False)
class Drawing:
    """A picture of `SIZE`."""

    image: Image.Image
    """Mode L if grey, else mode P with a palette. If the volume is left out, it shows the reason in words."""
    png: bytes | None
    """The image as a file; None if the volume is left out."""


def draw(scene: Scene | None, backgrounds: Mapping[str, float], left_out: Mapping[str, str]) -> dict[str, Drawing]:
    """Draw the pictures. If noise makes the PNGs larger than `MAX_BYTES` together, they get fewer shades.

    Args:
        scene: The slice to draw; None if all volumes are left out.
        backgrounds: By column, the value of voxels without data, if it is not 0.
        left_out: By column, why a volume is not in the scene.

    Returns:
        Drawings by name of the picture. The same scene gives the same bytes.
    """
    drawings: dict[str, Drawing] = {}
    for shades in _SHADE_COUNTS:
        images = _images(scene, backgrounds, left_out, shades) if scene else ()
        drawings = {picture.name: _drawing(image) for picture, image in images}
        if sum(len(drawing.png or b"") for drawing in drawings.values()) <= MAX_BYTES:
            break
    return {p.name: drawings.get(p.name) or Drawing(_placeholder(p.title, left_out[p.volume]), None) for p in PICTURES}


def _drawing(image: Image.Image) -> Drawing:
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=6)
    return Drawing(image, content.getvalue())


def _placeholder(title: str, reason: str) -> Image.Image:
    """Return the image that takes the place of a picture that cannot be drawn."""
    (width, height), line = SIZE, _LETTERS_PX
    texts = [(title, (width / 2, height / 2 - line), "mm"), (reason, (width / 2, height / 2 + line), "mm")]
    return Image.fromarray(text_coverage(SIZE, line, *texts))


def _images(
    scene: Scene, backgrounds: Mapping[str, float], left_out: Mapping[str, str], shades: int
) -> Iterator[tuple[Picture, Image.Image]]:
    """Yield each picture whose volume is in the scene, in the given number of shades."""
    # Without an NCCT everything that was scanned counts as soft tissue.
    head = scene.planes.get(REFERENCE, np.full(scene.lesion.shape, _SOME_TISSUE_HU, np.float32))
    crop = Crop.around_head(head, scene.lesion, scene.spacing, _PLANE_SIZE)
    lesion = crop.marks(scene.lesion)
    ring = _dilated(_dilated(lesion)) & ~lesion
    for picture in PICTURES:
        if picture.volume not in scene.planes:
            continue
        plane = scene.planes[picture.volume]
        is_known = np.abs(plane) < _MAX_VALUE
        if picture.in_colours:
            is_known &= (plane > backgrounds.get(picture.volume, 0)) & (plane >= 0)
        darkest, brightest = picture.shading.limits(plane[is_known & soft_tissue(head)])
        values, shown = crop.values(plane, is_known)
        fraction = np.clip((values - darkest) / (brightest - darkest), 0, 1)
        fraction = np.rint(fraction * (shades - 1)) / (shades - 1)
        limits = picture.shading.caption(darkest, brightest) if shown.any() else "not scanned"
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
    shades = np.maximum(np.pad(shades, _CAPTION_PADDING), _lettering(caption))
    if ring is None:
        return Image.fromarray(shades)
    shades = np.minimum(shades, _OUTLINE_BYTE - 1)
    shades[: _PLANE_SIZE[1]][ring] = _OUTLINE_BYTE
    return _with_palette(shades, _GREYS_AND_OUTLINE)


def _in_colours(fraction: Plane, shown: Mask, caption: str) -> Image.Image:
    shades = np.where(shown, 1 + np.rint(fraction * (_COLOUR_SHADES - 1)), 0).astype(np.uint8)
    shades = np.pad(shades, _CAPTION_PADDING)
    start = int(_MARGIN_PX * 2 + font(_LETTERS_PX).getlength(caption))
    bar = 1 + np.rint(np.linspace(0, _COLOUR_SHADES - 1, _BAR_PX)).astype(np.uint8)
    shades[_PLANE_SIZE[1] + _MARGIN_PX : -_MARGIN_PX, start : start + _BAR_PX] = bar
    letters = _lettering(caption) // (256 // _LETTER_SHADES)
    return _with_palette(np.where(letters > 0, _COLOUR_SHADES + letters, shades), _COLOURS_AND_GREYS)


def _lettering(caption: str) -> NDArray[np.uint8]:
    """Return the coverage of the caption, and of the letters for the patient's right and left."""
    width, height = SIZE
    return text_coverage(
        SIZE,
        _LETTERS_PX,
        ("R", (_MARGIN_PX, _MARGIN_PX), "lt"),
        ("L", (width - _MARGIN_PX, _MARGIN_PX), "rt"),
        (caption, (_MARGIN_PX, height - _CAPTION_PX / 2), "lm"),
    )


def _dilated(mask: Mask) -> Mask:
    """Return `mask` with the pixels that touch it by a side or a corner."""
    framed = np.pad(mask, 1)
    tall = framed[:-2] | framed[1:-1] | framed[2:]
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


def _with_palette(shades: NDArray[np.uint8], palette: Palette) -> Image.Image:
    image = Image.fromarray(shades)
    image.putpalette(palette.tobytes())
    return image


_GREYS_AND_OUTLINE = np.vstack([greys(256)[:_OUTLINE_BYTE], np.array([_OUTLINE], np.uint8)])
_COLOURS_AND_GREYS = np.vstack([greys(1), turbo(_COLOUR_SHADES), greys(_LETTER_SHADES)])
