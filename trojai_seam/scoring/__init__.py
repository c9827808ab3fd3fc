"""What unlearning did, in numbers: splits, ACC, ASR, RA, fidelity, and how sure we are."""

from .intervals import Rate as Rate
from .intervals import wilson as wilson
from .predictions import AttackPredictions as AttackPredictions
from .predictions import Predictions as Predictions
from .predictions import predict as predict
from .predictions import predict_attacks as predict_attacks
from .score import FoldPredictions as FoldPredictions
from .score import score as score
from .splits import PROTOCOLS as PROTOCOLS
from .splits import FitLimit as FitLimit
from .splits import Split as Split
from .splits import SplitPlan as SplitPlan
from .splits import plan_splits as plan_splits
