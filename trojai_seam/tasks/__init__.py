"""What a network does: how it is called, its loss, its random targets, and what its answers are worth.

Importing this package never imports torch; examples and tasks do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import lazy_names
from .marks import AttackMarks as AttackMarks
from .marks import CleanMarks as CleanMarks
from .marks import Marks as Marks
from .marks import Measure as Measure
from .task import Task as Task
from .task import get_task as get_task

if TYPE_CHECKING:
    from .details import BoxDetails as BoxDetails
    from .details import SpanDetails as SpanDetails
    from .details import TokenDetails as TokenDetails
    from .examples import NOT_COUNTED as NOT_COUNTED
    from .examples import UNKNOWN as UNKNOWN
    from .examples import ExampleSet as ExampleSet
    from .subject import Subject as Subject

__getattr__ = lazy_names(
    __name__,
    {
        ".details": ["BoxDetails", "SpanDetails", "TokenDetails"],
        ".examples": ["NOT_COUNTED", "UNKNOWN", "ExampleSet"],
        ".subject": ["Subject"],
    },
)
