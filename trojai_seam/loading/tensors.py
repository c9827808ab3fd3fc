"""From tensor references to real tensors, reading every byte once. The only place in ``loading`` that needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import RefusedArchive
from .archive import Contents
from .budget import Budget
from .model_file import ModelFile
from .nodes import TensorRef

if TYPE_CHECKING:
    import torch


def check_size(contents: Contents, refs: Mapping[str, TensorRef], budget: Budget) -> None:
    """Refuse tensors whose contiguous copies together, or whose storages together, exceed ``budget.tensor_bytes``.

    A tensor of one element costs its whole storage while it is read, and a sparse file holds endless storage for free.

    Raises:
        RefusedArchive: they do.
    """
    storages = {ref.storage.key: ref.storage.nbytes for ref in refs.values()}
    total = max(sum(ref.nbytes for ref in refs.values()), sum(storages.values()))
    if total > budget.tensor_bytes:
        amount = f"{total / 2**30:.1f} GiB" if total < 2**62 else "an absurd amount"
        problem = f"tensors of {amount} exceed the budget, tensor_bytes={budget.tensor_bytes}"
        raise RefusedArchive(contents.path, problem)


def materialise(contents: Contents, refs: Mapping[str, TensorRef], device: str = "cpu") -> dict[str, torch.Tensor]:
    """Fresh, contiguous, writable tensors, none of which shares memory with another, in the order of ``refs``.

    The bytes of a storage are read once, straight into memory, and its checksum is compared on the way; so are all that
    were never compared. A tensor that spans its storage is that memory; others are taken out of it. Booleans become 0
    or 1 whatever the file holds.

    Raises:
        RefusedArchive: not enough memory, a damaged storage, or the file is not what it was.
    """
    import torch

    users: dict[str, list[str]] = {}
    for name, ref in refs.items():
        users.setdefault(ref.storage.key, []).append(name)
    made: dict[str, torch.Tensor] = {}
    try:
        with contents.open() as file:
            # As they lie in the file, so that a disk reads ahead.
            for key in sorted(users, key=lambda key: contents.storages[key].start):
                made |= _from_storage(contents, file, {name: refs[name] for name in users[key]}, device)
            contents.check_rest(file)
    except (MemoryError, torch.cuda.OutOfMemoryError):
        raise RefusedArchive(contents.path, "not enough memory for its tensors") from None
    except RuntimeError as problem:
        if "alloc" not in str(problem):
            raise
        raise RefusedArchive(contents.path, "not enough memory for its tensors") from None
    return {name: made[name] for name in refs}


def _from_storage(
    contents: Contents, file: ModelFile, refs: Mapping[str, TensorRef], device: str
) -> dict[str, torch.Tensor]:
    """Tensors of one storage."""
    import torch

    storage = next(iter(refs.values())).storage
    owner = next((name for name, ref in refs.items() if _spans(ref)), None)
    if owner is None:
        flat = torch.empty(storage.nbytes, dtype=torch.uint8)
        whole = None
    else:
        whole = torch.empty(refs[owner].size, dtype=getattr(torch, refs[owner].dtype))
        flat = whole.view(-1).view(torch.uint8)
    record = contents.storages[storage.key]
    file.read_record(record, flat.numpy().data)
    contents.unchecked.discard(record)
    if storage.dtype == "bool":
        flat.view(torch.bool).copy_(flat != 0)
    made: dict[str, torch.Tensor] = {}
    for name, ref in refs.items():
        dtype = getattr(torch, ref.dtype)
        if name == owner and whole is not None:
            made[name] = whole.to(device)
        elif ref.numel == 0:
            made[name] = torch.empty(ref.size, dtype=dtype, device=device)
        else:
            # An untyped storage may be longer than a multiple of the item size.
            usable = flat[: flat.numel() // dtype.itemsize * dtype.itemsize].view(dtype)
            view = usable.as_strided(ref.size, ref.stride, ref.offset)
            made[name] = torch.empty(ref.size, dtype=dtype, device=device).copy_(view)
    return made


def _spans(ref: TensorRef) -> bool:
    """Whether ``ref`` is its whole storage, in order."""
    if ref.offset or ref.numel == 0 or ref.nbytes != ref.storage.nbytes:
        return False
    step = 1
    for extent, stride in zip(reversed(ref.size), reversed(ref.stride), strict=True):
        if extent != 1 and stride != step:
            return False
        step *= extent
    return True
