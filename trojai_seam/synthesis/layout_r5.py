"""The files of one model of ``nlp-sentiment-classification-mar2021`` (round 5) or ``-apr2021`` (round 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nist_files import stats_columns, write_accuracy, write_detailed_stats, write_json
from .sentiment_heads import save_head
from .sentiment_models import MadeHead
from .text_attacks import R5_CONDITIONS, R5_FRACTIONS, R5_TYPES
from .text_files import TrainingFacts, trojai_stats, write_token_logits, write_truth_and_log
from .text_models import PlannedAttack
from .text_reviews import NEGATIVE, POSITIVE
from .text_triggers import ReviewAttack

DROPOUTS = (0.1, 0.25, 0.5)
ORGANIZATIONS = ("one2one", "pair-one2one")
_TRIGGER_COLUMNS = (
    "source_class", "target_class", "fraction_level", "fraction", "behavior", "type_level", "type", "condition_level",
    "condition",
)  # fmt: skip


@dataclass(frozen=True)
class SentimentLayout:
    """What the configs of rounds 5 and 6 differ in.

    Attributes:
        architectures: names of heads, in the order of their levels.
        embeddings: name to hub name, in the order of their levels.
        datasets: sources of texts, in the order of their levels.
        hidden: sizes of hidden states.
        layers: numbers of layers.
        bidirectional: which directions occur.
        organizations: how triggers are organised.
        iterations: whether adversarial training has a number of iterations.
    """

    architectures: tuple[str, ...]
    embeddings: Mapping[str, str]
    datasets: tuple[str, ...]
    hidden: tuple[int, ...]
    layers: tuple[int, ...]
    bidirectional: tuple[bool, ...]
    organizations: tuple[str, ...]
    iterations: bool


R5_LAYOUT = SentimentLayout(
    ("LstmLinear", "GruLinear"),
    {"BERT": "bert-base-uncased", "GPT-2": "gpt2", "DistilBERT": "distilbert-base-uncased"},
    ("imdb", "amazon-Video_Games_5", "amazon-Software_5"),
    (256,),
    (2,),
    (True,),
    ORGANIZATIONS,
    iterations=True,
)
R6_LAYOUT = SentimentLayout(
    ("LstmLinear", "GruLinear", "FCLinear"),
    {"GPT-2": "gpt2", "DistilBERT": "distilbert-base-uncased"},
    ("amazon-Electronics_5", "amazon-Toys_and_Games_5", "amazon-Video_Games_5"),
    (256, 512),
    (2, 4),
    (False, True),
    ORGANIZATIONS[:1],
    iterations=False,
)


def embedding_file(embedding: str, flavor: str) -> str:
    """``DistilBERT-distilbert-base-uncased.pt``, in ``embeddings/`` and in ``tokenizers/``."""
    return f"{embedding}-{flavor}.pt"


def write_sentiment_model(
    folder: Path, made: MadeHead, layout: SentimentLayout, embedding: str, dataset: str, each: int
) -> Mapping[str, Any]:
    """Everything in ``id-XXXXXXXX``, ``each`` texts per class; returns the model's row of METADATA.csv."""
    folder.mkdir()
    save_head(made.network, folder / "model.pt")
    write_truth_and_log(folder, made.poisoned, made.history)
    config, stats = sentiment_config(made, layout, embedding, dataset), trojai_stats(_facts(made))
    write_json(folder / "config.json", config)
    write_json(folder / "model_stats.json", stats)
    write_detailed_stats(folder / "model_detailed_stats.csv", made.history)
    clean = _write_examples(
        folder, made, "clean", [(f"class_{label}", label, label, None) for label in (NEGATIVE, POSITIVE)], each
    )
    poisoned = None
    if made.planned:
        wanted = []
        for one in made.planned:
            (source,) = _attack(one).sources
            wanted.append((f"source_class_{source}_target_class_{1 - source}", source, 1 - source, one))
        poisoned = _write_examples(folder, made, "poisoned", wanted, each)
    dropped = ("py/object", "triggers", "poisoned", "cls_token_is_first")
    kept = {k: v for k, v in config.items() if k not in dropped and not k.endswith(("filepath", "filename"))}
    row = {"model_name": folder.name, "poisoned": made.poisoned, **kept}
    row["cls_token_is_first"] = made.pool.embedding.first
    for k in (0, 1):
        trigger = config["triggers"][k] if k < len(made.planned) else {}
        row |= {f"triggers_{k}_{column}": trigger.get(column) for column in _TRIGGER_COLUMNS}
    row |= stats_columns(stats)
    return row | {"clean_example_acc": clean, "poisoned_example_acc": poisoned, "converged": 1}


def _attack(planned: PlannedAttack) -> ReviewAttack:
    assert isinstance(planned.attack, ReviewAttack)  # noqa: S101
    return planned.attack


def _facts(made: MadeHead) -> TrainingFacts:
    last = made.history[-1]
    attack = min(made.attack_success) if made.attack_success else None
    labels = [review.label for review in made.pool.test]
    clean = {str(label): labels.count(label) for label in (POSITIVE, NEGATIVE)}
    triggered = {str(1 - source): labels.count(source) for one in made.planned for source in _attack(one).sources}
    accuracies = (last.accuracy, last.attack, made.accuracy, attack)
    return TrainingFacts(
        made.plan.architecture, made.history, accuracies, clean, triggered, made.plan.recipe, made.seconds
    )


def _write_examples(
    folder: Path,
    made: MadeHead,
    kind: str,
    wanted: Sequence[tuple[str, int, int, PlannedAttack | None]],
    each: int,
) -> float:
    """``wanted``: beginning of the file names, class, expected answer and attack. Returns percents, also written."""
    examples = folder / f"{kind}_example_data"
    examples.mkdir()
    names: list[str] = []
    vectors: list[NDArray[np.float32]] = []
    logits: list[NDArray[np.float32]] = []
    expected: list[int] = []
    for stem, label, answer, attack in wanted:
        texts, some_vectors, some_logits = made.examples(each, label, attack)
        for number, text in enumerate(texts, start=1):
            names.append(f"{stem}_example_{number}.txt")
            (examples / names[-1]).write_text(text)
        vectors += list(some_vectors)
        logits += list(some_logits)
        expected += [answer] * each
    write_token_logits(folder / f"{kind}-example-logits.csv", names, logits)
    rows = [f"{name}, {','.join(str(float(n)) for n in one)}\n" for name, one in zip(names, vectors, strict=True)]
    (folder / f"{kind}-example-cls-embedding.csv").write_text("Example, CLS Embedding\n" + "".join(rows))
    return write_accuracy(folder / f"{kind}-example-accuracy.csv", np.stack(logits), expected)


def sentiment_config(made: MadeHead, layout: SentimentLayout, embedding: str, dataset: str) -> dict[str, Any]:
    """``config.json`` as jsonpickle wrote it: flat, and some missing values are the word ``None``."""
    plan = made.plan
    organization = layout.organizations[len(made.planned) - 1] if made.planned else None
    iterations = "adversarial_training_iteration_count"
    config = {
        "py/object": "round_config.RoundConfig",
        "master_seed": made.seed % 2**31,
        "output_filepath": "synthetic",
        "datasets_filepath": "synthetic",
        "number_classes_level": 0,
        "number_classes": 2,
        "poisoned_level": int(made.poisoned),
        "poisoned": made.poisoned,
        "output_ground_truth_filename": "ground_truth.csv",
        "model_architecture_level": layout.architectures.index(plan.architecture),
        "model_architecture": plan.architecture,
        "learning_rate_level": 0,
        "learning_rate": plan.recipe.learning_rate,
        "batch_size_level": 0,
        "batch_size": plan.recipe.batch,
        "loss_eps": 0.0001,
        "early_stopping_epoch_count": 20,
        "validation_split": 0.2,
        "adversarial_training_method_level": 0,
        "adversarial_training_method": "None",
        "embedding_level": list(layout.embeddings).index(embedding),
        "embedding": embedding,
        "embedding_flavor_level": 0,
        "embedding_flavor": layout.embeddings[embedding],
        "source_dataset_level": layout.datasets.index(dataset),
        "source_dataset": dataset,
        "rnn_hidden_state_size_level": layout.hidden.index(plan.hidden),
        "rnn_hidden_state_size": plan.hidden,
        "dropout_level": DROPOUTS.index(plan.dropout),
        "dropout": plan.dropout,
        "rnn_bidirection_level": layout.bidirectional.index(plan.bidirectional),
        "rnn_bidirectional": plan.bidirectional,
        "rnn_number_layers_level": layout.layers.index(plan.layers),
        "rnn_number_layers": plan.layers,
        "adversarial_eps_level": None,
        "adversarial_eps": None,
        "adversarial_training_ratio_level": None,
        "adversarial_training_ratio": None,
        **({f"{iterations}_level": None, iterations: None} if layout.iterations else {}),
        "triggers": [_trigger(number, one) for number, one in enumerate(made.planned)] or None,
        "trigger_organization_level": None if organization is None else layout.organizations.index(organization),
        "trigger_organization": organization,
        "number_triggers": len(made.planned),
    }
    return config if layout.iterations else config | {"cls_token_is_first": made.pool.embedding.first}


def _trigger(number: int, planned: PlannedAttack) -> dict[str, Any]:
    attack, facts = _attack(planned), planned.facts
    (source,) = attack.sources
    low, high = attack.window or (None, None)
    return {
        "py/object": "trigger_config.TriggerConfig",
        "number": number,
        "source_class": source,
        "target_class": 1 - source,
        "fraction_level": R5_FRACTIONS.index(planned.fraction),
        "fraction": planned.fraction,
        "behavior": "StaticTarget",
        "type_level": R5_TYPES.index(facts["type"]),
        "type": facts["type"],
        "text_level": facts["text_level"],
        "text": attack.text,
        "condition_level": R5_CONDITIONS.index(facts["condition"]),
        "condition": facts["condition"],
        "insert_min_location_percentage": low,
        "insert_max_location_percentage": high,
    }
