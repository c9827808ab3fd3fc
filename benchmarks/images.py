"""Image models of round 4: ours beside the authors' loop and plain PyTorch, on the same models and settings.

    trojai-seam synthesize r4 --models 8 --image-size 64 --out SET
    python benchmarks/images.py SET [--models 8] [--workers 2] [--device cpu] [--max-epochs 300] [--set precision=bf16]

See side_by_side.py for what is measured. On a GPU: ``--device cuda --workers 2``; NIST's own models at 224 pixels are a
dataset like any other.
"""

from __future__ import annotations

from pathlib import Path

from side_by_side import arguments, compare

from trojai_seam.tasks import Subject


def entries(subject: Subject, directory: Path, folder: Path) -> dict:
    """The image files themselves: all three ways decode and crop them."""
    if not str(subject.facts["preprocessing"]).startswith("rgb /255 "):
        raise SystemExit(f"{directory}: the other ways only know rgb /255, not {subject.facts['preprocessing']}")
    directory, poisoned = directory.resolve(), subject.poisoned

    def files(kind: str, names: tuple[str, ...], labels: list[int]) -> list:
        return [[str(directory / kind / name), label] for name, label in zip(names, labels, strict=True)]

    return {
        "reader": "images",
        "options": {"size": int(subject.clean.inputs["x"].shape[-1])},
        "clean": files("clean_example_data", subject.clean.names, subject.clean.labels.tolist()),
        "poisoned": []
        if poisoned is None or poisoned.targets is None
        else files("poisoned_example_data", poisoned.names, poisoned.targets.tolist()),
    }


if __name__ == "__main__":
    compare(arguments(__doc__, "of round 4's layout").parse_args(), "r4", entries)
