"""What the phases of a method did, as columns of the row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..tables.columns import PHASES
from ..unlearning.outcome import Outcome, PhaseOutcome


def phase_columns(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What the phases did, over all folds: of those that have columns of their own each, of all of them together."""
    columns: dict[str, Any] = {
        "phases": " ".join(phase.phase for phase in outcomes[0].phases) or None,
        "seconds_unlearn": sum(phase.seconds for outcome in outcomes for phase in outcome.phases),
        "phase_statuses": "; ".join(_statuses(outcomes)) or None,
    }
    for name in PHASES:
        phases = [phase for outcome in outcomes if (phase := outcome.phase(name)) is not None]
        if phases:
            columns[f"{name}_status"] = _status_of_folds([phase.status for phase in phases])
            for figure in ("threshold", "epochs", "end_accuracy"):
                columns[f"{name}_{figure}"] = _mean(phases, figure)
            columns[f"seconds_{name}"] = sum(phase.seconds for phase in phases)
    return columns | _suspicion([phase.figures for outcome in outcomes for phase in outcome.phases])


def last_of_forgetting(names: Sequence[str]) -> str:
    """The phase, of those of a method in their order, after which its forgetting is over: the last one before recovery,
    for a search in between may have undone some of it."""
    if "forget" not in names or "recover" not in names[names.index("forget") :]:
        return "forget"
    return names[names.index("recover", names.index("forget")) - 1]


def _suspicion(figures: list[Mapping[str, float]]) -> dict[str, Any]:
    """What the folds suspect to be an attacker's class."""
    found = [one for one in figures if one.get("suspected")]
    classes = {int(one["target"]) for one in found}
    return {
        "suspected_class": classes.pop() if len(classes) == 1 else None,
        "suspected_gap": sum(one["gap"] for one in found) / len(found) if found else None,
    }


def _statuses(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Of the phases that have no columns of their own."""
    for name in (phase.phase for phase in outcomes[0].phases if phase.phase not in PHASES):
        found = [phase.status for outcome in outcomes if (phase := outcome.phase(name)) is not None]
        yield f"{name}: {_status_of_folds(found)}"


def _mean(phases: list[PhaseOutcome], attribute: str) -> float | None:
    """Over the folds in which there is such a number."""
    values = [value for phase in phases if (value := getattr(phase, attribute)) is not None]
    return sum(values) / len(values) if values else None


def _status_of_folds(statuses: list[str]) -> str:
    """The status that all folds have in common, else how many have which: ``missed 2, reached 3``."""
    counts = Counter(statuses)
    return statuses[0] if len(counts) == 1 else ", ".join(f"{name} {counts[name]}" for name in sorted(counts))
