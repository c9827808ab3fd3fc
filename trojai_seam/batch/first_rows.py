"""The row of a unit before anything is computed, and that of one whose process could not write it itself."""

from __future__ import annotations

from typing import Any

from ..errors import shown
from ..rounds.model_facts import readable_facts
from .records import write_record
from .units import WorkUnit


def record_failure(unit: WorkUnit, kind: str, message: str, seconds: float, log_tail: str = "") -> dict[str, Any]:
    """Write the record of a model whose process could not do so itself. Returns the row.

    Raises:
        RunDirectoryProblem: the record cannot be written.
    """
    row = first_columns(unit)
    fail_row(row, kind, f"{unit.directory.path}: {message}")
    row.update(log_tail=log_tail or None, seconds_total=seconds)
    write_record(unit.record, row, {})
    return row


def first_columns(unit: WorkUnit) -> dict[str, Any]:
    """What is known before anything is read but the metadata."""
    plan = unit.plan
    return {
        "model_id": unit.directory.model_id,
        "round": plan.round_config.name,
        "preset": plan.unlearning.preset,
        "changed_options": " ".join(f"{k}={v}" for k, v in sorted(plan.changed_options.items())) or None,
        "protocol": plan.protocol,
        "fit_per_class": plan.fit_per_class,
        "fit_total": plan.fit_total,
        "seed": plan.seed,
        "device": plan.device,
        "fingerprint": plan.fingerprint,
        **readable_facts(unit.directory, plan.round_config),
    }


def fail_row(row: dict[str, Any], kind: str, message: str) -> None:
    """Make ``row`` a failed one."""
    row.update(status="failed", error_kind=kind, error=shown(message, 2000))
