"""From a dataset folder to subjects: find model directories, read configs and labels, make example tensors."""

from .catalogue import detect_round as detect_round
from .catalogue import get_round as get_round
from .catalogue import list_rounds as list_rounds
from .config import RoundConfig as RoundConfig
from .discovery import discover as discover
from .discovery import model_directory as model_directory
from .model_directory import ModelDirectory as ModelDirectory
