"""Transformers: what today's library saves comes back the same, and a config that lies or overreaches is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from tests.loading.handmade import Thing, dump, save_zip
from tests.networks import pickles
from trojai_seam.errors import StateMismatch, UnsupportedModel
from trojai_seam.loading import SavedModel, read_model
from trojai_seam.loading.nodes import DictNode, Inert, Instance, SetNode
from trojai_seam.networks import identify, rebuild
from trojai_seam.networks.modules import NerLinear

_BERT = {
    "vocab_size": 50, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20,
    "max_position_embeddings": 20,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "Bert": _BERT,
    "Roberta": {**_BERT, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "Electra": {**_BERT, "embedding_size": 16},
    "MobileBert": {**_BERT, "embedding_size": 12, "intra_bottleneck_size": 18, "num_feedforward_networks": 2},
    "DistilBert": {
        "vocab_size": 50, "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 20, "max_position_embeddings": 20,
    },
    "GPT2": {
        "vocab_size": 50, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 20, "n_inner": 20,
        "bos_token_id": 49, "eos_token_id": 49, "pad_token_id": 48,
    },
}  # fmt: skip
HEADS = ("Model", "ForTokenClassification", "ForSequenceClassification", "ForQuestionAnswering")


def model(prefix: str, head: str = "Model", seed: int = 0, **changes: Any) -> nn.Module:
    """A small transformer of today's library with every weight drawn anew: fresh ones hide swapped parts."""
    settings = CONFIGS[prefix] | changes
    if head in ("ForTokenClassification", "ForSequenceClassification") and "id2label" not in changes:
        settings = {"num_labels": 5} | settings
    made: nn.Module = getattr(transformers, prefix + head)(getattr(transformers, f"{prefix}Config")(**settings))
    generator = torch.Generator().manual_seed(seed)
    for parameter in made.parameters():
        spread = 0.3 if parameter.dim() > 1 else 0.1
        parameter.data += spread * torch.randn(parameter.shape, generator=generator)
    return made.eval()


def inputs(length: int = 9) -> dict[str, torch.Tensor]:
    """Two texts, the second one padded."""
    ids = torch.randint(5, 47, (2, length), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    ids[1, -3:], mask[1, -3:] = 1, 0
    return {"input_ids": ids, "attention_mask": mask}


def scores(found: Any) -> list[torch.Tensor]:
    values = found if isinstance(found, tuple) else found.values()
    return [value for value in values if isinstance(value, torch.Tensor)]


def assert_same(expected: nn.Module, found: nn.Module) -> None:
    with torch.no_grad():
        want, got = scores(expected(**inputs())), scores(found(**inputs()))
    assert len(want) == len(got) > 0
    for a, b in zip(want, got, strict=True):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()
        assert (a[0] - a[1]).abs().max() > 1e-3 * a.abs().max()


def saved(module: nn.Module, folder: Path) -> SavedModel:
    torch.save(module, folder / "model.pt")
    return read_model(folder / "model.pt")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("prefix", CONFIGS)
def test_todays_transformers_round_trip(prefix: str, head: str, tmp_path: Path) -> None:
    expected = model(prefix, head)
    file = saved(expected, tmp_path)
    outputs = {"Model": None, "ForQuestionAnswering": 2}.get(head, 5)
    facts = identify(file)
    assert (facts.architecture, facts.num_classes, facts.notes) == (prefix + head, outputs, ())
    found = rebuild(file)
    assert type(found) is type(expected)
    assert_same(expected, found)
    assert_same(expected, rebuild(saved(found, tmp_path)))  # what we save opens again


@pytest.mark.parametrize(
    ("prefix", "changes"),
    [
        ("Bert", {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3, "type_vocab_size": 3}),
        ("Bert", {"hidden_act": "relu", "id2label": {0: "O", 1: "B-PER", 2: "I-PER"}}),
        ("Roberta", {"pad_token_id": 0, "hidden_act": "silu"}),
        ("Electra", {"embedding_size": 24, "hidden_act": "tanh"}),
        ("MobileBert", {"normalization_type": "layer_norm", "hidden_act": "gelu"}),
        ("MobileBert", {"use_bottleneck": False, "num_feedforward_networks": 1}),
        ("MobileBert", {"trigram_input": False, "use_bottleneck_attention": True, "intra_bottleneck_size": 12}),
        ("DistilBert", {"activation": "relu", "sinusoidal_pos_embds": True}),
        ("GPT2", {"activation_function": "relu", "layer_norm_epsilon": 1e-3}),
        ("GPT2", {"scale_attn_by_inverse_layer_idx": True, "attn_implementation": "eager"}),
        ("GPT2", {"scale_attn_weights": False, "n_inner": None, "attn_implementation": "eager"}),
    ],
)
def test_settings_without_a_trace_in_the_tensors(prefix: str, changes: dict[str, Any], tmp_path: Path) -> None:
    expected = model(prefix, "ForTokenClassification", **changes)
    found = rebuild(saved(expected, tmp_path))
    assert_same(expected, found)
    if "id2label" in changes:
        assert found.config.id2label == changes["id2label"]


def test_dropout_comes_from_the_file(tmp_path: Path) -> None:
    changes = {"hidden_dropout_prob": 0.31, "attention_probs_dropout_prob": 0.07, "classifier_dropout": 0.5}
    expected = model("Bert", "ForTokenClassification", **changes)
    found = rebuild(saved(expected, tmp_path))
    want, got = ({k: m.p for k, m in net.named_modules() if isinstance(m, nn.Dropout)} for net in (expected, found))
    assert got == want
    assert set(want.values()) == {0.31, 0.07, 0.5}


@pytest.mark.parametrize("prefix", CONFIGS)
def test_rebuilt_transformer_trains_and_copies(prefix: str, tmp_path: Path) -> None:
    found = rebuild(saved(model(prefix, "ForTokenClassification"), tmp_path))
    twin = copy.deepcopy(found)
    assert not any(tensor.is_meta for tensor in (*found.parameters(), *found.buffers()))
    found.train()
    optimiser = torch.optim.AdamW(found.parameters(), lr=1e-2)
    logits = found(**inputs()).logits
    nn.functional.cross_entropy(logits.flatten(0, 1), torch.zeros(18, dtype=torch.long)).backward()
    assert all(torch.isfinite(p.grad).all() for p in found.parameters() if p.grad is not None)
    optimiser.step()
    with torch.no_grad():
        moved, still = found.eval()(**inputs()).logits, twin(**inputs()).logits
    assert (moved - still).abs().max() > 1e-3
    found.load_state_dict(twin.state_dict())
    assert_same(twin, found)


@pytest.mark.parametrize("prefix", ["Bert", "DistilBert", "Roberta", "MobileBert"])
def test_wrapper_of_round_7(prefix: str, tmp_path: Path) -> None:
    base = model(prefix)
    if getattr(base, "pooler", None) is not None:
        base.pooler = None  # add_pooling_layer=False
    expected = NerLinear(base, 24, 13).eval()
    file = pickles.saved(expected, tmp_path, "model_factories.NerLinearModel")
    facts = identify(file, {"model_architecture": "NerLinear", "embedding": prefix, "number_classes": 13})
    assert (facts.architecture, facts.num_classes, facts.notes) == ("NerLinear", 13, ())
    found = rebuild(file)
    assert_same(expected, found)
    # NIST's loss: positions with attention, and labels other than -100.
    labels = torch.full((2, 9), -100)
    labels[0, 2], labels[1, 1], labels[1, 8] = 4, 7, 3
    loss, logits = found(**inputs(), labels=labels)
    rows = torch.stack([logits[0, 2], logits[1, 1]])
    assert torch.allclose(loss, nn.functional.cross_entropy(rows, torch.tensor([4, 7])))
    assert found(**inputs())[0] is None


def test_wrapper_says_when_the_config_means_another_embedding(tmp_path: Path) -> None:
    base = model("DistilBert")
    file = pickles.saved(NerLinear(base, 24, 9), tmp_path, "model_factories.NerLinearModel")
    notes = identify(file, {"embedding": "BERT", "number_classes": 13}).notes
    assert notes == (
        "config says 13 classes, classifier.weight has 9",
        "config says embedding BERT, the file holds a DistilBertModel",
    )


@pytest.mark.parametrize(
    ("claimed", "architecture"),
    [
        ("deepset/tinyroberta-squad2", "deepset/tinyroberta-squad2"),
        ("roberta-base", "roberta-base"),
        ("google/electra-small-discriminator", "RobertaForQuestionAnswering"),
        ("distilbert-base-cased", "RobertaForQuestionAnswering"),
    ],
)
def test_architecture_is_spelt_as_the_config_does_if_it_can_be_true(
    claimed: str, architecture: str, tmp_path: Path
) -> None:
    facts = identify(saved(model("Roberta", "ForQuestionAnswering"), tmp_path), {"model_architecture": claimed})
    assert facts.architecture == architecture
    assert (facts.notes == ()) is (claimed == architecture)


def test_buffers_of_old_versions_are_left_out(tmp_path: Path) -> None:
    expected = model("Bert")
    expected.embeddings.register_buffer("position_ids", torch.arange(20).expand(1, -1))
    expected.embeddings._non_persistent_buffers_set.discard("position_ids")
    file = saved(expected, tmp_path)
    assert "embeddings.position_ids" in file.tensors
    assert_same(expected, rebuild(file))
    expected = model("GPT2")
    gpt2 = copy.deepcopy(expected)
    gpt2.h[0].attn.register_buffer("bias", torch.ones(1, 1, 20, 20).tril().bool())
    gpt2.h[0].attn.register_buffer("masked_bias", torch.tensor(-1e4))
    file = saved(gpt2, tmp_path)
    assert "h.0.attn.masked_bias" in file.tensors
    assert_same(expected, rebuild(file))


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.fixture
def change() -> Callable[..., SavedModel]:
    """``change(saved, path, name=value)``: the same file with other attributes at a module path, or in its config."""

    def changed(file: SavedModel, where: str = "config", **values: Inert) -> SavedModel:
        if where == "config":
            config = file.root.get("config") if file.root is not None else None
            assert isinstance(config, Instance)
            assert isinstance(config.state, DictNode)
            config.state.pairs += values.items()
        else:
            node = file.modules[where]
            node.attributes = {**node.attributes, **values}
        return file

    return changed


@pytest.mark.parametrize(
    ("prefix", "where", "values", "message"),
    [
        ("Bert", "config", {"layer_norm_eps": 7.0}, "layer_norm_eps 7.0, no number between 0 and 1"),
        ("Bert", "config", {"layer_norm_eps": float("nan")}, "layer_norm_eps nan"),
        ("Bert", "config", {"layer_norm_eps": "1e-12"}, "layer_norm_eps 1e-12"),
        ("Bert", "config", {"hidden_dropout_prob": -0.1}, "hidden_dropout_prob -0.1, no number from 0 to 1"),
        ("Bert", "config", {"hidden_dropout_prob": 10**400}, "a huge integer"),
        ("Bert", "config", {"pad_token_id": 50}, "pad_token_id 50, no row of the vocabulary"),
        ("Roberta", "config", {"pad_token_id": None}, "without a pad_token_id"),
        ("Bert", "config", {"is_decoder": True}, "is used as a decoder"),
        ("Bert", "config", {"position_embedding_type": "relative_key"}, "position_embedding_type relative_key"),
        ("Bert", "encoder.layer.0.attention.self", {"num_attention_heads": 5}, "differ in num_attention_heads"),
        ("Bert", "encoder.layer.1.attention.self", {"num_attention_heads": [[1]]}, "differ in num_attention_heads"),
        ("Bert", "encoder.layer.0.attention", {"pruned_heads": SetNode([1])}, "pruned attention heads"),
        (
            "Bert",
            "encoder.layer.0.attention.self",
            {"position_embedding_type": "relative_key"},
            "position_embedding_type",
        ),
        ("Bert", "encoder.layer.0.intermediate", {}, "no single activation function that is known"),
        ("GPT2", "h.0.attn", {"scale_attn_weights": "yes"}, "differ in scale_attn_weights"),
        ("DistilBert", "config", {"dropout": True}, "dropout True"),
    ],
)
def test_config_that_cannot_be_is_one_clear_line(
    prefix: str,
    where: str,
    values: Mapping[str, Inert],
    message: str,
    tmp_path: Path,
    change: Callable[..., SavedModel],
) -> None:
    file = saved(model(prefix), tmp_path)
    if not values:
        node = file.modules[where]
        children = {k: v for k, v in node.children.items() if k != "intermediate_act_fn"}
        node.children = children
    change(file, where, **values)
    for act in (identify, rebuild):
        with pytest.raises(UnsupportedModel) as caught:
            act(file)
        assert message in str(caught.value)


def test_layers_count_not_the_config(tmp_path: Path, change: Callable[..., SavedModel]) -> None:
    """A config that asks for a thousand million layers gets the two that are there."""
    expected = model("Bert")
    huge = {"num_hidden_layers": 10**9, "hidden_size": 10**9, "vocab_size": 10**12, "hidden_act": "nonsense"}
    assert_same(expected, rebuild(change(saved(expected, tmp_path), **huge)))


def test_question_answering_has_two_outputs(tmp_path: Path) -> None:
    file = saved(model("Electra", "ForQuestionAnswering", num_labels=3), tmp_path)
    with pytest.raises(StateMismatch, match="3 rows, not one for the start and one for the end"):
        identify(file)


def test_missing_layer_is_named(tmp_path: Path) -> None:
    broken = model("Bert")
    del broken.encoder.layer[0].attention.output
    with pytest.raises(StateMismatch, match=r"missing encoder\.layer\.0\.attention\.output\.dense\.weight"):
        rebuild(saved(broken, tmp_path))


def test_foreign_module_inside_is_refused(tmp_path: Path) -> None:
    strange = model("Bert")
    strange.encoder.layer[0].output = nn.ModuleDict(dict(strange.encoder.layer[0].output.named_children()))
    strange.encoder.layer[0].output.__class__ = type("Odd", (nn.ModuleDict,), {"__module__": __name__})
    globals()["Odd"] = strange.encoder.layer[0].output.__class__
    try:
        file = saved(strange, tmp_path)
    finally:
        del globals()["Odd"]
    with pytest.raises(UnsupportedModel, match=r"holds .*\.Odd at encoder\.layer\.0\.output"):
        rebuild(file)


def test_other_transformers_are_refused_by_name(tmp_path: Path) -> None:
    config = transformers.AlbertConfig(
        vocab_size=50, hidden_size=24, num_attention_heads=3, intermediate_size=20, embedding_size=8
    )
    file = saved(transformers.AlbertForTokenClassification(config), tmp_path)
    with pytest.raises(UnsupportedModel, match=r"no network is registered for .*AlbertForTokenClassification"):
        rebuild(file)


def test_wrapper_around_something_else(tmp_path: Path) -> None:
    class Base(nn.Module):
        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor]:
            return (input_ids,)

    globals()["Base"] = Base
    Base.__qualname__ = "Base"
    try:
        file = pickles.saved(NerLinear(Base(), 24, 9), tmp_path, "model_factories.NerLinearModel")
    finally:
        del globals()["Base"]
    with pytest.raises(UnsupportedModel, match="which is not known"):
        rebuild(file)


def test_tokenizer_file_is_no_network(tmp_path: Path) -> None:
    body = dump(Thing("transformers.models.bert.tokenization_bert.BertTokenizer", {"vocab": {"a": 0}}))
    with pytest.raises(UnsupportedModel, match="neither a network nor a state dict"):
        rebuild(read_model(save_zip(tmp_path / "model.pt", body)))
