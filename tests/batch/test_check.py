"""``evaluate --check`` finds what an evaluation would stumble over while reading, and leaves nothing behind."""

from __future__ import annotations

import sys

import pytest

from tests.batch.misbehaving import make
from tests.made_rounds import write_round
from trojai_seam.batch.check import check_models
from trojai_seam.cli import main
from trojai_seam.loading import Budget
from trojai_seam.rounds import discover


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
    rows = {row["model_id"]: row for row in check_models(discover(dataset), Budget(), networks, readers=1)}
    assert [rows[name]["status"] for name in sorted(rows)] == ["done", "failed", "done"]
    assert "ended with code 9" in rows["id-00000001"]["error"]


def test_readers_do_without_torch(tmp_path, monkeypatch):
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
