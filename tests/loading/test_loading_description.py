from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.loading.handmade import DICT, NONE, entries, module, name, save_zip, tensor
from trojai_seam.errors import RefusedArchive, UsageProblem
from trojai_seam.loading import Budget, describe, read_model, render

REPOSITORY = Path(__file__).resolve().parents[2]


def test_facts_of_a_period_model(era_model: Callable[..., Path]) -> None:
    path = era_model("r4-squeezenetv1_1") / "model.pt"
    facts = describe(path)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert facts["file_bytes"] == path.stat().st_size
    assert (facts["kind"], facts["class_path"]) == ("module", "torchvision.models.squeezenet.SqueezeNet")
    assert facts["module_classes"]["torchvision.models.squeezenet.Fire"] == 8
    assert facts["dtypes"] == {"float32": 52}
    assert (
        facts["tensor_bytes"]
        == 4 * facts["parameters"]
        == 4 * sum(ref.numel for ref in read_model(path).tensors.values())
    )
    assert facts["tensors"][0]["name"] == "features.0.weight"
    assert "collections.OrderedDict" not in facts["globals"]
    assert "torch.FloatStorage" in facts["globals"]
    assert "tensors" not in describe(path, tensors=False)
    text = render(facts, tensors=True)
    assert "torchvision.models.squeezenet.SqueezeNet" in text
    assert "features.0.weight  float32  64x3x3x3" in text
    assert "features.0.weight" not in render(facts)


def test_parameters_count_ties_once_and_buffers_never(tmp_path: Path) -> None:
    first = torch.nn.Linear(3, 4)
    network = torch.nn.Sequential(first, torch.nn.BatchNorm1d(4), first)
    torch.save(network, tmp_path / "x.pt")
    facts = describe(tmp_path / "x.pt")
    assert facts["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert facts["tensor_count"] == len(network.state_dict())
    assert facts["dtypes"] == {"float32": 8, "int64": 1}


def test_a_tokenizer_is_not_a_network(shared: Path) -> None:
    path = next(iter(sorted(shared.glob("trojai-examples/*/tokenizers/*.pt"))))
    text = render(describe(path))
    assert "TokenizerFast, not a network" in text
    assert "parameters" not in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(3), "one tensor, not a network"),
        ([1, 2], "a list of 2 values"),
        ({"epoch": 3}, "a dict of 1 entries"),
        ({1, 2}, "a set of 2 values"),
        (torch.device("cpu"), "the result of torch.device"),
        (5, "a value of type int"),
        ({"w": torch.tensor(1.0)}, "a state dict"),
    ],
)
def test_other_content(value: object, words: str, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "x.pt")
    text = render(describe(tmp_path / "x.pt"), tensors=True)
    assert words in text
    assert ("w  float32  scalar" in text) == ("w" in value if isinstance(value, dict) else False)


def test_text_is_safe_for_a_terminal(tmp_path: Path) -> None:
    path = save_zip(tmp_path / "x.pt", DICT + entries(("w\x1b[2J\n", tensor())))
    text = render(describe(path), tensors=True)
    assert all(line.isprintable() for line in text.splitlines())
    assert "w\\x1b[2J\\n  float32  4" in text


def test_names_outside_the_modules_are_listed(tmp_path: Path) -> None:
    path = save_zip(tmp_path / "x.pt", module(more=(("f", name("torch.hub", "load")), ("g", NONE))))
    text = render(describe(path))
    assert "also named" in text
    assert "torch.hub.load" in text


def test_a_file_that_vanished_after_it_was_read(tmp_path: Path) -> None:
    model = read_model(save_zip(tmp_path / "x.pt", module()))
    (tmp_path / "x.pt").unlink()
    with pytest.raises(RefusedArchive, match="cannot be read"):
        describe(model)


def test_describing_does_not_import_torch(tmp_path: Path) -> None:
    path = save_zip(tmp_path / "x.pt", module(parameters=DICT + entries(("w", tensor()))))
    code = (
        "import sys; from trojai_seam.loading import describe, render, read_model;"
        "print(render(describe(sys.argv[1]), tensors=True)); assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr
    assert "w  float32  4" in child.stdout


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("tensor_bytes=8GiB", "tensor_bytes", 8 * 2**30),
        (" string_bytes = 5 MB", "string_bytes", 5_000_000),
        ("text_bytes=1024", "text_bytes", 1024),
        ("opcodes=1_000", "opcodes", 1000),
        ("pickle_bytes=7b", "pickle_bytes", 7),
    ],
)
def test_budget_settings(setting: str, field: str, value: int) -> None:
    budget = Budget.parse([setting])
    assert getattr(budget, field) == value
    assert Budget.parse([]) == Budget()


@pytest.mark.parametrize(
    "setting",
    ["tensors=3", "opcodes", "opcodes=", "opcodes=x", "opcodes=-1", "opcodes=0", "opcodes=3MiB", "tensor_bytes=3XiB",
     "tensor_bytes=1e9", "=3", "", "opcodes=" + "9" * 5000, "depth=٣"],
)  # fmt: skip
def test_budget_settings_that_make_no_sense(setting: str) -> None:
    with pytest.raises(UsageProblem, match="--budget") as caught:
        Budget.parse([setting])
    assert len(str(caught.value)) < 400
