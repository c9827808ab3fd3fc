"""What a user may ask of a synthetic round beyond how many models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

from ..errors import UsageProblem, listed


def silent(line: str) -> None:
    """The progress of who wants none."""


@dataclass(frozen=True)
class SynthesisOptions:
    """None (or nothing) means: as the round does it, or as is feasible on a small machine.

    Attributes:
        image_size: pixels that the network sees.
        epochs: length of a training run.
        architectures: names from the round's list, taken in turn.
        classes: how many kinds of sign.
        triggers: what the triggers do, from the round's list, taken in turn.
        examples_per_class: clean examples shipped per class (or kind of name; or in all, where there are none).
        resist: how trojans are made to survive fine-tuning, in words of ``resistance``.
        width: hidden size of a text round's transformers.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: called with one line per finished model.
    """

    image_size: int | None = None
    epochs: int | None = None
    architectures: tuple[str, ...] = ()
    classes: int | None = None
    triggers: tuple[str, ...] = ()
    examples_per_class: int | None = None
    resist: tuple[str, ...] = ()
    width: int | None = None
    device: str | None = None
    progress: Callable[[str], None] = silent

    def allow_only(self, round_name: str, *allowed: str) -> None:
        """For rounds to which not everything applies.

        Raises:
            UsageProblem: an option was given that is not ``allowed``.
        """
        given = [field.name for field in fields(self) if getattr(self, field.name) not in (None, (), field.default)]
        if wrong := [name for name in given if name not in (*allowed, "progress")]:
            options = listed(f"--{name.replace('_', '-')}" for name in wrong)
            raise UsageProblem(f"{round_name} cannot be synthesised with {options}")


NO_OPTIONS = SynthesisOptions()
