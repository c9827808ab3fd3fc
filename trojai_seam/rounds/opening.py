"""From a model directory to a subject: read the model inertly, rebuild it, decode its examples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from ..errors import RefusedArchive, UnsupportedModel, shown
from ..loading import Budget, read_model
from ..loading.model_file import CHANGED
from ..networks import identify, rebuild
from ..tasks import Subject, Task, get_task
from .adapters import ADAPTERS, Outputs, ShippedNetwork, Workplace
from .config import RoundConfig, is_own
from .file_stamps import file_sha256, model_stamp
from .model_directory import ModelDirectory
from .model_facts import model_facts
from .promised_accuracy import promised_accuracy
from .variants import variant_of
from .weights_beside import disagreement


def open_network(
    directory: ModelDirectory,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    entry: str | None = None,
) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The rebuilt network of ``directory`` (eval mode, on ``device``) and facts about it.

    ``entry`` is the key of the network where ``model.pt`` is a checkpoint of several.

    Raises:
        RefusedArchive: the file is missing, damaged or hostile.
        UnsupportedModel: no constructor knows the network, or (StateMismatch) its tensors do not fit.
        DatasetProblem: its config is unreadable.
    """
    hints, budget = directory.config, budget or Budget()
    saved = read_model(directory.model_path, budget, defer_checksums=True, entry=entry)
    facts = identify(saved, hints)
    model = rebuild(saved, hints, device=device)
    taken = None if saved.entry is None else f"entry {shown(saved.entry, 80)!r} of the checkpoint"
    notes = [*facts.notes, taken, disagreement(saved, budget)]
    return model, {
        "architecture": facts.architecture,
        "num_classes": facts.num_classes or _head_width(model, saved.path),
        "class_path": saved.class_path,
        "model_format": saved.format,
        "parameters": sum(p.numel() for p in model.parameters()),
        "notes": "; ".join(note for note in notes if note) or None,
        "input_shape": facts.input_shape,
    }


def open_directory(
    directory: ModelDirectory,
    round_config: RoundConfig,
    device: torch.device | str = "cpu",
    budget: Budget | None = None,
    cache: Path | None = None,
) -> Subject:
    """Everything needed to unlearn and score one model, on ``device``, weights as float32.

    ``cache`` is a folder for what many models share (embeddings of texts); without one, all is computed.

    Raises:
        TrojaiSeamError: whatever is wrong with the directory; see :func:`open_network` and :class:`Adapter`.
    """
    poisoned = directory.poisoned
    round_config = round_config.of_model(directory.model_id)
    stamp = model_stamp(directory.model_path)
    digest = _sha256_meanwhile(directory.model_path)
    try:
        model, facts = open_network(directory, device, budget, round_config.checkpoint_entry)
    except RefusedArchive as problem:
        # A file in the middle of being replaced looks damaged in ways that depend on the moment.
        _check_unchanged(directory.model_path, stamp, problem)
        raise
    round_config = variant_of(round_config, directory, facts["class_path"])
    num_classes = facts["num_classes"]
    model, task = model.float(), get_task(round_config.task, num_classes)
    workplace = Workplace(str(device), budget or Budget(), cache)
    outputs = _outputs_of(model, task, device, directory.model_path)
    network = ShippedNetwork(model, facts["class_path"], facts.pop("input_shape"), outputs, workplace)
    examples = ADAPTERS.get(round_config.adapter).read(directory, round_config, num_classes, network)
    # A network of another kind is found out here, not by some error in the middle of unlearning.
    outputs(examples.clean.subset([0]).prepared().inputs)
    promise = promised_accuracy(directory, round_config)
    facts = {
        "round": round_config.name,
        "round_case": round_config.case or None,
        "task": round_config.task,
        "poisoned": poisoned,
        **model_facts(directory, round_config),
        "promised_accuracy": None if promise is None else promise.accuracy,
        "promised_by": None if promise is None else promise.source,
        **facts,
        "clean_per_class": _fewest_per_class(examples.clean.labels),
        **{column: value for column, value in examples.facts.items() if value is not None},
        "notes": "; ".join(note for note in (facts["notes"], examples.facts.get("notes")) if note) or None,
        "model_sha256": digest.result(),
        "model_stamp": stamp,
    }
    _check_unchanged(directory.model_path, stamp)
    return Subject(
        model=model,
        task=task,
        clean=examples.clean.to(device),
        poisoned=None if examples.poisoned is None else examples.poisoned.to(device),
        model_id=directory.model_id,
        round=round_config.name,
        case=round_config.case or None,
        trojaned=poisoned,
        facts=facts,
        decided_on=examples.decided_on,
        only_measured=examples.only_measured,
        variants=examples.variants,
        preset=round_config.preset_for(len(examples.clean), round_config.case or None),
        least_accuracy=(1 + 1 / num_classes) / 2 if is_own(round_config) else None,
    )


def _outputs_of(
    model: torch.nn.Module, task: Task, device: torch.device | str, path: Path | None = None, batch: int = 64
) -> Outputs:
    """``path`` is the network's file, for messages."""

    @torch.no_grad()
    def ask(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        count = min(len(tensor) for tensor in inputs.values())
        try:
            parts = [
                task.outputs(model, {name: tensor[begin : begin + batch].to(device) for name, tensor in inputs.items()})
                for begin in range(0, count, batch)
            ]
        except (TypeError, ValueError, IndexError, AttributeError, RuntimeError) as problem:
            if isinstance(problem, RuntimeError) and not _SHAPES.search(str(problem)):
                raise  # out of memory, a broken device: not the network's fault
            shapes = ", ".join(f"{name} {list(tensor.shape[1:])}" for name, tensor in inputs.items())
            raise UnsupportedModel(
                f"{path or 'the network'}: a {type(model).__name__} does not take the round's examples ({shapes}), or "
                f"gives no scores for {task.name}: {shown(problem, 200)}"
            ) from problem
        return torch.cat([part.float().cpu() for part in parts])

    return ask


_SHAPES = re.compile(r"\b(shapes?|sizes?|dimensions?|channels?)\b|\.size\(")


def _head_width(model: torch.nn.Module, path: Path) -> int:
    """Outputs of the last layer that has weights: for networks of users, who need not tell the class count."""
    widths = [p.shape[0] for p in model.parameters() if p.ndim > 0]
    if not widths:
        raise UnsupportedModel(f"{path}: a {type(model).__name__} without parameters; how many classes is unknown")
    return int(widths[-1])


def _fewest_per_class(labels: torch.Tensor) -> int | None:
    """Clean examples of the class that has fewest, of those that have any; None where labels are no classes."""
    if labels.ndim != 1 or labels.is_floating_point():
        return None
    known = labels[labels >= 0]
    return int(torch.bincount(known)[torch.unique(known)].min()) if len(known) else None


def _check_unchanged(path: Path, stamp: str | None, cause: Exception | None = None) -> None:
    if model_stamp(path) != stamp:
        raise RefusedArchive(path, CHANGED) from cause


def _sha256_meanwhile(path: Path) -> Future[str]:
    """Hashing takes longer than loading, but neither Python's lock nor, where another is free, this core."""
    beside = ThreadPoolExecutor(max_workers=1)
    digest = beside.submit(file_sha256, path)
    beside.shutdown(wait=False)
    return digest
