"""How good is ``infer``? ROC-AUC and cross entropy, with intervals, on synthesised rounds; the real command lines.

    python benchmarks/container_detection.py WORK [--round cyber-pdf-dec2022] [--models 120] [--seed 101] [--set N=V]

Makes a round in WORK (or takes the one that is there), runs ``configure`` on the first half of its models and ``infer``
on each of the second half, every model in a folder without id, ground truth or poisoned examples, as the server has it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from trojai_seam.container import entry
from trojai_seam.container.calibration import cross_entropy, roc_auc
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions

HIDDEN = {
    "poisoned-example-data",
    "poisoned_example_data",
    "ground_truth.csv",
    "config.json",
    "watermark.json",
    "stats.json",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--round", default="cyber-pdf-dec2022")
    parser.add_argument("--models", type=int, default=120)
    parser.add_argument("--seed", type=int, default=101)
    parser.add_argument("--architectures", default="")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a metaparameter")
    given = parser.parse_args()
    dataset = given.work / "dataset"
    if not dataset.is_dir():
        options = SynthesisOptions(
            image_size=given.image_size,
            classes=given.classes,
            architectures=tuple(filter(None, given.architectures.split(","))),
        )
        SYNTHESIZERS.get(given.round)(dataset, given.models, given.seed, options)
    models = sorted((dataset / "models").iterdir() if (dataset / "models").is_dir() else dataset.glob("id-*"))
    train, test = models[: len(models) // 2], models[len(models) // 2 :]
    changed = [word for text in given.set for word in ("--" + text.partition("=")[0], text.partition("=")[2])]
    learned = given.work / "learned"
    scale = dataset / "scale_params.npy"
    shared = ["--scratch_dirpath", str(given.work / "scratch"), *changed]
    if scale.is_file():
        shared += ["--scale_parameters_filepath", str(scale.absolute())]
    configured = given.work / "configure"
    shutil.rmtree(configured, ignore_errors=True)
    configured.mkdir()
    for model in train:
        (configured / model.name).symlink_to(model.absolute())
    began = time.perf_counter()
    status = entry.main(
        [
            "configure",
            "--configure_models_dirpath",
            str(configured),
            "--learned_parameters_dirpath",
            str(learned),
            *shared,
        ]
    )
    if status != 0:
        sys.exit(status)
    between = time.perf_counter()
    answers = [_infer(model, given.work, learned, shared, given.round) for model in test]
    ended = time.perf_counter()
    truth = np.array([float((model / "ground_truth.csv").read_text()) for model in test])
    probabilities = np.array(answers)
    told = json.loads((learned / "seam_detector.json").read_text())
    print(f"round {given.round}, seed {given.seed}: {len(train)} models to configure, {len(test)} to infer")
    print(
        f"left out in turn while configuring: ROC-AUC {told['measured']['roc_auc']:.3f}, "
        f"cross entropy {told['measured']['cross_entropy']:.3f}"
    )
    for name, figure in (("ROC-AUC", roc_auc), ("cross entropy", cross_entropy)):
        low, high = _interval(figure, probabilities, truth)
        print(f"{name} on models never seen: {figure(probabilities, truth):.3f} [{low:.3f}, {high:.3f}]")
    print(f"answered 0.5 for want of anything better: {int((probabilities == 0.5).sum())}")
    print(
        f"seconds per model: configure {(between - began) / len(train):.2f}, infer {(ended - between) / len(test):.2f}"
    )


def _infer(model: Path, work: Path, learned: Path, shared: list[str], round_name: str) -> float:
    active = work / "active"
    shutil.rmtree(active, ignore_errors=True)
    shutil.copytree(model, active, ignore=lambda _, names: HIDDEN & set(names))
    result = work / "result.txt"
    entry.main(
        [
            "--model_filepath", str(active / "model.pt"),
            "--result_filepath", str(result),
            "--examples_dirpath", str(_examples(active)),
            "--learned_parameters_dirpath", str(learned),
            *shared,
        ]
    )  # fmt: skip
    return float(result.read_text())


def _examples(active: Path) -> Path:
    return next(path for path in sorted(active.iterdir()) if path.is_dir() and "example" in path.name)


def _interval(figure, probabilities: np.ndarray, truth: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap over models, poisoned and clean ones apart."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(truth == label) for label in (0, 1)]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in groups])
        values.append(figure(probabilities[drawn], truth[drawn]))
    return tuple(np.quantile(values, [0.025, 0.975]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
