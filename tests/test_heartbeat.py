"""Long work is never silent, and nobody talks over anybody."""

from __future__ import annotations

import io
import time

import torch
from torch import nn

from trojai_seam import heartbeat
from trojai_seam.batch.progress import Logged, NoProgress, PlainProgress, Tally
from trojai_seam.heartbeat import beat, listening, no_silence, seldom
from trojai_seam.tasks import ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, pace, run
from trojai_seam.unlearning.phases.train import TrainSettings


def wait_for(text: str, stream: io.StringIO) -> None:
    until = time.monotonic() + 30
    while text not in stream.getvalue():
        assert time.monotonic() < until, stream.getvalue()
        time.sleep(0.01)


def test_a_long_command_says_what_it_does(monkeypatch):
    monkeypatch.setattr(heartbeat, "FIRST", 0.02)
    stream = io.StringIO()
    with no_silence(stream, "synthesize"):
        beat("training, epoch 3 of 8")
        wait_for("trojai-seam synthesize: 0s, training, epoch 3 of 8", stream)
        with listening(lambda text: None):  # a progress that does the telling itself
            time.sleep(0.1)
            said = stream.getvalue()
            time.sleep(0.2)
            assert stream.getvalue() == said
    said = stream.getvalue()
    time.sleep(0.1)
    assert stream.getvalue() == said


def test_a_short_command_says_nothing():
    stream = io.StringIO()
    with no_silence(stream, "tables"):
        beat("reading")
    assert stream.getvalue() == ""


def test_without_a_terminal_one_long_model_shows_its_epochs(monkeypatch):
    monkeypatch.setattr(heartbeat, "FIRST", 0.02)
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.start(2, 0, 0)
    wait_for("0/2 models, 0 failed; no model is running yet", stream)
    progress.begin("cpu", "id-00000001")
    progress.doing("cpu", "recover, epoch 3 of at most 60")
    wait_for("cpu: id-00000001 for 0s, recover, epoch 3 of at most 60", stream)  # nothing calls it meanwhile
    progress.interrupted()
    assert "finishing what runs (cpu: id-00000001" in stream.getvalue()
    progress.stop()


def test_an_interruption_says_how_long_a_model_takes():
    tally = Tally(3, 0, 0)
    assert "no model is running" in tally.interruption()
    tally.add({"model_id": "a", "status": "done", "seconds_total": 125.0})
    tally.begin("cpu", "b")
    assert "a model took 2m05s; Ctrl-C once more stops now" in tally.interruption()


def test_the_log_has_a_line_for_everything_that_happened(tmp_path):
    log = Logged(NoProgress(), tmp_path / "run.log")
    log.start(2, 0, 0)
    log.begin("cpu", "a\nb")
    log.update({"model_id": "a\nb", "status": "done", "seconds_total": 2.0, "fidelity": 0.5})
    log.update({"model_id": "c", "status": "failed", "error": "it is broken", "seconds_total": 1.0})
    log.stop()
    lines = (tmp_path / "run.log").read_text().splitlines()
    assert len(lines) == 5
    assert "done: a\\nb, fidelity 0.50, 2s" in lines[2]
    assert "failed: c: it is broken" in lines[3]
    Logged(NoProgress(), tmp_path / "no" / "run.log").note("a disk that is gone costs no run")


def test_a_phase_says_how_long_it_can_take_at_most(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    told: list[str] = []
    one = pace.Pace(TrainSettings(name="recover", max_epochs=10), 40)
    one.tell(0, 0)  # nobody listens
    with listening(told.append):
        one.tell(0, 0)
        now[0] += 0.1
        one.tell(0, 1)  # too soon
        now[0] += 9.9
        one.tell(2, 10)
        now[0] += 1
        one.tell(2, 11, "3 networks side by side")
    assert told[0] == "recover, epoch 1 of at most 10"
    assert told[1] == "recover, epoch 3 of at most 10, at most 30s more of this phase"
    assert told[2].startswith("recover, epoch 3 of at most 10, 3 networks side by side, at most 29s")
    assert len(told) == 3


def test_every_phase_and_the_measuring_are_said():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    examples = ExampleSet({"x": torch.randn(8, 4)}, torch.arange(8) % 2, tuple("abcdefgh"))
    phases = [{"kind": "refit", "name": "forget", "tries": 2}, {"kind": "distil", "name": "recover", "max_epochs": 2}]
    told: list[str] = []
    with listening(told.append):
        run(model, get_task("classification", 2), examples, UnlearnConfig(phases=phases), 0)
    assert told[:3] == ["forget", "forget, the network as shipped", "forget, pass 1 of at most 3"]
    assert "recover, epoch 1 of at most 2" in told


def test_a_line_is_not_said_twice():
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.start(4, 4, 0)
    progress.stop()
    assert stream.getvalue() == "4/4 models, 0 failed, 4 from before\n"


def test_reports_come_seldom():
    told: list[str] = []
    tell = seldom(told.append, 60)
    tell("a")
    tell("b")
    assert told == ["a"]
