"""What is inside a file, for people: ``trojai-seam inspect``. Never imports torch."""

from __future__ import annotations

from collections import Counter
from os import PathLike
from typing import Any

from ..errors import listed, shown
from .budget import Budget
from .names import is_stdlib
from .nodes import Call, DictNode, Inert, SetNode, TensorRef
from .state import SavedModel, read_model


def describe(
    saved: SavedModel | str | PathLike[str], budget: Budget | None = None, tensors: bool = True
) -> dict[str, Any]:
    """JSON-safe facts about a model file. Sizes are in bytes; ``parameters`` counts elements.

    With ``tensors`` the table of all tensors (name, dtype, shape, whether a parameter) is included.

    Raises:
        RefusedArchive: as for :func:`read_model`, or the file changed or vanished since it was read.
    """
    model = saved if isinstance(saved, SavedModel) else read_model(saved, budget)
    refs = model.tensors
    # A state dict does not say which tensors are parameters, so there this counts all floating-point elements.
    if model.kind == "module":
        trained = [ref for ref in refs.values() if ref.is_parameter]
    else:
        trained = [ref for ref in refs.values() if ref.dtype.startswith(("float", "bfloat", "complex"))]
    unique = {(ref.storage.key, ref.offset, ref.size, ref.stride): ref for ref in trained}
    dtypes = Counter(ref.dtype for ref in refs.values())
    classes = Counter(node.class_path for node in model.modules.values())
    facts: dict[str, Any] = {
        "path": str(model.path),
        "file_bytes": model.file_bytes,
        "sha256": model.sha256(),
        "format": model.format,
        "kind": model.kind,
        "class_path": model.class_path,
        "content": _content(model),
        "entry": model.entry,
        "entries": list(model.entries),
        "parameters": sum(ref.numel for ref in unique.values()),
        "tensor_count": len(refs),
        "tensor_bytes": sum(ref.nbytes for ref in refs.values()),
        "dtypes": dict(sorted(dtypes.items())),
        "module_count": len(model.modules),
        "module_classes": dict(sorted(classes.items())),
        "globals": [path for path in model.globals if not is_stdlib(path)],
    }
    if tensors:
        facts["tensors"] = [
            {"name": name, "dtype": ref.dtype, "shape": list(ref.size), "parameter": ref.is_parameter}
            for name, ref in refs.items()
        ]
    return facts


def render(description: dict[str, Any], tensors: bool = False) -> str:
    """``description`` as plain text without control characters; ``tensors`` adds one line per tensor."""
    facts = description
    lines = [
        f"file        {shown(facts['path'], 400)}",
        f"            {facts['file_bytes']:,} bytes, {facts['format']} format, sha256 {facts['sha256']}",
        f"content     {shown(facts['content'])}",
    ]
    if facts["tensor_count"]:
        dtypes = ", ".join(f"{count} {dtype}" for dtype, count in facts["dtypes"].items())
        lines.append(f"parameters  {facts['parameters']:,}")
        lines.append(f"tensors     {facts['tensor_count']:,} ({dtypes}), {facts['tensor_bytes']:,} bytes")
    if facts["module_classes"]:
        lines.append(f"modules     {facts['module_count']:,}")
        common = sorted(facts["module_classes"].items(), key=lambda item: (-item[1], item[0]))
        lines += [f"  {count:>7,}  {shown(path)}" for path, count in common]
    others = [path for path in facts["globals"] if path not in facts["module_classes"]]
    if others:
        lines.append("also named  (nothing of this was imported or run)")
        lines += [f"            {shown(path)}" for path in others]
    if tensors:
        lines.append("state dict")
        for row in facts.get("tensors", ()):
            lines.append(f"  {shown(row['name'], 200)}  {row['dtype']}  {'x'.join(map(str, row['shape'])) or 'scalar'}")
    return "\n".join(lines) + "\n"


def _content(model: SavedModel) -> str:
    others = [name for name in model.entries if name != model.entry]
    also = f" (others: {listed(map(repr, others))})" if others else ""
    where = "" if model.entry is None else f", under {shown(repr(model.entry), 80)} of a checkpoint{also}"
    if model.kind == "module":
        return f"a network of class {model.class_path}{where}"
    if model.kind == "state-dict":
        return f"a state dict: tensors without a network class{where}"
    if model.obstacle is not None:
        return model.obstacle
    if model.class_path is not None:
        return f"an object of class {model.class_path}, not a network"
    return f"{_kind_of(model.content)}, not a network"


def _kind_of(node: Inert) -> str:
    if isinstance(node, TensorRef):
        return "one tensor"
    if isinstance(node, Call):
        return f"the result of {node.func.path}"
    if isinstance(node, DictNode):
        return f"a dict of {len(node)} entries"
    if isinstance(node, (list, tuple)):
        return f"a {type(node).__name__} of {len(node)} values"
    if isinstance(node, SetNode):
        return f"a set of {len(node.items)} values"
    return f"a value of type {type(node).__name__}"
