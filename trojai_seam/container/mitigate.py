"""``mitigate``: unlearn one model with SEAM, leave a plain ``mitigated.pt`` or nothing.

Where it is absent the server tests the original instead, so nothing is the right answer whenever no state of the
network can be trusted: one that is half forgotten would lose the accuracy and be counted as a success.
"""

from __future__ import annotations

import argparse
import copy
import io
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..batch.files import make_folder, write_atomic
from ..batch.reproducible import reproducible
from ..errors import EngineFailure, TrojaiSeamError, UnsupportedModel
from ..networks.portable import own_classes
from ..rounds import RoundConfig
from ..scoring import predict
from ..tasks import Subject
from ..unlearning import UnlearnConfig, resolve, run
from ..unlearning.phases.train import TrainSettings
from ..unlearning.training_settings import TrainingSettings
from .deadline import Deadline, TimeUp, undisturbed
from .messages import fail, say, warn
from .metaparameters import read_metaparameters
from .subjects import choose_device, open_for_mitigation, required_folder, seed_of

OK, FAILED, BAD_INPUT = 0, 1, 2


@dataclass(eq=False)
class _Best:
    """The recovered state with the best fit accuracy so far, on the CPU; of equals the latest."""

    accuracy: float = -1.0
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    def offer(self, accuracy: float, model: nn.Module) -> None:
        if accuracy >= self.accuracy:
            state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
            self.accuracy, self.state = accuracy, state


def mitigate(given: argparse.Namespace, options: Mapping[str, str], began: float) -> int:
    """Run the command.

    Args:
        given: the parsed line.
        options: metaparameters that were given as options.
        began: ``time.monotonic()`` when the process began.

    Returns:
        0 with a ``mitigated.pt``, 1 or 2 without one.
    """
    out = given.output_dirpath / given.model_output_name
    try:
        make_folder(given.output_dirpath)
        with suppress(FileNotFoundError):
            out.unlink()  # what an earlier model left is no result of this one
        values = read_metaparameters("mitigation", given.metaparameters_filepath, options, given.schema_filepath)
        required_folder(given.dataset_dirpath, "--dataset_dirpath", or_json=True)
        model = _unlearned(given, values, began)
        with undisturbed():
            write_atomic(out, _portable(model))
    except TrojaiSeamError as problem:
        fail(f"mitigate: {problem}; no {out.name} was written, so the original stands")
        return BAD_INPUT if problem.kind in ("usage", "config") else FAILED
    except TimeUp as late:
        fail(f"mitigate: {late} before anything was recovered; no {out.name} was written, so the original stands")
        return FAILED
    except Exception as bug:  # whatever it is: one line at the end of the log, and no half-written file
        traceback.print_exc()
        fail(f"mitigate: unexpected {type(bug).__name__}: {bug}; no {out.name} was written, so the original stands")
        return FAILED
    say(f"mitigate: written to {out}")
    return OK


def mitigation_config(
    preset: str, values: Mapping[str, Any], examples: int, batch_size: int | None, seconds: float
) -> UnlearnConfig:
    """The preset that fits, changed as the metaparameters say.

    Args:
        preset: of the round for such a model; gives way to the one that the metaparameters name.
        values: metaparameters of mitigation.
        examples: how many clean examples there are.
        batch_size: from the command line; the preset's when unset.
        seconds: for all phases together; the last one, which recovers, gets at most 60 % of it, the others share the
            rest.
    """
    config = resolve(preset if values["preset"] == "auto" else values["preset"])
    sampling, last = values["label_sampling"], len(config.phases) - 1
    phases = []
    for place, phase in enumerate(config.phases):
        share = 1.0 if last == 0 else 0.6 if place == last else 0.4 / last
        changes: dict[str, Any] = {"max_seconds": share * seconds}
        if isinstance(phase, TrainingSettings):
            kind = "recover" if place == last else "forget"
            changes["learning_rate"] = phase.learning_rate * values[f"{kind}_learning_rate_factor"]
            changes["max_epochs"] = _scaled(phase.max_epochs, values[f"{kind}_epochs_factor"])
        if isinstance(phase, TrainSettings) and phase.labels == "random" and sampling != "preset":
            changes["label_sampling"] = sampling
        phases.append(phase.changed(**changes))
    frozen = values["frozen_batch_norm"] or 1 in (examples, batch_size)  # one example has no batch statistics
    return config.changed(
        batch_size=batch_size or config.batch_size,
        batch_norm="frozen-stats" if frozen else config.batch_norm,
        phases=tuple(phases),
    )


def _scaled(epochs: int, factor: float) -> int:
    """A phase that the preset leaves out stays out."""
    return max(1, round(epochs * factor)) if epochs else 0


def _unlearned(given: argparse.Namespace, values: Mapping[str, Any], began: float) -> nn.Module:
    """The network to write, on the CPU.

    Raises:
        TrojaiSeamError: there is none.
        TimeUp: before recovery got anywhere.
    """
    best = _Best()
    with Deadline(values["seconds"], began) as deadline:
        subject, round_config = open_for_mitigation(given, choose_device(given.device))
        if own := own_classes(subject.model):
            raise UnsupportedModel(f"a network with {', '.join(own)} would not open where trojai_seam is not installed")
        before = _accuracy(subject, subject.model)
        floor = values["least_kept_accuracy"] * before
        try:
            _run(subject, round_config, given.batch_size, values, deadline, best)
        except TimeUp as late:
            if best.accuracy < floor or not best.state:
                raise
            warn(f"mitigate: {late}; taking the best state so far")
    if best.accuracy < floor or not best.state:
        raise EngineFailure(
            f"recovery did not succeed: accuracy on the clean examples {before:.3f} before, {best.accuracy:.3f} after"
        )
    say(f"mitigate: accuracy on {len(subject.clean)} clean examples (in-sample) {before:.3f} -> {best.accuracy:.3f}")
    model = copy.deepcopy(subject.model).cpu()
    model.load_state_dict(best.state)
    return model.eval()


def _run(
    subject: Subject,
    round_config: RoundConfig,
    batch_size: int | None,
    values: Mapping[str, Any],
    deadline: Deadline,
    best: _Best,
) -> None:
    """Unlearn; ``best`` holds what came out, also when time runs out in between. Batches are halved on GPU memory
    errors, and on those only."""

    def watch(phase: str, epoch: int, model: nn.Module) -> None:
        if phase == config.phases[-1].name:
            best.offer(_accuracy(subject, model), model)

    seed = seed_of(subject, values["seed"], "mitigate")
    preset = round_config.preset_of(subject)
    while True:
        seconds = 0.95 * deadline.remaining()
        config = mitigation_config(preset, values, len(subject.clean), batch_size, seconds)
        try:
            with reproducible():
                outcome = run(subject.model, subject.task, subject.clean, config, seed, watch)
        except torch.cuda.OutOfMemoryError:
            if config.batch_size < 4:
                raise
            batch_size = config.batch_size // 2
            best.accuracy, best.state = -1.0, {}
            warn(f"mitigate: out of GPU memory; trying again with batches of {batch_size}")
            continue
        break
    for phase in outcome.phases:
        say(f"mitigate: preset {config.preset}: {phase}")
    if not outcome.phases or outcome.phases[-1].status != "time-limit":
        # It went to its end as planned, and the end of a schedule is better than its highest point on so few examples.
        best.accuracy = -1.0
        best.offer(_accuracy(subject, outcome.model), outcome.model)


def _accuracy(subject: Subject, model: nn.Module) -> float:
    return predict(model, subject.task, subject.clean).accuracy.share or 0.0


def _portable(model: nn.Module) -> bytes:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    return buffer.getvalue()
