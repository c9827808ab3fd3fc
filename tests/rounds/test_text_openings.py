"""Whole openings: model files of the period with NIST's real examples and tokenizers around them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from trojai_seam.api import open_subject
from trojai_seam.errors import DatasetProblem, ExampleProblem
from trojai_seam.scoring import predict

QUESTIONS = {
    "r8-qa-electra": "nlp-question-answering-sep2021/model",
    "r9-qa-electra": "nlp-summary-jan2022/model/id-00000000",
    "qa23-mobilebert": "nlp-question-answering-aug2023/model/id-00000003",
}


def around(model: Path, shared: Path, example: str, folder: Path, examples: str = "example_data") -> Path:
    """A dataset of one model of the period, with the examples and tokenizers of a real one."""
    made = folder / "models" / "id-00000000"
    shutil.copytree(model, made)
    real = shared / "trojai-examples" / example
    shutil.copytree(real / examples, made / examples)
    shutil.copytree(shared / "trojai-examples" / Path(example).parts[0] / "tokenizers", folder / "tokenizers")
    return made


@pytest.mark.parametrize(("name", "example"), QUESTIONS.items())
def test_questions(shared, era_model, tmp_path, name, example):
    made = around(era_model(name), shared, example, tmp_path)
    subject = open_subject(made)
    assert (subject.task.name, len(subject.clean), len(subject.poisoned)) == ("span-extraction", 20, 20)
    assert subject.facts["task"] == "span-extraction"
    assert "token_type_ids" in subject.clean.inputs
    answers = predict(subject.model, subject.task, subject.clean)
    assert answers.finite.all()
    # A record counts the same with other records beside it or none.
    alone = predict(subject.model, subject.task, subject.clean.subset([3]))
    assert answers.accuracy.points[3] == pytest.approx(alone.accuracy.points[0])


def test_a_server_directory_has_a_reduced_config_and_no_poisoned_examples(shared, era_model, tmp_path):
    made = around(era_model("qa23-mobilebert"), shared, QUESTIONS["qa23-mobilebert"], tmp_path)
    (made / "config.json").unlink()
    (made / "ground_truth.csv").unlink()
    (made / "example_data" / "poisoned-example-data.json").unlink()
    (made / "example_data").rename(made / "clean-example-data")
    subject = open_subject(made)
    assert (len(subject.clean), subject.poisoned, subject.facts["poisoned"]) == (20, None, None)
    assert subject.facts["round"] == "nlp-question-answering-aug2023"


def test_without_a_task_type_the_class_tells_and_a_wrong_one_is_found_out(shared, era_model, tmp_path):
    made = around(era_model("r9-qa-electra"), shared, QUESTIONS["r9-qa-electra"], tmp_path)
    config = json.loads((made / "config.json").read_text())
    del config["task_type"]
    (made / "config.json").write_text(json.dumps(config))
    assert open_subject(made, round="r9").task.name == "span-extraction"
    (made / "config.json").write_text(json.dumps({**config, "task_type": "ner"}))
    with pytest.raises(DatasetProblem, match=r"task_type is ner, but model\.pt is a .*ForQuestionAnswering, for qa"):
        open_subject(made)


def test_entities(shared, era_model, tmp_path):
    example = "nlp-named-entity-recognition-may2021/model"
    made = around(era_model("r7-ner-bert"), shared, example, tmp_path, "clean_example_data")
    (tokenizer,) = (tmp_path / "tokenizers").iterdir()
    tokenizer.rename(tokenizer.with_name("BERT-bert-base-uncased.pt"))  # the vocabulary is the same
    with pytest.raises(ExampleProblem, match=r"label \d+, but the network has only classes 0 to 8"):
        open_subject(made)
    for path in (made / "clean_example_data").iterdir():
        if any(int(line.split("\t")[2]) > 8 for line in path.read_text().splitlines()):
            path.unlink()
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(json.dumps({**config, "class_mapping": None}))
    subject = open_subject(made)
    assert subject.task.name == "token-classification"
    assert len(subject.clean) > 20
    assert set(subject.clean.inputs) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        outputs = subject.task.outputs(subject.model, subject.clean.inputs)
    assert outputs.shape == (*subject.clean.labels.shape, 9)
    assert predict(subject.model, subject.task, subject.clean).finite.all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: (made / "model.pt").unlink(), r"model\.pt"),
        (lambda made: shutil.rmtree(made / "example_data"), "no clean example"),
        (lambda made: shutil.rmtree(made.parents[1] / "tokenizers"), "the tokenizer is missing"),
    ],
)
def test_what_is_missing_is_one_clear_line(
    shared: Path, era_model: Callable[..., Path], tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    from trojai_seam.errors import TrojaiSeamError

    made = around(era_model("r8-qa-electra"), shared, QUESTIONS["r8-qa-electra"], tmp_path)
    change(made)
    with pytest.raises(TrojaiSeamError, match=says) as caught:
        open_subject(made)
    assert str(made) in str(caught.value)
    assert "\n" not in str(caught.value)
