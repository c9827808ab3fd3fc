"""Option names of the version before this one, understood for one release with a note."""

from __future__ import annotations

import warnings

from ..errors import RenamedOption

_RENAMED = {
    "longest_gradient": "max_grad_norm",
    "draws_per_epoch": "examples_per_epoch",
    "plain_end": "views.plain_end",
    "augmentation": "views.augmentation",
    "recolouring": "views.color_jitter",
    "patches": "views.random_erasing",
    "feature_noise": "views.noise",
    "self_labelled": "count",
}
_GONE = ("most_patches", "pure_patches", "plain_views", "method")
_REPLACED = {"unless_evident": "when=unless-evident", "unless_suspected": "when=unless-evident"}


def current(name: str, quietly: bool = False) -> str:
    """What the option ``name`` is called now; an old name gives a :class:`RenamedOption` warning, unless ``quietly``.

    Raises:
        ValueError: there is no such option any more.
    """
    phase, dot, last = name.rpartition(".")
    if last in _GONE and not quietly:
        raise ValueError("this option no longer exists")
    if last in _REPLACED and not quietly:
        raise ValueError(f"this option no longer exists; use {phase}{dot}{_REPLACED[last]}")
    if last not in _RENAMED or phase not in ("", "forget", "recover", "refit"):
        return name
    new = f"{phase}{dot}{_RENAMED[last]}"
    if quietly:
        return new
    warnings.warn(f"option {name} is now called {new}; the old name goes with the next release", RenamedOption, 2)
    return new
