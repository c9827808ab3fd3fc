"""``test``: the raw logits of every example of a folder, as ``results.json``."""

from __future__ import annotations

import argparse
import json
import traceback
from collections.abc import Mapping
from typing import Any

import torch

from ..batch.files import make_folder, write_atomic
from ..batch.reproducible import reproducible
from ..errors import ExampleProblem, TrojaiSeamError, UnsupportedModel, listed
from ..tasks.calling import all_outputs
from .messages import fail, say
from .metaparameters import read_metaparameters
from .subjects import choose_device, named_round, open_for_mitigation, required_folder

RESULTS = "results.json"
BATCH = 32
OK, FAILED, BAD_INPUT = 0, 1, 2


def test(given: argparse.Namespace, options: Mapping[str, str]) -> int:
    """Run the command.

    The model is read inertly like any other, although it may be one that ``mitigate`` wrote a moment ago. Nothing is
    resized or normalised beyond what the round says, and labels are not looked for.

    Returns:
        0 with a ``results.json``, 1 or 2 without one.
    """
    out = given.output_dirpath / RESULTS
    try:
        read_metaparameters("mitigation", given.metaparameters_filepath, options, given.schema_filepath)
        make_folder(given.output_dirpath)
        results = _answers(given)
        write_atomic(out, (json.dumps(results, allow_nan=False) + "\n").encode())
    except TrojaiSeamError as problem:
        fail(f"test: {problem}; no {RESULTS} was written")
        return BAD_INPUT if problem.kind in ("usage", "config") else FAILED
    except Exception as bug:  # whatever it is: one line at the end of the log
        traceback.print_exc()
        fail(f"test: unexpected {type(bug).__name__}: {bug}; no {RESULTS} was written")
        return FAILED
    say(f"test: logits of {len(results)} examples written to {out}")
    return OK


def _need_logits(given: argparse.Namespace, task: str) -> None:
    if task != "classification":
        raise UnsupportedModel(
            f"{given.model_filepath}: {task} has no row of logits per example, which is all that test can write; "
            "use evaluate"
        )


def _answers(given: argparse.Namespace) -> dict[str, list[float]]:
    """Logits by file name, in the order of the names.

    Raises:
        TrojaiSeamError: the model or an example cannot be used, or an answer is not finite.
    """
    required_folder(given.dataset_dirpath, "--dataset_dirpath", or_json=True)
    device = choose_device(given.device)
    _, round_config = named_round(given)
    if round_config.task:  # a round whose models do several things tells it with the model
        _need_logits(given, round_config.task)
    subject, _ = open_for_mitigation(given, "cpu", needs_labels=False)
    _need_logits(given, subject.task.name)
    model = subject.model.to(device)
    batch: Any = given.batch_size or BATCH
    results: dict[str, list[float]] = {}
    broken: list[str] = []
    with reproducible(torch.get_num_threads()):
        for begin in range(0, len(subject.clean), batch):
            some = subject.clean.subset(range(begin, min(begin + batch, len(subject.clean)))).to(device)
            outputs = all_outputs(model, subject.task, some, batch)
            broken += [
                name for name, fine in zip(some.names, subject.task.finite(outputs).tolist(), strict=True) if not fine
            ]
            results.update(zip(some.names, outputs.tolist(), strict=True))
    if broken:
        raise ExampleProblem(f"{given.model_filepath}: answers that are not finite, to {listed(broken)}")
    return results
