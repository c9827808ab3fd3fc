"""How figures look: sizes, type, colours, and SVG that follows the page's light or dark scheme."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

# Colours of the light scheme (all with a contrast of at least 4.5 : 1 to white) and the CSS variables of the page.
INK, MUTED, GRID, SURFACE = "#1b1f27", "#5b6472", "#d9dde4", "#fffffe"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#1f5fa8", "#b5480f", "#2c7a4b", "#6b4aa0", "#6b7483"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    SURFACE: "--surface",
    BLUE: "--blue",
    ORANGE: "--orange",
    GREEN: "--green",
    PURPLE: "--purple",
    GREY: "--grey",
}
_STYLE: Any = {  # rcParams type every key
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 11,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": SURFACE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "figure.facecolor": SURFACE,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "text.parse_math": False,  # a trigger called $x$ is no formula
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
    "svg.hashsalt": "trojai-seam",  # the same figure gives the same bytes
}


_PLACES = ("d", "x", "y", "points", "transform", "width", "height", "viewBox")
"""Attributes with coordinates: a tenth of a point is finer than any screen."""
_DECIMALS = re.compile(r"-?\d+\.\d{2,}")


@contextmanager
def styled() -> Iterator[None]:
    """matplotlib with our settings, and without complaints about signs that its own font lacks."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def new_figure(width: float = 5.0, height: float = 3.2, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure (inches, of 72 points) with ``columns`` axes side by side."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=72)
    axes = figure.subplots(1, columns, squeeze=False)
    return figure, list(axes[0])


def save(figure: Figure, kind: str) -> bytes:
    """``svg`` (text as paths, so that it looks alike everywhere) or ``png`` (200 dots per inch)."""
    buffer = io.BytesIO()
    with styled(), mpl.rc_context({"svg.fonttype": "path"}):
        metadata = {"Date": None} if kind == "svg" else {"Software": "trojai-seam"}
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    return buffer.getvalue()


def inline_svg(figure: Figure, name: str) -> str:
    """SVG to stand in a page: text in the page's font, colours from its scheme, ids that begin with ``name``.

    Whatever the page's font is, each text is as wide as it was when the figure was laid out: it carries its length.
    """
    buffer = io.StringIO()
    with styled(), mpl.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", dpi=72, metadata={"Date": None}, transparent=True)
        text = buffer.getvalue()
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
        text = re.sub(r"<text ([^<>]*)>([^<]*)</text>", _with_length, text)
    return re.sub(r"<[^<>]+>", lambda tag: _tag(tag[0], name), re.sub(r"\s*\n\s*", "\n", text)).replace(
        "<defs>\n</defs>\n", ""
    )


def _with_length(text: re.Match[str]) -> str:
    """A text element that is as wide in any font as it is in the one that it was measured with."""
    size = re.search(r"font(?:-size)?: ([\d.]+)px", text[1])
    if size is None or not text[2].strip():
        return text[0]
    font = FontProperties(family=_STYLE["font.family"], size=float(size[1]))
    width, _, _ = TextToPath().get_text_width_height_descent(html.unescape(text[2]), font, ismath=False)
    return f'<text {text[1]} textLength="{width:.1f}" lengthAdjust="spacingAndGlyphs">{text[2]}</text>'


def _tag(tag: str, name: str) -> str:
    """One tag with the page's colours, short coordinates and ids of its own; texts between tags are never touched."""
    tag = tag.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    if tag.startswith("<svg "):
        tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var({_VARIABLES[m[0]]})" if m[0] in _VARIABLES else m[0], tag)
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag)  # nothing refers to groups
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{name}-", tag).replace('xlink:href="#', f'href="#{name}-')
    tag = re.sub(
        r"font(?:-family)?: (?:([\d.]+px) )?'[^;\"]*; ?", lambda m: f"font-size: {m[1]}; " if m[1] else "", tag
    )
    return re.sub(rf' (?:{"|".join(_PLACES)})="[^"]*"', lambda value: _DECIMALS.sub(_tenth, value[0]), tag)


def _tenth(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
