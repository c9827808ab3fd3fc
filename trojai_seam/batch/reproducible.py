"""Process-wide settings of torch that make a rerun give the same numbers, undone afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.deterministic

_memory: Any = torch.utils.deterministic
_WARN = 1
"""torch's deterministic debug mode in which kernels are deterministic, and say so where they cannot be."""


@contextmanager
def reproducible(threads: int | None = None) -> Iterator[None]:
    """Deterministic kernels, no TF32, no autocast, ``threads`` CPU threads (as they are when unset).

    The caller's settings are back when the block ends: a library must not change its user's process.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS needs it to be deterministic
    # A kernel that is deterministic reads no memory that it did not write: to fill it all the same only finds bugs.
    filled, _memory.fill_uninitialized_memory = _memory.fill_uninitialized_memory, False
    before = (
        torch.get_num_threads(),
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.benchmark,
        torch.get_deterministic_debug_mode(),
    )
    try:
        _apply(before[0] if threads is None else threads, False, False, False, _WARN)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        _apply(*before)
        _memory.fill_uninitialized_memory = filled


def _apply(threads: int, matmul: bool, convolution: bool, benchmark: bool, exact: int) -> None:
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = convolution
    torch.backends.cudnn.benchmark = benchmark
    # use_deterministic_algorithms sets the same, but first imports torch's compiler, which takes a second.
    torch.set_deterministic_debug_mode(exact)
