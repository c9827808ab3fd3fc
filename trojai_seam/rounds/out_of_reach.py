"""NIST's rounds that cannot be evaluated here, and why: one line instead of the advice to name a round."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from ..errors import TrojaiSeamError
from .model_directory import ModelDirectory

_AGENT = "its models are agents that act in an environment; there are no labelled examples to forget and recover on"
_PROGRAM = "its models read programs byte by byte, and NIST ships hashes of the malware instead of files"
_LANGUAGE = "its models write text (safetensors, no model.pt); there are no labelled examples with one answer each"


class OutOfReach(NamedTuple):
    """A kind of round.

    Attributes:
        names: of NIST's rounds; patterns of aliases end in ``*``.
        why: it cannot be evaluated, as a clause.
        configs: key → patterns of values; all of one of these are in a model's config.
        files: patterns; a model directory holds one.
    """

    names: tuple[str, ...]
    why: str
    configs: tuple[dict[str, tuple[str, ...]], ...] = ()
    files: tuple[str, ...] = ()


ROUNDS = (
    OutOfReach(
        (
            "rl-lavaworld-jul2023",
            "rl-randomized-lavaworld-aug2023",
            "rl-colorful-memory-sep2024",
            "rl-safetygymnasium-oct2024",
        ),
        _AGENT,
        (
            {"arch": ("FCModel", "CNNModel", "BasicFC*", "*RLStarter*")},
            {"model": ("GRUCNNActorCritic*",)},
            {"pi_network": ("*",), "q_network": ("*",)},
        ),
        ("clean-example-data/env-string.txt",),
    ),
    OutOfReach(("cyber-pe-aug2024",), _PROGRAM, ({"model_architecture": ("MalConv",), "filter_size": ("*",)},)),
    OutOfReach(
        ("llm-pretrain-apr2024", "llm-instruct-oct2024", "mitigation-llm-instruct-oct2024"),
        _LANGUAGE,
        files=("*.safetensors", "*/*.safetensors"),
    ),
)


def round_called(name: str) -> str | None:
    """What there is to say of a round with this name; None for other names."""
    for one in ROUNDS:
        if name in one.names or (name.split("-")[0] in ("rl", "llm") and any(name in full for full in one.names)):
            return f"{name}: is out of reach: {one.why}"
    return None


def round_of(directories: Sequence[ModelDirectory]) -> str | None:
    """What there is to say of a dataset by the names of its folders, then by what its models hold; else None."""
    for directory in directories:
        parts = directory.path.resolve().parts
        for one in ROUNDS:
            named = next((name for name in one.names if any(name in part for part in parts)), None)
            if named is not None:
                return f"{directory.root}: {named} is out of reach: {one.why}"
    for directory in directories:
        for one in ROUNDS:
            if _holds(one, directory):
                return f"{directory.path}: looks like a model of {one.names[0]}, which is out of reach: {one.why}"
    return None


def _holds(one: OutOfReach, directory: ModelDirectory) -> bool:
    if any(next(directory.path.glob(pattern), None) is not None for pattern in one.files):
        return True
    try:
        config = directory.config
    except TrojaiSeamError:
        return False
    return any(
        all(
            key in config and any(fnmatchcase(str(config[key]), p) for p in patterns)
            for key, patterns in wanted.items()
        )
        for wanted in one.configs
    )
