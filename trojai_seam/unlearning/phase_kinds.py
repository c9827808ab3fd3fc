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
        check: asked of every phase before the first one runs: raises :class:`~trojai_seam.errors.EngineFailure`, with
            what to do instead, for a network that the phase cannot treat, or for want of an earlier phase.
        searches: whether it looks for a trigger and leaves what it finds to later phases.
    """

    settings: type[S]
    run: Callable[[Context, S], PhaseOutcome]
    serves: tuple[Modality, ...] = MODALITIES
    check: Callable[[Context, S], None] | None = None
    searches: bool = False


PHASES: Registry[PhaseKind[Any]] = Registry("kind of phase", group="trojai_seam.phases")
PHASES.add("train", "trojai_seam.unlearning.phases.train:KIND")
PHASES.add("invert", "trojai_seam.unlearning.phases.invert:KIND")
PHASES.add("refit", "trojai_seam.unlearning.phases.refit:KIND")
PHASES.add("distil", "trojai_seam.unlearning.phases.distil:KIND")
PHASES.add("soft-tokens", "trojai_seam.unlearning.phases.soft_tokens:KIND")
PHASES.add("self-label", "trojai_seam.unlearning.phases.self_label:KIND")
PHASES.add("prune-dormant", "trojai_seam.unlearning.phases.prune_dormant:KIND")
PHASES.add("prune-lipschitz", "trojai_seam.unlearning.phases.prune_lipschitz:KIND")
PHASES.add("train-teacher", "trojai_seam.unlearning.phases.train_teacher:KIND")
PHASES.add("distil-attention", "trojai_seam.unlearning.phases.distil_attention:KIND")
PHASES.add("learn-mask", "trojai_seam.unlearning.phases.learn_mask:KIND")
PHASES.add("prune-masked", "trojai_seam.unlearning.phases.prune_masked:KIND")
PHASES.add("tune-masks", "trojai_seam.unlearning.phases.tune_masks:KIND")
PHASES.add("mask-weights", "trojai_seam.unlearning.phases.mask_weights:KIND")
PHASES.add("ascend", "trojai_seam.unlearning.phases.ascend:KIND")
PHASES.add("reinitialise", "trojai_seam.unlearning.phases.reinitialise:KIND")
PHASES.add("train-away", "trojai_seam.unlearning.phases.train_away:KIND")
PHASES.add("sharpness-aware", "trojai_seam.unlearning.phases.sharpness_aware:KIND")
PHASES.add("universal-adversarial", "trojai_seam.unlearning.phases.universal_adversarial:KIND")
PHASES.add("shared-adversarial", "trojai_seam.unlearning.phases.shared_adversarial:KIND")
PHASES.add("reinitialise-rows", "trojai_seam.unlearning.phases.reinitialise_rows:KIND")
PHASES.add("shrink-norms", "trojai_seam.unlearning.phases.shrink_norms:KIND")


def phase_kind(name: str) -> PhaseKind[Any]:
    """The kind called ``name``.

    Raises:
        UsageProblem: there is none; near names are listed.
    """
    return PHASES.get(name)
