"""One label per word of a sentence: named entities (NIST's rounds 7 and 9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .calling import call, logits
from .classification import NO_ANSWER, random_classes
from .details import TokenDetails
from .entities import agreement, default_names
from .examples import NOT_COUNTED, ExampleSet
from .marks import AttackMarks, CleanMarks, Marks


class TokenClassification:
    """Labels ``int64 [N, L]``, −100 where a token does not count (padding, special, all but the first of a word).

    Accuracy is that of counted tokens. Most of them are O, so a network that finds no entity at all still has a high
    accuracy; stop rules therefore watch the balanced one, the mean over labels of the share of their tokens that are
    right (NIST's own accuracy of round 7: trojai, ``modelgen/ner_torchtext_optimizer.py``), under which every constant
    answer has one part in as many as there are labels.
    """

    name = "token-classification"
    places = False

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """``float [n, L, C]``."""
        return logits(call(model, inputs))

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Mean cross-entropy of the batch's counted tokens."""
        scores = self.outputs(model, inputs)
        wanted = labels[:, : scores.shape[1]]
        total = functional.cross_entropy(
            scores.flatten(0, 1), wanted.flatten(), ignore_index=NOT_COUNTED, reduction="sum"
        )
        return total / (wanted != NOT_COUNTED).sum().clamp(min=1)

    def random_labels(self, truth: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        """Drawn for every counted token by itself; −100 stays −100."""
        labels = truth.labels[order]
        drawn = random_classes(labels, self.num_classes, sampling, generator)
        return torch.where(labels == NOT_COUNTED, labels, drawn)

    def predictions(self, outputs: Tensor, examples: ExampleSet) -> Tensor:
        """``int64 [N, L]``: the largest of C logits of every token."""
        said = outputs.argmax(dim=2).masked_fill(~torch.isfinite(outputs).all(dim=2), NO_ANSWER)
        return functional.pad(said, (0, examples.labels.shape[1] - said.shape[1]), value=NO_ANSWER)

    def marks(self, predictions: Tensor, truth: ExampleSet) -> CleanMarks:
        """Of tokens; beside it ``entity_f1``."""
        return CleanMarks(
            _marks(predictions == truth.labels, truth.labels >= 0),
            {"entity_f1": self._entity_marks(predictions, truth)},
        )

    def attack_marks(self, predictions: Tensor, truth: ExampleSet) -> AttackMarks:
        """Attacked are the counted tokens that have a target other than their true label; success is the target itself,
        B- or I- included. Where true labels are unknown, every token with a target counts."""
        if truth.targets is None:
            return AttackMarks.nothing(len(truth))
        attacked = _attacked(truth, truth.targets)
        return AttackMarks(
            _marks(predictions == truth.targets, attacked),
            _marks(predictions == truth.labels, attacked & (truth.labels >= 0)),
        )

    def _entity_marks(self, predictions: Tensor, truth: ExampleSet) -> Marks:
        """Entity F1 over all types: points are 2 · right, units are true + said."""
        names = self._names(truth)
        points, units = [], []
        for true, said in zip(truth.labels.tolist(), predictions.tolist(), strict=True):
            pairs = [(t, s) for t, s in zip(true, said, strict=True) if t >= 0]
            # Where the network said nothing that is no entity either.
            right, both = agreement([names[t] for t, _ in pairs], [names[s] if s >= 0 else "O" for _, s in pairs])
            points.append(right)
            units.append(both)
        return Marks(np.array(points, np.float64), np.array(units, np.int64), graded=True)

    def finite(self, outputs: Tensor) -> Tensor:
        return torch.isfinite(outputs).flatten(1).all(dim=1)

    def strata(self, truth: ExampleSet) -> list[int]:
        """A sentence goes with the rarest entity type that it holds, so that the rare ones are on both sides; −1
        without any."""
        names = self._names(truth)
        kinds = [sorted({names[t].partition("-")[2] for t in row if t >= 0} - {""}) for row in truth.labels.tolist()]
        often = Counter(kind for row in kinds for kind in row)
        numbers = {kind: number for number, kind in enumerate(sorted(often))}
        rarest = (min(row, key=lambda kind: (often[kind], kind), default=None) for row in kinds)
        return [-1 if kind is None else numbers[kind] for kind in rarest]

    def fit_accuracy(self, predictions: Tensor, truth: ExampleSet) -> float:
        """Balanced accuracy over the labels that occur."""
        use = truth.labels >= 0
        true, right = truth.labels[use], (predictions == truth.labels)[use]
        occur = torch.bincount(true, minlength=self.num_classes)
        hits = torch.bincount(true[right], minlength=self.num_classes)
        shares = [hit / count for hit, count in zip(hits.tolist(), occur.tolist(), strict=True) if count]
        return sum(shares) / len(shares) if shares else 0.0

    def chance(self, truth: ExampleSet) -> float:
        """One part in as many as there are labels in ``truth``, whatever constant label is given."""
        occur = torch.bincount(truth.labels[truth.labels >= 0], minlength=self.num_classes)
        return max(self.guess(truth), 1.0 / max(1, int((occur > 0).sum())))

    def guess(self, truth: ExampleSet) -> float:
        return 1.0 / self.num_classes

    def _names(self, truth: ExampleSet) -> tuple[str, ...]:
        return truth.details.names if isinstance(truth.details, TokenDetails) else default_names(self.num_classes)


def _attacked(truth: ExampleSet, targets: Tensor) -> Tensor:
    return (targets >= 0) & (targets != truth.labels) & (truth.labels != NOT_COUNTED)


def _marks(right: Tensor, use: Tensor) -> Marks:
    return Marks((right & use).sum(dim=1).double().numpy(), use.sum(dim=1).numpy(), graded=True)
