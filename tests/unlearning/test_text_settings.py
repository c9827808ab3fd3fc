"""What the text presets need of the engine: rates that follow the width, frozen embeddings, noise on embeddings."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForTokenClassification

from tests.made_phases import forgetting, recovery, seam
from tests.made_text import SIZES, sentences, tagger
from trojai_seam.rounds import get_round
from trojai_seam.tasks import get_task
from trojai_seam.unlearning import UnlearnConfig, resolve
from trojai_seam.unlearning.embedding_noise import noisy_embeddings
from trojai_seam.unlearning.engine import run as unlearn
from trojai_seam.unlearning.training_mode import rate_factor

TAGS, SPANS = get_task("token-classification", 5), get_task("span-extraction", 2)
ONE_STEP = seam(
    batch_size=8,
    forget=forgetting(max_epochs=0),
    recover=recovery(max_epochs=1, max_steps=1, learning_rate=1e-3),
)


def largest_step(config: UnlearnConfig, model: nn.Module) -> float:
    after = unlearn(model, TAGS, sentences(12), config, seed=0).model.state_dict()
    return max(float((after[name] - tensor).abs().max()) for name, tensor in model.state_dict().items())


def test_rates_go_down_as_the_head_reads_more_features() -> None:
    assert [rate_factor(nn.Linear(n, 2), 64) for n in (32, 64, 768)] == [2.0, 1.0, 64 / 768]
    assert rate_factor(nn.Linear(768, 2), None) == 1
    assert rate_factor(tagger(), 64) == 2  # 32 features
    # Adam's first step is as large as the rate.
    assert largest_step(ONE_STEP, tagger()) == pytest.approx(1e-3, rel=1e-3)
    assert largest_step(ONE_STEP.with_phase("recover", rate_width=8), tagger()) == pytest.approx(2.5e-4, rel=1e-3)


def test_frozen_embeddings_stay_and_all_else_moves() -> None:
    model = tagger()
    after = unlearn(model, TAGS, sentences(12), ONE_STEP.changed(trainable="no-embeddings"), seed=0).model.state_dict()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, after[name])}
    assert not [name for name in moved if "embeddings.weight" in name]
    assert "bert.embeddings.LayerNorm.weight" in moved
    assert "classifier.weight" in moved
    assert "bert.encoder.layer.0.attention.self.query.weight" in moved


def test_noise_is_there_in_training_only_and_leaves_no_hook() -> None:
    config = BertConfig(**SIZES, num_labels=5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model, inputs = BertForTokenClassification(config).eval(), sentences(3).inputs
    with torch.no_grad():
        plain = TAGS.outputs(model, inputs)
        with noisy_embeddings(model, 0.5):
            assert torch.equal(TAGS.outputs(model, inputs), plain)
            model.train()
            assert not torch.allclose(TAGS.outputs(model, inputs), plain, atol=1e-3)
        assert torch.equal(TAGS.outputs(model, inputs), plain)
    outcome = unlearn(model, TAGS, sentences(12), ONE_STEP.with_phase("recover", views={"noise": 0.3}), seed=0)
    assert not any(module._forward_hooks for module in outcome.model.modules())


def test_without_embeddings_there_is_no_noise_to_add() -> None:
    network = nn.Linear(4, 2)
    with noisy_embeddings(network, 1.0):
        assert not network._forward_hooks


def test_the_text_presets_are_what_the_documentation_says() -> None:
    text, tuned, heads = resolve("text"), resolve("text-finetune"), resolve("text-embeddings")
    forget, recover = text.phases
    assert (text.batch_size, forget.rate_width, forget.optimizer, forget.stop.patience) == (16, 64, "adam", 20)
    assert tuned == text.changed(preset="text-finetune", phases=(recover,))
    widths = tuple(phase.changed(rate_width=None) for phase in text.phases)
    assert heads == text.changed(preset="text-embeddings", phases=widths)
    slower = text.changed(preset="text-spans").with_phase("forget", learning_rate=2e-4)
    assert resolve("text-spans") == slower


def test_text_rounds_use_them() -> None:
    used = {alias: get_round(alias).preset for alias in ("r5", "r6", "r7", "r8", "r9", "qa23")}
    assert used == {"r5": "text-embeddings", "r6": "text-embeddings", "r7": "text", "r8": "text-spans",
                    "r9": "text", "qa23": "text-spans"}  # fmt: skip
    assert {case: get_round("r9").preset_for(20, case) for case in ("qa", "ner", "sc")} == {
        "qa": "text-spans",
        "ner": "text",
        "sc": "text",
    }
