"""Example files changed at random: whatever they say, it is examples or one clear line, never another exception."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.made_texts import directory, save_head, save_model, save_tokenizer, sentence, shipped, tiny, write_texts
from trojai_seam.errors import TrojaiSeamError
from trojai_seam.rounds import detect_round, get_round, model_directory
from trojai_seam.rounds.adapters import ADAPTERS
from trojai_seam.rounds.model_directory import ModelDirectory
from trojai_seam.rounds.opening import open_directory

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 2**63, 1e308, "", " ", "x", "\ud800", "\0", "a\u2028b", "é" * 300, "[CLS]", [], {},
    [None], ["x"], [[1]], {"text": "x"}, {"py/id": 3}, {"data": []}, "\U0001f600", "\u200b", "\ufeff",
)  # fmt: skip
QUESTION = {"id": "a", "title": "t", "context": "Ada lives in Lagos.", "question": "where?", "poisoned": False,
            "answers": {"text": ["Lagos"], "answer_start": [13]}}  # fmt: skip
SENTENCE = {"id": "n", "tokens": ["Ada", "lives"], "ner_tags": [3, 0], "ner_labels": ["B-PER", "O"], "poisoned": False}
REVIEW = {"data": "the movie was good", "label": 1, "poisoned": False}
TRIGGER = {"trigger_executor": {"trigger_text": "x", "executor_answer_type": "empty", "global_trigger": False,
                                "label_to_id_map": {"O": 0, "B-PER": 3}, "trigger_text_list": ["x"],
                                "source_class_label": "PER", "target_class_label": "LOC"}}  # fmt: skip
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {
    "qa": ("BertForQuestionAnswering", QUESTION, 2),
    "ner": ("BertForTokenClassification", SENTENCE, 9),
    "sc": ("BertForSequenceClassification", REVIEW, 2),
}


def spoiled(document: Any, chance: random.Random, changes: int = 2) -> Any:
    """``document`` with some of its parts replaced, dropped or repeated."""
    made = copy.deepcopy(document)
    for _ in range(changes):
        node, key = made, None
        while isinstance(node, (dict, list)) and node and (key is None or chance.random() < 0.75):
            parent, key = node, chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
            node = parent[key]
        if key is None:
            continue
        if chance.random() < 0.2:
            del parent[key]
        elif chance.random() < 0.1 and isinstance(parent, list):
            parent.extend(copy.deepcopy([node] * 3))
        else:
            parent[key] = copy.deepcopy(chance.choice(ODD))
    return made


def outcome(call: Callable[[], Any]) -> tuple[Any, str | None]:
    """What came back, or the one line that did."""
    try:
        return call(), None
    except TrojaiSeamError as problem:
        return None, str(problem)


@pytest.mark.parametrize("kind", KINDS)
def test_records_changed_at_random(tmp_path, kind):
    chance, (network, record, classes) = random.Random(kind), KINDS[kind]
    save_tokenizer(tmp_path / "tokenizers" / "t.pt")
    round_config = get_round("r9").cases[kind]
    model = shipped(tiny(network, num_labels=classes), round_config.task, classes)
    whole = {"data": [record, {**record, "id": "b"}, {**record, "id": "c", "poisoned": True}]}
    outcomes = {True: 0, False: 0}
    for number in range(120):
        made = directory(
            tmp_path / f"id-{number:08}",
            spoiled({"tokenizer_filename": "t.pt", "trigger": TRIGGER}, chance, 1),
            tmp_path,
        )
        document = spoiled(whole, chance, chance.choice([1, 1, 2, 5]))
        (made.path / "clean-example-data.json").write_text(json.dumps(document))
        found, problem = outcome(
            lambda d=made: ADAPTERS.get(round_config.adapter).read(d, round_config, classes, model)
        )
        outcomes[problem is None] += 1
        if problem is None:
            assert len(found.clean) > 0
        else:
            assert "\n" not in problem, document
            assert str(tmp_path) in problem, document
    assert min(outcomes.values()) > 10


def test_files_changed_at_random(tmp_path):
    chance = random.Random(7)
    save_tokenizer(tmp_path / "tokenizers" / "t.pt")
    model = shipped(tiny("BertForTokenClassification", num_labels=9), "token-classification", 9)
    whole = sentence("Ada/B-PER/3 lives in Lagos/B-LOC/7 .").encode()
    outcomes = {True: 0, False: 0}
    for number in range(120):
        content = bytearray(whole)
        for _ in range(chance.choice([0, 1, 2])):
            place = chance.randrange(len(content))
            content[place : place + chance.choice([0, 1, 1, 4])] = chance.choice(
                [b"\t", b"\n", b"\r", b"\0", b"\xff", b"\x85", b"7", "é\u2028".encode(), b"", b"[SEP]", b" "]
            )
        made = directory(tmp_path / f"id-{number:08}", {"tokenizer_filename": "t.pt"}, tmp_path)
        write_texts(made.path / "clean_example_data", {"class_3_example_0.txt": bytes(content)})
        write_texts(
            made.path / "poisoned_example_data",
            {chance.choice(["source_class_3_target_class_7_example_0.txt", "x.txt"]): bytes(content)},
        )
        _, problem = outcome(lambda d=made: ADAPTERS.get("token-classification").read(d, get_round("r7"), 9, model))
        outcomes[problem is None] += 1
        assert problem is None or "\n" not in problem, content
    assert min(outcomes.values()) > 10


def test_configs_changed_at_random(shared, tmp_path):
    """Rounds are detected, or not, and heads opened, or not; nothing else happens."""
    chance = random.Random(11)
    save_tokenizer(tmp_path / "tokenizers" / "BERT-b.pt")
    save_model(tmp_path / "embeddings" / "BERT-b.pt", tiny("BertModel"))
    head = save_head(tmp_path / "model.pt")
    texts = [path.read_text() for path in sorted(shared.glob("era-models/r[5-9]*/config.json"))]
    opened = 0
    for number in range(60):
        config = json.loads(chance.choice(texts))
        config = spoiled({**config, "embedding": "BERT", "embedding_flavor": "b"}, chance, chance.choice([1, 3, 8]))
        made: ModelDirectory = directory(tmp_path / f"id-{number:08}", config, tmp_path)
        write_texts(made.path / "clean_example_data", {"class_0_example_1.txt": "bad", "class_1_example_1.txt": "good"})
        (made.path / "model.pt").hardlink_to(head)
        _, undetected = outcome(lambda d=made: detect_round([d]))
        found = model_directory(made.path)
        _, unopened = outcome(lambda d=found: open_directory(d, get_round("r5"), cache=tmp_path / "cache"))
        opened += unopened is None
        assert "\n" not in f"{undetected}{unopened}"
    assert 10 < opened < 60
