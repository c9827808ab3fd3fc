"""NIST's classifiers of one embedding vector, of rounds 5 and 6, written anew with the same parts.

Source of the structure: trojai-round-generation, branches of rounds 5 and 6, ``model_factories.py``; the ReLU between
fully connected layers is that of trojai-example.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .archs import importable


class _RecurrentLinearModel(nn.Module):
    kind: type[nn.LSTM] | type[nn.GRU]

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float, bidirectional: bool, layers: int):
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.rnn = self.kind(inputs, hidden, layers, bidirectional=bidirectional, batch_first=True, dropout=between)
        self.linear = nn.Linear(hidden * (2 if bidirectional else 1), outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, data: Tensor) -> Tensor:
        """Logits [N, C] of embeddings [N, 1, E]."""
        _, state = self.rnn(data)
        hidden = state[0] if isinstance(state, tuple) else state
        last = torch.cat((hidden[-2], hidden[-1]), dim=1) if self.rnn.bidirectional else hidden[-1]
        logits: Tensor = self.linear(self.dropout(last))
        return logits


class LstmLinearModel(_RecurrentLinearModel):
    """The last hidden state of an LSTM, and a linear layer."""

    __module__ = "model_factories"
    kind = nn.LSTM


class GruLinearModel(_RecurrentLinearModel):
    """The last hidden state of a GRU, and a linear layer."""

    __module__ = "model_factories"
    kind = nn.GRU


class FCLinearModel(nn.Module):
    """Fully connected layers."""

    __module__ = "model_factories"

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float, bidirectional: bool, layers: int):
        """``bidirectional`` is in the configs of these too, without meaning."""
        super().__init__()
        self.fc_layers = nn.ModuleList(nn.Linear(hidden if n else inputs, hidden) for n in range(layers))
        self.linear = nn.Linear(hidden, outputs)
        self.dropout = nn.Dropout(dropout)
        self.relu = nn.ReLU()

    def forward(self, data: Tensor) -> Tensor:
        """Logits [N, C] of embeddings [N, 1, E]."""
        hidden = data[:, 0]
        for layer in self.fc_layers:
            hidden = self.relu(layer(hidden))
        logits: Tensor = self.linear(self.dropout(hidden))
        return logits


HEADS: dict[str, type[LstmLinearModel] | type[GruLinearModel] | type[FCLinearModel]] = {
    "LstmLinear": LstmLinearModel,
    "GruLinear": GruLinearModel,
    "FCLinear": FCLinearModel,
}
"""By the configs' names."""


def save_head(network: nn.Module, path: Path) -> None:
    """``torch.save`` under NIST's module name, which exists only meanwhile."""
    with importable(type(network)):
        torch.save(network, path)
