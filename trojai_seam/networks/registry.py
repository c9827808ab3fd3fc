"""Which builder knows which class path. Looking up and describing a network needs no torch."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import StateMismatch, UnsupportedModel, listed, shown
from ..registry import Registry
from .class_names import today

if TYPE_CHECKING:
    import torch

    from ..loading import SavedModel

Hints: TypeAlias = Mapping[str, Any]
"""Values of config.json. They are claims: builders check them against the tensors or ignore them."""

Builder: TypeAlias = Callable[["SavedModel", Hints], "torch.nn.Module"]

MOST_LAYERS = 500
"""Of one kind: some ten times what any network of the rounds has. A layer of one number costs no file anything, but a
builder makes the whole of it."""
TEACH = "teach it with --networks FILE.py"
NETWORK = "network"
"""The hint that a user's --network gives: a registered name, one of its state-dict names, or ``FILE.py:function``."""

_BUILT_IN = (
    "feed_forward",
    "torchvision_classifiers",
    "timm_classifiers",
    "sentiment_heads",
    "language_models",
    "detectors",
    "detr",
    "small_resnet_layouts",
    "wide_resnets",
    "small_vggs",
    "small_cnns",
    "library_networks",
)


@dataclass(frozen=True)
class NetworkFacts:
    """What is known about a network without building it.

    ``architecture`` is spelt as the rounds' configs spell it (``"wideresnet50"``, ``"Net6"``), ``input_shape`` leaves
    out the batch dimension and is None where the network takes many shapes, ``notes`` says where config.json
    contradicts the file, and ``also`` are other names of the same architecture.
    """

    name: str
    architecture: str
    num_classes: int | None = None
    input_shape: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """One registered constructor; see :func:`register_network` for the fields."""

    name: str
    build: Builder
    class_paths: tuple[str | re.Pattern[str], ...]
    state_dict_names: tuple[str, ...]
    facts: Callable[[SavedModel, Hints], NetworkFacts] | None
    fits: Callable[[SavedModel], bool] | None
    ignored_keys: tuple[str, ...]
    renamed_keys: tuple[tuple[str, str], ...] = ()
    moved_layers: tuple[tuple[str, str], ...] = ()
    added_layers: tuple[str, ...] = ()
    split_layers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    same_classes: Mapping[str, str] = field(default_factory=dict)
    settled: frozenset[str] = frozenset()

    def ignored(self, names: Iterable[str]) -> list[str]:
        """Those of ``names`` that are no tensors of today's network."""
        patterns = [re.compile(pattern) for pattern in self.ignored_keys]
        return [name for name in names if any(pattern.fullmatch(name) for pattern in patterns)]

    def up_to_date(self, saved: SavedModel) -> SavedModel:
        """The file with today's names for the layers that old libraries called otherwise."""
        names: dict[str, str] = {}
        for pattern, replacement in self.renamed_keys:
            found = ((name, re.fullmatch(pattern, name)) for name in saved.tensors)
            names |= {name: match.expand(replacement) for name, match in found if match}
        return saved.renamed(names)

    def as_built(self, saved: SavedModel, keys: Collection[str], paths: Collection[str]) -> SavedModel:
        """The file with the names that the built network has: its state-dict ``keys`` and module ``paths``."""
        names: dict[str, str] = {}
        for name in saved.tensors:
            if name not in keys and (new := self._moved(name, keys)) is not None:
                names[name] = new
        modules: dict[str, str | tuple[str, ...]] = {}
        for path in saved.modules:
            if path not in paths and (new := self._moved(path, paths)) is not None:
                modules[path] = new
            elif path not in paths and (several := self._split(path, paths)):
                modules[path] = several
        return saved.renamed(names, modules)

    def _split(self, path: str, known: Collection[str]) -> tuple[str, ...]:
        for pattern, replacements in self.split_layers:
            if (found := re.fullmatch(pattern, path)) is not None:
                several = tuple(found.expand(replacement) for replacement in replacements)
                return several if all(new in known for new in several) else ()
        return ()

    def _moved(self, name: str, known: Collection[str]) -> str | None:
        candidates = (re.sub(pattern, replacement, name) for pattern, replacement in self.moved_layers)
        return next((new for new in candidates if new in known), None)

    def claims(self, class_path: str) -> bool:
        names = {class_path, today(class_path)}
        return any(p in names if isinstance(p, str) else any(map(p.fullmatch, names)) for p in self.class_paths)


_networks: Registry[Network] = Registry("network", UnsupportedModel)


def register_network(
    name: str,
    class_paths: Iterable[str | re.Pattern[str]] = (),
    state_dict_names: Iterable[str] = (),
    *,
    facts: Callable[[SavedModel, Hints], NetworkFacts] | None = None,
    fits: Callable[[SavedModel], bool] | None = None,
    ignored_keys: Iterable[str] = (),
    renamed_keys: Iterable[tuple[str, str]] = (),
    moved_layers: Iterable[tuple[str, str]] = (),
    added_layers: Iterable[str] = (),
    split_layers: Iterable[tuple[str, Iterable[str]]] = (),
    same_classes: Mapping[str, str] | None = None,
    settled: Iterable[str] = (),
) -> Callable[[Builder], Builder]:
    """Decorator: make a builder known. The one way in, for our networks and for a user's ``--networks FILE.py``.

    The builder gets the inert file and the config values and returns a module with the right shapes; its weights do
    not matter. It may run under ``torch.device("meta")``. The latest registration of a class path wins.

    What it returns is compared with the file: every module must be of the class that the file names (a class of the
    user's own: of the same name), and every plain attribute must be equal. What differs and is right is said below.

    Args:
        name: unique, for messages and tables.
        class_paths: dotted class paths as pickled; a compiled pattern must match the whole path.
        state_dict_names: for bare state dicts: values of the hint ``architecture_family`` that call for this network.
        facts: describes the network without torch; default: the name, nothing else.
        fits: for a bare state dict without that hint: do its names and shapes fit?
        ignored_keys: patterns (whole key) of tensors that old libraries saved and today's no longer have.
        renamed_keys: pattern (whole key) and replacement for tensors that old libraries called otherwise; builder and
            ``facts`` see the new names.
        moved_layers: pattern (anywhere in a key or module path) and replacement for layers that have moved between
            versions of a library of which several are in use; applied where the built network has the new name and
            lacks the old one. Builder and ``facts`` see the names of the file.
        added_layers: patterns (whole module path) of layers without tensors that old versions wrote as functions,
            inside containers that those versions lacked.
        split_layers: pattern (whole module path) and replacements for a layer that was used several times and is
            several layers now.
        same_classes: class path of a module in the file → class path of what the builder makes of it. The outermost
            class is known by ``class_paths``.
        settled: names of attributes (``"width"``, ``"Block.width"`` with the class that the builder makes) that compute
            nothing, or that the builder follows without keeping them.

    Raises:
        ValueError: the name is taken, or neither a class path nor a state-dict name is given.
    """
    paths, names = tuple(class_paths), tuple(state_dict_names)
    if not paths and not names:
        raise ValueError(f"network {name!r} needs a class path or a state-dict name")

    def add(build: Builder) -> Builder:
        network = Network(
            name, build, paths, names, facts, fits, tuple(ignored_keys), tuple(renamed_keys), tuple(moved_layers),
            added_layers=tuple(added_layers),
            split_layers=tuple((pattern, tuple(several)) for pattern, several in split_layers),
            same_classes={} if same_classes is None else dict(same_classes),
            settled=frozenset(settled),
        )  # fmt: skip
        _networks.add(name, network)
        return build

    return add


def registered() -> list[Network]:
    """All networks, the latest registration first; ours are imported on the first call."""
    for module in _BUILT_IN:
        import_module(f"{__package__}.{module}")
    return [_networks.get(name) for name in reversed(list(_networks))]


def keep_only(names: Iterable[str]) -> None:
    """Undo later registrations: what a user's file registered before it failed must not stay."""
    global _networks
    kept: Registry[Network] = Registry("network", UnsupportedModel)
    for name in names:
        kept.add(name, _networks.get(name))
    _networks = kept


def find(saved: SavedModel, hints: Hints) -> Network:
    """The network registered for this file.

    Raises:
        UnsupportedModel: none is, or a bare state dict fits none or several.
    """
    networks = registered()
    for problem in (*saved.objections, saved.obstacle):
        if problem is not None:
            raise UnsupportedModel(f"{saved.path}: {problem}")
    if isinstance(hints.get(NETWORK), str) and saved.kind in ("module", "state-dict"):
        return named(hints[NETWORK])
    if saved.kind == "module" and saved.class_path is not None:
        found = next((n for n in networks if n.claims(saved.class_path)), None)
        if found is None:
            fitting = [n for n in networks if n.fits is not None and n.fits(saved)]
            known = [p if isinstance(p, str) else p.pattern for n in networks for p in n.class_paths]
            raise UnsupportedModel(
                f"{saved.path}: no network is registered for {shown(saved.class_path)}"
                f"{_near(saved.class_path, known)}{_suggested(fitting)}; {TEACH}"
            )
        return found
    if saved.kind != "state-dict":
        what = f"a {shown(saved.class_path, 80)}" if saved.class_path else "something else"
        raise UnsupportedModel(f"{saved.path}: holds {what}, neither a network nor a state dict")
    family = hints.get("architecture_family")
    if family is not None:
        found = next((n for n in networks if family in n.state_dict_names), None)
        if found is None:
            known = [name for n in networks for name in n.state_dict_names]
            raise UnsupportedModel(
                f"{saved.path}: no network is registered for state dicts of {shown(family)!r}"
                f"{_near(shown(family, 80), known)}; {TEACH}"
            )
        return found
    fitting = [n for n in networks if n.fits is not None and n.fits(saved)]
    if len(fitting) == 1:
        return fitting[0]
    if told := _told(saved):
        return named(told)
    problem = f"fits several networks ({listed(n.name for n in fitting)})" if fitting else "fits no registered network"
    what_to_do = f"say which with --network NAME, or {TEACH}"
    raise UnsupportedModel(f"{saved.path}: a bare state dict that {problem}: {listed(saved.tensors)}; {what_to_do}")


def named(name: str) -> Network:
    """The network that a user calls ``name``: a registered name, or a state-dict name in any common spelling.

    Raises:
        UnsupportedModel: there is none; near names are listed.
    """
    networks = registered()
    exact = next((n for n in networks if n.name == name or name in n.state_dict_names), None)
    if exact is not None:
        return exact
    plain = plain_name(name)
    library, colon, _ = name.partition(":")
    if colon:  # torchvision:NAME, timm:NAME
        found = next((n for n in networks if n.name == f"{library}:"), None)
    else:
        found = next((n for n in networks if plain in {plain_name(own) for own in (n.name, *n.state_dict_names)}), None)
    if found is None:
        known = [own for n in networks for own in (n.name, *n.state_dict_names)]
        raise UnsupportedModel(f"no network is called {shown(name, 80)!r}{_near(name, known)}; {TEACH}")
    return found


def check_called(facts: NetworkFacts, hints: Hints, where: object) -> None:
    """Compare the architecture that a user asked for with the one that the tensors are.

    Raises:
        StateMismatch: they differ: a ResNet-34 is no ResNet-18, though one builder makes both.
    """
    name = hints.get(NETWORK)
    if not isinstance(name, str) or ":" in name:
        return
    network = named(name)
    if plain_name(name) not in {plain_name(own) for own in (network.name, facts.name, facts.architecture, *facts.also)}:
        raise StateMismatch(
            f"{where}: --network {shown(name, 80)} was asked for, but its tensors are a {facts.architecture}"
        )


def plain_name(name: object) -> str:
    """``classification:mobilenet_v2`` and ``mobilenetv2`` are one architecture."""
    return shown(name, 80).rpartition(":")[2].lower().replace("_", "").replace("-", "")


def _told(saved: SavedModel) -> str | None:
    """The name that a checkpoint gives beside its weights, as BackdoorBench's do, if it is a known one."""
    name = getattr(saved.content, "get", lambda _: None)("model_name")
    if not isinstance(name, str) or len(name) > 80:
        return None
    known = {plain_name(own) for network in registered() for own in network.state_dict_names}
    return name if plain_name(name) in known else None


def _suggested(fitting: list[Network]) -> str:
    return (
        f"; its tensors fit {listed(n.name for n in fitting)}: if that is what it is, --network says so"
        if fitting
        else ""
    )


def identify(saved: SavedModel, hints: Hints | None = None) -> NetworkFacts:
    """Name, architecture, class count and input shape of the network in a file, without importing torch.

    Raises:
        UnsupportedModel: no registered network claims the file.
        StateMismatch: its tensors do not fit what the class path calls for.
    """
    hints = {} if hints is None else hints
    network = find(saved, hints)
    if network.facts is None:
        return NetworkFacts(network.name, network.name)
    facts = network.facts(network.up_to_date(saved), hints)
    check_called(facts, hints, saved.path)
    return replace(facts, name=network.name)


def hint(hints: Hints, name: str) -> Any:
    """A config value by its lower-case name; round 2 wrote upper case. None if absent."""
    return hints.get(name, hints.get(name.upper()))


def class_count_notes(hints: Hints, found: int, where: str) -> tuple[str, ...]:
    """A note if config.json claims another number of classes than the head (tensor ``where``) has."""
    claimed = hint(hints, "number_classes")
    if claimed is None or claimed == found:
        return ()
    return (f"config says {shown(claimed, 40)} classes, {where} has {found}",)


def shape_of(saved: SavedModel, name: str, dims: int) -> tuple[int, ...]:
    """Shape of a tensor that a builder cannot do without.

    Raises:
        StateMismatch: it is absent, has another number of dimensions, or is empty.
    """
    if name not in saved.tensors:
        there = name.rpartition(".")[0] + "."
        others = [other for other in saved.tensors if other.startswith(there)]
        instead = f" and has {listed(others)} there; {TEACH}" if others and there != "." else ""
        raise StateMismatch(
            f"{saved.path}: {shown(saved.class_path or 'the state dict')} lacks the tensor {name}{instead}"
        )
    shape = saved.shape(name)
    if len(shape) != dims or min(shape, default=0) < 1:
        raise StateMismatch(f"{saved.path}: {name} has shape {dimensions(shape)}, expected {dims} dimensions")
    return shape


def count_numbered(saved: SavedModel, pattern: str) -> int:
    """How many different numbers ``#`` in ``pattern`` takes at the beginning of the tensor names.

    ``count_numbered(saved, "layer1.#.")`` counts the blocks of a ResNet's first stage.

    Raises:
        StateMismatch: more than ``MOST_LAYERS``.
    """
    matcher = re.compile(re.escape(pattern).replace(r"\#", r"(\d{1,6})"))
    count = len({found[1] for found in map(matcher.match, saved.tensors) if found})
    if count > MOST_LAYERS:
        raise StateMismatch(f"{saved.path}: {count} layers called {pattern}, more than {MOST_LAYERS}")
    return count


def dimensions(shape: Iterable[int]) -> str:
    """``64×3×7×7``; a scalar is ``()``."""
    return "×".join(str(n) for n in shape) or "()"


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(set(known)), n=3, cutoff=0.6)
    return f" (near: {listed(near)})" if near else ""
