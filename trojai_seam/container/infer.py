"""``infer``: the probability that one model is poisoned. There is always an answer; 0.5 says that nothing is known."""

from __future__ import annotations

import argparse
import csv
import io
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..batch.files import write_atomic
from ..errors import RunDirectoryProblem, TrojaiSeamError, UsageProblem, shown
from .deadline import Deadline, TimeUp, undisturbed
from .messages import fail, say, warn
from .metaparameters import read_or_default

if TYPE_CHECKING:
    from .calibration import Calibration

UNKNOWN = 0.5
MODELS = ("model.pt", "model/model.pt")
OK, FAILED = 0, 1


def infer(given: argparse.Namespace, options: Mapping[str, str], began: float) -> int:
    """Run the command.

    Args:
        given: the parsed line.
        options: metaparameters that were given as options.
        began: ``time.monotonic()`` when the process began.

    Returns:
        0, whatever is missing or broken; 1 only if the result itself cannot be written.
    """
    try:
        # First of all, so that whatever ends this process leaves a valid answer behind.
        write_probability(given.result_filepath, UNKNOWN)
    except OSError as problem:
        fail(f"infer: {given.result_filepath}: cannot be written: {problem.strerror}")
        return FAILED
    values = read_or_default("detection", given.metaparameters_filepath, options)
    probability = UNKNOWN
    try:
        with Deadline(values["infer_seconds"], began) as deadline:
            probability = _probability(given, values, deadline)
    except TimeUp as late:
        warn(f"infer: {late}; answering {UNKNOWN}")
    except TrojaiSeamError as problem:
        warn(f"infer: {problem}; answering {UNKNOWN}")
    except Exception as bug:  # the server wants a number whatever happens; the log gets the rest
        traceback.print_exc()
        warn(f"infer: unexpected {type(bug).__name__}: {shown(bug)}; answering {UNKNOWN}")
    with undisturbed():
        write_probability(given.result_filepath, probability)
    say(f"infer: {probability:.6f} written to {given.result_filepath}")
    return OK


def write_probability(path: Path, probability: float) -> None:
    """One line with one float. Beside and renamed; where that cannot be (a mounted file), in place.

    Raises:
        OSError: it cannot be written.
    """
    text = f"{probability:.6f}\n"
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomic(path, text.encode())
    except RunDirectoryProblem:
        path.write_text(text)


def _probability(given: argparse.Namespace, values: Mapping[str, Any], deadline: Deadline) -> float:
    """The calibrated answer, clipped.

    Raises:
        TrojaiSeamError: something is missing or broken, or nothing was learned.
    """
    from .calibration import read_calibration

    calibration = read_calibration(given.learned_parameters_dirpath)
    if calibration is None and given.features_filepath is None:
        raise UsageProblem(f"nothing was learned (no calibration in {given.learned_parameters_dirpath}; see configure)")
    features = model_features(given, values, calibration, deadline)
    if given.features_filepath is not None:
        _write_features(given.features_filepath, features)
    if calibration is None:
        raise UsageProblem(f"nothing was learned (no calibration in {given.learned_parameters_dirpath}; see configure)")
    changed = [name for name, value in calibration.settings.items() if values.get(name) != value]
    if changed:
        warn(f"infer: other values than configure had: {', '.join(changed)}; the calibration may be off")
    clip: float = values["infer_clip"]
    return min(max(calibration.probability(features), clip), 1 - clip)


def model_features(
    given: argparse.Namespace, values: Mapping[str, Any], calibration: Calibration | None, deadline: Deadline
) -> dict[str, float]:
    """The features of the model that the line names.

    Raises:
        TrojaiSeamError: its file or its examples cannot be used, or it is of another round than was learned.
    """
    from ..batch.reproducible import reproducible
    from .dynamics import dynamics, dynamics_config
    from .subjects import (
        choose_device,
        clean_folder,
        find_round,
        find_scale,
        given_model,
        open_given,
        with_examples,
        with_text_parts,
    )

    training = given.round_training_dataset_dirpath
    file = given.model_filepath
    if not file.exists():
        file = next((path for path in map(Path, MODELS) if path.is_file()), file)
    directory = given_model(file, given.examples_dirpath, training)
    examples = clean_folder(given.examples_dirpath, directory, SPELLINGS)
    if examples is None:
        raise UsageProblem(f"{given.examples_dirpath or directory.path}: no folder with clean examples")
    learned = None if calibration is None else calibration.round
    round_config = find_round(directory, given.round or learned, training, examples)
    if calibration is not None and round_config.name != calibration.round:
        raise UsageProblem(f"learned on {shown(calibration.round)}, which says nothing about {round_config.name}")
    scale = find_scale(
        given.scale_parameters_filepath, given.learned_parameters_dirpath, directory.path, directory.root, training
    )
    reading = with_text_parts(
        with_examples(round_config, examples, scale), given.tokenizer_filepath, given.embedding_filepath
    )
    subject, _ = open_given(directory, reading, choose_device(given.device))
    preset = round_config.preset_of(subject)
    config = dynamics_config(preset, values, 0.8 * deadline.remaining())
    with reproducible():
        return dynamics(subject, config, values)


SPELLINGS = (
    "clean-example-data",
    "clean_example_data",
    "example_data",
    "example-data",
    "new-clean-example-data",
    "example",
)


def _write_features(path: Path, features: Mapping[str, float]) -> None:
    """Names, then values: what round 9's server collected."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(features)
    writer.writerow([f"{value:.9g}" if value == value else "" for value in features.values()])
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.getvalue())
    except OSError as problem:
        warn(f"infer: {path}: features cannot be written: {problem.strerror}")
