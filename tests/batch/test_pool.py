"""The pool: the same rows as serial ones, limits that hold, and nothing that lives on, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pandas as pd
import pytest

from tests.batch.misbehaving import NETWORKS_FILE, hears_sigint, make, wait_until, workers_of
from tests.made_rounds import write_round
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.records import read_rows
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main
from trojai_seam.errors import ConfigProblem, UsageProblem
from trojai_seam.tables.columns import TIMINGS

ROOT = Path(__file__).resolve().parents[2]
FEW = {"forget.max_epochs": "3", "recover.max_epochs": "3"}
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes through /proc")


def run(dataset: Path, out: Path, **options) -> pd.DataFrame:
    return evaluate(dataset, out, Options(**{"device": "cpu", "round": "r12", "options": FEW, **options}))


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    numbers = [frame.drop(columns=list(TIMINGS)).reset_index(drop=True) for frame in (one, other)]
    pd.testing.assert_frame_equal(*numbers, check_exact=True)


@pytest.fixture
def tag(monkeypatch) -> str:
    """Marks this test's processes and all that they start."""
    name = uuid.uuid4().hex
    monkeypatch.setenv("TROJAI_SEAM_TEST", name)
    return name


def children(tag: str) -> list[int]:
    return [number for number in workers_of(tag) if number != os.getpid()]


def start(tag: str, *arguments: object, **environment: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "trojai_seam.cli", "evaluate", *map(str, arguments)]
    command += ["--round", "r12", "--device", "cpu", "--executor", "pool"]
    command += [text for k, v in FEW.items() for text in ("--set", f"{k}={v}")]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=hears_sigint,
    )


@pytest.fixture(scope="module")
def round_and_rows(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """Six models, one of them broken, and their serial rows."""
    folder = tmp_path_factory.mktemp("pool")
    dataset = write_round(folder / "round", 6)
    (dataset / "models" / "id-00000002" / "model.pt").write_bytes(b"")
    return dataset, run(dataset, folder / "serial", executor="serial")


# the same rows --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("spread", [{"workers": 2}, {"executor": "pool", "prefetch": 1}], ids=["two", "prefetch"])
def test_pool_rows_equal_serial_rows_and_no_process_stays(round_and_rows, tmp_path, tag, spread):
    dataset, rows = round_and_rows
    same(rows, run(dataset, tmp_path / "a", **spread))
    assert not children(tag)
    assert not list((tmp_path / "a" / "claims").iterdir())


def test_what_lies_in_the_current_folder_is_not_imported(round_and_rows, tmp_path, monkeypatch):
    dataset, rows = round_and_rows
    (tmp_path / "torch.py").write_text("raise SystemExit('the dataset was run')")
    monkeypatch.chdir(tmp_path)
    same(rows.head(1), run(dataset, tmp_path / "a", executor="pool", ids=["id-00000000"]))


# models that misbehave ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_proc
def test_hanging_crashing_and_greedy_models_are_one_failed_row_each(tmp_path, tag):
    dataset = write_round(tmp_path / "round", 6)
    for number, name in enumerate(("Hangs", "Crashes", "Hogs", "Exits"), 1):
        make(dataset / "models" / f"id-{number:08}", name)
    results = run(dataset, tmp_path / "a", workers=2, time_limit=12, memory_limit=900 << 20, networks=NETWORKS_FILE)
    assert not children(tag)  # the hanging one had started a process of its own
    assert results["status"].tolist() == ["done", *["failed"] * 4, "done"]
    assert results["error_kind"].tolist()[1:5] == ["time-limit", "crash", "memory-limit", "crash"]
    path = dataset / "models" / "id-00000001"
    assert results["error"][1] == f"{path}: took longer than 12 s (--time-limit) and was stopped while opening it"
    assert "2 times killed by SIGSEGV while opening it" in results["error"][2]
    assert "more than 900 MiB of host memory (--memory-limit)" in results["error"][3]
    assert "ended with exit code 7" in results["error"][4]
    tails = [row.get("log_tail", "") for row in read_rows(RunPaths(tmp_path / "a"))]
    assert "about to hang" in tails[1]
    assert "about to crash" in tails[2]
    assert "misbehaving_networks.py" in tails[2]  # the stack that a segfault leaves
    assert not tails[0]
    # Only what met the time limit is tried again.
    make(path, "Net2")
    again = run(dataset, tmp_path / "a", retry="timeout", networks=NETWORKS_FILE)
    assert again["status"].tolist() == ["done", "done", *["failed"] * 3, "done"]


@pytest.mark.slow
@needs_proc
def test_memory_that_runs_out_in_company_is_tried_again_alone(tmp_path, tag):
    dataset = write_round(tmp_path / "round", 4)
    rows = run(dataset, tmp_path / "serial")
    networks = NETWORKS_FILE
    for number in (1, 2):
        make_like(dataset / "models" / f"id-{number:08}", number)
    bystander = subprocess.Popen(["sleep", "600"], env={})  # a child of this process that is no worker
    try:
        results = run(dataset, tmp_path / "a", workers=2, prefetch=1, networks=networks)
    finally:
        bystander.kill()
        bystander.wait()
    assert (results["status"] == "done").all(), list(results["error"].dropna())
    assert results["batch_size"].tolist() == rows["batch_size"].tolist()
    columns = ["acc_after", "asr_after", "fidelity"]
    pd.testing.assert_frame_equal(results[columns], rows[columns])


def make_like(folder: Path, seed: int) -> None:
    """The weights that ``write_model`` gives to this seed, under a class that is shy."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make(folder, "Shy")


@pytest.mark.slow
@needs_proc
def test_a_worker_that_is_killed_costs_no_row(tmp_path, tag):
    dataset = write_round(tmp_path / "round", 3)
    make(dataset / "models" / "id-00000001", "Slow")
    networks = NETWORKS_FILE
    process = start(tag, dataset, "--out", tmp_path / "a", "--networks", networks, SLOW="3")
    wait_until(lambda: (tmp_path / "a" / "records" / "id-00000000.h5").exists())
    wait_until(lambda: len(children(tag)) == 2)
    (worker,) = [number for number in children(tag) if number != process.pid]
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    rows = [line for line in out.splitlines() if line.startswith("id-0000000") and "doubtful:" not in line]
    assert len(rows) == 3
    same(pd.read_parquet(tmp_path / "a" / "results.parquet"), run(dataset, tmp_path / "b", networks=networks))


# endings --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def hanging(tmp_path, tag):
    """A command whose worker hangs, with a process of its own below it."""
    dataset = write_round(tmp_path / "round", 1)
    make(dataset / "models" / "id-00000000", "Hangs")
    process = start(tag, dataset, "--out", tmp_path / "a", "--networks", NETWORKS_FILE)
    wait_until(lambda: len(children(tag)) == 3 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    yield process
    if process.poll() is None:
        process.kill()
        process.communicate()


@needs_proc
def test_no_worker_survives_a_killed_parent(hanging, tag):
    (below,) = [n for n in children(tag) if b"sleep" in Path(f"/proc/{n}/cmdline").read_bytes()]
    hanging.kill()
    hanging.communicate()
    # The worker's lock is taken for good, so only the kernel can end it; what a hanging model started itself may stay.
    wait_until(lambda: set(children(tag)) <= {below})
    os.kill(below, signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("signals", [["SIGINT", "SIGINT"], ["SIGTERM"]], ids=["twice", "terminated"])
def test_stopping_at_once(hanging, tag, tmp_path, signals):
    for number, name in enumerate(signals, 1):
        hanging.send_signal(getattr(signal, name))
        if number < len(signals):
            assert "once more stops now" in next(line for line in hanging.stderr if "interrupted" in line)
    out, err = hanging.communicate(timeout=60)
    assert hanging.returncode == 130
    assert "Traceback" not in out + err
    assert not children(tag)
    assert not list((tmp_path / "a" / "claims").iterdir())
    assert not list((tmp_path / "a" / "records").iterdir())


@pytest.mark.slow
@needs_proc
def test_interrupted_once_finishes_what_runs(tmp_path, tag):
    dataset = write_round(tmp_path / "round", 4)
    make(dataset / "models" / "id-00000000", "Slow")
    process = start(tag, dataset, "--out", tmp_path / "a", "--networks", NETWORKS_FILE, SLOW="3")
    wait_until(lambda: list((tmp_path / "a").glob("claims/id-*")))  # by then its handlers of signals stand
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    # On a busy machine the claim can be there before a worker has the model; then it is given back, and nothing ran.
    records = [path.name for path in (tmp_path / "a" / "records").iterdir()]
    assert records in ([], ["id-00000000.h5"])
    assert len(pd.read_csv(tmp_path / "a" / "results.csv")) == len(records)
    assert err.rstrip().endswith("run the same command again to continue")


# memory ---------------------------------------------------------------------------------------------------------------


def test_the_batch_is_halved_when_memory_runs_out_and_only_then(tmp_path, monkeypatch):
    from trojai_seam.batch import evaluation

    dataset = write_round(tmp_path / "round", 2)
    genuine, sizes, error = evaluation.run, [], MemoryError()

    def greedy(model, task, fit, config, seed, *watchers):
        sizes.append(config.batch_size)
        if config.batch_size > 3:
            raise error
        return genuine(model, task, fit, config, seed, *watchers)

    monkeypatch.setattr(evaluation, "run", greedy)
    results = run(dataset, tmp_path / "a", limit=1, stack="off", options={**FEW, "batch_size": "12"})
    assert sizes == [12, 6, 3]
    assert results["batch_size"].tolist() == [3]
    assert "batch halved from 12 to 3: out of memory" in results["notes"][0]
    same(
        results.drop(columns=["changed_options", "notes"]),
        run(dataset, tmp_path / "b", limit=1, stack="off", options={**FEW, "batch_size": "3"}).drop(
            columns=["changed_options", "notes"]
        ),
    )
    sizes.clear()
    error = ValueError("device-side assert")
    results = run(dataset, tmp_path / "c", limit=1, stack="off", options={**FEW, "batch_size": "12"})
    assert (sizes, results["error_kind"].tolist()) == ([12], ["internal"])


# bad usage ------------------------------------------------------------------------------------------------------------


def test_a_worker_that_cannot_start_ends_the_run_with_one_line(tmp_path, capsys):
    dataset = write_round(tmp_path / "round", 2)
    networks = tmp_path / "once.py"
    marker = tmp_path / "imported"
    networks.write_text(
        "from pathlib import Path\nfrom trojai_seam.networks import register_network\n"
        f"marker = Path({str(marker)!r})\nassert not marker.exists(), 'imported twice'\nmarker.touch()\n"
        "register_network('x', ['x.X'])(lambda saved, hints: None)\n"
    )
    arguments = ["evaluate", dataset, "--out", tmp_path / "a", "--round", "r12", "--executor", "pool", "--quiet"]
    assert main([str(a) for a in [*arguments, "--networks", networks]]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "imported twice" in err


def test_limits_need_processes(tmp_path):
    dataset = write_round(tmp_path / "round", 1)
    for options in ({"time_limit": 5}, {"memory_limit": 1 << 30}, {"workers": 2}):
        with pytest.raises((UsageProblem, ConfigProblem), match="--executor pool"):
            run(dataset, tmp_path / "a", executor="serial", **options)
