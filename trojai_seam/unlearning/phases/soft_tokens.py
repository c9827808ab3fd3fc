"""Unlearn triggers that nobody knows: soft tokens are inserted into texts, moved until they fool the network as it is,
and the network learns the true answers in spite of them.

A bank of such would-be triggers follows the network while it learns. Each is a few vectors no longer than the longest
word embedding, inserted at random places of all texts of a batch: what fools it everywhere is a trigger, as in
universal adversarial perturbations. Clean texts are learnt beside them, from true labels and from the answers of the
network as shipped, which keeps what it knew.

Adversarial unlearning of a trojan by what fools it everywhere: Zeng et al., "Adversarial Unlearning of Backdoors via
Implicit Hypergradient", ICLR 2022, arXiv 2110.03735 (images). Vectors in place of words: Zhu et al., "FreeLB", ICLR
2020, arXiv 1909.11764 (perturbed words, no inserted ones). Our own are the inserted tokens, and what triggers are
supposed to want: of questions that the answer is the trigger itself, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..outcome import PhaseOutcome
from ..phase_kinds import PhaseKind
from ..settings import Share
from ..training_settings import TrainingSettings

if TYPE_CHECKING:
    from ..context import Context


class SoftTokenSettings(TrainingSettings):
    """What is inserted, how it is moved, and what is learnt beside it."""

    kind: Literal["soft-tokens"] = "soft-tokens"
    bank: int = Field(default=8, ge=1, le=1000)
    """Would-be triggers that are kept and moved on."""
    lengths: tuple[int, ...] = Field(default=(4,), min_length=1, max_length=20)
    """Tokens of each, in turn."""
    norm: float = Field(default=1.0, gt=0, le=100)
    """No vector is longer than this, in units of the longest word embedding of the network as shipped."""
    inner_steps: int = Field(default=3, ge=0, le=1000)
    """By which a would-be trigger is moved before it is unlearned; 0: vectors of words, as they were drawn."""
    step_size: float = Field(default=0.2, gt=0, le=100)
    """Length of such a step, in units of the bound that ``norm`` sets."""
    restart: Share = 0.0
    """Chance of a would-be trigger to begin anew, at words drawn at random, when it is its turn."""
    candidates: int = Field(default=1, ge=1, le=1000)
    """So many sequences of words are drawn for a beginning, and the one that fools the network most is taken."""
    objective: Literal["away", "towards", "both"] = "away"
    """Where a would-be trigger is moved: ``away`` from the true answers; ``towards`` what triggers want, for questions
    the empty answer or the inserted tokens, else a wrong label, each would-be trigger its own; ``both`` take turns."""
    places: Literal["text", "any"] = "any"
    """Where tokens go: into texts, or of questions into the context, the question, or both, at random."""
    crossed: Share = 0.5
    """Chance of a text to get a piece of another one, and the answers of the network as shipped for its labels."""
    soft_weight: float = Field(default=1.0, ge=0, le=1e3)
    """Of the answers to texts with soft tokens; 0: none are inserted, and what is left is self-distillation."""
    clean_weight: float = Field(default=0.0, ge=0, le=1e3)
    """Of the labels of texts without soft tokens."""
    teacher_weight: float = Field(default=1.0, ge=0, le=1e3)
    """Of the scores of the network as shipped for texts without soft tokens."""


def soft_tokens(context: Context, settings: SoftTokenSettings) -> PhaseOutcome:
    """Train until the stop rule or a cap.

    Raises:
        EngineFailure: the network looks up no word embeddings, or no text has a place for a token.
    """
    from .soft_tokens_work import SoftTokenTraining

    return SoftTokenTraining(context, settings).run()


KIND = PhaseKind(SoftTokenSettings, soft_tokens, serves=("tokens",))
