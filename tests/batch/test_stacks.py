"""Models that a worker unlearns side by side: the same rows whoever is with them, and no failure is catching."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from tests.batch.misbehaving import NETWORKS_FILE, make
from tests.made_rounds import write_round
from trojai_seam.batch import stacks
from trojai_seam.batch.command import evaluate_command
from trojai_seam.batch.executors import Spread, ray_cluster
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.plan import read_plan
from trojai_seam.batch.progress import NoProgress
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.batch.work import Work
from trojai_seam.errors import RunDirectoryProblem, UsageProblem
from trojai_seam.synthesis.archs import make_network, save_as_nist
from trojai_seam.tables.columns import TIMINGS
from trojai_seam.unlearning import ensemble

FEW = {"forget.max_epochs": "3", "recover.max_epochs": "3"}


def run(dataset: Path, out: Path, **options) -> pd.DataFrame:
    settings = {"device": "cpu", "round": "r12", "options": FEW, "executor": "serial", **options}
    return evaluate(dataset, out, Options(**settings)).sort_values("model_id").reset_index(drop=True)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    numbers = [frame.drop(columns=list(TIMINGS)).reset_index(drop=True) for frame in (one, other)]
    pd.testing.assert_frame_equal(*numbers, check_exact=True)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    """Eight models: tanh networks of two layers, two of three, one that is broken."""
    dataset = write_round(tmp_path_factory.mktemp("stacks") / "round", 8)
    for number in (1, 3):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            save_as_nist(make_network(3, "tanh"), dataset / "models" / f"id-{number:08}" / "model.pt")
    (dataset / "models" / "id-00000005" / "model.pt").write_bytes(b"")
    return dataset


@pytest.fixture(scope="module")
def sizes_and_rows(mixed, tmp_path_factory) -> tuple[list[int], pd.DataFrame]:
    """Of a serial run: how many were unlearned together each time, and its rows."""
    seen: list[int] = []
    genuine = stacks.unlearn_together

    def counted(members, *arguments):
        seen.append(len(members))
        return genuine(members, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "unlearn_together", counted)
        return seen, run(mixed, tmp_path_factory.mktemp("stacks") / "serial")


def test_models_of_one_architecture_are_unlearned_together(sizes_and_rows):
    sizes, rows = sizes_and_rows
    assert sum(sizes) == 7
    assert max(sizes) >= 4
    assert Counter(rows["status"]) == {"done": 7, "failed": 1}
    assert rows.set_index("model_id")["stacked"].dropna().all()


@pytest.mark.parametrize(
    "spread",
    [
        {"executor": "pool", "workers": 2},
        {"stack": "2"},
        {"shard": (1, 2)},
        {"ids": ("id-00000004", "id-00000006")},
        {"limit": 3},
    ],
    ids=["two-workers", "pairs", "shard", "two-models", "three-models"],
)
def test_company_changes_no_row(sizes_and_rows, mixed, tmp_path, spread):
    rows = run(mixed, tmp_path / "a", **spread)
    mine = sizes_and_rows[1]
    same(mine[mine["model_id"].isin(rows["model_id"])], rows)


def test_a_run_that_was_stopped_goes_on_to_the_same_rows(sizes_and_rows, mixed, tmp_path):
    run(mixed, tmp_path / "a", limit=3)
    same(sizes_and_rows[1], run(mixed, tmp_path / "a"))


def test_stacked_rows_agree_with_those_of_the_engine_for_one(sizes_and_rows, mixed, tmp_path):
    alone = run(mixed, tmp_path / "a", stack="off")
    assert not alone["stacked"].dropna().any()
    stacked = sizes_and_rows[1]
    for column in ("acc_after", "asr_after", "forget_status", "recover_epochs", "fit_acc_after"):
        pd.testing.assert_series_equal(stacked[column], alone[column])


def test_folds_are_stacked_too(mixed, tmp_path):
    few = {"protocol": "kfold", "ids": ("id-00000000", "id-00000002")}
    stacked, alone = run(mixed, tmp_path / "a", **few), run(mixed, tmp_path / "b", stack="off", **few)
    assert stacked["folds"].tolist() == alone["folds"].tolist() == [5, 5]
    pd.testing.assert_series_equal(stacked["acc_after"], alone["acc_after"])
    same(stacked[:1], run(mixed, tmp_path / "c", **{**few, "ids": ("id-00000000",)}))


def test_oracle_figures_are_taken_alone(mixed, tmp_path):
    rows = run(mixed, tmp_path / "a", protocol="paper", limit=2)
    assert not rows["stacked"].any()


def test_traces_and_seconds_of_a_stack_are_those_of_each_model(mixed, tmp_path, sizes_and_rows):
    run(mixed, tmp_path / "a", ids=("id-00000000", "id-00000002", "id-00000004"))
    for path in sorted((tmp_path / "a" / "records").iterdir()):
        with h5py.File(path) as record:
            trace = record["folds/0/trace"]
            forget = np.array(trace["phase"].asstr()[:]) == "forget"
            assert record.attrs["forget_epochs"] == forget.sum()
            assert 0 < trace["seconds"][forget].sum() <= record.attrs["seconds_forget"]
            parts = [record.attrs[f"seconds_{name}"] for name in ("load", "forget", "recover", "score")]
            assert sum(parts) == pytest.approx(record.attrs["seconds_total"], rel=0.5)
            assert sum(parts) <= record.attrs["seconds_total"] * 1.01


# what goes wrong ------------------------------------------------------------------------------------------------------


def test_a_stack_that_needs_too_much_memory_is_halved_until_it_fits(mixed, tmp_path, monkeypatch, sizes_and_rows):
    genuine, sizes = stacks.unlearn_together, []

    def greedy(members, *arguments):
        sizes.append(len(members))
        if len(members) > 2:
            raise MemoryError
        return genuine(members, *arguments)

    monkeypatch.setattr(stacks, "unlearn_together", greedy)
    same(sizes_and_rows[1], run(mixed, tmp_path / "a"))
    assert max(sizes) > 2


def test_memory_for_not_even_one_in_a_stack_leaves_it_to_the_engine_for_one(mixed, tmp_path, monkeypatch):
    def greedy(members, *arguments):
        raise MemoryError

    monkeypatch.setattr(stacks, "unlearn_together", greedy)
    rows = run(mixed, tmp_path / "a", limit=3)
    assert rows["status"].tolist() == ["done"] * 3
    assert not rows["stacked"].any()


def test_an_unexpected_error_is_traced_to_its_model(mixed, tmp_path, monkeypatch, sizes_and_rows):
    genuine, bad = ensemble._Together._outcome, {}

    def broken(self, number, whole):
        if self.members[number].seed == bad.setdefault("seed", self.members[number].seed):
            raise ZeroDivisionError("boom")
        return genuine(self, number, whole)

    monkeypatch.setattr(ensemble._Together, "_outcome", broken)
    rows = run(mixed, tmp_path / "a")
    failed = rows[rows["status"] == "failed"]
    assert failed["model_id"].tolist() == ["id-00000000", "id-00000005"]
    assert failed["error_kind"].tolist()[0] == "internal"
    others = ~rows["model_id"].isin(failed["model_id"])
    same(sizes_and_rows[1][others], rows[others])


@pytest.mark.slow
def test_a_model_that_crashes_or_hangs_costs_the_others_in_its_group_nothing(tmp_path):
    dataset = write_round(tmp_path / "round", 9)
    rows = run(dataset, tmp_path / "good")
    make(dataset / "models" / "id-00000004", "Exits")
    make(dataset / "models" / "id-00000006", "Hangs")
    shutil.rmtree(tmp_path / "good")
    given = {"executor": "pool", "networks": NETWORKS_FILE, "time_limit": 20.0}
    mixed_rows = run(dataset, tmp_path / "a", **given)
    failed = mixed_rows[mixed_rows["status"] == "failed"]
    assert dict(zip(failed["model_id"], failed["error_kind"], strict=True)) == {
        "id-00000004": "crash",
        "id-00000006": "time-limit",
    }
    kept = ~mixed_rows["model_id"].isin(failed["model_id"])
    same(rows[kept], mixed_rows[kept])


# who gets how many ----------------------------------------------------------------------------------------------------


class _Free:
    def take(self, name: str) -> bool:
        return True

    def release(self, name: str) -> None:
        return


def _unit(number: int, tmp_path: Path):
    directory = SimpleNamespace(model_id=f"id-{number}")
    return SimpleNamespace(record=tmp_path / f"{number}.h5", directory=directory, seen=None)


def test_groups_begin_when_a_model_was_stacked_and_leave_something_for_every_worker(tmp_path):
    spread = Spread(workers=2, together=8)
    work = Work(None, [_unit(n, tmp_path) for n in range(40)], _Free(), NoProgress())
    first = work.take_together("a", spread)
    assert len(first) == 1
    work.finish(first[0], {"status": "done", "stacked": True})
    sizes = []
    while units := work.take_together("a", spread):
        sizes.append(len(units))
    assert sum(sizes) == 39
    assert sizes[0] == 8
    assert sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)


def test_no_groups_of_models_that_are_not_stacked(tmp_path):
    work = Work(None, [_unit(n, tmp_path) for n in range(9)], _Free(), NoProgress())
    for stacked in (False, True, False):
        (unit, *_), spread = work.take_together("a", Spread(together=4)), Spread(together=4)
        work.finish(unit, {"status": "done", "stacked": stacked})
    assert len(work.take_together("a", spread)) == 1


# settings -------------------------------------------------------------------------------------------------------------


def test_whether_is_a_setting_of_the_run_and_how_many_is_not(mixed, tmp_path):
    run(mixed, tmp_path / "a", limit=1)
    run(mixed, tmp_path / "a", limit=2, stack="7")
    with pytest.raises(RunDirectoryProblem, match="stacked was 1, now 0"):
        run(mixed, tmp_path / "a", stack="off")
    assert "--stack" not in evaluate_command(read_plan(RunPaths(tmp_path / "a")))
    run(mixed, tmp_path / "b", limit=1, stack="off")
    assert "--stack off" in evaluate_command(read_plan(RunPaths(tmp_path / "b")))


@pytest.mark.parametrize("stack", ["1", "0", "-3", "many", "5000", "٣"])
def test_other_words_are_refused(mixed, tmp_path, stack):
    with pytest.raises(UsageProblem, match="--stack"):
        run(mixed, tmp_path / "a", stack=stack)


class OneNode:
    """As much of Ray as the driver calls: a cluster of one processor that runs a task when its result is asked for."""

    class exceptions:
        class RayError(Exception):
            """Of a lost task."""

    def __init__(self, lost: int = 0) -> None:
        self.sizes: list[int] = []
        self.lost = lost

    is_initialized = staticmethod(lambda: True)
    cluster_resources = staticmethod(lambda: {"CPU": 1.0})

    def remote(self, function):
        def submitted(assignment: str, units: list[str], spread: str):
            self.sizes.append(len(units))
            return partial(function, assignment, units, spread)

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=submitted))

    def wait(self, tasks, timeout):
        return tasks[:1], tasks[1:]

    def get(self, task):
        if len(task.args[1]) > 1 and self.lost:
            self.lost -= 1
            raise self.exceptions.RayError
        return task()


@pytest.mark.parametrize("lost", [0, 1])
def test_ray_takes_stacks_and_the_models_of_a_lost_one_alone(lost, mixed, sizes_and_rows, tmp_path, monkeypatch):
    node = OneNode(lost)
    monkeypatch.setitem(sys.modules, "ray", node)
    try:
        same(sizes_and_rows[1], run(mixed, tmp_path / "ray", executor="ray", threads=1))
    finally:
        ray_cluster._close_kept()
    assert max(node.sizes) > 1
    assert sum(node.sizes) == 8 + lost * max(node.sizes)
    assert not list((tmp_path / "ray" / "claims").iterdir())
