"""In which numbers training steps compute. Weights, optimizer, evaluation and scores are float32 whatever it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import EngineFailure

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class StepPrecision:
    """Autocast around the loss, and for float16, whose gradients would vanish, a scaled backward pass.

    Micikevicius et al., "Mixed Precision Training", ICLR 2018, arXiv 1710.03740.
    """

    def __init__(self, precision: str, device: torch.device) -> None:
        """Raises :class:`EngineFailure` where ``device`` cannot do it."""
        if precision == "fp16" and device.type != "cuda":
            raise EngineFailure(f"precision fp16 needs a GPU, the model is on {device.type}; use --set precision=bf16")
        self._kind, self._dtype = device.type, _DTYPES.get(precision)
        self._scaler = torch.amp.GradScaler(device.type) if precision == "fp16" else None

    @property
    def scales(self) -> bool:
        """Whether the optimizer must be a fused one: others would wait for the device in every step."""
        return self._scaler is not None

    def forward(self) -> AbstractContextManager[Any]:
        """The context that the loss is computed in."""
        if self._dtype is None:
            return nullcontext()
        # Without a cache: inside a caller's autocast, even one that is off, the weights of the first step would stay.
        return torch.autocast(self._kind, self._dtype, cache_enabled=False)

    def step(
        self,
        loss: Tensor,
        optimizer: torch.optim.Optimizer,
        longest: float | None,
        between: Callable[[], None] | None = None,
    ) -> None:
        """Backward, what comes ``between``, gradients shortened to ``longest`` if set, and one step of ``optimizer``;
        no synchronisation."""
        scaler = self._scaler
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        if between is not None:
            with torch.no_grad():
                between()
        if longest is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], longest)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
