"""The opponent: SEAM as its authors describe it, one process per model. Ours, written from the published description.

A new interpreter per model; the pickled model through ``torch.load``; examples come from files through a ``DataLoader``
in every epoch; float32; ``.item()`` after every step; after every epoch the accuracy on the clean examples and the
success on the triggered ones. Settings are those of preset ``authors-trojai``: random labels uniform over the classes,
Adam 5e-4 with decay 5e-4 until the accuracy was below 2/C ten times, then Adam with betas (0.9, 0.5) and decay 5e-5
until it was above 0.99 ten times or fell after epoch 50; at most 300 epochs each. The stop rules see the same fit
examples that ours see, so that both do the same kind and number of steps.

    python benchmarks/authors_style_loop.py JOB.json          # one model; prints one line of JSON

A job (see :func:`job`) says where the model is, how examples are read and which of them are fit examples:

    {"model": "…/model.pt", "task": "classification", "num_classes": 2, "reader": "vectors", "options": {},
     "clean": [["…/clean-example-cls-embedding.csv#class_0_example_1.txt", 0], …], "poisoned": [[…, 1], …],
     "fit": [0, 2, …], "held_out": [1, …], "classes": ["trojai_seam.synthesis.sentiment_heads"],
     "seed": 0, "device": "cpu", "batch_size": 32, "loader_workers": 0}

Labels of poisoned examples are the attacker's. Readers: ``vectors`` (a row of a CSV file, as in rounds 5 and 6),
``features`` (a ``.npy`` or CSV file of numbers), ``images`` (PNG, decoded, cropped to ``options["size"]``, 0 … 1) and
``arrays`` (an ``.npz`` with the network's keyword arguments and ``labels``, for texts). Only ever given files that the
benchmark has just made: ``torch.load`` runs what is in them.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path
from types import ModuleType

BEGAN = time.perf_counter()


def job(model: Path, clean: list, poisoned: list, fit: list[int], held_out: list[int], **more) -> dict:
    """A job with the usual settings; ``more`` overrides them by name."""
    usual = {"task": "classification", "reader": "vectors", "options": {}, "classes": [], "seed": 0, "device": "cpu"}
    usual |= {"batch_size": 32, "loader_workers": 0, "threads": 1, "max_epochs": 300}
    return usual | {"model": str(model), "clean": clean, "poisoned": poisoned, "fit": fit, "held_out": held_out} | more


def main() -> None:
    print(json.dumps(unlearn(json.loads(Path(sys.argv[1]).read_text()))))


def unlearn(work: dict) -> dict:
    """Forget, recover, measure; figures and seconds of each part."""
    import torch

    seconds = {"start": time.perf_counter() - BEGAN}
    mark = time.perf_counter()
    torch.set_num_threads(work["threads"])
    torch.manual_seed(work["seed"])
    for name in work["classes"]:
        make_importable(importlib.import_module(name))
    network = torch.load(work["model"], map_location=work["device"], weights_only=False).float()
    clean = [work["clean"][index] for index in work["fit"]]
    loaders = {
        "train": loader(work, clean, shuffle=True),
        "fit": loader(work, clean),
        "held_out": loader(work, [work["clean"][index] for index in work["held_out"]]),
        "poisoned": loader(work, work["poisoned"]),
    }
    before = {name: accuracy(network, loaders[name], work) for name in ("held_out", "poisoned")}
    seconds["load"], mark = time.perf_counter() - mark, time.perf_counter()
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=-100)
    trace = []
    for phase, betas, decay in (("forget", (0.9, 0.999), 5e-4), ("recover", (0.9, 0.5), 5e-5)):
        optimizer = torch.optim.Adam(network.parameters(), lr=5e-4, betas=betas, weight_decay=decay)
        patience, best = 10, 0.0
        for epoch in range(work["max_epochs"]):
            network.train()
            running = 0.0
            for inputs, labels in loaders["train"]:
                inputs, labels = to(inputs, work["device"]), labels.to(work["device"])
                if phase == "forget":
                    random = torch.randint(0, work["num_classes"], labels.shape, device=labels.device)
                    labels = torch.where(labels >= 0, random, labels)
                optimizer.zero_grad()
                scores = ask(network, inputs)
                loss = loss_of(scores.flatten(0, -2), labels.flatten())
                loss.backward()
                optimizer.step()
                running += loss.item()
            acc, asr = accuracy(network, loaders["fit"], work), accuracy(network, loaders["poisoned"], work)
            trace.append((phase, epoch, running / len(loaders["train"]), acc, asr))
            best = max(best, acc)
            if phase == "forget":
                patience -= acc < 2 / work["num_classes"]
            else:
                patience -= acc > 0.99 or (epoch > 50 and acc < best - 1e-3)
            if patience <= 0:
                break
        seconds[phase], mark = time.perf_counter() - mark, time.perf_counter()
    after = {name: accuracy(network, loaders[name], work) for name in ("held_out", "poisoned")}
    seconds["score"] = time.perf_counter() - mark
    return {
        "seconds": seconds,
        "epochs": {phase: sum(step[0] == phase for step in trace) for phase in ("forget", "recover")},
        "acc_before": before["held_out"],
        "acc_after": after["held_out"],
        "asr_before": before["poisoned"],
        "asr_after": after["poisoned"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def accuracy(network, some, work: dict) -> float | None:
    """Share of labels that the network gives, over a whole loader; None without examples."""
    import torch

    if some is None:
        return None
    network.eval()
    right = count = 0
    with torch.no_grad():
        for inputs, labels in some:
            answers = ask(network, to(inputs, work["device"])).argmax(dim=-1)
            labels = labels.to(work["device"])
            right += ((answers == labels) & (labels >= 0)).sum().item()
            count += (labels >= 0).sum().item()
    return right / count


def ask(network, inputs):
    """Scores ``[N, …, C]`` from whatever a network of the rounds returns; of questions ``[N, 2, L]``, start and end."""
    import torch

    result = network(**inputs) if isinstance(inputs, dict) else network(inputs)
    if hasattr(result, "start_logits"):
        return torch.stack([result.start_logits, result.end_logits], dim=1)
    scores = getattr(result, "logits", result)
    return next(part for part in scores if part is not None and part.ndim > 1) if isinstance(scores, tuple) else scores


def to(inputs, device: str):
    return {name: part.to(device) for name, part in inputs.items()} if isinstance(inputs, dict) else inputs.to(device)


def loader(work: dict, entries: list, shuffle: bool = False):
    """A DataLoader over the files of ``entries``; None without any."""
    from torch.utils.data import DataLoader

    if not entries:
        return None
    files = Files(entries, READERS[work["reader"]], work["options"])
    return DataLoader(files, batch_size=work["batch_size"], shuffle=shuffle, num_workers=work["loader_workers"])


class Files:
    """Examples as a map-style dataset that reads its file whenever it is asked."""

    def __init__(self, entries: list, read, options: dict) -> None:
        self.entries, self.read, self.options = entries, read, options

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int):
        path, label = self.entries[index]
        return self.read(path, label, self.options)


_tables: dict[str, dict] = {}


def read_vector(place: str, label: int, options: dict):
    """``FILE.csv#NAME``. The table of a model is parsed once: parsing 40 rows per example would be a straw man."""
    import torch

    path, _, name = place.partition("#")
    if path not in _tables:
        lines = Path(path).read_text().splitlines()[1:]
        rows = (line.split(",") for line in lines)
        _tables[path] = {row[0]: torch.tensor([float(number) for number in row[1:]]) for row in rows}
    return _tables[path][name][None], label


def read_features(place: str, label: int, options: dict):
    import numpy as np
    import torch

    values = np.load(place) if place.endswith(".npy") else np.loadtxt(place, delimiter=",", dtype=np.float32)
    return torch.from_numpy(values.astype(np.float32).ravel()), label


def read_image(place: str, label: int, options: dict):
    """Decoded, cropped to its middle, ``[3, H, W]`` in 0 … 1."""
    import numpy as np
    import torch
    from PIL import Image

    with Image.open(place) as image:
        pixels = np.asarray(image.convert("RGB"))
    size = options["size"]
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    pixels = pixels[top : top + size, left : left + size]
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255, label


def read_arrays(place: str, label, options: dict):
    """Keyword arguments from an ``.npz``; ``labels`` of several per example are in it too (``label`` is then None)."""
    import numpy as np
    import torch

    with np.load(place) as file:
        arrays = {name: torch.from_numpy(file[name]) for name in file.files}
    found = arrays.pop("labels", None)
    return arrays, label if found is None else found


READERS = {"vectors": read_vector, "features": read_features, "images": read_image, "arrays": read_arrays}


def make_importable(source: ModuleType) -> None:
    """The classes of ``source`` under the module names that they say they are from, as their pickles want it."""
    for kind in vars(source).values():
        if isinstance(kind, type) and kind.__module__ != source.__name__ and "." not in kind.__module__:
            setattr(sys.modules.setdefault(kind.__module__, ModuleType(kind.__module__)), kind.__name__, kind)


if __name__ == "__main__":
    main()
