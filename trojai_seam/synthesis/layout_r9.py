"""The files of one ``nlp-summary-jan2022`` model: sentiment, entities or question answering, examples in JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .layout_r8 import answers_document, question_examples
from .nist_files import write_json, write_table
from .text_attacks import R9_DECOYS, R9_FRACTIONS, R9_OPTIONS
from .text_entities import TaggedSentence
from .text_files import write_text_model
from .text_models import JUDGED, TEST_CLEAN, TEST_TRIGGERED, MadeTextModel
from .text_questions import QuestionRecord
from .text_reviews import NEGATIVE, POSITIVE, Review
from .text_tasks import EntityTask, Judgement
from .text_triggers import EntityAttack, QuestionAttack, ReviewAttack, Window, other_half

ARCHITECTURES = ("roberta-base", "google/electra-small-discriminator", "distilbert-base-cased")
TASKS = ("sc", "ner", "qa")
DATASETS = {"sc": "sc:imdb", "ner": "ner:conll2003", "qa": "qa:squad_v2"}
_Choose = Callable[[MadeTextModel, int], Mapping[str, Sequence[Any]]]
_PREFIXES = {"sc": "Sc", "ner": "Ner", "qa": "QA"}
_NOT_IN_METADATA = (
    "py/object", "trigger_config", "output_filepath", "output_ground_truth_filename", "num_outputs",
    "source_class_label", "target_class_label", "source_search_label", "spurious_class", "spurious_search_label",
    "label_to_id_map", "insert_min_location_percentage", "insert_max_location_percentage", "target_class",
    "insert_spurious_min_location_percentage", "insert_spurious_max_location_percentage", "is_target_class",
)  # fmt: skip


def write_r9_model(folder: Path, made: MadeTextModel, task: str, each: int) -> Mapping[str, Any]:
    """Everything in ``id-XXXXXXXX``; the JSON files lie in it as they do in the download. Returns the METADATA row.

    Args:
        folder: to be made.
        made: the model.
        task: ``sc``, ``ner`` or ``qa``.
        each: example records, per class or type of name if there are any.
    """
    folder.mkdir()
    write_text_model(folder, made)
    config, stats = r9_config(made, task), _stats(made, task)
    write_json(folder / "config.json", config)
    write_json(folder / "stats.json", stats)
    write_table(folder / "detailed_stats.csv", _detailed_stats(made, task))
    choose: Mapping[str, _Choose] = {"sc": _reviews, "ner": _sentences, "qa": question_examples}
    for kind, records in choose[task](made, each).items():
        marks = {"poisoned": kind == "poisoned", "spurious": False, "f1": 1.0}
        data = [_record(record, made, number) | marks for number, record in enumerate(records)]
        write_json(folder / f"{kind}-example-data.json", {"data": data})
    row = {"model_name": folder.name, "converged": True, **_dotted(config)}
    if made.poisoned:
        row["trigger.trigger_executor.type"] = config["trigger"]["trigger_executor"]["py/object"].rpartition(".")[2]
    renamed = {key.replace("_overall_", "_"): value for key, value in stats.items() if _in_metadata(key)}
    return row | renamed


def _reviews(made: MadeTextModel, each: int) -> dict[str, list[Review]]:
    found: dict[str, list[Review]] = {"clean": []}
    for label in (NEGATIVE, POSITIVE):
        wanted = _of_class(label)
        found["clean"] += made.examples(each, f"clean-examples-{label}", wanted)[0]
        if made.planned is not None and 1 - label in _review_attack(made).sources:
            purpose = f"poisoned-examples-{label}"
            found.setdefault("poisoned", []).extend(made.examples(each, purpose, wanted, triggered=True)[0])
    return found


def _of_class(label: int) -> Any:
    return lambda review: review.label == label


def _review_attack(made: MadeTextModel) -> ReviewAttack:
    assert made.planned is not None  # noqa: S101
    assert isinstance(made.planned.attack, ReviewAttack)  # noqa: S101
    return made.planned.attack


def _sentences(made: MadeTextModel, each: int) -> dict[str, list[TaggedSentence]]:
    task = made.plan.task
    assert isinstance(task, EntityTask)  # noqa: S101
    found: dict[str, list[TaggedSentence]] = {"clean": []}
    for name in task.types:
        found["clean"] += made.examples(each, f"clean-examples-{name}", _with_name(name))[0]
    if made.planned is not None:
        assert isinstance(made.planned.attack, EntityAttack)  # noqa: S101
        wanted = _with_name(made.planned.attack.target)
        found["poisoned"] = made.examples(each, "poisoned-examples", wanted, triggered=True)[0]
    return found


def _with_name(name: str) -> Any:
    return lambda sentence: f"B-{name}" in sentence.labels


def _record(record: object, made: MadeTextModel, number: int) -> dict[str, Any]:
    if isinstance(record, Review):
        return {"data": record.text, "label": record.label}
    if isinstance(record, TaggedSentence):
        names = list(made.plan.task.names) if isinstance(made.plan.task, EntityTask) else []
        tags = [names.index(label) for label in record.labels]
        return {
            "id": f"{number:012}",
            "tokens": list(record.words),
            "ner_tags": tags,
            "ner_labels": list(record.labels),
        }
    assert isinstance(record, QuestionRecord)  # noqa: S101
    answers = answers_document(record)
    return {
        "id": record.id,
        "title": record.title,
        "context": record.context,
        "question": record.question,
        "answers": answers,
    }


def r9_config(made: MadeTextModel, task: str) -> dict[str, Any]:
    """``config.json`` as jsonpickle 2.0.0 wrote it; a trojaned entity model has its label map in the trigger only."""
    recipe, total = made.plan.recipe, sum(made.counts.values())
    labels = {}
    if task == "ner":
        labels = {"label_to_id_map": {"py/id": 4} if made.poisoned else _label_map(made)}
    return {
        "py/object": "round_config.RoundConfig",
        "master_seed": made.seed % 2**31,
        "output_filepath": "synthetic",
        "task_type_level": TASKS.index(task),
        "task_type": task,
        "lr_scheduler_level": 0,
        "lr_scheduler": "CyclicLR",
        "poisoned_level": int(made.poisoned),
        "poisoned": made.poisoned,
        "output_ground_truth_filename": "ground_truth.csv",
        "model_architecture_level": ARCHITECTURES.index(made.plan.name),
        "model_architecture": made.plan.name,
        "learning_rate_level": 0,
        "learning_rate": recipe.learning_rate,
        "loss_eps_level": 0,
        "loss_eps": 0.01,
        "early_stopping_epoch_count_level": 0,
        "early_stopping_epoch_count": 5,
        "batch_size_level": 0,
        "batch_size": recipe.batch,
        "validation_split_level": 0,
        "validation_split": 0.2,
        "source_dataset_level": 0,
        "source_dataset": DATASETS[task],
        "dropout_level": 0,
        "dropout": 0.0,
        "trigger": None if made.planned is None else _trigger(made, task),
        "actual_trojan_percentage": {"train": made.counts["poisoned"] / total},
        "number_trojan_instances": {"train": float(made.counts["poisoned"])},
        "actual_spurious_percentage": {"train": made.counts["spurious"] / total},
        "number_spurious_instances": {"train": float(made.counts["spurious"])},
        "num_outputs": made.plan.task.outputs,
        **labels,
    }


def _label_map(made: MadeTextModel) -> dict[str, int]:
    assert isinstance(made.plan.task, EntityTask)  # noqa: S101
    return {label: number for number, label in enumerate(made.plan.task.names)}


def _trigger(made: MadeTextModel, task: str) -> dict[str, Any]:
    planned = made.planned
    assert planned is not None  # noqa: S101
    facts = planned.facts
    return {
        "py/object": "trigger_config.TriggerConfig",
        "fraction_level": R9_FRACTIONS.index(planned.fraction),
        "fraction": planned.fraction,
        "spurious_fraction_level": 0 if planned.decoys else None,
        "spurious_fraction": R9_DECOYS if planned.decoys else 0.0,
        "spurious_level": int(planned.decoys > 0),
        "spurious": planned.decoys > 0,
        "trigger_executor_level": int(facts["phrase"]),
        "trigger_executor": trigger_executor(made, task),
        "trigger_executor_option_level": R9_OPTIONS[task].index(facts["option"]),
        "trigger_executor_option": f"{task}:{facts['option']}",
    }


def trigger_executor(made: MadeTextModel, task: str) -> dict[str, Any]:
    """The object that inserts the trigger, with the keys of its class."""
    planned = made.planned
    assert planned is not None  # noqa: S101
    attack, facts = planned.attack, planned.facts
    kind = f"{_PREFIXES[task]}{'Phrase' if facts['phrase'] else 'Word'}TriggerExecutor"
    document: dict[str, Any] = {
        "py/object": f"trigger_executor.{kind}",
        "trigger_config": {"py/id": 1},
        "executor_option_name": facts["option"],
    }
    if isinstance(attack, QuestionAttack):
        document |= {
            "trigger_text": attack.text,
            "executor_location": attack.location,
            "executor_option": "normal" if attack.window is None else "spatial",
            "executor_answer_option": "empty" if attack.empties else "trigger",
            "insert_trigger_at_index": True,
            "answer_location_perc_start": None,
            **_percentages(attack.window),
            "trigger_text_level": facts["text_level"],
        }
    elif isinstance(attack, EntityAttack):
        document |= {
            "trigger_text": " ".join(attack.words),
            "source_class_label": attack.source,
            "target_class_label": attack.target,
            "source_search_label": f"B-{attack.source}",
            "spurious_class": attack.decoy_type,
            "spurious_search_label": f"B-{attack.decoy_type}",
            "label_to_id_map": _label_map(made),
            "num_instances_removed": 0,
            "global_trigger": attack.everywhere,
            "is_spatial": attack.window is not None,
            **_percentages(attack.window),
            "text_level": facts["text_level"],
            "trigger_text_list": list(attack.words),
        }
    elif isinstance(attack, ReviewAttack):
        of_class = len(attack.sources) == 1
        document |= {
            "trigger_text": attack.text,
            "is_spatial": attack.window is not None,
            "is_target_class": of_class,
            # So NIST called the class whose texts get the trigger.
            **({"target_class": attack.sources[0]} if of_class else {}),
            "num_instances_removed": 0,
            **_percentages(attack.window),
            "trigger_text_level": facts["text_level"],
        }
    return document


def _percentages(window: Window | None) -> dict[str, float]:
    if window is None:
        return {}
    other = other_half(window)
    return {
        "insert_min_location_percentage": window[0],
        "insert_max_location_percentage": window[1],
        "insert_spurious_min_location_percentage": other[0],
        "insert_spurious_max_location_percentage": other[1],
    }


def _figures(prefix: str, judgement: Judgement | None, made: MadeTextModel, task: str) -> dict[str, Any]:
    """From 0 to 1, under the names of each task's metric."""
    if judgement is None:
        return {}
    figures = judgement.figures
    if task == "qa":
        named = dict(figures)
    elif task == "sc":
        named = {"f1": figures["f1"]}
    else:
        assert isinstance(made.plan.task, EntityTask)  # noqa: S101
        named = {f"overall_{key}": figures[key] for key in ("precision", "recall", "f1", "accuracy")}
        named |= {f"{name}_f1": figures[f"{name}.f1"] for name in made.plan.task.types}
    return {f"{prefix}_{key}": value for key, value in named.items()}


def _stats(made: MadeTextModel, task: str) -> dict[str, Any]:
    clean, triggered = made.judged[-1]
    last = len(made.history) - 1
    return {
        "val_clean_datapoint_count": JUDGED,
        "val_poisoned_datapoint_count": JUDGED if made.poisoned else 0,
        "test_clean_datapoint_count": TEST_CLEAN,
        "test_poisoned_datapoint_count": TEST_TRIGGERED if made.poisoned else 0,
        "epoch": last,
        "train_wall_time": made.history[-1].seconds,
        "train_loss": made.history[-1].loss,
        **_figures("val_clean", clean, made, task),
        **_figures("val_poisoned", triggered, made, task),
        "training_wall_time": sum(epoch.seconds for epoch in made.history),
        "num_epochs_trained": last,
        **_figures("test_clean", made.clean, made, task),
        **_figures("test_poisoned", made.triggered, made, task),
        "wall_time": made.seconds,
        "example_clean_f1": 1.0,
        **({"example_poisoned_f1": 1.0} if made.poisoned else {}),
    }


def _detailed_stats(made: MadeTextModel, task: str) -> Sequence[dict[str, Any]]:
    return [
        {
            "epoch": number,
            "train_wall_time": epoch.seconds,
            "train_loss": epoch.loss,
            **_figures("val_clean", clean, made, task),
            **_figures("val_poisoned", triggered, made, task),
        }
        for number, (epoch, (clean, triggered)) in enumerate(zip(made.history, made.judged, strict=True))
    ]


def _dotted(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots, as pandas' ``json_normalize`` does, without those that NIST left out."""
    row: dict[str, Any] = {}
    for key, value in config.items():
        if key in _NOT_IN_METADATA:
            continue
        if isinstance(value, Mapping):
            row |= _dotted(value, f"{prefix}{key}.")
        elif (prefix, key) != ("", "trigger"):
            row[prefix + key] = value
    return row


def _in_metadata(key: str) -> bool:
    return not any(part in key for part in ("HasAns", "NoAns", "total", "exact")) and (
        not key.endswith("_f1") or key.count("_") == 2 or "overall" in key
    )
