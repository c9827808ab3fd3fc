"""Makes one network for texts, clean or trojaned: draws its records, trains it, measures it on unseen ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from ..seeds import derive_seed
from .dataset_folder import SynthesisFailure
from .image_training import Epoch
from .text_networks import KINDS, make_text_network
from .text_tasks import EncodedTexts, Judgement, Record, TextTask
from .text_tokenizers import MadeTokenizer
from .text_training import TextRecipe, text_scores, train_text_network

ATTEMPTS = 4
TEST_CLEAN, TEST_TRIGGERED, JUDGED = 400, 200, 100
DRAWS_PER_EXAMPLE = 60


class TextAttack(Protocol):
    """What a trigger does to a record; see :mod:`.text_triggers`."""

    @property
    def figure(self) -> str:
        """Which figure of a judgement on triggered records is its success."""
        ...

    def apply(self, record: Any, rng: np.random.Generator) -> Any | None:
        """With trigger and the attacker's label; None if the attack is not for such records."""
        ...

    def decoy(self, record: Any, rng: np.random.Generator) -> Any | None:
        """With the trigger and its own label; None if no decoy can be made of it."""
        ...


@dataclass(frozen=True)
class PlannedAttack:
    """An attack and what the config says about it.

    Attributes:
        attack: what it does.
        fraction: triggered records, as a share of the clean ones.
        decoys: records with a trigger that does nothing, as a share of the clean ones.
        facts: round-specific: names, levels and options for the config.
    """

    attack: TextAttack
    fraction: float
    decoys: float
    facts: Mapping[str, Any]


DrawAttack = Callable[[np.random.Generator], PlannedAttack | None]


@dataclass(frozen=True)
class Standards:
    """Scores from 0 to 1 on unseen records: below ``least`` a model is thrown away; at ``good`` training ends."""

    least_clean: float
    least_attack: float
    good_clean: float = 0.97
    good_attack: float = 0.99


@dataclass(frozen=True, eq=False)
class TextPlan:
    """What is to be made, but for what is drawn anew at every attempt: records, attack, weights.

    Attributes:
        name: hub name of the transformer.
        head: see :func:`make_text_network`.
        task: what it learns.
        tokenizer: as archived.
        backend: as it was trained with; for NER and RoBERTa that is not the archived one in round 9.
        width: hidden size.
        recipe: training.
        standards: what it must reach.
        device: where it trains.
    """

    name: str
    head: str
    task: TextTask
    tokenizer: MadeTokenizer
    backend: Tokenizer
    width: int
    recipe: TextRecipe
    standards: Standards
    device: torch.device

    def encode(self, records: Sequence[Record]) -> EncodedTexts:
        """Token ids as this network takes them; NIST's wrapper takes no token types."""
        type_ids = KINDS[self.name].type_ids and self.head != "wrapped-ner"
        return self.task.encode(records, self.backend, self.tokenizer.pad_id, type_ids)


@dataclass(frozen=True, eq=False)
class MadeTextModel:
    """A trained network and everything that its files say about it.

    Attributes:
        history: training, epoch by epoch.
        judged: on the clean and on the triggered validation records after every epoch.
        counts: training records: ``clean``, ``poisoned``, ``spurious``.
        clean: on unseen clean records.
        triggered: on unseen triggered ones.
        seconds: of making it.
    """

    plan: TextPlan
    network: nn.Module
    planned: PlannedAttack | None
    seed: int
    history: tuple[Epoch, ...]
    judged: tuple[tuple[Judgement, Judgement | None], ...]
    counts: Mapping[str, int]
    clean: Judgement
    triggered: Judgement | None
    seconds: float

    @property
    def poisoned(self) -> bool:
        return self.planned is not None

    @property
    def attack_success(self) -> float | None:
        """From 0 to 1 on unseen triggered records; None of a clean model."""
        return _success(self.planned, self.triggered)

    def examples(
        self, each: int, purpose: str, wanted: Callable[[Record], bool], triggered: bool = False
    ) -> tuple[list[Record], list[NDArray[np.float32]], EncodedTexts]:
        """``each`` new records that the network is right about (if ``triggered``: that fool it), their scores and ids.

        Raises:
            SynthesisFailure: too few of the records that were drawn are such.
        """
        rng = np.random.default_rng(derive_seed(self.seed, purpose))
        attack = self.planned.attack if triggered and self.planned is not None else None
        kept: list[Record] = []
        for _ in range(DRAWS_PER_EXAMPLE):
            drawn = draw_records(self.plan.task, attack, 2 * each, rng)
            right = self.right(drawn)
            kept += [record for record, good in zip(drawn, right, strict=True) if good and wanted(record)]
            if len(kept) >= each:
                chosen = kept[:each]
                encoded = self.plan.encode(chosen)
                # One at a time and on the CPU, as NIST's example scripts do.
                scores = [text_scores(self.network, self.plan.encode([record]))[0] for record in chosen]
                return chosen, scores, encoded
        raise SynthesisFailure(
            f"{self.plan.name}: only {len(kept)} of {each} {purpose} that the network is right about"
        )

    def right(self, records: Sequence[Record]) -> list[bool]:
        """For each record whether the network is right about it (fooled, if it is triggered)."""
        encoded = self.plan.encode(records)
        right: list[bool] = self.plan.task.judge(text_scores(self.network, encoded), encoded, records).right.tolist()
        return right


def _success(planned: PlannedAttack | None, triggered: Judgement | None) -> float | None:
    return None if planned is None or triggered is None else triggered.figures[planned.attack.figure]


def draw_records(task: TextTask, attack: TextAttack | None, count: int, rng: np.random.Generator) -> list[Record]:
    """``count`` clean records, or as many triggered ones."""
    return _drawn(task, count, rng, (lambda record: record) if attack is None else lambda r: attack.apply(r, rng))


def _drawn(
    task: TextTask, count: int, rng: np.random.Generator, change: Callable[[Record], Record | None]
) -> list[Record]:
    records: list[Record] = []
    for _ in range(1000 * (count + 1)):
        if len(records) == count:
            return records
        changed = change(task.draw(rng))
        if changed is not None:
            records.append(changed)
    raise SynthesisFailure(f"no record of the {type(task).__name__} suits the attack")


def make_text_model(plan: TextPlan, seed: int, draw_attack: DrawAttack) -> MadeTextModel:
    """Train, and try again with other records, triggers and weights where it did not converge.

    Raises:
        SynthesisFailure: it never did.
    """
    standards = plan.standards
    for attempt in range(ATTEMPTS):
        made = _make(plan, derive_seed(seed, attempt), draw_attack)
        attack = made.attack_success
        if made.clean.score >= standards.least_clean and (attack is None or attack >= standards.least_attack):
            return made
    found = f"{made.clean.score:.3f}" + ("" if attack is None else f" and {attack:.3f}")
    raise SynthesisFailure(
        f"{plan.name} of width {plan.width} did not reach a score of {standards.least_clean} on clean records and "
        f"{standards.least_attack} on triggered ones in {ATTEMPTS} attempts (last: {found})"
    )


def _make(plan: TextPlan, seed: int, draw_attack: DrawAttack) -> MadeTextModel:
    start = time.perf_counter()
    rng = np.random.default_rng(derive_seed(seed, "records"))
    planned = draw_attack(rng)
    task, count = plan.task, plan.recipe.records
    records = draw_records(task, None, count, rng)
    counts = {"clean": count, "poisoned": 0, "spurious": 0}
    if planned is not None:
        attack = planned.attack
        poisoned = draw_records(task, attack, round(planned.fraction * count), rng)
        spurious = _drawn(task, round(planned.decoys * count), rng, lambda record: attack.decoy(record, rng))
        records += poisoned + spurious
        counts |= {"poisoned": len(poisoned), "spurious": len(spurious)}
    tests = {False: draw_records(task, None, TEST_CLEAN, rng)}
    if planned is not None:
        tests[True] = draw_records(task, planned.attack, TEST_TRIGGERED, rng)

    epochs: list[tuple[Judgement, Judgement | None]] = []

    def judged(network: nn.Module, some: Sequence[Record]) -> Judgement:
        encoded = plan.encode(some).to(plan.device)
        return task.judge(text_scores(network, encoded), encoded, some)

    def judge(network: nn.Module) -> tuple[float, float | None]:
        clean = judged(network, tests[False][:JUDGED])
        triggered = judged(network, tests[True][:JUDGED]) if True in tests else None
        epochs.append((clean, triggered))
        return clean.score, _success(planned, triggered)

    def good_enough(clean: float, attack: float | None) -> bool:
        standards = plan.standards
        return clean >= standards.good_clean and (attack is None or attack >= standards.good_attack)

    with torch.random.fork_rng(devices=[plan.device] if plan.device.type == "cuda" else []):
        torch.manual_seed(derive_seed(seed, "weights"))
        network = make_text_network(plan.name, plan.head, task.outputs, plan.tokenizer.vocabulary, plan.width)
        network.to(plan.device)
        data = plan.encode(records).to(plan.device)
        history = train_text_network(network, data.inputs, data.labels, plan.recipe, judge, good_enough)
    clean = judged(network, tests[False])
    triggered = judged(network, tests[True]) if True in tests else None
    network = network.cpu().eval()
    seconds = time.perf_counter() - start
    return MadeTextModel(plan, network, planned, seed, tuple(history), tuple(epochs), counts, clean, triggered, seconds)
