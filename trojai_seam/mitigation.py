"""Unlearn one model to use it: ``trojai-seam unlearn MODEL_DIR --out FILE``."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .api import unlearn
from .batch.evaluation import accuracy_doubt_of
from .batch.files import write_atomic
from .batch.reproducible import reproducible
from .batch.runner import Options, resolve_device
from .errors import UsageProblem
from .networks import load_user_networks
from .networks.portable import own_classes
from .rounds import ModelDirectory, RoundConfig, locate, with_settings
from .rounds.backdoorbench import read_model_name
from .rounds.backdoorbench_records import ATTACK_FILE, record_of
from .rounds.embedding_cache import cache_folder
from .rounds.opening import open_directory
from .scoring import predict, predict_attacks
from .tasks import Measure
from .unlearning import UnlearnConfig, resolve_each


def unlearn_directory(model_dir: Path, out: Path, file_format: str, options: Options) -> list[str]:
    """Unlearn on all clean examples, write the result, and say in a few lines what changed.

    Args:
        model_dir: a model directory.
        out: the file to write, atomically.
        file_format: ``state-dict`` (opens with ``torch.load(weights_only=True)`` anywhere), ``module`` (a whole
            ``nn.Module``; only for networks whose classes come from torch, torchvision, timm or transformers) or
            ``backdoorbench`` (a ``defense_result.pt``; only for its records).
        options: as for a batch; selection and protocol do not apply.

    Raises:
        TrojaiSeamError: whatever is wrong with the directory, the options or the output file.
    """
    if options.networks is not None:
        load_user_networks(options.networks)
    directory, round_config = locate(model_dir, options.round)
    round_config = round_config.with_options(options.round_options)
    if options.network is not None:
        directory = with_settings(directory, {"network": options.network})
    # Before minutes of work, not after.
    configs = resolve_each((options.preset,) if options.preset else round_config.presets, options.options)
    _check_writable(out)
    with reproducible(options.threads):
        return _unlearn(directory, round_config, configs, out, file_format, options)


def _unlearn(
    directory: ModelDirectory,
    round_config: RoundConfig,
    configs: Mapping[str, UnlearnConfig],
    out: Path,
    file_format: str,
    options: Options,
) -> list[str]:
    cache = cache_folder(options.cache, directory.root)
    subject = open_directory(directory, round_config, resolve_device(options.device), options.budget, cache)
    if file_format == "backdoorbench":
        record_of(directory)
    if file_format == "module":
        _check_portable(subject.model, out)
    outcome = unlearn(subject, configs[options.preset or subject.preset], options.seed)
    mitigated = outcome.model.cpu()
    buffer = io.BytesIO()
    torch.save(_written(mitigated, file_format, directory, subject.task.num_classes), buffer)
    write_atomic(out, buffer.getvalue())
    lines = [str(phase) for phase in outcome.phases]
    outcome.model.to(subject.clean.labels.device)
    models = (subject.model, outcome.model)
    shipped, mitigated_answers = (predict(model, subject.task, subject.clean) for model in models)
    before, after = shipped.accuracy, mitigated_answers.accuracy
    lines.append(f"accuracy on {len(subject.clean)} clean examples (in-sample): {_share(before)} -> {_share(after)}")
    if (doubt := accuracy_doubt_of(subject, shipped)) is not None:
        lines.append(f"doubtful: {doubt}")
    if subject.poisoned is not None:
        was, now = (predict_attacks(model, subject.task, subject.poisoned).attack_success for model in models)
        lines.append(f"attack success on {len(was.counting())} poisoned: {_share(was)} -> {_share(now)}")
    return [*lines, f"{file_format} written to {out}"]


def _written(network: nn.Module, file_format: str, directory: ModelDirectory, num_classes: int) -> Any:
    """What is saved. BackdoorBench's own scripts measure a ``defense_result.pt`` of these three."""
    if file_format == "module":
        return network
    if file_format == "state-dict":
        return network.state_dict()
    name = read_model_name(record_of(directory) / ATTACK_FILE)
    return {"model_name": name, "num_classes": num_classes, "model": network.state_dict()}


def _check_writable(out: Path) -> None:
    """Before minutes of work, not after."""
    if os.path.isdir(out):  # unlike Path.is_dir, no error for a name that is too long
        raise UsageProblem(f"{out}: cannot be written: is a folder; give the name of a file")
    if not os.path.isdir(out.parent):
        raise UsageProblem(f"{out}: cannot be written: there is no folder {out.parent}")


def _check_portable(model: nn.Module, out: Path) -> None:
    ours = own_classes(model)
    if ours:
        raise UsageProblem(
            f"{out}: a module of class {', '.join(ours)} would not open without trojai-seam; use --format state-dict"
        )


def _share(measure: Measure) -> str:
    return "-" if measure.share is None else f"{measure.share:.3f}"
