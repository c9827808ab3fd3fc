"""SEAM and its relatives: from a network and its fit examples to an unlearned network and a trace.

A method is a list of phases. This room knows nothing of rounds, files of models or command lines. A new kind of phase
is one file in ``phases``, a new method one JSON in ``presets``; other packages can bring both.
"""

from .config import UnlearnConfig as UnlearnConfig
from .engine import run as run
from .preset_files import DEFAULT_PRESET as DEFAULT_PRESET
from .preset_files import Preset as Preset
from .preset_files import get_preset as get_preset
from .preset_files import preset_names as preset_names
from .preset_files import resolve as resolve
from .preset_files import resolve_each as resolve_each
