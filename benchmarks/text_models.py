"""Small transformers that name entities (round 7) or answer questions (round 8): ours beside the authors' loop and
plain PyTorch.

    trojai-seam synthesize r7 --models 8 --out SET
    python benchmarks/text_models.py SET [--round r8] [--models 8] [--workers 2] [--device cpu] [--max-epochs 300]

See side_by_side.py for what is measured. The other ways get their sentences as token ids that we made, one file per
sentence, padded to the longest of the model's, so that no tokenizer's time is in the comparison (in ours it is).

Of questions the other ways see every window as an example of its own, as the usual scripts do, with two labels: the
places of the first and last token of the answer. Their accuracy is the share of places that are right, ours is token
F1: do not compare these columns. A shuffled batch of theirs has as many windows as ours has records; give such sets
``--max-epochs``, so that all take the same number of epochs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from side_by_side import arguments, compare

from trojai_seam.tasks import NOT_COUNTED, ExampleSet, Subject
from trojai_seam.tasks.examples import MASK


def entries(subject: Subject, directory: Path, folder: Path) -> dict:
    return (of_questions if subject.task.name == "span-extraction" else of_entities)(subject, folder)


def of_questions(subject: Subject, folder: Path) -> dict:
    def files(kind: str, examples: ExampleSet, labels) -> tuple[list, list[int]]:
        found, counts = [], []
        for record in range(len(examples)):
            real = examples.inputs[MASK][record].any(dim=1).nonzero().flatten().tolist()
            counts.append(len(real))
            for window in real:
                path = folder / f"{kind}-{record}-{window}.npz"
                arrays = {name: tensor[record, window].numpy() for name, tensor in examples.inputs.items()}
                np.savez(path, labels=labels[record, window].numpy(), **arrays)
                found.append([str(path), None])
        return found, counts

    clean, windows = files("clean", subject.clean, subject.clean.labels)
    poisoned: list = []
    if subject.poisoned is not None and subject.poisoned.targets is not None:
        poisoned, _ = files("poisoned", subject.poisoned, subject.poisoned.targets)
    return {
        "reader": "arrays",
        "classes": ["trojai_seam.synthesis.text_networks"],
        "num_classes": int(subject.clean.inputs[MASK].shape[-1]),
        "windows": windows,
        "clean": clean,
        "poisoned": poisoned,
    }


def of_entities(subject: Subject, folder: Path) -> dict:
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
    parser = arguments(__doc__, "of the layout of round 7 or 8")
    parser.add_argument("--round", default="r7")
    given = parser.parse_args()
    compare(given, given.round, entries)
