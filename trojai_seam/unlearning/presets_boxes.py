"""Our own settings for detectors. ``docs/presets.md`` says what is measured behind them, and what is not.

Detectors are fine-tuned gently or break: rates of a tenth of those for classifiers, gradients cut to a length (a batch
with no object and one with ten differ by orders of magnitude), normalisation statistics left as they are, as detectors
are trained everywhere. Views are relit, recoloured and patched, but not moved.
"""

from __future__ import annotations

from dataclasses import replace

from .config import ForgetConfig, PhaseConfig, StopRule, UnlearnConfig

_DETECTION = UnlearnConfig(
    preset="detection",
    batch_size=4,
    batch_norm="frozen-stats",
    augmentation=0.5,
    recolouring=0.5,
    patches=0.5,
    forget=ForgetConfig(
        max_epochs=30,
        learning_rate=1e-4,
        weight_decay=5e-4,
        draws_per_epoch=40,
        longest_gradient=1.0,
        stop=StopRule(chance_margin=0.2),
    ),
    recover=PhaseConfig(
        max_epochs=10, learning_rate=2e-4, schedule="one-cycle", draws_per_epoch=40, longest_gradient=1.0
    ),
)
DETECTION_PRESETS = (_DETECTION, replace(_DETECTION, preset="detection-finetune", forget=ForgetConfig(max_epochs=0)))
