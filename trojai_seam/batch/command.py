"""The command line that makes a run again, from its plan alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import TrojaiSeamError
from ..rounds import get_round
from ..unlearning import UnlearnConfig, preset_names, resolve
from .plan import LIMITS, MEASURED


def evaluate_command(plan: Mapping[str, Any], run_dir: str = "RUN") -> str:
    """``trojai-seam evaluate …`` for a plan as in ``plan.json``; pasted into a shell it asks for the same settings.

    A file of own networks is known by its hash only: the command then says ``--networks FILE.py``. A round of the
    user's is a file of theirs: ``--round ROUND.json``, which the plan's ``round`` is the content of.
    A preset of a file of one's own is known by its name only.
    """
    name = "ROUND.json" if plan["round"].get("folder") else str(plan["round"]["name"])
    words = ["trojai-seam", "evaluate", str(plan["dataset"]), "--out", run_dir, "--round", name]
    if not plan.get("presets"):  # else each model takes the one that the round has for it
        name = str(plan["unlearning"]["preset"])
        words += ["--preset", name if name in preset_names() else f"{name}.json"]
    for option, changes in (("--set", _unlearning(plan)), ("--round-set", _round(plan))):
        words += [word for name, value in changes for word in (option, f"{name}={value}")]
    words += ["--protocol", str(plan["protocol"]), "--seed", str(plan["seed"])]
    for limit in LIMITS:
        if plan.get(limit) is not None:
            words += [f"--{limit.replace('_', '-')}", str(plan[limit])]
    words += [f"--{name.replace('_', '-')}" for name in MEASURED if plan.get(name)]
    words += ["--device", str(plan["device"]), "--threads", str(plan["threads"])]
    stacked = plan.get("stacked", 0)
    if not stacked or plan["device"] != "cpu":
        words += ["--stack", str(stacked) if stacked else "off"]
    if plan.get("networks"):
        words += ["--networks", "FILE.py"]
    return shlex.join(words)


def _unlearning(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        usual = resolve(plan["unlearning"]["preset"]).options
        used = UnlearnConfig.from_document(plan["unlearning"]).options
    except TrojaiSeamError:
        return  # a preset or a phase of another version of trojai-seam, or of a package that is not here
    for name, value in used.items():
        if usual.get(name) != value:
            yield name, value if isinstance(value, str) else "none" if value is None else json.dumps(value)


def _round(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    try:
        usual = get_round(plan["round"]["name"]).document
    except TrojaiSeamError:
        return
    for name, value in _changes(usual, plan["round"]):
        yield name, json.dumps(value)


def _changes(usual: Any, used: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(usual, Mapping) and isinstance(used, Mapping):
        for key in used:
            yield from _changes(usual.get(key), used[key], f"{name}.{key}" if name else str(key))
    elif usual != used:
        yield name, used
