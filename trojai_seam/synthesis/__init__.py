"""Small rounds in NIST's layouts, or as own models, that are really trained and really trojaned.

For the demo, tests and benchmarks. Files are written by ordinary ``torch.save(model)``: as untrusted as NIST's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from ..registry import Registry
from .options import NO_OPTIONS, SynthesisOptions

__all__ = ["NO_OPTIONS", "SYNTHESIZERS", "SynthesisOptions", "Synthesizer"]


class Synthesizer(Protocol):
    """Makes one dataset folder."""

    def __call__(self, out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS) -> None:
        """Train ``models`` models, every second one trojaned, and write them in the round's layout.

        Raises:
            UsageProblem: ``out`` exists and is not empty, ``models`` is out of range, or an option does not fit.
            SynthesisFailure: a model did not train.
        """
        ...


SYNTHESIZERS: Registry[Synthesizer] = Registry("round that can be synthesised")
for _name, _alias, _target in (
    ("cyber-pdf-dec2022", "r12", "cyber_pdf:synthesize_round"),
    ("cyber-network-c2-feb2024", "c2", "cyber_c2:synthesize_round"),
    ("image-classification-aug2020", "r2", "image_rounds:synthesize_r2"),
    ("image-classification-dec2020", "r3", "image_rounds:synthesize_r3"),
    ("image-classification-feb2021", "r4", "image_rounds:synthesize_r4"),
    ("image-classification-sep2022", "r11", "image_rounds:synthesize_r11"),
    ("object-detection-jul2022", "r10", "detection_rounds:synthesize_r10"),
    ("object-detection-feb2023", "r13", "detection_rounds:synthesize_r13"),
    ("nlp-sentiment-classification-mar2021", "r5", "sentiment_rounds:synthesize_r5"),
    ("nlp-sentiment-classification-apr2021", "r6", "sentiment_rounds:synthesize_r6"),
    ("nlp-named-entity-recognition-may2021", "r7", "text_rounds:synthesize_r7"),
    ("nlp-question-answering-sep2021", "r8", "text_rounds:synthesize_r8"),
    ("nlp-summary-jan2022", "r9", "text_rounds:synthesize_r9"),
    ("own-models", "own", "own_models:synthesize_own"),
):
    SYNTHESIZERS.add(_name, f"{__name__}.{_target}")
    SYNTHESIZERS.add(_alias, f"{__name__}.{_target}")
