"""Whether texts reach the network as they did at NIST: its answers beside those that shipped with the model."""

from __future__ import annotations

import numpy as np

from ..tasks import ExampleSet
from ..tasks.examples import MASK
from .adapters import Outputs
from .config import RoundConfig
from .model_directory import ModelDirectory
from .preprocessing_choice import TOLERANCE
from .shipped_logits import read_rows, relative_error

MOST_ASKED = 20


def logit_evidence(
    directory: ModelDirectory, round_config: RoundConfig, examples: ExampleSet, num_classes: int, outputs: Outputs
) -> str | None:
    """The error of the network's logits against shipped ones of clean examples, in words; None where none shipped.

    The error of an example is the largest difference relative to its largest shipped logit; the middle one is told.
    Nothing depends on it: it tells the reader of a row whether to trust it.

    Args:
        directory: where the file with the logits is.
        round_config: how it may be called.
        examples: clean ones, named as in the file. Of sentences the attended tokens count.
        num_classes: outputs of the network (per token).
        outputs: asks it.
    """
    path = directory.first_file(round_config.preprocessing.get("logits", ()))
    rows = {} if path is None else read_rows(path)
    asked = [place for place, name in enumerate(examples.names) if name in rows][:MOST_ASKED]
    if not asked:
        return None
    some = examples.subset(asked)
    found = outputs(some.inputs).numpy().astype(np.float64)
    masks = some.inputs[MASK].numpy() if MASK in some.inputs else np.ones((len(some), 1))
    errors = [
        relative_error(answer.reshape(-1, num_classes)[mask != 0], rows[name])
        for answer, mask, name in zip(found, masks, some.names, strict=True)
    ]
    middle = float(np.median(errors))
    told = f"error against {len(errors)} shipped logits: {middle:.2g}"
    return told if middle <= TOLERANCE else f"{told}: they are not reproduced"
