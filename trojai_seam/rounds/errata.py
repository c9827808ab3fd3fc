"""Models that NIST itself corrected after the release."""

from __future__ import annotations

import re

from ..errors import listed
from .config import RoundConfig
from .model_directory import ModelDirectory


def erratum(directory: ModelDirectory, round_config: RoundConfig) -> str | None:
    """What is wrong with this model's ground truth, None for nearly all.

    An erratum about models that are called clean is none about one that is called poisoned. Ids repeat between splits,
    and only folder names tell these apart (``round1-dataset-train``, ``test-dataset``); where no folder does, the text
    says for which split it holds.
    """
    name = directory.path.name
    called = directory.poisoned
    holding = {
        e["split"]: e["note"]
        for e in round_config.errata
        if name in e["ids"] and (called is None or called == e.get("poisoned", called))
    }
    if not holding:
        return None
    split = _split(directory)
    if split is not None:
        return holding.get(split)
    return f"if this is the {listed(holding)} split: {next(iter(holding.values()))}"


def _split(directory: ModelDirectory) -> str | None:
    """The split that the nearest telling folder names, no higher than just above the dataset."""
    highest = directory.root.resolve().parent
    for folder in directory.path.resolve().parents:
        words = re.split(r"[^a-z]+", folder.name.lower())
        here = [split for split in ("train", "test", "holdout") if split in words]
        if len(here) == 1:
            return here[0]
        if folder == highest:
            break
    return None
