"""One opened model: its answers before, the runs of unlearning that its splits ask for, its answers after, its row."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..heartbeat import beat
from ..scoring import (
    AttackPredictions,
    FitLimit,
    FoldPredictions,
    Predictions,
    plan_splits,
    predict,
    predict_attacks,
)
from ..scoring.attack_trace import StoredStates, Trace, told, traced
from ..scoring.doubts import USUAL, accuracy_doubt, doubts, kept_accuracy_doubt
from ..scoring.harness import Answered, Labelled, harness_columns
from ..scoring.intervals import Rate
from ..scoring.model_doubts import model_doubts
from ..scoring.oracle import OracleWatcher
from ..scoring.retuning import Retuned, drawn_poisoned, retuned
from ..scoring.score import score
from ..scoring.splits import Split, SplitPlan
from ..seeds import derive_seed
from ..tasks import ExampleSet, Subject
from ..tasks.calling import BATCH
from ..unlearning import UnlearnConfig, run
from ..unlearning.engine import Between
from ..unlearning.outcome import Outcome
from .device_faults import free_cached_memory, of_cuda, out_of_memory
from .paths import states_prefix
from .phase_columns import last_of_forgetting, phase_columns
from .plan import Plan


@dataclass(frozen=True, eq=False)
class Fold:
    """One time that the model is unlearned, on its own part of the clean examples."""

    split: Split
    fit: ExampleSet
    seed: int


def unlearning_of(plan: Plan, subject: Subject, splits: SplitPlan) -> UnlearnConfig:
    """What the plan has for this model: with several folds, for the one that is fitted on fewest examples."""
    return plan.unlearning_for(min(len(split.fit) for split in splits.splits), subject.case)


def splits_of(plan: Plan, subject: Subject) -> SplitPlan:
    """Which of its clean examples are fitted on, and which are held out."""
    strata = subject.task.strata(subject.clean.ground_truth())
    return plan_splits(
        strata,
        plan.protocol,
        plan.seed,
        subject.model_id,
        keep=subject.decided_on,
        only_measured=subject.only_measured,
        limit=FitLimit(plan.fit_per_class, plan.fit_total),
    )


class Evaluation:
    """Begins with the answers of the model as shipped; wants an outcome for each of ``folds``.

    Args:
        plan: the settings.
        subject: the model, its task and examples.
        splits: of its examples, :func:`splits_of`.
        unlearning: of the plan for this model, :func:`unlearning_of`, or with smaller batches.
    """

    def __init__(self, plan: Plan, subject: Subject, splits: SplitPlan, unlearning: UnlearnConfig) -> None:
        began = time.perf_counter()
        self.plan, self.subject, self.unlearning = plan, subject, unlearning
        self._splits = splits
        self.folds = tuple(
            Fold(
                split,
                subject.clean.subset(split.fit).prepared(),
                derive_seed(plan.seed, subject.model_id, "unlearn", number),
            )
            for number, split in enumerate(splits.splits)
        )
        self._clean_before, self._poisoned_before = self._ask(subject.model)
        self._variants_before = self._ask_variants(subject.model)
        self._after: dict[int, FoldPredictions] = {}
        self._forgotten: dict[int, tuple[Predictions, AttackPredictions | None]] = {}
        self._outcomes: dict[int, Outcome] = {}
        self._oracle: dict[str, Any] = {}
        self._no_retuning: str | None = None
        self._no_trace: str | None = None
        self._states: dict[int, tuple[StoredStates, tempfile.TemporaryDirectory[str]]] = {}
        self._traces: dict[int, Trace] = {}
        self._scoring = time.perf_counter() - began

    @property
    def watched(self) -> bool:
        """Whether oracle figures are taken after every epoch."""
        return self.plan.protocol == "paper"

    @property
    def complete(self) -> bool:
        """Every run has its outcome."""
        return len(self._outcomes) == len(self.folds)

    def unlearn(self, number: int) -> None:
        """Fold ``number``, by the phases of the plan, here and now.

        Raises:
            TrojaiSeamError: whatever a phase says of the model.
        """
        one, subject, unlearning = self.folds[number], self.subject, self.unlearning
        oracle, states = None, self.stored_states(number)
        if self.watched and unlearning.phases:
            oracle = OracleWatcher(subject.task, one.fit, subject.poisoned, unlearning.phases[-1].name)

        def watch(phase: str, epoch: int, model: nn.Module) -> None:
            for observer in (oracle, states):
                if observer is not None:
                    observer(phase, epoch, model)

        observer = None if oracle is None and states is None else watch
        self.take(
            number, run(subject.model, subject.task, one.fit, unlearning, one.seed, observer, self._between(number))
        )
        if oracle is not None:
            self._oracle.update(oracle.columns(self._clean_before.accuracy.share))

    def stored_states(self, number: int) -> StoredStates | None:
        """Where run ``number`` stores the states that its attack trace is made of, if one is asked for."""
        if not self.plan.trace_attack or self.subject.poisoned is None:
            return None
        try:
            folder = tempfile.TemporaryDirectory(prefix=states_prefix(os.getpid()), ignore_cleanup_errors=True)
        except OSError as problem:
            self._no_trace = f"no attack trace: {told(problem)}"
            return None
        self._states[number] = StoredStates(Path(folder.name)), folder
        return self._states[number][0]

    def _between(self, number: int) -> Between:
        """Ask the network once forgetting is over, for figures that nothing depends on."""
        last = last_of_forgetting([phase.name for phase in self.unlearning.phases])

        def ask(phase: str, model: nn.Module) -> None:
            if phase == last:
                self._forgotten[number] = self._ask(model)

        return ask

    def take(self, number: int, outcome: Outcome) -> None:
        """Ask the network that run ``number`` ended with."""
        began = time.perf_counter()
        clean, poisoned = self._ask(outcome.model)
        split, forgotten = self.folds[number].split, self._forgotten.pop(number, None)
        unseen = _unseen(self.subject.poisoned, split)
        variants = self._ask_variants(outcome.model)
        self._after[number] = FoldPredictions(
            split, clean, poisoned, unseen, forgotten, self._retuned(number, outcome.model, unseen), variants
        )
        self._outcomes[number] = outcome
        self._trace(number, unseen)
        self._scoring += time.perf_counter() - began

    def result(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Columns of the row (``notes``: those on the figures), and arrays of the record."""
        began, subject = time.perf_counter(), self.subject
        folds = [self._after[number] for number in range(len(self.folds))]
        outcomes = [self._outcomes[number] for number in range(len(self.folds))]
        seed = derive_seed(self.plan.seed, subject.model_id, "bootstrap")
        is_clean = subject.trojaned is False
        before = self._clean_before, self._poisoned_before
        scored = score(self._splits, *before, folds, seed, is_clean, self._variants_before)
        accuracy = accuracy_doubt_of(subject, self._clean_before)
        further = model_doubts(subject, self._clean_before, self._poisoned_before)
        remarks = (accuracy, kept_accuracy_doubt(scored), self._not_measured())
        arrays = {**self._arrays_before(), **_arrays_after(folds, outcomes)}
        for number, trace in self._traces.items():
            arrays.update({f"folds/{number}/oracle_trace/{name}": values for name, values in trace.items()})
        columns = {
            "doubts": "; ".join(doubt for doubt in (doubts(scored, accuracy), further) if doubt) or None,
            "notes": "; ".join(remark for remark in remarks if remark) or None,
            "batch_size": self.unlearning.batch_size,
            **self._oracle,
            **scored,
            **phase_columns(outcomes),
        }
        columns.update(self._as_the_harness(folds, is_clean))
        if self._traces:
            columns["oracle_traced"] = True
        return {**columns, "seconds_score": self._scoring + time.perf_counter() - began}, arrays

    def _as_the_harness(self, folds: list[FoldPredictions], is_clean: bool) -> Mapping[str, float | None]:
        """Of classifiers; the harness knows no other answers."""
        clean, poisoned = self.subject.clean, self.subject.poisoned
        if self.subject.task.name != "classification":
            return {}
        shape, nothing = (0, self.subject.task.num_classes), np.zeros(0, np.int64)
        none = np.zeros(shape, np.float32)
        key = Labelled(
            clean.labels.cpu().numpy(),
            nothing if poisoned is None else poisoned.labels.cpu().numpy(),
            nothing if poisoned is None or poisoned.targets is None else poisoned.targets.cpu().numpy(),
        )
        if len(key.true) != len(key.targets):
            return {}

        def answered(clean: Predictions, triggered: AttackPredictions | None, held_out: Sequence[int]) -> Answered:
            outputs = none if triggered is None else triggered.outputs
            return Answered(clean.outputs, outputs, np.array(held_out, np.int64))

        before = answered(self._clean_before, self._poisoned_before, ())
        after = [answered(fold.clean, fold.poisoned, fold.split.held_out) for fold in folds]
        return harness_columns(key, before, after, is_clean)

    def _ask(self, model: nn.Module) -> tuple[Predictions, AttackPredictions | None]:
        subject, asked = self.subject, min(BATCH, 32 * self.unlearning.batch_size)
        beat(f"measuring on {len(subject.clean)} clean and {len(subject.poisoned or ())} poisoned examples")
        clean = predict(model, subject.task, subject.clean, asked)
        if subject.poisoned is None:
            return clean, None
        return clean, predict_attacks(model, subject.task, subject.poisoned, asked)

    def _ask_variants(self, model: nn.Module) -> Mapping[str, AttackPredictions]:
        """About poisoned examples with triggers that are not quite theirs, if that is asked for."""
        subject, asked = self.subject, min(BATCH, 32 * self.unlearning.batch_size)
        if not self.plan.trigger_variants or subject.poisoned is None:
            return {}
        return {
            name: predict_attacks(model, subject.task, replace(subject.poisoned, prepare=prepare), asked)
            for name, prepare in subject.variants.items()
        }

    def _retuned(self, number: int, model: nn.Module, unseen: tuple[int, ...] | None) -> Retuned | None:
        """Ask a copy of the network that was re-tuned with poisoned examples, if that is asked for and can be done."""
        subject, poisoned, before = self.subject, self.subject.poisoned, self._poisoned_before
        if not self.plan.retune or poisoned is None or before is None:
            return None
        seed = derive_seed(self.plan.seed, subject.model_id, "retune", number)
        used = drawn_poisoned(poisoned, before, unseen, seed)
        if not used:
            return None
        beat("re-tuning a copy with poisoned examples")
        fit, most = self.folds[number].fit, self.unlearning.batch_size
        try:
            network = retuned(model, subject.task, fit, poisoned, used, seed, most)
        except Exception as problem:  # what is only measured beside must not cost the row
            if out_of_memory(problem) or of_cuda(problem):
                raise
            self._no_retuning = f"no re-tuning: {type(problem).__name__}: {problem}"
            return None
        clean, attacks = self._ask(network)
        return None if attacks is None else Retuned(clean, attacks, used)

    def _trace(self, number: int, unseen: tuple[int, ...] | None) -> None:
        """Ask the stored states of a run, now that it is over and measured."""
        states, folder = self._states.pop(number, (None, None))
        subject, poisoned = self.subject, self.subject.poisoned
        if states is None or folder is None or poisoned is None:
            return
        split = self.folds[number].split
        beat(f"asking {len(states.states)} stored states")
        clean = subject.clean.subset(split.held_out or split.fit)
        attacked = poisoned if unseen is None else poisoned.subset(unseen)
        asked, problem, short = min(BATCH, 32 * self.unlearning.batch_size), states.problem, False
        with folder:
            try:
                if problem is None:
                    self._traces[number] = traced(states, subject.model, subject.task, clean, attacked, asked)
            except Exception as failure:  # the figures of the row are made, and must not be lost or made anew
                if of_cuda(failure):
                    raise
                problem, short = told(failure), out_of_memory(failure)
        if short:
            free_cached_memory()
        if problem is not None:
            self._no_trace = f"no attack trace: {problem}"

    def _not_measured(self) -> str | None:
        """What was asked for beside the usual figures, and cannot be had of this model."""
        poisoned, lacking = self.subject.poisoned, []
        if poisoned is not None and self.plan.retune and any(fold.retuned is None for fold in self._after.values()):
            few = "no re-tuning: too few poisoned examples, or none that a network can be trained on"
            lacking.append(self._no_retuning or few)
        if poisoned is not None and self.plan.trigger_variants and not self.subject.variants:
            lacking.append("no variants of the trigger: the round does not have it as data")
        if self._no_trace is not None:
            lacking.append(self._no_trace)
        return "; ".join(lacking) or None

    def _arrays_before(self) -> Mapping[str, Any]:
        arrays: dict[str, Any] = {}
        for name, examples, before in (
            ("clean", self.subject.clean, self._clean_before),
            ("poisoned", self.subject.poisoned, self._poisoned_before),
        ):
            if examples is not None and before is not None:
                arrays[f"{name}/names"] = list(examples.names)
                arrays[f"{name}/labels"] = examples.labels.cpu().numpy()
                arrays[f"{name}/outputs_before"] = before.outputs
                if examples.made_from is not None:
                    arrays[f"{name}/made_from"] = list(examples.made_from)
                if examples.targets is not None:
                    arrays[f"{name}/targets"] = examples.targets.cpu().numpy()
        return arrays


def _unseen(poisoned: ExampleSet | None, split: Split) -> tuple[int, ...] | None:
    """Places of poisoned examples that are made of nothing that is trained on; None: of all, as far as anybody knows,
    or where nothing is held out."""
    if poisoned is None or poisoned.made_from is None or not split.held_out:
        return None
    fit = set(split.fit)
    return tuple(place for place, origin in enumerate(poisoned.made_from) if origin not in fit)


def accuracy_doubt_of(subject: Subject, before: Predictions) -> str | None:
    """Why the accuracy of the model as shipped cannot be right: :func:`trojai_seam.scoring.doubts.accuracy_doubt`."""
    usual: float | None = USUAL if subject.least_accuracy is None else subject.least_accuracy
    if subject.task.name == "detection":
        usual = None  # mean average precision has no usual value
    told = subject.facts.get("promised_accuracy"), subject.facts.get("promised_by")
    return accuracy_doubt(Rate.of(before.accuracy), *told, usual=usual)


def _arrays_after(folds: list[FoldPredictions], outcomes: list[Outcome]) -> Mapping[str, Any]:
    arrays: dict[str, Any] = {}
    for number, (fold, outcome) in enumerate(zip(folds, outcomes, strict=True)):
        at = f"folds/{number}"
        arrays[f"{at}/fit"], arrays[f"{at}/held_out"] = fold.split.fit, fold.split.held_out
        arrays[f"{at}/clean_outputs_after"] = fold.clean.outputs
        if fold.poisoned is not None:
            arrays[f"{at}/poisoned_outputs_after"] = fold.poisoned.outputs
        if fold.retuned is not None:
            arrays[f"{at}/retuned/poisoned"] = fold.retuned.poisoned_used
            arrays[f"{at}/retuned/clean_outputs"] = fold.retuned.clean.outputs
            arrays[f"{at}/retuned/poisoned_outputs"] = fold.retuned.poisoned.outputs
        arrays.update({f"{at}/variants/{name}": found.outputs for name, found in fold.variants.items()})
        for column in ("phase", "epoch", "steps", "loss", "seconds"):
            arrays[f"{at}/trace/{column}"] = [getattr(epoch, column) for epoch in outcome.trace]
        asked = [math.nan if epoch.fit_accuracy is None else epoch.fit_accuracy for epoch in outcome.trace]
        arrays[f"{at}/trace/fit_accuracy"] = asked
        for phase in outcome.phases:
            for key, value in asdict(phase).items():
                if key == "figures":
                    arrays.update({f"{at}/phases/{phase.phase}/{key}/{name}": number for name, number in value.items()})
                elif key != "phase" and value is not None:
                    arrays[f"{at}/phases/{phase.phase}/{key}"] = [value] if isinstance(value, str) else value
    return arrays
