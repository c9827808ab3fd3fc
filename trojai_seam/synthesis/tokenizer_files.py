"""Tokenizers pickled as NIST's archives have them: objects of the transformers of the day.

Today's transformers has other classes under other names, so objects with the same class paths and attributes are made
here. Fast ones (rounds 7 to 9 and QA 2023) follow the attributes of the real files; slow ones (rounds 5 and 6, of which
no real file is public) those of transformers 4.2.1.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import regex
import torch
from tokenizers import AddedToken, pre_tokenizers

from .archs import importable
from .text_networks import KINDS, POSITIONS
from .text_tokenizers import MadeTokenizer

UNSET_LENGTH = int(1e30)
_ROLES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
_BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
_ROBERTA = {
    "bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>",
}  # fmt: skip
_GPT2 = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}
_SPECIALS = {"bert": _BERT, "roberta": _ROBERTA, "gpt2": _GPT2}
_GPT2_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


def _instance(module: str, name: str, attributes: dict[str, Any]) -> Any:
    instance = type(name, (), {"__module__": module})()
    instance.__dict__.update(attributes)
    return instance


def save_fast_tokenizer(made: MadeTokenizer, path: Path) -> None:
    """``torch.save`` of a ``…TokenizerFast``, around the whole ``tokenizer.json``."""
    prefix = KINDS[made.name].prefix
    model = prefix.lower()
    specials = dict(_SPECIALS[made.family])
    longest = UNSET_LENGTH if prefix == "MobileBert" else POSITIONS
    own = {"do_lower_case": made.lower_case} if made.family == "bert" else {"add_prefix_space": made.prefix_space}
    names = ["input_ids", "attention_mask"]
    if prefix in ("Bert", "Electra", "MobileBert"):
        names.insert(1, "token_type_ids")
    attributes = {
        "_tokenizer": made.backend,
        "_decode_use_source_tokenizer": False,
        "init_inputs": (),
        "init_kwargs": {
            **own,
            **{f"{role}_token": text for role, text in specials.items()},
            "model_max_length": longest,
            "special_tokens_map_file": None,
            "name_or_path": made.name,
        },
        "name_or_path": made.name,
        "model_max_length": longest,
        "padding_side": "right",
        "model_input_names": names,
        "deprecation_warnings": {},
        **_special_attributes(specials, made.family == "roberta"),
    }
    if made.family == "bert":
        attributes["do_lower_case"] = made.lower_case
    else:
        attributes["add_prefix_space"] = made.prefix_space
    tokenizer = _instance(
        f"transformers.models.{model}.tokenization_{model}_fast", f"{prefix}TokenizerFast", attributes
    )
    with importable(type(tokenizer)):
        torch.save(tokenizer, path)


def save_slow_tokenizer(made: MadeTokenizer, path: Path) -> None:
    """``torch.save`` of a ``BertTokenizer``, ``DistilBertTokenizer`` or ``GPT2Tokenizer``, which were Python code."""
    specials = dict(_SPECIALS[made.family])
    prefix = KINDS[made.name].prefix
    model = prefix.lower()
    longest = 1024 if made.family == "gpt2" else POSITIONS
    attributes: dict[str, Any] = {
        "init_inputs": (),
        "init_kwargs": {"model_max_length": longest},
        "name_or_path": made.name,
        "model_max_length": longest,
        "padding_side": "right",
        # Without input_ids: so it was in 4.2, and later versions stumble over it.
        "model_input_names": ["token_type_ids", "attention_mask"] if prefix == "Bert" else ["attention_mask"],
        "deprecation_warnings": {},
        **_special_attributes(specials, made.family == "gpt2"),
        "added_tokens_encoder": {},
        "added_tokens_decoder": {},
        "unique_no_split_tokens": sorted(set(specials.values())),
    }
    document = json.loads(made.backend.to_str())
    vocabulary = made.backend.get_vocab()
    ordered = OrderedDict(sorted(vocabulary.items(), key=lambda pair: pair[1]))
    helpers = []
    if made.family == "bert":
        home = "transformers.models.bert.tokenization_bert"
        basic = _instance(
            home,
            "BasicTokenizer",
            {
                "do_lower_case": made.lower_case,
                "never_split": set(),
                "tokenize_chinese_chars": True,
                "strip_accents": None,
            },
        )
        pieces = _instance(
            home,
            "WordpieceTokenizer",
            {"vocab": ordered, "unk_token": "[UNK]", "max_input_chars_per_word": 100},
        )
        helpers = [type(basic), type(pieces)]
        attributes |= {
            "vocab": ordered,
            "ids_to_tokens": OrderedDict((number, token) for token, number in ordered.items()),
            "do_basic_tokenize": True,
            "basic_tokenizer": basic,
            "wordpiece_tokenizer": pieces,
        }
    else:
        bytes_as_characters = _byte_encoder()
        attributes |= {
            "encoder": dict(ordered),
            "decoder": {number: token for token, number in ordered.items()},
            "errors": "replace",
            "byte_encoder": bytes_as_characters,
            "byte_decoder": {character: byte for byte, character in bytes_as_characters.items()},
            "bpe_ranks": {tuple(pair): rank for rank, pair in enumerate(_merges(document))},
            "cache": {},
            "add_prefix_space": made.prefix_space,
            "pat": regex.compile(_GPT2_PATTERN),
        }
    tokenizer = _instance(f"transformers.models.{model}.tokenization_{model}", f"{prefix}Tokenizer", attributes)
    with importable(type(tokenizer), *helpers):
        torch.save(tokenizer, path)


def _merges(document: dict[str, Any]) -> list[list[str]]:
    return [pair.split(" ") if isinstance(pair, str) else pair for pair in document["model"]["merges"]]


def _special_attributes(specials: dict[str, str], added: bool) -> dict[str, Any]:
    """``added``: some tokens are ``AddedToken`` objects, as of the byte-pair tokenizers."""
    values: dict[str, Any] = {f"_{role}_token": specials.get(role) for role in _ROLES}
    if added:
        for role, text in specials.items():
            values[f"_{role}_token"] = AddedToken(text, lstrip=role == "mask", rstrip=False)
    return {**values, "_pad_token_type_id": 0, "_additional_special_tokens": [], "verbose": False}


def _byte_encoder() -> dict[int, str]:
    """Which printable character stands for a byte in the vocabulary; from Radford et al. 2019, ``encoder.py``."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {byte: chr(byte) for byte in plain} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    assert set(table.values()) == set(pre_tokenizers.ByteLevel.alphabet())  # noqa: S101
    return table
