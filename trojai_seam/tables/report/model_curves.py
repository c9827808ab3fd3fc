"""Where the curves of single models go: one shared frame, since a thousand whole figures would be too many."""

from __future__ import annotations

from .charts import model_frame
from .content import Run
from .drawing import inline_svg

MOST_POINTS = 80  # more than the width of a panel can show apart
FRAME = "curve-frame"


class CurveSheet:
    """The frame of the curves of the models of one run.

    Attributes:
        frame: SVG elements of the axes, to be defined once per page under the id ``FRAME``.
        box: the ``viewBox`` of every drawing.
        places: per phase ``(x0, dx, y0, dy)``: epoch ``e`` with accuracy ``a`` lies at ``(x0 + e·dx, y0 + a·dy)``.
    """

    def __init__(self, run: Run) -> None:
        figure, panels = model_frame(run)
        svg = inline_svg(figure, FRAME)
        self.frame = svg[svg.index(">") + 1 : svg.rindex("</svg>")]
        width, height = (float(inches) * 72 for inches in figure.get_size_inches())
        self.box = f"0 0 {width:.0f} {height:.0f}"
        self.places = {}
        for phase, axes in zip(run.phases, panels, strict=True):
            (x0, y0), (x1, y1) = axes.transData.transform([(0, 0), (1, 1)])
            self.places[phase] = tuple(round(float(v), 4) for v in (x0, x1 - x0, height - y0, y0 - y1))
