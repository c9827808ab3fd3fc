"""Claims: one owner at a time, and none who is dead."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.made_rounds import write_round
from trojai_seam.batch.claims import Claims, Owner
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.plan import Plan, claim_run_directory
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.errors import RunDirectoryProblem
from trojai_seam.rounds import get_round
from trojai_seam.unlearning import resolve


@pytest.fixture
def claims(tmp_path):
    made = Claims(tmp_path / "claims", heartbeat=0.1, patience=1.0)
    yield made
    made.close()


def write(folder: Path, name: str, owner: Owner) -> Path:
    (folder / name).write_text(json.dumps(asdict(owner)))
    return folder / name


def dead() -> Owner:
    process = subprocess.Popen(["true"])
    process.wait()
    return replace(Owner.me(), process=process.pid)


def test_a_claim_is_taken_once_and_free_again_when_released(claims, tmp_path):
    assert claims.take("a")
    other = Claims(tmp_path / "claims")
    assert not other.take("a")
    assert other.take("a.0")  # another name, though it looks like a bid for the first
    claims.release("a")
    assert other.take("a")
    other.close()
    assert not list((tmp_path / "claims").iterdir())


def test_the_claim_of_a_dead_process_is_taken_over_and_cleaned_up(claims, tmp_path):
    write(tmp_path / "claims", "a.0", dead())
    write(tmp_path / "claims", "a.1", replace(Owner.me(), started="123"))  # its number is another process's now
    assert claims.take("a")
    assert sorted(path.name for path in (tmp_path / "claims").iterdir()) == ["a.0", "a.1", "a.2"]
    claims.release("a")
    assert not list((tmp_path / "claims").iterdir())


def test_an_owner_on_another_machine_is_dead_when_its_heart_stops(claims, tmp_path):
    path = write(tmp_path / "claims", "a.0", replace(Owner.me(), place="elsewhere"))
    assert not claims.take("a")
    os.utime(path, (time.time() - 60, time.time() - 60))
    assert claims.take("a")


def test_a_half_written_claim_is_waited_for(claims, tmp_path):
    path = tmp_path / "claims" / "a.0"
    path.touch()
    assert not claims.take("a")
    os.utime(path, (0, 0))
    assert claims.take("a")


def test_the_heart_beats_while_a_claim_is_held(claims, tmp_path):
    assert claims.take("a")
    path = tmp_path / "claims" / "a.0"
    os.utime(path, (0, 0))
    until = time.monotonic() + 10
    while path.stat().st_mtime < 1:
        assert time.monotonic() < until
        time.sleep(0.02)


RACE = """
import sys, time
from pathlib import Path
from trojai_seam.batch.claims import Claims
claims, folder, me = Claims(Path(sys.argv[1]) / "claims"), Path(sys.argv[1]), sys.argv[2]
while not (folder / "go").exists():
    time.sleep(0.001)
for number in range(60):
    if not claims.take(f"m{number}"):
        continue
    marker = folder / "done" / f"m{number}"
    if not marker.exists():          # a finished record beats all
        with open(folder / "busy" / f"m{number}", "x"):  # fails if two are in here together
            time.sleep(0.001)
        marker.write_text(me)
        (folder / "busy" / f"m{number}").unlink()
    claims.release(f"m{number}")
claims.close()
"""


def test_of_several_rescuers_one_wins(tmp_path):
    for name in ("claims", "done", "busy"):
        (tmp_path / name).mkdir()
    for number in range(60):
        write(tmp_path / "claims", f"m{number}.0", dead() if number == 0 else replace(Owner.me(), started="1"))
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    racers = [subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, text=True) for n in range(4)]
    (tmp_path / "go").touch()
    for racer in racers:
        _, err = racer.communicate(timeout=60)
        assert racer.returncode == 0, err
    assert len(list((tmp_path / "done").iterdir())) == 60
    assert not list((tmp_path / "busy").iterdir())
    assert not list((tmp_path / "claims").iterdir())


def test_a_model_that_a_dead_process_had_claimed_is_evaluated(tmp_path):
    dataset = write_round(tmp_path / "round", 2)
    (tmp_path / "a" / "claims").mkdir(parents=True)
    write(tmp_path / "a" / "claims", "id-00000001.0", dead())
    results = evaluate(dataset, tmp_path / "a", Options(round="r12", device="cpu", preset="no-op"))
    assert results["status"].tolist() == ["done", "done"]
    assert not list((tmp_path / "a" / "claims").iterdir())


def _claim_plan(folder: str, seed: int, queue) -> None:
    plan = Plan("d", get_round("r12"), resolve("no-op"), seed=seed)
    try:
        claim_run_directory(plan, RunPaths(Path(folder)))
        queue.put(seed)
    except RunDirectoryProblem as problem:
        queue.put(str(problem))


def test_of_two_first_commands_with_other_settings_one_is_refused(tmp_path):
    context = multiprocessing.get_context("fork")
    for number in range(5):
        queue = context.SimpleQueue()
        folder = tmp_path / str(number)
        both = [context.Process(target=_claim_plan, args=(str(folder), seed, queue)) for seed in (1, 2)]
        for process in both:
            process.start()
        answers = [queue.get() for _ in both]
        for process in both:
            process.join()
        (winner,) = [answer for answer in answers if isinstance(answer, int)]
        (refused,) = [answer for answer in answers if isinstance(answer, str)]
        assert f"seed was {winner}, now {3 - winner}" in refused
        assert sorted(path.name for path in folder.iterdir()) == ["plan.json", "records"]
