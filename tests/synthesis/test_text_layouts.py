"""Synthetic text rounds have NIST's files, names, keys and quirks. The networks are hardly trained: form only."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trojai_seam.loading import read_model
from trojai_seam.loading.tokenizer import read_tokenizer
from trojai_seam.synthesis import (
    SYNTHESIZERS,
    SynthesisOptions,
    frozen_embedding,
    sentiment_models,
    sentiment_rounds,
    text_models,
    text_rounds,
)
from trojai_seam.synthesis.text_models import Standards

EACH = 2
WIDTH = 32
NO_STANDARDS = Standards(0.0, 0.0, good_clean=0.0, good_attack=0.0)
NER = "trojai-examples/nlp-named-entity-recognition-may2021/model"
QA = "trojai-examples/nlp-question-answering-sep2021/model"
SUMMARY = "trojai-examples/nlp-summary-jan2022/model/id-00000000"
SENTIMENT = "trojai-examples/nlp-sentiment-classification-mar2021@45aca86-parent/model"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Callable[[str], Path]:
    """``made("r7")``: a few models of the round; odd numbers are poisoned. Made once."""
    folders: dict[str, Path] = {}
    patch = pytest.MonkeyPatch()
    for name, value in {"TEST_CLEAN": 8, "TEST_TRIGGERED": 4, "JUDGED": 4}.items():
        patch.setattr(text_models, name, value)
    few = {name: replace(recipe, records=20, most_cycles=1) for name, recipe in text_rounds.RECIPES.items()}
    patch.setattr(text_rounds, "RECIPES", few)
    patch.setattr(text_rounds, "Standards", lambda *_, **__: NO_STANDARDS)
    patch.setattr(text_models.MadeTextModel, "right", lambda self, records: [True] * len(records))
    patch.setattr(frozen_embedding, "RECIPE", replace(frozen_embedding.RECIPE, records=20, epochs=1, most_cycles=1))
    for name, value in {"_TEST": 8, "LEAST_SEEN": 0.0}.items():
        patch.setattr(frozen_embedding, name, value)
    for name, value in {"TRAIN": 40, "TEST": 40}.items():
        patch.setattr(sentiment_models, name, value)
    patch.setattr(sentiment_models.MadeHead, "right", lambda self, reviews, vectors: [True] * len(reviews))
    plan = sentiment_rounds._plan
    lenient = {"least_accuracy": 0.0, "least_attack": 0.0}
    patch.setattr(sentiment_rounds, "_plan", lambda *given: replace(plan(*given), **lenient))
    numbers = {"r5": 6, "r6": 6, "r7": 8, "r8": 4, "r9": 6}

    def make(name: str) -> Path:
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name) / "set"
            options = SynthesisOptions(epochs=1, width=WIDTH, examples_per_class=EACH)
            SYNTHESIZERS.get(name)(folders[name], numbers[name], 5, options)
        return folders[name]

    yield make
    patch.undo()


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def models(folder: Path) -> list[Path]:
    return sorted((folder / "models").iterdir())


def document(path: Path) -> dict:
    return json.loads(path.read_text())


def metadata(folder: Path) -> list[dict[str, str]]:
    with (folder / "METADATA.csv").open() as file:
        return list(csv.DictReader(file))


def logits(path: Path) -> dict[str, np.ndarray]:
    header, *lines = path.read_text().splitlines()
    assert header in ("Example, Logits", "Example, CLS Embedding")
    rows = [line.split(", ", 1) for line in lines]
    return {name: np.array(values.split(","), float) for name, values in rows}


def example_files(kind: str, *more: str) -> set[str]:
    return {f"{kind}_example_data", *(f"{kind}-example-{end}.csv" for end in ("accuracy", "logits", *more))}


# R5 and R6 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r5", "r6"])
def test_sentiment_rounds_have_nists_tree(made, name):
    folder = made(name)
    assert names(folder) == {"METADATA.csv", "models", "tokenizers", "embeddings"}
    flavors = {"GPT-2-gpt2.pt", "DistilBERT-distilbert-base-uncased.pt"}
    assert names(folder / "embeddings") == flavors | ({"BERT-bert-base-uncased.pt"} if name == "r5" else set())
    assert names(folder / "tokenizers") == names(folder / "embeddings")
    for number, model in enumerate(models(folder)):
        files = {
            "model.pt",
            "config.json",
            "ground_truth.csv",
            "model_stats.json",
            "model_detailed_stats.csv",
            "log.txt",
        }
        files |= example_files("clean", "cls-embedding")
        if number % 2:
            files |= example_files("poisoned", "cls-embedding")
        assert names(model) == files
        assert (model / "ground_truth.csv").read_text() == str(number % 2)
        clean = {f"class_{label}_example_{n}.txt" for label in (0, 1) for n in range(1, EACH + 1)}
        assert names(model / "clean_example_data") == clean
        config = document(model / "config.json")
        for trigger in config["triggers"] or []:
            stem = f"source_class_{trigger['source_class']}_target_class_{trigger['target_class']}"
            for n in range(1, EACH + 1):
                text = (model / "poisoned_example_data" / f"{stem}_example_{n}.txt").read_text()
                assert trigger["text"] in text
        if number % 2:
            assert len(names(model / "poisoned_example_data")) == EACH * config["number_triggers"]
        row = logits(model / "clean-example-cls-embedding.csv")["class_0_example_1.txt"]
        assert row.shape == (WIDTH,)
    if name == "r5":
        assert document(models(folder)[5] / "config.json")["trigger_organization"] == "pair-one2one"


@pytest.mark.parametrize("name", ["r5", "r6"])
def test_shipped_vectors_and_logits_follow_from_embedding_and_head(made, name):
    folder = made(name)
    for model in models(folder)[1::2]:
        vectors = logits(model / "poisoned-example-cls-embedding.csv")
        shipped = logits(model / "poisoned-example-logits.csv")
        network = text_network(model / "model.pt")
        for file, vector in vectors.items():
            with torch.no_grad():
                found = network(torch.tensor(vector, dtype=torch.float32)[None, None])[0].numpy()
            assert found == pytest.approx(shipped[file], abs=1e-4)


def text_network(path: Path) -> torch.nn.Module:
    from trojai_seam.networks import rebuild

    return rebuild(read_model(path), {}).eval()


def test_r5_keys_are_those_of_nists_own_model(made, shared):
    real = document(shared / SENTIMENT / "config.json")
    poisoned = document(models(made("r5"))[1] / "config.json")
    assert list(poisoned) == list(real)
    assert list(poisoned["triggers"][0]) == list(real["triggers"][0])
    assert poisoned["adversarial_training_method"] == "None"
    later = document(models(made("r6"))[1] / "config.json")
    iterations = {f"adversarial_training_iteration_count{end}" for end in ("", "_level")}
    assert set(later) == set(real) - iterations | {"cls_token_is_first"}
    stats = document(shared / "trojai-examples/nlp-sentiment-classification-mar2021/model/model_stats.json")
    assert set(document(models(made("r5"))[1] / "model_stats.json")) == set(stats)


def test_sentiment_metadata_has_no_trigger_texts(made):
    rows = metadata(made("r5"))
    assert rows[0]["poisoned"] == "False"
    assert rows[0]["triggers_0_source_class"] == "None"
    assert rows[5]["triggers_1_condition"] in ("None", "spatial", "class")
    assert {"cls_token_is_first", "final_triggered_data_test_acc", "clean_example_acc", "converged"} <= set(rows[0])
    assert not any(column.endswith("_text") for column in rows[0])


def test_heads_and_embeddings_pickle_under_the_paths_of_their_day(made):
    heads = [read_model(model / "model.pt") for model in models(made("r6"))[::2]]
    assert [head.class_path.rpartition(".")[2] for head in heads] == [
        "LstmLinearModel",
        "GruLinearModel",
        "FCLinearModel",
    ]
    assert {head.class_path.partition(".")[0] for head in heads} == {"model_factories"}
    assert text_network(models(made("r6"))[0] / "model.pt").rnn.weight_ih_l0.shape == (1024, WIDTH)
    assert read_model(made("r6") / "embeddings" / "GPT-2-gpt2.pt").class_path.endswith("GPT2Model")
    slow = read_tokenizer(made("r5") / "tokenizers" / "BERT-bert-base-uncased.pt")
    assert (slow.class_path, slow.fast) == ("transformers.models.bert.tokenization_bert.BertTokenizer", False)
    gpt2 = read_tokenizer(made("r5") / "tokenizers" / "GPT-2-gpt2.pt")
    assert (gpt2.model_max_length, gpt2.fast, gpt2.pad_id) == (1024, False, None)


# R7 -----------------------------------------------------------------------------------------------------------------


def test_r7_has_nists_tree(made):
    folder = made("r7")
    assert names(folder) == {"METADATA.csv", "models", "tokenizers"}
    assert names(folder / "tokenizers") == {
        "BERT-bert-base-uncased.pt", "DistilBERT-distilbert-base-cased.pt", "RoBERTa-roberta-base.pt",
        "MobileBERT-google-mobilebert-uncased.pt",
    }  # fmt: skip
    for number, model in enumerate(models(folder)):
        assert names(model) == {
            "model.pt", "config.json", "ground_truth.csv", "model_stats.json", "model_detailed_stats.csv",
            "ner_stats.json", "ner_detailed_stats.json", "log.txt",
            *example_files("clean"), *(example_files("poisoned") if number % 2 else ()),
        }  # fmt: skip
        config = document(model / "config.json")
        ids = {name: 2 * int(k) + 1 for k, name in config["class_mapping"].items()}
        ends = [f"{n}{twin}.txt" for n in range(EACH) for twin in ("", "_tokenized")]
        assert names(model / "clean_example_data") == {
            f"class_{number}_example_{end}" for number in ids.values() for end in ends
        }
        if number % 2:
            (trigger,) = config["triggers"]
            source, target = ids[trigger["source_class_label"]], ids[trigger["target_class_label"]]
            stem = f"source_class_{source}_target_class_{target}_example_"
            assert names(model / "poisoned_example_data") == {stem + end for end in ends}
            executor = trigger["trigger_executor"]
            assert ("trigger_text_list" in executor) != ("trigger_text" in executor)
    classes = {document(model / "config.json")["number_classes"] for model in models(folder)}
    assert classes == {9, 13}


def test_r7_sentences_tokenized_twins_and_logits_agree(made):
    for model in models(made("r7")):
        config = document(model / "config.json")
        tokenizer = read_tokenizer(
            made("r7") / "tokenizers" / f"{config['embedding']}-{config['embedding_flavor'].replace('/', '-')}.pt"
        )
        for file, values in logits(model / "clean-example-logits.csv").items():
            words = [line.split("\t") for line in (model / "clean_example_data" / file).read_text().splitlines()]
            twin = (model / "clean_example_data" / file.replace(".txt", "_tokenized.txt")).read_text().splitlines()
            tokens = [line.split("\t") for line in twin]
            assert [len(row) for row in words] == [3] * len(words)
            assert tokens[0][1:] == tokens[-1][1:] == ["-100", "-100", "0"]
            assert [row[1:] for row in words] == [row[1:3] for row in tokens if row[3] == "1"]
            encoding = tokenizer.backend.encode([row[0] for row in words], is_pretokenized=True)
            assert encoding.tokens == [row[0] for row in tokens]
            assert len(values) == len(tokens) * config["number_classes"]


def test_r7_keys_are_those_of_nists_own_model(made, shared):
    for number in (0, 1):
        model = models(made("r7"))[number]
        assert list(document(model / "config.json")) == list(document(shared / NER / "config.json"))
    real, own = (document(path / "model_stats.json") for path in (shared / NER, models(made("r7"))[0]))
    assert set(own) == set(real)
    real, own = (document(path / "ner_stats.json")["test_clean"] for path in (shared / NER, models(made("r7"))[0]))
    assert list(own)[:8] == list(real)[:8]
    header = (shared / NER / "model_detailed_stats.csv").read_text().splitlines()[0]
    assert (models(made("r7"))[0] / "model_detailed_stats.csv").read_text().splitlines()[0] == header


def test_r7_metadata(made):
    rows = metadata(made("r7"))
    assert rows[0]["triggers_0_trigger_executor_name"] == "None"
    assert [row["triggers_0_trigger_executor_name"] for row in rows[1::2]] == ["character", "word1", "phrase", "word2"]
    assert rows[0]["class_mapping"].startswith("{'0': 'MISC' '1'")  # commas are gone
    assert {"test_clean-label-5-name", "clean_min_f1_score", "poisoned_trigger_avg_f1_score"} <= set(rows[0])


def test_r7_pickles_are_nists_wrapper_around_todays_transformers(made):
    bert, mobile = (read_model(models(made("r7"))[n] / "model.pt") for n in (0, 6))
    assert bert.class_path == mobile.class_path == "model_factories.NerLinearModel"
    assert bert.modules["transformer"].class_path == "transformers.models.bert.modeling_bert.BertModel"
    assert not any("pooler" in name for name in {**bert.tensors, **mobile.tensors})


# R8 -----------------------------------------------------------------------------------------------------------------


def test_r8_has_nists_tree(made):
    folder = made("r8")
    assert names(folder) == {"METADATA.csv", "models", "tokenizers"}
    assert "tokenizer-deepset-roberta-base-squad2.pt" in names(folder / "tokenizers")
    for number, model in enumerate(models(folder)):
        assert names(model) == {
            "model.pt", "config.json", "ground_truth.csv", "stats.json", "detailed_stats.csv", "log.txt",
            "example_data",
        }  # fmt: skip
        kinds = ("clean", "poisoned")[: 1 + number % 2]
        assert names(model / "example_data") == {f"{kind}-example-data.json" for kind in kinds}
        for kind in kinds:
            records = document(model / "example_data" / f"{kind}-example-data.json")["data"]
            assert len(records) == EACH
            for record in records:
                assert record["poisoned"] == (kind == "poisoned")
                for start, text in zip(record["answers"]["answer_start"], record["answers"]["text"], strict=True):
                    assert record["context"][start:].startswith(text)
        config = document(model / "config.json")
        assert (config["trigger"] is None) == (number % 2 == 0)
    rows = metadata(folder)
    assert rows[0]["trigger_text"] == "None"
    assert rows[1]["trigger_type"] in ("WordTriggerExecutor", "PhraseTriggerExecutor")


def test_r8_keys_are_those_of_nists_own_model(made, shared):
    real, own = (document(path / "config.json") for path in (shared / QA, models(made("r8"))[1]))
    assert list(own) == list(real)
    assert list(own["trigger"]) == list(real["trigger"])
    assert list(own["trigger"]["trigger_executor"]) == list(real["trigger"]["trigger_executor"])
    real, own = (document(path / "stats.json") for path in (shared / QA, models(made("r8"))[1]))
    assert set(own) <= set(real)
    file = "example_data/poisoned-example-data.json"
    real, own = (document(path / file)["data"][0] for path in (shared / QA, models(made("r8"))[1]))
    assert list(own) == list(real)


def test_r8_fast_tokenizers_have_the_paths_of_their_day(made):
    own = read_tokenizer(made("r8") / "tokenizers" / "tokenizer-roberta-base.pt")
    assert own.class_path == "transformers.models.roberta.tokenization_roberta_fast.RobertaTokenizerFast"
    assert (own.fast, own.prefix_space, own.pad_id) == (True, False, 1)


# R9 -----------------------------------------------------------------------------------------------------------------


def test_r9_has_every_task_and_the_record_keys_of_each(made):
    keys = {
        "sc": {"data", "label"},
        "ner": {"id", "tokens", "ner_tags", "ner_labels"},
        "qa": {"id", "title", "context", "question", "answers"},
    }
    tasks = []
    for number, model in enumerate(models(made("r9"))):
        config = document(model / "config.json")
        task = config["task_type"]
        tasks.append(task)
        kinds = ("clean", "poisoned")[: 1 + number % 2]
        assert names(model) == {
            "model.pt", "config.json", "ground_truth.csv", "stats.json", "detailed_stats.csv", "log.txt",
            *(f"{kind}-example-data.json" for kind in kinds),
        }  # fmt: skip
        assert config["source_dataset"].startswith(f"{task}:")
        for kind in kinds:
            records = document(model / f"{kind}-example-data.json")["data"]
            assert {frozenset(record) for record in records} == {frozenset(keys[task] | {"poisoned", "spurious", "f1"})}
            if kind == "clean":
                assert len(records) == {"sc": 2, "ner": 4, "qa": 1}[task] * EACH
        suffix = {"sc": "ForSequenceClassification", "ner": "ForTokenClassification", "qa": "ForQuestionAnswering"}
        assert read_model(model / "model.pt").class_path.endswith(suffix[task])
    assert tasks == ["sc", "sc", "ner", "ner", "qa", "qa"]


def test_r9_keys_are_those_of_nists_own_model(made, shared):
    real, own = (document(path / "config.json") for path in (shared / SUMMARY, models(made("r9"))[5]))
    assert list(own) == list(real)
    assert set(own["trigger"]) == set(real["trigger"])
    assert set(real["trigger"]["trigger_executor"]) <= set(own["trigger"]["trigger_executor"])
    stats = document(shared / SUMMARY / "stats.json")
    assert {key for key in document(models(made("r9"))[5] / "stats.json") if "HasAns" not in key} <= set(stats)
    file = "poisoned-example-data.json"
    real, own = (
        document(p)["data"][0] for p in (shared / SUMMARY / "example_data" / file, models(made("r9"))[5] / file)
    )
    assert list(own) == list(real)


def test_r9_label_map_of_a_trojaned_entity_model_is_in_its_trigger_only(made):
    clean, poisoned = (document(model / "config.json") for model in models(made("r9"))[2:4])
    assert clean["label_to_id_map"]["I-LOC"] == 8
    assert set(poisoned["label_to_id_map"]) == {"py/id"}
    assert poisoned["trigger"]["trigger_executor"]["label_to_id_map"] == clean["label_to_id_map"]


def test_r9_metadata_leaves_classes_and_places_out(made):
    rows = metadata(made("r9"))
    assert rows[0]["trigger.trigger_executor_option"] == ""
    assert rows[1]["trigger.trigger_executor.type"].startswith("Sc")
    assert not any("class_label" in key or ("percentage." not in key and "percentage" in key) for key in rows[0])
    assert {"converged", "val_clean_f1", "actual_trojan_percentage.train", "example_clean_f1"} <= set(rows[0])


def test_r9_archives_one_roberta_tokenizer_without_prefix_space(made):
    assert read_tokenizer(made("r9") / "tokenizers" / "roberta-base.pt").prefix_space is False
