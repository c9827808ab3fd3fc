"""Forgetting as continual learning in the regime of the neural tangent kernel: what it predicts, what is measured.

A network that is trained a little on the forgetting data moves, to first order, in the space that the gradients of its
scores span: Jacot et al., NeurIPS 2018, arXiv 1806.07572. How far that carries over to other data is decided by the
kernel between the two: Doan et al., "A theoretical analysis of catastrophic forgetting through the NTK overlap matrix",
AISTATS 2021, arXiv 2010.04003. The kernels here are exact and empirical: inner products of gradients by all parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional

from ..errors import EngineFailure
from ..scoring import predict_attacks
from ..tasks.calling import all_outputs
from ..unlearning import UnlearnConfig, run
from .bench import FLEET, Bench
from .charts import predicted_and_measured
from .storage import Row, Unit
from .verdicts import Claim, Drawing, Finding, rank_correlation, told

SIZES = (*FLEET, "kernel", "kernel_steps")
FIGURES = (
    "predicted_change", "measured_change", "predicted_fall", "measured_fall", "asr_before", "asr_after",
)  # fmt: skip
SMALLEST = 1e-6
"""Of eigenvalues, as a share of the largest: what is below is rounding, and spans nothing."""
RATE = 0.5
"""Of descent, as a share of the rate beyond which the forgetting data itself would swing."""


def units(bench: Bench) -> Iterator[Unit]:
    """One per trojaned network."""
    return bench.units(_measure, str([RATE, SMALLEST, _config(1, 1, 1e-3).model_dump_json()]))


class Kernels(NamedTuple):
    """Between examples a (to forget with) and b (triggered): ``float64 [n·C, m·C]`` each."""

    aa: Tensor
    ba: Tensor
    bb: Tensor


def kernels(model: nn.Module, a: Tensor, b: Tensor) -> Kernels:
    """The empirical tangent kernels of ``model`` (eval mode).

    Args:
        model: with C scores per example.
        a: ``float32 [n, …]``.
        b: ``float32 [m, …]``.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def scores(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        result: Tensor = functional_call(model, weights, (x[None],))
        return result[0]

    def gradients(x: Tensor) -> Tensor:
        parts = vmap(jacrev(scores), (None, 0), chunk_size=8)(parameters, x)
        return torch.cat([part.flatten(2) for part in parts.values()], dim=2).flatten(0, 1).double()

    of_a, of_b = gradients(a), gradients(b)
    return Kernels(of_a @ of_a.T, of_b @ of_a.T, of_b @ of_b.T)


def overlap(found: Kernels) -> float:
    """Share of the triggered data's gradients (their squared length) that lies in the span of the forgetting data's:
    0 for orthogonal ones, 1 where forgetting can move all that the triggered data depend on."""
    values, vectors = torch.linalg.eigh(found.aa)
    kept = values > SMALLEST * values[-1]
    inside = (found.ba @ vectors[:, kept]).square() / values[kept]
    return float(inside.sum() / found.bb.trace())


def linear_descent(found: Kernels, a: Tensor, b: Tensor, labels: Tensor, rate: float, steps: int) -> Tensor:
    """Scores of the triggered examples after gradient descent on the mean cross entropy of the forgetting ones, if the
    network were linear in its parameters: ``float64 [m, C]``.

    Args:
        found: kernels of the network.
        a: its scores on the examples to forget with, ``[n, C]``.
        b: on triggered ones, ``[m, C]``.
        labels: to train on, ``int64 [n]``.
        rate: of descent.
        steps: of it.
    """
    wanted = functional.one_hot(labels, a.shape[1]).double()
    now, other = a.double(), b.double()
    for _ in range(steps):
        push = ((wanted - now.softmax(dim=1)) / len(now)).flatten()
        now, other = (scores + rate * (k @ push).view_as(scores) for scores, k in ((now, found.aa), (other, found.ba)))
    return other


def _measure(bench: Bench, network: str, kind: str) -> list[Row]:
    subject, count = bench.subject(network, kind), bench.scale.kernel
    model, task = subject.model, bench.task
    fit = bench.fit(count, subject.name)
    drawn = torch.randperm(len(subject.poisoned), generator=bench.generator("kernel", subject.name))[:count]
    attacked = subject.poisoned.subset(drawn.tolist())
    labels = task.random_labels(
        fit.ground_truth(), torch.arange(len(fit)), "uniform", bench.generator("labels", subject.name)
    )
    found = kernels(model, fit.inputs["x"], attacked.inputs["x"])
    scores_a, scores_b = (all_outputs(model, task, examples) for examples in (fit, attacked))
    rate = RATE / (float(torch.linalg.eigvalsh(found.aa)[-1]) / len(fit))
    predicted = linear_descent(found, scores_a, scores_b, labels, rate, bench.scale.kernel_steps)
    given, config = replace(fit, labels=labels), _config(len(fit), bench.scale.kernel_steps, rate)
    row: Row = {"model": subject.name, "network": network, "kind": kind, "clean": len(fit), "triggered": len(attacked)}
    row |= {"overlap": overlap(found), "rate": rate, **dict.fromkeys(FIGURES)}
    try:
        after = run(model, task, given, config, bench.seed_of("kernel", subject.name), trace_every=10_000).model
    except EngineFailure as problem:
        return [row | {"error": str(problem)}]
    measured = all_outputs(after, task, attacked)
    target = int(attacked.targets[0]) if attacked.targets is not None else 0
    for name, scores in (("predicted", predicted), ("measured", measured.double())):
        row[f"{name}_change"] = float((scores - scores_b.double()).square().mean())
        fell = scores_b.double().softmax(dim=1)[:, target] - scores.softmax(dim=1)[:, target]
        row[f"{name}_fall"] = float(fell.mean())
    row["asr_before"] = predict_attacks(model, task, subject.poisoned).attack_success.share
    row["asr_after"] = predict_attacks(after, task, subject.poisoned).attack_success.share
    return [row]


def _config(count: int, steps: int, rate: float) -> UnlearnConfig:
    phase = {
        "name": "forget", "kind": "train", "labels": "true", "max_epochs": steps, "optimizer": "sgd", "momentum": 0.0,
        "learning_rate": rate,
    }  # fmt: skip
    return UnlearnConfig.from_document({"batch_size": count, "batch_norm": "frozen-stats", "phases": [phase]})


_PAIRS = (
    ("change of scores", "predicted_change", "measured_change"),
    ("fall of the target's probability", "predicted_fall", "measured_fall"),
    ("fall of attack success, by the predicted fall of probability", "predicted_fall", "asr_fall"),
    ("change of scores, by the overlap alone", "overlap", "measured_change"),
)
_CLAIMED = 2


def findings(rows: pd.DataFrame, bench: Bench) -> list[Finding]:
    """Of the analysis by the tangent kernel."""
    rows = rows.astype(dict.fromkeys((*FIGURES, "overlap"), float))
    rows = rows.assign(asr_fall=rows["asr_before"] - rows["asr_after"])
    claims, lines = [], []
    for number, (name, predicted, measured) in enumerate(_PAIRS):
        estimate = rank_correlation(rows[predicted], rows[measured])
        if number < _CLAIMED:
            claims.append(Claim(name, "rank correlation of prediction and measurement", estimate, 0.0))
        lines.append({"triggered pictures": name, "networks": str(estimate.n), "rank correlation": str(estimate)})
    ratio = rows["predicted_change"] / rows["measured_change"]
    for name, values in (("overlap", rows["overlap"]), ("predicted / measured change of scores", ratio)):
        low, middle, high = values.quantile([0.05, 0.5, 0.95])
        line = {"triggered pictures": f"{name}: median and 5 % to 95 % range", "networks": str(values.notna().sum())}
        lines.append(line | {"rank correlation": f"{told(middle)} ({told(low)} to {told(high)})"})
    table = pd.DataFrame(lines).rename(columns={"rank correlation": "rank correlation or value"})
    return [
        Finding(
            "Forgetting is continual learning as the Neural Tangent Kernel describes it",
            "over networks, Spearman's rank correlation of what the exact kernel predicts and what is measured on "
            "triggered pictures has an interval above 0",
            claims,
            table,
            [
                Drawing(
                    "ntk",
                    "What the kernel predicts, and what happens",
                    "Mean squared change of the scores of triggered pictures by the same steps of gradient descent on "
                    "randomly labelled clean ones: of the linearised network, and of the network itself. A point is a "
                    "trojaned network; on the line both agree.",
                    lambda: predicted_and_measured(rows),
                )
            ],
        )
    ]
