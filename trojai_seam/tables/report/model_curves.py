"""Curves of single models: small paths over one shared frame, since a thousand whole figures would be too many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..curves import Curves
from .charts import model_frame
from .content import Run
from .drawing import inline_svg

MOST_POINTS = 80  # more than the width of a panel can show apart
FRAME = "curve-frame"


class CurveSheet:
    """Draws the curves of the models of one run.

    Attributes:
        frame: SVG elements of the axes, to be defined once per page under the id ``FRAME``.
        box: the ``viewBox`` of every drawing.
    """

    def __init__(self, run: Run) -> None:
        figure, panels = model_frame(run)
        svg = inline_svg(figure, FRAME)
        self.frame = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
        width, height = figure.get_size_inches() * 72
        self.box = f"0 0 {width:.0f} {height:.0f}"
        self._height = float(height)
        self._places = {phase: axes.transData for phase, axes in zip(run.phases, panels, strict=True)}

    def paths(self, curves: Curves) -> Iterator[tuple[str, str]]:
        """Phase and path data (``M x y L x y …``) for every phase that the model went through."""
        for phase, place in self._places.items():
            if phase in curves:
                values = curves[phase]
                epochs = np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int))
                points = place.transform(np.column_stack([epochs, values[epochs]]))
                yield phase, "M" + "L".join(f"{x:.1f} {self._height - y:.1f}" for x, y in points)
