"""Whether a value in a file and a live one are the same: numbers, texts, tuples, functions, classes, partials, enums.

The live value leads: it is finite and ours, so what a file shares 2**60 times is looked at only as often as ours has
parts. Nothing of the file is looked up or imported; functions and classes are compared by their dotted names.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from ..errors import listed, shown
from ..loading.nodes import Call, DictNode, Global, Inert, Instance, SetNode, TensorRef
from .class_names import of_class, today

#: A float that was computed in another order may differ in its last digits, and outputs with it by as much.
_CLOSE: Final = 1e-7
_NUMBERS: Final = (bool, int, float)

Objects = Callable[[Instance, Any], bool]

_POINTWISE: Final = {
    **{f"torch.nn.functional.{name}": name for name in ("gelu", "relu", "silu")},
    **{f"torch._C._nn.{name}": name for name in ("gelu", "silu")},
    **{f"torch.{name}": name for name in ("relu", "tanh", "sigmoid")},
    **{f"torch._C._VariableFunctions.{name}": name for name in ("relu", "tanh", "sigmoid")},
    **{f"torch.nn.functional.{name}": name for name in ("tanh", "sigmoid", "mish", "relu6")},
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.ReLU6": "relu6",
    "torch.nn.modules.activation.SiLU": "swish",  # "silu" became a class of transformers' own
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
#: The activation functions of transformers, as pickled over the years → today's name there.
ACTIVATIONS: Final = {
    **_POINTWISE,
    **{
        f"transformers.activations.{pickled}": name
        for pickled, name in {
            "gelu": "gelu", "_gelu_python": "gelu", "gelu_python": "gelu", "GELUActivation": "gelu",
            "gelu_new": "gelu_new", "NewGELUActivation": "gelu_new",
            "gelu_fast": "gelu_fast", "FastGELUActivation": "gelu_fast",
            "quick_gelu": "quick_gelu", "QuickGELUActivation": "quick_gelu",
            "PytorchGELUTanh": "gelu_pytorch_tanh", "GELUTanh": "gelu_pytorch_tanh",
            "silu": "silu", "swish": "silu", "_silu_python": "silu", "SiLUActivation": "silu",
            "mish": "mish", "_mish_python": "mish", "MishActivation": "mish",
            "linear_act": "linear", "LinearActivation": "linear",
        }.items()
    },
}  # fmt: skip
#: Of names above that mean one function.
_ONE: Final = {"swish": "silu"}


def function_name(path: str) -> str:
    """What a function, or a module that is one, is called whatever library and version it comes from."""
    name = ACTIVATIONS.get(path)
    return today(path) if name is None else _ONE.get(name, name)


def dotted(value: object) -> str:
    """``module.name`` of a live function or class."""
    module = getattr(value, "__module__", None) or "torch"
    return f"{module}.{getattr(value, '__qualname__', getattr(value, '__name__', ''))}"


def agree(theirs: Inert, ours: Any, objects: Objects) -> bool:
    """Whether the inert value ``theirs`` stands for ``ours``; ``objects`` decides about instances of other classes."""
    if theirs is ours:
        return True
    if isinstance(ours, enum.Enum):
        return agree(_of_enum(theirs), ours.value, objects)
    if isinstance(theirs, _NUMBERS) and isinstance(ours, _NUMBERS):
        return _same_number(theirs, ours)
    if isinstance(ours, str):
        return _of_enum(theirs) == ours if isinstance(theirs, (str, Call)) else False
    if isinstance(ours, Mapping):
        return _same_mapping(theirs, ours, objects)
    if isinstance(ours, AbstractSet):
        return isinstance(theirs, SetNode) and _same_set(theirs, ours)
    if isinstance(ours, Sequence):
        return _same_sequence(theirs, ours, objects)
    if isinstance(theirs, (tuple, list)) and isinstance(ours, _NUMBERS):  # one number stands for all dimensions
        return len(theirs) > 0 and all(agree(value, ours, objects) for value in theirs[:16]) and len(theirs) <= 16
    if isinstance(ours, functools.partial):
        return _same_partial(theirs, ours, objects)
    if isinstance(theirs, Global):
        return callable(ours) and function_name(theirs.path) == function_name(dotted(ours)) or _is_dtype(theirs, ours)
    if isinstance(theirs, Instance):
        return objects(theirs, ours)
    return False


def _of_enum(theirs: Inert) -> Inert:
    """The value of an enum member, which is pickled as a call of its class."""
    return theirs.args[0] if isinstance(theirs, Call) and len(theirs.args) == 1 else theirs


def _same_number(theirs: float, ours: float) -> bool:
    if isinstance(theirs, float) or isinstance(ours, float):
        try:
            return math.isclose(theirs, ours, rel_tol=_CLOSE)
        except OverflowError:
            return False
    return theirs == ours


def _same_sequence(theirs: Inert, ours: Sequence[Any], objects: Objects) -> bool:
    if isinstance(theirs, _NUMBERS):
        return len(ours) > 0 and all(agree(theirs, value, objects) for value in ours)
    if not isinstance(theirs, (tuple, list)) or len(theirs) != len(ours):
        return False
    return all(agree(a, b, objects) for a, b in zip(theirs, ours, strict=True))


def _same_mapping(theirs: Inert, ours: Mapping[Any, Any], objects: Objects) -> bool:
    if not isinstance(theirs, DictNode) or len(theirs.pairs) > 2 * len(ours) + 8:
        return False
    held = {key: value for key, value in theirs.pairs if isinstance(key, (str, int))}
    if len(held) != len(ours) or held.keys() != ours.keys():
        return False
    return all(agree(held[key], value, objects) for key, value in ours.items())


def _same_set(theirs: SetNode, ours: AbstractSet[Any]) -> bool:
    held = {item for item in theirs.items if isinstance(item, (str, int))}
    return len(theirs.items) == len(ours) and held == ours


def _same_partial(theirs: Inert, ours: functools.partial[Any], objects: Objects) -> bool:
    if not isinstance(theirs, Call) or theirs.func.path != "functools.partial" or not isinstance(theirs.state, tuple):
        return False
    if len(theirs.state) < 3:
        return False
    function, arguments, keywords = theirs.state[:3]
    return (
        agree(function, ours.func, objects)
        and agree(arguments, ours.args, objects)
        and (agree(keywords, ours.keywords, objects) or (keywords is None and not ours.keywords))
    )


def _is_dtype(theirs: Global, ours: object) -> bool:
    return theirs.module == "torch" and str(ours) == theirs.path


def holds_tensors(theirs: Inert) -> bool:
    """Whether ``theirs`` is a tensor, or a list of tensors."""
    if isinstance(theirs, (list, tuple)):
        return len(theirs) > 0 and all(isinstance(item, TensorRef) for item in theirs)
    return isinstance(theirs, TensorRef)


def same_object_class(theirs: Instance, ours: object) -> bool:
    """Whether an instance in the file is of the class of ``ours``."""
    return today(theirs.cls.path) == of_class(type(ours))


def text(value: object) -> str:
    """Shown in a message. Only flat values: a hostile list can be shared 2**60 times."""
    if isinstance(value, (tuple, list)):
        return f"({listed(text(v) if not isinstance(v, (tuple, list)) else '…' for v in value[:9])})"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge integer"
    if isinstance(value, (str, int, float, type(None))):
        return shown(value, 40)
    if isinstance(value, (Global, Instance)):
        return shown(value.path if isinstance(value, Global) else f"a {value.cls.path}", 80)
    return dotted(value) if callable(value) else f"a {type(value).__name__}"
