"""What all tables and figures share: how a verdict looks, what things are called, fonts and colours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.scores import Scale

if TYPE_CHECKING:
    import numpy as np

# Marks come before colours: every verdict can be told apart without them.
MARKS = {"negative": "✗", "positive": "✓", "equivalent": "=", "inconclusive": "·"}
ASCII_MARKS = {"negative": "x", "positive": "+", "equivalent": "=", "inconclusive": "?"}
TERMINAL = {"negative": "bold red", "positive": "bold cyan", "equivalent": "bold", "inconclusive": "dim"}

# Okabe and Ito's palette, told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
PLAIN = (1, 0, 2, 3, 4, 5, 7)  # of the palette, where black is taken
# Red for harm, blue for help: the poles stay apart without red-green vision, and in grey they are equal.
DIVERGING = "RdBu_r"
VERDICT_COLOURS = {"negative": "#B2182B", "positive": "#2166AC", "equivalent": "#000000", "inconclusive": "#8C8C8C"}
VERDICT_MARKERS = {"negative": "X", "positive": "o", "equivalent": "s", "inconclusive": "o"}
QUIET = "#5A5A5A"
GRID = "#E6E6E6"

# Inches: one column and the full width of a two-column paper.
COLUMN, PAGE = 3.33, 6.95
TALLEST = 9.2

MEASURE_NAMES = {
    "proxy_a_distance": "proxy A-distance",
    "frechet_distance": "Fréchet distance",
    "leep": "LEEP",
}

# Where a column is as narrow as its numbers.
SHORT_NAMES = {
    "feature-extraction": "feature extr.",
    "gradual-unfreezing": "gradual unfr.",
    "linear-probe-fine-tune": "probe, then tune",
    "layer-transfer-tuned": "layer tr. tuned",
    "layer-transfer": "layer transfer",
    "fine-tune-equal-lr": "fine-tune, equal lr",
}

# Linear sRGB to cones, and their cube roots to lightness and two opponent colours.
_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_OPPONENT = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 6.5,
    "axes.titlesize": 7,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.labelsize": 6.5,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 6,
    "figure.dpi": 100,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "savefig.dpi": 300,
    "text.parse_math": False,  # a user's "cost_$5" is a name
    "svg.hashsalt": "ntbench",
    "pdf.fonttype": 42,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw what stands inside with the house's fonts and lines."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


def colours(count: int, *, black: bool = True) -> list[str]:
    """Return as many colours, no two alike: the palette, then what is farthest from all before it.

    Parameters
    ----------
    count : int
    black : bool
        Whether black is among them; a figure that draws scratch in black has no other use for it.
    """
    chosen = list(PALETTE) if black else [PALETTE[i] for i in PLAIN]
    if count <= len(chosen):
        return chosen[:count]
    from itertools import product

    import numpy as np
    from matplotlib.colors import to_hex, to_rgb

    # Neither so light that white paper swallows it nor so dark that it is black.
    grid = np.array([rgb for rgb in product(np.linspace(0, 1, 9), repeat=3) if 0.2 < _lab(rgb)[0] < 0.82])
    places, taken = np.array([_lab(rgb) for rgb in grid]), [_lab(to_rgb(colour)) for colour in (*chosen, "black")]
    least = np.min([np.linalg.norm(places - place, axis=1) for place in taken], axis=0)
    while len(chosen) < count:
        best = int(least.argmax())
        chosen.append(to_hex(grid[best]))
        least = np.minimum(least, np.linalg.norm(places - places[best], axis=1))
    return chosen


def _lab(rgb: Iterable[float]) -> np.ndarray:
    """Return a colour's place in Oklab (Ottosson, 2020), where distance is difference to the eye."""
    import numpy as np

    value = np.asarray(list(rgb), dtype=float)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.array(_OPPONENT) @ np.cbrt(np.array(_CONES) @ linear)


def counted(n: int, one: str, many: str | None = None) -> str:
    """Write a number with its noun: "1 seed", "1,000 labels"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def counted_range(numbers: Iterable[int], one: str) -> str:
    """Write the least and the greatest of some counts with their noun: "1 seed", "3 to 5 seeds", "no seeds"."""
    found = sorted({int(n) for n in numbers})
    if len(found) > 1:
        return f"{found[0]:,} to {found[-1]:,} {one}s"
    return counted(found[0], one) if found else f"no {one}s"


def measure_name(measure: str) -> str:
    """Return what a reader calls a measure of similarity."""
    return MEASURE_NAMES.get(measure, measure.replace("_", " "))


def points(fraction: float, decimals: int = 1) -> str:
    """Write a gap in points of accuracy with its sign (a true minus sign is left to figures and LaTeX)."""
    return Scale().gap(fraction, decimals)


def in_words(name: str) -> str:
    """Return a name with blanks for the hyphens within words, so that it can be broken: "fine tune+l2-sp:alpha=-1"."""
    return re.sub(r"(?<=[a-z]{2})-(?=[a-z]{2})", " ", name)


def strategy_name(name: str) -> str:
    """Return what a figure calls a strategy where room is scarce."""
    return SHORT_NAMES.get(name, name)


def slug(text: str) -> str:
    """Make a file name of a title: letters, digits, points and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.").lower()
