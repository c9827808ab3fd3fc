"""Networks that the user teaches: their own Python file, run because they wrote it and named it.

The file's folder is importable, as it is for ``python FILE.py``: a constructor may import the files beside it.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import StateMismatch, UnsupportedModel, UsageProblem, shown
from .registry import Hints, keep_only, register_network, registered

if TYPE_CHECKING:
    import torch

    from ..loading import SavedModel

_loaded: dict[str, tuple[str, ...]] = {}
_CLASS_COUNTS = ("num_classes", "n_classes", "classes", "num_class", "nb_classes")


class UserCode(NamedTuple):
    """``FILE.py``, or ``FILE.py:function`` for one constructor in it that registers nothing itself."""

    file: Path
    function: str

    @classmethod
    def parse(cls, text: str | Path) -> UserCode:
        """What ``--networks`` and ``--network`` are given."""
        path, marker, function = str(text).rpartition(".py:")
        return cls(Path(path + ".py").resolve(), function) if marker else cls(Path(text).resolve(), "")

    @property
    def name(self) -> str:
        """What the network is called in the registry, where one function is meant."""
        return f"{self.file.name}:{self.function}"

    def __str__(self) -> str:
        return f"{self.file}:{self.function}" if self.function else str(self.file)


def is_user_code(text: str) -> bool:
    """Whether ``--network TEXT`` names a function in a file, not a registered network."""
    return ".py:" in text or text.endswith(".py")


def load_user_networks(path: str | Path) -> tuple[str, ...]:
    """Import the user's FILE.py so that its ``register_network`` calls take effect; returns the names added.

    For ``FILE.py:function`` that function is registered instead, as ``FILE.py:function``: it returns the network, and
    gets the number of classes if it has an argument for it.

    A second call for the same file does nothing and returns the same names: the file runs once per process. If it
    fails, nothing that it registered stays.

    Raises:
        UsageProblem: the file is missing, is no Python file, fails to import, has no such function, or registers
            nothing.
    """
    code = UserCode.parse(path)
    if str(code) not in _loaded:
        if not code.file.is_file() or code.file.suffix != ".py":
            raise UsageProblem(f"--networks {code.file}: {'not a .py file' if code.file.exists() else 'no such file'}")
        before = [network.name for network in reversed(registered())]
        try:
            module = _run(code.file)
            if code.function:
                _register(code, module)
        except BaseException:
            keep_only(before)
            raise
        added = tuple(network.name for network in reversed(registered()) if network.name not in before)
        added = (code.name,) if code.function else added
        if not added:
            raise UsageProblem(
                f"--networks {code.file}: registers no network: decorate a builder with register_network, or name a "
                f"constructor in it: --network {code.file.name}:function"
            )
        _loaded[str(code)] = added
    return _loaded[str(code)]


def code_hash(path: str | Path) -> str:
    """SHA-256 of the user's file and of the files beside it that it imports: what a plan knows of them.

    Raises:
        UsageProblem: as for :func:`load_user_networks`.
    """
    code = UserCode.parse(path)
    load_user_networks(path)
    digest = hashlib.sha256(code.file.read_bytes())
    for file in _imported(code.file)[1:]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _imported(file: Path) -> list[Path]:
    """``file`` and what it imports from its own folder, directly or not, by what the source says."""
    found, waiting = [file], [file]
    while waiting:
        try:
            tree = ast.parse(waiting.pop().read_bytes())
        except (SyntaxError, ValueError, OSError):
            continue  # a file that nobody could import either
        for name in sorted(set(_names(tree))):
            module = file.parent / name
            package = sorted(module.rglob("*.py")) if module.is_dir() else []
            new = [path for path in (module.with_suffix(".py"), *package) if path.is_file() and path not in found]
            found += new
            waiting += new
    return found


def _names(tree: ast.AST) -> Iterator[str]:
    """Top-level names of everything that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _run(file: Path) -> ModuleType:
    name = f"trojai_seam_user_networks_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageProblem(f"--networks {file}: Python cannot import it")
    module = module_from_spec(spec)
    sys.modules[name] = module
    # It stays there: a constructor may import only when it is called.
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageProblem(f"--networks {file}: importing it failed: {type(error).__name__}: {error}") from error
    return module


def _register(code: UserCode, module: ModuleType) -> None:
    function = getattr(module, code.function, None)
    if not callable(function):
        raise UsageProblem(f"--network {code}: the file has no function or class {shown(code.function, 60)}")
    if any(network.name == code.name for network in registered()):  # of another folder: the latest is meant
        keep_only(network.name for network in reversed(registered()) if network.name != code.name)
        for other in [loaded for loaded in _loaded if UserCode.parse(loaded).name == code.name]:
            del _loaded[other]
    register_network(code.name, state_dict_names=(code.name,))(_builder(code, function))


def _builder(code: UserCode, function: Callable[..., Any]) -> Callable[[SavedModel, Hints], torch.nn.Module]:
    def build(saved: SavedModel, hints: Hints) -> torch.nn.Module:
        from torch import nn

        network = function(**_arguments(code, function, saved))
        if not isinstance(network, nn.Module):
            raise UnsupportedModel(
                f"--network {code}: returned a {type(network).__name__}, expected the network (a torch.nn.Module)"
            )
        return network

    return build


def _arguments(code: UserCode, function: Callable[..., Any], saved: SavedModel) -> dict[str, int]:
    """The class count, if there is an argument for it: the rows of the last layer in the file.

    Raises:
        UnsupportedModel: it has other arguments that must be given.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    needed = [
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    others = [name for name in needed if name not in _CLASS_COUNTS]
    if others:
        raise UnsupportedModel(
            f"--network {code}: needs the arguments {', '.join(needed)}; name a function without arguments that makes "
            "the network (num_classes is given if it is one of them)"
        )
    name = next((name for name in parameters if name in _CLASS_COUNTS), None)
    if name is None:
        return {}
    rows = [saved.shape(tensor)[0] for tensor in saved.tensors if len(saved.shape(tensor)) == 2]
    if not rows:
        raise StateMismatch(f"{saved.path}: no layer of two dimensions that could be the head")
    return {name: rows[-1]}
