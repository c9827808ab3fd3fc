"""``evaluate --check`` finds what an evaluation would stumble over while reading, and leaves nothing behind."""

from __future__ import annotations

import shutil
import sys

import pytest
import torch

from tests import made_images
from tests.batch.misbehaving import make
from tests.made_rounds import write_round
from trojai_seam.batch.check import check_models
from trojai_seam.cli import main
from trojai_seam.loading import Budget
from trojai_seam.rounds import discover
from trojai_seam.synthesis.archs import make_network, save_as_nist


def test_what_cannot_be_read_is_listed_with_the_reason(tmp_path, capsys):
    dataset = write_round(tmp_path / "round", 6)
    models = dataset / "models"
    (models / "id-00000001" / "model.pt").write_bytes(b"")
    make(models / "id-00000002", "Transmogrifier")
    (models / "id-00000003" / "config.json").write_text("{")
    (models / "id-00000004" / "ground_truth.csv").write_text("perhaps")
    before = sorted(tmp_path.rglob("*"))
    arguments = ["evaluate", str(dataset), "--round", "r12", "--check"]
    assert main([*arguments, "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [f"id-{number:08}" for number in (1, 2, 3, 4)]
    kinds = [line.split()[1] for line in lines]
    assert kinds == ["refused-file:", "unsupported-model:", "dataset:", "dataset:"]
    assert "archs.Transmogrifier" in lines[1]
    assert main([*arguments, "--ids", "id-00000000,id-00000005"]) == 0
    assert capsys.readouterr().out == "all good\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_reader_that_dies_is_one_finding(tmp_path, monkeypatch):
    dataset = write_round(tmp_path / "round", 3)
    networks = tmp_path / "mine.py"
    networks.write_text(
        "import os\n"
        "import trojai_seam.batch.check as check\n"
        "genuine = check._finding\n"
        "def finding(directory, budget):\n"
        "    if directory.model_id == 'id-00000001':\n"
        "        os._exit(9)\n"
        "    return genuine(directory, budget)\n"
        "check._finding = finding\n"
        "from trojai_seam.networks import register_network\n"
        "register_network('y', ['y.Y'])(lambda saved, hints: None)\n"
    )
    rows = {row["model_id"]: row for row in check_models(discover(dataset), Budget(), str(networks), readers=1)}
    assert [rows[name]["status"] for name in sorted(rows)] == ["done", "failed", "done"]
    assert "ended with code 9" in rows["id-00000001"]["error"]


def test_without_a_round_readers_do_without_torch(tmp_path, monkeypatch):
    dataset = write_round(tmp_path / "round", 2)
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "torch.py").write_text("raise SystemExit('torch was imported')")
    monkeypatch.setattr(sys, "path", [str(blocked), *sys.path])
    assert [row["status"] for row in check_models(discover(dataset), Budget(), readers=1)] == ["done", "done"]


def test_out_is_needed_for_everything_else(tmp_path, capsys):
    assert main(["evaluate", str(write_round(tmp_path / "round", 1))]) == 2
    assert "needs --out RUN" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]"])
def test_configs_of_any_kind_are_findings(tmp_path, text):
    dataset = write_round(tmp_path / "round", 1)
    (dataset / "models" / "id-00000000" / "config.json").write_text(text)
    (row,) = check_models(discover(dataset), Budget())
    assert row["error_kind"] == "dataset"


# What an evaluation would stumble over behind the model file ---------------------------------------------------------


def checked(dataset, *options):
    """Exit code, and error kind by model."""
    code = main(["evaluate", str(dataset), "--check", "--quiet", *options])
    return code


def findings(capsys):
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if line.startswith("id-")}


def without_bias(model):
    network = make_network(2, "tanh")
    network.fc2 = torch.nn.Linear(100, 2, bias=False)
    save_as_nist(network, model / "model.pt")


def examples(model):
    return sorted((model / "clean-example-data").iterdir())


BROKEN = {
    "no folder": (lambda m: shutil.rmtree(m / "clean-example-data"), "examples", "no clean example"),
    "empty folder": (lambda m: [path.unlink() for path in examples(m)], "examples", "no clean example"),
    "no side-car": (lambda m: examples(m)[1].unlink(), "examples", "has no label"),
    "label that is none": (lambda m: examples(m)[1].write_text("7"), "examples", "only classes 0 to 1"),
    "array that is none": (lambda m: examples(m)[-2].write_bytes(b"x"), "examples", "not a readable .npy"),
    "tensors that do not fit": (without_bias, "state-mismatch", "missing fc2.bias"),
}


def test_all_that_opening_would_stumble_over(tmp_path, capsys):
    dataset = write_round(tmp_path / "round", len(BROKEN) + 1)
    models = sorted((dataset / "models").iterdir())
    for model, (spoil, _, _) in zip(models[1:], BROKEN.values(), strict=True):
        spoil(model)
    assert checked(dataset, "--round", "r12") == 1
    found = findings(capsys)
    assert len(found) == len(BROKEN)
    for model, (name, (_, kind, words)) in zip(models[1:], BROKEN.items(), strict=True):
        assert found[model.name].startswith(f"{kind}: "), name
        assert words in found[model.name], name
    (dataset / "scale_params.npy").unlink()
    assert checked(dataset, "--round", "r12", "--ids", models[0].name) == 2  # said once, not model by model
    assert "scale_params.npy" in capsys.readouterr().err


def test_what_was_looked_at_is_said(tmp_path, capsys):
    dataset = write_round(tmp_path / "round", 2)
    assert main(["evaluate", str(dataset), "--round", "r12", "--check"]) == 0
    said = capsys.readouterr()
    assert said.out == "all good\n"
    assert "2 of 2 models would open\nlooked at: " in said.err
    assert "not looked at: pixels" in said.err


def test_check_finds_nothing_that_an_evaluation_does_not(tmp_path, capsys):
    """Images, whose check decodes nothing: what it calls good is opened."""
    dataset = tmp_path / "image-classification-feb2021-train"
    model = made_images.write_model(dataset / "id-00000000", made_images.R4)
    folder = made_images.write_named(model / "clean_example_data", per_class=1)
    assert checked(dataset) == 0
    picture = sorted(folder.glob("*.png"))[0]
    capsys.readouterr()
    whole = picture.read_bytes()
    for content, words in ((whole[: len(whole) // 2], "not a readable"), (b"", "empty"), (b"GIF89a", "not a readable")):
        picture.write_bytes(content)
        assert checked(dataset) == 1
        assert words in findings(capsys)[model.name]
