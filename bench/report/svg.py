"""Figures as SVG that can stand within a page, beside others."""

from __future__ import annotations

import io
import re
import warnings
from typing import TYPE_CHECKING

from bench.report.style import figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT_OUT = re.compile(r"<!--.*?-->|<metadata>.*?</metadata>|<style\b.*?</style>", re.DOTALL)
_IDENTITY = re.compile(r'(\bid="|\bxlink:href="#|\bhref="#|url\(#)')
_SIZE = re.compile(r'<svg\b[^>]*?viewBox="0 0 ([0-9.]+) ([0-9.]+)"[^>]*>')


def inline_svg(figure: Figure, prefix: str) -> tuple[str, float]:
    """Write a figure as one ``<svg>`` element, letters as outlines, and return its width in points too.

    Equal figures give equal text. Names within it start with `prefix`, so that two figures on one page do
    not meet; comments and styles, which would reach beyond it, are taken out.
    """
    page = io.StringIO()
    with figure_style(), warnings.catch_warnings():
        # Names that leave no room for the axes make a poor picture, which is there to be seen.
        warnings.filterwarnings("ignore", "constrained_layout not applied")
        figure.savefig(page, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = page.getvalue()
    text = _LEFT_OUT.sub("", text[text.index("<svg") :])
    text = _IDENTITY.sub(lambda match: match[1] + prefix, text)
    width, height = (float(value) for value in _SIZE.search(text).groups())
    opening = (
        f'<svg viewBox="0 0 {width:g} {height:g}" xmlns:xlink="http://www.w3.org/1999/xlink" aria-hidden="true" '
        'style="stroke-linejoin:round;stroke-linecap:butt">'
    )
    return re.sub(r"\n\s*", "\n", _SIZE.sub(lambda _: opening, text, count=1)).strip(), width
