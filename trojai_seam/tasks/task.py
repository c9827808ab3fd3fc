"""The interface of a task, and the registry of tasks by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ..registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from .examples import ExampleSet
    from .marks import AttackMarks, CleanMarks


class Task(Protocol):
    """Stateless; one instance serves every model that does the same thing with the same number of classes.

    The network's raw *scores* become *predictions* on the device (one small integer tensor per set of examples, without
    waiting), and these become *marks* on the CPU, against :meth:`ExampleSet.ground_truth`. So a network is asked with a
    single synchronisation, and marking may look at texts. ``docs/tasks.md`` says what is measured and why.
    """

    name: str
    num_classes: int
    places: bool
    """Whether labels are places in the input, so that training may relight an image but not move it."""

    def outputs(self, model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        """Call the network. Returns raw scores with the batch as first dimension (``float [n, C]`` for classifiers)."""
        ...

    def loss(self, model: nn.Module, inputs: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Mean training loss of one batch, a scalar."""
        ...

    def random_labels(self, truth: ExampleSet, order: Tensor, sampling: str, generator: torch.Generator) -> Tensor:
        """Random targets to forget with, for the examples of ``truth`` at ``order``; on the CPU, like ``truth.labels``.

        ``sampling`` is ``"uniform"`` (over all answers) or ``"wrong-only"`` (uniform over all but the true one).
        ``generator`` lives on the CPU, so that a GPU run draws the same labels as a CPU run.
        """
        ...

    def predictions(self, outputs: Tensor, examples: ExampleSet) -> Tensor:
        """What the scores of *all* ``examples`` say, on their device: ``int64 [N, ...]``, or for detectors ``float32
        [N, D, 6]``. Non-finite scores say nothing, which is never right."""
        ...

    def marks(self, predictions: Tensor, truth: ExampleSet) -> CleanMarks:
        """What is right of the predictions for a clean set: accuracy, and other figures of the same comparison."""
        ...

    def attack_marks(self, predictions: Tensor, truth: ExampleSet) -> AttackMarks:
        """What became of the attacks in a poisoned set. Nothing counts in a clean one."""
        ...

    def finite(self, outputs: Tensor) -> Tensor:
        """``bool [N]``: are all scores of the example finite?"""
        ...

    def strata(self, truth: ExampleSet) -> list[int]:
        """A number per example; splits keep examples of every number on the side that is trained on."""
        ...

    def fit_accuracy(self, predictions: Tensor, truth: ExampleSet) -> float:
        """The accuracy that stop rules watch, in 0 … 1: one that a network which knows nothing cannot have."""
        ...

    def chance(self, truth: ExampleSet) -> float:
        """:meth:`fit_accuracy` of the best constant answer, or of guessing if that is larger: "knows nothing"."""
        ...

    def guess(self, truth: ExampleSet) -> float:
        """:meth:`fit_accuracy` of uniformly random answers: 1/C of the published stop rules."""
        ...


TASKS: Registry[type] = Registry("task")
TASKS.add("classification", "trojai_seam.tasks.classification:Classification")
TASKS.add("token-classification", "trojai_seam.tasks.token_classification:TokenClassification")
TASKS.add("span-extraction", "trojai_seam.tasks.span_extraction:SpanExtraction")
TASKS.add("detection", "trojai_seam.tasks.detection:Detection")


def get_task(name: str, num_classes: int) -> Task:
    """The task called ``name`` for a network with ``num_classes`` outputs.

    Raises:
        UsageProblem: there is no such task.
    """
    task: Task = TASKS.get(name)(num_classes)
    return task
