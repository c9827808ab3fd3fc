"""One change of a class name or of a plain attribute: how it is written down, and how it is made on a live module.

Runs under Python 3.6 and torch 1.2 too, because the old libraries are asked what they compute from a changed file.
"""

import functools
from importlib import import_module

import torch

SMALL = 96
"""Pixels of the shorter side that detectors get pictures in here."""


def written(value):
    """``value`` as JSON can hold it; a TypeError for what is neither plain nor the name of something."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return {type(value).__name__: [written(item) for item in value]}
    if type(value).__name__ == "Global":
        return {"global": value.path}
    raise TypeError(type(value).__name__)


def read(value):
    """The live value of :func:`written`."""
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "global":
        module, _, name = held.rpartition(".")
        return getattr(import_module(module), name)
    return {"tuple": tuple, "list": list}[kind](read(item) for item in held)


def module_at(network, path):
    """``get_submodule``, which torch 1.2 does not have."""
    return functools.reduce(lambda owner, name: owner._modules[name], path.split("."), network) if path else network


def apply(network, mutation):
    """Make the change on a live network as unpickling would, and return what takes it back."""
    module, name, deed = module_at(network, mutation["path"]), mutation["name"], mutation["deed"]
    if deed == "class":
        path, _, leaf = name.rpartition(".")
        old, new = type(module), getattr(import_module(path), leaf)
        module.__class__ = new
        return lambda: setattr(module, "__class__", old)
    held = vars(module)
    if deed == "helper":
        owner, _, name = name.partition(".")
        held = vars(getattr(module, owner))
    before = dict(held)
    if deed == "remove":
        del held[name]
    else:
        held[name] = read(mutation["value"])
    network.eval()  # whoever measures does so

    def undo():
        held.clear()
        held.update(before)

    return undo


def computed(network, inputs):
    """The tensors that count among what ``network`` computes: logits, two ends of an answer, the boxes of a picture."""
    torch.manual_seed(0)
    with torch.no_grad():
        if isinstance(inputs, dict):
            found = network(**inputs)
        elif isinstance(inputs, list):
            (found,) = network(inputs)
            return [found[name] for name in sorted(found)]
        else:
            found = network(inputs)
    if hasattr(found, "start_logits"):
        return [found.start_logits, found.end_logits]
    if isinstance(found, dict):
        found = list(found.values())
    if torch.is_tensor(found):
        return [found]
    count = 2 if type(network).__name__.endswith("ForQuestionAnswering") else 1
    return [value for value in found if torch.is_tensor(value)][:count]


def same(found, wanted):
    """Whether two such lists are equal, up to rounding."""
    return len(found) == len(wanted) and all(
        a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-4 * float(b.float().abs().max()))
        if b.numel()
        else a.shape == b.shape
        for a, b in zip(found, wanted)  # noqa: B905 - not in Python 3.6
    )
