"""NIST's own small networks whose forward pass no stock torch module has. Ours: written from facts, not copied."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import torch
from torch import nn

_onednn: Any = torch.backends.mkldnn


class SharedBatchNormNet(nn.Module):
    """``archs.Net3tbatch``: three Linear layers, tanh, and *one* BatchNorm1d after both hidden layers.

    Source: trojai-example, branch cyber-pdf-dec2022, ``archs.py``. The running statistics mix both layers, as there.
    """

    def __init__(self, sizes: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes[0], sizes[1])
        self.fc2 = nn.Linear(sizes[1], sizes[2])
        self.fc3 = nn.Linear(sizes[2], sizes[3])
        self.batchnorm = nn.BatchNorm1d(sizes[1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of features [N, F]."""
        hidden = self.batchnorm(torch.tanh(self.fc1(features)))
        hidden = self.batchnorm(torch.tanh(self.fc2(hidden)))
        logits: torch.Tensor = self.fc3(hidden)
        return logits


class LinearHead(nn.Module):
    """``model_factories.LinearModel`` (rounds 5 and 6): dropout and one Linear layer on the first time step."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, classes)
        self.dropout = nn.Dropout(0.0)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of embeddings [N, T, E]."""
        logits: torch.Tensor = self.linear(self.dropout(embeddings[:, 0]))
        return logits

    def steps_in_order(self) -> list[nn.Module | str]:
        """What it does, for :mod:`trojai_seam.unlearning.chains`."""
        return ["first-step", self.dropout, self.linear]


class FullyConnectedHead(nn.Module):
    """``model_factories.FCLinearModel`` (round 6), with or without a ReLU after each hidden layer.

    NIST's generator (2021-03-22) has no ReLU, NIST's example (2021-03-24) has one; the state dicts look alike.
    """

    def __init__(self, sizes: tuple[int, ...], classes: int, relu: bool) -> None:
        super().__init__()
        self.fc_layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.linear = nn.Linear(sizes[-1], classes)
        self.dropout = nn.Dropout(0.0)
        self.relu = nn.ReLU() if relu else None

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of embeddings [N, T, E]; only the first time step is used."""
        hidden = embeddings[:, 0]
        for layer in self.fc_layers:
            hidden = layer(hidden)
            if self.relu is not None:
                hidden = self.relu(hidden)
        logits: torch.Tensor = self.linear(self.dropout(hidden))
        return logits

    def steps_in_order(self) -> list[nn.Module | str]:
        """What it does, for :mod:`trojai_seam.unlearning.chains`."""
        hidden = [part for layer in self.fc_layers for part in (layer, self.relu) if part is not None]
        return ["first-step", *hidden, self.dropout, self.linear]


@contextmanager
def _torchs_own_kernels(wanted: bool) -> Iterator[None]:
    """oneDNN brings all weights of an LSTM into an order of its own in every call, and back in the backward pass: for a
    sequence of one step, as in round 5, two thirds of a training step on a CPU."""
    before = _onednn.enabled
    _onednn.enabled = before and not wanted
    try:
        yield
    finally:
        _onednn.enabled = before


class RecurrentHead(nn.Module):
    """``model_factories.LstmLinearModel`` and ``GruLinearModel``: final hidden state of the last layer, then Linear."""

    def __init__(self, rnn: nn.LSTM | nn.GRU, classes: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.linear = nn.Linear(rnn.hidden_size * (2 if rnn.bidirectional else 1), classes)
        self.dropout = nn.Dropout(0.0)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Logits [N, C] of embeddings [N, T, E]."""
        self.rnn.flatten_parameters()
        with _torchs_own_kernels(embeddings.shape[1] == 1):
            _, state = self.rnn(embeddings)
        hidden = state[0] if isinstance(state, tuple) else state  # [layers × directions, N, H]
        last = torch.cat((hidden[-2], hidden[-1]), dim=1) if self.rnn.bidirectional else hidden[-1]
        logits: torch.Tensor = self.linear(self.dropout(last))
        return logits

    def steps_in_order(self) -> list[nn.Module | str]:
        """What it does to sequences of one step, for :mod:`trojai_seam.unlearning.chains`."""
        return ["single-step", self.rnn, self.dropout, self.linear]


class NerLinear(nn.Module):
    """``model_factories.NerLinearModel`` (round 7): a transformer, dropout and one Linear layer per token.

    Source: trojai-round-generation, branch nlp-named-entity-recognition-may2021, ``model_factories.py``.
    """

    ignore_index = -100

    def __init__(self, transformer: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.num_labels = classes
        self.transformer = transformer
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Linear(width, classes)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """``(loss, logits [N, L, C])``, as NIST's; the loss is None without labels [N, L].

        The loss counts positions with attention whose label is not −100.
        """
        hidden = self.transformer(input_ids, attention_mask=attention_mask)[0]
        logits: torch.Tensor = self.classifier(self.dropout(hidden))
        if labels is None:
            return None, logits
        if attention_mask is not None:
            labels = labels.masked_fill(attention_mask != 1, self.ignore_index)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=self.ignore_index)
        return loss, logits
