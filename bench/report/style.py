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


def signed(fraction: float, decimals: int = 1) -> str:
    """Write a gap as :func:`points` does, with a true minus."""
    return points(fraction, decimals).replace("-", "\N{MINUS SIGN}")


def strategy_name(name: str) -> str:
    """Return what a figure calls a strategy where room is scarce."""
    return SHORT_NAMES.get(name, name)


def slug(text: str) -> str:
    """Make a file name of a title: letters, digits, points and hyphens."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.").lower()
