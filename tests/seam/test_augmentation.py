from __future__ import annotations

import torch

from trojai_seam.seam.augmentation import augmented


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
