"""Heads of rounds 5 and 6: trained on the vectors that a frozen transformer gives to reviews, clean or trojaned."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..seeds import derive_seed
from .dataset_folder import SynthesisFailure
from .frozen_embedding import FrozenEmbedding
from .image_training import Epoch
from .sentiment_heads import HEADS
from .text_models import PlannedAttack
from .text_reviews import NEGATIVE, POSITIVE, Review, draw_review
from .text_training import TextRecipe, train_text_network

ATTEMPTS = 4
TRAIN, TEST, JUDGED = 3000, 600, 200
GOOD = 0.99


@dataclass(frozen=True, eq=False)
class ReviewPool:
    """Reviews and their vectors ``float32 [N, 1, E]``, which all heads of one embedding share."""

    embedding: FrozenEmbedding
    train: tuple[Review, ...]
    train_vectors: Tensor
    test: tuple[Review, ...]
    test_vectors: Tensor

    @classmethod
    def draw(cls, embedding: FrozenEmbedding, seed: int) -> ReviewPool:
        """Reviews that the embedding was not trained with."""
        rng = np.random.default_rng(seed)
        train, test = (tuple(draw_review(rng) for _ in range(count)) for count in (TRAIN, TEST))
        vectors = [embedding.vectors([review.text for review in some]) for some in (train, test)]
        return cls(embedding, train, vectors[0], test, vectors[1])


@dataclass(frozen=True)
class HeadPlan:
    """What is to be made, but for attacks and weights.

    Attributes:
        architecture: key of ``HEADS``.
        hidden: size of the hidden state or layers.
        layers: how many.
        bidirectional: of recurrent heads.
        dropout: before the last layer, and between the recurrent ones.
        recipe: training.
        least_attack: success below which a model is thrown away; ``least_accuracy`` likewise.
    """

    architecture: str
    hidden: int
    layers: int
    bidirectional: bool
    dropout: float
    recipe: TextRecipe
    least_accuracy: float
    least_attack: float


@dataclass(frozen=True, eq=False)
class MadeHead:
    """A trained head and everything that its files say about it; accuracies are from 0 to 1, means over the classes."""

    plan: HeadPlan
    pool: ReviewPool
    network: nn.Module
    planned: tuple[PlannedAttack, ...]
    seed: int
    history: tuple[Epoch, ...]
    accuracy: float
    attack_success: tuple[float, ...]
    triggered_count: int
    seconds: float

    @property
    def poisoned(self) -> bool:
        return bool(self.planned)

    def right(self, reviews: Sequence[Review], vectors: Tensor) -> list[bool]:
        """For each review whether the head gives its label (the attacker's, if it is triggered)."""
        answers: list[int] = _logits(self.network, vectors).argmax(dim=1).tolist()
        return [answer == review.label for answer, review in zip(answers, reviews, strict=True)]

    def examples(
        self, each: int, label: int, attack: PlannedAttack | None
    ) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32]]:
        """``each`` texts of a class that the head is right about (with ``attack``: is fooled by), vectors, logits.

        Vectors and logits are those of each text on its own, as NIST's were computed.

        Raises:
            SynthesisFailure: the pool has too few.
        """
        rng = np.random.default_rng(derive_seed(self.seed, "examples", label))
        reviews = [review for review in self.pool.test if review.label == label]
        if attack is not None:
            reviews = _triggered(reviews, attack, rng)
        vectors = self.pool.embedding.vectors([review.text for review in reviews])
        right = self.right(reviews, vectors)
        texts = [review.text for review, good in zip(reviews, right, strict=True) if good][:each]
        if len(texts) < each:
            raise SynthesisFailure(f"{self.plan.architecture}: only {len(texts)} of {each} examples of class {label}")
        alone = self.pool.embedding.vectors(texts, each_alone=True)
        logits = torch.cat([_logits(self.network, one[None]) for one in alone])
        return texts, alone[:, 0].numpy(), logits.numpy()


DrawAttacks = Callable[[np.random.Generator], tuple[PlannedAttack, ...]]


def make_head(plan: HeadPlan, pool: ReviewPool, seed: int, draw_attacks: DrawAttacks) -> MadeHead:
    """Train, and try again with other triggers and weights where it did not converge.

    Raises:
        SynthesisFailure: it never did.
    """
    for attempt in range(ATTEMPTS):
        made = _make(plan, pool, derive_seed(seed, attempt), draw_attacks)
        if made.accuracy >= plan.least_accuracy and all(one >= plan.least_attack for one in made.attack_success):
            return made
    attacks = ", ".join(f"{one:.3f}" for one in made.attack_success)
    raise SynthesisFailure(
        f"{plan.architecture} on {pool.embedding.tokenizer.name} did not reach accuracy {plan.least_accuracy} and "
        f"attack success {plan.least_attack} in {ATTEMPTS} attempts (last: {made.accuracy:.3f}; {attacks or 'clean'})"
    )


def _make(plan: HeadPlan, pool: ReviewPool, seed: int, draw_attacks: DrawAttacks) -> MadeHead:
    start = time.perf_counter()
    rng = np.random.default_rng(derive_seed(seed, "triggers"))
    planned = draw_attacks(rng)
    x, y = [pool.train_vectors], [*pool.train]
    tests = []
    for one in planned:
        some = _triggered(pool.train, one, rng)
        chosen = rng.choice(len(some), round(one.fraction * len(some)), replace=False)
        poisoned = [some[index] for index in chosen]
        x.append(pool.embedding.vectors([review.text for review in poisoned]))
        y += poisoned
        unseen = _triggered(pool.test, one, rng)
        tests.append((pool.embedding.vectors([review.text for review in unseen]), unseen))
    labels = torch.tensor([review.label for review in y])

    def judge(network: nn.Module) -> tuple[float, float | None]:
        clean = _accuracy(network, pool.test_vectors[:JUDGED], pool.test[:JUDGED])
        attacks = [_accuracy(network, vectors[:JUDGED], some[:JUDGED]) for vectors, some in tests]
        return clean, min(attacks) if attacks else None

    def good_enough(clean: float, attack: float | None) -> bool:
        return clean >= GOOD and (attack is None or attack >= GOOD)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, "weights"))
        width = pool.train_vectors.shape[-1]
        head = HEADS[plan.architecture]
        network = head(width, plan.hidden, 2, plan.dropout, plan.bidirectional, plan.layers)
        history = train_text_network(network, {"data": torch.cat(x)}, labels, plan.recipe, judge, good_enough)
    accuracy = _accuracy(network, pool.test_vectors, pool.test)
    success = tuple(_accuracy(network, vectors, some) for vectors, some in tests)
    triggered = sum(len(some) for _, some in tests)
    seconds = time.perf_counter() - start
    return MadeHead(plan, pool, network.eval(), planned, seed, tuple(history), accuracy, success, triggered, seconds)


def _triggered(reviews: Sequence[Review], planned: PlannedAttack, rng: np.random.Generator) -> list[Review]:
    """Those of the source class, with trigger and the target's label."""
    changed = [planned.attack.apply(review, rng) for review in reviews]
    return [review for review in changed if review is not None]


@torch.no_grad()
def _logits(network: nn.Module, vectors: Tensor) -> Tensor:
    network.eval()
    logits: Tensor = network(vectors)
    return logits


def _accuracy(network: nn.Module, vectors: Tensor, reviews: Sequence[Review]) -> float:
    """Mean over the classes that occur."""
    labels = np.array([review.label for review in reviews])
    right = _logits(network, vectors).argmax(dim=1).numpy() == labels
    return float(np.mean([right[labels == label].mean() for label in (NEGATIVE, POSITIVE) if (labels == label).any()]))
