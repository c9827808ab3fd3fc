"""What is written of a reproduction: tables as CSV, one HTML page, the same as Markdown with figures beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from .. import __version__
from ..batch.files import make_folder, write_atomic
from ..tables import csv_bytes
from ..tables.formats import formatted
from ..tables.report.drawing import save
from ..tables.report.page import as_figure, as_table, file_text, template
from .verdicts import Finding

NOTES = (
    "A verdict follows from intervals by the rule that stands beside it: a claim holds where its whole 95 % interval "
    "reaches the bound, does not hold where none of it does, and else is undecided. The bounds are ours: the paper's "
    "own tables were not at hand.",
    "Attack success and test accuracy were only measured, once a method had ended; nothing was stopped, tuned or "
    "chosen by them.",
    "Clean pictures to unlearn with are training pictures that no network was trained on.",
)


class Reproduction(NamedTuple):
    """What the files are made from.

    Attributes:
        name: of the data set.
        head: facts for the top of the page.
        findings: of all seeds together.
        by_seed: verdicts of single seeds, by seed and statement.
        rows: raw rows by part.
        notes: on what is missing.
        commands: that make it again, one per seed.
    """

    name: str
    head: Mapping[str, str]
    findings: Sequence[Finding]
    by_seed: Mapping[int, Mapping[str, Finding]]
    rows: Mapping[str, pd.DataFrame]
    notes: Sequence[str]
    commands: Sequence[str]


def verdict_table(made: Reproduction) -> pd.DataFrame:
    """A line per statement and what it is claimed of: the verdict over all seeds, of each seed, and whether they
    agree."""
    lines = []
    for finding in made.findings:
        single = {seed: of[finding.statement].verdicts for seed, of in made.by_seed.items() if finding.statement in of}
        for about, verdict in finding.verdicts.items():
            line = {"statement": finding.statement, "about": about, "verdict": verdict}
            if len(made.by_seed) > 1:
                found = {seed: verdicts[about] for seed, verdicts in single.items() if about in verdicts}
                line |= {f"seed {seed}": found.get(seed, "not measured") for seed in made.by_seed}
                line["repeated"] = _agreement(list(found.values()))
            lines.append(line)
    return pd.DataFrame(lines)


def told_once(table: pd.DataFrame) -> pd.DataFrame:
    """The same for people: a statement stands in the first of its lines only."""
    if table.empty:
        return table
    return table.assign(statement=table["statement"].mask(table["statement"].duplicated(), ""))


def _agreement(verdicts: Sequence[str]) -> str:
    if len(verdicts) < 2:
        return "not repeated"
    return "stays" if len(set(verdicts)) == 1 else "does not stay"


def claim_table(made: Reproduction) -> pd.DataFrame:
    """A line per claim, of all seeds together and of each, with every figure."""
    of_all = [("all", finding) for finding in made.findings]
    of_each = [(str(seed), finding) for seed, of in made.by_seed.items() for finding in of.values()]
    return pd.DataFrame(
        [
            {
                "seeds": seeds,
                "statement": finding.statement,
                "about": claim.about,
                "figure": claim.figure,
                "n": claim.estimate.n,
                "value": claim.estimate.value,
                "low": claim.estimate.low,
                "high": claim.estimate.high,
                "at_least": claim.least,
                "verdict": claim.verdict,
            }
            for seeds, finding in [*of_all, *(of_each if len(made.by_seed) > 1 else [])]
            for claim in finding.claims
        ]
    )


def write_reproduction(made: Reproduction, folder: Path) -> Path:
    """Write all files into ``folder``; returns the page.

    Raises:
        RunDirectoryProblem: they cannot be written.
    """
    make_folder(folder / "figures")
    for part, rows in made.rows.items():
        write_atomic(folder / f"{part}.csv", csv_bytes(rows))
    write_atomic(folder / "verdicts.csv", csv_bytes(verdict_table(made)))
    write_atomic(folder / "claims.csv", csv_bytes(claim_table(made)))
    for finding in made.findings:
        for drawing in finding.drawings:
            write_atomic(folder / "figures" / f"{drawing.name}.svg", save(drawing.draw(), "svg"))
    write_atomic(folder / "reproduction.md", markdown(made).encode())
    write_atomic(folder / "reproduction.html", html(made).encode())
    return folder / "reproduction.html"


def markdown(made: Reproduction) -> str:
    """The page as Markdown; figures are files beside it."""
    parts = [f"# {_title(made)}", "\n".join(f"- {name}: {value}" for name, value in made.head.items())]
    parts += [
        "## Verdicts",
        formatted(told_once(verdict_table(made)), "markdown"),
        "\n".join(f"- {note}" for note in (*NOTES, *made.notes)),
    ]
    for finding in made.findings:
        parts += [f"## {finding.statement}", f"**{finding.verdict}.** Rule: {finding.rule}."]
        parts.append(formatted(finding.table, "markdown"))
        for drawing in finding.drawings:
            parts.append(f"![{drawing.title}](figures/{drawing.name}.svg)\n\n{drawing.title}: {drawing.caption}")
    commands = ", ".join(f"`{command}`" for command in made.commands)
    return "\n\n".join([*parts, f"Made by {commands}."]) + "\n"


def html(made: Reproduction) -> str:
    """The page as HTML; it is whole, fetches nothing and has no script at all."""
    details = [(finding.statement, finding.table) for finding in made.findings]
    claims = claim_table(made)
    context: dict[str, Any] = {
        "title": _title(made),
        "version": __version__,
        "style": Markup(file_text("style.css")),  # noqa: S704 - ours
        "head": list(made.head.items()),
        "tables": [("Verdicts", as_table(told_once(verdict_table(made))))],
        "notes": [*NOTES, *made.notes, *(f"{finding.statement}: {finding.rule}." for finding in made.findings)],
        "differing": [],
        "figures": [
            as_figure(drawing.name, drawing.draw(), drawing.title, drawing.caption)
            for finding in made.findings
            for drawing in finding.drawings
        ],
        "details": [(title, as_table(frame)) for title, frame in [*details, ("Every claim", _texts(claims))]],
        "runs": [(f"Command {number}", {"command": command}) for number, command in enumerate(made.commands, start=1)],
    }
    return template("study.html.j2").render(context)


def _texts(claims: pd.DataFrame) -> pd.DataFrame:
    return claims.map(lambda cell: f"{cell:.3g}" if isinstance(cell, float) else str(cell))


def _title(made: Reproduction) -> str:
    return f"The paper's statements on {made.name}"
