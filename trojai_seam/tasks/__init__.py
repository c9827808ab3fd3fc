"""What a network does: how it is called, its loss, its random targets, and when an answer counts as correct."""

from .examples import ExampleSet as ExampleSet
from .subject import Subject as Subject
from .task import Task as Task
from .task import get_task as get_task
