"""Runs made up in memory: rows and curves as records hold them, with names that mean harm where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from trojai_seam.tables import results_frame
from trojai_seam.tables.report import Run

HOSTILE = (
    "<script>document.title='owned'</script>",
    "=1+1",
    "a,b;c\"d'e",
    "two\nlines",
    "\x1b[31mred\x1b[0m",
    "\u202egnirts\u202c",
    "x" * 10_000,
    "$\\frac{1}{$",
    "</style></svg><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
)


def made_row(number: int, **values: Any) -> dict[str, Any]:
    """A scored model, every second one poisoned; all figures follow from ``number``."""
    rng = np.random.default_rng(number)
    poisoned = number % 2 == 1
    before, after, attack = 1.0, round(1 - rng.uniform(0, 0.3), 4), round(float(rng.uniform(0, 1)), 4)
    row: dict[str, Any] = {
        "model_id": f"id-{number:08}",
        "round": "image-classification-feb2021",
        "status": "done",
        "poisoned": poisoned,
        "architecture": ("resnet18", "vgg11bn", "densenet121")[number % 3],
        "measured_on": "held-out",
        "preset": "default",
        "model_sha256": f"{number:064x}",
        "kept_accuracy": after / before,
        "seconds_total": 1.5 + number % 7,
        "seconds_load": 0.2,
        "seconds_forget": 0.3,
        "seconds_recover": 1.0,
        "seconds_unlearn": 1.3,
        "seconds_score": 0.05,
        **_rate("acc_before", before, 6),
        **_rate("acc_after", after, 6),
    }
    if poisoned:
        row |= {
            "trigger_type": ("polygon", "instagram")[number // 2 % 2],
            "fidelity": (after - attack) / before,
            "fidelity_low": after - attack - 0.2,
            "fidelity_high": after - attack + 0.2,
            **_rate("asr_before", 1.0, 10),
            **_rate("asr_after", attack, 10),
            **_rate("ra_before", 0.0, 10),
            **_rate("ra_after", 1 - attack, 10),
        }
    return {**row, **values}


def failed_row(number: int, **values: Any) -> dict[str, Any]:
    """A model that failed."""
    row: dict[str, Any] = {"model_id": f"id-{number:08}", "round": "image-classification-feb2021", "status": "failed"}
    row |= {"error_kind": "refused-file", "error": "it is broken"}
    return {**row, "poisoned": number % 2 == 1, "seconds_total": 0.01, **values}


def made_run(rows: Iterable[dict[str, Any]], **values: Any) -> Run:
    """A run of ``rows``, with curves for the models that are done."""
    rows = list(rows)
    curves = {}
    for row in rows:
        if row["status"] == "done":
            fall, rise = np.linspace(1, 0.1, 3 + len(row["model_id"]) % 5), np.linspace(0.1, 1, 60)
            curves[row["model_id"]] = {"forget": fall, "recover": rise}
    return Run("a made-up run", results_frame(rows), curves, **values)


def _rate(name: str, value: float, count: int) -> dict[str, Any]:
    return {name: value, f"n_{name}": count, f"{name}_low": max(0.0, value - 0.2), f"{name}_high": min(1, value + 0.2)}
