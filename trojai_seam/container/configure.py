"""``configure``: learn from a training set how the dynamics of poisoned and of clean models differ."""

from __future__ import annotations

import argparse
import json
import shutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..batch.files import make_folder, write_atomic
from ..batch.reproducible import reproducible
from ..errors import ExampleProblem, TrojaiSeamError, UsageProblem
from ..rounds import ModelDirectory, RoundConfig, detect_round, discover, get_round
from .calibration import (
    FILE,
    PENALTIES,
    Calibration,
    cross_entropy,
    fit,
    left_out,
    roc_auc,
    to_rows,
)
from .dynamics import FEATURES, dynamics, dynamics_config
from .infer import SPELLINGS
from .messages import fail, say, warn
from .metaparameters import read_metaparameters
from .subjects import choose_device, find_scale, given_model, open_given, required_folder, with_examples

LEAST_MODELS = 3  # poisoned, and as many clean ones
SECONDS_PER_MODEL = 3600.0
OK, FAILED, BAD_INPUT = 0, 1, 2


def configure(given: argparse.Namespace, options: Mapping[str, str]) -> int:
    """Run the command.

    Models that cannot be used are left out with a warning.

    Args:
        given: the parsed line.
        options: metaparameters that were given as options.

    Returns:
        0 with learned parameters, 1 or 2 without.
    """
    try:
        values = read_metaparameters("detection", given.metaparameters_filepath, options)
        _learn(given, values)
    except TrojaiSeamError as problem:
        fail(f"configure: {problem}; nothing was learned")
        return BAD_INPUT if problem.kind in ("usage", "config") else FAILED
    return OK


def _learn(given: argparse.Namespace, values: dict[str, Any]) -> None:
    models = required_folder(given.configure_models_dirpath, "--configure_models_dirpath")
    directories = discover(models)
    round_config = get_round(given.round) if given.round else detect_round(directories)
    scale = find_scale(given.scale_parameters_filepath, models, models.parent, given.round_training_dataset_dirpath)
    make_folder(given.learned_parameters_dirpath)
    features, truth = [], []
    for number, directory in enumerate(directories, start=1):
        found = _features(directory, round_config, scale, choose_device(given.device), values)
        if found is not None:
            features.append(found)
            truth.append(float(bool(directory.poisoned)))
        if number % 10 == 0 or number == len(directories):
            say(f"configure: {number} of {len(directories)} models looked at, {len(features)} usable")
    poisoned = int(sum(truth))
    if min(poisoned, len(truth) - poisoned) < LEAST_MODELS:
        raise UsageProblem(
            f"{models}: {poisoned} poisoned and {len(truth) - poisoned} clean models could be used, "
            f"expected at least {LEAST_MODELS} of each"
        )
    rows, labels = to_rows(features, FEATURES), np.array(truth)
    if given.automatic_configuration:
        values = {**values, "train_penalty": _best_penalty(rows, labels, values)}
    calibration = _calibration(round_config, rows, labels, values)
    folder = given.learned_parameters_dirpath
    if scale is not None:
        shutil.copyfile(scale, folder / "scale_params.npy")
    write_atomic(folder / "metaparameters.json", (json.dumps(values, indent=2) + "\n").encode())
    write_atomic(folder / FILE, (json.dumps(calibration.document(), indent=2, allow_nan=False) + "\n").encode())
    told = calibration.measured
    say(
        f"configure: learned from {told['models']} models; on models left out in turn: ROC-AUC {told['roc_auc']:.3f}, "
        f"cross entropy {told['cross_entropy']:.3f} (0.693 is knowing nothing)"
    )


def _features(
    directory: ModelDirectory, round_config: RoundConfig, scale: Path | None, device: str, values: Mapping[str, Any]
) -> dict[str, float] | None:
    """As ``infer`` will see the model; ``None`` if it cannot be used."""
    try:
        if directory.poisoned is None:
            raise UsageProblem(f"{directory.path}: whether it is poisoned is not known (no ground_truth.csv)")
        examples = directory.first_folder([*round_config.layout["clean"], *SPELLINGS])
        if examples is None:
            raise ExampleProblem(f"{directory.path}: no folder with clean examples")
        own = scale or find_scale(None, directory.path, directory.root)
        subject, _ = open_given(
            given_model(directory.model_path, examples, None), with_examples(round_config, examples, own), device
        )
        preset = round_config.preset_of(subject)
        with reproducible():
            return dynamics(subject, dynamics_config(preset, values, SECONDS_PER_MODEL), values)
    except TrojaiSeamError as problem:
        warn(f"configure: left out: {problem}")
    except Exception as bug:  # one model must not end the learning from all others
        traceback.print_exc()
        warn(f"configure: left out: {directory.path}: unexpected {type(bug).__name__}: {bug}")
    return None


def _best_penalty(rows: Any, truth: Any, values: Mapping[str, Any]) -> float:
    def loss(penalty: float) -> float:
        return cross_entropy(left_out(rows, truth, penalty, values["train_folds"], values["infer_seed"]), truth)

    return min(PENALTIES, key=loss)


def _calibration(round_config: RoundConfig, rows: Any, truth: Any, values: Mapping[str, Any]) -> Calibration:
    penalty = values["train_penalty"]
    answers = left_out(rows, truth, penalty, values["train_folds"], values["infer_seed"])
    mean, scale, weights, intercept = fit(rows, truth, penalty)
    settings = {name: value for name, value in values.items() if name.startswith("infer_")}
    for free in ("infer_clip", "infer_seconds"):  # they do not change the features
        del settings[free]
    measured = {
        "models": len(truth),
        "poisoned": int(truth.sum()),
        "roc_auc": roc_auc(answers, truth),
        "cross_entropy": cross_entropy(answers, truth),
    }
    return Calibration(round_config.name, FEATURES, mean, scale, weights, intercept, settings, measured)
