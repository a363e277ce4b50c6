"""The TrueType fonts inside matplotlib: which characters they really have, and those drawn as masks."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

# Text fonts only. Left out are LastResortHE (a box for every character), matplotlib's symbol fonts
# (STIXNonUni, STIXSiz, cmex, cmsy, cmmi) and the Display fonts, which hold a few symbols.
FAMILIES: dict[str, tuple[str, ...]] = {
    "dejavu-sans": ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    "dejavu-mono": ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    "dejavu-serif": ("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    "stix": ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    "computer-modern": ("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
}
# These have TeX's own encoding: outside ASCII letters and digits, a code stands for another character.
TEX_ENCODED = frozenset(FAMILIES["computer-modern"])


@cache
def font_path(font: str) -> Path:
    """Return the file of `font` in matplotlib's own data folder.

    Raises
    ------
    DataError
        When this matplotlib lacks it.
    """
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    if not path.is_file():
        raise DataError(f"matplotlib {matplotlib.__version__} has no font file {path}")
    return path


@cache
def _code_points(font: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_path(font))).get_charmap())


@lru_cache(maxsize=16384)
def covers(font: str, character: str) -> bool:
    """Whether `font` has a glyph with ink for `character`, rather than an empty box or a blank."""
    if font in TEX_ENCODED and not (character.isascii() and character.isalnum()):
        return False
    return ord(character) in _code_points(font) and mask(font, character, 32) is not None


@lru_cache(maxsize=64)
def _face(font: str, pixels: int):  # noqa: ANN202 (Pillow's font type is not public)
    from PIL import ImageFont

    # Basic layout: the same result with and without the optional libraqm.
    return ImageFont.truetype(str(font_path(font)), pixels, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=8192)
def mask(font: str, character: str, pixels: int) -> Image | None:
    """Draw `character`, cut to its ink; None where it has none.

    Parameters
    ----------
    font, character : str
    pixels : int
        Font size (of the em square).

    Returns
    -------
    PIL.Image.Image or None
        Grey levels (mode "L"), 255 where there is ink, with a margin of 2 pixels so that a warp
        keeps smooth edges.
    """
    from PIL import Image, ImageDraw

    face = _face(font, pixels)
    left, top, right, bottom = face.getbbox(character)
    image = Image.new("L", (right - left + 8, bottom - top + 8))
    ImageDraw.Draw(image).text((4 - left, 4 - top), character, font=face, fill=255)
    ink = image.getbbox()
    if ink is None:
        return None
    return image.crop((ink[0] - 2, ink[1] - 2, ink[2] + 2, ink[3] + 2))
