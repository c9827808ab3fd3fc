"""Fidelity over the number of clean pictures that unlearning has."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..unlearning import resolve
from .bench import FLEET, Bench
from .charts import over_sizes
from .storage import Row, Unit
from .verdicts import Claim, Drawing, Finding, mean_of

SIZES = (*FLEET, "sizes", "data_kinds")
PRESETS = ("authors-trojai", "images-refit")


def sizes(bench: Bench) -> list[int]:
    """Numbers of clean pictures, ascending."""
    return sorted({size or bench.published_share for size in bench.scale.sizes})


def units(bench: Bench) -> Iterator[Unit]:
    """One per trojaned network and preset."""
    return bench.preset_units(_measure, PRESETS, bench.scale.data_kinds)


def _measure(bench: Bench, network: str, kind: str, preset: str) -> list[Row]:
    subject, config = bench.subject(network, kind), resolve(preset)
    return [
        bench.unlearned(subject, preset, config, bench.fit(size, subject.name), preset, size) for size in sizes(bench)
    ]


LEAST_FIDELITY = 0.8


def findings(rows: pd.DataFrame, bench: Bench) -> list[Finding]:
    """Of the statement on the amount of data."""
    at = min(bench.published_share, int(rows["clean"].max()))
    claims, lines = [], []
    for preset, part in rows.groupby("preset", sort=False):
        claims.append(
            Claim(str(preset), f"fidelity with {at} pictures", mean_of(part.loc[part["clean"] == at, "fidelity"]),
                  LEAST_FIDELITY)
        )  # fmt: skip
        for size, some in part.groupby("clean"):
            lines.append(
                {
                    "preset": preset,
                    "clean pictures": str(size),
                    "networks": str(len(some)),
                    "ACC": f"{some['acc_before'].mean():.3f} → {some['acc_after'].mean():.3f}",
                    "ASR": f"{some['asr_before'].mean():.3f} → {some['asr_after'].mean():.3f}",
                    "fidelity": str(mean_of(some["fidelity"])),
                    "failed": str(int(some["error"].notna().sum())),
                }
            )
    return [
        Finding(
            "Only a small amount of clean data is needed (0.1 % of the training data)",
            f"with {at} pictures, the interval of mean fidelity over trojaned networks lies at or above "
            f"{LEAST_FIDELITY}",
            claims,
            pd.DataFrame(lines),
            [
                Drawing(
                    "data",
                    "Fidelity over clean pictures",
                    "Mean over trojaned networks with its 95 % interval. Where a method failed, the network is as it "
                    "was shipped.",
                    lambda: over_sizes(rows, at),
                )
            ],
        )
    ]
