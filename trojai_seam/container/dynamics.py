"""What forgetting and recovering on clean examples reveals about a model, in a handful of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EngineFailure
from ..tasks import Subject, Task
from ..tasks.calling import all_outputs, batched_outputs
from ..unlearning import UnlearnConfig, resolve, run
from ..unlearning.outcome import Outcome
from ..unlearning.phases.train import TrainSettings
from ..unlearning.training_settings import TrainingSettings
from .probes import Probes, can_be_probed, noise, stamped
from .subjects import seed_of

FEATURES = (
    "forget_area",
    "recover_area",
    "moved",
    "margin_change",
    "noise_share",
    "noise_share_change",
    "stamped_share",
    "stamped_share_change",
)
MOST_EXAMPLES = 200
BATCH = 64


def dynamics_config(preset: str, values: Mapping[str, Any], seconds: float) -> UnlearnConfig:
    """The round's preset (or the one that the metaparameters name), shortened as they say.

    Args:
        preset: of the round for such a model.
        values: metaparameters of detection.
        seconds: for all phases together.
    """
    config = resolve(preset if values["infer_preset"] == "auto" else values["infer_preset"])
    factor = values["infer_learning_rate_factor"]
    phases = []
    for phase in config.phases:
        changes: dict[str, Any] = {"max_seconds": seconds / len(config.phases)}
        if isinstance(phase, TrainingSettings):
            forgets = isinstance(phase, TrainSettings) and phase.forgets
            changes["max_epochs"] = values["infer_forget_epochs" if forgets else "infer_recover_epochs"]
            changes["learning_rate"] = phase.learning_rate * factor
            changes |= {"label_sampling": values["infer_label_sampling"]} if forgets else {}
        phases.append(phase.changed(**changes))
    return config.changed(phases=tuple(phases))


def dynamics(subject: Subject, config: UnlearnConfig, values: Mapping[str, Any]) -> dict[str, float]:
    """The features of one model, by the names in ``FEATURES``; NaN where one does not exist for this kind of input.

    ``forget_area`` and ``recover_area`` are mean fit accuracies over the forgetting phase and over the first quarter of
    recovery; ``moved`` is the length of the way through weight space relative to the weights; ``margin_change`` the log
    of the mean margin after over before. The shares tell how often probes are answered with one class: of two classes
    the first, of more the one that loses most through unlearning; the change is the share before minus that after.

    Raises:
        EngineFailure: unlearning went wrong, or was cut short by its time limit, so that nothing is comparable.
    """
    chosen = _some(subject)
    seed = seed_of(subject, values["infer_seed"], "dynamics")
    config = _for_few(config, chosen)
    outcome = run(chosen.model, chosen.task, chosen.clean, config, seed, trace_every=1)
    late = [phase.phase for phase in outcome.phases if phase.status == "time-limit"]
    if late:
        raise EngineFailure(f"the time allowed was over before the phases were ({', '.join(late)})")
    features = dict.fromkeys(FEATURES, math.nan)
    features.update(_curves(outcome))
    features["moved"] = _moved(chosen.model, outcome.model)
    features["margin_change"] = _margin_change(chosen, outcome.model)
    if chosen.task.name == "classification" and can_be_probed(chosen.clean.inputs):
        generator = torch.Generator().manual_seed(seed)
        count = values["infer_probes"]
        for name, probes in (
            ("noise", noise(chosen.clean.inputs, count, generator)),
            ("stamped", stamped(chosen.clean.inputs, chosen.clean.labels, count, generator)),
        ):
            share, change = _shares(chosen.task, chosen.model, outcome.model, probes)
            features[f"{name}_share"], features[f"{name}_share_change"] = share, change
    return features


def _some(subject: Subject) -> Subject:
    """At most ``MOST_EXAMPLES`` examples, evenly spread over the file names."""
    count = len(subject.clean)
    if count <= MOST_EXAMPLES:
        return subject
    spread = sorted({round(i * (count - 1) / (MOST_EXAMPLES - 1)) for i in range(MOST_EXAMPLES)})
    return replace(subject, clean=subject.clean.subset(spread))


def _for_few(config: UnlearnConfig, subject: Subject) -> UnlearnConfig:
    """One example cannot move BatchNorm statistics."""
    return config.changed(batch_norm="frozen-stats") if len(subject.clean) == 1 else config


def _curves(outcome: Outcome) -> dict[str, float]:
    forgetting, recovering = (
        [epoch.fit_accuracy for epoch in outcome.trace if epoch.phase == phase and epoch.fit_accuracy is not None]
        for phase in ("forget", "recover")
    )
    first = recovering[: max(1, len(recovering) // 4)]
    return {"forget_area": _mean(forgetting), "recover_area": _mean(first)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@torch.no_grad()
def _moved(before: nn.Module, after: nn.Module) -> float:
    pairs = [(b, a) for b, a in zip(before.parameters(), after.parameters(), strict=True) if b.is_floating_point()]
    way = sum(float(((a - b) ** 2).sum()) for b, a in pairs)
    size = sum(float((b**2).sum()) for b, _ in pairs)
    return math.sqrt(way / size) if size else math.nan


@torch.no_grad()
def _margin_change(subject: Subject, after: nn.Module) -> float:
    margins = []
    for model in (subject.model, after):
        scores = all_outputs(model, subject.task, subject.clean, BATCH).float()
        if scores.ndim != 2 or scores.shape[1] < 2:
            return math.nan
        best = scores.topk(2, dim=1).values
        margins.append(float((best[:, 0] - best[:, 1]).mean()))
    return math.log(margins[1] / margins[0]) if min(margins) > 0 else math.nan


@torch.no_grad()
def _shares(task: Task, before: nn.Module, after: nn.Module, probes: Probes) -> tuple[float, float]:
    """How often the favoured class is answered before, and how much less after."""
    shares = []
    for model in (before, after):
        answers = _answers(task, model, probes.inputs)
        if probes.labels is None:
            shares.append(torch.bincount(answers, minlength=task.num_classes).float() / len(answers))
        else:
            # Of examples that are not of the class anyway: how many now get it?
            others = [probes.labels != c for c in range(task.num_classes)]
            flipped = [float((answers[o] == c).float().mean()) if bool(o.any()) else 0.0 for c, o in enumerate(others)]
            shares.append(torch.tensor(flipped))
    first, second = shares
    favoured = 0 if task.num_classes == 2 else int((first - second).argmax())
    return float(first[favoured]), float(first[favoured] - second[favoured])


def _answers(task: Task, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    return batched_outputs(model.eval(), task, {"x": inputs["x"]}, BATCH).argmax(dim=1)
