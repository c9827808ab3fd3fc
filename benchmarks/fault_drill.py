"""A run that is shot at: workers and parents killed at random moments, models that hang, crash and eat memory, a model
file that is replaced while it is read, a disk that fills up, a Ray node that is lost.

At the end every model has exactly one record, whole and equal to the undisturbed one; finished work was not repeated;
no process is left. Prints one line of figures per part; exits 1 at the first broken promise.

python benchmarks/fault_drill.py [--models 44] [--worker-kills 50] [--parent-kills 20] [--parts kills,disk,ray]
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.batch.misbehaving import NETWORKS_FILE, make, workers_of  # noqa: E402
from tests.made_rounds import trained_copy  # noqa: E402
from trojai_seam.batch.paths import RunPaths  # noqa: E402
from trojai_seam.batch.records import read_row  # noqa: E402
from trojai_seam.tables.columns import TIMINGS  # noqa: E402

REPLACED = "id-00000000"
BAD = {"Hangs": "time-limit", "Crashes": "crash", "Hogs": "memory-limit"}
SETTINGS = ["--set", "recover.max_epochs=40", "--networks", NETWORKS_FILE, "--device", "cpu", "--quiet"]
LIMITS = ["--time-limit", "25", "--memory-limit", "1500MiB"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=44)
    parser.add_argument("--worker-kills", type=int, default=50)
    parser.add_argument("--parent-kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--parts", default="kills,disk,ray")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="trojai-seam-drill-"))
    try:
        dataset = make_dataset(folder / "dataset", given.models)
        began = time.monotonic()
        code, text = command(uuid.uuid4().hex, dataset, folder / "calm", "--executor", "pool", *LIMITS).wait_for()
        check(code == 1, f"the undisturbed run ended with {code}: {text}")
        calm = pd.read_parquet(folder / "calm" / "results.parquet")
        bad = calm[calm["status"] == "failed"]
        check(sorted(bad["error_kind"]) == sorted(BAD.values()), f"undisturbed failures: {list(bad['error'])}")
        print(f"undisturbed: {len(calm)} models, {len(bad)} failed as they should, {time.monotonic() - began:.0f} s")
        for part in given.parts.split(","):
            {"kills": kills, "disk": full_disk, "ray": lost_node}[part](dataset, folder, calm, given)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# the parts ------------------------------------------------------------------------------------------------------------


def kills(dataset: Path, folder: Path, calm: pd.DataFrame, given: argparse.Namespace) -> None:
    """Workers and parents are killed, and a model file is replaced over and over, until all shots are fired."""
    chance, tag, out = random.Random(given.seed), uuid.uuid4().hex, folder / "kills"
    watch = Watch(out)
    shots = {"workers": 0, "parents": 0}
    began, starts = time.monotonic(), 0
    extra: list[object] = []
    with replaced_over_and_over(dataset / "models" / REPLACED / "model.pt"), watch:
        while True:
            parent = command(tag, dataset, out, "--executor", "pool", "--workers", given.workers, *LIMITS, *extra)
            starts += 1
            time.sleep(3)
            shoot_parent = shots["parents"] < given.parent_kills
            share = given.worker_kills / max(1, given.parent_kills)  # so that both kinds are fired to the end
            goal = given.worker_kills if not shoot_parent else min(given.worker_kills, int(share * starts) + 1)
            while parent.process.poll() is None and shots["workers"] < goal:
                workers = [number for number in workers_of(tag) if number != parent.process.pid and is_worker(number)]
                if workers:
                    with suppress(ProcessLookupError):
                        os.kill(chance.choice(workers), signal.SIGKILL)
                        shots["workers"] += 1
                time.sleep(chance.uniform(0.05, 1.5))
            if shoot_parent and parent.process.poll() is None:
                time.sleep(chance.uniform(0.0, 1.0))
                parent.process.kill()
                parent.wait_for()
                shots["parents"] += 1
                no_process(tag, "after its parent was killed")
                continue
            code, text = parent.wait_for()
            check(code in (0, 1), f"ended with {code}: {text}")
            no_process(tag, "after an ordinary ending")
            if shots["workers"] >= given.worker_kills and shots["parents"] >= given.parent_kills:
                break
            # All is done, but shots are left: what the shots made fail, and then everything, is done again.
            watch.forget()
            extra = ["--retry", "all"]
        left = [row for row in rows(out) if row.get("error_kind") == "crash" and "SIGKILL" in row["error"]]
        watch.forget()
        code, text = command(tag, dataset, out, "--executor", "pool", "--retry", "failed", *LIMITS).wait_for()
        check(code == 1, f"the last run ended with {code}: {text}")
    compare(out, calm, but=[REPLACED])
    replaced = next(row for row in rows(out) if row["model_id"] == REPLACED)
    check(replaced["status"] == "done" or "replaced or changed" in replaced["error"], str(replaced.get("error")))
    check(not list(out.rglob("*.partial")), "half-written files are left")
    check(not list((out / "claims").iterdir()), "claims are left")
    print(
        f"kills: {shots['workers']} workers and {shots['parents']} parents killed in {starts} starts, "
        f"{time.monotonic() - began:.0f} s; {watch.looks} looks at {watch.most} records: none half-written, none "
        f"written twice; {len(left)} models had failed because they were hit 3 times, and were done with --retry "
        "failed; rows equal the undisturbed ones; no process left"
    )


def full_disk(dataset: Path, folder: Path, calm: pd.DataFrame, given: argparse.Namespace) -> None:
    """The disk of the run directory fills up, is enlarged, and the run goes on."""
    disk, tag = folder / "disk", uuid.uuid4().hex
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "none", disk], capture_output=True).returncode:
        print("full disk: skipped, needs the right to mount a tmpfs")
        return
    try:
        arguments = (dataset, disk / "run", "--executor", "pool", "--workers", given.workers, *LIMITS)
        watch = Watch(disk / "run")
        with watch:
            code, text = command(tag, *arguments).wait_for()
            check(code == 2 and text.count("\n") == 1, f"ended with {code}: {text}")
            check("No space left on device" in text, text)
            no_process(tag, "after the disk was full")
            kept = len(rows(disk / "run"))
            subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
            code, text = command(tag, *arguments).wait_for()
            check(code == 1, f"ended with {code}: {text}")
        compare(disk / "run", calm, but=[REPLACED])
        print(
            f"full disk: ended with one line and exit 2 after {kept} records; finished when there was space, no repeat"
        )
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def lost_node(dataset: Path, folder: Path, calm: pd.DataFrame, given: argparse.Namespace) -> None:
    """One of two Ray nodes is lost in the middle."""
    try:
        from ray.cluster_utils import Cluster
    except ImportError:
        print("lost node: skipped, needs Ray")
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    tag, out = uuid.uuid4().hex, folder / "ray"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 << 20})
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        run = command(tag, dataset, out, "--ray-address", cluster.address, *LIMITS)
        with Watch(out):
            until = time.monotonic() + 300
            while len(list(out.glob("records/*.h5"))) < given.models // 3 and time.monotonic() < until:
                time.sleep(0.2)
            before = len(list(out.glob("records/*.h5")))
            cluster.remove_node(second, allow_graceful=False)
            code, text = run.wait_for()
            check(code == 1, f"ended with {code}: {text}")
        compare(out, calm, but=[REPLACED])
        print(
            f"lost node: one of two Ray nodes lost after {before} of {given.models} models; rows equal the undisturbed"
        )
    finally:
        cluster.shutdown()


# what they need -------------------------------------------------------------------------------------------------------


def make_dataset(folder: Path, models: int) -> Path:
    """Trained models, three of which misbehave."""
    trained_copy(folder, models)
    for number, name in enumerate(BAD, models // 3):
        make(folder / "models" / f"id-{number:08}", name)
    return folder


class command:
    """A started ``trojai-seam evaluate``."""

    def __init__(self, tag: str, dataset: Path, out: Path, *arguments: object) -> None:
        line = ["-m", "trojai_seam.cli", "evaluate", dataset, "--out", out, "--round", "r12", *SETTINGS, *arguments]
        environment = {**os.environ, "TROJAI_SEAM_TEST": tag, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, *map(str, line)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def wait_for(self) -> tuple[int, str]:
        _, text = self.process.communicate(timeout=1800)
        return self.process.returncode, text


class Watch:
    """Looks at the records all the time: each must be readable whenever it is there, and must stay the same."""

    def __init__(self, out: Path) -> None:
        self.records, self.looks, self.most = RunPaths(out).records, 0, 0
        self._seen: dict[str, tuple[int, int]] = {}
        self._old: dict[str, tuple[int, int]] = {}
        self._ended = threading.Event()
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *problem: object) -> None:
        self._ended.set()
        self._thread.join()
        check(self._problem is None, str(self._problem))

    def forget(self) -> None:
        """From now on records may be written anew, once."""
        self._seen, self._old = {}, {**self._old, **self._seen}

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for path in self.records.glob("[!.]*.h5"):
                seen = self._seen
                status = path.stat()
                stamp = (status.st_ino, status.st_mtime_ns)
                if stamp in (seen.get(path.name), self._old.get(path.name)):
                    continue
                if path.name in seen and path.stem != REPLACED:  # that one changes, and is then to be done anew
                    self._problem = f"{path.name} was written twice: {read_row(path).get('error')}"
                try:
                    read_row(path)
                except Exception as problem:
                    self._problem = str(problem)
                seen[path.name] = stamp
            self.looks += 1
            self.most = max(self.most, len(self._seen))


@contextmanager
def replaced_over_and_over(path: Path) -> Iterator[None]:
    """The file is swapped for another whole one, at any moment."""
    ended = threading.Event()
    versions = [path.read_bytes(), (path.parents[1] / "id-00000004" / "model.pt").read_bytes()]

    def swap() -> None:
        number = 0
        while not ended.wait(0.003):
            number += 1
            beside = path.with_name("model.new")
            beside.write_bytes(versions[number % 2])
            beside.replace(path)

    thread = threading.Thread(target=swap, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        path.write_bytes(versions[0])


def is_worker(number: int) -> bool:
    with suppress(OSError):
        return b"executors.child" in Path(f"/proc/{number}/cmdline").read_bytes()
    return False


def rows(out: Path) -> list[dict]:
    return [read_row(path) for path in sorted(RunPaths(out).records.glob("[!.]*.h5"))]


def compare(out: Path, calm: pd.DataFrame, but: list[str]) -> None:
    """One record per model, equal to the undisturbed one; of failures only the kind."""
    found = pd.read_parquet(out / "results.parquet")
    check(list(found["model_id"]) == list(calm["model_id"]), "not one row per model")
    check(len(list(RunPaths(out).records.glob("*.h5"))) == len(calm), "not one record per model")
    done = calm[(calm["status"] == "done") & ~calm["model_id"].isin(but)]["model_id"]
    drop = [*TIMINGS]
    left, right = (frame[frame["model_id"].isin(done)].drop(columns=drop) for frame in (found, calm))
    pd.testing.assert_frame_equal(left.reset_index(drop=True), right.reset_index(drop=True), check_exact=True)
    failed = calm[calm["status"] == "failed"]["model_id"]
    kinds = [frame[frame["model_id"].isin(failed)]["error_kind"].tolist() for frame in (found, calm)]
    check(kinds[0] == kinds[1], f"failures were {kinds[1]}, are {kinds[0]}")


def no_process(tag: str, when: str) -> None:
    until = time.monotonic() + 5
    while left := [n for n in workers_of(tag) if is_worker(n)]:
        check(time.monotonic() < until, f"processes {left} live on {when}")
        time.sleep(0.02)
    for number in workers_of(tag):  # what a hanging model had started itself
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def check(condition: bool, otherwise: str) -> None:
    if not condition:
        print(f"BROKEN: {otherwise}", flush=True)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
