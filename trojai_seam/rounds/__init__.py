"""From a dataset folder to subjects: find model directories, read configs and labels, make example tensors."""

from .catalogue import detect_round as detect_round
from .catalogue import get_round as get_round
from .catalogue import list_rounds as list_rounds
from .config import RoundConfig as RoundConfig
from .discovery import discover as discover
from .discovery import model_directory as model_directory
from .model_directory import ModelDirectory as ModelDirectory
from .own_rounds import detect_models as detect_models
from .own_rounds import find_models as find_models
from .own_rounds import is_own_round as is_own_round
from .own_rounds import locate as locate
from .own_rounds import one_model as one_model
from .own_rounds import own_round as own_round
from .own_rounds import read_own_round as read_own_round
from .own_rounds import round_beside as round_beside
from .own_rounds import with_network as with_network
from .own_rounds import with_settings as with_settings
