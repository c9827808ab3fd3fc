"""Transformers of the rounds' kinds, small: the classes are transformers' own, the weights are drawn.

NIST's wrapper of round 7 is ``model_factories.NerLinearModel`` (trojai-round-generation, branch of that round); here it
is written anew with the same parts, so that its pickle has the same structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageProblem

HEADS = 4
POSITIONS = 512
INITIAL_SPREAD = 0.1  # narrow networks need larger weights than BERT's 0.02
WIDTHS = (32, 768)


@dataclass(frozen=True)
class TransformerKind:
    """One line of models on the hub.

    Attributes:
        prefix: of the class names in transformers.
        tokenizer: ``bert``, ``roberta`` or ``gpt2``.
        lower_case: the tokenizer drops capitals.
        layers: how many we take.
        type_ids: the network knows which of two texts a token is of.
    """

    prefix: str
    tokenizer: str
    lower_case: bool
    layers: int = 2
    type_ids: bool = False


KINDS = {
    "bert-base-uncased": TransformerKind("Bert", "bert", True, type_ids=True),
    "distilbert-base-cased": TransformerKind("DistilBert", "bert", False),
    "distilbert-base-uncased": TransformerKind("DistilBert", "bert", True),
    "google/mobilebert-uncased": TransformerKind("MobileBert", "bert", True, 3, type_ids=True),
    "csarron/mobilebert-uncased-squad-v2": TransformerKind("MobileBert", "bert", True, 3, type_ids=True),
    "google/electra-small-discriminator": TransformerKind("Electra", "bert", True, type_ids=True),
    "roberta-base": TransformerKind("Roberta", "roberta", False),
    "deepset/roberta-base-squad2": TransformerKind("Roberta", "roberta", False, 3),
    "deepset/tinyroberta-squad2": TransformerKind("Roberta", "roberta", False),
    "gpt2": TransformerKind("GPT2", "gpt2", False),
}
"""By hub name, as the configs of the rounds spell it."""


def make_config(name: str, vocabulary: int, width: int, **more: Any) -> transformers.PretrainedConfig:
    """A config of the kind of the hub's ``name``; no dropout, which networks this small do not bear."""
    kind = KINDS[name]
    if width % HEADS or not WIDTHS[0] <= width <= WIDTHS[1]:
        raise UsageProblem(f"--width {width}: expected a multiple of {HEADS} from {WIDTHS[0]} to {WIDTHS[1]}")
    if kind.prefix == "DistilBert":
        sizes: dict[str, Any] = {"dim": width, "hidden_dim": 2 * width, "n_layers": kind.layers, "n_heads": HEADS}
        sizes |= {"dropout": 0.0, "attention_dropout": 0.0, "max_position_embeddings": POSITIONS}
    elif kind.prefix == "GPT2":
        sizes = {"n_embd": width, "n_layer": kind.layers, "n_head": HEADS, "n_inner": 2 * width, "n_positions": 1024}
        sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0}
    else:
        sizes = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": kind.layers}
        sizes |= {"num_attention_heads": HEADS, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        sizes |= {"max_position_embeddings": POSITIONS}
    if kind.prefix == "Electra":
        sizes |= {"embedding_size": width // 2}
    if kind.prefix == "MobileBert":
        sizes |= {"embedding_size": width // 2, "intra_bottleneck_size": width // 2, "true_hidden_size": width // 2}
        sizes |= {"num_feedforward_networks": 2, "intermediate_size": width}
    if kind.prefix == "Roberta":
        sizes |= {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
        sizes |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config: transformers.PretrainedConfig = getattr(transformers, f"{kind.prefix}Config")(
        vocab_size=vocabulary, name_or_path=name, initializer_range=INITIAL_SPREAD, **sizes, **more
    )
    return config


class NerLinearModel(nn.Module):
    """A transformer without its pooler, and one linear layer on every token."""

    __module__ = "model_factories"

    def __init__(self, transformer: nn.Module, width: int, num_labels: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.ignore_index = -100
        self.transformer = transformer
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(width, num_labels)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None
    ) -> tuple[Tensor | None, Tensor]:
        """Loss (None without labels) and logits [N, L, C]; ids, mask and labels are [N, L]."""
        hidden = self.transformer(input_ids, attention_mask=attention_mask)[0]
        logits = self.classifier(self.dropout(hidden))
        if labels is None:
            return None, logits
        counted = labels if attention_mask is None else labels.masked_fill(attention_mask != 1, self.ignore_index)
        loss = functional.cross_entropy(logits.flatten(0, 1), counted.flatten(), ignore_index=self.ignore_index)
        return loss, logits


def make_text_network(name: str, head: str, outputs: int, vocabulary: int, width: int) -> nn.Module:
    """A fresh network of the kind of the hub's ``name``.

    Args:
        name: key of ``KINDS``.
        head: ``sc``, ``ner`` or ``qa`` for transformers' own, ``wrapped-ner`` for NIST's of round 7, ``none``.
        outputs: classes; 2 for ``qa``.
        vocabulary: number of token ids.
        width: hidden size.

    Raises:
        UsageProblem: the width does not fit.
    """
    prefix = KINDS[name].prefix
    if head == "wrapped-ner":
        more = {} if prefix == "DistilBert" else {"add_pooling_layer": False}
        transformer = getattr(transformers, f"{prefix}Model")(make_config(name, vocabulary, width), **more)
        return NerLinearModel(transformer, width, outputs)
    suffix = {"sc": "ForSequenceClassification", "ner": "ForTokenClassification", "qa": "ForQuestionAnswering"}
    config = make_config(name, vocabulary, width, num_labels=outputs)
    network: nn.Module = getattr(transformers, prefix + suffix.get(head, "Model"))(config)
    return network


def raw_scores(network: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Logits of any of these networks: [N, C], [N, L, C], or for spans [N, L, 2] (start, end)."""
    given = network(**inputs)
    if isinstance(given, Tensor):
        scores = given
    elif isinstance(given, tuple):
        scores = given[1]
    elif "start_logits" in given:
        scores = torch.stack([given.start_logits, given.end_logits], dim=-1)
    else:
        scores = given.logits
    result: Tensor = scores
    return result
