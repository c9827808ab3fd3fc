"""The other opponent: plain PyTorch, written as well as one reasonably can in fifty lines. Settings as the authors'.

One process for all models of a list; examples read once and resident; no synchronisation within an epoch; fused Adam;
nothing is measured that the stop rules do not need. Jobs and readers are those of ``authors_style_loop.py``.

    python benchmarks/plain_loop.py JOBS.json                 # a list of jobs; prints one line of JSON per model
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path

import torch
from authors_style_loop import READERS, ask, make_importable
from torch.nn.functional import cross_entropy
from torch.utils.data import default_collate

CLASSES: set[str] = set()


def read(work: dict, entries: list):
    """All examples as tensors on the device, and their labels; None if there are none."""
    found = [READERS[work["reader"]](path, label, work["options"]) for path, label in entries]
    inputs, labels = default_collate(found) if found else (None, torch.tensor([]))
    on = {} if inputs is None else inputs if isinstance(inputs, dict) else {"": inputs}
    return {name: part.to(work["device"]) for name, part in on.items()}, labels.to(work["device"])


def scores_of(network, inputs: dict, index=slice(None)):
    rows = {name: part[index] for name, part in inputs.items()}
    return ask(network, rows.get("", rows))


@torch.no_grad()
def accuracy(network, inputs: dict, labels) -> float | None:
    if not inputs:
        return None
    network.eval()
    parts = [scores_of(network, inputs, at) for at in torch.arange(len(labels), device=labels.device).split(256)]
    known = labels >= 0
    return (torch.cat(parts).argmax(-1) == labels)[known].float().mean().item()


def unlearn(work: dict) -> dict:
    mark, seconds = time.perf_counter(), {}
    for name in set(work["classes"]) - CLASSES:
        make_importable(importlib.import_module(name))
        CLASSES.add(name)
    torch.manual_seed(work["seed"])
    network = torch.load(work["model"], map_location=work["device"], weights_only=False).float()
    fit, held_out = ([work["clean"][index] for index in work[part]] for part in ("fit", "held_out"))
    (x, y), held_out, poisoned = (read(work, entries) for entries in (fit, held_out, work["poisoned"]))
    before = accuracy(network, *held_out), accuracy(network, *poisoned)
    seconds["load"], mark, epochs = time.perf_counter() - mark, time.perf_counter(), {}
    for phase, betas, decay in (("forget", (0.9, 0.999), 5e-4), ("recover", (0.9, 0.5), 5e-5)):
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-4, betas=betas, weight_decay=decay, fused=True)
        patience, best = 10, 0.0
        for epoch in range(work["max_epochs"]):
            network.train()
            for batch in torch.randperm(len(y), device=y.device).split(work["batch_size"]):
                labels = y[batch]
                if phase == "forget":
                    labels = torch.randint_like(labels, work["num_classes"]).where(labels >= 0, labels)
                optimizer.zero_grad()
                scores = scores_of(network, x, batch)
                cross_entropy(scores.flatten(0, -2), labels.flatten(), ignore_index=-100).backward()
                optimizer.step()
            acc = accuracy(network, x, y)
            best = max(best, acc)
            forgot, fell = acc < 2 / work["num_classes"], epoch > 50 and acc < best - 1e-3
            patience -= forgot if phase == "forget" else acc > 0.99 or fell
            if patience <= 0:
                break
        epochs[phase] = epoch + 1
        seconds[phase], mark = time.perf_counter() - mark, time.perf_counter()
    after = accuracy(network, *held_out), accuracy(network, *poisoned)
    seconds["score"] = time.perf_counter() - mark
    figures = dict(zip(("acc_before", "asr_before", "acc_after", "asr_after"), (*before, *after), strict=True))
    return {"seconds": seconds, "epochs": epochs, **figures, "peak_mib": peak_mib()}


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    jobs = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(jobs[0]["threads"])
    for one in jobs:
        print(json.dumps(unlearn(one)), flush=True)
