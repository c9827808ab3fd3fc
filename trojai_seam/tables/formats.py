"""A table of texts as fixed-width text, Markdown or LaTeX; whatever the cells say, it stays one table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from ..errors import UsageProblem, shown

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "→": r"$\rightarrow$",
    "…": r"\dots{}",
}
_MARKDOWN = {c: f"\\{c}" for c in "\\`*_[]<>|#~"}


def text(frame: pd.DataFrame) -> str:
    """Columns of equal width, two spaces apart, no wrapping."""
    return "\n".join(aligned([list(map(str, frame.columns)), *_cells(frame)]))


def aligned(lines: list[list[str]]) -> list[str]:
    """Lines of cells as lines of text."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def markdown(frame: pd.DataFrame) -> str:
    """A GitHub pipe table; characters with a meaning in Markdown are escaped."""
    rows = [[_replaced(str(c), _MARKDOWN) for c in frame.columns]]
    rows += [["---"] * len(frame.columns)]
    rows += [[_replaced(cell, _MARKDOWN) for cell in line] for line in _cells(frame)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def latex(frame: pd.DataFrame) -> str:
    """A ``tabular`` with booktabs rules; needs ``\\usepackage{booktabs}``."""
    head = " & ".join(_replaced(str(c), _LATEX) for c in frame.columns)
    body = [" & ".join(_replaced(cell, _LATEX) for cell in line) + r" \\" for line in _cells(frame)]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{'l' * len(frame.columns)}}}",
            r"\toprule",
            rf"{head} \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


FORMATS: dict[str, Callable[[pd.DataFrame], str]] = {"text": text, "markdown": markdown, "latex": latex}


def formatted(frame: pd.DataFrame, name: str) -> str:
    """``frame`` in the format called ``name``.

    Raises:
        UsageProblem: there is no such format.
    """
    if name not in FORMATS:
        raise UsageProblem(f"--format {shown(name)!r} is not one of csv, {', '.join(FORMATS)}")
    return FORMATS[name](frame)


def _cells(frame: pd.DataFrame) -> list[list[str]]:
    return [[shown(cell) for cell in line] for line in frame.itertuples(index=False, name=None)]


def _replaced(cell: str, signs: dict[str, str]) -> str:
    return "".join(signs.get(c, c) for c in cell)
