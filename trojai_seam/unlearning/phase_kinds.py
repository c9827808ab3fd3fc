"""What a phase is, and the registry of kinds of phases: ours, and those that other packages bring.

A kind is one module with a settings type and a function ``(context, settings) -> PhaseOutcome``, joined in a
:class:`PhaseKind`. Ours are in :mod:`trojai_seam.unlearning.phases`; a package brings its own by an entry point::

    [project.entry-points."trojai_seam.phases"]
    reinitialise-head = "my_package.reinitialise:KIND"
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import Field

from ..registry import Registry
from .outcome import PhaseOutcome
from .settings import Seconds, Settings

if TYPE_CHECKING:
    from .context import Context

Modality = Literal["images", "vectors", "tokens", "boxes"]
MODALITIES: tuple[Modality, ...] = ("images", "vectors", "tokens", "boxes")
"""Of what is unlearned: classifiers of images, networks on vectors (features, embeddings), on token ids, detectors."""


class PhaseSettings(Settings):
    """What every phase has. Subclasses give ``kind`` its one value and ``name`` its default."""

    kind: str
    name: str = Field(default="", pattern=r"^[A-Za-z][A-Za-z0-9_-]*$|^$", max_length=40)
    """By which options address the phase, and columns and arrays name it; unset: the kind."""
    max_seconds: Seconds | None = None
    """After so many seconds the phase ends as soon as it can, with status ``time-limit``."""

    def model_post_init(self, context: Any, /) -> None:
        """An unset name is the kind."""
        if not self.name:
            object.__setattr__(self, "name", self.kind)


S = TypeVar("S", bound=PhaseSettings)


@dataclass(frozen=True)
class PhaseKind(Generic[S]):
    """One kind of phase.

    Attributes:
        settings: its settings.
        run: does it to ``context.model``, in place; name, kind and seconds of the outcome are filled in by the engine.
        serves: modalities that it can be used on; the engine refuses others before anything is computed.
    """

    settings: type[S]
    run: Callable[[Context, S], PhaseOutcome]
    serves: tuple[Modality, ...] = MODALITIES


PHASES: Registry[PhaseKind[Any]] = Registry("kind of phase", group="trojai_seam.phases")
PHASES.add("train", "trojai_seam.unlearning.phases.train:KIND")
PHASES.add("invert", "trojai_seam.unlearning.phases.invert:KIND")
PHASES.add("refit", "trojai_seam.unlearning.phases.refit:KIND")
PHASES.add("distil", "trojai_seam.unlearning.phases.distil:KIND")
PHASES.add("self-label", "trojai_seam.unlearning.phases.self_label:KIND")


def phase_kind(name: str) -> PhaseKind[Any]:
    """The kind called ``name``.

    Raises:
        UsageProblem: there is none; near names are listed.
    """
    return PHASES.get(name)
