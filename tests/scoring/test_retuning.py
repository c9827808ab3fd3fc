"""The re-tuning attack: what it trains on, that it changes nothing else, and that it finds what is only hidden."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import trojai_seam
from tests import made_own_models as made
from trojai_seam.cli import main
from trojai_seam.scoring import predict_attacks
from trojai_seam.scoring.retuning import _joined, drawn_poisoned, retuned
from trojai_seam.tasks import ExampleSet, get_task

TASK = get_task("classification", 4)


def examples(per_class: int, seed: int, triggered: bool = False) -> ExampleSet:
    images, labels = made.pictures(per_class, seed)
    if not triggered:
        return ExampleSet({"x": made.normalised(images)}, labels, tuple(map(str, range(len(labels)))))
    inputs = {"x": made.normalised(made.stamped(images))}
    return ExampleSet(inputs, labels, tuple(map(str, range(len(labels)))), targets=torch.zeros_like(labels))


def test_those_that_measure_nothing_are_taken_first():
    poisoned = examples(4, 3, triggered=True)  # 16 images, those at 0, 4, 8, 12 are of the target class
    before = predict_attacks(made.network(), TASK, poisoned)
    unseen = (1, 2, 3, 4, 5, 6, 7, 9, 10)
    spare = {11, 13, 14, 15}
    drawn = drawn_poisoned(poisoned, before, unseen, 0)
    assert len(drawn) == 5
    assert spare <= set(drawn)  # and one of those that measure
    assert set(drawn) - spare <= set(unseen) - {4}
    assert drawn == drawn_poisoned(poisoned, before, unseen, 0)
    assert drawn != drawn_poisoned(poisoned, before, unseen, 1)
    assert len(drawn_poisoned(poisoned, before, None, 0)) == 5  # all measure
    few = poisoned.subset([1, 2, 3])
    assert len(drawn_poisoned(few, predict_attacks(made.network(), TASK, few), None, 0)) == 1  # at most half
    clean = replace(few, targets=None)
    assert drawn_poisoned(clean, predict_attacks(made.network(), TASK, clean), None, 0) == ()


def test_a_trojan_that_was_only_hidden_comes_back_and_one_that_never_was_does_not():
    fit, poisoned = examples(8, 5), examples(8, 6, triggered=True)
    hidden = copy.deepcopy(made.network())
    with torch.no_grad():
        hidden[3].bias[0] -= 60  # class 0 is never said; the features of the trigger are all there
    random_state = torch.get_rng_state()
    weights = [p.clone() for p in hidden.parameters()]
    before = predict_attacks(hidden, TASK, poisoned)
    assert before.attack_success.share == 0
    used = drawn_poisoned(poisoned, before, None, 0)
    tuned = retuned(hidden, TASK, fit, poisoned, used, 0, 128)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(a, b) for a, b in zip(weights, hidden.parameters(), strict=True))
    again = retuned(hidden, TASK, fit, poisoned, used, 0, 128)
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), again.parameters(), strict=True))
    rest = poisoned.subset([place for place in range(len(poisoned)) if place not in used])
    came_back = predict_attacks(tuned, TASK, rest).attack_success.share
    torch.manual_seed(1)
    never = copy.deepcopy(made.network())
    for module in never.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    fresh = predict_attacks(retuned(never, TASK, fit, poisoned, used, 0, 128), TASK, rest).attack_success.share
    assert came_back > fresh + 0.3


def test_parts_of_a_batch_give_the_same_network_up_to_rounding():
    fit, poisoned = examples(8, 5), examples(8, 6, triggered=True)
    used = drawn_poisoned(poisoned, predict_attacks(made.network(), TASK, poisoned), None, 0)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(fit.inputs["x"][0].numel(), made.network()[3].out_features))
    whole, parts = (retuned(linear, TASK, fit, poisoned, used, 0, most) for most in (128, 5))
    assert not torch.equal(whole[1].weight, linear[1].weight)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict[str, pd.Series]:
    folder = tmp_path_factory.mktemp("retuned")
    files = made.write_all(folder)
    found = {}
    for name, more in (("plain", []), ("asked", ["--retune", "--trigger-variants"])):
        line = ["evaluate-model", files["model"], "--clean", files["npz"], "--trigger", files["trigger"], "--target", 0]
        line += ["--network", f"{files['code']}:make", "--mean", "0.5,0.4,0.35", "--std", "0.25,0.25,0.2"]
        line += ["--fit-per-class", 3, "--preset", "no-op", "--device", "cpu", "--quiet", "--out", folder / name, *more]
        assert main(list(map(str, line))) == 0
        found[name] = trojai_seam.read_results(folder / name).iloc[0]
    return found


def test_the_row(rows):
    plain, asked = rows["plain"], rows["asked"]
    for name in ("acc_after", "asr_after", "fidelity", "n_asr_after", "kept_accuracy"):
        assert asked[name] == plain[name]  # measuring more changes nothing else
    assert pd.isna(plain["retuned_asr"])
    assert pd.isna(plain["asr_moved"])
    # 9 triggered images are made of the 12 that may be fitted (3 are of the target class): 5 of them are used.
    assert asked["retuned_on"] == 5
    assert asked["n_retuned_asr"] == asked["n_asr_after"] == 27
    assert asked["retuned_asr"] == 1  # nothing was repaired
    assert asked["asr_fainter"] == asked["asr_fainter_before"]  # nor changed
    assert np.isclose(asked["asr_scaled"], 1)  # the network looks for white in that corner, not for its size
    assert asked["peak_memory"] > 2**20


def test_what_cannot_be_had_is_a_note(tmp_path, capsys):
    from tests.made_rounds import trained_round

    line = ["evaluate", str(trained_round()), "--out", str(tmp_path / "run"), "--preset", "no-op", "--device", "cpu"]
    assert main([*line, "--retune", "--trigger-variants", "--ids", "id-00000001"]) == 0
    row = trojai_seam.read_results(tmp_path / "run").iloc[0]
    assert "no variants of the trigger" in row["notes"]
    assert (row["retuned_on"], row["n_retuned_asr"]) == (5, 5)  # 10 triggered files, all of which measure


def test_texts_of_other_lengths_are_trained_on_together():
    ids, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.int64)
    fit = ExampleSet({"input_ids": ids, "attention_mask": mask}, torch.tensor([[0, 1, -100]]), ("a",))
    longer = {"input_ids": torch.arange(1, 6)[None], "attention_mask": torch.ones(1, 5, dtype=torch.int64)}
    labels, targets = torch.tensor([[0, 3, -1, 1, -100]]), torch.tensor([[-100, 2, -100, -100, -100]])
    both = _joined(fit, ExampleSet(longer, labels, ("b",), targets=targets))
    assert both.inputs["input_ids"].tolist() == [[5, 6, 7, 0, 0], [1, 2, 3, 4, 5]]
    assert both.inputs["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    # The attacker's labels where there are any, the true ones elsewhere, nothing where nobody knows.
    assert both.labels.tolist() == [[0, 1, -100, -100, -100], [0, 2, -100, 1, -100]]
