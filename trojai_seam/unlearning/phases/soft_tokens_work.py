"""Training against soft tokens: the inner steps that move them, the outer one that unlearns them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import EngineFailure
from ...tasks.examples import MASK, NOT_COUNTED, REAL_WINDOWS
from ..crossed_texts import crossed, teacher_labels
from ..embedding_noise import word_embeddings
from ..outcome import PhaseOutcome
from ..soft_tokens import IDS, Spliced, draw_places, extra_rows, gaps_of, longest_input, splice
from ..training import Batch, Training
from ..trigger_wishes import Wish, draw_wish
from .soft_tokens import SoftTokenSettings

TINY = 1e-12


@dataclass(frozen=True, eq=False)
class WouldBeTrigger:
    """``vectors [K, D]`` in place of K words; ``wish``: what it is moved towards, ``None``: away from the truth."""

    vectors: Tensor
    wish: Wish | None


class Texts(NamedTuple):
    """The texts of a batch as one step sees them: what the network is called with, labels, and where they may be cut,
    ``bool [n, L + 1]`` or ``[n, W, L + 1]`` on the CPU; ``question`` is ``None`` where there is none."""

    inputs: dict[str, Tensor]
    labels: Tensor
    text: Tensor
    question: Tensor | None


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
        self.gaps, self.shelf = gaps_of(context.fit), {name: t.cpu() for name, t in context.fit.inputs.items()}
        if not bool(self.gaps.text.any()):
            raise EngineFailure("no text has a place for a soft token")
        self.words = table.weight.detach().clone()
        self.bound = settings.norm * float(self.words.norm(dim=1).max())
        self.bank = [self._drawn(number) for number in range(settings.bank)]
        self.raised: list[Tensor] = []

    def before_step(self, inputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Cross some of the texts, ask the teacher, and move one of the bank."""
        settings, context = self.settings, self.context
        self.texts, self.taught = self._crossed(self._cut(inputs, batch), batch)
        if settings.soft_weight == 0:
            return self.texts.inputs
        number = int(torch.randint(len(self.bank), (1,), generator=context.generator))
        context.model.eval()
        if settings.restart and float(torch.rand(1, generator=context.generator)) < settings.restart:
            self.bank[number] = self._begun(number)
        self.bank[number] = self._moved(self.bank[number])
        self.vectors = self.bank[number].vectors
        self.mode()
        return self.texts.inputs

    def loss(self, inputs: dict[str, Tensor], batch: Batch) -> Tensor:
        settings, task, model = self.settings, self.context.task, self.context.model
        total = torch.zeros((), device=batch.labels.device)
        if settings.soft_weight:
            made = self.insert(self.texts, len(self.vectors)).made
            with extra_rows(self.table, self.vectors):
                total = total + settings.soft_weight * task.loss(model, made.inputs, made.labels)
        if settings.clean_weight:
            total = total + settings.clean_weight * task.loss(model, inputs, self.texts.labels)
        if settings.teacher_weight and self.taught is not None:
            agreed = disagreement(task.outputs(model, inputs), self.taught, inputs[MASK] != 0)
            total = total + settings.teacher_weight * agreed
        return total

    def run(self) -> PhaseOutcome:
        """As every training; ``raised`` is by how much inner steps raised what they should, on the average."""
        outcome = super().run()
        raised = getattr(self, "raised", [])
        return outcome if not raised else replace(outcome, figures={"raised": float(torch.stack(raised).mean())})

    def insert(self, texts: Texts, length: int) -> Inserted:
        """``length`` soft tokens at a random place of every text; of questions in the context, the question or both."""
        generator, kind = self.context.generator, 0
        if texts.question is not None and self.settings.places == "any":
            kind = int(torch.randint(3, (1,), generator=generator))
        gaps = [gaps for gaps, kinds in ((texts.text, (0, 2)), (texts.question, (1, 2))) if kind in kinds]
        device = texts.labels.device
        room = None if self.longest is None else self.longest - len(gaps) * length
        places = torch.cat([draw_places(gap, generator, room) for gap in gaps if gap is not None], dim=-1).to(device)
        tokens = torch.arange(length, device=device) + self.table.num_embeddings
        return Inserted(splice(texts.inputs, texts.labels, places, tokens, self.longest), kind != 1)

    def _cut(self, inputs: dict[str, Tensor], batch: Batch) -> Texts:
        """The texts of a batch as they are; gaps are cut as it is cut."""
        shape, where = inputs[IDS].shape, batch.where
        cuts = (slice(None), *(slice(shape[1]) for _ in shape[2:]), slice(shape[-1] + 1))
        question = None if self.gaps.question is None else self.gaps.question[where][cuts]
        labels = batch.labels[:, : shape[1]] if batch.labels.ndim > 1 else batch.labels
        return Texts(inputs, labels, without_answers(self.gaps.text[where][cuts], labels), question)

    def _crossed(self, texts: Texts, batch: Batch) -> tuple[Texts, Tensor | None]:
        """The texts, some of them crossed with others and labelled by the teacher, and the teacher's scores."""
        settings, context = self.settings, self.context
        chosen = torch.zeros(len(batch.where), dtype=torch.bool)
        if settings.crossed:
            chosen = torch.rand(len(chosen), generator=context.generator) < settings.crossed
        some = bool(chosen.any())
        if not some and not settings.teacher_weight:
            return texts, None
        made = self._put_together(texts, batch, chosen) if some else texts
        with torch.no_grad():
            taught = context.task.outputs(context.shipped, made.inputs)
        if not some:
            return texts, taught
        said = teacher_labels(taught, made.labels != NOT_COUNTED, made.inputs[MASK] != 0)
        use = chosen.to(said.device).view(-1, *[1] * (said.ndim - 1))
        labels = torch.where(use, said, made.labels)
        return made._replace(labels=labels, text=without_answers(made.text, labels)), taught

    def _put_together(self, texts: Texts, batch: Batch, chosen: Tensor) -> Texts:
        """The ``chosen`` ones crossed with others, still with their own labels."""
        shape, device = texts.inputs[IDS].shape, texts.labels.device
        cuts, form = (slice(None), *(slice(size) for size in shape[1:])), (*shape[:-1], -1)
        rows = {name: tensor[batch.where][cuts].flatten(0, -2) for name, tensor in self.shelf.items()}
        sizes = (rows[MASK] * torch.arange(1, shape[-1] + 1)).amax(dim=1)
        gaps = texts.text.flatten(0, -2)
        mine = chosen.repeat_interleave(shape[1]) if len(shape) == 3 else chosen
        pieces = crossed(sizes, gaps, mine, self.longest, self.context.generator)
        padding = self.table.padding_idx or 0
        inputs = {n: pieces.of(t, padding if n == IDS else 0).view(form).to(device) for n, t in rows.items()}
        if REAL_WINDOWS in texts.inputs:
            inputs[REAL_WINDOWS] = texts.inputs[REAL_WINDOWS]
        text, question, labels = functional.pad(pieces.of(gaps, False), (0, 1)), texts.question, texts.labels
        # The gap behind the last token, where no special one follows.
        text |= gaps.gather(1, sizes[:, None]) & (torch.arange(text.shape[1]) == pieces.sizes[:, None])
        if question is not None:
            question = functional.pad(pieces.of(question.flatten(0, -2), False), (0, 1)).view(form)
        if labels.ndim == 2:
            labels = pieces.of(labels.cpu(), NOT_COUNTED).to(device)
        return Texts(inputs, labels, text.view(form), question)

    def gain(self, trigger: WouldBeTrigger, inserted: Inserted) -> Tensor:
        """What inner steps make large: the loss of the true answers, or minus that of the answers wished for."""
        made, task, model = inserted.made, self.context.task, self.context.model
        wanted = None if trigger.wish is None else trigger.wish.of(made, inserted.in_text)
        with extra_rows(self.table, trigger.vectors):
            if wanted is None:
                return task.loss(model, made.inputs, made.labels)
            return -task.loss(model, made.inputs, wanted)

    def _moved(self, trigger: WouldBeTrigger) -> WouldBeTrigger:
        """After the inner steps, each along the gradient, as long on the average of the vectors as settings say."""
        stride = self.settings.step_size * self.bound * len(trigger.vectors) ** 0.5
        gains = []
        for _ in range(self.settings.inner_steps):
            vectors = trigger.vectors.clone().requires_grad_()
            trigger = replace(trigger, vectors=vectors)
            gain = self.gain(trigger, self.insert(self.texts, len(vectors)))
            (slope,) = torch.autograd.grad(gain, vectors)
            trigger = replace(trigger, vectors=self._bounded(vectors.detach() + stride * slope / (slope.norm() + TINY)))
            gains.append(gain.detach())
        if len(gains) > 1:
            self.raised.append(gains[-1] - gains[0])
        return trigger

    def _begun(self, number: int) -> WouldBeTrigger:
        """The one of some candidates that gains most on this batch."""
        first = self._drawn(number)
        others = [
            replace(first, vectors=self._of_words(len(first.vectors))) for _ in range(self.settings.candidates - 1)
        ]
        if not others:
            return first
        inserted = self.insert(self.texts, len(first.vectors))
        with torch.no_grad():
            gains = torch.stack([self.gain(one, inserted) for one in (first, *others)])
        return (first, *others)[int(gains.argmax())]

    def _drawn(self, number: int) -> WouldBeTrigger:
        settings, context = self.settings, self.context
        wishes = {"away": False, "towards": True, "both": number % 2 == 1}[settings.objective]
        turn = number // 2 if settings.objective == "both" else number
        wish = draw_wish(turn, context.task, context.ground_truth, context.generator) if wishes else None
        # Not in step with the wishes, of which spans have two: each of them comes in all lengths.
        return WouldBeTrigger(self._of_words(settings.lengths[number // 2 % len(settings.lengths)]), wish)

    def _of_words(self, length: int) -> Tensor:
        rows = torch.randint(len(self.words), (length,), generator=self.context.generator)
        return self._bounded(self.words[rows.to(self.words.device)])

    def _bounded(self, vectors: Tensor) -> Tensor:
        share: Tensor = (self.bound / (vectors.norm(dim=1, keepdim=True) + TINY)).clamp(max=1)
        return vectors * share


def without_answers(gaps: Tensor, labels: Tensor) -> Tensor:
    """``gaps bool [n, W, L + 1]`` (on the CPU) that are not inside of an answer; of other tasks all of them."""
    if labels.ndim != 3:
        return gaps
    first, last = labels.cpu()[..., :1], labels.cpu()[..., 1:]
    places = torch.arange(gaps.shape[-1])
    return gaps & ~((first > 0) & (places > first) & (places <= last))


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
