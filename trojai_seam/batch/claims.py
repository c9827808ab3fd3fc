"""Who evaluates which model, where several processes or machines share a run directory.

A claim is a small file that only one process can create. It says who made it, and its modification time is renewed
while the owner lives. The claim of a dead owner is not removed (two rescuers could then remove each other's) but
outbid: the file ``NAME.1`` stands above ``NAME.0``, and of several rescuers the file system lets one create it.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ..errors import RunDirectoryProblem, shown
from .files import make_folder, process_exists

HEARTBEAT = 20.0
"""Seconds between two signs of life."""
PATIENCE = 300.0
"""Seconds without a sign of life after which an owner on another machine is taken for dead."""

_BID = re.compile(r"(?P<name>.+)\.(?P<number>\d+)", re.DOTALL)


@dataclass(frozen=True)
class Owner:
    """A process: where it runs, and its start time, since numbers of processes are used again."""

    place: str
    process: int
    started: str

    @staticmethod
    def me() -> Owner:
        """This process."""
        return Owner(_place(), os.getpid(), _started(os.getpid()))

    @property
    def is_here(self) -> bool:
        """Whether this machine can look at the process itself."""
        return self.place == _place()

    @property
    def lives(self) -> bool:
        """Whether the process exists, for one that :attr:`is_here`."""
        return _started(self.process) == self.started != ""


class Claims:
    """The claims that this process holds in one folder; renewed by a thread of their own until :meth:`close`."""

    def __init__(self, folder: Path, heartbeat: float = HEARTBEAT, patience: float = PATIENCE) -> None:
        self.folder, self._heartbeat, self._patience = folder, heartbeat, patience
        self._held: dict[str, Path] = {}
        self._closed = threading.Event()
        self._lock = threading.Lock()  # between the heartbeat and the owner's own calls
        make_folder(folder)
        threading.Thread(target=self._beat, name="claims-heartbeat", daemon=True).start()

    def take(self, name: str) -> bool:
        """Claim ``name`` (any file name); False if another living process has it.

        Raises:
            RunDirectoryProblem: no claim can be written.
        """
        for _ in range(100):  # lost races; each is won by somebody, who is then seen to live
            bids = self._bids(name)
            if bids and self._lives(bids[max(bids)]):
                return False
            number = max(bids, default=-1) + 1
            path = self.folder / f"{name}.{number}"
            if not self._create(path):
                continue
            now = self._bids(name)
            # Right only if the dead bid below is still there (its rescuer did not come, work and go meanwhile) and
            # nobody stands above.
            if max(now, default=number) == number and set(bids) <= set(now):
                with self._lock:
                    self._held[name] = path
                return True
            path.unlink(missing_ok=True)
        return False

    def release(self, name: str) -> None:
        """Give ``name`` up, with the dead bids below it; the own one last, so that none of those comes back to life."""
        with self._lock:
            own = self._held.pop(name, None)
        if own is not None:
            for _, path in sorted(self._bids(name).items()):
                if path != own:
                    path.unlink(missing_ok=True)
            own.unlink(missing_ok=True)

    def close(self) -> None:
        """Release everything."""
        self._closed.set()
        for name in list(self._held):
            with suppress(OSError):  # a read-only disk; the claim dies with this process
                self.release(name)

    def _bids(self, name: str) -> dict[int, Path]:
        found = {}
        for entry in os.scandir(self.folder):
            match = _BID.fullmatch(entry.name)
            if match and match["name"] == name:
                found[int(match["number"])] = Path(entry.path)
        return found

    def _create(self, path: Path) -> bool:
        try:
            with path.open("x") as file:
                json.dump(asdict(Owner.me()), file)
        except FileExistsError:
            return False
        except OSError as problem:
            with suppress(OSError):
                path.unlink()
            raise RunDirectoryProblem(f"{path}: cannot be written: {problem.strerror}") from None
        return True

    def _lives(self, path: Path) -> bool:
        try:
            owner = Owner(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError):
            owner = None  # being written at this moment, or its writer died in the middle
        if owner is not None and owner.is_here:
            return owner.lives
        try:
            return self._now() - path.stat().st_mtime < self._patience
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """The time by the clock that stamps the files, which may be a file server's."""
        clock = self.folder / f".clock-{_place()[:12]}-{os.getpid()}"
        clock.touch()
        now = clock.stat().st_mtime
        clock.unlink(missing_ok=True)
        return now

    def _beat(self) -> None:
        while not self._closed.wait(self._heartbeat):
            with self._lock:
                held = list(self._held.values())
            for path in held:
                with suppress(OSError):  # released meanwhile, or the disk is away: the next beat tries again
                    os.utime(path)


def wait_for(claims: Claims, name: str, poll: float = 0.2) -> None:
    """Claim ``name``, waiting for as long as others who live have it."""
    while not claims.take(name):
        time.sleep(poll)


@cache
def _place() -> str:
    """This machine since it was started, seen from inside this container: where process numbers mean something."""
    parts = [socket.gethostname(), _text("/proc/sys/kernel/random/boot_id")]
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return shown(" ".join(parts))


def _started(process: int) -> str:
    """When a process started, in whatever unit the system counts; empty if there is none or it is only a zombie."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return ""
        return "unknown" if process_exists(process) else ""
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError:
        return ""
