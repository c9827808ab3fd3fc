"""Networks that the user teaches: their own Python file, run because they wrote it and named it."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from ..errors import UsageProblem
from .registry import keep_only, registered

_loaded: dict[Path, tuple[str, ...]] = {}


def load_user_networks(path: str | Path) -> tuple[str, ...]:
    """Import the user's FILE.py so that its ``register_network`` calls take effect; returns the names added.

    A second call for the same file does nothing and returns the same names: the file runs once per process. If it
    fails, nothing that it registered stays.

    Raises:
        UsageProblem: the file is missing, is no Python file, fails to import, or registers nothing.
    """
    file = Path(path).resolve()
    if file not in _loaded:
        if not file.is_file() or file.suffix != ".py":
            raise UsageProblem(f"--networks {file}: {'not a .py file' if file.exists() else 'no such file'}")
        before = [network.name for network in reversed(registered())]
        try:
            _run(file)
        except BaseException:
            keep_only(before)
            raise
        added = tuple(network.name for network in reversed(registered()) if network.name not in before)
        if not added:
            raise UsageProblem(f"--networks {file}: registers no network: decorate a builder with register_network")
        _loaded[file] = added
    return _loaded[file]


def _run(file: Path) -> None:
    name = f"trojai_seam_user_networks_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageProblem(f"--networks {file}: Python cannot import it")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageProblem(f"--networks {file}: importing it failed: {type(error).__name__}: {error}") from error
