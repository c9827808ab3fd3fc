"""The one door to unlearning: a copy of the network goes through the phases of a config, one after the other.

SEAM is forgetting on random labels, then recovering on the true ones: Zhu, Tang, Tang, Wang, Tang, "Selective Amnesia:
On Efficient, High-Fidelity and Blind Suppression of Backdoor Effects in Trojaned Machine Learning Models", IEEE S&P
2023, arXiv 2212.04687, section IV.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from ..errors import EngineFailure, listed
from ..heartbeat import beat
from ..tasks import ExampleSet, Task
from .config import UnlearnConfig
from .context import Context, Observer, modality_of
from .memory_layout import channels_first, channels_last
from .monitor import TRACE_EVERY
from .optimization import nonfinite
from .outcome import Outcome, PhaseOutcome
from .phase_kinds import PhaseSettings, phase_kind

Between = Callable[[str, nn.Module], None]
"""Called with (phase, network in eval mode) when a phase has ended and another follows. It can only watch."""


def run(
    model: nn.Module,
    task: Task,
    fit: ExampleSet,
    config: UnlearnConfig,
    seed: int,
    observer: Observer | None = None,
    between: Between | None = None,
    trace_every: int = TRACE_EVERY,
) -> Outcome:
    """Unlearn a copy of ``model`` on ``fit``; the original is left as it is.

    Args:
        model: any network that ``task`` can call; parameters and examples on one device.
        task: loss, random labels, and what answers are worth.
        fit: the clean examples that may be trained on. Nothing else is ever looked at.
        config: what to do; see :class:`UnlearnConfig`.
        seed: decides labels, order and dropout. The same seed gives the same result on the same machine.
        observer: watches after every epoch, for oracle figures; cannot influence anything.
        between: likewise, after every phase but the last.
        trace_every: epochs between two points of the trace of a phase whose stop rule does not ask after every epoch.

    Raises:
        EngineFailure: no examples, a phase that does not serve this kind of network or cannot treat this one, one
            example at a time with moving BatchNorm statistics, nothing to train, the head of a detector alone, a
            precision that the device lacks, or a non-finite loss or weight.
    """
    if len(fit) == 0:
        raise EngineFailure("there is no fit example to unlearn with")
    if task.places and config.trainable == "head":
        raise EngineFailure("trainable=head would train the last layer only, which in a detector knows no classes")
    _check_served(task, fit, config)
    broken = nonfinite(model)
    if any(name in broken for name, _ in model.named_parameters()):
        raise EngineFailure(f"the network has non-finite weights before unlearning: {listed(sorted(broken))}")
    changed = copy.deepcopy(model)
    # On a GPU it is the units for short numbers that want channels last; float32 kernels there are made for the other.
    on_cpu, last = fit.labels.device.type == "cpu", False
    if on_cpu or config.precision != "float32":
        few = {name: tensor[:2] for name, tensor in fit.inputs.items()}
        last = channels_last(changed, lambda: task.outputs(changed, few))
    context = Context(changed, model, task, fit, config, seed, observer, trace_every, channels_last=last and on_cpu)
    with torch.random.fork_rng(devices=context.devices), torch.enable_grad():
        for settings in config.phases:
            check = phase_kind(settings.kind).check
            if check is not None:
                check(context, settings)
        torch.manual_seed(seed)  # for dropout and views, which draw from the global generators
        phases = tuple(_phase(context, settings, between) for settings in config.phases)
    channels_first(changed.eval())
    if _shapes(changed) != _shapes(model):
        raise EngineFailure("a phase left the network with other parameters than it came with")
    became = nonfinite(changed) - broken
    if became:
        raise EngineFailure(f"became non-finite during unlearning: {listed(sorted(became))}; lower the learning rate")
    return Outcome(model=changed, phases=phases, trace=tuple(context.trace), seed=seed, num_fit=len(fit))


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _check_served(task: Task, fit: ExampleSet, config: UnlearnConfig) -> None:
    modality = modality_of(task, fit)
    for settings in config.phases:
        serves = phase_kind(settings.kind).serves
        if modality not in serves:
            raise EngineFailure(
                f"phase {settings.name} ({settings.kind}) is for {listed(serves)}, this network works on {modality}; "
                "use another --preset"
            )


def _phase(context: Context, settings: PhaseSettings, between: Between | None) -> PhaseOutcome:
    began, epochs = time.perf_counter(), len(context.trace)
    context.deadline = None if settings.max_seconds is None else began + settings.max_seconds
    beat(settings.name)
    outcome = phase_kind(settings.kind).run(context, settings)
    if len(context.trace) == epochs:
        context.model.eval()
        context.watch(settings.name, 0)
    outcome = replace(outcome, phase=settings.name, seconds=time.perf_counter() - began)
    if between is not None and settings is not context.config.phases[-1]:
        with torch.random.fork_rng(devices=context.devices):
            between(settings.name, context.model.eval())
    return outcome
