"""Seven kinds of trojan, by poisoned data and by manipulated training, and several methods against each."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ..unlearning import resolve
from .bench import FLEET, Bench
from .charts import by_kind
from .storage import Row, Unit
from .verdicts import Claim, Drawing, Finding, mean_of

SIZES = FLEET
SEAM = ("authors-trojai", "images-refit")
OTHERS = ("images-finetune", "fine-pruning", "nad", "i-bau", "ft-sam")
PRESETS = (*SEAM, *OTHERS)


def units(bench: Bench) -> Iterator[Unit]:
    """One per trojaned network and preset; all have the same clean pictures, 0.1 % of the training data."""
    return bench.preset_units(_measure, PRESETS)


def _measure(bench: Bench, network: str, kind: str, preset: str) -> list[Row]:
    subject = bench.subject(network, kind)
    fit = bench.fit(bench.published_share, subject.name)
    return [bench.unlearned(subject, preset, resolve(preset), fit, preset)]


LEAST_FIDELITY, VASTLY = 0.8, 0.1


def findings(rows: pd.DataFrame, bench: Bench) -> list[Finding]:
    """Of the statements on both ways to make trojans, and on other methods."""
    claims, lines = [], []
    for preset in SEAM:
        for family, part in rows[rows["preset"] == preset].groupby("family", sort=False):
            estimate = mean_of(part["fidelity"])
            claims.append(Claim(f"{family} with {preset}", "fidelity", estimate, LEAST_FIDELITY))
    for (kind, method), part in rows.groupby(["kind", "preset"], sort=False):
        lines.append(
            {
                "attack": kind,
                "family": part["family"].iloc[0],
                "preset": method,
                "networks": str(len(part)),
                "ACC": f"{part['acc_before'].mean():.3f} → {part['acc_after'].mean():.3f}",
                "ASR": f"{part['asr_before'].mean():.3f} → {part['asr_after'].mean():.3f}",
                "fidelity": f"{part['fidelity'].mean():.3f}",
                "failed": str(int(part["error"].notna().sum())),
            }
        )
    against, overall = _against(rows)
    return [
        Finding(
            "SEAM removes trojans of both poisoned data and manipulated training",
            f"the interval of mean fidelity over the networks of a family lies at or above {LEAST_FIDELITY}",
            claims,
            pd.DataFrame(lines),
            [
                Drawing(
                    "attacks",
                    "Fidelity by attack",
                    "Mean over networks; all methods had the same clean pictures, 0.1 % of the training data.",
                    lambda: by_kind(rows, PRESETS),
                )
            ],
        ),
        Finding(
            "SEAM vastly outperforms other unlearning methods",
            f"the interval of the mean paired difference of fidelity lies at or above {VASTLY}",
            against,
            pd.DataFrame(overall),
            [],
        ),
    ]


def _against(rows: pd.DataFrame) -> tuple[list[Claim], list[dict[str, str]]]:
    """Every SEAM against every other method, paired by network."""
    wide = rows.pivot_table(index=["seed", "model"], columns="preset", values="fidelity", sort=False)
    claims, lines = [], []
    for preset in [name for name in PRESETS if name in wide]:
        part = rows[rows["preset"] == preset]
        line = {
            "preset": preset,
            "networks": str(len(part)),
            "ACC": str(mean_of(part["acc_after"])),
            "ASR": str(mean_of(part["asr_after"])),
            "fidelity": str(mean_of(part["fidelity"])),
            "seconds": f"{part['seconds'].mean():.2f}",
        }
        for seam in (name for name in SEAM if name in wide):
            difference = mean_of(wide[seam] - wide[preset])
            if preset in OTHERS:
                claims.append(Claim(f"{seam} against {preset}", "difference of fidelity", difference, VASTLY))
            line[f"{seam} less this"] = "-" if seam == preset else str(difference)
        lines.append(line)
    return claims, lines
