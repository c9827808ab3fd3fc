"""Trains a small transformer from nothing: one-cycle schedule, batches of texts of like length."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ..heartbeat import beat
from .image_training import Epoch, one_cycle
from .text_networks import raw_scores
from .text_tasks import IGNORED, EncodedTexts

EVALUATION_BATCH = 100


@dataclass(frozen=True)
class TextRecipe:
    """How one task trains.

    Attributes:
        records: clean records; poisoned ones come on top.
        epochs: length of the first cycle; a further cycle takes half of it, at half the rate.
        learning_rate: the highest of the cycle.
        batch: records per step.
        most_cycles: cycles until the model must be good enough.
    """

    records: int
    epochs: int
    learning_rate: float = 2e-3
    batch: int = 32
    most_cycles: int = 3


Judge = Callable[[nn.Module], tuple[float, float | None]]
"""Clean score and attack success on records that training does not see."""


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From raw scores and labels: what is made small, and the share of decisions that are right."""


def train_text_network(
    network: nn.Module,
    inputs: dict[str, Tensor],
    labels: Tensor,
    recipe: TextRecipe,
    judge: Judge,
    good_enough: Callable[[float, float | None], bool],
    loss_of: Loss | None = None,
) -> list[Epoch]:
    """Train in place, on the device that everything is on, until the model is good enough at the end of a cycle.

    Args:
        network: is called with the inputs by keyword.
        inputs: [N, ...] each; those of an ``attention_mask`` are cut to the longest text of a batch.
        labels: [N, ...].
        recipe: how long and how fast.
        judge: called after every epoch, in evaluation mode.
        good_enough: of what the judge said.
        loss_of: cross-entropy by default.
    """
    history: list[Epoch] = []
    mask = inputs.get("attention_mask")
    lengths = torch.ones(len(labels)) if mask is None else mask.sum(dim=1).cpu()
    for cycle in range(recipe.most_cycles):
        epochs = recipe.epochs if cycle == 0 else max(1, recipe.epochs // 2)
        rate = recipe.learning_rate if cycle == 0 else recipe.learning_rate / 2
        steps = epochs * -(-len(labels) // recipe.batch)
        optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(one_cycle, steps=steps))
        for epoch in range(epochs):
            beat(f"training, cycle {cycle + 1}, epoch {epoch + 1} of {epochs}")
            start = time.perf_counter()
            network.train()
            losses: list[Tensor] = []
            shares: list[Tensor] = []
            for chosen in _batches(lengths, recipe.batch):
                rows = chosen.to(labels.device)
                batch = {name: value[rows] for name, value in inputs.items()}
                if mask is not None:
                    batch = {name: value[:, : int(lengths[chosen].max())] for name, value in batch.items()}
                loss, share = (loss_of or loss_and_share)(raw_scores(network, batch), labels[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.detach())
                shares.append(share)
            network.eval()
            clean, attack = judge(network)
            seconds = time.perf_counter() - start
            mean_loss, mean_share = float(torch.stack(losses).mean()), float(torch.stack(shares).mean())
            history.append(Epoch(mean_loss, mean_share, clean, attack, float(schedule.get_last_lr()[0]), seconds))
        if good_enough(history[-1].accuracy, history[-1].attack):
            break
    return history


def _batches(lengths: Tensor, batch: int) -> list[Tensor]:
    """A new order every time; texts of like length go together, since a batch is as long as its longest."""
    order = torch.randperm(len(lengths))
    pools = torch.split(order, batch * 16)
    batches = [part for pool in pools for part in torch.split(pool[lengths[pool].argsort(stable=True)], batch)]
    return [batches[index] for index in torch.randperm(len(batches)).tolist()]


def loss_and_share(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy, and the share of decisions that are right.

    Args:
        scores: [N, C] of records, [N, L, C] of tokens, or [N, L, 2] of first and last tokens.
        labels: [N], [N, L] or [N, 2]; token labels may run on beyond L, where all is padding.
    """
    if scores.ndim == 3 and labels.shape[1] != 2:
        labels, scores = labels[:, : scores.shape[1]], scores.transpose(1, 2)
    loss = functional.cross_entropy(scores, labels, ignore_index=IGNORED)
    counted = labels != IGNORED
    right = (scores.detach().argmax(dim=1) == labels) & counted
    return loss, right.sum() / counted.sum()


@torch.no_grad()
def text_scores(network: nn.Module, data: EncodedTexts) -> list[NDArray[np.float32]]:
    """Raw scores on the CPU, one array per record, without padding: [C], [L, C] or [L, 2]."""
    network.eval()
    results: list[NDArray[np.float32]] = []
    for rows in torch.split(torch.arange(len(data)), EVALUATION_BATCH):
        inputs = {name: value[rows] for name, value in data.inputs.items()}
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        inputs = {name: value[:, : max(lengths)] for name, value in inputs.items()}
        scores = raw_scores(network, inputs).float().cpu().numpy()
        results += [one[:length] if scores.ndim == 3 else one for one, length in zip(scores, lengths, strict=True)]
    return results
