"""The ``tokenizer.json`` text inside a fast tokenizer, taken apart and put together again from known parts only.

What reaches the ``tokenizers`` library is written anew from checked values: no regular expression, no unknown component
and no unbounded number of the file. Format: the serialisation of huggingface/tokenizers 0.9 to 0.2x.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, TypeAlias, TypeGuard

from ..errors import listed, shown
from .nodes import Objection

Json: TypeAlias = Any

#: Bounds, each some ten times what the tokenizers of the rounds need.
MOST_TOKENS: Final = 1_000_000
LONGEST_TOKEN: Final = 1_024
LARGEST_ID: Final = 2**24
MOST_ADDED: Final = 20_000
LONGEST_WORD: Final = 1_000
_LONGEST_TEXT: Final = 48 * 2**20


def _flag(value: Json) -> bool:
    return isinstance(value, bool)


def _flag_or_none(value: Json) -> bool:
    return value is None or isinstance(value, bool)


_Fields: TypeAlias = Mapping[str, Callable[[Json], bool]]

_NORMALIZERS: Final[Mapping[str, _Fields]] = {
    "BertNormalizer": {
        "clean_text": _flag, "handle_chinese_chars": _flag, "strip_accents": _flag_or_none, "lowercase": _flag,
    },
    "Strip": {"strip_left": _flag, "strip_right": _flag},
    **{name: {} for name in ("Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents")},
}  # fmt: skip
_BYTE_LEVEL: Final[_Fields] = {"add_prefix_space": _flag, "trim_offsets": _flag, "use_regex": _flag}
_PRE_TOKENIZERS: Final[Mapping[str, _Fields]] = {
    "BertPreTokenizer": {},
    "ByteLevel": _BYTE_LEVEL,
    "Whitespace": {},
    "WhitespaceSplit": {},
}
_ADDED: Final = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}


def checked_specification(text: str | bytes) -> dict[str, Json]:
    """A ``tokenizer.json`` with nothing in it but checked values of known components.

    Truncation and padding are left out: who encodes decides about them.

    Raises:
        Objection: not JSON, a component that the rounds' tokenizers do not have, or a value out of range.
    """
    if len(text) > _LONGEST_TEXT:
        raise Objection(f"a tokenizer.json of {len(text)} bytes; no tokenizer of the rounds needs {_LONGEST_TEXT}")
    try:
        whole = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise Objection(f"a tokenizer.json that is not JSON: {shown(problem, 100)}") from None
    if not isinstance(whole, dict):
        raise Objection("a tokenizer.json that is not a JSON object")
    model = _model(whole.get("model"))
    added = _added_tokens(whole.get("added_tokens"))
    ids = {**model["vocab"], **{token["content"]: token["id"] for token in added}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": _component(whole.get("normalizer"), "normalizer", "normalizers", _NORMALIZERS),
        "pre_tokenizer": _component(whole.get("pre_tokenizer"), "pre-tokenizer", "pretokenizers", _PRE_TOKENIZERS),
        "post_processor": _post_processor(whole.get("post_processor"), ids),
        "decoder": decoder(model),
        "model": model,
    }


def decoder(model: Mapping[str, Json]) -> dict[str, Json]:
    """The decoder that belongs to a checked model."""
    if model["type"] == "WordPiece":
        return {"type": "WordPiece", "prefix": model["continuing_subword_prefix"], "cleanup": True}
    return {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def vocabulary(pairs: Iterable[tuple[object, object]]) -> dict[str, int]:
    """Token → id, checked: text, bounded, no id twice.

    Raises:
        Objection: it is not.
    """
    found: dict[str, int] = {}
    for token, number in pairs:
        if not is_token(token) or not is_id(number):
            raise Objection("a vocabulary that is not a table of tokens and their numbers")
        found[token] = number
        if len(found) > MOST_TOKENS:
            raise Objection(f"a vocabulary of more than {MOST_TOKENS} tokens")
    if not found:
        raise Objection("an empty vocabulary")
    if len(set(found.values())) != len(found):
        raise Objection("a vocabulary in which two tokens have one number")
    return found


def is_token(value: object) -> TypeGuard[str]:
    """A text that a vocabulary may hold. Lone surrogates cannot be written as UTF-8."""
    return isinstance(value, str) and len(value) <= LONGEST_TOKEN and (value.isascii() or _encodable(value))


def is_id(value: object) -> TypeGuard[int]:
    """A row of an embedding table."""
    return type(value) is int and 0 <= value < LARGEST_ID


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _component(node: Json, what: str, inner: str, known: Mapping[str, _Fields]) -> Json:
    """A normalizer or pre-tokenizer, or a sequence of them."""
    if node is None:
        return None
    kind = _kind(node, what)
    if kind == "Sequence":
        parts = node.get(inner)
        if not isinstance(parts, list) or len(parts) > 16:
            raise Objection(f"a {what} that is not a sequence of up to 16")
        return {"type": "Sequence", inner: [_one(part, what, known) for part in parts]}
    return _one(node, what, known)


def _one(node: Json, what: str, known: Mapping[str, _Fields]) -> Json:
    kind = _kind(node, what)
    if kind not in known:
        raise Objection(f"a {what} of type {shown(kind, 40)}; known are {listed(known, 12)}")
    return _fields(node, kind, what, known[kind])


def _fields(node: Json, kind: str, what: str, fields: _Fields) -> dict[str, Json]:
    made: dict[str, Json] = {"type": kind}
    for name, fits in fields.items():
        if name in node:
            if not fits(node[name]):
                raise Objection(f"a {what} {kind} whose {name} is neither true nor false")
            made[name] = node[name]
    return made


def _kind(node: Json, what: str) -> str:
    kind = node.get("type") if isinstance(node, dict) else None
    if not isinstance(kind, str):
        raise Objection(f"a {what} without a type")
    return kind


def _model(node: Json) -> dict[str, Json]:
    if not isinstance(node, dict):
        raise Objection("a tokenizer.json without a model")
    kind = node.get("type", "BPE" if "merges" in node else "WordPiece")  # tokenizers 0.9 left the type out
    table = node.get("vocab")
    if kind not in ("WordPiece", "BPE") or not isinstance(table, dict):
        raise Objection(f"a tokenizer model of type {shown(kind, 40)}; known are WordPiece and byte-level BPE")
    vocab = vocabulary(table.items())
    if kind == "WordPiece":
        return word_piece(
            vocab,
            node.get("unk_token", "[UNK]"),
            node.get("continuing_subword_prefix", "##"),
            node.get("max_input_chars_per_word", 100),
        )
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if node.get(name):
            raise Objection(f"a BPE model with {name}, which the rounds' tokenizers do not have")
    for name in ("fuse_unk", "byte_fallback", "ignore_merges"):
        if node.get(name) not in (None, False):
            raise Objection(f"a BPE model with {name}, which the rounds' tokenizers do not have")
    merges = node.get("merges")
    if not isinstance(merges, list):
        raise Objection("a BPE model without merges")
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in merges)
    return byte_pairs(vocab, pairs, node.get("unk_token"))


def word_piece(vocab: dict[str, int], unknown: object, prefix: object, longest: object) -> dict[str, Json]:
    """A checked WordPiece model; ``longest`` is the number of characters from which a word is unknown.

    Raises:
        Objection: a value is out of range, or the unknown token is not in the vocabulary.
    """
    if not isinstance(unknown, str) or unknown not in vocab:
        raise Objection("a WordPiece vocabulary that lacks the token for unknown words")
    if not isinstance(prefix, str) or len(prefix) > 16:
        raise Objection("a WordPiece prefix that is not a short text")
    if type(longest) is not int or not 0 < longest <= LONGEST_WORD:
        raise Objection(f"max_input_chars_per_word is no number from 1 to {LONGEST_WORD}")
    return {
        "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": prefix,
        "max_input_chars_per_word": longest, "vocab": vocab,
    }  # fmt: skip


def byte_pairs(vocab: dict[str, int], merges: Iterable[object], unknown: object) -> dict[str, Json]:
    """A checked byte-level BPE model; every merge and its result must be in the vocabulary.

    Raises:
        Objection: they are not.
    """
    if unknown is not None and (not isinstance(unknown, str) or unknown not in vocab):
        raise Objection("an unknown token that is not in the vocabulary")
    checked = []
    for merge in merges:
        if not isinstance(merge, (list, tuple)) or len(merge) != 2:
            raise Objection("a merge that is not a pair of tokens")
        first, second = merge
        if not isinstance(first, str) or not isinstance(second, str) or first not in vocab or second not in vocab:
            raise Objection("a merge of tokens that are not in the vocabulary")
        if first + second not in vocab or " " in first + second:
            raise Objection("a merge whose result is not in the vocabulary")
        checked.append(f"{first} {second}")
        if len(checked) > MOST_TOKENS:
            raise Objection(f"more than {MOST_TOKENS} merges")
    return {
        "type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocab, "merges": checked,
    }  # fmt: skip


def _added_tokens(node: Json) -> list[dict[str, Json]]:
    if node is None:
        return []
    if not isinstance(node, list) or len(node) > MOST_ADDED:
        raise Objection(f"added tokens that are not a list of up to {MOST_ADDED}")
    made = []
    for entry in node:
        if not isinstance(entry, dict) or not is_token(entry.get("content")) or not is_id(entry.get("id")):
            raise Objection("an added token without a text and a number")
        options = {name: entry.get(name, default) for name, default in _ADDED.items()}
        if not entry["content"] or not all(map(_flag, options.values())):
            raise Objection("an added token that is empty, or with an option that is neither true nor false")
        made.append({"id": entry["id"], "content": entry["content"], **options})
    return sorted(made, key=lambda token: int(token["id"]))


def _post_processor(node: Json, ids: Mapping[str, int]) -> Json:
    if node is None:
        return None
    kind = _kind(node, "post-processor")
    if kind == "Sequence":
        parts = node.get("processors")
        if not isinstance(parts, list) or len(parts) > 4 or any(_kind(p, "post-processor") == kind for p in parts):
            raise Objection("a post-processor that is not a sequence of up to 4")
        return {"type": kind, "processors": [_post_processor(part, ids) for part in parts]}
    if kind == "ByteLevel":
        return _fields(node, kind, "post-processor", _BYTE_LEVEL)
    if kind in ("BertProcessing", "RobertaProcessing"):
        made = _fields(node, kind, "post-processor", _BYTE_LEVEL if kind == "RobertaProcessing" else {})
        return {**made, **{name: _special(node.get(name), ids) for name in ("sep", "cls")}}
    if kind == "TemplateProcessing":
        return _template(node, ids)
    raise Objection(f"a post-processor of type {shown(kind, 40)}, which the rounds' tokenizers do not have")


def _special(node: Json, ids: Mapping[str, int]) -> list[Json]:
    text, number = node if isinstance(node, list) and len(node) == 2 else (None, None)
    if not isinstance(text, str) or not is_id(number) or ids.get(text) != number:
        raise Objection("a post-processor whose special tokens are not in the vocabulary")
    return [text, number]


def _template(node: Json, ids: Mapping[str, int]) -> dict[str, Json]:
    specials = node.get("special_tokens")
    if not isinstance(specials, dict) or len(specials) > 16:
        raise Objection("a template without its special tokens")
    made = {}
    for name, entry in specials.items():
        tokens, numbers = (entry.get("tokens"), entry.get("ids")) if isinstance(entry, dict) else (None, None)
        if not isinstance(tokens, list) or not isinstance(numbers, list) or not 0 < len(tokens) == len(numbers) <= 4:
            raise Objection("a template with a special token that has no number")
        for pair in zip(tokens, numbers, strict=True):
            _special([*pair], ids)
        made[name] = {"id": name, "ids": numbers, "tokens": tokens}
    pieces = {which: _pieces(node.get(which), made) for which in ("single", "pair")}
    return {"type": "TemplateProcessing", **pieces, "special_tokens": made}


def _pieces(node: Json, specials: Mapping[str, Json]) -> list[Json]:
    if not isinstance(node, list) or len(node) > 16:
        raise Objection("a template that is not a list of up to 16 pieces")
    made: list[Json] = []
    for piece in node:
        kind, value = next(iter(piece.items())) if isinstance(piece, dict) and len(piece) == 1 else ("", None)
        name, side = (value.get("id"), value.get("type_id")) if isinstance(value, dict) else (None, None)
        if not isinstance(name, str):
            name = ""
        known = name in specials if kind == "SpecialToken" else kind == "Sequence" and name in ("A", "B")
        if not known or type(side) is not int or not 0 <= side < 8:
            raise Objection("a template with a piece that is neither a text nor a special token")
        made.append({kind: {"id": name, "type_id": side}})
    return made
