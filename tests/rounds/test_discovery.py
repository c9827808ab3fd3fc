"""Model directories are found however the archive was unpacked, and their text files read as NIST wrote them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from trojai_seam.errors import DatasetProblem, ExampleProblem
from trojai_seam.rounds import discover, get_round, model_directory
from trojai_seam.rounds.metadata import read_metadata
from trojai_seam.rounds.model_directory import ModelDirectory, as_truth, unwrapped
from trojai_seam.rounds.shared_parts import check_scale_file


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "model.pt").write_bytes(b"")
    return folder


def found(dataset: Path) -> list[str]:
    return [d.model_id for d in discover(dataset)]


@pytest.mark.parametrize(
    "layout", ["{}", "models/{}", "train/models/{}", "a/b/c/{}"], ids=["flat", "models", "split", "deep"]
)
def test_layouts(tmp_path, layout):
    make(tmp_path, *(layout.format(f"id-0000000{n}") for n in (2, 0, 1)))
    assert found(tmp_path) == ["id-00000000", "id-00000001", "id-00000002"]
    assert all(d.path.is_dir() and d.root == tmp_path for d in discover(tmp_path))


def test_five_levels_down_is_too_deep(tmp_path):
    make(tmp_path, "a/b/c/d/id-00000000")
    with pytest.raises(DatasetProblem, match="up to 4 levels"):
        discover(tmp_path)


def test_a_folder_with_a_model_counts_whatever_its_name_and_an_id_without_one_is_not_lost(tmp_path):
    make(tmp_path, "my model", "id-00000001")
    (tmp_path / "id-00000002").mkdir()
    (tmp_path / "id-3").mkdir()
    (tmp_path / "id-00000004.zip").write_text("")
    assert found(tmp_path) == ["id-00000001", "id-00000002", "my model"]


def test_the_dataset_is_a_model_directory_itself(tmp_path):
    make(tmp_path, "models/id-00000001")
    (one,) = discover(tmp_path / "models" / "id-00000001")
    assert (one.model_id, one.root) == ("id-00000001", tmp_path)
    (same,) = discover(tmp_path / "models" / "id-00000001" / ".." / "id-00000001")
    assert same.path == one.path


def test_models_are_not_looked_for_inside_models(tmp_path):
    make(tmp_path, "id-00000001", "id-00000001/id-00000002")
    assert found(tmp_path) == ["id-00000001"]


def test_one_id_in_two_splits_becomes_two_ids(tmp_path):
    make(tmp_path, "train/models/id-00000001", "test/models/id-00000001", "test/models/id-00000002")
    assert found(tmp_path) == ["id-00000002", "test/models/id-00000001", "train/models/id-00000001"]


def test_a_relative_dataset(tmp_path, monkeypatch):
    make(tmp_path, "models/id-00000001")
    (tmp_path / "METADATA.csv").write_text("model_name,poisoned\nid-00000001,True\n")
    monkeypatch.chdir(tmp_path)
    for dataset in (Path("."), Path("models/..")):
        (one,) = discover(dataset)
        assert (one.model_id, one.poisoned) == ("id-00000001", True)
    monkeypatch.chdir(tmp_path / "models" / "id-00000001")
    (one,) = discover(Path("."))
    assert (one.poisoned, one.root) == (True, tmp_path)


HOSTILE_NAMES = [
    "with space", "quote'\"", "new\nline", "tab\t", "ünïcode ☃", "\x1b[31mred", "=cmd()", ".hidden", "-rf", "a%2Fb",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_hostile_names(tmp_path, name):
    make(tmp_path / name, f"models/{name}", "models/id-00000001")
    assert found(tmp_path / name) == sorted(["id-00000001", name])


def test_names_that_are_not_unicode(tmp_path):
    os.makedirs(os.fsencode(tmp_path) + b"/models/bad\xff")
    (tmp_path / "models" / "bad\udcff" / "model.pt").write_bytes(b"")
    assert found(tmp_path) == ["bad\udcff"]


def test_an_id_with_a_newline_behind_it_is_no_id(tmp_path):
    (tmp_path / "id-00000001\n").mkdir()
    with pytest.raises(DatasetProblem, match="holds no model directory"):
        discover(tmp_path)


def test_links_that_go_in_circles_end(tmp_path):
    make(tmp_path, "models/id-00000001")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert "models/id-00000001" in found(tmp_path)
    assert len(found(tmp_path)) <= 5


@pytest.mark.parametrize(
    ("make_it", "words"),
    [
        (lambda p: None, "no such folder"),
        (lambda p: p.write_text("x"), "is a file"),
        (lambda p: p.mkdir(), "holds no model directory"),
        (lambda p: (p / "models").mkdir(parents=True), "holds no model directory"),
        (lambda p: p.symlink_to(p.parent / "nowhere"), "no such folder"),
    ],
    ids=["absent", "file", "empty", "empty-models", "broken-link"],
)
def test_no_dataset(tmp_path, make_it, words):
    path = tmp_path / "data\nset"
    make_it(path)
    with pytest.raises(DatasetProblem, match=words) as caught:
        discover(path)
    assert str(caught.value).isprintable()


def test_a_name_too_long_is_no_dataset():
    with pytest.raises(DatasetProblem):
        discover(Path("x" * 5000))
    with pytest.raises(DatasetProblem):
        model_directory(Path("x" * 5000))


def test_model_directory_of_its_model_file(tmp_path):
    make(tmp_path, "models/id-00000001")
    assert model_directory(tmp_path / "models/id-00000001/model.pt").model_id == "id-00000001"
    with pytest.raises(DatasetProblem, match="no such model directory"):
        model_directory(tmp_path / "models" / "id-00000002")


def dataset_of(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / "models" / f"id-{number:08}"
        path.mkdir(parents=True)
        (path / "model.pt").touch()
    (folder / "scale_params.npy").touch()
    (folder / "METADATA.csv").write_text("model_name,x\nid-00000000,7\n")
    return folder


def test_the_models_level_of_a_dataset_finds_what_lies_above(tmp_path):
    dataset = dataset_of(tmp_path / "d", 2)
    found = discover(dataset / "models")
    assert [(d.model_id, d.root) for d in found] == [("id-00000000", dataset), ("id-00000001", dataset)]
    assert found[0].metadata["x"] == "7"
    assert found[0].find_upwards("scale_params.npy") is not None
    check_scale_file(found, get_round("r12"))
    (dataset / "scale_params.npy").unlink()
    with pytest.raises(ExampleProblem, match=r"needs the round's scale_params\.npy"):
        check_scale_file(found, get_round("r12"))
    check_scale_file(found, get_round("r4"))  # which has none


def test_other_levels_are_named(tmp_path):
    dataset = dataset_of(tmp_path / "d", 2)
    with pytest.raises(DatasetProblem, match="is a dataset with 2 models; give one of them, such as"):
        model_directory(dataset)
    with pytest.raises(DatasetProblem, match="is a file; give its folder"):
        model_directory(dataset / "scale_params.npy")
    assert model_directory(dataset_of(tmp_path / "one", 1)).model_id == "id-00000000"
    examples = dataset / "models" / "id-00000000" / "clean-example-data"
    examples.mkdir()
    with pytest.raises(DatasetProblem, match="lies inside the model directory"):
        discover(examples)


# METADATA.csv ---------------------------------------------------------------------------------------------------------


def metadata(tmp_path: Path, content: bytes | str) -> dict:
    path = tmp_path / "METADATA.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return dict(read_metadata(path))


def test_cells_are_kept_as_they_are_and_missing_words_say_nothing(tmp_path):
    rows = metadata(tmp_path, "model_name,A,b,c,d,e\nid-1,None,,nan, NaN ,0\n")
    assert rows == {"id-1": {"model_name": "id-1", "A": "None", "b": "", "c": "nan", "d": " NaN ", "e": "0"}}
    assert ModelDirectory(tmp_path, "id-1", tmp_path, rows["id-1"]).told == {"model_name": "id-1", "e": "0"}


@pytest.mark.parametrize("column", ["model_name", "model_id", "id"])
def test_the_column_that_names_the_model(tmp_path, column):
    assert metadata(tmp_path, f"x,{column}\n1,id-00000001\n")["id-00000001"]["x"] == "1"


def test_byte_order_mark_crlf_quotes_short_and_long_rows(tmp_path):
    rows = metadata(tmp_path, b'\xef\xbb\xbfmodel_name,x,y\r\nid-1,"a,b\r\nc",2\r\nid-2,1\r\nid-3,1,2,3,4\r\n\r\n')
    assert rows["id-1"]["x"] == "a,b\r\nc"
    assert rows["id-2"] == {"model_name": "id-2", "x": "1", "y": ""}
    assert rows["id-3"]["y"] == "2"


def test_empty_metadata_says_nothing(tmp_path):
    assert metadata(tmp_path, "") == {}
    assert metadata(tmp_path, "model_name,x\n") == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [("a,b\n1,2\n", "no column"), (b"model_name\n\xff\xfe\n", "not a readable CSV"), (b'm\n"' + b"x" * 200_000, "CSV")],
    ids=["no-name", "not-utf8", "endless-field"],
)
def test_unusable_metadata(tmp_path, content, words):
    with pytest.raises(DatasetProblem, match=words):
        metadata(tmp_path, content)


def test_the_nearest_metadata_counts(tmp_path):
    make(tmp_path, "train/models/id-00000001", "test/models/id-00000002")
    (tmp_path / "METADATA.csv").write_text("model_name,poisoned\nid-00000001,True\nid-00000002,True\n")
    (tmp_path / "train" / "METADATA.csv").write_text("model_name,poisoned\nid-00000001,False\n")
    assert [d.poisoned for d in discover(tmp_path)] == [False, True]


# ground truth and config ----------------------------------------------------------------------------------------------


def one(tmp_path: Path, **files: str | bytes) -> ModelDirectory:
    for name, content in files.items():
        path = tmp_path / {"truth": "ground_truth.csv", "full": "config.json", "reduced": "reduced-config.json"}[name]
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ModelDirectory(path=tmp_path, model_id="id-00000001", root=tmp_path)


@pytest.mark.parametrize(
    ("text", "truth"),
    [("1", True), ("0", False), ("1\r\n", True), ("0\n", False), (" 1.0 \n", True), ("True\n", True), ("false", False)],
)
def test_ground_truth(tmp_path, text, truth):
    assert one(tmp_path, truth=text).poisoned is truth


@pytest.mark.parametrize("text", ["", "\n\n", "2", "poison", b"\xff", "1,0", "x" * 5000], ids=ascii)
def test_unusable_ground_truth_is_an_error_not_a_guess(tmp_path, text):
    with pytest.raises(DatasetProblem, match=r"ground_truth\.csv"):
        _ = one(tmp_path, truth=text, full='{"poisoned": true}').poisoned


def test_ground_truth_that_is_a_folder(tmp_path):
    (tmp_path / "ground_truth.csv").mkdir()
    with pytest.raises(DatasetProblem):
        _ = one(tmp_path).poisoned


def test_without_ground_truth_metadata_then_config_then_unknown(tmp_path):
    directory = one(tmp_path, full='{"model_type": "poisoned"}')
    assert directory.poisoned is True
    assert ModelDirectory(tmp_path, "x", tmp_path, {"poisoned": "False"}).poisoned is False
    (tmp_path / "config.json").write_text('{"model_type": "resnet50", "POISONED": null}')
    assert ModelDirectory(tmp_path, "x", tmp_path).poisoned is None


@pytest.mark.parametrize("value", [2, -1, 0.5, "maybe", None, [], float("nan"), "10"])
def test_no_truth(value):
    assert as_truth(value) is None


def test_the_full_config_wins_over_the_reduced_one(tmp_path):
    directory = one(tmp_path, full='{"a": 1, "b": 1}', reduced='{"b": 2, "c": 2}')
    assert directory.config == {"a": 1, "b": 1, "c": 2}


def test_jsonpickle_levels_are_taken_away(tmp_path):
    document = {
        "py/object": "trojai.Config",
        "py/state": {"arch": "x", "triggers": [{"py/object": "T", "py/state": {"py/object": "U", "kind": "polygon"}}]},
    }
    assert one(tmp_path, full=json.dumps(document)).config == {"arch": "x", "triggers": [{"kind": "polygon"}]}
    assert unwrapped([1, {"py/object": "x"}]) == [1, {}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (b'{"py/state": [1]}', "expected a JSON object"),
        (b'{"py/state": "text"}', "expected a JSON object"),
        (b"\xff{}", "not a text file"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "nested too deeply"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
    ids=[
        "empty",
        "cut",
        "list",
        "null",
        "state-list",
        "state-text",
        "latin",
        "deep-list",
        "deep",
        "less-deep",
        "digits",
    ],
)
def test_unusable_config(tmp_path, content, words):
    with pytest.raises(DatasetProblem, match=r"config\.json") as caught:
        _ = one(tmp_path, full=content).config
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_an_endless_config_is_not_read(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DatasetProblem, match="larger than"):
        _ = one(tmp_path).config


def test_files_are_found_upwards_but_not_above_the_dataset(tmp_path):
    make(tmp_path, "set/models/id-00000001")
    (one_model,) = discover(tmp_path / "set")
    (tmp_path / "scale.npy").write_text("")
    assert one_model.find_upwards("scale.npy") is None
    (tmp_path / "set" / "scale.npy").write_text("")
    assert one_model.find_upwards("scale.npy") == (tmp_path / "set" / "scale.npy").resolve()
    assert one_model.find_upwards(str(tmp_path / "scale.npy")) == tmp_path / "scale.npy"
    assert one_model.find_upwards("/nowhere/scale.npy") is None
