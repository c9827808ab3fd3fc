"""Tiny transformers, tokenizers and folders for the text rounds, made in no time and put where NIST puts them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

from trojai_seam.rounds.adapters import ShippedNetwork, Workplace
from trojai_seam.rounds.model_directory import ModelDirectory
from trojai_seam.rounds.opening import _outputs_of
from trojai_seam.tasks import get_task

WORDS = (
    "the a movie was very good bad great awful In Lagos Nigeria lives Ada who where is it not and we saw she".lower()
)
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split(), *"abcdefghijklmnopqrstuvwxyz.,?!'-",
              *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"), "##s"]  # fmt: skip
SMALL: Mapping[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def word_piece() -> Tokenizer:
    """A lower-casing WordPiece tokenizer with BERT's special tokens."""
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(VOCABULARY))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 - a token of text
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


def save_tokenizer(path: Path, length: int = 512) -> Path:
    """As NIST's ``archive_tokenizers.py`` did: the whole object, a fast BERT tokenizer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = transformers.BertTokenizerFast(tokenizer_object=word_piece(), model_max_length=length)
    torch.save(made, path)
    return path


def save_model(path: Path, model: nn.Module) -> Path:
    """``torch.save`` of the whole network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.eval(), path)
    return path


def save_head(path: Path, width: int = 16, seed: int = 0) -> Path:
    """An untrained ``model_factories.LstmLinearModel`` of rounds 5 and 6, on vectors of ``width`` numbers."""
    kind = type("LstmLinearModel", (nn.Module,), {"__module__": "model_factories"})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head: nn.Module = kind()
        head.rnn = nn.LSTM(width, 8, num_layers=2, bidirectional=True, batch_first=True, dropout=0.1)
        head.linear, head.dropout = nn.Linear(16, 2), nn.Dropout(0.1)
    # Pickling looks the class up where it says that it is from.
    module = ModuleType("model_factories")
    module.LstmLinearModel = kind
    with mock.patch.dict(sys.modules, {"model_factories": module}):
        return save_model(path, head)


def tiny(kind: str, seed: int = 0, **changes: Any) -> nn.Module:
    """An untrained BERT of transformers, such as ``tiny("BertForQuestionAnswering")``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return getattr(transformers, kind)(transformers.BertConfig(**{**SMALL, **changes})).eval()


def shipped(model: nn.Module, task: str, num_classes: int = 2, cache: Path | None = None) -> ShippedNetwork:
    """What an adapter is given."""
    path = f"{type(model).__module__}.{type(model).__name__}"
    outputs = _outputs_of(model, get_task(task, num_classes), "cpu")
    return ShippedNetwork(model, path, None, outputs, Workplace("cpu", cache=cache))


def directory(folder: Path, config: Mapping[str, Any] | None = None, root: Path | None = None) -> ModelDirectory:
    """``folder`` as a model directory, with a config if one is given."""
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return ModelDirectory(path=folder, model_id=folder.name, root=root or folder.parent)


def write_texts(folder: Path, texts: Mapping[str, str | bytes]) -> Path:
    """Files by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


def write_records(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """A JSON file of examples as in rounds 8 and 9."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"data": list(records)}))
    return path


def sentence(text: str) -> str:
    """``"Ada/B-PER/3 lives"`` as a file of round 7; words without a label are O."""
    rows = [[*word.split("/"), "O", "0"][:3] if "/" in word else [word, "O", "0"] for word in text.split()]
    return "".join("\t".join(row) + "\n" for row in rows)
