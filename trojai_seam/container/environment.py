"""Where libraries may write: under the scratch folder, settled before torch is imported.

NIST runs containers with a read-only root and an in-memory home and ``/tmp`` of 16 to 64 MiB, without a network.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .messages import warn

CACHES = {
    "TMPDIR": "tmp",
    "HF_HOME": "huggingface",
    "TORCH_HOME": "torch",
    "XDG_CACHE_HOME": "cache",
    "XDG_CONFIG_HOME": "config",
    "MPLCONFIGDIR": "matplotlib",
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "CUDA_CACHE_PATH": "cuda",
}
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def prepare_environment(scratch: Path) -> Path | None:
    """Point every cache below ``scratch`` (or, failing that, a temporary folder) and switch the network off.

    Returns:
        The folder that is used, or ``None`` if nothing is writable: then libraries must do without.
    """
    os.environ.update(OFFLINE)
    os.environ.setdefault("USER", "trojai")  # a caller's number without a name breaks getpass.getuser() in libraries
    folder = scratch.absolute() / "trojai-seam-caches"
    if not _usable(folder):
        warn(f"{scratch}: is not writable; caches go to the system's temporary folder")
        try:
            folder = Path(tempfile.mkdtemp(prefix="trojai-seam-caches-"))
        except OSError as problem:
            warn(f"no temporary folder either ({problem.strerror}); libraries must do without")
            return None
        if not _usable(folder):
            return None
    for variable, name in CACHES.items():
        os.environ[variable] = str(folder / name)
    tempfile.tempdir = None  # whoever asked before asked too early
    return folder


def _usable(folder: Path) -> bool:
    try:
        for name in CACHES.values():
            (folder / name).mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except (OSError, ValueError):
        return False
    return True
