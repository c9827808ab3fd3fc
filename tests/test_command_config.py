"""Options in a file mean what they mean on the command line, and can be printed and read again."""

from __future__ import annotations

import json

import pytest
import yaml

from trojai_seam.cli import main

YAML = """
out: runs/x
preset: finetune
set:
  recover.learning_rate: 0.001
  recover.max_epochs: 5
ids: [id-00000000, id-00000001]
shard: 1/2
time-limit: 15m
workers_per_gpu: 2
check: false
"""
TOML = """
out = "runs/x"
preset = "finetune"
set = ["recover.learning_rate=0.001", "recover.max_epochs=5"]
ids = ["id-00000000", "id-00000001"]
shard = "1/2"
time-limit = 900
workers-per-gpu = 2
"""


def shown(capsys, *words: str) -> dict:
    assert main(["evaluate", ".", *words, "--show-config"]) == 0
    return yaml.safe_load(capsys.readouterr().out)


def test_files_of_every_kind_say_what_the_options_say(tmp_path, capsys):
    typed = shown(
        capsys, "--out", "runs/x", "--preset", "finetune", "--set", "recover.learning_rate=0.001", "--set",
        "recover.max_epochs=5", "--ids", "id-00000000,id-00000001", "--shard", "1/2", "--time-limit", "900",
        "--workers-per-gpu", "2",
    )  # fmt: skip
    assert typed["set"] == ["recover.learning_rate=0.001", "recover.max_epochs=5"]
    texts = {"a.yaml": YAML, "a.toml": TOML, "a.json": json.dumps(yaml.safe_load(YAML))}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert shown(capsys, "--config", str(tmp_path / name)) == typed, name
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(typed))  # what was printed is read again
    assert main(["evaluate", "--config", str(tmp_path / "again.yaml"), "--show-config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == typed


def test_what_was_typed_counts(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(YAML)
    told = shown(capsys, "--config", str(tmp_path / "a.yaml"), "--preset", "no-op", "--set", "recover.max_epochs=9")
    assert told["preset"] == "no-op"
    assert told["set"][-1] == "recover.max_epochs=9"  # the last one counts


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "prset: finetune", "did you mean preset"),
        ("a.yaml", "- a", "expected options by name"),
        ("a.yaml", "a: [", "is no YAML"),
        ("a.toml", "a = ", "a.toml"),
        ("a.txt", "a: 1", "expected a file called"),
        ("a.yaml", "check: perhaps", "expected true or false"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name, text, message, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert main(["evaluate", ".", "--config", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err
