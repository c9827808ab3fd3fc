"""What the first word decides, and what happens when time runs out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.made_rounds import trained_round
from trojai_seam.container import entry, mitigate
from trojai_seam.container.deadline import Deadline, TimeUp, undisturbed
from trojai_seam.loading import read_model

TOP = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "configure"),
        (["infer", "--x"], "infer"),
        (["--model_filepath", "m.pt"], "infer"),
        (["configure"], "learn"),
        (["--configure_mode"], "learn"),
        (["mitigate", "--dataset", "d"], "mitigate"),
        (["test", "--dataset_dirpath", "d"], "test"),
        (["evaluate", "/data", "--out", "/results"], "exec"),
        (["tables", "/results"], "exec"),
    ],
)
def test_the_first_word_decides(words, expected, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    called = []

    def fake(name):
        return lambda *arguments: called.append(name) or 0

    monkeypatch.setattr("trojai_seam.container.infer.infer", fake("infer"))
    monkeypatch.setattr("trojai_seam.container.configure.configure", fake("learn"))
    monkeypatch.setattr("trojai_seam.container.mitigate.mitigate", fake("mitigate"))
    monkeypatch.setattr("trojai_seam.container.answers.test", fake("test"))
    monkeypatch.setattr(os, "execv", lambda program, line: called.append(("exec", line)))
    entry.main(words)
    if expected == "exec":
        assert called == [("exec", [sys.executable, "-m", "trojai_seam", *words])]
    elif words:
        assert called == [expected]
    else:  # nothing at all, and no ./model.pt: somebody wants to know what this image is
        assert called == []
        assert expected in capsys.readouterr().out


def test_no_words_but_a_model_is_the_oldest_form(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"")
    assert entry.main([]) == 0
    assert (tmp_path / "output").read_text() == "0.500000\n"


def test_python_dash_m_is_the_ordinary_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "trojai_seam.container", "rounds"],
        env={**os.environ, "PYTHONPATH": str(TOP)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cyber-pdf-dec2022" in done.stdout


def test_help_and_version_import_no_torch():
    code = "import sys, trojai_seam.container.entry as e; e.main([sys.argv[1]]); assert 'torch' not in sys.modules"
    for option in ("--help", "--version"):
        done = subprocess.run(
            [sys.executable, "-c", code, option],
            env={**os.environ, "PYTHONPATH": str(TOP)}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "trojai-seam" in done.stdout


def told_to_end(deadline: Deadline) -> None:
    assert 59 < deadline.remaining() <= 60
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)


def test_the_deadline_interrupts_and_cleans_up():
    before = signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM)
    with pytest.raises(TimeUp, match="time allowed is over"), Deadline(0.05):
        time.sleep(5)
    with pytest.raises(TimeUp, match="SIGTERM"), Deadline(60) as deadline:
        told_to_end(deadline)
    assert (signal.getsignal(signal.SIGALRM), signal.getsignal(signal.SIGTERM)) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_result_is_written_undisturbed():
    written = []

    def write() -> None:
        with undisturbed():
            os.kill(os.getpid(), signal.SIGTERM)
            written.append("all of it")
        time.sleep(1)

    with pytest.raises(TimeUp), Deadline(60):
        write()
    assert written == ["all of it"]


def test_time_running_out_leaves_the_best_state_so_far(active, container, scale, tmp_path, monkeypatch, capsys):
    """The clock strikes in the middle of recovery; what is written is the best recovered state up to there."""
    engine = mitigate.run

    def slow(model, task, fit, config, seed, observer):
        def watch(phase, epoch, network):
            observer(phase, epoch, network)
            if phase == "recover" and epoch == 20:
                with torch.no_grad():
                    next(network.parameters()).fill_(0)  # what comes after must not be what is written
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)

        return engine(model, task, fit, config, seed, watch)

    monkeypatch.setattr(mitigate, "run", slow)
    status = container(
        "mitigate", model_filepath=active / "model.pt", dataset=active / "clean-example-data",
        output_dirpath=tmp_path / "out", scratch_dirpath=tmp_path / "s", scale_parameters_filepath=scale,
    )  # fmt: skip
    assert status == 0
    assert "told to end (SIGTERM); taking the best state so far" in capsys.readouterr().err
    tensors = read_model(tmp_path / "out" / "mitigated.pt").state_dict()
    assert all(bool((tensor != 0).any()) for tensor in tensors.values())


def test_time_running_out_while_forgetting_leaves_nothing(active, container, scale, tmp_path, monkeypatch, capsys):
    def never(model, task, fit, config, seed, observer):
        observer("forget", 0, model)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(mitigate, "run", never)
    status = container(
        "mitigate", model_filepath=active / "model.pt", dataset=active / "clean-example-data",
        output_dirpath=tmp_path / "out", scratch_dirpath=tmp_path / "s", scale_parameters_filepath=scale,
    )  # fmt: skip
    assert status == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert "before anything was recovered" in capsys.readouterr().err


def test_a_recovery_that_fails_leaves_nothing(active, container, scale, tmp_path, capsys):
    status = container(
        "mitigate", model_filepath=active / "model.pt", dataset=active / "clean-example-data",
        output_dirpath=tmp_path / "out", scratch_dirpath=tmp_path / "s", scale_parameters_filepath=scale,
        recover_learning_rate_factor=0.01, recover_epochs_factor=0.01, least_kept_accuracy=1,
    )  # fmt: skip
    assert status == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert "recovery did not succeed: accuracy on the clean examples 1.000 before" in capsys.readouterr().err


def test_infer_that_is_late_answers_half(active, container, tmp_path, capsys):
    learned = tmp_path / "learned"
    learned.mkdir()
    from trojai_seam.container.dynamics import FEATURES

    zeros = [0.0] * len(FEATURES)
    (learned / "seam_detector.json").write_text(
        json.dumps(
            {"format": 1, "round": "cyber-pdf-dec2022", "features": list(FEATURES), "mean": zeros,
             "scale": [1.0] * len(FEATURES), "weights": zeros, "intercept": 3.0, "settings": {}, "measured": {}}
        )
    )  # fmt: skip
    common = {
        "model_filepath": active / "model.pt",
        "scratch_dirpath": tmp_path / "s",
        "examples_dirpath": active / "clean-example-data",
        "learned_parameters_dirpath": learned,
        "scale_parameters_filepath": trained_round() / "scale_params.npy",
        "infer_probes": 100000,
        "infer_recover_epochs": 1000,
    }
    assert container(result_filepath=tmp_path / "late.txt", infer_seconds=5, **common) == 0
    assert (tmp_path / "late.txt").read_text() == "0.500000\n"
    assert "time allowed" in capsys.readouterr().err
