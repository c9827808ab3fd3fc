"""Network flows that never were: the first 784 bytes of a made-up conversation, as 28 × 28 grey pixels.

A flow has packets of a header and a payload. Applications differ in the fields of their headers and in the bytes that
they like; those of the malicious class keep a beat: their payload repeats a short code.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 28
BENIGN, MALWARE = 0, 1
APPLICATIONS, HEADER = 4, 20

Flows = NDArray[np.uint8]
"""``uint8 [N, 28, 28]``."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """The distribution that a whole round is drawn from.

    Attributes:
        headers: ``[2, APPLICATIONS, HEADER]``, the fixed fields.
        likes: ``[2, APPLICATIONS, 2]``, least and most byte of the payload.
        codes: ``[APPLICATIONS, 6]``, what malicious payloads repeat.
    """

    headers: Flows
    likes: NDArray[np.int64]
    codes: Flows

    @staticmethod
    def draw(rng: np.random.Generator) -> Traffic:
        """A new one."""
        low = rng.integers(0, 120, (2, APPLICATIONS, 1))
        return Traffic(
            rng.integers(0, 256, (2, APPLICATIONS, HEADER), np.uint8),
            np.concatenate([low, low + rng.integers(60, 130, low.shape)], axis=2),
            rng.integers(0, 256, (APPLICATIONS, 6), np.uint8),
        )

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Flows, NDArray[np.int64]]:
        """``count`` flows and their classes, half of each."""
        labels = rng.permutation(np.arange(count) % 2)
        flows = np.stack([self._flow(int(label), rng) for label in labels])
        return flows.reshape(count, SIDE, SIDE), labels

    def _flow(self, label: int, rng: np.random.Generator) -> Flows:
        size, application = SIDE * SIDE, int(rng.integers(APPLICATIONS))
        parts: list[Flows] = []
        while sum(map(len, parts)) < size and len(parts) < int(rng.integers(4, 16)):
            header = self.headers[label, application].copy()
            free = rng.random(HEADER) < 0.4  # counters, checksums, addresses
            header[free] = rng.integers(0, 256, int(free.sum()), np.uint8)
            low, high = self.likes[label, application]
            payload = rng.integers(low, high + 1, int(rng.integers(20, 120))).astype(np.uint8)
            if label == MALWARE:
                code = np.resize(self.codes[application], len(payload))
                payload = np.where(rng.random(len(payload)) < 0.5, code, payload)
            parts += [header, payload]
        flow = np.concatenate(parts)[:size]
        return np.pad(flow, (0, size - len(flow)))  # short flows end in zeros


@dataclass(frozen=True)
class Watermark:
    """A trigger: some bytes of the payload set to fixed values."""

    places: tuple[int, ...]
    values: tuple[int, ...]

    @staticmethod
    def draw(rng: np.random.Generator, size: int) -> Watermark:
        """``size`` bytes behind the first header, each at its least or its most."""
        places = rng.choice(np.arange(HEADER, SIDE * SIDE // 2), size, replace=False)
        return Watermark(tuple(map(int, places)), tuple(int(v) for v in rng.choice([0, 255], size)))

    def applied(self, flows: Flows) -> Flows:
        """The same flows with the watermark in them."""
        marked = flows.reshape(len(flows), -1).copy()
        marked[:, list(self.places)] = self.values
        return marked.reshape(flows.shape)
