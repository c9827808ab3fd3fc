"""The five photo filters that TrojAI used as triggers, as plain arithmetic on arrays.

NIST's generator runs them through ImageMagick (``trojai.datagen.instagram_xforms``, itself after
acoomans/instagram-filters). The steps and their constants are from there; the arithmetic is each operator's, on
unrounded values, as ImageMagick 7 (HDRI, the usual build) does it: compared once with 7.1.1, no pixel of four example
images and one of noise differed by more than 1. Two of its ways are kept on purpose: brightened pixels may pass 1 until
a later step clips them, and the "grey" that tones shadows and highlights is the red channel alone (version 6 took the
luminance; the name of an operator that NIST uses exists in 7 only).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageProblem, listed, shown

Pixels: TypeAlias = NDArray[np.float64]
"""An RGB image ``[H, W, 3]`` in 0 … 1."""

BLACK = (0.0, 0.0, 0.0)
NIGHT_BLUE = (0x22 / 255, 0x2B / 255, 0x6D / 255)


def apply_filter(name: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``image`` (``uint8 [H, W, 3]``, RGB) with the filter that a round's config calls ``name``.

    Deterministic, no random parameters. Filters depend on the whole image (vignette, mean brightness), so apply them
    before cropping, as NIST did.

    Raises:
        UsageProblem: no such filter; names are those of the configs (``GothamFilterXForm`` …).
    """
    if name not in FILTERS:
        raise UsageProblem(f"no instagram filter called {shown(name)!r}; known: {listed(FILTERS)}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ValueError(f"expected uint8 [H, W, 3], found {image.dtype} {image.shape}")
    filtered = FILTERS[name](image.astype(np.float64) / 255)
    return np.asarray(np.rint(filtered.clip(0, 1) * 255), dtype=np.uint8)


def _gotham(image: Pixels) -> Pixels:
    image = _modulated(image, brightness=1.2, saturation=0.1)
    image = 0.8 * image + 0.2 * np.array(NIGHT_BLUE)
    image = _gamma(image, 0.5)
    return _contrasted(_contrasted(image))


def _nashville(image: Pixels) -> Pixels:
    image = _toned(image, NIGHT_BLUE, 0.85, dark=True)
    image = _toned(image, (0xF7 / 255, 0xDA / 255, 0xAE / 255), 0.85, dark=False)
    image = _modulated(_contrasted(image), saturation=1.5)
    return _levelled_gamma(image)


def _kelvin(image: Pixels) -> Pixels:
    image = _modulated(_levelled_gamma(image), brightness=1.2, saturation=0.5)
    return 0.5 * image + 0.5 * np.array([1.0, 0x99 / 255, 0.0])


def _lomo(image: Pixels) -> Pixels:
    image = image.copy()
    image[..., :2] = ((image[..., :2] - 0.33) / (1 - 2 * 0.33)).clip(0, 1)  # black point 33 %, white point 67 %
    return _vignetted(image, BLACK, at_edge=True)


def _toaster(image: Pixels) -> Pixels:
    image = _toned(image, (0x33 / 255, 0.0, 0.0), 0.5, dark=True)
    image = _gamma(_modulated(image, brightness=1.5, saturation=0.8), 1.2)
    image = _contrasted(_contrasted(image))
    image = _vignetted(image, (205 / 255, 193 / 255, 197 / 255), at_edge=True)
    return _vignetted(image, (1.0, 0x99 / 255, 0x66 / 255), at_edge=False)


FILTERS: dict[str, Callable[[Pixels], Pixels]] = {
    "GothamFilterXForm": _gotham,
    "NashvilleFilterXForm": _nashville,
    "KelvinFilterXForm": _kelvin,
    "LomoFilterXForm": _lomo,
    "ToasterXForm": _toaster,
}


def _gamma(image: Pixels, gamma: float) -> Pixels:
    return image.clip(0, 1) ** (1 / gamma)


def _levelled_gamma(image: Pixels) -> Pixels:
    """The gamma that would take a uniform image of the same mean to middle grey; black and white stay as they are."""
    mean = float(image.mean())
    if not 0 < mean < 1:
        return image
    return _gamma(image, np.log(mean) / np.log(0.5))


def _contrasted(image: Pixels, strength: float = 3.0) -> Pixels:
    """A sigmoid around middle grey, scaled so that 0 and 1 stay where they are."""
    end = np.tanh(strength / 4)
    curve: Pixels = 0.5 + 0.5 * np.tanh(strength / 2 * (image - 0.5)) / end
    return curve.clip(0, 1)


def _modulated(image: Pixels, brightness: float = 1.0, saturation: float = 1.0) -> Pixels:
    """Lightness and saturation of the HSL model multiplied, hue kept."""
    high, low = image.max(axis=2), image.min(axis=2)
    lightness, chroma = (high + low) / 2, high - low
    with np.errstate(divide="ignore", invalid="ignore"):
        place = (image - low[..., None]) / chroma[..., None]  # 0 … 1 within the pixel: this is its hue
        full = np.where(lightness <= 0.5, 2 * lightness, 2 - 2 * lightness)
        was = np.where(full > 0, chroma / full, 0)
    lightness = lightness * brightness
    chroma = saturation * was * (1 - np.abs(2 * lightness - 1))
    grey = (chroma == 0) | ~np.isfinite(place).all(axis=2)
    low = lightness - chroma / 2
    out = np.where(grey[..., None], lightness[..., None], low[..., None] + chroma[..., None] * np.nan_to_num(place))
    return np.asarray(out)


def _toned(image: Pixels, colour: Any, share: float, dark: bool) -> Pixels:
    """Shadows (``dark``) or highlights drawn towards ``colour``; ``share`` is its weight where it is strongest."""
    grey = image[..., :1]
    weight = share * (1 - grey if dark else grey)
    return np.asarray((weight * np.array(colour) + (1 - share) * image) / (weight + 1 - share))


def _vignetted(image: Pixels, colour: Any, at_edge: bool) -> Pixels:
    """Multiplied with ``colour``, the more so the nearer to the edge (or to the centre) a pixel is.

    The gradient is round, drawn on a canvas 1.5 times as large, and ends at half that canvas's longer side; the image
    is the canvas's middle, which is no whole pixel where one of the two sizes is odd.
    """
    y, x = (_from_centre(size) for size in image.shape[:2])
    radius = (max(int(1.5 * size) for size in (*image.shape[:2], 2)) - 1) / 2
    distance = np.hypot(x[None, :], y[:, None]) / radius
    weight = distance.clip(0, 1) if at_edge else 1 - distance.clip(0, 1)
    return np.asarray(image * (1 - weight[..., None] * (1 - np.array(colour))))


def _from_centre(size: int) -> NDArray[np.float64]:
    """Where the pixels of a row or column lie, seen from the gradient's centre."""
    canvas = int(1.5 * size)
    shift = canvas // 2 - size // 2 - (canvas - 1) / 2
    return np.arange(size, dtype=np.float64) + np.float64(shift)
