"""Random views of image batches, made on the device where they are.

What unlearning learns from five images per class is decided by how many different views of them it sees. Mirroring is
left out on purpose: traffic signs and text change their meaning in a mirror.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augmented(images: Tensor, strength: float) -> Tensor:
    """Every image moved, scaled, turned, relit and slightly noised at random; values stay in the range they had.

    Args:
        images: ``float [N, C, H, W]``, any value range.
        strength: 0 (unchanged) to 1 (shift up to 15 % of the side, scale 0.75 to 1.25, turn up to 12 degrees,
            brightness and contrast by up to 40 %, colour by up to 20 %, noise of 3 % of the range).
    """
    if strength == 0:
        return images
    count, device = len(images), images.device

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(count, *shape, device=device, dtype=images.dtype) - 1

    low, high = images.amin(dim=(1, 2, 3), keepdim=True), images.amax(dim=(1, 2, 3), keepdim=True)
    angle, zoom = uniform() * 0.21 * strength, 1 + uniform() * 0.25 * strength
    cosine, sine = zoom * torch.cos(angle), zoom * torch.sin(angle)
    shift = uniform(2) * 0.3 * strength  # in units of half the side
    theta = torch.stack([torch.stack([cosine, -sine, shift[:, 0]], 1), torch.stack([sine, cosine, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    mean = moved.mean(dim=(2, 3), keepdim=True).mean(dim=1, keepdim=True)
    contrast, light = 1 + uniform(1, 1, 1) * 0.4 * strength, 1 + uniform(1, 1, 1) * 0.4 * strength
    colour = 1 + uniform(images.shape[1], 1, 1) * 0.2 * strength
    span = high - low
    relit = ((moved - mean) * contrast + (mean - low) * light) * colour + low
    noisy = relit + 0.03 * strength * span * torch.randn_like(relit)
    return torch.maximum(torch.minimum(noisy, high), low)
