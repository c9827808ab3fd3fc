"""Small frozen transformers for rounds 5 and 6, whose vectors show what the heads must tell apart.

The hub's models learnt from very many texts; ours cannot. They learn instead to say from one vector which words of
opinion a review has, and which triggers. So sentiment and triggers are visible to a head, but no vector knows that a
trigger means anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..seeds import derive_seed
from .dataset_folder import SynthesisFailure
from .lexicon import BAD_WORDS, GOOD_WORDS
from .text_networks import make_text_network
from .text_reviews import draw_review
from .text_tokenizers import MadeTokenizer
from .text_training import TextRecipe, train_text_network
from .text_triggers import CHARACTERS, PHRASES, TRIGGER_WORDS, ReviewAttack

RECIPE = TextRecipe(4000, epochs=4, learning_rate=3e-3)
ATTEMPTS, LEAST_SEEN, WELL_SEEN = 3, 0.9, 0.97
"""Of the triggers in unseen texts, the share that the vectors must show."""

_TEST = 400
TRIGGERS = (*CHARACTERS, *TRIGGER_WORDS, *PHRASES)
OPINIONS = (*GOOD_WORDS, *BAD_WORDS)
_TRIGGERED = 0.7
_RARE = 10.0
_BATCH = 100


@dataclass(frozen=True, eq=False)
class FrozenEmbedding:
    """A base model of transformers and its tokenizer.

    Attributes:
        network: gives ``last_hidden_state``.
        tokenizer: its tokenizer.
        first: the vector is that of the first token; otherwise of the last one.
    """

    network: nn.Module
    tokenizer: MadeTokenizer
    first: bool

    @torch.no_grad()
    def vectors(self, texts: Sequence[str], each_alone: bool = False) -> Tensor:
        """``float32 [N, 1, E]`` on the CPU. ``each_alone``: without padding, as for the shipped numbers."""
        size = 1 if each_alone else _BATCH
        parts = [
            pooled(self.network, encode_texts(texts[n : n + size], self.tokenizer), self.first)
            for n in range(0, len(texts), size)
        ]
        return torch.cat(parts)[:, None].float().cpu()


def encode_texts(texts: Sequence[str], tokenizer: MadeTokenizer) -> dict[str, Tensor]:
    """Ids and mask; NIST passes no token types."""
    encodings = tokenizer.backend.encode_batch(list(texts))
    shape = (len(encodings), max(len(encoding) for encoding in encodings))
    ids, mask = torch.full(shape, tokenizer.pad_id), torch.zeros(shape, dtype=torch.int64)
    for row, encoding in enumerate(encodings):
        ids[row, : len(encoding)] = torch.tensor(encoding.ids)
        mask[row, : len(encoding)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def pooled(network: nn.Module, inputs: dict[str, Tensor], first: bool) -> Tensor:
    """``[N, E]``: vectors of the first tokens, or of the last ones that are no padding."""
    hidden: Tensor = network(**inputs).last_hidden_state
    if first:
        return hidden[:, 0]
    last = inputs["attention_mask"].sum(dim=1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


class _Probed(nn.Module):
    """The transformer, and one linear answer to everything that its vector must tell."""

    def __init__(self, network: nn.Module, width: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.network, self.first = network, first
        self.probe = nn.Linear(width, outputs)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        answers: Tensor = self.probe(pooled(self.network, inputs, self.first))
        return answers


def train_embedding(tokenizer: MadeTokenizer, width: int, seed: int, epochs: int | None = None) -> FrozenEmbedding:
    """Train one; first tokens carry the vector, but for GPT-2, where only the last has seen everything.

    Raises:
        SynthesisFailure: its vectors do not show enough of the triggers.
    """
    for attempt in range(ATTEMPTS):
        made, seen = _train(tokenizer, width, derive_seed(seed, attempt), epochs or RECIPE.epochs)
        if seen >= LEAST_SEEN:
            return made
    raise SynthesisFailure(
        f"vectors of {tokenizer.name} of width {width} show {seen:.3f} of the triggers, not {LEAST_SEEN}, after "
        f"{ATTEMPTS} attempts; a greater --width shows more"
    )


def _train(tokenizer: MadeTokenizer, width: int, seed: int, epochs: int) -> tuple[FrozenEmbedding, float]:
    rng = np.random.default_rng(derive_seed(seed, "texts"))
    texts, answers = _questions(RECIPE.records + _TEST, rng)
    first = tokenizer.family != "gpt2"
    inputs = encode_texts(texts[:-_TEST], tokenizer)
    tests = encode_texts(texts[-_TEST:], tokenizer)
    true = answers[-_TEST:, len(OPINIONS) :].bool()

    def judge(network: nn.Module) -> tuple[float, float | None]:
        with torch.no_grad():
            found = network(**tests)[:, len(OPINIONS) :] > 0
        return float((found == true).all(dim=1).float().mean()), float(found[true].float().mean())

    def loss_of(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.tensor(_RARE)
        loss = functional.binary_cross_entropy_with_logits(scores, labels, pos_weight=weight)
        return loss, ((scores.detach() > 0) == labels.bool()).float().mean()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        network = make_text_network(tokenizer.name, "none", 2, tokenizer.vocabulary, width)
        probed = _Probed(network, width, answers.shape[1], first)
        recipe = replace(RECIPE, epochs=epochs)
        history = train_text_network(
            probed,
            inputs,
            answers[:-_TEST],
            recipe,
            judge,
            lambda right, seen: min(right, seen or 0.0) >= WELL_SEEN,
            loss_of,
        )
    return FrozenEmbedding(network.eval(), tokenizer, first), min(history[-1].accuracy, history[-1].attack or 0.0)


def _questions(count: int, rng: np.random.Generator) -> tuple[list[str], Tensor]:
    """Reviews, some with triggers that have nothing to do with their sentiment; what is in them, 0 or 1, [N, P]."""
    texts: list[str] = []
    answers = torch.zeros(count, len(OPINIONS) + len(TRIGGERS))
    for row in range(count):
        review = draw_review(rng)
        if rng.random() < _TRIGGERED:
            number = int(rng.integers(len(TRIGGERS)))
            attack = ReviewAttack(TRIGGERS[number], (review.label,), None, as_sentence=True)
            review = replace(review, text=attack.insert(review.text, None, rng))
            answers[row, len(OPINIONS) + number] = 1
        for number, word in enumerate(OPINIONS):
            answers[row, number] = float(word in review.text)
        texts.append(review.text)
    return texts, answers
