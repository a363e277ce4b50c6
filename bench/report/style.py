"""What all tables and figures share: how a verdict looks, what things are called, fonts and colours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

# Marks come before colours: every verdict can be told apart without them.
MARKS = {"negative": "✗", "positive": "✓", "equivalent": "=", "inconclusive": "·"}
ASCII_MARKS = {"negative": "x", "positive": "+", "equivalent": "=", "inconclusive": "?"}
TERMINAL = {"negative": "bold red", "positive": "bold cyan", "equivalent": "bold", "inconclusive": "dim"}

# Okabe and Ito's palette, told apart with every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
# Red for harm, blue for help: the poles stay apart without red-green vision, and in grey they are equal.
DIVERGING = "RdBu_r"

MEASURE_NAMES = {
    "proxy_a_distance": "proxy A-distance",
    "frechet_distance": "Fréchet distance",
    "leep": "LEEP",
}

# Where a column is as narrow as its numbers.
SHORT_NAMES = {"feature-extraction": "feature extr.", "gradual-unfreezing": "gradual unfr."}

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.hashsalt": "ntbench",
    "pdf.fonttype": 42,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw what stands inside with the house's fonts and lines."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


def measure_name(measure: str) -> str:
    """Return what a reader calls a measure of similarity."""
    return MEASURE_NAMES.get(measure, measure.replace("_", " "))


def points(fraction: float, decimals: int = 1) -> str:
    """Write a gap in points of accuracy with its sign (a true minus sign is left to figures and LaTeX)."""
    value = round(100 * fraction, decimals)
    return f"{value + 0.0:+.{decimals}f}" if value else f"{0:.{decimals}f}"


def slug(text: str) -> str:
    """Make a file name of a title: letters, digits, points and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.").lower()
