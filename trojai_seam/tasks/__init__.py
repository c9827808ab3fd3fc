"""What a network does: how it is called, its loss, its random targets, and what its answers are worth."""

from .details import BoxDetails as BoxDetails
from .details import SpanDetails as SpanDetails
from .details import TokenDetails as TokenDetails
from .examples import NOT_COUNTED as NOT_COUNTED
from .examples import UNKNOWN as UNKNOWN
from .examples import ExampleSet as ExampleSet
from .marks import AttackMarks as AttackMarks
from .marks import CleanMarks as CleanMarks
from .marks import Marks as Marks
from .marks import Measure as Measure
from .subject import Subject as Subject
from .task import Task as Task
from .task import get_task as get_task
