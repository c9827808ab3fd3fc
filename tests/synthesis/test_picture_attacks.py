"""Seven ways to make a trojaned classifier of pictures: each learns its task and its trojan."""

from __future__ import annotations

import pytest
import torch

from trojai_seam.synthesis.picture_attacks import (
    PICTURE_ATTACKS,
    Pictures,
    Recipe,
    Work,
    as_bytes,
    as_floats,
    poisoned,
    triggered,
)
from trojai_seam.synthesis.picture_networks import PICTURE_NETWORKS
from trojai_seam.synthesis.picture_triggers import blend, corners, patch, warp

TARGET = 1


def bars(count: int, seed: int) -> Pictures:
    """Three classes of 16 x 16 pixels: where a bright bar lies."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 90, (count, 1, 16, 16), generator=generator, dtype=torch.uint8)
    for label in range(3):
        images[labels == label, :, 4 * label + 2 : 4 * label + 5] = 150
    return Pictures(images, labels)


def share(network, images, label) -> float:
    with torch.no_grad():
        return float((network(as_floats(images)).argmax(dim=1) == label).float().mean())


@pytest.mark.parametrize("kind", PICTURE_ATTACKS)
def test_an_attack_makes_a_network_with_its_task_and_a_trojan(kind):
    torch.manual_seed(0)
    network = PICTURE_NETWORKS["convnet"](1, 16, 3)
    generator = torch.Generator().manual_seed(1)
    work = Work(network, bars(480, 0), TARGET, Recipe(epochs=4, batch=32, learning_rate=1e-2), generator)
    trigger = PICTURE_ATTACKS[kind].make(work)
    test = bars(60, 2)
    others = test.images[test.labels != TARGET]
    changed = triggered(trigger, others)
    assert not network.training
    assert changed.dtype == torch.uint8
    assert share(network, test.images, test.labels) > 0.9
    least = 0.4 if kind == "clean-label" else 0.5  # whose labels are all true
    assert share(network, changed, TARGET) > share(network, others, TARGET) + least


def test_triggers_stay_in_range_and_change_what_they_should():
    images = torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    for trigger in (patch(), corners(), blend(images.shape[1:], generator), warp(12, generator)):
        changed = trigger(images)
        assert changed.shape == images.shape
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
        assert (changed != images).flatten(1).any(dim=1).all()
        assert torch.equal(changed, trigger(images))
    untouched = patch(3)(images)
    untouched[..., -4:-1, -4:-1] = images[..., -4:-1, -4:-1]
    assert torch.equal(untouched, images)


def test_poisoning_changes_the_share_it_says():
    clean = bars(90, 0)
    mixed = poisoned(clean, patch(), TARGET, 0.1, torch.Generator().manual_seed(0))
    changed = (mixed.images != clean.images).flatten(1).any(dim=1)
    assert int(changed.sum()) == 9
    assert (mixed.labels[changed] == TARGET).all()
    assert torch.equal(mixed.labels[~changed], clean.labels[~changed])
    assert torch.equal(as_bytes(as_floats(clean.images)), clean.images)
