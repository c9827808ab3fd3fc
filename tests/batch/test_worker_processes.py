"""What executors do around their processes, shown with processes that only wait for orders, and a Ray that is none."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from trojai_seam.batch.executors import Spread, process, ray_cluster
from trojai_seam.batch.executors.kept import inherit, keep_workers, leave
from trojai_seam.batch.executors.pool import Limits, Pool
from trojai_seam.batch.executors.process import WorkerProcess
from trojai_seam.batch.paths import states_prefix
from trojai_seam.errors import WorkerProblem

ASSIGNMENT = SimpleNamespace(plan=SimpleNamespace(threads=1, networks=None), networks=None, to_json=lambda: "{}")


@pytest.fixture(autouse=True)
def waiting_processes(monkeypatch):
    """Each ends with its second order."""
    monkeypatch.setattr(process, "start_line", lambda *_, **__: ["sh", "-c", "read first; read second"])


def idle(crowded: bool, device: str = "cpu") -> WorkerProcess:
    worker = WorkerProcess(ASSIGNMENT, device, crowded)
    worker.stage = "idle"
    return worker


def pool_of_two() -> Pool:
    work = SimpleNamespace(assignment=ASSIGNMENT, stopped=False, give_back=lambda unit: None)
    return Pool(work, Spread(("cpu",), workers=2), Limits())


def test_stored_states_of_a_killed_process_are_removed_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    worker = idle(crowded=False)
    number = worker._process.pid
    for name in (f"{states_prefix(number)}abc", f"{states_prefix(number)}def", f"{states_prefix(number * 10)}abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.npz").write_bytes(b"state")
    worker.kill()
    assert [folder.name for folder in tmp_path.iterdir()] == [f"{states_prefix(number * 10)}abc"]


def test_processes_of_the_run_before_do_not_stay_beside_a_model_that_must_be_alone():
    pool = pool_of_two()
    with keep_workers():
        here, there = idle(crowded=True), idle(crowded=True, device="cuda:0")
        assert leave(here)
        assert leave(there)
        pool.alone["cpu"].append(SimpleNamespace())
        assert pool._isolate(pool.slots[0])
        assert (here.stage, there.stage) == ("gone", "idle")
        assert [worker.crowded for worker in pool.slots[0].workers] == [False]
        pool.alone["cpu"].clear()
        pool.close()


def test_only_processes_that_are_used_to_company_go_to_the_next_run():
    pool = pool_of_two()
    with keep_workers():
        pool._start(pool.slots[0], crowded=True)
        pool._start(pool.slots[1], crowded=False)
        company, alone = (slot.workers[0] for slot in pool.slots)
        company.stage = alone.stage = "idle"
        pool.close()
        assert (company.stage, alone.stage) == ("idle", "gone")
        assert inherit(ASSIGNMENT, "cpu", crowded=True) is company
    company.kill()


def test_lost_models_that_no_node_has_room_for_end_a_run_on_ray(monkeypatch):
    """The nodes go while a stack of two is on them, the last of the work: it would have waited for ever."""
    units, back, resources = ["a", "b"], [], [{"CPU": 1.0}, {"CPU": 1.0}]
    ray = SimpleNamespace(
        cluster_resources=lambda: resources.pop() if len(resources) > 1 else {},
        wait=lambda tasks, timeout: (tasks, []),
    )
    work = SimpleNamespace(assignment=ASSIGNMENT, stopped=False, closed=False, tick=lambda: None, give_back=back.append)

    def take_together(name, spread):
        work.closed = True
        return units

    work.take_together = take_together
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(ray_cluster, "_cluster", lambda *_: nullcontext())
    monkeypatch.setattr(ray_cluster, "_submit", lambda *_: "task")
    monkeypatch.setattr(ray_cluster, "_bring_home", lambda ray, work, task, units: units)
    with pytest.raises(WorkerProblem, match="no room for one model"):
        ray_cluster.run(work, Spread(), ray_cluster.RaySettings())
    assert back == units
