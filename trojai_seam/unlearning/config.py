"""What one run of unlearning does: settings that all phases share, and the list of phases."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

from ..errors import ConfigProblem, TrojaiSeamError, listed, shown
from .option_names import current
from .phase_kinds import PhaseSettings, phase_kind
from .settings import UNCHANGEABLE, Settings, assign, findings_of, hint, parsed


def _as_phase(given: Any) -> Any:
    """A phase from a JSON object, by its kind."""
    if not isinstance(given, Mapping):
        return given
    kind = given.get("kind")
    if not isinstance(kind, str):
        raise ValueError("a phase needs a kind")
    try:
        settings = phase_kind(kind).settings
    except TrojaiSeamError as problem:
        raise ValueError(str(problem)) from None
    return settings.model_validate(dict(given))


class UnlearnConfig(Settings):
    """Everything that decides what unlearning does, apart from the model, the fit examples and the seed.

    Raises :class:`~trojai_seam.errors.ConfigProblem`, naming all values that are wrong, when it is made.
    """

    preset: str = Field(default="custom", min_length=1, max_length=100)
    """Name of the preset that the settings began with."""
    batch_size: int = Field(default=32, ge=1, le=65536)
    """Examples per training step, of every phase that trains."""
    trainable: Literal["all", "head", "no-embeddings"] = "all"
    """Which parameters phases that train may change."""
    batch_norm: Literal["train", "frozen-stats"] = "train"
    """Whether running statistics move while phases train."""
    precision: Literal["float32", "bf16", "fp16"] = "float32"
    """Of the numbers that a training step computes with: ``bf16``, or on GPUs ``fp16``, where autocast says that it is
    harmless. Weights, evaluation and scores are float32 all the same. Gives other networks; see docs/performance.md."""
    phases: tuple[Annotated[SerializeAsAny[PhaseSettings], BeforeValidator(_as_phase)], ...] = ()
    """In the order in which they run, on one copy of the network."""

    @model_validator(mode="wrap")
    @classmethod
    def _told(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        names = _names(given)
        findings = [f"phases: {clash}" for clash in _clashes(list(names.values()), cls.model_fields)]
        try:
            made = handler(given)
        except ValidationError as problem:
            findings = [*findings_of(problem, names), *findings]
        if findings:
            raise ConfigProblem("unlearning options", findings)
        return made

    @classmethod
    def from_document(cls, document: Any, source: str = "unlearning options") -> Self:
        """A config from the values of :meth:`as_dict`.

        Raises:
            ConfigProblem: naming all that is wrong in ``source``.
        """
        try:
            return cls.model_validate(document)
        except ConfigProblem as problem:
            raise ConfigProblem(source, problem.findings) from None

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values, ready for JSON."""
        return self.model_dump(mode="json")

    def phase(self, name: str) -> PhaseSettings:
        """The phase called ``name``.

        Raises:
            KeyError: there is none.
        """
        for phase in self.phases:
            if phase.name == name:
                return phase
        raise KeyError(name)

    def with_phase(self, name: str, **values: Any) -> Self:
        """This config with other values in the phase called ``name``.

        Raises:
            KeyError: there is none.
            ConfigProblem: a value is wrong.
        """
        changed = {**dict(self.phase(name)), **values}
        return self.changed(phases=tuple(changed if one.name == name else one for one in self.phases))

    @property
    def options(self) -> dict[str, Any]:
        """All values by the names that ``--set`` has for them: ``batch_size``, ``forget.stop.patience``."""
        document = self.as_dict()
        phases = document.pop("phases")
        flat = dict(_flat(document))
        for phase in phases:
            flat.update(_flat({key: value for key, value in phase.items() if key not in UNCHANGEABLE}, phase["name"]))
        return flat

    def has(self, option: str) -> bool:
        """Whether ``option``, as ``--set`` names it, begins with something that is here."""
        first = current(option, quietly=True).split(".")[0]
        return any(first == phase.name or first in type(phase).model_fields for phase in self.phases) or first in (
            type(self).model_fields
        )

    def with_options(self, options: Mapping[str, str]) -> Self:
        """This config with ``{"forget.learning_rate": "1e-4", …}`` applied, as ``--set`` gives them.

        A name that is neither one of the whole nor begins with that of a phase counts for every phase that has it.

        Raises:
            ConfigProblem: unknown names, values of the wrong type or out of range; all of them in one message.
        """
        document = self.as_dict()
        phases = {phase["name"]: phase for phase in document["phases"]}
        findings: list[str] = []
        for given, text in options.items():
            try:
                name = current(given)
                self._assign(document, phases, name.split("."), parsed(text))
            except ValueError as problem:
                findings.append(f"{shown(given)}: {problem}")
        try:
            config = self.from_document(document)
        except ConfigProblem as problem:
            findings += problem.findings
        if findings:
            raise ConfigProblem("--set", findings)
        return config

    def _assign(self, document: dict[str, Any], phases: dict[str, dict[str, Any]], path: list[str], value: Any) -> None:
        if path[0] in phases:
            if len(path) == 1:
                known = [key for key in phases[path[0]] if key not in UNCHANGEABLE]
                raise ValueError(f"is a phase; set one of {', '.join(known)}")
            if path[1] in UNCHANGEABLE:
                raise ValueError("cannot be changed; write a preset of your own")
            assign(phases[path[0]], path[1:], value)
        elif path[0] in document and path[0] not in ("phases", "preset"):
            assign(document, path, value)
        else:
            having = [phase for phase in phases.values() if path[0] in phase and path[0] not in UNCHANGEABLE]
            if not having:
                known = [*(name for name in document if name not in ("phases", "preset")), *phases]
                raise ValueError(f"no such option or phase of preset {shown(self.preset)}; {hint(path[0], known)}")
            for phase in having:
                assign(phase, path, value)


def _clashes(names: Sequence[str], options: Collection[str]) -> Iterator[str]:
    """What is wrong with the names of phases, beside ``options`` of the whole."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield f"several phases are called {listed(twice)}; give each a name of its own"
    if taken := sorted({*names} & {*options}):
        yield f"a phase cannot be called {listed(taken)}: options of the whole have these names"


def _names(given: Any) -> dict[int, str]:
    """Of the phases in values that may be anything."""
    phases = given.get("phases") if isinstance(given, Mapping) else None
    found: dict[int, str] = {}
    for place, phase in enumerate(phases if isinstance(phases, list | tuple) else ()):
        name = phase.get("name", phase.get("kind")) if isinstance(phase, Mapping) else getattr(phase, "name", None)
        if isinstance(name, str):
            found[place] = name
    return found


def _flat(values: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{name}.{key}" if name else key
        if isinstance(value, Mapping):
            yield from _flat(value, path)
        else:
            yield path, value
