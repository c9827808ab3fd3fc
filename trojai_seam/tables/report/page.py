"""The page itself: one file, nothing fetched, everything from files escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup, escape

from ... import __version__
from ...errors import shown
from .charts import figures
from .content import Run, common_facts, doubtful, failures, group_tables, headline, missing
from .drawing import inline_svg
from .model_curves import FRAME, CurveSheet
from .payload import payload

_TITLES = {
    "fidelity-distribution": "Fidelity over models",
    "accuracy-against-attack": "Accuracy against attack success",
    "phase-curves": "Forgetting, recovery and other phases",
    "attack-trace": "Attack success along the way (oracle)",
    "time-split": "Where the time goes",
}
_CAPTIONS = {
    "fidelity-distribution": (
        "Share of the expected poisoned models whose fidelity is at least the value below, with pointwise 95 % Wilson "
        "intervals. Failed and missing models reach no value. Held-out examples only."
    ),
    "accuracy-against-attack": (
        "One line per poisoned model, from the model as shipped to the unlearned one, with the 95 % intervals of the "
        "rates after (not where there are more than 40 models; more than 500 are drawn as circles whose areas count "
        "models). Good is up and to the left. Accuracy on held-out clean examples, attack success on poisoned ones."
    ),
    "phase-curves": (
        "Accuracy on the examples that are trained on: median (line) and 5 % to 95 % range (band) over models. A model "
        "that ended earlier keeps its last value. The stop rules see these figures and no others."
    ),
    "attack-trace": (
        "Oracle figures of --trace-attack: held-out accuracy and attack success after every epoch, asked of stored "
        "states once each run had ended. Nothing was stopped or chosen by them. Median and 5 % to 95 % range over "
        "poisoned models."
    ),
    "time-split": "Mean seconds per scored model: reading it, the phases, and predictions with intervals.",
}
_GROUP_CAPTION = (
    "Mean over scored models with 95 % bootstrap intervals over models. A group of one model has no interval, and is "
    "left out where there are others. Ordered by rank fidelity, in which failed and missing models count as 0."
)


def render_page(run: Run) -> str:
    """The report as HTML.

    It opens from disk without a network: styles, script and figures are inside, and a content security policy forbids
    all else, also to whatever a file name or an error message might smuggle in.
    """
    sheet = CurveSheet(run) if run.phases else None
    results = run.results
    script = file_text("page.js")
    context: dict[str, Any] = {
        "run": run,
        "head": [(name, value) for name, value in run.facts.items() if value],
        "version": __version__,
        "style": Markup(file_text("style.css")),  # noqa: S704 - ours
        "script": Markup(script),  # noqa: S704 - ours
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "data": payload(run, sheet),
        "cards": headline(run),
        "figures": [_figure_of(name, draw()) for name, draw in figures(run).items()],
        "tables": [(_words(column), as_table(table), as_table(single)) for column, table, single in group_tables(run)],
        "failures": failures(results),
        "doubtful": doubtful(results),
        "missing": missing(results),
        "in_sample": bool((results["measured_on"] == "in-sample").any()),
        "common": common_facts(results),
        "frame": None if sheet is None else Markup(sheet.frame),  # noqa: S704 - drawn by matplotlib
        "frame_id": FRAME,
        "box": "" if sheet is None else sheet.box,
    }
    return template("page.html.j2").render(context)


def _figure_of(name: str, figure: Any) -> dict[str, Any]:
    title = _TITLES.get(name) or f"By {_words(name.removeprefix('by-'))}"
    return as_figure(name, figure, title, _CAPTIONS.get(name, _GROUP_CAPTION))


def as_figure(name: str, figure: Any, title: str, caption: str) -> dict[str, Any]:
    """What the templates take of a matplotlib figure: ``name``, ``title``, ``caption``, ``svg``."""
    svg = inline_svg(figure, name).replace("<svg ", f'<svg role="img" aria-labelledby="{name}-title" ', 1)
    return {"name": name, "title": title, "caption": caption, "svg": Markup(svg)}  # noqa: S704 - drawn by matplotlib


def as_table(frame: pd.DataFrame) -> dict[str, Any]:
    """What the templates take of a frame of texts: ``head`` and ``rows``."""
    rows = [[_kept_together(shown(cell, 80)) for cell in row] for row in frame.itertuples(index=False, name=None)]
    return {"head": [_words(str(name)) for name in frame.columns], "rows": rows}


def _kept_together(cell: str) -> str:
    """No line break inside ``0.9 → 0.8`` or ``[0.7, 0.9]``, only between the two."""
    return re.sub(r" (?=→|%)|(?<=→) |(?<=\d,) |(?<=\d) (?=[a-z])", "\u00a0", cell)


def _words(name: str) -> str:
    names = {"model_architecture": "architecture", "clean_per_class": "clean examples per class"}
    name = name.replace("-", "_") if name.replace("-", "_") in names else name
    return shown(names.get(name, name.replace("_", " ").replace("-", " ")), 60)


def file_text(name: str) -> str:
    """A file of this folder."""
    return (resources.files(__package__) / name).read_text("utf-8")


@cache
def template(name: str) -> jinja2.Template:
    """A template of this folder; whatever it is filled with is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["unbroken"] = unbroken_options
    return environment.from_string(file_text(name))


def unbroken_options(text: str) -> Markup:
    """A command that breaks between words, not at the hyphens of an option; other text as it is."""
    words = (
        Markup("<span>{}</span>").format(word) if word.startswith("--") else escape(word) for word in text.split(" ")
    )
    return Markup(" ").join(words)
