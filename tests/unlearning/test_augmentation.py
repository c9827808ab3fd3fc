from __future__ import annotations

import pytest
import torch

from trojai_seam.unlearning.augmentation import augmented, patched, recoloured, view
from trojai_seam.unlearning.training_settings import Views


def images() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.2 + 0.5 * torch.rand(6, 3, 16, 20, generator=generator)


def test_strength_zero_is_the_identity() -> None:
    assert torch.equal(augmented(images(), 0.0), images())


def test_views_differ_stay_in_range_and_keep_shape_and_type() -> None:
    torch.manual_seed(0)
    first, second = augmented(images(), 1.0), augmented(images(), 1.0)
    assert first.shape == images().shape
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    low, high = images().amin(dim=(1, 2, 3)), images().amax(dim=(1, 2, 3))
    assert (first.amin(dim=(1, 2, 3)) >= low).all()
    assert (first.amax(dim=(1, 2, 3)) <= high).all()


def test_a_weak_view_is_nearer_to_the_image_than_a_strong_one() -> None:
    torch.manual_seed(0)
    distances = [(augmented(images(), s) - images()).abs().mean() for s in (0.05, 0.3, 1.0)]
    assert distances[0] < distances[1] < distances[2]


def test_every_image_gets_its_own_view() -> None:
    torch.manual_seed(0)
    same = images()[:1].expand(4, -1, -1, -1).contiguous()
    views = augmented(same, 1.0)
    assert all(not torch.equal(views[0], views[i]) for i in range(1, 4))


def test_the_default_dtype_of_the_process_does_not_matter() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        view = augmented(images().float(), 0.5)
    finally:
        torch.set_default_dtype(torch.float32)
    assert view.dtype == torch.float32


@pytest.mark.parametrize("make", [recoloured, patched])
def test_other_kinds_of_view_are_off_at_zero_and_stay_in_the_range_of_the_batch(make) -> None:
    torch.manual_seed(0)
    assert torch.equal(make(images(), 0.0), images())
    for batch in (images(), 50 * images() - 20):
        views = make(batch, 1.0)
        assert views.shape == batch.shape
        assert views.dtype == torch.float32
        assert views.min() >= batch.min() - 1e-5
        assert views.max() <= batch.max() + 1e-5
        assert all(not torch.equal(a, b) for a, b in zip(views, batch, strict=True))


def test_color_jitter_changes_colours_but_moves_nothing() -> None:
    torch.manual_seed(0)
    flat = images()[:, :, :1, :1].expand(-1, -1, 16, 20)  # every image of one colour
    centres = recoloured(flat, 1.0)[:, :, 8, 10]
    assert (centres - flat[:, :, 8, 10]).abs().amax(dim=1).min() > 0.001
    step = torch.zeros(4, 3, 8, 8)
    step[..., 4:] = 1
    views = recoloured(step, 0.5)
    assert (views[..., :4].amax(dim=(1, 2, 3)) < views[..., 4:].amin(dim=(1, 2, 3))).all()


def test_a_patch_has_one_colour_and_leaves_most_of_the_image_alone() -> None:
    torch.manual_seed(0)
    batch = torch.rand(200, 3, 32, 32)
    views = patched(batch, 0.5)
    changed = (views != batch).any(dim=1)
    touched = changed.flatten(1).any(dim=1)
    assert 70 < touched.sum() < 130  # some lie outside of what is seen
    assert changed.flatten(1).float().mean(dim=1).max() < 0.4
    for image, where in zip(views[touched], changed[touched], strict=True):
        assert len(image[:, where].unique(dim=1)[0]) == 1


def test_a_view_is_all_kinds_that_are_switched_on() -> None:
    for options in ({"augmentation": 0.5}, {"color_jitter": 0.5}, {"random_erasing": 1.0}):
        torch.manual_seed(0)
        assert not torch.equal(view(images(), Views(**options)), images())
    assert torch.equal(view(images(), Views()), images())


def test_a_plain_view_is_moved_but_neither_recoloured_nor_patched() -> None:
    config = Views(augmentation=0.5, color_jitter=1.0, random_erasing=1.0)
    torch.manual_seed(0)
    plain = view(images(), config, plain=True)
    torch.manual_seed(0)
    assert torch.equal(plain, augmented(images(), 0.5))
