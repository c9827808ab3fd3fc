from __future__ import annotations

import pytest
import torch

from trojai_seam.unlearning.batches import batches_per_epoch, epoch_batches
from trojai_seam.unlearning.monitor import StopWatcher, threshold
from trojai_seam.unlearning.training_settings import StopRule


def test_the_smallest_term_counts() -> None:
    assert threshold(StopRule(), 1 / 5, 0.2, 1.0) is None
    assert threshold(StopRule(chance_multiple=2), 1 / 5, 0.2, 1.0) == pytest.approx(0.4)
    assert threshold(StopRule(chance_multiple=2, accuracy=0.6), 1 / 2, 0.5, 1.0) == pytest.approx(0.6)
    assert threshold(StopRule(chance_margin=0.2), 1 / 2, 0.5, 1.0) == pytest.approx(0.6)
    assert threshold(StopRule(chance_margin=0.2), 1 / 2, 0.7, 0.9) == pytest.approx(0.74)


def run(rule: StopRule, limit: float, below: bool, accuracies: list[float]) -> int | None:
    watcher = StopWatcher(rule, limit, below)
    return next((i for i, a in enumerate(accuracies) if watcher.should_stop(i, a)), None)


def test_patience_counts_epochs_that_need_not_follow_each_other() -> None:
    accuracies = [0.9, 0.3, 0.9, 0.3, 0.9, 0.3]
    assert run(StopRule(patience=2), 0.4, True, accuracies) == 3
    assert run(StopRule(patience=2, consecutive=True), 0.4, True, accuracies) is None
    assert run(StopRule(patience=2, consecutive=True), 0.4, True, [0.3, 0.9, 0.3, 0.3]) == 3


def test_the_threshold_itself_does_not_count() -> None:
    assert run(StopRule(), 0.4, True, [0.4, 0.39]) == 1
    assert run(StopRule(), 0.99, False, [0.99, 1.0]) == 1


def test_decline_counts_only_late_and_only_beyond_the_tolerance() -> None:
    rule = StopRule(patience=2, decline_after=2, decline_tolerance=0.01)
    assert run(rule, 0.99, False, [0.9, 0.5, 0.5, 0.5, 0.895, 0.5]) == 5
    watcher = StopWatcher(rule, 0.99, False)
    for epoch, accuracy in enumerate([0.9, 0.5, 0.5, 0.5, 0.5]):
        watcher.should_stop(epoch, accuracy)
    assert watcher.declined


@pytest.mark.parametrize(
    ("count", "draws", "size"), [(10, None, 32), (65, None, 32), (3, 100, 32), (33, 33, 32), (1, None, 4), (1, 5, 4)]
)
def test_batches_cover_what_was_asked_for(count: int, draws: int | None, size: int) -> None:
    batches = epoch_batches(count, draws, size, torch.Generator().manual_seed(0))
    drawn = torch.cat(batches)
    assert len(drawn) == (draws or count)
    assert len(batches) == batches_per_epoch(count, draws, size)
    assert len(batches) == 1 or min(len(b) for b in batches) > 1
    most, least = (torch.bincount(drawn, minlength=count).max(), torch.bincount(drawn, minlength=count).min())
    assert most - least <= 1  # whole passes: nothing is drawn twice before all were drawn once
