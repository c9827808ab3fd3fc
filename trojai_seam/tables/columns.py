"""The columns of ``results.csv``, declared once: they make the files, the documentation and its test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple


class Column(NamedTuple):
    """One column of ``results.csv``.

    Attributes:
        name: as in the files.
        kind: decides the type in pandas.
        meaning: one line for people.
        better: the direction in which a method improves, where that makes sense.
        unit: ``share`` (0 … 1), ``s``, ``epochs``, …; empty for texts and pure numbers.
        made_from: datasets of the record that the value was computed from; ``*`` stands for every fold.
        timing: differs from run to run.
        summarised: summaries, comparisons and the report show its distribution over models.
    """

    name: str
    kind: Literal["text", "flag", "count", "number"]
    meaning: str
    better: Literal["higher", "lower", ""] = ""
    unit: str = ""
    made_from: tuple[str, ...] = ()
    timing: bool = False
    summarised: bool = False

    @property
    def source(self) -> str:
        """Where the value is in a record: an attribute of its root (``@name``), and what that was made from."""
        return f"@{self.name}" + (f" from {', '.join(self.made_from)}" if self.made_from else "")


_CLEAN, _POISONED = ("clean/labels", "clean/outputs_before"), ("poisoned/targets", "poisoned/outputs_before")
_CLEAN_BEFORE = (*_CLEAN, "folds/*/held_out")
_CLEAN_AFTER = ("clean/labels", "folds/*/held_out", "folds/*/clean_outputs_after")
_FIT_AFTER = ("clean/labels", "folds/*/fit", "folds/*/clean_outputs_after")
_HIT_AFTER = ("poisoned/targets", "folds/*/poisoned_outputs_after")
_TRUE_AFTER = ("poisoned/labels", "folds/*/poisoned_outputs_after")


def _rate(
    name: str,
    meaning: str,
    better: Literal["higher", "lower", ""] = "",
    made_from: tuple[str, ...] = (),
    summarised: bool = False,
) -> tuple[Column, ...]:
    """A share with its count and interval; ``summarised`` is all that a new metric needs to be in every summary."""
    interval = "of the 95 % interval of"
    units = f"tokens, entities, answers or boxes behind {name}; empty where every example is one unit"
    return (
        Column(name, "number", meaning, better, "share", made_from, summarised=summarised),
        Column(f"n_{name}", "count", f"examples that {name} was measured on", "", "examples", made_from),
        Column(f"{name}_low", "number", f"lower end {interval} {name}", "", "share", made_from),
        Column(f"{name}_high", "number", f"upper end {interval} {name}", "", "share", made_from),
        Column(f"units_{name}", "count", units, "", "units", made_from),
    )


def _harness(name: str, meaning: str, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[Column, ...]:
    """A rate as NIST's test harness counts it; images with non-finite logits do not count."""
    said = f"classifiers: as NIST's test harness counts: of {meaning}"
    return (
        Column(f"harness_{name}_before", "number", f"{said}, before", "", "share", before),
        Column(f"harness_{name}_after", "number", f"{said}, after", "", "share", after),
    )


def _ratio(name: str, meaning: str, made_from: tuple[str, ...]) -> tuple[Column, ...]:
    interval = "of the 95 % bootstrap interval of"
    return (
        Column(name, "number", meaning, "higher", "", made_from, summarised=True),
        Column(f"{name}_low", "number", f"lower end {interval} {name}", "", "", made_from),
        Column(f"{name}_high", "number", f"upper end {interval} {name}", "", "", made_from),
    )


def _phase(name: str, doing: str, threshold: str) -> tuple[Column, ...]:
    """Of a phase that has columns of its own."""
    made_from = f"folds/*/phases/{name}"
    status = f"how {doing} ended; where folds differ, how many did how; empty without it"
    epochs, end = f"epochs of {doing}, mean over folds", f"fit accuracy when {doing} ended, mean over folds"
    return (
        Column(f"{name}_status", "text", status),
        Column(f"{name}_epochs", "number", epochs, unit="epochs", made_from=(f"{made_from}/epochs",)),
        Column(f"{name}_threshold", "number", f"fit accuracy {threshold}", unit="share"),
        Column(f"{name}_end_accuracy", "number", end, unit="share", made_from=(f"{made_from}/end_accuracy",)),
    )


def _variant(name: str, how: str) -> tuple[Column, ...]:
    """Attack success of a trigger that is not quite the one of the poisoned examples."""
    said = f"--trigger-variants: attack success with the trigger {how}"
    before = Column(f"asr_{name}_before", "number", f"{said}, before", "", "share")
    after = _rate(f"asr_{name}", f"{said}, after", "lower", ("poisoned/targets", f"folds/*/variants/{name}"))
    return (before, *after)


def _seconds(name: str, meaning: str, summarised: bool = False) -> Column:
    return Column(f"seconds_{name}", "number", meaning, "lower", "s", timing=True, summarised=summarised)


_FOREIGN = (
    "detectors: held-out boxes with a score of at least 0.5, of classes that no clean image holds, which mAP leaves out"
)
PHASES = ("forget", "recover")
"""Phases that have columns of their own; what others did is in the record."""

COLUMNS: tuple[Column, ...] = (
    Column("model_id", "text", "name of the model directory"),
    Column("round", "text", "NIST's name of the round"),
    Column("round_case", "text", "which kind of the round's models it is; empty in rounds with one kind"),
    Column("task", "text", "what the network does; rounds with several tasks are read row by row"),
    Column(
        "architecture",
        "text",
        "network, as read from the file's tensors and class path; of a model that cannot be read: as NIST says",
    ),
    Column("poisoned", "flag", "whether NIST says that the model holds a trojan; empty if unknown"),
    Column("status", "text", "done, or failed (then error_kind and error say why, and nothing is scored)"),
    *_rate(
        "acc_before",
        "accuracy before unlearning on the held-out clean examples; docs/tasks.md says what it is (detectors: mAP)",
        "higher",
        _CLEAN_BEFORE,
        True,
    ),
    *_rate("acc_after", "accuracy after unlearning on the same held-out clean examples", "higher", _CLEAN_AFTER, True),
    *_rate(
        "asr_before",
        "poisoned examples (detectors: attacked boxes) that get the attacker's answer, before",
        "",
        _POISONED,
        True,
    ),
    *_rate(
        "asr_after",
        "poisoned examples (detectors: attacked boxes) that get the attacker's answer, after",
        "lower",
        _HIT_AFTER,
        True,
    ),
    *_rate(
        "asr_before_all",
        "of all poisoned examples, also those made of images that are trained on; empty where asr_before is of all",
        "",
        _POISONED,
    ),
    *_rate("asr_after_all", "likewise after", "lower", _HIT_AFTER),
    *_rate(
        "ra_before",
        "poisoned examples (detectors: attacked boxes) that get their true answer, before",
        "",
        ("poisoned/labels", "poisoned/outputs_before"),
        True,
    ),
    *_rate(
        "ra_after",
        "poisoned examples (detectors: attacked boxes) that get their true answer, after",
        "higher",
        _TRUE_AFTER,
        True,
    ),
    *_ratio("fidelity", "(acc_after - asr_after) / acc_before; empty for clean models", (*_CLEAN_AFTER, *_HIT_AFTER)),
    Column(
        "nist_fidelity",
        "number",
        "NIST's formula of fidelity with our accuracies (clean images only): ((asr_before - asr_after) / asr_before) * "
        "(acc_after / acc_before); for a clean model acc_after / acc_before. harness_fidelity counts as NIST does",
        "higher",
        made_from=(*_CLEAN_AFTER, *_HIT_AFTER),
        summarised=True,
    ),
    *_harness("clean_acc", "all images with a true label, triggered ones too, that get it", _CLEAN_BEFORE, _TRUE_AFTER),
    *_harness("poisoned_acc", "all images with an attacker's label that get it", _POISONED, _HIT_AFTER),
    Column(
        "harness_fidelity",
        "number",
        "classifiers: NIST's formula of fidelity with the harness_ accuracies, as its test harness means it (what it "
        "publishes takes the two accuracies before for each other: `Fidelity (nist_compat)` of tables --nist)",
        "higher",
        made_from=(*_CLEAN_AFTER, *_TRUE_AFTER, *_HIT_AFTER),
    ),
    *_ratio("kept_accuracy", "acc_after / acc_before", _CLEAN_AFTER),
    *_rate("entity_f1_before", "named entities: F1 of whole entities, held-out", "higher", _CLEAN_BEFORE),
    *_rate("entity_f1_after", "named entities: F1 of whole entities, held-out", "higher", _CLEAN_AFTER, True),
    *_rate("exact_before", "question answering: exactly right answers, held-out", "higher", _CLEAN_BEFORE),
    *_rate("exact_after", "question answering: exactly right answers, held-out", "higher", _CLEAN_AFTER, True),
    *_rate("ap50_before", "detectors: average precision at IoU 0.50, held-out", "higher", _CLEAN_BEFORE),
    *_rate("ap50_after", "detectors: average precision at IoU 0.50, held-out", "higher", _CLEAN_AFTER, True),
    Column("foreign_boxes_before", "count", f"{_FOREIGN}, before", "", "boxes", _CLEAN_BEFORE),
    Column("foreign_boxes_after", "count", f"{_FOREIGN}, after", "lower", "boxes", _CLEAN_AFTER),
    *_rate("acc_before_all", "accuracy of the model as shipped on all clean examples", "", _CLEAN),
    Column(
        "promised_accuracy",
        "number",
        "accuracy on clean examples (detectors: mAP) that the model's files or its round tell, which acc_before_all "
        "should be near",
        unit="share",
    ),
    Column(
        "doubts",
        "text",
        "what makes the figures doubtful: acc_before_all far below what is promised (0.8 where nothing is), so that "
        "preprocessing or labels are probably wrong; kept_accuracy above 1 by more than chance",
    ),
    *_rate(
        "fit_acc_before",
        "accuracy before unlearning on the examples trained on (in-sample)",
        "",
        (*_CLEAN, "folds/*/fit"),
    ),
    *_rate("fit_acc_after", "accuracy after unlearning on the examples trained on (in-sample)", "", _FIT_AFTER),
    Column("fit_fidelity", "number", "fidelity with in-sample accuracies: flatters, for comparison with papers only"),
    *_rate(
        "acc_forgotten",
        "accuracy on the held-out clean examples between forgetting and recovery; measured only, and not in stacks; "
        "far above that of guessing, the task is not forgotten, whatever forget_end_accuracy says of fit examples",
        "",
    ),
    *_rate("asr_forgotten", "poisoned examples that get the attacker's answer there; measured only", ""),
    *_rate(
        "retuned_acc",
        "--retune: accuracy on the held-out clean examples after re-tuning a copy of the unlearned network on the fit "
        "examples with a few poisoned ones among them; measured only",
        "higher",
        ("clean/labels", "folds/*/held_out", "folds/*/retuned/clean_outputs"),
    ),
    *_rate(
        "retuned_asr",
        "--retune: poisoned examples that get the attacker's answer after that; those that it was re-tuned on do not "
        "count",
        "lower",
        ("poisoned/targets", "folds/*/retuned/poisoned_outputs"),
    ),
    Column(
        "retuned_on",
        "count",
        "--retune: poisoned examples among those that it was re-tuned on",
        unit="examples",
        made_from=("folds/*/retuned/poisoned",),
    ),
    *_variant("moved", "at another place"),
    *_variant("scaled", "half as large again"),
    *_variant("fainter", "at half its strength"),
    Column("oracle_epoch", "count", "protocol paper only: recovery epoch with the largest acc - asr"),
    Column("oracle_acc", "number", "protocol paper only: in-sample accuracy at that epoch (oracle)", unit="share"),
    Column("oracle_asr", "number", "protocol paper only: attack success at that epoch (oracle)", unit="share"),
    Column("oracle_fidelity", "number", "protocol paper only: fidelity at that epoch (oracle)"),
    Column("nonfinite_before", "count", "examples with non-finite outputs before; they count as wrong"),
    Column("nonfinite_after", "count", "examples with non-finite outputs after, over all folds; they count as wrong"),
    Column("preset", "text", "unlearning preset"),
    Column("changed_options", "text", "options set on top of the preset"),
    Column(
        "batch_size", "count", "examples per step: the preset's, or halved (then notes say so) until memory sufficed"
    ),
    Column("stacked", "flag", "unlearned in a stack of small networks (of one or more), see --stack"),
    Column("protocol", "text", "how examples were to be split: held-out, kfold or paper"),
    Column("fit_per_class", "count", "most clean examples of each class that unlearning may use; empty: no such limit"),
    Column("fit_total", "count", "most clean examples in all that unlearning may use; empty: no such limit"),
    Column("measured_on", "text", "held-out, cross-validated, or in-sample (nothing could be held out)"),
    Column("folds", "count", "unlearning runs of this model"),
    Column("seed", "count", "seed of the run; the model's own seed derives from it and model_id"),
    Column("phases", "text", "names of the phases of the method, in order; empty where the preset has none"),
    Column(
        "phase_statuses",
        "text",
        "how phases other than forgetting and recovery ended, each as `name: status`; where folds differ, with counts",
    ),
    Column(
        "suspected_class",
        "count",
        "class that a faint change leads all fit examples to, so that it may be an attacker's (phase kind `invert`); "
        "the clearest of several; empty where none stands out, or where folds suspect different ones",
    ),
    Column(
        "suspected_gap",
        "number",
        "how far it is ahead of the next class (log-odds and mean log-probability), mean over folds that suspect one",
    ),
    *_phase("forget", "forgetting", "below which forgetting counts as done, mean over folds"),
    *_phase("recover", "recovery", "above which recovery counts as done, mean over folds; empty without a stop rule"),
    Column(
        "model_architecture",
        "text",
        "NIST's name of the network, without its task; `architecture` where NIST gives none",
    ),
    Column("embedding", "text", "text rounds: family of the embedding, as NIST says"),
    Column("embedding_flavor", "text", "text rounds: which embedding of that family, as NIST says"),
    Column("source_dataset", "text", "data that the model was trained on, as NIST says"),
    Column("adversarial_training", "text", "how the model was trained adversarially, as NIST says; none if it was not"),
    Column("trigger_type", "text", "kinds of trigger or attack strategy, as NIST says; empty for clean models"),
    Column("trigger_option", "text", "what NIST says further: sides of a polygon, name of a filter, attack of a text"),
    Column(
        "trigger_condition", "text", "when the trigger works (spatial, spectral, class), as NIST says; none if always"
    ),
    Column("trigger_count", "count", "triggers of the model, as NIST says", unit="triggers"),
    Column("trigger_organization", "text", "how several triggers map sources to targets, as NIST says"),
    Column("num_classes", "count", "outputs of the network", unit="classes"),
    Column(
        "clean_per_class",
        "count",
        "clean examples of the class that has fewest, before any are held out",
        unit="examples",
        made_from=("clean/labels",),
    ),
    Column("parameters", "count", "parameters of the network"),
    Column(
        "poisoned_origin",
        "text",
        "poisoned examples: shipped, synthesised (the filter applied anew), or synthesised-approximate (a polygon at a "
        "guessed place on the sign); empty without any",
    ),
    Column(
        "preprocessing",
        "text",
        "how examples were made into inputs: channel order, scaling and size of images; tokenizer and length of texts",
    ),
    Column(
        "preprocessing_evidence",
        "text",
        "what shows that inputs are right: the error against shipped logits or embeddings; where the round leaves a "
        "choice open, that of each candidate, else its accuracy on the clean examples",
    ),
    Column("errata", "text", "what NIST later said to be wrong about this model's ground truth"),
    Column("notes", "text", "what a reader of the row should know about its examples"),
    Column("device", "text", "cpu or cuda"),
    Column("error_kind", "text", "failed rows: a stable word for the kind of failure"),
    Column("error", "text", "failed rows: one line that says what was expected, what was found"),
    Column("model_sha256", "text", "SHA-256 of model.pt"),
    Column(
        "peak_memory",
        "count",
        "most memory while the model, or the stack that it was in, was evaluated: on CPUs that of the process, on GPUs "
        "that of tensors on the device; empty where nobody can tell",
        "lower",
        "bytes",
        timing=True,
    ),
    _seconds("start", "imports and warm-up of the process, in the row of the first model that it took"),
    _seconds("load", "reading the model and its examples; the first of its kind in a process also imports the library"),
    _seconds("forget", "forgetting, all folds"),
    _seconds("recover", "recovery, all folds"),
    _seconds("unlearn", "all phases, all folds"),
    _seconds("score", "predictions and intervals"),
    _seconds("total", "wall-clock time of the model", summarised=True),
)
RECORD_ONLY = {
    "architecture_hint": "name of the network in NIST's config",
    "class_path": "class that the pickle names",
    "fingerprint": "hash of the settings of the run",
    "log_tail": "failed rows: what the process printed last",
    "model_format": "container of model.pt",
    "model_stamp": "size and time of model.pt",
    "nist_config": "the model's config.json",
    "nist_metadata": "the model's line of METADATA.csv",
    "oracle_traced": "--trace-attack: accuracy and attack success after epochs are in folds/*/oracle_trace",
    "promised_by": "where promised_accuracy is told",
    "traceback": "failed rows that are a bug: where it happened",
}
"""What a record holds beside the columns."""
NAMES = tuple(column.name for column in COLUMNS)
BY_NAME = {column.name: column for column in COLUMNS}
TIMINGS = tuple(column.name for column in COLUMNS if column.timing)
SUMMARISED = tuple(column.name for column in COLUMNS if column.summarised)


def undeclared(names: Iterable[str]) -> list[str]:
    """Which of ``names`` are neither columns nor kept in the record only: nobody would ever see them."""
    return sorted(name for name in names if name not in BY_NAME and name not in RECORD_ONLY)
