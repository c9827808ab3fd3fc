"""How ``torch._utils`` rebuilds tensors, computed on inert nodes, with every bound checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from .nodes import ITEM_SIZES, DictNode, Global, Inert, Objection, StorageRef, TensorRef

#: Storage class name -> dtype. ``torch.cuda`` has the same names.
_STORAGES: Final = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8", "_UntypedStorage": "uint8",
}  # fmt: skip
_STORAGE_MODULES: Final = ("torch", "torch.cuda", "torch.storage")
_LARGEST: Final = 2**62
_DIMENSIONS: Final = 32


def is_count(value: Inert) -> bool:
    """A non-negative ``int`` that fits a signed 64-bit number (``True`` is not one)."""
    return type(value) is int and 0 <= value < _LARGEST


def storage_kind(cls: Inert) -> tuple[str, bool]:
    """``(dtype, untyped)`` of a storage class.

    Raises:
        Objection: not a storage class, or one that is not supported.
    """
    if isinstance(cls, Global) and cls.module in _STORAGE_MODULES:
        dtype = _STORAGES.get(cls.name)
        if dtype is not None:
            return dtype, "Untyped" in cls.name
        if cls.name.startswith("Q"):
            raise Objection("holds quantised tensors, which are not supported; dequantise the model before saving it")
    raise Objection(f"a storage of type {cls.path}" if isinstance(cls, Global) else "a storage without a class")


def _counts(value: Inert, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple):
        raise Objection(f"a tensor whose {what} is not a tuple")
    if len(value) > _DIMENSIONS:
        raise Objection(f"a tensor with more than {_DIMENSIONS} dimensions")
    counts = tuple(item for item in value if type(item) is int and 0 <= item < _LARGEST)
    if len(counts) != len(value):
        raise Objection(f"a tensor whose {what} holds something else than numbers from 0 to 2**62")
    return counts


def _tensor(storage: Inert, offset: Inert, size: Inert, stride: Inert, grad: Inert, dtype: str | None) -> TensorRef:
    if not isinstance(storage, StorageRef):
        raise Objection("a tensor without a storage")
    if type(offset) is not int or not 0 <= offset < _LARGEST:
        raise Objection("a tensor whose offset is not a number from 0 to 2**62")
    extents, steps = _counts(size, "size"), _counts(stride, "stride")
    if len(extents) != len(steps):
        raise Objection("a tensor whose size and stride differ in length")
    if math.prod(max(extent, 1) for extent in extents) >= _LARGEST:
        raise Objection("a tensor whose size overflows")
    tensor = TensorRef(storage, offset, extents, steps, grad is True, dtype=dtype)
    last = offset + sum((n - 1) * step for n, step in zip(extents, steps, strict=True))
    room = storage.nbytes // ITEM_SIZES[tensor.dtype]
    if all(extents) and last >= room:
        raise Objection(f"a tensor that reaches to element {last} of a storage of {room}")
    return tensor


def _plain(metadata: Inert) -> None:
    if metadata is not None and not (isinstance(metadata, DictNode) and not metadata.pairs):
        raise Objection("holds a tensor with a conjugate or negative bit; call resolve_conj() before saving")


def _rebuild_tensor(args: tuple[Inert, ...]) -> Inert:
    if len(args) != 4:
        raise Objection("_rebuild_tensor with a wrong number of arguments")
    storage, offset, size, stride = args
    return _tensor(storage, offset, size, stride, False, None)


def _rebuild_tensor_v2(args: tuple[Inert, ...]) -> Inert:
    if len(args) not in (6, 7):
        raise Objection("_rebuild_tensor_v2 with a wrong number of arguments")
    _plain(args[6] if len(args) == 7 else None)
    storage, offset, size, stride, grad = args[:5]
    return _tensor(storage, offset, size, stride, grad, None)


def _rebuild_tensor_v3(args: tuple[Inert, ...]) -> Inert:
    if len(args) not in (7, 8):
        raise Objection("_rebuild_tensor_v3 with a wrong number of arguments")
    _plain(args[7] if len(args) == 8 else None)
    storage, offset, size, stride, grad, _, dtype = args[:7]
    if not isinstance(storage, StorageRef) or not storage.untyped:
        raise Objection("a tensor of a new dtype without an untyped storage")
    # A bool byte must be 0 or 1, which is seen to where the storage itself says that it holds bools.
    if not isinstance(dtype, Global) or dtype.module != "torch" or dtype.name not in ITEM_SIZES.keys() - {"bool"}:
        raise Objection("a tensor of an unknown dtype")
    return _tensor(storage, offset, size, stride, grad, dtype.name)


def _rebuild_parameter(args: tuple[Inert, ...]) -> Inert:
    if len(args) not in (3, 4) or not isinstance(args[0], TensorRef):
        raise Objection("a parameter that is not made from a tensor")
    data = args[0]
    return TensorRef(data.storage, data.offset, data.size, data.stride, args[1] is True, True, data.dtype)


#: The calls that make tensors.
TENSOR_CALLS: Final[dict[str, Callable[[tuple[Inert, ...]], Inert]]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}


def rebuild_from_type(args: tuple[Inert, ...]) -> Inert:
    """A tensor that carries Python attributes, which are dropped."""
    if len(args) != 4 or not isinstance(args[0], Global) or not isinstance(args[1], Global):
        raise Objection("_rebuild_from_type_v2 with wrong arguments")
    func, cls, inner = args[0], args[1], args[2]
    rebuild = TENSOR_CALLS.get(func.path)
    if rebuild is None or not isinstance(inner, tuple):
        raise Objection(f"calls {func.path}, which is not part of rebuilding tensors; nothing was run")
    if cls.path not in ("torch.Tensor", "torch._tensor.Tensor", "torch.nn.parameter.Parameter"):
        raise Objection(f"holds a tensor of the class {cls.path}, which is not supported")
    return rebuild(inner)
