"""What the few calls that a pickle may make *mean*, computed on inert nodes. No function of the file is ever called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .names import canonical, objection
from .nodes import Call, DictNode, Global, Inert, Instance, Objection, SetNode
from .numbers import numpy_scalar
from .rebuild import TENSOR_CALLS, rebuild_from_type

Spend = Callable[[int], None]


def _items(args: tuple[Inert, ...], spend: Spend) -> list[Inert]:
    if not args:
        return []
    source = args[0]
    if len(args) != 1 or not isinstance(source, (tuple, list, SetNode)):
        raise Objection("a container made from something that is not a list")
    items = source.items if isinstance(source, SetNode) else source
    spend(len(items))
    return list(items)


def _pairs(source: Inert, spend: Spend) -> list[tuple[Inert, Inert]]:
    if isinstance(source, DictNode):
        spend(len(source.pairs))
        return list(source.pairs)
    pairs: list[tuple[Inert, Inert]] = []
    for item in _items((source,), spend):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise Objection("a dict made from something that is not pairs")
        pairs.append((item[0], item[1]))
    return pairs


def _dict(path: str, args: tuple[Inert, ...], spend: Spend) -> Inert:
    if path == "collections.defaultdict":
        args = args[1:]
    if len(args) > 1:
        raise Objection(f"{path} with a wrong number of arguments")
    return DictNode(
        "OrderedDict" if path == "collections.OrderedDict" else "dict", _pairs(args[0], spend) if args else []
    )


def _encoded(args: tuple[Inert, ...], spend_text: Spend) -> bytes:
    if len(args) == 2 and isinstance(args[0], str) and args[1] in ("latin1", "latin-1"):
        spend_text(len(args[0]))
        try:
            return args[0].encode("latin-1")
        except UnicodeEncodeError:
            pass
    raise Objection("_codecs.encode of something that is not bytes in Latin-1")


def _bytes(args: tuple[Inert, ...], spend_text: Spend) -> bytes:
    if not args:
        return b""
    if len(args) == 1 and isinstance(args[0], bytes):
        return args[0]
    return _encoded(args, spend_text)


def _attribute(args: tuple[Inert, ...]) -> Inert:
    if len(args) == 2 and isinstance(args[0], Instance) and isinstance(args[1], str):
        # A method bound to an object, as a compiled network carries them. It stays two nodes.
        if args[0].cls.module.startswith("torch.") and objection("torch", args[1]) is None:
            return Call(Global("builtins", "getattr"), args)
    elif len(args) == 2 and isinstance(args[0], Global) and isinstance(args[1], str):
        owner, name = args[0], args[1]
        if owner.module == "torch" or owner.module.startswith("torch."):
            reason = objection(owner.path, name) or ("a dotted attribute" if "." in name else None)
            if reason is None:
                return Global(owner.path, name)
            raise Objection(reason)
    raise Objection("calls getattr on something that is not part of torch")


def _reconstructed(args: tuple[Inert, ...]) -> Inert:
    if len(args) == 3 and isinstance(args[0], Global) and isinstance(args[1], Global):
        return instance(args[0], ())
    raise Objection("copyreg._reconstructor without a class")


_SCALARS: Final = frozenset(f"numpy.{core}.multiarray.scalar" for core in ("core", "_core"))
#: A compiled network is pickled as a call of its class with the network inside.
_COMPILED: Final = "torch._dynamo.eval_frame.OptimizedModule"
#: Calls that become a :class:`Call` node, unread.
_KEPT: Final = frozenset(
    {
        "contextlib.nullcontext",  # a compiled network carries one
        "builtins.range", "builtins.slice", "collections.deque", "functools.partial",
        "pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.WindowsPath", "pathlib.PureWindowsPath",
        *(f"datetime.{name}" for name in ("date", "datetime", "time", "timedelta", "timezone")),
        "decimal.Decimal", "fractions.Fraction", "types.SimpleNamespace",
        "torch.device", "torch.nn.backends.thnn._get_thnn_function_backend", "torch.serialization._get_layout",
        "numpy.dtype",
        *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
        *_SCALARS,  # those that are no number
        *(f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")),
        # agents and training scripts keep their random generators
        *(f"numpy.random._pickle.__{name}_ctor" for name in ("generator", "bit_generator", "randomstate")),
        "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
        # enum members are pickled as a call of their class
        "timm.layers.format.Format",
        "torchvision.transforms.functional.InterpolationMode",
        *(f"transformers.{module}.{name}" for module in ("file_utils", "utils.generic")
          for name in ("PaddingStrategy", "TensorType")),
        "transformers.tokenization_utils_base.TruncationStrategy",
        *(f"transformers.{module}.BackboneType" for module in ("utils.backbone_utils", "backbone_utils")),
        "regex._regex.compile",  # slow byte-level tokenizers carry the pattern that splits words; it stays text
    }
)  # fmt: skip
_READ: Final[dict[str, Callable[[tuple[Inert, ...]], Inert]]] = {
    **TENSOR_CALLS,
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
    "builtins.getattr": _attribute,
    "copyreg._reconstructor": _reconstructed,
}
_DICTS: Final = frozenset(
    {"builtins.dict", "collections.OrderedDict", "collections.defaultdict", "collections.Counter"}
)
_UNSUPPORTED: Final = {
    "torch._utils._rebuild_qtensor": "quantised tensors",
    "torch._utils._rebuild_sparse_tensor": "sparse tensors",
    "torch._utils._rebuild_sparse_csr_tensor": "sparse tensors",
    "torch._utils._rebuild_nested_tensor": "nested tensors",
    "torch._utils._rebuild_meta_tensor_no_storage": "tensors without data (device meta)",
    "torch._utils._rebuild_device_tensor_from_numpy": "tensors of an XLA or MAIA device",
    "torch.jit._pickle.restore_type_tag": "TorchScript values",
}
_NOT_CLASSES: Final = (
    frozenset(_READ)
    | {"_codecs.encode", "torch.serialization._get_layout", "torch.nn.backends.thnn._get_thnn_function_backend"}
    | {path for path in _KEPT if path.startswith("numpy.") and path != "numpy.dtype"}
)
#: ``BUILD`` on the result of these calls keeps the state beside the call.
BUILDABLE_CALLS: Final = frozenset(
    path for path in _KEPT if path.startswith(("numpy.", "functools.", "types.SimpleNamespace"))
)


def call(func: Global, args: tuple[Inert, ...], spend: Spend, spend_text: Spend) -> Inert:
    """The inert meaning of ``func(*args)``; ``spend`` charges copied items, ``spend_text`` copied bytes.

    Raises:
        Objection: ``func`` is not one of the known harmless calls, or its arguments make no sense.
    """
    path = canonical(func.module, func.name)
    if path in _READ:
        return _READ[path](args)
    if path in _DICTS:
        return _dict(path, args, spend)
    if path in ("builtins.set", "builtins.frozenset"):
        return SetNode(_items(args, spend))
    if path == "builtins.list":
        return _items(args, spend)
    if path in ("builtins.tuple", "torch.Size"):
        return tuple(_items(args, spend))
    if path == "_codecs.encode":
        return _encoded(args, spend_text)
    if path in ("builtins.bytes", "builtins.bytearray"):
        return _bytes(args, spend_text)
    if path == "builtins.complex":
        if len(args) == 2 and isinstance(args[0], float) and isinstance(args[1], float):
            return complex(args[0], args[1])
        raise Objection("a complex number that is not made from two floats")
    if path in _SCALARS and (number := numpy_scalar(args)) is not None:
        return number
    if path == _COMPILED:
        return instance(func, args)
    if path in _KEPT:
        return Call(func, args)
    if path in _UNSUPPORTED:
        raise Objection(f"holds {_UNSUPPORTED[path]}, which are not supported")
    raise Objection(f"calls {func.path}, which is not part of rebuilding tensors; nothing was run")


def instance(cls: Inert, args: tuple[Inert, ...]) -> Instance:
    """The inert meaning of ``cls.__new__(cls, *args)``.

    Raises:
        Objection: ``cls`` is no class, or one of Python's own that models do not contain.
    """
    if not isinstance(cls, Global):
        raise Objection("makes an instance of something that is not a class")
    path = canonical(cls.module, cls.name)
    own = path.startswith(("builtins.", "collections.", "_codecs.", "copyreg.", "functools.", "pathlib."))
    if path in _NOT_CLASSES or path in _UNSUPPORTED or (own and path != "builtins.object"):
        raise Objection(f"makes an instance of {cls.path}, which is not a class of a model; nothing was run")
    return Instance(cls, args)
