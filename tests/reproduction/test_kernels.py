"""The tangent kernels are exact, and predict what a linear network does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from trojai_seam.reproduction.bench import examples
from trojai_seam.reproduction.kernels import kernels, linear_descent, overlap
from trojai_seam.tasks.classification import Classification
from trojai_seam.unlearning import UnlearnConfig, run


def gradients(model, x):
    rows = []
    for one in x:
        for score in model(one[None])[0]:
            parts = torch.autograd.grad(score, list(model.parameters()), retain_graph=True)
            rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows).double()


def test_kernels_are_inner_products_of_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3)).eval()
    a, b = torch.rand(4, 2, 2, 2), torch.rand(3, 2, 2, 2)
    found, of_a, of_b = kernels(model, a, b), gradients(model, a), gradients(model, b)
    for kernel, expected in zip(found, (of_a @ of_a.T, of_b @ of_a.T, of_b @ of_b.T), strict=True):
        assert torch.allclose(kernel, expected, atol=1e-6)
    span = torch.linalg.qr(of_a.T)[0]
    inside = (of_b @ span).square().sum() / of_b.square().sum()
    assert overlap(found) == pytest.approx(float(inside), abs=1e-4)
    assert overlap(kernels(model, a, a)) == pytest.approx(1.0, abs=1e-4)


def test_what_the_kernel_predicts_a_linear_network_does():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    a = examples(torch.randint(0, 256, (6, 1, 4, 4), dtype=torch.uint8), torch.arange(6) % 3)
    b = examples(torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8), torch.arange(5) % 3)
    labels = (a.labels + 1) % 3
    with torch.no_grad():
        scores_a, scores_b = model(a.inputs["x"]), model(b.inputs["x"])
    found = kernels(model, a.inputs["x"], b.inputs["x"])
    predicted = linear_descent(found, scores_a, scores_b, labels, 0.1, 7)
    phase = {"name": "forget", "kind": "train", "max_epochs": 7, "optimizer": "sgd", "momentum": 0.0,
             "learning_rate": 0.1}  # fmt: skip
    config = UnlearnConfig.from_document({"batch_size": 6, "phases": [phase]})
    after = run(model, Classification(3), replace(a, labels=labels), config, 0).model
    with torch.no_grad():
        assert torch.allclose(after(b.inputs["x"]).double(), predicted, atol=1e-4)
        assert not torch.allclose(scores_b.double(), predicted, atol=1e-2)
