"""Small transformers that name entities (round 7): ours beside the authors' loop and plain PyTorch.

    trojai-seam synthesize r7 --models 8 --out SET
    python benchmarks/text_models.py SET [--models 8] [--workers 2] [--device cpu] [--max-epochs 300]

See side_by_side.py for what is measured. The other ways get their sentences as token ids that we made, one file per
sentence, padded to the longest of the model's, so that no tokenizer's time is in the comparison (in ours it is).
Questions (round 8) are left out: what the other ways would need to know of windows is a program of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from side_by_side import arguments, compare

from trojai_seam.tasks import NOT_COUNTED, ExampleSet, Subject


def entries(subject: Subject, directory: Path, folder: Path) -> dict:
    def files(kind: str, examples: ExampleSet, labels) -> list:
        found = []
        for number in range(len(examples)):
            path = folder / f"{kind}-{number}.npz"
            np.savez(path, labels=labels[number].numpy(), **{k: t[number].numpy() for k, t in examples.inputs.items()})
            found.append([str(path), None])
        return found

    poisoned = []
    if subject.poisoned is not None and subject.poisoned.targets is not None:
        true, wanted = subject.poisoned.labels, subject.poisoned.targets
        attacked = (wanted >= 0) & (wanted != true) & (true != NOT_COUNTED)
        poisoned = files("poisoned", subject.poisoned, wanted.masked_fill(~attacked, NOT_COUNTED))
    return {
        "reader": "arrays",
        "classes": ["trojai_seam.synthesis.text_networks"],
        "clean": files("clean", subject.clean, subject.clean.labels),
        "poisoned": poisoned,
    }


if __name__ == "__main__":
    compare(arguments(__doc__, "of round 7's layout").parse_args(), "r7", entries)
