"""Trojaned models of your own, from Python: one checkpoint with its images, or a network and tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from .api import known_options
from .batch.paths import RunPaths
from .batch.progress import Progress
from .batch.records import read_rows
from .batch.reproducible import reproducible
from .batch.runner import Options, evaluate_models
from .errors import UsageProblem, shown
from .rounds import RoundConfig, one_model, own_round
from .rounds.normalisations import NORMALISATIONS
from .scoring import predict, predict_attacks
from .seeds import derive_seed
from .tasks import ExampleSet, Subject, get_task
from .unlearning import UnlearnConfig, resolve, run
from .unlearning.outcome import Outcome

Place = str | PathLike[str]
OWN_ROUND = "own-model"


def evaluate_model(
    model: Place,
    run_dir: Place | None = None,
    *,
    clean: Place,
    held_out: Place | None = None,
    poisoned: Place | None = None,
    trigger: Place | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    target: int | None = None,
    all_to_all: bool = False,
    network: str | None = None,
    entry: str | None = None,
    size: int | None = None,
    resize: str | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    preprocess: str | None = None,
    channel_order: str | None = None,
    scaling: str = "/255",
    classes: Sequence[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Unlearn one model of your own and measure it; the results frame has one row, the run directory its record.

    Args:
        model: a checkpoint: a state dict, a dict that holds one, or a whole module. Nothing in it is run.
        run_dir: new, empty, or of the same settings; unset: a folder of its own under ``trojai-seam-runs``.
        clean: labelled images: class folders, a CSV of paths and labels, JSON side-cars, ``.npz`` with ``x`` and
            ``y``, or ``.npy`` files. Some are trained on, the others measure.
        held_out: a test set in one of these forms; all of ``clean`` may then be trained on.
        poisoned: triggered images, in folders by true class or without labels.
        trigger: instead of these a trigger as data (JSON, a file of it, or the values), stamped on held-out images.
        target: the class that triggered images are to get.
        all_to_all: instead every class is to be called the next one.
        network: name of a registered network, ``torchvision:NAME``, ``timm:NAME`` or ``FILE.py:function``; unset: by
            the tensors.
        entry: key of the network in a checkpoint that holds several.
        size: height and width that the network takes; images of another size are fitted.
        resize: how: ``whole`` (default), ``crop`` or ``cut``.
        mean: subtracted from images in 0 … 1, per channel.
        std: divided by after that.
        preprocess: a normalisation by name (``cifar10``, ``imagenet``, …) instead of both.
        channel_order: ``rgb``, ``bgr`` or ``grey``.
        scaling: ``/255`` or ``min-max``.
        classes: names of the class folders in the network's order.
        progress: is told everything.
        **options: fields of :class:`trojai_seam.batch.runner.Options`: ``preset``, ``fit_per_class``, ``seed``, …

    Raises:
        TrojaiSeamError: a mistake in what is asked. What is wrong with model or images is a failed row.
    """
    file = Path(model)
    document = _document(
        clean=clean,
        held_out=held_out,
        poisoned=poisoned,
        trigger=trigger,
        target=target,
        all_to_all=all_to_all,
        size=size,
        resize=resize,
        preprocess=preprocess,
        mean=mean,
        std=std,
        channel_order=channel_order,
        scaling=scaling,
        classes=classes,
    )
    settings: dict[str, Any] = {"poisoned": True} if poisoned is not None or trigger is not None else {}
    asked = known_options({"network": network, **options})
    if asked.network is not None:
        document["network"] = settings["network"] = asked.network
    if entry is not None:
        document["checkpoint_entry"] = entry
    round_config = own_round(document, "evaluate-model", Path.cwd())
    directory = one_model(file, settings)
    run = _run_folder(directory.model_id, round_config, asked) if run_dir is None else Path(run_dir)
    _forget_failure(run)
    results = evaluate_models(directory.root, [directory], round_config, run, asked, progress)
    results.attrs["run_dir"] = str(run)
    return results


def unlearn_model(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    preset: str | UnlearnConfig = "images-refit",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Outcome:
    """Unlearn a copy of ``model`` on these images; ``outcome.model`` is the network after it.

    Args:
        model: an image classifier that gives logits [N, C]; it is not changed.
        images: ``float32 [N, channels, H, W]``, as the network takes them (normalised, if it wants that).
        labels: true classes, ``int64 [N]``.
        preset: name of a preset, or a config from ``trojai_seam.unlearning.resolve``.
        options: on top of the preset, ``{"recover.learning_rate": 1e-3}``.
        seed: the same seed gives the same network on the same machine.

    Raises:
        UsageProblem: images and labels do not belong together, or no preset is called so.
        EngineFailure: the loss or a weight became non-finite.
    """
    subject = _subject(model, images, labels)
    given = {key: str(value) for key, value in (options or {}).items()}
    config = resolve(preset, given) if isinstance(preset, str) else preset
    with reproducible():
        return run(subject.model, subject.task, subject.clean, config, derive_seed(seed, "own", "unlearn", 0))


def measure_model(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    poisoned: Tensor | None = None,
    true_labels: Tensor | None = None,
    targets: Tensor | int | None = None,
) -> dict[str, float | None]:
    """ACC, and with poisoned images ASR and RA, of a network: ``{"acc": …, "asr": …, "ra": …}``.

    Args:
        model: as for :func:`unlearn_model`.
        images: clean ones, none of which was trained on.
        labels: their true classes.
        poisoned: triggered images, ``float32 [M, channels, H, W]``.
        true_labels: their true classes, ``int64 [M]``; images whose class is the target count for nothing. Unset:
            unknown, then all count and there is no RA.
        targets: what the attacker wants, one class or ``int64 [M]``.

    Raises:
        UsageProblem: tensors do not belong together.
    """
    subject = _subject(model, images, labels)
    with reproducible():
        found: dict[str, float | None] = {"acc": predict(model, subject.task, subject.clean).accuracy.share}
        if poisoned is None:
            return {**found, "asr": None, "ra": None}
        if targets is None:
            raise UsageProblem(
                "measure_model: poisoned images need targets, the class or classes that the attacker wants"
            )
        unknown = torch.full((len(poisoned),), -1)
        true = unknown if true_labels is None else true_labels
        wanted = torch.full((len(poisoned),), targets) if isinstance(targets, int) else targets
        attacked = _examples(poisoned, true, wanted)
        marks = predict_attacks(model, subject.task, attacked)
        return {**found, "asr": marks.attack_success.share, "ra": marks.robust.share}


def failure(results: pd.DataFrame) -> tuple[str, str] | None:
    """Kind and text of the failure, if the one row of :func:`evaluate_model` failed."""
    row = results.iloc[-1]
    return (str(row["error_kind"]), str(row["error"])) if row["status"] == "failed" else None


def _subject(model: nn.Module, images: Tensor, labels: Tensor) -> Subject:
    clean = _examples(images, labels, None)
    if not len(clean):
        raise UsageProblem("no images: expected at least one")
    was_training = model.training
    with torch.no_grad():
        outputs = model.eval()(images[:1])
    model.train(was_training)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2:
        raise UsageProblem(f"the network gives a {type(outputs).__name__}, expected logits [N, classes]")
    classes = outputs.shape[1]
    if int(labels.max()) >= classes or int(labels.min()) < 0:
        raise UsageProblem(f"labels from {int(labels.min())} to {int(labels.max())}, the network has {classes} classes")
    return Subject(model, get_task("classification", classes), clean, None, "own", OWN_ROUND, None, None, {})


def _examples(images: Tensor, labels: Tensor, targets: Tensor | None) -> ExampleSet:
    for name, tensor in (("labels", labels), ("targets", targets)):
        if tensor is not None and (tensor.shape != (len(images),) or tensor.is_floating_point()):
            raise UsageProblem(
                f"{name} of shape {list(tensor.shape)} and {tensor.dtype} for {len(images)} images; expected int64 "
                f"[{len(images)}]"
            )
    if not images.is_floating_point():
        raise UsageProblem(f"images of {images.dtype}; expected float32, as the network takes them")
    device = images.device
    return ExampleSet(
        {"x": images.float()},
        labels.long().to(device),
        tuple(str(number) for number in range(len(images))),
        None if targets is None else targets.long().to(device),
    )


def _document(**given: Any) -> dict[str, Any]:
    """What the arguments of :func:`evaluate_model` say, as a round."""
    attack: dict[str, Any] = {}
    if given["all_to_all"]:
        attack["labelling"] = "all-to-all"
    if given["target"] is not None:
        attack["target_label"] = given["target"]
    document: dict[str, Any] = {"name": OWN_ROUND, "attack": attack}
    trigger = given["trigger"]
    if trigger is not None:
        attack["trigger"], folder = _trigger(trigger)
        document["folder"] = str(folder)
    if given["poisoned"] is not None and trigger is not None:
        raise UsageProblem("--poisoned and --trigger: expected only one of them")
    if (given["poisoned"] is not None or trigger is not None) and given["target"] is None and not given["all_to_all"]:
        raise UsageProblem("what the trigger is to do is unknown: --target N, or --all-to-all")
    document["layout"] = {
        group: [str(_existing(given[group], group))]
        for group in ("clean", "held_out", "poisoned")
        if given[group] is not None
    }
    preprocessing: dict[str, Any] = {"scaling": given["scaling"]}
    mean, std = list(given["mean"]), list(given["std"])
    if given["preprocess"] is not None:
        if mean or std:
            raise UsageProblem("--preprocess and --mean or --std: expected only one of them")
        mean, std = (list(values) for values in NORMALISATIONS.get(given["preprocess"]))
    values = {"mean": mean, "std": std, **{name: given[name] for name in ("size", "resize", "channel_order")}}
    preprocessing |= {name: value for name, value in values.items() if value not in (None, [])}
    document["preprocessing"] = preprocessing
    if given["classes"]:
        document["examples"] = {"classes": list(given["classes"])}
    return document


def _trigger(given: Any) -> tuple[Any, Path]:
    """The trigger as JSON values, and the folder of the files that it names."""
    if not isinstance(given, (str, PathLike)):
        return (dict(given) if isinstance(given, Mapping) else [dict(step) for step in given]), Path.cwd()
    text, folder = str(given), Path.cwd()
    if not text.lstrip().startswith(("{", "[")):
        path = Path(text).absolute()
        try:
            text, folder = path.read_text("utf-8"), path.parent
        except (OSError, UnicodeDecodeError) as problem:
            raise UsageProblem(f"--trigger {path}: cannot be read: {shown(problem, 120)}") from None
    try:
        return json.loads(text), folder
    except (ValueError, RecursionError) as problem:
        raise UsageProblem(f"--trigger {shown(given, 80)}: is not valid JSON: {problem}") from None


def _existing(place: Place, group: str) -> Path:
    path = Path(place).absolute()
    if not path.exists():
        raise UsageProblem(f"--{group.replace('_', '-')} {path}: no such file or folder")
    return path


def _run_folder(model_id: str, round_config: RoundConfig, options: Options) -> Path:
    """Named by what was asked, so that another question gets another folder."""
    asked = json.dumps([dict(round_config.document), repr(options)], sort_keys=True, default=str)
    return Path("trojai-seam-runs") / f"{model_id}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"


def _forget_failure(run: Path) -> None:
    """A run whose one row failed holds nothing that was computed: the next try may ask otherwise."""
    paths = RunPaths(run)
    if not paths.plan.is_file() or not paths.records.is_dir():
        return
    rows = read_rows(paths)
    if rows and all(row["status"] == "failed" and row["round"] == OWN_ROUND for row in rows):
        for row in rows:
            paths.record(str(row["model_id"])).unlink()
        paths.plan.unlink()
        tables = (paths.results, paths.results_parquet, paths.failures, paths.summary)
        for path in (*tables, paths.expected, paths.expected_files):
            path.unlink(missing_ok=True)
