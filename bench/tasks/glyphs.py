"""Printed characters, rendered from the fonts inside matplotlib: any number, of any alphabet it has."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import DataError, nearest, unknown
from bench.identity import generator
from bench.tasks.arguments import number, span, whole
from bench.tasks.base import Task, task
from bench.tasks.fonts import FAMILIES, covers, mask

CHARACTERS: dict[str, str] = {
    "digits": string.digits,
    "uppercase": string.ascii_uppercase,
    "lowercase": string.ascii_lowercase,
    "letters": string.ascii_uppercase + string.ascii_lowercase,
    "greek": "αβγδεζηθικλμνξοπρστυφχψω",
    "symbols": "!#$%&*+/<=>?@§¶©®£¥€±×÷∞∑√∫∂",  # noqa: RUF001
}
DEFAULT_SIZE = 3000


@dataclass(frozen=True)
class Style:
    """How a glyph may vary; sizes and shifts as shares of the image's side, rotation in degrees."""

    image_size: int
    sizes: tuple[float, float]
    max_rotation: float
    max_shift: float

    @property
    def oversampling(self) -> int:
        """How many times larger a glyph is drawn, per side, before it is averaged down."""
        return max(2, -(-64 // self.image_size))


def _names(characters: str | Sequence[str]) -> list[str]:
    names = list(CHARACTERS.get(characters, characters) if isinstance(characters, str) else characters)
    if any(not isinstance(c, str) or len(c) != 1 or c.isspace() for c in names):
        raise DataError(f"characters must be single, visible characters; got {characters!r}")
    if isinstance(characters, str) and characters not in CHARACTERS:
        # A misspelt "greek" must not become the five classes of its letters.
        hint = nearest(characters, CHARACTERS)
        if hint:
            raise DataError(f"no set of characters is called {characters!r}{hint} (or list them one by one)")
    repeated = sorted({c for c in names if names.count(c) > 1})
    if repeated:
        raise DataError(f"characters repeat {', '.join(map(repr, repeated))}: {characters!r}")
    if len(names) < 2:
        raise DataError(f"characters must hold at least two classes; got {characters!r}")
    return names


def _glyph_classes(*, characters: str | Sequence[str] = "uppercase", **_: Any) -> list[str]:
    return _names(characters)


def _shape(*, image_size: int = 16, **_: Any) -> tuple[int, ...]:
    return (1, image_size, image_size)


@task("glyphs", version=1, classes=_glyph_classes, shape=_shape)
def glyphs(
    root: Path,
    *,
    characters: str | Sequence[str] = "uppercase",
    n: int | None = None,
    per_class: int | None = None,
    n_test: int = 1000,
    image_size: int = 16,
    sizes: Sequence[float] = (0.6, 0.95),
    max_rotation: float = 12.0,
    max_shift: float = 0.06,
    fonts: Sequence[str] | None = None,
    test_fonts: Sequence[str] | None = None,
    seed: int = 0,
) -> Task:
    """Printed letters, digits or symbols in random font, size, rotation and place; one class a character.

    Bright ink on black. Each glyph is drawn in a font that really has it, at several times the image's
    size, warped and averaged down. The test set is drawn independently.

    Parameters
    ----------
    root : Path
        Not used: the images are drawn.
    characters : str or sequence of str
        "digits", "uppercase", "lowercase", "letters" (both cases), "greek", "symbols", or the
        characters themselves, as one string or one by one. A glyph is centred and loses its place on
        the line, so "," and "'" become hard to tell apart.
    n, per_class : int, optional
        Train images in all, or of each class; 3000 in all unless one is given. Balanced.
    n_test : int
        Test images in all, balanced.
    image_size : int
        Side in pixels.
    sizes : two floats
        Smallest and largest height of a digit, as a share of `image_size`. Wider or taller glyphs are
        shrunk to it, smaller ones stay smaller.
    max_rotation : float
        Degrees to either side.
    max_shift : float
        To each side, as a share of `image_size`.
    fonts : sequence of str, optional
        Font families: "dejavu-sans", "dejavu-mono", "dejavu-serif", "stix", "computer-modern" (ASCII
        letters and digits only); all of them unless given.
    test_fonts : sequence of str, optional
        Families held out for the test set: it uses these alone, and the train pool the others. Without
        it, both use all.
    seed : int

    Raises
    ------
    DataError
        When no font has a character, for instance.
    """
    classes = _names(characters)
    style = _style(image_size, sizes, max_rotation, max_shift)
    n_train = _train_size(len(classes), n, per_class)
    whole("glyphs", len(classes), n_test=n_test)
    train_families, test_families = _split_families(fonts, test_fonts)
    parts: dict[str, Any] = {}
    for part, size, x, y, families in (
        ("train", n_train, "x", "y", train_families),
        ("test", n_test, "x_test", "y_test", test_families),
    ):
        rng = generator("glyphs", part, classes, seed)
        choices = _fonts_by_class(part, classes, families)
        parts[y] = rng.permutation(np.arange(size) % len(classes))
        parts[x] = _render(rng, parts[y], classes, choices, style)[:, None]
    return Task(classes=classes, name="glyphs", **parts)


@task("printed-digits", version=1, classes=tuple(string.digits), shape=_shape)
def printed_digits(
    root: Path,
    *,
    n: int | None = None,
    per_class: int | None = None,
    n_test: int = 1000,
    image_size: int = 16,
    sizes: Sequence[float] = (0.6, 0.95),
    max_rotation: float = 12.0,
    max_shift: float = 0.06,
    fonts: Sequence[str] | None = None,
    test_fonts: Sequence[str] | None = None,
    seed: int = 0,
) -> Task:
    """Printed digits 0 to 9: the task "glyphs" with its digits; arguments as there."""
    made = glyphs(
        root,
        characters="digits",
        n=n,
        per_class=per_class,
        n_test=n_test,
        image_size=image_size,
        sizes=sizes,
        max_rotation=max_rotation,
        max_shift=max_shift,
        fonts=fonts,
        test_fonts=test_fonts,
        seed=seed,
    )
    return made.changed(name="printed-digits")


def _style(image_size: int, sizes: Sequence[float], max_rotation: float, max_shift: float) -> Style:
    whole("glyphs", 4, image_size=image_size)
    span("glyphs", 0.1, 2.0, sizes=sizes)
    number("glyphs", 0, 180, max_rotation=max_rotation)
    number("glyphs", 0, 1, max_shift=max_shift)
    return Style(image_size, (float(sizes[0]), float(sizes[1])), float(max_rotation), float(max_shift))


def _train_size(n_classes: int, n: int | None, per_class: int | None) -> int:
    if n is not None and per_class is not None:
        raise DataError(f"glyphs: give n (images in all) or per_class, not both; got n={n}, per_class={per_class}")
    if per_class is not None:
        whole("glyphs", 1, per_class=per_class)
        return per_class * n_classes
    n = DEFAULT_SIZE if n is None else n
    whole("glyphs", n_classes, n=n)
    return n


def _split_families(fonts: Sequence[str] | None, test_fonts: Sequence[str] | None) -> tuple[list[str], list[str]]:
    chosen = list(FAMILIES) if fonts is None else [fonts] if isinstance(fonts, str) else list(fonts)
    held_out = [] if test_fonts is None else [test_fonts] if isinstance(test_fonts, str) else list(test_fonts)
    for family in [*chosen, *held_out]:
        if family not in FAMILIES:
            raise unknown("font family", str(family), FAMILIES)
    train = [family for family in chosen if family not in held_out]
    if not train:
        raise DataError(f"glyphs: no font family is left for the train pool; test_fonts holds out {held_out}")
    return train, held_out or chosen


def _fonts_by_class(part: str, classes: list[str], families: list[str]) -> list[list[str]]:
    fonts = [font for family in families for font in FAMILIES[family]]
    choices = [[font for font in fonts if covers(font, character)] for character in classes]
    missing = [c for c, found in zip(classes, choices, strict=True) if not found]
    if missing:
        shown = ", ".join(f'"{c}" (U+{ord(c):04X})' for c in missing)
        raise DataError(f"glyphs, {part} set: none of the font families {', '.join(families)} has {shown}")
    return choices


def _render(
    rng: np.random.Generator, y: np.ndarray, classes: list[str], choices: list[list[str]], style: Style
) -> np.ndarray:
    """Draw one image a label; returns uint8, shape (N, H, W)."""
    which = rng.uniform(size=len(y))
    size = rng.uniform(*style.sizes, size=len(y))
    angle = np.deg2rad(rng.uniform(-style.max_rotation, style.max_rotation, size=len(y)))
    shift = rng.uniform(-style.max_shift, style.max_shift, size=(len(y), 2))
    x = np.empty((len(y), style.image_size, style.image_size), np.uint8)
    for i, label in enumerate(y):
        font = choices[label][int(which[i] * len(choices[label]))]
        x[i] = _draw(font, classes[label], size[i], angle[i], shift[i], style)
    return x


def _draw(font: str, character: str, size: float, angle: float, shift: np.ndarray, style: Style) -> np.ndarray:
    from PIL import Image

    side = style.image_size * style.oversampling
    glyph = mask(font, character, side)
    # A digit of this font gets the height `size`; a glyph that is longer than a digit gets its longest
    # side to that, so that no "W" leaves the picture.
    longest = max(mask(font, "0", side).height, *glyph.size)
    zoom = size * side / longest
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    to_x, to_y = side * (0.5 + shift)
    # Pillow wants the way back: from a place in the picture to the place in the glyph.
    back = (
        cos, -sin, glyph.width / 2 - cos * to_x + sin * to_y,
        sin, cos, glyph.height / 2 - sin * to_x - cos * to_y,
    )  # fmt: skip
    image = glyph.transform((side, side), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR)
    return np.asarray(image.reduce(style.oversampling))
