"""SEAM and its relatives: from a network and its fit examples to an unlearned network and a trace.

A method is a list of phases. This room knows nothing of rounds, files of models or command lines. A new kind of phase
is one file in ``phases``, a new method one JSON in ``presets``; other packages can bring both.

Importing this package never imports torch; :func:`run` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import lazy_names
from .config import UnlearnConfig as UnlearnConfig
from .preset_files import DEFAULT_PRESET as DEFAULT_PRESET
from .preset_files import Preset as Preset
from .preset_files import get_preset as get_preset
from .preset_files import preset_names as preset_names
from .preset_files import resolve as resolve
from .preset_files import resolve_each as resolve_each

if TYPE_CHECKING:
    from .engine import run as run

__getattr__ = lazy_names(__name__, {".engine": ["run"]})
