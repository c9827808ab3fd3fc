"""The engine against SEAM written down plainly: no fused optimizer, no other layout, no cutting of padding, no index
on a device, one answer at a time. Same draws, so the networks must be the same ones, for every seed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trojai_seam.batch.reproducible import reproducible
from trojai_seam.tasks import NOT_COUNTED, ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig, optimization, resolve
from trojai_seam.unlearning.engine import run as unlearn

EPOCHS, SEEDS = 5, range(10)
CONFIG = resolve(
    "authors-trojai",
    {
        "batch_size": "8",
        "forget.max_epochs": str(EPOCHS),
        "recover.max_epochs": str(EPOCHS),
        "forget.stop.patience": "2",
        "recover.stop.patience": "2",
        "recover.stop.accuracy": "0.8",
    },
)
Scores = Callable[[nn.Module, slice | Tensor], Tensor]


def plainly(model: nn.Module, scores: Scores, labels: Tensor, classes: int, accuracy, seed: int) -> nn.Module:
    """The published loop with the authors' settings."""
    model, draws = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout
    for phase, betas, decay in (("forget", (0.9, 0.999), 5e-4), ("recover", (0.9, 0.5), 5e-5)):
        optimizer = torch.optim.Adam(
            model.parameters(), lr=5e-4, betas=betas, weight_decay=decay, foreach=False, fused=False
        )
        met = 0
        for _ in range(EPOCHS):
            model.train()
            order = torch.randperm(len(labels), generator=draws)
            targets = labels[order]
            if phase == "forget":
                random = torch.randint(0, classes, targets.shape, generator=draws)
                targets = torch.where(targets == NOT_COUNTED, targets, random)
            for some, wanted in zip(order.split(8), targets.split(8), strict=True):
                optimizer.zero_grad()
                said = scores(model, some)
                loss = cross_entropy(said.flatten(0, -2), wanted.flatten(), ignore_index=NOT_COUNTED)
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                answers = torch.cat([scores(model, slice(i, i + 1)) for i in range(len(labels))]).argmax(-1)
            right = accuracy(answers, labels)
            met += right < 2 / classes if phase == "forget" else right > 0.8
            if met == 2:
                break
    return model.eval()


@pytest.fixture(autouse=True)
def fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimization, "FUSED_FROM", 0)


def compare(model: nn.Module, fit: ExampleSet, task, scores: Scores, config: UnlearnConfig) -> None:
    ends = []
    for seed in SEEDS:
        with reproducible(1):
            expected = plainly(
                model, scores, fit.labels, task.num_classes, lambda a, k: task.fit_accuracy(a, fit.ground_truth()), seed
            )
            outcome = unlearn(model, task, fit, config, seed)
        with torch.no_grad():
            wanted, found = scores(expected, slice(None)), scores(outcome.model, slice(None))
            before = scores(model, slice(None))
        counted = fit.labels >= 0
        assert torch.equal(wanted.argmax(-1)[counted], found.argmax(-1)[counted])
        torch.testing.assert_close(found[counted], wanted[counted], rtol=1e-6, atol=1e-6)
        assert not torch.allclose(found[counted], before[counted], atol=1e-2)  # something was unlearned
        ends.append(tuple(phase.epochs for phase in outcome.phases))
    assert len(set(ends)) > 1 or ends[0] != (EPOCHS, EPOCHS)  # a stop rule ended phases, too


def test_ten_seeds_of_a_network_with_batch_norm_end_as_in_the_plain_loop() -> None:
    torch.manual_seed(0)
    labels = torch.arange(36) % 4
    images = torch.rand(36, 3, 12, 12, dtype=torch.float64) + labels.double().view(-1, 1, 1, 1) / 4
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Dropout(0.2), nn.Linear(16, 4),
    ).double()  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        cross_entropy(model(images), labels).backward()
        optimizer.step()
    fit = ExampleSet({"x": images}, labels, tuple(map(str, range(36))))
    compare(model.eval(), fit, get_task("classification", 4), lambda net, where: net(images[where]), CONFIG)


def test_ten_seeds_of_a_transformer_end_as_in_the_plain_loop() -> None:
    torch.manual_seed(0)
    count, length, classes = 20, 14, 3
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=length, num_labels=classes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = transformers.BertForTokenClassification(config).double()
    ids = torch.randint(3, 40, (count, length))
    mask = (torch.arange(length) < torch.randint(5, length + 1, (count, 1))).long()
    labels = torch.where(mask == 1, ids % classes, NOT_COUNTED)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        said = model(input_ids=ids, attention_mask=mask).logits
        cross_entropy(said.flatten(0, 1), labels.flatten(), ignore_index=NOT_COUNTED).backward()
        optimizer.step()
    fit = ExampleSet({"input_ids": ids, "attention_mask": mask}, labels, tuple(map(str, range(count))))

    def scores(net: nn.Module, where: slice | Tensor) -> Tensor:
        return net(input_ids=ids[where], attention_mask=mask[where]).logits

    compare(model.eval(), fit, get_task("token-classification", classes), scores, CONFIG)
