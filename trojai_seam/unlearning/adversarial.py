"""Changes of images that fool networks, as stand-ins for triggers that nobody knows. Nothing poisoned is ever seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def span(images: Tensor) -> Tensor:
    """Largest minus smallest value of ``images``, a scalar: 1 where pixels go from 0 to 1. Published sizes of changes
    are in this unit."""
    return (images.amax() - images.amin()).clamp_min(torch.finfo(images.dtype).tiny)


def universal(start: Tensor, losses: Iterable[tuple[Callable[[Tensor], Tensor], Tensor | float]]) -> Tensor:
    """One change for all images, by one step of gradient descent on each of ``losses``.

    Args:
        start: ``float [1, C, H, W]``.
        losses: one per batch of images: a function of such a change, a scalar, and the rate of its step; a negative one
            goes up.
    """
    change = start.detach().clone()
    for loss, rate in losses:
        change.requires_grad_()
        (slope,) = torch.autograd.grad(loss(change), change)
        change = (change - rate * slope).detach()
    return change


def signed_descent(
    start: Tensor, loss: Callable[[Tensor], tuple[Tensor, Tensor]], rate: float, bound: float, steps: int
) -> Tensor:
    """A change of its own for every image, by projected gradient descent with the gradient's sign (PGD): Madry et al.,
    ICLR 2018, arXiv 1706.06083.

    Args:
        start: ``float [n, C, H, W]``.
        loss: of such changes; a scalar, and ``bool [n]``, which images are done. It ends when all are.
        rate: length of a step, of every pixel.
        bound: no pixel is changed by more.
        steps: at most.
    """
    change = start.detach().clone()
    for _ in range(steps):
        change.requires_grad_()
        value, done = loss(change)
        (slope,) = torch.autograd.grad(value, change)
        change = (change - rate * slope.sign()).clamp(-bound, bound).detach()
        if bool(done.all()):
            break
    return change


def implicit_part(slope: Tensor, inner: Tensor, outer: Tensor, rate: float, iterations: int) -> Tensor:
    """What a solution's dependence on the weights adds to the gradient of a loss that is taken at the solution.

    At the solution x of an inner problem, ``dL/dw = ∂L/∂w + (dx/dw)ᵀ ∂L/∂x``. x is a fixed point of gradient descent,
    ``x = x - rate · s(x, w)`` with the inner slope s, so that the second term is ``-rate · (∂s/∂w)ᵀ v`` where v solves
    ``v = v - rate · (∂s/∂x)ᵀ v + ∂L/∂x``; that is iterated from zero (Grazzi et al., "On the Iteration Complexity of
    Hypergradient Computation", ICML 2020, arXiv 2006.16218).

    Args:
        slope: s, like ``inner``, with a graph to ``inner`` and to the weights.
        inner: x, a leaf that takes gradients.
        outer: ∂L/∂x, like ``inner``.
        rate: of the inner descent.
        iterations: of the fixed point.

    Returns:
        A scalar whose gradient is the second term; its value means nothing.
    """
    v = torch.zeros_like(outer)
    for _ in range(iterations):
        (bent,) = torch.autograd.grad(slope, inner, v, retain_graph=True)
        v = v - rate * bent + outer
    return -rate * (slope * v.detach()).sum()
