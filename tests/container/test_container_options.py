"""Every option that NIST's own entry points declare, and what it does here; examples where NIST puts them.

Looked up in usnistgov/trojai-example: entrypoint.py, example_trojan_detector.py, fake_trojan_detector.py,
example_trojai_mitigation.py and example_trojai_llm_mitigation.py of its 22 branches.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.made_texts import directory, save_model, save_tokenizer, tiny, write_records
from trojai_seam.container.arguments import parse_detection, parse_mitigation
from trojai_seam.container.metaparameters import packaged, read_metaparameters
from trojai_seam.container.subjects import clean_examples, given_model, open_given, with_examples, with_text_parts
from trojai_seam.errors import ConfigProblem, ExampleProblem, UsageProblem
from trojai_seam.rounds import get_round

RECORD = {"id": "a", "context": "Ada lives in Lagos.", "question": "where?", "poisoned": False,
          "answers": {"text": ["Lagos"], "answer_start": [13]}}  # fmt: skip

_INFER = ["model_filepath", "result_filepath", "scratch_dirpath", "examples_dirpath", "round_training_dataset_dirpath",
          "metaparameters_filepath", "schema_filepath", "learned_parameters_dirpath"]  # fmt: skip
_CONFIGURE = ["scratch_dirpath", "configure_models_dirpath", "metaparameters_filepath", "schema_filepath",
              "learned_parameters_dirpath"]  # fmt: skip
_MITIGATE = ["metaparameters_filepath", "schema_filepath", "model_filepath", "dataset_dirpath", "output_dirpath",
             "scratch_dirpath", "batch_size", "device", "num_workers", "round_training_dataset_dirpath"]  # fmt: skip
# Branch (of several with the same options the first) → command → options; flags are named in FLAGS.
DECLARED = {
    ("image-classification-feb2021", "infer"): _INFER[:4],
    ("image-classification-sep2022", "infer"): [*_INFER, "configure_models_dirpath", "configure_mode"],
    ("nlp-sentiment-classification-apr2021", "infer"): [*_INFER[:4], "cls_token_is_first", "tokenizer_filepath",
                                                        "embedding_filepath"],
    ("nlp-question-answering-sep2021", "infer"): [*_INFER[:4], "tokenizer_filepath"],
    ("nlp-summary-jan2022", "infer"): [*_INFER, "tokenizer_filepath", "features_filepath", "configure_mode",
                                       "configure_models_dirpath"],
    ("object-detection-jul2022", "infer"): [*_INFER, "source_dataset_dirpath", "configure_mode",
                                            "configure_models_dirpath"],
    ("baseline-example", "infer"): _INFER,
    ("baseline-example", "configure"): [*_CONFIGURE, "automatic_configuration"],
    ("cyber-pdf-dec2022", "infer"): [*_INFER, "scale_parameters_filepath"],
    ("cyber-pdf-dec2022", "configure"): [*_CONFIGURE, "automatic_configuration", "scale_parameters_filepath"],
    ("nlp-question-answering-aug2023", "infer"): [*_INFER, "tokenizer_filepath", "source_dataset_dirpath"],
    ("nlp-question-answering-aug2023", "configure"): [*_CONFIGURE, "tokenizers_dirpath", "automatic_configuration"],
    ("mitigation-image-classification-jun2024", "mitigate"): [*_MITIGATE, "model_output_name"],
    ("mitigation-image-classification-jun2024", "test"): _MITIGATE,
}  # fmt: skip
FLAGS = ("cls_token_is_first", "configure_mode", "automatic_configuration")
NUMBERS = ("batch_size", "num_workers")


@pytest.mark.parametrize(("branch", "command"), list(DECLARED))
def test_every_declared_option_is_known(branch, command):
    names = DECLARED[branch, command]
    words = [word for name in names for word in _said(name)]
    if command in ("infer", "configure"):
        given, unknown = parse_detection(words, [], configure=command == "configure")
    else:
        given, unknown = parse_mitigation(words, [], test=command == "test")
    assert unknown == []
    for name in names:
        value = getattr(given, name)
        assert value == (True if name in FLAGS else 3 if name in NUMBERS else value)
        assert name in FLAGS or name in NUMBERS or str(value) == f"/x/{name}"


def _said(name: str) -> list[str]:
    return [f"--{name}"] if name in FLAGS else [f"--{name}", "3" if name in NUMBERS else f"/x/{name}"]


def test_tokenizers_dirpath_gives_every_model_its_own(tmp_path):
    model = save_model(tmp_path / "models" / "id-00000000" / "model.pt", tiny("BertForQuestionAnswering"))
    directory(model.parent, {"model_architecture": "some/bert", "tokenizer_filename": "some-bert.pt"})
    write_records(model.parent / "example_data" / "clean-example-data.json", [RECORD])
    save_tokenizer(tmp_path / "elsewhere" / "some-bert.pt")
    examples = clean_examples(None, model.parent)
    reading = with_examples(get_round("qa23"), examples, None)
    with pytest.raises(ExampleProblem, match=r"the tokenizer is missing: looked for some-bert\.pt"):
        open_given(given_model(model, examples, None), reading, "cpu")
    found = with_text_parts(reading, None, None, tmp_path / "elsewhere")
    subject, _ = open_given(given_model(model, examples, None), found, "cpu")
    assert len(subject.clean) == 1


def test_cls_token_is_first_outranks_the_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"cls_token_is_first": False, "embedding": "GPT-2"}))
    assert given_model(tmp_path / "model.pt", None, None).config["cls_token_is_first"] is False
    said = given_model(tmp_path / "model.pt", None, None, cls_token_is_first=True).config
    assert said == {"cls_token_is_first": True, "embedding": "GPT-2"}


def test_metaparameters_are_checked_against_the_schema_of_the_line(tmp_path, capsys):
    values, schema = tmp_path / "values.json", tmp_path / "schema.json"
    values.write_text(json.dumps(packaged("detection", "metaparameters")))
    schema.write_text(json.dumps(packaged("detection", "metaparameters_schema")))
    assert read_metaparameters("detection", values, {}, schema) == packaged("detection", "metaparameters")
    stricter = packaged("detection", "metaparameters_schema") | {"required": ["infer_of_the_future"]}
    schema.write_text(json.dumps(stricter))
    with pytest.raises(ConfigProblem, match="infer_of_the_future"):
        read_metaparameters("detection", values, {}, schema)
    schema.write_text('{"$ref": "http://example.org/elsewhere.json"}')  # nothing is fetched
    read_metaparameters("detection", values, {}, schema)
    assert "is no usable schema" in capsys.readouterr().err


@pytest.mark.parametrize(
    "place",
    ["clean-example-data/", "clean_example_data/", "example_data/", "example/", "clean-example-data.json",
     "clean_example_data.json", "example_data.json"],
)  # fmt: skip
def test_examples_beside_the_model(tmp_path, place):
    path = tmp_path / place
    path.mkdir(parents=True) if place.endswith("/") else path.touch()
    assert clean_examples(None, tmp_path) == path
    assert clean_examples(tmp_path / "missing", tmp_path) == path


def test_examples_by_path(tmp_path):
    (tmp_path / "clean-example-data").mkdir()
    assert clean_examples(tmp_path / "clean-example-data.json", tmp_path / "x") == tmp_path / "clean-example-data"
    (tmp_path / "clean-example-data.json").touch()
    assert clean_examples(tmp_path / "clean-example-data.json", tmp_path / "x") == tmp_path / "clean-example-data.json"
    with pytest.raises(UsageProblem, match="no clean examples: expected a folder or JSON file called"):
        clean_examples(None, tmp_path / "x")


def test_a_json_file_of_examples_is_read(tmp_path):
    model = save_model(tmp_path / "id-0" / "model.pt", tiny("BertForQuestionAnswering"))
    directory(model.parent, {"task_type": "qa"})
    examples = tmp_path / "id-0" / "clean-example-data.json"
    write_records(examples, [RECORD])
    reading = with_text_parts(with_examples(get_round("r9"), examples, None), save_tokenizer(tmp_path / "t.pt"), None)
    subject, _ = open_given(given_model(model, examples, None), reading, "cpu")
    assert (subject.task.name, len(subject.clean)) == ("span-extraction", 1)


def test_default_places_of_the_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert parse_detection([], [], configure=False)[0].result_filepath == Path("output")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.pt").touch()
    assert parse_detection([], [], configure=False)[0].result_filepath == Path("output.txt")
