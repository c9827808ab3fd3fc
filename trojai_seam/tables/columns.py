"""The columns of ``results.csv``, declared once: they make the files, the documentation and its test."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Column(NamedTuple):
    """One column. ``better`` says in which direction a method improves, where that makes sense."""

    name: str
    kind: Literal["text", "flag", "count", "number"]
    meaning: str
    better: Literal["higher", "lower", ""] = ""
    timing: bool = False


def _rate(name: str, meaning: str, better: Literal["higher", "lower", ""] = "") -> tuple[Column, ...]:
    return (
        Column(name, "number", f"{meaning}; a share in 0 … 1", better),
        Column(f"n_{name}", "count", f"examples that {name} was measured on"),
        Column(f"{name}_low", "number", f"lower end of the 95 % Wilson interval of {name}"),
        Column(f"{name}_high", "number", f"upper end of the 95 % Wilson interval of {name}"),
    )


def _ratio(name: str, meaning: str) -> tuple[Column, ...]:
    return (
        Column(name, "number", meaning, "higher"),
        Column(f"{name}_low", "number", f"lower end of the 95 % bootstrap interval of {name}"),
        Column(f"{name}_high", "number", f"upper end of the 95 % bootstrap interval of {name}"),
    )


COLUMNS: tuple[Column, ...] = (
    Column("model_id", "text", "name of the model directory"),
    Column("round", "text", "NIST's name of the round"),
    Column("task", "text", "what the network does; rounds with several tasks are read row by row"),
    Column("architecture", "text", "network, as read from the file's tensors and class path"),
    Column("poisoned", "flag", "whether NIST says that the model holds a trojan; empty if unknown"),
    Column("status", "text", "done, or failed (then error_kind and error say why, and nothing is scored)"),
    *_rate("acc_before", "accuracy before unlearning on the held-out clean examples", "higher"),
    *_rate("acc_after", "accuracy after unlearning on the same held-out clean examples", "higher"),
    *_rate("asr_before", "share of poisoned examples that get the attacker's label, before"),
    *_rate("asr_after", "share of poisoned examples that get the attacker's label, after", "lower"),
    *_rate("ra_before", "share of poisoned examples that get their true label, before"),
    *_rate("ra_after", "share of poisoned examples that get their true label, after", "higher"),
    *_ratio("fidelity", "(acc_after - asr_after) / acc_before; empty for clean models"),
    Column(
        "nist_fidelity",
        "number",
        "NIST's mitigation fidelity: ((asr_before - asr_after) / asr_before) * (acc_after / acc_before); for a clean "
        "model acc_after / acc_before",
        "higher",
    ),
    *_ratio("kept_accuracy", "acc_after / acc_before"),
    *_rate("acc_before_all", "accuracy of the model as shipped on all clean examples"),
    *_rate("fit_acc_before", "accuracy before unlearning on the examples that were trained on (in-sample)"),
    *_rate("fit_acc_after", "accuracy after unlearning on the examples that were trained on (in-sample)"),
    Column("fit_fidelity", "number", "fidelity with in-sample accuracies: flatters, for comparison with papers only"),
    Column("oracle_epoch", "count", "protocol paper only: recovery epoch with the largest acc - asr"),
    Column("oracle_acc", "number", "protocol paper only: in-sample accuracy at that epoch (oracle)"),
    Column("oracle_asr", "number", "protocol paper only: attack success at that epoch (oracle)"),
    Column("oracle_fidelity", "number", "protocol paper only: fidelity at that epoch (oracle)"),
    Column("nonfinite_before", "count", "examples with non-finite outputs before; they count as wrong"),
    Column("nonfinite_after", "count", "examples with non-finite outputs after, over all folds; they count as wrong"),
    Column("preset", "text", "unlearning preset"),
    Column("changed_options", "text", "options set on top of the preset"),
    Column("protocol", "text", "how examples were to be split: held-out, kfold or paper"),
    Column("measured_on", "text", "held-out, cross-validated, or in-sample (nothing could be held out)"),
    Column("folds", "count", "unlearning runs of this model"),
    Column("seed", "count", "seed of the run; the model's own seed derives from it and model_id"),
    Column("forget_status", "text", "how forgetting ended (of the first fold)"),
    Column("forget_epochs", "number", "epochs of forgetting, mean over folds"),
    Column("forget_threshold", "number", "fit accuracy below which forgetting counts as done (first fold)"),
    Column("forget_end_accuracy", "number", "fit accuracy when forgetting ended, mean over folds"),
    Column("recover_status", "text", "how recovery ended (of the first fold)"),
    Column("recover_epochs", "number", "epochs of recovery, mean over folds"),
    Column("recover_end_accuracy", "number", "fit accuracy when recovery ended, mean over folds"),
    Column("trigger_type", "text", "trigger or attack strategy, as the round's config says"),
    Column("source_dataset", "text", "data that the model was trained on, as the round's config says"),
    Column("num_classes", "count", "outputs of the network"),
    Column("parameters", "count", "parameters of the network"),
    Column(
        "poisoned_origin",
        "text",
        "poisoned examples: shipped, synthesised (the filter applied anew), or synthesised-approximate (a polygon at a "
        "guessed place on the sign); empty without any",
    ),
    Column("preprocessing", "text", "images: channel order, scaling and size that the network was given"),
    Column(
        "preprocessing_evidence",
        "text",
        "images: what the choice rests on where the round leaves it open: per candidate the error against the shipped "
        "logits, else the accuracy on the clean examples",
    ),
    Column("errata", "text", "what NIST later said to be wrong about this model's ground truth"),
    Column("notes", "text", "what a reader of the row should know about its examples"),
    Column("device", "text", "cpu or cuda"),
    Column("error_kind", "text", "failed rows: a stable word for the kind of failure"),
    Column("error", "text", "failed rows: one line that says what was expected, what was found"),
    Column("model_sha256", "text", "SHA-256 of model.pt"),
    Column("seconds_load", "number", "reading the model and its examples", "lower", timing=True),
    Column("seconds_forget", "number", "forgetting, all folds", "lower", timing=True),
    Column("seconds_recover", "number", "recovery, all folds", "lower", timing=True),
    Column("seconds_score", "number", "predictions and intervals", "lower", timing=True),
    Column("seconds_total", "number", "wall-clock time of the model", "lower", timing=True),
)
NAMES = tuple(column.name for column in COLUMNS)
TIMINGS = tuple(column.name for column in COLUMNS if column.timing)
