"""How good is ``infer``? ROC-AUC and cross entropy, with intervals, on synthesised rounds; the real command lines.

    python benchmarks/container_detection.py WORK [--round cyber-pdf-dec2022] [--models 120] [--seed 101] [--ablate]

Makes a round in WORK (or takes the one that is there), runs ``configure`` on the first half of its models and ``infer``
on each of the second half, every model in a folder without id, ground truth or poisoned examples, as the server has it.
With --ablate the calibration is also fitted on parts of the features, to see which of them tell anything.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from trojai_seam.container import entry
from trojai_seam.container.calibration import cross_entropy, fit, roc_auc, to_rows
from trojai_seam.container.dynamics import FEATURES
from trojai_seam.synthesis import SYNTHESIZERS, SynthesisOptions

SHOWN_TO_INFER = ("model.pt", "clean-example-data", "clean_example_data", "example_data")
REDUCED = ("arch", "nn_layers", "nn_activation_function", "model_architecture", "cnn_img_size_pixels", "number_classes")
PARTS = {
    "the curves alone (forget_area, recover_area)": FEATURES[:2],
    "curves, way through weight space, margins": FEATURES[:4],
    "what changed in the answers to probes": ("noise_share_change", "stamped_share_change"),
    "answers to probes before unlearning": ("noise_share", "stamped_share"),
    "everything that takes unlearning": (*FEATURES[:4], "noise_share_change", "stamped_share_change"),
    "all": FEATURES,
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
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a metaparameter")
    given = parser.parse_args()
    models = _models(given)
    train, test = models[: len(models) // 2], models[len(models) // 2 :]
    learned, scale = given.work / "learned", given.work / "dataset" / "scale_params.npy"
    shared = ["--scratch_dirpath", str(given.work / "scratch")]
    shared += [word for text in given.set for word in ("--" + text.partition("=")[0], text.partition("=")[2])]
    if scale.is_file():
        shared += ["--scale_parameters_filepath", str(scale.absolute())]
    began = time.perf_counter()
    _configure(train, given.work / "configure", learned, shared)
    between = time.perf_counter()
    probabilities, features = _infer_all(test, given.work, learned, shared)
    ended = time.perf_counter()
    truth, told = _truth(test), json.loads((learned / "seam_detector.json").read_text())["measured"]
    print(f"round {given.round}, seed {given.seed}: {len(train)} models to configure, {len(test)} to infer")
    print(f"left out in turn while configuring: ROC-AUC {told['roc_auc']:.3f}, "
          f"cross entropy {told['cross_entropy']:.3f}")  # fmt: skip
    for name, figure in (("ROC-AUC", roc_auc), ("cross entropy", cross_entropy)):
        print(f"{name} on models never seen: {_with_interval(figure, probabilities, truth)}")
    print(f"answered 0.5 for want of anything better: {int((probabilities == 0.5).sum())}")
    print(f"seconds per model: configure {(between - began) / len(train):.2f}, "
          f"infer {(ended - between) / len(test):.2f}")  # fmt: skip
    if given.ablate:
        _, known = _infer_all(train, given.work, learned, shared)
        for name, part in PARTS.items():
            mean, scales, weights, intercept = fit(to_rows(known, part), _truth(train), 1.0)
            logits = np.nan_to_num((to_rows(features, part) - mean) / scales).clip(-5, 5) @ weights + intercept
            print(f"  ROC-AUC of {name}: {_with_interval(roc_auc, logits, truth)}")


def _models(given: argparse.Namespace) -> list[Path]:
    dataset = given.work / "dataset"
    if not dataset.is_dir():
        options = SynthesisOptions(
            image_size=given.image_size,
            classes=given.classes,
            architectures=tuple(filter(None, given.architectures.split(","))),
        )
        SYNTHESIZERS.get(given.round)(dataset, given.models, given.seed, options)
    return sorted(path.parent for path in dataset.rglob("model.pt"))


def _configure(models: Iterable[Path], folder: Path, learned: Path, shared: list[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for model in models:
        (folder / model.name).symlink_to(model.absolute())
    options = ["--configure_models_dirpath", str(folder), "--learned_parameters_dirpath", str(learned)]
    status = entry.main(["configure", *options, *shared])
    if status != 0:
        sys.exit(status)


def _infer_all(
    models: Iterable[Path], work: Path, learned: Path, shared: list[str]
) -> tuple[np.ndarray, list[dict[str, float]]]:
    answers = [_infer(model, work, learned, shared) for model in models]
    return np.array([probability for probability, _ in answers]), [features for _, features in answers]


def _infer(model: Path, work: Path, learned: Path, shared: list[str]) -> tuple[float, dict[str, float]]:
    active, result, table = work / "active", work / "result.txt", work / "features.csv"
    shutil.rmtree(active, ignore_errors=True)
    active.mkdir()
    for name in SHOWN_TO_INFER:
        if (model / name).is_dir():
            shutil.copytree(model / name, active / "clean-example-data")
        elif (model / name).is_file():
            shutil.copy(model / name, active)
    config = json.loads((model / "config.json").read_text())
    (active / "config.json").write_text(json.dumps({key: config[key] for key in REDUCED if key in config}))
    table.unlink(missing_ok=True)
    entry.main(
        [
            "--model_filepath", str(active / "model.pt"),
            "--result_filepath", str(result),
            "--examples_dirpath", str(active / "clean-example-data"),
            "--learned_parameters_dirpath", str(learned),
            "--features_filepath", str(table),
            *shared,
        ]
    )  # fmt: skip
    features = dict.fromkeys(FEATURES, np.nan)
    if table.is_file():
        with table.open(newline="") as file:
            names, values = csv.reader(file)
        features |= {name: float(value) for name, value in zip(names, values, strict=True) if value}
    return float(result.read_text()), features


def _truth(models: Iterable[Path]) -> np.ndarray:
    return np.array([float((model / "ground_truth.csv").read_text()) for model in models])


def _with_interval(figure: Callable[..., float], answers: np.ndarray, truth: np.ndarray, draws: int = 2000) -> str:
    """With its 95 % percentile bootstrap over models, poisoned and clean ones apart."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(truth == label) for label in (0, 1)]
    values = []
    for _ in range(draws):
        drawn = np.concatenate([rng.choice(group, len(group)) for group in groups])
        values.append(figure(answers[drawn], truth[drawn]))
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{figure(answers, truth):.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
