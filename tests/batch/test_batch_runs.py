"""Batches: the same numbers whatever the order, the sharding or the interruption, and one row per model always."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.batch.misbehaving import hears_sigint
from tests.made_rounds import trained_copy, write_model, write_round, write_scale
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.progress import PlainProgress, RichProgress, Tally, choose_progress
from trojai_seam.batch.records import read_rows
from trojai_seam.batch.run_tables import write_tables
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main
from trojai_seam.errors import RunDirectoryProblem, TrojaiSeamError, UsageProblem
from trojai_seam.tables.columns import TIMINGS

ROOT = Path(__file__).resolve().parents[2]
FEW = {"forget.max_epochs": "3", "recover.max_epochs": "3"}


def run(dataset: Path, out: Path, **options) -> pd.DataFrame:
    options.setdefault("options", FEW)
    options.setdefault("round", "r12")
    return evaluate(dataset, out, Options(device="cpu", **options))


def numbers(results: pd.DataFrame) -> pd.DataFrame:
    return results.drop(columns=list(TIMINGS)).reset_index(drop=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(numbers(one), numbers(other), check_exact=True)


def times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "records").glob("*.h5")}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "trojai_seam.cli", *map(str, arguments)]


def start(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hears_sigint,
    )


def refused(capsys, *arguments: object) -> str:
    """The command ends with exit 2 and one line; returns it."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if not line[:1].isdigit()]  # without progress
    assert len(lines) == 1, text
    assert lines[0].startswith("trojai-seam: error: ")
    assert lines[0].isprintable()
    return lines[0]


@pytest.fixture
def small(tmp_path) -> Path:
    return write_round(tmp_path / "round", 4)


# the same numbers -----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(small, tmp_path):
    first = run(small, tmp_path / "a", seed=3)
    same(first, run(small, tmp_path / "b", seed=3))
    other = run(small, tmp_path / "c", seed=4)
    assert not numbers(first).drop(columns="seed").equals(numbers(other).drop(columns="seed"))


def test_one_model_alone_is_the_same_as_in_a_batch(small, tmp_path):
    batch = run(small, tmp_path / "a")
    alone = run(small, tmp_path / "b", ids=["id-00000003"])
    same(alone, batch[batch["model_id"] == "id-00000003"])
    limited = run(small, tmp_path / "c", limit=2)
    same(limited, batch.head(2))
    direct = run(small / "models" / "id-00000003", tmp_path / "d")
    same(direct, batch[batch["model_id"] == "id-00000003"])


def test_the_order_of_models_does_not_matter(small, tmp_path):
    whole = run(small, tmp_path / "a")
    for number in (3, 0, 2, 1):
        last = run(small, tmp_path / "b", ids=[f"id-{number:08}"])
    same(whole, last)


def test_two_shards_in_two_processes_on_one_run_directory_equal_a_serial_run(small, tmp_path):
    settings = ["--round", "r12", "--device", "cpu", "--quiet"]
    settings += [text for k, v in FEW.items() for text in ("--set", f"{k}={v}")]
    both = [start("evaluate", small, "--out", tmp_path / "b", "--shard", f"{i}/2", *settings) for i in (1, 2)]
    whole = run(small, tmp_path / "a")
    for process in both:
        out, err = process.communicate(timeout=100)
        assert (process.returncode, out, err) == (0, "", "")
    same(whole, write_tables(RunPaths(tmp_path / "b")))


@pytest.mark.parametrize("parts", [1, 3, 7])
def test_shards_are_disjoint_and_complete(small, tmp_path, parts):
    sizes = []
    for part in range(1, parts + 1):
        before = len(times(tmp_path / "b")) if (tmp_path / "b").exists() else 0
        run(small, tmp_path / "b", shard=(part, parts), preset="no-op", options={})
        sizes.append(len(times(tmp_path / "b")) - before)
    assert sum(sizes) == 4
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("protocol", ["kfold", "paper"])
def test_other_protocols_fill_their_own_columns(small, tmp_path, protocol):
    results = run(small, tmp_path / "a", protocol=protocol)
    assert (results["status"] == "done").all()
    if protocol == "kfold":
        assert set(results["measured_on"]) == {"cross-validated"}
        assert set(results["n_acc_after"]) == {20}
        assert set(results["folds"]) == {5}
        assert results["oracle_acc"].isna().all()
    else:
        assert set(results["measured_on"]) == {"in-sample"}
        assert results["acc_after"].isna().all()
        assert results["fidelity"].isna().all()
        assert set(results["n_fit_acc_after"]) == {20}
        assert results["oracle_acc"].notna().all()
        poisoned = results["poisoned"]
        assert results.loc[poisoned, "oracle_fidelity"].notna().all()
        assert results.loc[~poisoned, "oracle_fidelity"].isna().all()


def test_statuses_of_folds_that_differ_are_counted():
    from trojai_seam.batch.phase_columns import _status_of_folds

    assert _status_of_folds(["reached"]) == _status_of_folds(["reached"] * 5) == "reached"
    assert _status_of_folds(["reached", "missed", "reached"]) == "missed 1, reached 2"


def test_a_model_that_was_replaced_after_its_evaluation_is_evaluated_again(small, tmp_path, capsys):
    first = run(small, tmp_path / "a")
    before = times(tmp_path / "a")
    models = small / "models"
    (models / "id-00000000" / "model.pt").touch()  # another time, the same content
    shutil.copy(models / "id-00000001" / "model.pt", models / "id-00000003" / "model.pt")
    options = Options(device="cpu", round="r12", options=FEW)
    again = evaluate(small, tmp_path / "a", options, PlainProgress())
    assert "another model.pt lies there now: id-00000003\n" in capsys.readouterr().err
    assert {name for name, when in times(tmp_path / "a").items() if before[name] != when} == {"id-00000003.h5"}
    assert again["model_sha256"][3] == first["model_sha256"][1] != first["model_sha256"][3]


def test_a_model_that_is_replaced_while_it_is_read_is_a_failed_row(small, tmp_path, monkeypatch):
    from trojai_seam.rounds import opening

    genuine = opening.file_sha256

    def swapped(path: Path) -> str:
        path.write_bytes(path.read_bytes() + b"x")
        return genuine(path)

    monkeypatch.setattr(opening, "file_sha256", swapped)
    results = run(small, tmp_path / "a", limit=1)
    assert results["error_kind"].tolist() == ["refused-file"]
    assert "was truncated or replaced while it was being read" in results["error"][0]


def test_a_run_ends_when_too_many_models_failed(small, tmp_path, capsys):
    for number in (0, 1, 2):
        (small / "models" / f"id-{number:08}" / "model.pt").write_bytes(b"")
    arguments = ["evaluate", str(small), "--round", "r12", "--quiet", "--preset", "no-op", "--max-failures"]
    assert main([*arguments, "1", "--out", str(tmp_path / "a")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("trojai-seam: error: stopped after 2 failed models (--max-failures 1)")
    assert len(times(tmp_path / "a")) == len(pd.read_csv(tmp_path / "a" / "failures.csv")) == 2
    assert main([*arguments, "75%", "--out", str(tmp_path / "a")]) == 1  # goes on; 3 of 4 may fail
    assert capsys.readouterr().err == ""
    assert len(times(tmp_path / "a")) == 4


def test_no_op_changes_nothing(small, tmp_path):
    results = run(small, tmp_path / "a", preset="no-op", options={})
    assert (results["acc_before"] == results["acc_after"]).all()
    phases = ["phases", "forget_status", "recover_status", "forget_epochs", "seconds_recover"]
    assert results[phases].isna().all(axis=None)  # a phase that is absent is an empty cell
    attacked = results[results["poisoned"]]
    assert (attacked["asr_before"] == attacked["asr_after"]).all()


# resume ---------------------------------------------------------------------------------------------------------------


def test_the_same_command_again_evaluates_nothing_twice(small, tmp_path):
    first = run(small, tmp_path / "a", limit=2)
    before = times(tmp_path / "a")
    (tmp_path / "a" / "results.csv").unlink()
    again = run(small, tmp_path / "a")
    after = times(tmp_path / "a")
    assert len(before) == 2
    assert len(after) == 4
    assert {name: after[name] for name in before} == before
    pd.testing.assert_frame_equal(first, again.head(2))  # with their timings: these are the old rows
    pd.testing.assert_frame_equal(again, run(small, tmp_path / "a"))
    assert (tmp_path / "a" / "results.csv").exists()


def test_retry_failed_evaluates_just_those(small, tmp_path):
    broken = small / "models" / "id-00000002" / "model.pt"
    content = broken.read_bytes()
    broken.write_bytes(b"")
    assert run(small, tmp_path / "a")["status"].tolist() == ["done", "done", "failed", "done"]
    broken.write_bytes(content)
    before = times(tmp_path / "a")
    assert run(small, tmp_path / "a")["status"].tolist() == ["done", "done", "failed", "done"]
    assert times(tmp_path / "a") == before
    retried = run(small, tmp_path / "a", retry="failed")
    changed = {name for name, when in times(tmp_path / "a").items() if before[name] != when}
    assert changed == {"id-00000002.h5"}
    same(retried, run(small, tmp_path / "b"))
    run(small, tmp_path / "a", retry="all")
    assert all(when != before[name] for name, when in times(tmp_path / "a").items())


def test_how_the_work_is_spread_may_change_between_commands(small, tmp_path):
    run(small, tmp_path / "a", limit=1)
    run(small, tmp_path / "a", shard=(2, 2))
    assert len(run(small, tmp_path / "a", executor="serial")) == 4


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 1}, "seed was 0, now 1"),
        ({"preset": "finetune", "options": {}}, 'unlearning.preset was "default", now "finetune"'),
        ({"protocol": "paper"}, 'protocol was "held-out", now "paper"'),
        ({"options": {**FEW, "batch_size": "7"}}, ", now 7"),
        ({"round_options": {"attack.target_label": "1"}}, "round.attack.target_label was 0, now 1"),
        ({"threads": 2}, "threads was 1, now 2"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_a_run_of_other_settings_is_refused_with_the_difference(small, tmp_path, changed, words):
    run(small, tmp_path / "a", limit=1)
    before = times(tmp_path / "a")
    with pytest.raises(RunDirectoryProblem, match="made with other settings") as caught:
        run(small, tmp_path / "a", **changed)
    assert words in str(caught.value)
    assert times(tmp_path / "a") == before


def test_another_dataset_is_refused(small, tmp_path):
    run(small, tmp_path / "a", limit=1)
    other = write_round(tmp_path / "other", 1)
    with pytest.raises(RunDirectoryProblem, match=r"dataset was .*round.*, now .*other"):
        run(other, tmp_path / "a")


@pytest.mark.parametrize("name", ["thesis.tex", "results.csv", "records.txt", ".git"])
def test_a_folder_with_other_things_in_it_is_left_alone(small, tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).write_text("mine")
    with pytest.raises(RunDirectoryProblem, match="is not empty and holds no plan"):
        run(small, tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == [name]


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000])
def test_an_unreadable_plan(small, tmp_path, content):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "plan.json").write_text(content)
    with pytest.raises(RunDirectoryProblem):
        run(small, tmp_path / "a")


def test_leftovers_of_killed_writers_are_removed_and_those_of_living_ones_stay(small, tmp_path):
    run(small, tmp_path / "a", limit=1)
    ended = subprocess.Popen(["true"])
    ended.wait()
    host = next(_partial_names(small, tmp_path / "spy")).split(".")[-3]
    folders = [tmp_path / "a", tmp_path / "a" / "records"]
    dead = [f / f".x.h5.{host}.{ended.pid}.partial" for f in folders]
    kept = [f / f".x.h5.{host}.{os.getppid()}.partial" for f in folders]
    kept += [f / f".x.h5.another-machine.{ended.pid}.partial" for f in folders]
    for path in dead + kept:
        path.write_bytes(b"half")
    assert len(run(small, tmp_path / "a")) == 4
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in kept)


def _partial_names(dataset: Path, out: Path) -> Iterator[str]:
    """What the writer calls its unfinished files, seen from the renames it does."""
    seen: list[str] = []
    real = Path.replace
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", lambda self, to: (seen.append(self.name), real(self, to))[1])
        run(dataset, out, limit=1)
    yield from seen


def test_a_killed_first_writer_does_not_block_the_folder(small, tmp_path):
    (tmp_path / "a" / "records").mkdir(parents=True)
    (tmp_path / "a" / ".plan.json.somewhere.1.partial").write_text("{")
    assert len(run(small, tmp_path / "a", limit=1)) == 1


# killed and interrupted -----------------------------------------------------------------------------------------------


def start_slow(dataset: Path, out: Path) -> subprocess.Popen:
    """A run that is stopped after its second record at the earliest."""
    process = start("evaluate", dataset, "--out", out, "--device", "cpu", "--set", "recover.max_epochs=100")
    until = time.monotonic() + 100
    while len(times(out)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.005)
    return process


@pytest.fixture(scope="module")
def six(tmp_path_factory) -> Path:
    return trained_copy(tmp_path_factory.mktemp("six") / "round", 6)


@pytest.fixture(scope="module")
def undisturbed(six) -> pd.DataFrame:
    return run(six, six.parent / "run", round=None, options={"recover.max_epochs": "100"})


def test_killed_in_the_middle_and_run_again(six, tmp_path, undisturbed, capsys):
    process = start_slow(six, tmp_path / "a")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = times(tmp_path / "a")
    assert 2 <= len(before) < 6
    assert not (tmp_path / "a" / "results.csv").exists()
    arguments = ["evaluate", six, "--out", tmp_path / "a", "--device", "cpu", "--set", "recover.max_epochs=100"]
    assert main([str(a) for a in arguments]) == 0
    assert f"{len(before)} from before" in capsys.readouterr().err
    after = times(tmp_path / "a")
    assert {name: after[name] for name in before} == before
    assert not list((tmp_path / "a").rglob("*.partial"))
    same(undisturbed, pd.read_parquet(tmp_path / "a" / "results.parquet"))


def test_interrupted_by_the_keyboard(six, tmp_path, undisturbed):
    process = start_slow(six, tmp_path / "a")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in out + err
    assert err.rstrip().splitlines()[-1] == "trojai-seam: interrupted; run the same command again to continue"
    written = pd.read_parquet(tmp_path / "a" / "results.parquet")
    assert len(written) == len(times(tmp_path / "a")) == len(pd.read_csv(tmp_path / "a" / "results.csv"))
    same(written, undisturbed[undisturbed["model_id"].isin(written["model_id"])])


# one row per model, whatever is wrong with it -------------------------------------------------------------------------


def wrong_length(folder: Path) -> None:
    import numpy as np

    np.save(folder / "clean-example-data" / "0003.npy", np.ones(134))


def unknown_class(folder: Path) -> None:
    from trojai_seam.synthesis.archs import make_network, save_as_nist

    network = make_network(2, "tanh")
    type(network).__name__ = type(network).__qualname__ = "Transmogrifier"
    save_as_nist(network, folder / "model.pt")


def missing_key(folder: Path) -> None:
    from trojai_seam.synthesis.archs import make_network

    state = dict(make_network(3, "tanh").state_dict())
    del state["fc2.bias"]
    torch.save(state, folder / "model.pt")
    (folder / "config.json").write_text('{"num_layers": 2, "activation_function": "tanh"}')


def cut(folder: Path) -> None:
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[: len(content) // 2])


BROKEN = {
    "cut": (cut, "refused-file", "model.pt"),
    "absent": (lambda f: (f / "model.pt").unlink(), "refused-file", "model.pt"),
    "class": (unknown_class, "unsupported-model", "archs.Transmogrifier"),
    "key": (missing_key, "", "model.pt"),
    "length": (wrong_length, "examples", "expected 135 features, found an array of shape (134,)"),
    "json": (lambda f: (f / "config.json").write_text("{"), "dataset", "config.json: is not valid JSON"),
    "truth": (lambda f: (f / "ground_truth.csv").write_text("perhaps"), "dataset", "ground_truth.csv"),
    "label": (lambda f: (f / "clean-example-data" / "0000.npy.json").write_text("5"), "examples", "label 5"),
}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> tuple[Path, int, pd.DataFrame, str, str]:
    """A round in which every second model is broken in its own way, evaluated."""
    folder = tmp_path_factory.mktemp("mixed")
    write_scale(folder)
    for number, (breaks, _, _) in enumerate(BROKEN.values()):
        write_model(folder / "models" / f"id-1{number:07}", seed=number)
        breaks(write_model(folder / "models" / f"id-0{number:07}", seed=number))
    process = start("evaluate", folder, "--out", folder / "run", "--round", "r12", "--preset", "no-op")
    out, err = process.communicate(timeout=100)
    return folder / "run", process.returncode, pd.read_parquet(folder / "run" / "results.parquet"), out, err


def test_failed_models_are_failed_rows_and_the_others_are_done(mixed):
    run_dir, code, results, out, err = mixed
    assert code == 1
    assert "Traceback" not in out + err
    by_id = results.set_index("model_id")
    assert (by_id.loc[by_id.index.str.startswith("id-1"), "status"] == "done").all()
    assert (by_id.loc[by_id.index.str.startswith("id-0"), "status"] == "failed").all()
    assert len(results) == 2 * len(BROKEN)
    assert "internal" not in set(results["error_kind"].dropna())
    told = [line for line in err.splitlines() if not line.startswith("trojai-seam evaluate: ")]  # on a busy machine
    assert told[-1].startswith(f"{len(results)}/{len(results)} models, {len(BROKEN)} failed")
    failures = pd.read_csv(run_dir / "failures.csv")
    assert list(failures["model_id"]) == [f"id-{number:08}" for number in range(len(BROKEN))]


@pytest.mark.parametrize("name", list(BROKEN))
def test_the_failed_row_says_why_and_has_no_score(mixed, name):
    _, _, results, out, err = mixed
    model_id = f"id-{list(BROKEN).index(name):08}"
    row = results.set_index("model_id").loc[model_id]
    _, kind, words = BROKEN[name]
    assert words in row["error"]
    assert kind in row["error_kind"]
    assert row["error"].isprintable()
    assert f"models/{model_id}" in row["error"]
    assert row["error"] in err
    assert row["error"] in out
    for column in ("acc_before", "acc_after", "asr_after", "fidelity", "nist_fidelity", "folds"):
        assert pd.isna(row[column])
    assert row["seconds_total"] > 0


def test_an_unexpected_error_is_one_row_with_its_traceback_in_the_record(small, tmp_path, monkeypatch):
    def broken(*arguments, **named):
        raise ZeroDivisionError("\x1b[31mboom\nboom")

    monkeypatch.setattr("trojai_seam.batch.evaluation.plan_splits", broken)
    results = run(small, tmp_path / "a", limit=1)
    assert results["error_kind"].tolist() == ["internal"]
    assert results["error"][0].isprintable()
    assert "ZeroDivisionError" in results["error"][0]
    (row,) = read_rows(RunPaths(tmp_path / "a"))
    assert "plan_splits" in row["traceback"]


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(2**50), lambda: bytearray(2**62), lambda: __import__("numpy").empty(2**50)],
    ids=["torch", "python", "numpy"],
)
def test_out_of_memory_is_named(small, tmp_path, monkeypatch, allocate):
    monkeypatch.setattr("trojai_seam.batch.evaluation.plan_splits", lambda *a, **k: allocate())
    results = run(small, tmp_path / "a", limit=1)
    assert results["error_kind"].tolist() == ["out-of-memory"]
    assert "out of memory" in results["error"][0]


def test_unlearning_that_explodes_is_a_failed_row(small, tmp_path):
    results = run(small, tmp_path / "a", options={**FEW, "forget.learning_rate": "1000", "forget.optimizer": "sgd"})
    assert set(results["status"]) <= {"failed", "done"}
    failed = results[results["status"] == "failed"]
    assert set(failed["error_kind"]) <= {"engine"}


HOSTILE_IDS = [
    "new\nline", "=cmd()", "ünï☃", "a b", ".hidden", "tab\there", "\x1b[31mred", "quote'\",", "%2e", "bad\udcff",
    "模型" * 40, "n" * 250,
]  # fmt: skip


def test_hostile_model_names_get_their_rows(tmp_path, capsys):
    for number, name in enumerate(HOSTILE_IDS):
        write_model(tmp_path / "set" / name, seed=number)
    (tmp_path / "set" / "=cmd()" / "model.pt").write_bytes(b"")
    write_scale(tmp_path / "set")
    arguments = [
        "evaluate",
        str(tmp_path / "set"),
        "--out",
        str(tmp_path / "run"),
        "--round",
        "r12",
        "--preset",
        "no-op",
    ]
    for _ in range(2):
        assert main(arguments) == 1
        shown = capsys.readouterr()
        assert "\x1b" not in shown.out + shown.err
        assert len(times(tmp_path / "run")) == len(HOSTILE_IDS)
    expected = sorted("bad\\udcff" if name == "bad\udcff" else name for name in HOSTILE_IDS)
    for table in (pd.read_parquet(tmp_path / "run" / "results.parquet"), pd.read_csv(tmp_path / "run" / "results.csv")):
        assert sorted(name.lstrip("'") for name in table["model_id"]) == expected  # "'=cmd()" in CSV
        assert (table["status"] == "done").sum() == len(HOSTILE_IDS) - 1


def test_hostile_config_values_cannot_stop_a_batch(tmp_path):
    values = ["nul\0", "\ud800", 10**30, -(2**63) - 1, 1e308, float("nan"), float("inf"), True, "x" * 200_000, "", [1]]
    for number, value in enumerate(values):
        write_model(tmp_path / "set" / f"id-{number:08}", attack_strategy=value)
    write_scale(tmp_path / "set")
    results = run(tmp_path / "set", tmp_path / "run", preset="no-op", options={})
    assert (results["status"] == "done").all(), list(results["error"].dropna())
    for text in results["trigger_type"].dropna():
        assert text.isprintable()
        assert len(text) <= 200
    assert pd.isna(results["trigger_type"][values.index(values[5])])


# the run directory cannot be written ----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=224k", "none", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up(small_disk, tmp_path, capsys):
    dataset = write_round(tmp_path / "round", 8)
    out = small_disk / "run"
    arguments = ["evaluate", dataset, "--out", out, "--round", "r12", "--preset", "authors-trojai", "--set",
                 "forget.max_epochs=60"]  # fmt: skip
    line = refused(capsys, *arguments)
    assert "No space left on device" in line
    assert str(out) in line
    kept = times(out)
    assert 0 < len(kept) < 8
    assert len(read_rows(RunPaths(out))) == len(kept)
    assert not list(out.rglob("*.partial"))
    assert "No space left" in refused(capsys, *arguments)  # still full
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert main([str(a) for a in arguments]) == 0
    assert {name: times(out)[name] for name in kept} == kept
    undisturbed = run(dataset, tmp_path / "b", preset="authors-trojai", options={"forget.max_epochs": "60"})
    same(undisturbed, pd.read_parquet(out / "results.parquet"))


def test_a_read_only_disk(small_disk, small, capsys):
    arguments = ["evaluate", small, "--round", "r12", "--preset", "no-op", "--quiet", "--limit", "1", "--out"]
    assert main([str(a) for a in [*arguments, small_disk / "finished"]]) == 0
    (small_disk / "empty").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for name in ("finished", "empty", "new"):
        line = refused(capsys, *arguments, small_disk / name)
        assert "Read-only file system" in line
    line = refused(capsys, "unlearn", small / "models/id-00000000", "--round", "r12", "--out", small_disk / "x.pt")
    assert "Read-only file system" in line
    assert "Read-only" in refused(capsys, "synthesize", "r12", "--models", "1", "--out", small_disk / "new")
    assert "Read-only" in refused(capsys, "demo", "--models", "1", "--out", small_disk / "new")
    assert "Read-only" in refused(capsys, "tables", small_disk / "finished")


@pytest.mark.parametrize("where", ["/proc/run", "/dev/null", "/dev/null/run", "{file}", "{file}/run", "{long}"])
def test_a_place_where_nothing_can_be_written(small, tmp_path, capsys, where):
    (tmp_path / "file").write_text("mine")
    out = where.format(file=tmp_path / "file", long=tmp_path / ("x" * 300))
    refused(capsys, "evaluate", small, "--out", out, "--round", "r12", "--quiet")
    assert (tmp_path / "file").read_text() == "mine"


# options --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": "p\nq"}, "held-out, kfold, paper"),
        ({"retry": "some"}, "failed, timeout, all"),
        ({"shard": (0, 2)}, "1 <= i <= n"),
        ({"shard": (3, 2)}, "1 <= i <= n"),
        ({"limit": 0}, "at least 1"),
        ({"threads": 0}, "1 to 1024"),
        ({"seed": 2**64}, "64 bits"),
        ({"ids": ["id-00000000", "id-9", "x\n"]}, "id-9, x"),
        ({"executor": "serail"}, "did you mean serial"),
        ({"preset": "defualt"}, "did you mean default"),
        ({"round": "r99"}, "no round called 'r99'"),
        ({"device": "gpu"}, "auto, cpu, cuda, cuda:N or cuda:N,M"),
        ({"device": "meta"}, "auto, cpu, cuda, cuda:N or cuda:N,M"),
        ({"device": "cuda:99"}, "CUDA devices"),
        ({"round": "r12", "round_options": {"adapter": "magic"}}, "no adapter called 'magic'"),
        ({"round": "r12", "round_options": {"task": "magic"}}, "no task called 'magic'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_options_that_make_no_sense(small, tmp_path, options, words):
    with pytest.raises(TrojaiSeamError) as caught:
        evaluate(small, tmp_path / "a", Options(**{"round": "r12", "device": "cpu", **options}))
    assert isinstance(caught.value, UsageProblem)
    assert words in str(caught.value)
    assert not (tmp_path / "a").exists()  # nothing was made before all was looked at


@pytest.mark.parametrize("seed", [-1, -(2**63), 2**63 - 1])
def test_every_64_bit_seed_goes(small, tmp_path, seed):
    assert run(small, tmp_path / "a", seed=seed, limit=1)["seed"].tolist() == [seed]


# progress -------------------------------------------------------------------------------------------------------------


def row(status: str = "done", fidelity: float | None = None, seconds: float = 2.0, model_id: str = "id-1") -> dict:
    return {"status": status, "seconds_total": seconds, "fidelity": fidelity, "model_id": model_id, "error": "why"}


def test_the_tally_counts_and_says_what_is_left():
    tally = Tally(10, 4, 1)
    assert tally.line() == "4/10 models, 1 failed, 4 from before"
    for one in (row(fidelity=1.0), row("failed"), row(fidelity=0.5, seconds=60)):
        tally.add(one)
    assert tally.line() == "7/10 models, 2 failed, 4 from before, mean fidelity 0.750 (n=2), about 6s left"
    for _ in range(3):
        tally.add(row(seconds=4000))
    assert tally.line() == "10/10 models, 2 failed, 4 from before, mean fidelity 0.750 (n=2)"


def test_plain_progress_prints_failures_safely(capsys):
    progress = PlainProgress()
    progress.start(2, 0, 0)
    progress.update(row("failed", model_id="\x1b[31m\nx"))
    progress.update(row())
    progress.stop()
    assert capsys.readouterr().err.splitlines() == [
        "0/2 models, 0 failed", "failed: \\x1b[31m\\nx: why", "2/2 models, 1 failed",
    ]  # fmt: skip


def test_rich_progress_takes_no_markup_from_ids(capsys):
    progress = RichProgress()
    progress.start(2, 1, 0)
    progress.update(row("failed", model_id="[bold]x[/nonsense]"))
    progress.stop()
    assert "[bold]x[/nonsense]" in capsys.readouterr().err


def test_progress_is_silent_when_quiet(capsys):
    progress = choose_progress(quiet=True)
    progress.start(1, 0, 0)
    progress.update(row("failed"))
    progress.stop()
    assert capsys.readouterr() == ("", "")
    assert isinstance(choose_progress(quiet=False), PlainProgress)


def test_plan_is_readable_json(small, tmp_path):
    run(small, tmp_path / "a", limit=1)
    plan = json.loads((tmp_path / "a" / "plan.json").read_text())
    assert plan["round"]["name"] == "cyber-pdf-dec2022"
    assert [phase["max_epochs"] for phase in plan["unlearning"]["phases"]] == [3, 3]
    assert plan["dataset"] == str(small.resolve())


def test_trained_models_are_copied_whole(tmp_path):
    copied = trained_copy(tmp_path / "copy", 2)
    results = run(copied, tmp_path / "a", round=None, preset="no-op", options={})
    assert results["acc_before_all"].tolist() == [1.0, 1.0]
    assert results["poisoned"].tolist() == [False, True]
