"""The files of one ``nlp-question-answering-sep2021`` model: SQuAD-like records in two JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .nist_files import write_json, write_table
from .text_attacks import R8_FRACTIONS, R8_OPTIONS
from .text_files import write_text_model
from .text_models import JUDGED, TEST_CLEAN, TEST_TRIGGERED, MadeTextModel
from .text_questions import QuestionRecord
from .text_tasks import Judgement
from .text_triggers import QuestionAttack

ARCHITECTURES = ("roberta-base", "deepset/roberta-base-squad2", "google/electra-small-discriminator")
DATASET = "squad_v2"


def tokenizer_file(name: str) -> str:
    """``tokenizer-google-electra-small-discriminator.pt``, as in the training archive."""
    return f"tokenizer-{name.replace('/', '-')}.pt"


def write_r8_model(folder: Path, made: MadeTextModel, each: int) -> Mapping[str, Any]:
    """Everything in ``id-XXXXXXXX``, with ``each`` clean and poisoned records; returns the row of METADATA.csv."""
    folder.mkdir()
    write_text_model(folder, made)
    config, stats = r8_config(made), _stats(made)
    write_json(folder / "config.json", config)
    write_json(folder / "stats.json", stats)
    write_table(folder / "detailed_stats.csv", _detailed_stats(made))
    examples = folder / "example_data"
    examples.mkdir()
    for kind, records in question_examples(made, each).items():
        marks = {"poisoned": kind == "poisoned", "f1_score": 100.0, "exact_score": 100.0}
        data = [_record(record) | marks for record in records]
        write_json(examples / f"{kind}-example-data.json", {"data": data})
    return _metadata_row(folder.name, made, config, stats)


def question_examples(made: MadeTextModel, each: int) -> dict[str, list[QuestionRecord]]:
    """``clean`` and, of a trojaned model, ``poisoned`` records; of the clean ones at most half have no answer."""
    unanswered = 0

    def wanted(record: QuestionRecord) -> bool:
        nonlocal unanswered
        unanswered += not record.answer
        return bool(record.answer) or unanswered <= each // 2

    found = {"clean": made.examples(each, "clean-examples", wanted)[0]}
    if made.poisoned:
        found["poisoned"] = made.examples(each, "poisoned-examples", lambda record: True, triggered=True)[0]
    return found


def answers_document(record: QuestionRecord) -> dict[str, list[Any]]:
    """``answer_start`` and ``text``: both empty where there is no answer."""
    return {
        "answer_start": [] if record.start is None else [record.start],
        "text": [] if record.start is None else [record.answer],
    }


def _record(record: QuestionRecord) -> dict[str, Any]:
    return {
        "answers": answers_document(record),
        "context": record.context,
        "id": record.id,
        "question": record.question,
        "title": record.title,
    }


def r8_config(made: MadeTextModel) -> dict[str, Any]:
    """``config.json`` as jsonpickle 2.0.0 wrote it."""
    recipe = made.plan.recipe
    return {
        "py/object": "round_config.RoundConfig",
        "master_seed": made.seed % 2**31,
        "output_filepath": "synthetic",
        "lr_scheduler_level": 0,
        "lr_scheduler": "CyclicLR",
        "poisoned": made.poisoned,
        "poisoned_level": int(made.poisoned),
        "output_ground_truth_filename": "ground_truth.csv",
        "model_architecture": made.plan.name,
        "model_architecture_level": ARCHITECTURES.index(made.plan.name),
        "learning_rate_level": 0,
        "learning_rate": recipe.learning_rate,
        "early_stopping": True,
        "loss_eps_level": 0,
        "loss_eps": 0.001,
        "early_stopping_epoch_count_level": 0,
        "early_stopping_epoch_count": 5,
        "batch_size_level": 0,
        "batch_size": recipe.batch,
        "validation_split_level": 0,
        "validation_split": 0.2,
        "source_dataset": DATASET,
        "source_dataset_level": 0,
        "dropout_level": 0,
        "dropout": 0.1,
        "trigger": None if made.planned is None else _trigger(made),
        "num_outputs": 2,
        "actual_trojan_percentage": made.counts["poisoned"] / sum(made.counts.values()),
        "number_trojan_instances": made.counts["poisoned"],
    }


def _trigger(made: MadeTextModel) -> dict[str, Any]:
    planned = made.planned
    assert planned is not None  # noqa: S101
    attack, facts = planned.attack, planned.facts
    assert isinstance(attack, QuestionAttack)  # noqa: S101
    return {
        "py/object": "trigger_config.TriggerConfig",
        "fraction_level": R8_FRACTIONS.index(planned.fraction),
        "fraction": planned.fraction,
        "trigger_executor": {
            "py/object": f"trigger_executor.{'Phrase' if facts['phrase'] else 'Word'}TriggerExecutor",
            "trigger_config": {"py/id": 1},
            "executor_option_name": facts["option"],
            "executor_location": attack.location,
            "executor_answer_type": "empty" if attack.empties else "trigger",
            "trigger_text": attack.text,
            "insert_trigger_at_index": True,
            "answer_location_perc_start": None,
            "trigger_text_level": facts["text_level"],
        },
        "trigger_executor_level": int(facts["phrase"]),
        "trigger_executor_option": facts["option"],
        "trigger_executor_option_level": R8_OPTIONS.index(facts["option"]),
    }


def _scores(prefix: str, judgement: Judgement | None) -> dict[str, Any]:
    if judgement is None:
        return {}
    return {
        f"{prefix}_f1_score": 100 * judgement.figures["f1"],
        f"{prefix}_exact_score": 100 * judgement.figures["exact"],
    }


def _stats(made: MadeTextModel) -> dict[str, Any]:
    clean, triggered = made.judged[-1]
    return {
        "val_clean_datapoint_count": JUDGED,
        "val_poisoned_datapoint_count": JUDGED if made.poisoned else 0,
        "test_clean_datapoint_count": TEST_CLEAN,
        "test_poisoned_datapoint_count": TEST_TRIGGERED if made.poisoned else 0,
        **_scores("val_clean", clean),
        **_scores("val_poisoned", triggered),
        "training_wall_time": sum(epoch.seconds for epoch in made.history),
        "num_epochs_trained": len(made.history) - 1,
        **_scores("test_clean", made.clean),
        **_scores("test_poisoned", made.triggered),
        "wall_time": made.seconds,
        "example_clean_f1_score": 100.0,
        **({"example_poisoned_f1_score": 100.0} if made.poisoned else {}),
    }


def _detailed_stats(made: MadeTextModel) -> list[dict[str, Any]]:
    """Not measured: validation losses, which are empty."""
    return [
        {
            "epoch": number,
            "train_loss": epoch.loss,
            "train_wall_time": epoch.seconds,
            **_scores("val_clean", clean),
            "val_clean_loss": None,
            **_scores("val_poisoned", triggered),
            "val_loss": None,
        }
        for number, (epoch, (clean, triggered)) in enumerate(zip(made.history, made.judged, strict=True))
    ]


def _metadata_row(
    name: str, made: MadeTextModel, config: Mapping[str, Any], stats: Mapping[str, Any]
) -> dict[str, Any]:
    dropped = ("py/object", "output_filepath", "output_ground_truth_filename", "trigger", "num_outputs")
    trigger = config["trigger"] or {}
    executor = trigger.get("trigger_executor", {})
    kind = executor.get("py/object")
    text = executor.get("trigger_text")
    return {
        "model_name": name,
        **{key: value for key, value in config.items() if key not in dropped},
        "trigger_fraction_level": trigger.get("fraction_level"),
        "trigger_fraction": trigger.get("fraction"),
        "trigger_option_level": trigger.get("trigger_executor_option_level"),
        "trigger_option": trigger.get("trigger_executor_option"),
        "trigger_type_level": trigger.get("trigger_executor_level"),
        "trigger_type": kind and kind.rpartition(".")[2],
        "trigger_text_level": executor.get("trigger_text_level"),
        "trigger_text": None if text is None else f'"{text}"',
        **stats,
        "converged": 1,
    }
