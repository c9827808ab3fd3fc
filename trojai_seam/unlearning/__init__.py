"""SEAM and its relatives: from a network and its fit examples to an unlearned network and a trace.

This room knows nothing of rounds, files or command lines. A new unlearning method is one file here, registered in
``methods.py``.
"""

from .config import ForgetConfig as ForgetConfig
from .config import PhaseConfig as PhaseConfig
from .config import StopRule as StopRule
from .config import UnlearnConfig as UnlearnConfig
from .presets import DEFAULT_PRESET as DEFAULT_PRESET
from .presets import PRESETS as PRESETS
from .presets import resolve as resolve
