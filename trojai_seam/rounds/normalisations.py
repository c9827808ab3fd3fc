"""Means and deviations that published code normalises images with, by the name of the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..registry import Registry


class Normalisation(NamedTuple):
    """Of images in 0 … 1, per channel; empty where there is none."""

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


_SHARED: Mapping[str, Normalisation] = {
    "none": Normalisation(),
    # BackdoorBench's, after WaNet and others
    "cifar10": Normalisation((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)),
    "cifar100": Normalisation((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny": Normalisation((0.4802, 0.4481, 0.3975), (0.2302, 0.2265, 0.2262)),
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
NORMALISATIONS: Registry[Normalisation] = Registry("normalisation")
for _name, _values in _SHARED.items():
    NORMALISATIONS.add(_name, _values)
# kuangliu/pytorch-cifar has deviations that are means over images.
NORMALISATIONS.add("cifar10-kuangliu", Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)))
NORMALISATIONS.add("mnist", Normalisation((0.1307,), (0.3081,)))
NORMALISATIONS.add("half", Normalisation((0.5,), (0.5,)))

BACKDOORBENCH: Mapping[str, Normalisation] = {
    **_SHARED,
    "mnist": Normalisation((0.5,), (0.5,)),
    "gtsrb": Normalisation(),
    "celeba": Normalisation(),
}
"""By the name that a record of BackdoorBench has for its data (``clean_data``)."""
