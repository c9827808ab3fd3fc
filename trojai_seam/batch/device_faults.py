"""What went wrong with memory or the device, told by the error."""

from __future__ import annotations

import gc

import torch


def out_of_memory(problem: Exception) -> bool:
    """Whether ``problem`` is a lack of memory, on the device or off it."""
    if isinstance(problem, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem)  # torch's words on a CPU


def of_cuda(problem: Exception) -> bool:
    """Whether the CUDA context of this process can no longer be trusted."""
    words = ("CUDA error", "CUBLAS_STATUS", "CUDNN_STATUS", "cuFFT error", "CUSOLVER_STATUS")
    return isinstance(problem, RuntimeError) and any(word in str(problem) for word in words)


def free_cached_memory() -> None:
    """Give device memory that is only kept for later back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
