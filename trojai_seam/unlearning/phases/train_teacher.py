"""Train a copy of the network on the true labels, for later phases to learn from; the network itself is left as it was.

Neural attention distillation takes a fine-tuned copy as the teacher: Li et al., ICLR 2021, arXiv 2101.05930.
"""

from __future__ import annotations

import copy
from typing import Literal

from ..context import Context
from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..pruning import put_back
from ..training import Training
from ..training_settings import TrainingSettings


class TrainTeacherSettings(TrainingSettings):
    """How the copy is trained."""

    kind: Literal["train-teacher"] = "train-teacher"


def train_teacher(context: Context, settings: TrainTeacherSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap; accuracies are the copy's."""
    with put_back(context.model):
        outcome = Training(context, settings).run()
        context.model.zero_grad(set_to_none=True)
        context.teacher = copy.deepcopy(context.model).eval().requires_grad_(False)
    return outcome


KIND = PhaseKind(TrainTeacherSettings, train_teacher)
