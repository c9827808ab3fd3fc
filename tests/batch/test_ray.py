"""Ray: the same rows from two nodes, with and without a shared disk, and from those that stay when one is lost."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.batch.misbehaving import NETWORKS_FILE, make
from tests.made_rounds import write_round
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.plan import Plan
from trojai_seam.batch.records import read_rows
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.batch.units import Assignment, WorkUnit
from trojai_seam.errors import UsageProblem
from trojai_seam.loading import Budget
from trojai_seam.rounds import discover, get_round
from trojai_seam.tables.columns import TIMINGS
from trojai_seam.unlearning import resolve

ray = pytest.importorskip("ray", reason="needs Ray (pip install 'trojai-seam[ray]')")
from trojai_seam.batch.executors import ray_cluster  # noqa: E402

FEW = {"forget.max_epochs": "3", "recover.max_epochs": "3"}


def run(dataset: Path, out: Path, **options) -> pd.DataFrame:
    return evaluate(dataset, out, Options(**{"device": "cpu", "round": "r12", "options": FEW, **options}))


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    numbers = [frame.drop(columns=list(TIMINGS)).reset_index(drop=True) for frame in (one, other)]
    pd.testing.assert_frame_equal(*numbers, check_exact=True)


@pytest.fixture
def cluster():
    """Two nodes on this machine, each with room for one model."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
    second = made.add_node(num_cpus=1, object_store_memory=80 << 20)
    yield made, second
    ray.shutdown()
    made.shutdown()


@pytest.mark.slow
def test_two_nodes_give_serial_rows_also_when_one_is_lost(cluster, tmp_path):
    made, second = cluster
    dataset = write_round(tmp_path / "round", 6)
    (dataset / "models" / "id-00000002" / "model.pt").write_bytes(b"")
    make(dataset / "models" / "id-00000003", "Slow")
    make(dataset / "models" / "id-00000004", "Slow")
    networks = NETWORKS_FILE
    rows = run(dataset, tmp_path / "serial", networks=networks)
    same(rows, run(dataset, tmp_path / "a", ray_address=made.address, networks=networks))
    assert not list((tmp_path / "a" / "claims").iterdir())

    def lose_a_node() -> None:
        until = time.monotonic() + 60
        while not list((tmp_path / "b").glob("records/*.h5")) and time.monotonic() < until:
            time.sleep(0.05)
        made.remove_node(second, allow_graceful=False)

    loser = threading.Thread(target=lose_a_node)
    loser.start()
    results = run(dataset, tmp_path / "b", executor="ray", ray_address=made.address, networks=networks)
    loser.join()
    same(rows, results)


def assignment(dataset: Path, run_dir: Path) -> tuple[Assignment, WorkUnit]:
    """As the driver makes them, for a run directory that this machine cannot see."""
    plan = Plan(dataset=str(dataset), round_config=get_round("r12"), unlearning=resolve("no-op"))
    one = Assignment(plan, RunPaths(run_dir), Budget())
    return one, WorkUnit(discover(dataset)[0], one)


def test_without_a_shared_disk_the_record_comes_home(tmp_path):
    dataset = write_round(tmp_path / "round", 1)
    whole, unit = assignment(dataset, tmp_path / "elsewhere")
    try:
        here = json.dumps({"device": "cpu", "together": 1, "limits": {"time_limit": 60}})
        kind, contents = ray_cluster.evaluate_remotely(whole.to_json(), [unit.to_json()], here)
    finally:
        ray_cluster._close_kept()
    assert kind == "records"
    assert not (tmp_path / "elsewhere").exists()
    (tmp_path / "b" / "records").mkdir(parents=True)
    (tmp_path / "b" / "records" / "x.h5").write_bytes(contents[0])
    (row,) = read_rows(RunPaths(tmp_path / "b"))
    assert (row["model_id"], row["status"]) == ("id-00000000", "done")
    assert not list(ray_cluster._staging().records.iterdir())


def test_an_assignment_crosses_as_text(tmp_path):
    dataset = write_round(tmp_path / "round", 1)
    whole, unit = assignment(dataset, tmp_path / "new\nline\udcff")
    again = Assignment.from_json(whole.to_json())
    assert again == whole
    assert again.plan.fingerprint == whole.plan.fingerprint
    other = WorkUnit.from_json(unit.to_json(), again)
    assert (other.directory.path, other.directory.model_id) == (unit.directory.path, unit.directory.model_id)
    assert "\n" not in whole.to_json() + unit.to_json()


def test_no_cluster_at_the_address(tmp_path):
    dataset = write_round(tmp_path / "round", 1)
    with pytest.raises(UsageProblem, match="no Ray cluster"):
        run(dataset, tmp_path / "a", ray_address="127.0.0.1:1")
