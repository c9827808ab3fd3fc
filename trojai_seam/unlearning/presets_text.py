"""Our own settings for text. ``docs/presets.md`` has the measurements behind them.

Where L2 decay is part of Adam's gradient (``adam``, as in the authors' script, not ``adamw``), weights that random
labels give no reason to keep go quickly; that, and forgetting for twenty epochs after the threshold is met, is what
removes triggers from sentiment and named entities; no setting that we tried removed them from question answering. The
recovery's one cycle brings back more than the authors' short one at a constant rate.
"""

from __future__ import annotations

from dataclasses import replace

from .config import ForgetConfig, PhaseConfig, StopRule, UnlearnConfig

WIDTH = 64
"""Of the transformers that the learning rates were chosen on: 2e-3 there is 1.7e-4 for the 768 features of BERT."""

_FORGET = ForgetConfig(
    max_epochs=100,
    learning_rate=2e-3,
    weight_decay=1e-3,
    stop=StopRule(chance_margin=0.2, patience=20),
)
_RECOVERY = PhaseConfig(max_epochs=25, learning_rate=1e-3, weight_decay=5e-4, schedule="one-cycle")

_TEXT = UnlearnConfig(
    preset="text", batch_size=16, feature_noise=0.3, rate_width=WIDTH, forget=_FORGET, recover=_RECOVERY
)
TEXT_PRESETS = (
    _TEXT,
    replace(_TEXT, preset="text-finetune", forget=ForgetConfig(max_epochs=0)),
    # A dozen records cannot teach a network anew where answers are: what it forgets of that is lost.
    replace(_TEXT, preset="text-spans", forget=replace(_FORGET, learning_rate=2e-4)),
    # Heads over frozen embeddings are trained from nothing by NIST: they bear the same rate at every width.
    replace(_TEXT, preset="text-embeddings", rate_width=None),
)
