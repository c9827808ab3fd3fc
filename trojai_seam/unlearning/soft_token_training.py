"""Training against soft tokens: the inner steps that move them, the outer one that unlearns them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import EngineFailure
from ..tasks.examples import MASK
from .embedding_noise import word_embeddings
from .outcome import PhaseOutcome
from .phases.soft_tokens import SoftTokenSettings
from .soft_tokens import IDS, Spliced, draw_places, extra_rows, gaps_of, longest_input, splice
from .training import Batch, Training
from .trigger_wishes import Wish, draw_wish

TINY = 1e-12


@dataclass(frozen=True, eq=False)
class WouldBeTrigger:
    """``vectors [K, D]`` in place of K words; ``wish``: what it is moved towards, ``None``: away from the truth."""

    vectors: Tensor
    wish: Wish | None


@dataclass(frozen=True, eq=False)
class Inserted:
    """A batch with soft tokens in it; ``in_text``: those that come first in its blocks are in the context."""

    made: Spliced
    in_text: bool


class SoftTokenTraining(Training[SoftTokenSettings]):
    """Towards true answers in spite of inserted soft tokens, and towards the shipped network's on texts as they are."""

    def begin(self) -> None:
        context, settings = self.context, self.settings
        table = word_embeddings(context.model)
        if table is None or IDS not in context.fit.inputs:
            raise EngineFailure("the network looks up no words: there is nothing to insert soft tokens between")
        self.table, self.longest = table, longest_input(context.model)
        self.gaps = gaps_of(context.fit)
        if not bool(self.gaps.text.any()):
            raise EngineFailure("no text has a place for a soft token")
        self.words = table.weight.detach().clone()
        self.bound = settings.norm * float(self.words.norm(dim=1).max())
        self.bank = [self._drawn(number) for number in range(settings.bank)]
        self.raised: list[Tensor] = []

    def before_step(self, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Move one of the bank, and ask the teacher."""
        settings, context = self.settings, self.context
        number = int(torch.randint(len(self.bank), (1,), generator=context.generator))
        context.model.eval()
        if settings.restart and float(torch.rand(1, generator=context.generator)) < settings.restart:
            self.bank[number] = self._begun(number, inputs, batch)
        self.bank[number] = self._moved(self.bank[number], inputs, batch)
        self.vectors = self.bank[number].vectors
        self.taught = None
        if settings.teacher_weight:
            with torch.no_grad():
                self.taught = context.task.outputs(context.shipped, inputs)
        self.mode()
        return inputs

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        settings, task, model = self.settings, self.context.task, self.context.model
        made = self.insert(inputs, batch, len(self.vectors)).made
        with extra_rows(self.table, self.vectors):
            total = task.loss(model, made.inputs, made.labels)
        if settings.clean_weight:
            total = total + settings.clean_weight * task.loss(model, inputs, batch.labels)
        if self.taught is not None:
            agreed = disagreement(task.outputs(model, inputs), self.taught, inputs[MASK] != 0)
            total = total + settings.teacher_weight * agreed
        return total

    def run(self) -> PhaseOutcome:
        """As every training; ``raised`` is by how much inner steps raised what they should, on the average."""
        outcome = super().run()
        raised = getattr(self, "raised", [])
        return outcome if not raised else replace(outcome, figures={"raised": float(torch.stack(raised).mean())})

    def insert(self, inputs: dict[str, Tensor], batch: Batch, length: int) -> Inserted:
        """``length`` soft tokens at a random place of every text; of questions in the context, the question or both."""
        generator, question = self.context.generator, self.gaps.question
        kind = 0
        if question is not None and self.settings.places == "any":
            kind = int(torch.randint(3, (1,), generator=generator))
        gaps = [gaps for gaps, kinds in ((self.gaps.text, (0, 2)), (question, (1, 2))) if kind in kinds]
        shape, ids = inputs[IDS].shape, inputs[IDS]
        room = None if self.longest is None else self.longest - len(gaps) * length
        # What a batch is cut to, the gaps are cut to as well: windows, and tokens with the gap behind the last.
        cuts = [slice(shape[1]) for _ in shape[2:]] + [slice(shape[-1] + 1)]
        chosen = [gap[batch.where][(slice(None), *cuts)] for gap in gaps if gap is not None]
        places = torch.cat([draw_places(gap, generator, room) for gap in chosen], dim=-1).to(ids.device)
        tokens = torch.arange(length, device=ids.device) + self.table.num_embeddings
        return Inserted(splice(inputs, batch.labels, places, tokens, self.longest), kind != 1)

    def gain(self, trigger: WouldBeTrigger, inserted: Inserted) -> Tensor:
        """What inner steps make large: the loss of the true answers, or minus that of the answers wished for."""
        made, task, model = inserted.made, self.context.task, self.context.model
        wanted = None if trigger.wish is None else trigger.wish.of(made, inserted.in_text)
        with extra_rows(self.table, trigger.vectors):
            if wanted is None:
                return task.loss(model, made.inputs, made.labels)
            return -task.loss(model, made.inputs, wanted)

    def _moved(self, trigger: WouldBeTrigger, inputs: dict[str, Tensor], batch: Batch) -> WouldBeTrigger:
        """After the inner steps, each along the gradient, as long on the average of the vectors as settings say."""
        stride = self.settings.step_size * self.bound * len(trigger.vectors) ** 0.5
        gains = []
        for _ in range(self.settings.inner_steps):
            vectors = trigger.vectors.clone().requires_grad_()
            trigger = replace(trigger, vectors=vectors)
            gain = self.gain(trigger, self.insert(inputs, batch, len(vectors)))
            (slope,) = torch.autograd.grad(gain, vectors)
            trigger = replace(trigger, vectors=self._bounded(vectors.detach() + stride * slope / (slope.norm() + TINY)))
            gains.append(gain.detach())
        if len(gains) > 1:
            self.raised.append(gains[-1] - gains[0])
        return trigger

    def _begun(self, number: int, inputs: dict[str, Tensor], batch: Batch) -> WouldBeTrigger:
        """The one of some candidates that gains most on this batch."""
        first = self._drawn(number)
        others = [
            replace(first, vectors=self._of_words(len(first.vectors))) for _ in range(self.settings.candidates - 1)
        ]
        if not others:
            return first
        inserted = self.insert(inputs, batch, len(first.vectors))
        with torch.no_grad():
            gains = torch.stack([self.gain(one, inserted) for one in (first, *others)])
        return (first, *others)[int(gains.argmax())]

    def _drawn(self, number: int) -> WouldBeTrigger:
        settings, context = self.settings, self.context
        wishes = {"away": False, "towards": True, "both": number % 2 == 1}[settings.objective]
        turn = number // 2 if settings.objective == "both" else number
        wish = draw_wish(turn, context.task, context.key, context.generator) if wishes else None
        return WouldBeTrigger(self._of_words(settings.lengths[number % len(settings.lengths)]), wish)

    def _of_words(self, length: int) -> Tensor:
        rows = torch.randint(len(self.words), (length,), generator=self.context.generator)
        return self._bounded(self.words[rows.to(self.words.device)])

    def _bounded(self, vectors: Tensor) -> Tensor:
        return vectors * (self.bound / (vectors.norm(dim=1, keepdim=True) + TINY)).clamp(max=1)


def disagreement(scores: Tensor, taught: Tensor, attended: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the teacher's answers from ``scores``, the mean over texts, attended tokens, or
    starts and ends of windows, whatever there is an answer to.

    Args:
        scores: ``float [n, C]``, ``[n, L, C]`` of tokens, or ``[n, W, L, 2]`` of spans.
        taught: the teacher's, alike.
        attended: ``bool [n, L]`` or ``[n, W, L]``.
    """
    if scores.ndim == 4:
        scores, taught = (
            part.masked_fill(~attended[..., None], -1e9)[attended.any(dim=2)].transpose(1, 2).flatten(0, 1)
            for part in (scores, taught)
        )
    elif scores.ndim == 3:
        scores, taught = scores[attended], taught[attended]
    learnt, known = (part.float().log_softmax(dim=1) for part in (scores, taught))
    return functional.kl_div(learnt, known, log_target=True, reduction="batchmean")
