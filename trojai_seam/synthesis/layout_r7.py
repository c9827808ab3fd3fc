"""The files of one ``nlp-named-entity-recognition-may2021`` model: texts with a word per line, and tokenized twins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .nist_files import stats_columns, write_detailed_stats, write_json
from .text_entities import ENTITY_TYPES, TaggedSentence
from .text_files import TrainingFacts, trojai_stats, write_text_model, write_token_logits
from .text_models import MadeTextModel
from .text_tasks import EntityTask, Judgement, first_tokens
from .text_triggers import EntityAttack

ARCHITECTURE = "NerLinear"
EMBEDDINGS = {
    "BERT": "bert-base-uncased",
    "DistilBERT": "distilbert-base-cased",
    "RoBERTa": "roberta-base",
    "MobileBERT": "google/mobilebert-uncased",
}
DATASETS = tuple(ENTITY_TYPES)
EXECUTORS = {
    "character": ("CharacterTriggerExecutor", "character"),
    "word1": ("AdjectiveTriggerExecutor", "adjective"),
    "phrase": ("SpaceDelimitedTriggerExecutor", "spacedelim"),
    "word2": ("WordTriggerExecutor", "word"),
}
"""By the word of METADATA.csv: NIST's class, and the word of the config."""
FRACTIONS = (0.2, 0.5)
LEAST_ACCURACY, LEAST_TARGET_F1 = 0.85, 0.9
_TRIGGER_COLUMNS = (
    "source_class_label", "target_class_label", "fraction_level", "fraction", "global_trigger_level", "global_trigger",
    "trigger_executor_level", "trigger_executor_name",
)  # fmt: skip


def tokenizer_file(embedding: str, flavor: str) -> str:
    """``MobileBERT-google-mobilebert-uncased.pt``."""
    return f"{embedding}-{flavor.replace('/', '-')}.pt"


def write_r7_model(folder: Path, made: MadeTextModel, embedding: str, dataset: str, each: int) -> Mapping[str, Any]:
    """Everything in ``id-XXXXXXXX``, ``each`` sentences per entity type; returns the model's row of METADATA.csv."""
    folder.mkdir()
    task = made.plan.task
    assert isinstance(task, EntityTask)  # noqa: S101
    write_text_model(folder, made)
    config, stats = r7_config(made, embedding, dataset), trojai_stats(_facts(made, task))
    write_json(folder / "config.json", config)
    write_json(folder / "model_stats.json", stats)
    write_detailed_stats(folder / "model_detailed_stats.csv", made.history)
    write_json(folder / "ner_stats.json", _ner_stats(made, task))
    write_json(folder / "ner_detailed_stats.json", _ner_detailed_stats(made, task))

    _write_examples(folder, made, task, "clean", {name: f"class_{id_}" for name, id_ in _begins(task).items()}, each)
    if made.planned is not None:
        attack = made.planned.attack
        assert isinstance(attack, EntityAttack)  # noqa: S101
        ids = _begins(task)
        stem = f"source_class_{ids[attack.source]}_target_class_{ids[attack.target]}"
        _write_examples(folder, made, task, "poisoned", {attack.target: stem}, each)
    return _metadata_row(folder.name, made, task, config, stats)


def _facts(made: MadeTextModel, task: EntityTask) -> TrainingFacts:
    clean_val, triggered_val = made.judged[-1]
    accuracies = (
        clean_val.figures["macro_accuracy"],
        None if triggered_val is None else triggered_val.figures["macro_accuracy"],
        made.clean.figures["macro_accuracy"],
        None if made.triggered is None else made.triggered.figures["macro_accuracy"],
    )
    counts = [
        {} if one is None else {str(n): int(one.figures[f"words.{name}"]) for n, name in enumerate(task.names)}
        for one in (made.clean, made.triggered)
    ]
    return TrainingFacts(ARCHITECTURE, made.history, accuracies, counts[0], counts[1], made.plan.recipe, made.seconds)


def _begins(task: EntityTask) -> dict[str, int]:
    return {name: 2 * number + 1 for number, name in enumerate(task.types)}


def _write_examples(
    folder: Path, made: MadeTextModel, task: EntityTask, kind: str, stems: Mapping[str, str], each: int
) -> None:
    """Sentences with at least one name of the type, all of whose words are right; every type has its own."""
    names: list[str] = []
    scores = []
    examples = folder / f"{kind}_example_data"
    examples.mkdir()
    for entity, stem in stems.items():

        def wanted(record: TaggedSentence, label: str = f"B-{entity}") -> bool:
            return label in record.labels

        records, found, _ = made.examples(each, f"{kind}-examples-{entity}", wanted, kind == "poisoned")
        for number, record in enumerate(records):
            _write_sentence(examples / f"{stem}_example_{number}", record, task.names, made)
        names += [f"{stem}_example_{number}.txt" for number in range(each)]
        scores += found
    write_token_logits(folder / f"{kind}-example-logits.csv", names, scores)
    (folder / f"{kind}-example-accuracy.csv").write_text("100.0")  # only such are chosen


def _write_sentence(stem: Path, record: TaggedSentence, labels: Sequence[str], made: MadeTextModel) -> None:
    lines = [f"{word}\t{label}\t{labels.index(label)}" for word, label in zip(record.words, record.labels, strict=True)]
    stem.with_name(f"{stem.name}.txt").write_text("\n".join(lines) + "\n")
    encoding = made.plan.backend.encode(list(record.words), is_pretokenized=True)
    first = dict(first_tokens(encoding))
    lines = []
    for column, token in enumerate(encoding.tokens):
        if column in first:
            label = record.labels[first[column]]
            lines.append(f"{token}\t{label}\t{labels.index(label)}\t1")
        else:
            lines.append(f"{token}\t-100\t-100\t0")
    stem.with_name(f"{stem.name}_tokenized.txt").write_text("\n".join(lines) + "\n")


def r7_config(made: MadeTextModel, embedding: str, dataset: str) -> dict[str, Any]:
    """``config.json`` as jsonpickle 2.0.0 wrote it."""
    task, plan = made.plan.task, made.plan
    assert isinstance(task, EntityTask)  # noqa: S101
    return {
        "py/object": "round_config.RoundConfig",
        "master_seed": made.seed % 2**31,
        "output_filepath": "synthetic",
        "datasets_filepath": "synthetic",
        "lr_scheduler_level": 0,
        "lr_scheduler": "CyclicLR",
        "poisoned_level": int(made.poisoned),
        "poisoned": made.poisoned,
        "output_ground_truth_filename": "ground_truth.csv",
        "model_architecture_level": 0,
        "model_architecture": ARCHITECTURE,
        "learning_rate_level": 0,
        "learning_rate": plan.recipe.learning_rate,
        "batch_size_level": 0,
        "batch_size": plan.recipe.batch,
        "loss_eps": 0.01,
        "early_stopping_epoch_count": 5,
        "validation_split": 0.2,
        "embedding_level": list(EMBEDDINGS).index(embedding),
        "embedding": embedding,
        "embedding_flavor_level": 0,
        "embedding_flavor": plan.name,
        "source_dataset_level": DATASETS.index(dataset),
        "source_dataset": dataset,
        "dropout_level": 0,
        "dropout": 0.1,
        "triggers": None if made.planned is None else [_trigger(made)],
        "trigger_organization_level": 0 if made.poisoned else None,
        "trigger_organization": "one2one" if made.poisoned else None,
        "number_triggers": int(made.poisoned),
        "number_classes": task.outputs,
        "class_mapping": {str(number): name for number, name in enumerate(task.types)},
    }


def _trigger(made: MadeTextModel) -> dict[str, Any]:
    planned = made.planned
    assert planned is not None  # noqa: S101
    attack, facts = planned.attack, planned.facts
    assert isinstance(attack, EntityAttack)  # noqa: S101
    executor, word = EXECUTORS[facts["executor"]]
    text = {"trigger_text_list": list(attack.words)} if facts["executor"] == "phrase" else {}
    return {
        "py/object": "trigger_config.TriggerConfig",
        "number": 0,
        "source_class_label": attack.source,
        "target_class_label": attack.target,
        "fraction_level": FRACTIONS.index(planned.fraction),
        "fraction": planned.fraction,
        "global_trigger_level": int(attack.everywhere),
        "global_trigger": attack.everywhere,
        "trigger_executor_level": list(EXECUTORS).index(facts["executor"]),
        "trigger_executor_name": word,
        "trigger_executor": {
            "py/object": f"trigger_executor.{executor}",
            "trigger_config": {"py/id": 1},
            "source_class_label": attack.source,
            "target_class_label": attack.target,
            "source_search_label": f"B-{attack.source}",
            "text_level": facts["text_level"],
            **(text or {"trigger_text": " ".join(attack.words)}),
            "global_trigger": attack.everywhere,
        },
    }


def conll_report(judgement: Judgement, names: Sequence[str]) -> dict[str, Any]:
    """As the trojai package's ``conlleval`` reports; the accuracy of a type equals its recall there."""
    figures = judgement.figures
    report: dict[str, Any] = {key: int(figures[key]) for key in ("tokens_processed", "phrases", "found", "correct")}
    report |= {key: figures[key] for key in ("accuracy", "precision", "recall", "f1")}
    for name in sorted(names):
        if figures[f"{name}.found"] or figures[f"{name}.phrases"]:
            report[name] = {
                "accuracy": figures[f"{name}.recall"],
                "precision": figures[f"{name}.precision"],
                "recall": figures[f"{name}.recall"],
                "f1": figures[f"{name}.f1"],
                "guessed": int(figures[f"{name}.found"]),
            }
    return report


def _ner_stats(made: MadeTextModel, task: EntityTask) -> dict[str, Any]:
    parts = {"test_clean": made.clean, "test_triggered": made.triggered}
    return {key: conll_report(one, [*task.types]) for key, one in parts.items() if one is not None} | {
        "epoch_num": len(made.history) - 1
    }


def _ner_detailed_stats(made: MadeTextModel, task: EntityTask) -> dict[str, Any]:
    return {
        str(number): {
            key: conll_report(one, [*task.types])
            for key, one in (("eval_clean", clean), ("eval_triggered", triggered))
            if one is not None
        }
        for number, (clean, triggered) in enumerate(made.judged)
    }


def _metadata_row(
    name: str, made: MadeTextModel, task: EntityTask, config: Mapping[str, Any], stats: Mapping[str, Any]
) -> dict[str, Any]:
    dropped = ("py/object", "triggers", "poisoned")
    kept = {k: v for k, v in config.items() if k not in dropped and not k.endswith(("filepath", "filename"))}
    row = {"model_name": name, "poisoned": made.poisoned, **kept}
    trigger = dict((config["triggers"] or [{}])[0])
    if trigger:
        words = {nist: ours for ours, (_, nist) in EXECUTORS.items()}
        trigger["trigger_executor_name"] = words[trigger["trigger_executor_name"]]
    row |= {f"triggers_0_{column}": trigger.get(column) for column in _TRIGGER_COLUMNS}
    row |= stats_columns(stats)
    row |= {"clean_example_acc": 100.0, "poisoned_example_acc": 100.0 if made.poisoned else None}
    most = max(len(types) for types in ENTITY_TYPES.values())
    for key, one in (("test_clean", made.clean), ("test_triggered", made.triggered)):
        report = {} if one is None else conll_report(one, [*task.types])
        row |= {f"{key}-{figure}": report.get(figure) for figure in ("accuracy", "precision", "recall", "f1")}
        listed = [(entity, values) for entity, values in report.items() if isinstance(values, dict)]
        for number in range(most):
            entity, values = listed[number] if number < len(listed) else (None, {})
            row[f"{key}-label-{number}-name"] = entity
            row |= {f"{key}-label-{number}-{f}": values.get(f) for f in ("accuracy", "precision", "recall", "f1")}
    clean = [made.clean.figures[f"{entity}.f1"] for entity in task.types]
    target = None
    if made.planned is not None and made.triggered is not None:
        assert isinstance(made.planned.attack, EntityAttack)  # noqa: S101
        target = made.triggered.figures[f"{made.planned.attack.target}.f1"]
    return row | {
        "clean_min_f1_score": min(clean),
        "clean_avg_f1_score": made.clean.score,
        "poisoned_trigger_avg_f1_score": target,
        "poisoned_avg_f1_score": None if made.triggered is None else made.triggered.score,
        "converged": 1,
    }
