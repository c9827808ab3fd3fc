"""The shape of the package: imports go down only, no circles, no unpickling, no long or vaguely named modules.

Nothing of trojai_seam is imported here; its source is parsed. Each rule is a function from parsed modules to findings,
and each is shown to fail on a small made-up source.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "trojai_seam"
SOURCE = Path(__file__).parents[1] / PACKAGE

# From the bottom up. A room may import rooms of lower floors, and rooms of its own floor where that closes no circle.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"choices", "errors", "heartbeat", "leaving", "registry", "seeds", "settings"}),
    frozenset({"loading"}),
    frozenset({"networks", "tasks"}),
    frozenset({"rounds", "unlearning", "scoring", "tables"}),
    frozenset({"synthesis"}),
    frozenset({"batch"}),
    frozenset({"api", "container", "own_models", "reproduction"}),
    # the bodies of single subcommands, and the options that they share
    frozenset(
        {
            "command_checks",
            "command_config",
            "command_options",
            "demo",
            "inspection",
            "listing_commands",
            "mitigation",
            "model_commands",
            "reporting",
            "reproduction_commands",
            "result_commands",
            "study_commands",
            "study_reporting",
        }
    ),
    frozenset({"cli"}),
    frozenset({"command_reference", "settings_reference"}),
    frozenset({"__main__", "__init__"}),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FORBIDDEN = {
    "unlearning": {"rounds", "loading", "networks", "scoring", "batch", "tables"},
    "rounds": {"unlearning", "scoring", "batch"},
}
ONLY_IMPORTED_BY = {"synthesis": {"api", "cli", "demo", "reproduction"}}

VAGUE = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
MAX_LINES = 400


@dataclass(frozen=True)
class Module:
    """A parsed source file; ``path`` is relative to the package folder."""

    path: Path
    source: str

    @property
    def name(self) -> str:
        parts = [PACKAGE, *self.path.with_suffix("").parts]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def room(self) -> str:
        return self.path.parts[0].removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, str(self.path))


@dataclass(frozen=True)
class Arrow:
    """``module`` mentions ``target`` (a dotted name) in ``line``."""

    module: Module
    target: str
    line: int

    @property
    def room(self) -> str | None:
        """The room that the arrow points to; None outside the package and for facts of the package itself."""
        top, _, rest = self.target.partition(".")
        if top != PACKAGE or rest in {"", "__version__"}:
            return None
        room = rest.split(".")[0]
        # The package's own public names live in api.
        return room if room in FLOOR_OF or room not in PUBLIC_NAMES else "api"

    def __str__(self) -> str:
        return f"{self.module.path}:{self.line}: {self.module.room} -> {self.target}"


PUBLIC_NAMES = {"load_model", "open_subject", "unlearn", "evaluate", "read_results"}
PUBLIC_NAMES |= {"evaluate_model", "measure_model", "unlearn_model"}
ENTRY_POINT_GROUPS = {"trojai_seam.phases", "trojai_seam.presets"}
LAZY_TARGET = re.compile(rf"{PACKAGE}(\.\w+)+(:\w+)?")


def package_modules() -> list[Module]:
    return [Module(path.relative_to(SOURCE), path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))]


def imported(module: Module, node: ast.AST) -> Iterator[str]:
    """The dotted names that one statement imports; ``from a import b`` gives ``a.b``, relative ones resolved.

    A string that reads like a lazy target of the registry, or an argument of import_module, counts as an import.
    """
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.name.split(".")
            climb = node.level - (module.path.name == "__init__.py")
            base = ".".join([*package[: len(package) - climb], *filter(None, [base])])
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and LAZY_TARGET.fullmatch(node.value):
        if node.value in ENTRY_POINT_GROUPS:  # a name for other packages' metadata, no module
            return
        yield node.value.replace(":", ".")


def arrows(modules: list[Module]) -> list[Arrow]:
    return [
        Arrow(module, target, getattr(node, "lineno", 0))
        for module in modules
        for node in ast.walk(module.tree)
        for target in imported(module, node)
    ]


def direction_findings(modules: list[Module]) -> list[str]:
    """Unknown rooms, arrows that go up, arrows that are forbidden by name."""
    found = [f"{module.path}: room {module.room!r} has no floor" for module in modules if module.room not in FLOOR_OF]
    for arrow in arrows(modules):
        source, target = arrow.module.room, arrow.room
        if target is None or target == source or source not in FLOOR_OF:
            continue
        if target not in FLOOR_OF:
            found.append(f"{arrow} (unknown room)")
        elif FLOOR_OF[target] > FLOOR_OF[source]:
            found.append(f"{arrow} (upward)")
        elif target in FORBIDDEN.get(source, ()):
            found.append(f"{arrow} (forbidden)")
        elif source not in ONLY_IMPORTED_BY.get(target, {source}) and source not in {"__init__", "__main__"}:
            found.append(f"{arrow} (only {sorted(ONLY_IMPORTED_BY[target])} may)")
    return found


def cycle_findings(modules: list[Module]) -> list[str]:
    """A circle between rooms, if there is one."""
    graph: dict[str, set[str]] = {}
    for arrow in arrows(modules):
        if arrow.room not in {None, arrow.module.room}:
            graph.setdefault(arrow.module.room, set()).add(str(arrow.room))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def run_on_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that importing the module runs: not function bodies, not ``if TYPE_CHECKING`` branches."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(statement, ast.If) and ast.unparse(statement.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            yield from run_on_import(statement.orelse)
            continue
        for field in ("body", "orelse", "finalbody"):
            yield from run_on_import(getattr(statement, field, []))
        for handler in getattr(statement, "handlers", []):
            yield from run_on_import(handler.body)


def torch_findings(modules: list[Module]) -> list[str]:
    """Imports of torch that merely importing ``loading`` would run."""
    return [
        f"{module.path}:{statement.lineno}: torch at module level"
        for module in modules
        if module.room == "loading"
        for statement in run_on_import(module.tree.body)
        for target in imported(module, statement)
        if target.split(".")[0] in {"torch", "torchvision", "timm", "transformers"}
    ]


def naming_findings(modules: list[Module]) -> list[str]:
    return [str(module.path) for module in modules if VAGUE & set(module.path.with_suffix("").parts)]


def length_findings(modules: list[Module]) -> list[str]:
    counted = [(module, len(module.source.splitlines())) for module in modules]
    return [f"{module.path}: {lines} lines" for module, lines in counted if lines > MAX_LINES]


UNPICKLERS = {"pickle", "_pickle", "cPickle", "torch", "torch.serialization", "marshal", "shelve"}
UNSAFE_KEYWORDS = {("weights_only", "False"), ("allow_pickle", "True")}
UNPICKLER_LIBRARIES = {"cloudpickle", "dill", "joblib", "shelve"}


def unpickling(module: Module) -> Iterator[tuple[ast.AST, str]]:
    """Nodes that unpickle, or fetch the means to: whatever alias the module goes by."""
    alias = {
        name.asname or name.name.split(".")[0]: name.name if name.asname else name.name.split(".")[0]
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Import)
        for name in node.names
    } | {
        name.asname or name.name: f"{node.module}.{name.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for name in node.names
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            first, dot, rest = ast.unparse(node.value).partition(".")
            owner = alias.get(first, first) + dot + rest
            if node.attr in {"load", "loads"} and owner in UNPICKLERS:
                yield node, f"{owner}.{node.attr}"
            elif node.attr in {"Unpickler", "read_pickle"}:
                yield node, node.attr
        elif isinstance(node, ast.Name) and node.id == "Unpickler":
            yield node, node.id
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for target in imported(module, node):
                owner, _, last = target.rpartition(".")
                if (last in {"load", "loads"} and owner in UNPICKLERS) or last in {"Unpickler", "read_pickle"}:
                    yield node, target
                elif target.split(".")[0] in UNPICKLER_LIBRARIES:
                    yield node, f"import of {target}"
        elif isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) in UNSAFE_KEYWORDS:
            yield node, ast.unparse(node)


def unpickling_findings(modules: list[Module]) -> list[str]:
    return [
        f"{module.path}:{getattr(node, 'lineno', 0)}: {what}" for module in modules for node, what in unpickling(module)
    ]


def does_nothing(body: list[ast.stmt]) -> bool:
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def swallowing_findings(modules: list[Module]) -> list[str]:
    """Handlers that catch everything and do nothing, and suppress(Exception)."""
    broad = {"Exception", "BaseException"}
    found = []
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ExceptHandler):
                named = {ast.unparse(name) for name in ast.walk(node.type)} if node.type else broad
                if named & broad and does_nothing(node.body):
                    found.append(f"{module.path}:{node.lineno}: swallows every error")
            elif (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).split(".")[-1] == "suppress"
                and broad & {ast.unparse(argument) for argument in node.args}
            ):
                found.append(f"{module.path}:{node.lineno}: suppresses every error")
    return found


RULES = [
    direction_findings,
    cycle_findings,
    torch_findings,
    naming_findings,
    length_findings,
    unpickling_findings,
    swallowing_findings,
]


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps_the_rule(rule):
    assert rule(package_modules()) == []


def test_the_walk_saw_the_package():
    modules = package_modules()
    assert {"errors", "loading", "networks", "tasks", "rounds", "unlearning", "scoring", "tables", "batch", "cli"} <= {
        module.room for module in modules
    }
    assert len([arrow for arrow in arrows(modules) if arrow.room]) > len(modules)


# --- each rule can fail --------------------------------------------------------------------------------------------


def made_up(sources: dict[str, str]) -> list[Module]:
    """Modules by their path without the ending."""
    return [Module(Path(f"{path}.py"), source) for path, source in sources.items()]


UPWARD = {
    "relative": ("from ..rounds import adapter", "upward"),
    "relative, the room itself": ("from .. import batch", "upward"),
    "absolute": ("import trojai_seam.cli", "upward"),
    "absolute from": ("from trojai_seam.scoring.score import score", "upward"),
    "inside a function": ("def f():\n    from ..unlearning import engine", "upward"),
    "for type checking": ("if TYPE_CHECKING:\n    from ..tables import columns", "upward"),
    "inside try": ("try:\n    import trojai_seam.batch.worker\nexcept ImportError:\n    x = 1", "upward"),
    "import_module": ("import_module('trojai_seam.rounds.pdf')", "upward"),
    "lazy registry target": ("R.add('pdf', 'trojai_seam.rounds.pdf:Adapter')", "upward"),
    "public name of the package": ("from .. import evaluate", "upward"),
    "public name of the package, absolute": ("from trojai_seam import evaluate", "upward"),
    "unknown room": ("from ..attic import box", "unknown room"),
}


@pytest.mark.parametrize(("source", "why"), UPWARD.values(), ids=UPWARD)
def test_an_upward_arrow_is_found(source, why):
    (finding,) = direction_findings(made_up({"tasks/task": source}))
    assert finding.startswith("tasks/task.py:")
    assert finding.endswith(f"({why})")


@pytest.mark.parametrize("target", sorted(FORBIDDEN["unlearning"]))
def test_unlearning_knows_nothing_of(target):
    assert direction_findings(made_up({"unlearning/engine": f"from ..{target} import x"}))


@pytest.mark.parametrize("target", sorted(FORBIDDEN["rounds"]))
def test_rounds_know_nothing_of(target):
    assert direction_findings(made_up({"rounds/pdf": f"def f():\n    from trojai_seam.{target} import x"}))


@pytest.mark.parametrize("room", ["batch/worker", "container/run"])
def test_only_cli_and_api_import_synthesis(room):
    assert direction_findings(made_up({room: "from ..synthesis import fleet"}))


def test_a_room_without_a_floor_is_found():
    assert direction_findings(made_up({"attic": "x = 1"})) == ["attic.py: room 'attic' has no floor"]


@pytest.mark.parametrize(
    "modules",
    [
        made_up({"cli": "from .api import evaluate\nfrom .synthesis import fleet\nfrom . import __version__"}),
        made_up(
            {"batch/worker": "import torch\nfrom ..unlearning import run\nfrom .plan import Plan\nfrom .. import batch"}
        ),
        made_up(
            {"unlearning/__init__": "from .engine import run\nfrom ..tasks import Subject\nfrom ..errors import shown"}
        ),
        made_up({"batch/executors/__init__": "from ..plan import Plan\nfrom ...rounds import discover"}),
        made_up({"__init__": "if TYPE_CHECKING:\n    from .api import evaluate\nPUBLIC = 'trojai_seam.api'"}),
        made_up({"loading/state": "'''trojai_seam.cli is only mentioned in this text.'''"}),
    ],
)
def test_what_goes_down_or_stays_is_allowed(modules):
    assert direction_findings(modules) == []
    assert cycle_findings(modules) == []


def test_a_circle_between_rooms_of_one_floor_is_found():
    circle = made_up(
        {"networks/pdf": "from ..tasks import task", "tasks/task": "def f():\n    import trojai_seam.networks.pdf"}
    )
    assert direction_findings(circle) == []
    (finding,) = cycle_findings(circle)
    assert {"networks", "tasks"} <= set(finding.split(" <- "))


def test_a_long_circle_is_found():
    circle = made_up(
        {
            "rounds/a": "from .. import tables",
            "tables/b": "from .. import unlearning",
            "unlearning/c": "from .. import rounds",
        }
    )
    assert cycle_findings(circle)


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "from torch import nn",
        "import torch.nn as nn",
        "try:\n    import torch\nexcept ImportError:\n    torch = None",
        "if sys.platform:\n    import torch",
        "if TYPE_CHECKING:\n    x = 1\nelse:\n    import torch",
        "class A:\n    import torch",
        "with x:\n    from transformers import AutoModel",
    ],
)
def test_torch_at_module_level_of_loading_is_found(source):
    assert torch_findings(made_up({"loading/state": source}))


@pytest.mark.parametrize("source", ["def f():\n    import torch", "if TYPE_CHECKING:\n    import torch"])
def test_torch_when_needed_is_allowed_in_loading(source):
    assert torch_findings(made_up({"loading/state": source})) == []


@pytest.mark.parametrize("name", ["unlearning/utils", "helpers/pdf", "common", "batch/misc", "batch/manager"])
def test_a_name_that_says_nothing_is_found(name):
    assert naming_findings(made_up({name: ""}))
    assert naming_findings(made_up({"unlearning/schedule": ""})) == []


def test_a_long_module_is_found():
    assert length_findings(made_up({"cli": "x = 1\n" * MAX_LINES})) == []
    assert length_findings(made_up({"cli": "x = 1\n" * (MAX_LINES + 1)})) == ["cli.py: 401 lines"]


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.load(f)",
        "import pickle\npickle.loads(b)",
        "import pickle as p\np.load(f)",
        "import pickle\nread = pickle.load",
        "from pickle import load",
        "from _pickle import loads as peek",
        "import pickle\nclass Safe(pickle.Unpickler):\n    x = 1",
        "from pickle import Unpickler as U",
        "import torch\ntorch.load(path)",
        "import torch as t\ndef f():\n    return t.load(path, weights_only=True)",
        "from torch import load",
        "import torch.serialization\ntorch.serialization.load(path)",
        "from torch import serialization\nserialization.load(path)",
        "anything(path, weights_only=False)",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
        "import dill",
        "from joblib import load",
    ],
)
def test_unpickling_is_found(source):
    assert unpickling_findings(made_up({"loading/state": source}))


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.load(f)\njson.loads(s)",
        "import pickletools\npickletools.genops(f)",
        "import torch\ntorch.save(model, path)\nstate.load_state_dict(tensors)",
        "x = 'pickle.load is never called'",
    ],
)
def test_what_does_not_unpickle_is_allowed(source):
    assert unpickling_findings(made_up({"loading/state": source})) == []


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept:\n    pass",
        "try:\n    f()\nexcept Exception:\n    ...",
        "for x in y:\n    try:\n        f()\n    except (ValueError, Exception):\n        continue",
        "try:\n    f()\nexcept BaseException as error:\n    'why not'",
        "with contextlib.suppress(Exception):\n    f()",
    ],
)
def test_swallowed_errors_are_found(source):
    assert swallowing_findings(made_up({"batch/worker": source}))


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    f()\nexcept FileNotFoundError:\n    pass",
        "try:\n    f()\nexcept Exception as error:\n    report(error)",
        "with contextlib.suppress(FileNotFoundError):\n    f()",
    ],
)
def test_errors_that_are_named_or_handled_are_allowed(source):
    assert swallowing_findings(made_up({"batch/worker": source})) == []
