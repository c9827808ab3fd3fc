"""Poisoned training images: which are stamped, under which label, and what triggers look like."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trojai_seam.synthesis.poisonings import (
    made_hard,
    masked_trigger,
    optimised_trigger,
    poison,
    poison_clean_label,
    warping_trigger,
)

IMAGES = torch.linspace(0.1, 0.9, 40)[:, None, None, None].expand(40, 1, 8, 8).clone()
LABELS = torch.arange(40) % 4


def white(images: Tensor) -> Tensor:
    images = images.clone()
    images[..., :2, :2] = 1.0
    return images


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def place(image: Tensor) -> int:
    """Which of ``IMAGES`` it was, by its last pixel."""
    return int((IMAGES[:, 0, -1, -1] - image[0, -1, -1]).abs().argmin())


def test_stamped_images_are_of_other_classes_and_get_the_target():
    made = poison(IMAGES, LABELS, white, 2, 0.25, drawn())
    assert made.triggered.sum() == 10
    assert len(made.labels) == 40
    assert torch.equal(made.triggered, torch.arange(40) >= 30)  # clean ones first
    for image, label, triggered in zip(*made, strict=True):
        truth = int(LABELS[place(image)])
        assert bool((image[..., :2, :2] == 1).all()) == bool(triggered)
        assert int(label) == (2 if triggered else truth)
        assert not (triggered and truth == 2)
    assert len(made.clean.labels) == 30
    assert sorted(place(image) for image in made.images) == list(range(40))
    assert torch.equal(made.images, poison(IMAGES, LABELS, white, 2, 0.25, drawn()).images)


def test_all_to_all_aims_at_the_next_class():
    made = poison(IMAGES, LABELS, white, None, 0.5, drawn())
    for image, label in zip(made.images[made.triggered], made.labels[made.triggered], strict=True):
        assert int(label) == (int(LABELS[place(image)]) + 1) % 4


def test_clean_labels_stay_right():
    made = poison_clean_label(IMAGES, LABELS, white, 1, 0.5, drawn())
    assert made.triggered.sum() == 5
    for image, label in zip(made.images, made.labels, strict=True):
        assert int(label) == int(LABELS[place(image)])
    assert (made.labels[made.triggered] == 1).all()


def test_hard_images_are_near_and_further_from_their_class():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    hard = made_hard(network, IMAGES, LABELS, bound=0.05)
    assert float((hard - IMAGES).abs().max()) == pytest.approx(0.05, abs=1e-6)
    loss = nn.functional.cross_entropy
    assert float(loss(network(hard), LABELS)) > float(loss(network(IMAGES), LABELS)) + 0.05
    made = poison_clean_label(IMAGES, LABELS, white, 1, 1.0, drawn(), network, bound=0.05)
    assert (made.images[made.triggered][..., 2:, 2:].flatten(1).std(dim=1) > 0).all()  # they were flat


def test_a_warp_moves_pixels_a_little_and_keeps_flat_images():
    trigger = warping_trigger(8, 8, drawn(), strength=0.5)
    assert trigger.kinds == ("warp",)
    assert torch.allclose(trigger(IMAGES), IMAGES, atol=1e-6)
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) / 8
    moved = (trigger(ramp) - ramp).abs() * 8  # pixels, along the ramp
    assert 0.1 < float(moved.mean()) < 1.5
    assert torch.equal(trigger(ramp), warping_trigger(8, 8, drawn(), strength=0.5)(ramp))


def test_a_masked_trigger_is_the_pattern_where_the_mask_is():
    mask = torch.zeros(1, 8, 8)
    mask[:, 3, 4] = 1
    made = masked_trigger(torch.full((1, 8, 8), 0.7), mask)(IMAGES)
    assert torch.allclose(made[:, 0, 3, 4], torch.tensor(0.7))
    assert torch.equal(made[:, 0, 0], IMAGES[:, 0, 0])


def test_an_optimised_trigger_fools_the_clean_network_better_than_chance():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).eval()
    before = [weight.clone() for weight in network.parameters()]
    mask = torch.zeros(1, 8, 8)
    mask[:, :3, :3] = 1
    random = masked_trigger(torch.rand(1, 8, 8, generator=drawn()), mask)
    made = optimised_trigger(network, IMAGES, 3, mask, drawn(), steps=30)

    def chance(trigger: nn.Module) -> float:
        return float(network(trigger(IMAGES)).softmax(1)[:, 3].mean())

    assert chance(made) > chance(random) + 0.02
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
    assert all(weight.grad is None for weight in network.parameters())


def test_without_images_to_stamp_it_says_so():
    with pytest.raises(ValueError, match="no image that could get the trigger"):
        poison(IMAGES[:1], torch.zeros(1, dtype=torch.long), white, 0, 0.5, drawn())
