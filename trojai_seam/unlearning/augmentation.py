"""Random views of image batches, made on the device where they are.

What unlearning learns from five images per class is decided by how many different views of them it sees. Mirroring is
left out on purpose: traffic signs and text change their meaning in a mirror.

Three kinds, each with its own strength, because they take different shortcuts away from a network: :func:`augmented`
moves and relights the whole image, :func:`recoloured` makes the colour mood mean nothing (a filter over the image is
one), :func:`patched` makes a coloured spot mean nothing (random erasing, Zhong et al., AAAI 2020, with polygons).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .training_settings import Views


def view(images: Tensor, views: Views, still: bool = False, plain: bool = False) -> Tensor:
    """What training sees of a batch of images: all kinds that are switched on, in this order.

    ``still`` images are not moved, for their labels are places in them; ``plain`` ones get no colours and no patches.
    """
    moved = (relit if still else augmented)(images, views.augmentation)
    return moved if plain else recoloured(patched(moved, views.random_erasing), views.color_jitter)


def augmented(images: Tensor, strength: float) -> Tensor:
    """Every image moved, scaled, turned, relit and slightly noised at random; values stay in the range they had.

    Args:
        images: ``float [N, C, H, W]``, any value range.
        strength: 0 (unchanged) to 1 (shift up to 15 % of the side, scale 0.75 to 1.25, turn up to 12 degrees,
            brightness and contrast by up to 40 %, colour by up to 20 %, noise of 3 % of the range).
    """
    if strength == 0:
        return images
    angle, zoom = _uniform(images) * 0.21 * strength, 1 + _uniform(images) * 0.25 * strength
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift = _uniform(images, 2) * 0.3 * strength  # in units of half the side
    theta = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return relit(functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False), strength, images)


def relit(images: Tensor, strength: float, bounds: Tensor | None = None) -> Tensor:
    """As :func:`augmented`, but for the moving; values stay in the range of ``bounds``, or that of the images."""
    if strength == 0:
        return images
    bounds = images if bounds is None else bounds
    low, high = bounds.amin(dim=(1, 2, 3), keepdim=True), bounds.amax(dim=(1, 2, 3), keepdim=True)
    mean = images.mean(dim=(2, 3), keepdim=True).mean(dim=1, keepdim=True)
    contrast, light = 1 + _uniform(images, 1, 1, 1) * 0.4 * strength, 1 + _uniform(images, 1, 1, 1) * 0.4 * strength
    colour = 1 + _uniform(images, images.shape[1], 1, 1) * 0.2 * strength
    span = high - low
    shone = ((images - mean) * contrast + (mean - low) * light) * colour + low
    noisy = shone + 0.03 * strength * span * torch.randn_like(shone)
    return torch.maximum(torch.minimum(noisy, high), low)


def recoloured(images: Tensor, strength: float) -> Tensor:
    """Every image under another colour mood: saturation, a tone curve per channel, contrast, a tint, dark corners.

    Args:
        images: ``float [N, C, H, W]``, any value range; results stay in the range of the batch.
        strength: 0 (unchanged) to 1 (saturation 0 to 2, gamma 1/3 to 3 per channel, contrast 0.4 to 1.6, up to 40 %
            of a random colour laid over, corners up to 80 % darker).
    """
    if strength == 0:
        return images
    low, high = images.amin(), images.amax()
    unit = (images - low) / (high - low).clamp_min(1e-12)
    grey = unit.mean(dim=1, keepdim=True)
    unit = (grey + (1 + _uniform(images, 1, 1, 1) * strength) * (unit - grey)).clamp(0, 1)
    common, own = _uniform(images, 1, 1, 1), _uniform(images, images.shape[1], 1, 1)
    unit = unit.clamp_min(1e-4) ** torch.exp(math.log(3) * strength * (common + own) / 2)
    unit = 0.5 + (1 + 0.6 * strength * _uniform(images, 1, 1, 1)) * (unit - 0.5)
    share = 0.2 * strength * (1 + _uniform(images, 1, 1, 1))
    unit = unit + share * ((1 + _uniform(images, images.shape[1], 1, 1)) / 2 - unit)
    across = torch.linspace(-1, 1, images.shape[-1], device=images.device, dtype=images.dtype)
    down = torch.linspace(-1, 1, images.shape[-2], device=images.device, dtype=images.dtype)
    corners = (across[None, :] ** 2 + down[:, None] ** 2) / 2
    unit = unit * (1 - 0.4 * strength * (1 + _uniform(images, 1, 1, 1)) * corners)
    return low + unit.clamp(0, 1) * (high - low)


def patched(images: Tensor, share: float) -> Tensor:
    """A polygon of one random colour over a random place of some images: 3 to 6 sides, 10 to 50 % of the side across.

    Args:
        images: ``float [N, C, H, W]``, any value range; colours are drawn from the range of the batch.
        share: probability that an image gets one.
    """
    if share == 0:
        return images
    count, sides = len(images), 6
    low, high = images.amin(), images.amax()
    centre, radius = _uniform(images, 2, 1, 1), 0.3 + 0.2 * _uniform(images, 1, 1)  # in units of half the side
    # A convex polygon is where all of some half-planes meet; those that are drawn too far out cut nothing off.
    turn = math.pi * _uniform(images, 1)
    steps = torch.arange(sides, device=images.device, dtype=images.dtype) * (2 * math.pi / sides)
    angle = turn + steps + 0.4 * _uniform(images, sides)
    cut = torch.where(_uniform(images, sides) > 0.5, 2.0, 0.6 + 0.4 * _uniform(images, sides).abs())
    across = torch.linspace(-1, 1, images.shape[-1], device=images.device, dtype=images.dtype) - centre[:, 0]
    down = torch.linspace(-1, 1, images.shape[-2], device=images.device, dtype=images.dtype) - centre[:, 1]
    x, y = across.expand(count, 1, -1), down.expand(count, 1, -1).transpose(1, 2)
    inside = x**2 + y**2 < radius**2 * 1.5
    for side in range(sides):
        reach = torch.cos(angle[:, side, None, None]) * x + torch.sin(angle[:, side, None, None]) * y
        inside = inside & (reach < cut[:, side, None, None] * radius)
    chosen = (_uniform(images, 1, 1) + 1) / 2 < share
    colour = low + (high - low) * (1 + _uniform(images, images.shape[1], 1, 1)) / 2
    return torch.where((inside & chosen)[:, None], colour, images)


def _uniform(images: Tensor, *shape: int) -> Tensor:
    """-1 to 1, one draw of ``shape`` per image."""
    return 2 * torch.rand(len(images), *shape, device=images.device, dtype=images.dtype) - 1
