"""What unlearning did, in numbers: splits, ACC, ASR, RA, fidelity, and how sure we are.

Importing this package never imports torch; asking for predictions does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import lazy_names
from .intervals import Rate as Rate
from .intervals import wilson as wilson
from .splits import PROTOCOLS as PROTOCOLS
from .splits import FitLimit as FitLimit
from .splits import Split as Split
from .splits import SplitPlan as SplitPlan
from .splits import plan_splits as plan_splits

if TYPE_CHECKING:
    from .predictions import AttackPredictions as AttackPredictions
    from .predictions import Predictions as Predictions
    from .predictions import predict as predict
    from .predictions import predict_attacks as predict_attacks
    from .score import FoldPredictions as FoldPredictions

__getattr__ = lazy_names(
    __name__,
    {
        ".predictions": ["AttackPredictions", "Predictions", "predict", "predict_attacks"],
        ".score": ["FoldPredictions"],
    },
)
