"""Slow tokenizers (pure Python in their day), described as the ``tokenizer.json`` that computes the same ids.

What the Python classes did: huggingface/transformers 4.2 to 4.39, ``tokenization_utils.py``, ``tokenization_bert.py``,
``tokenization_gpt2.py``, ``tokenization_roberta.py``. Where versions differ, the attributes that a file has tell them
apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..errors import shown
from .nodes import Call, DictNode, Inert, Instance, Objection, SetNode
from .tokenizer_json import MOST_ADDED, Json, byte_pairs, decoder, is_id, is_token, vocabulary, word_piece

#: The pattern that GPT-2 splits words with, which the ByteLevel component has built in.
_GPT2_PATTERN: Final = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

SPECIAL_NAMES: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def token_text(node: Inert) -> str | None:
    """The text of a special token, given as text or as an ``AddedToken``; None if there is none.

    Raises:
        Objection: it is something else.
    """
    if isinstance(node, Instance) and node.cls.name == "AddedToken":
        node = node.get("content")
    if node is None or (is_token(node) and node != ""):
        return node
    raise Objection("a special token that is not a text")


def special_token(tokenizer: Instance, name: str) -> Inert:
    """What a pickled tokenizer says for ``name``, such as ``"pad_token"``: transformers moved it twice."""
    found = tokenizer.get(f"_{name}")
    if found is None:
        for place in ("_special_tokens_map", "init_kwargs"):
            table = tokenizer.get(place)
            if isinstance(table, DictNode) and (found is None or place == "_special_tokens_map"):
                found = table.get(name)
            if found is not None:
                break
    return found


def word_piece_specification(tokenizer: Instance) -> dict[str, Json]:
    """``BertTokenizer`` and its relatives.

    Raises:
        Objection: an attribute is missing or out of range.
    """
    piece = tokenizer.get("wordpiece_tokenizer")
    if not isinstance(piece, Instance):
        raise Objection("a slow BERT tokenizer without its wordpiece_tokenizer")
    vocab = _vocabulary(tokenizer.get("vocab"))
    model = word_piece(vocab, piece.get("unk_token"), "##", piece.get("max_input_chars_per_word", 100))
    basic = tokenizer.get("basic_tokenizer")
    lower = False
    normalizer: Json = None
    pre_tokenizer: Json = {"type": "WhitespaceSplit"}
    if tokenizer.get("do_basic_tokenize", True) is not False:
        if not isinstance(basic, Instance):
            raise Objection("a slow BERT tokenizer without its basic_tokenizer")
        lower = _flag(basic, "do_lower_case", True)
        strip = basic.get("strip_accents")
        if strip not in (None, True, False):
            raise Objection("strip_accents is neither true nor false")
        normalizer = {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": _flag(basic, "tokenize_chinese_chars", True),
            "strip_accents": lower if strip is None else strip,
            "lowercase": lower,
        }
        if "do_split_on_punc" in _names(basic):
            # The version (4.28) that brought this option also began to compose characters.
            if not _flag(basic, "do_split_on_punc", True):
                raise Objection("do_split_on_punc is off, which the rounds' tokenizers do not have")
            normalizer = {"type": "Sequence", "normalizers": [{"type": "NFC"}, normalizer]}
        pre_tokenizer = {"type": "BertPreTokenizer"}
    specials = {text for name in SPECIAL_NAMES if (text := token_text(special_token(tokenizer, name))) is not None}
    # Basic tokenisation leaves special words alone even where the tokenizer was never told to look for them.
    added = _added_tokens(tokenizer, vocab, lower, specials if normalizer is not None else ())
    cls, sep = (_required(tokenizer, name) for name in ("cls_token", "sep_token"))
    single = [(cls, 0), ("$A", 0), (sep, 0)]
    post = _template(single, [*single, ("$B", 1), (sep, 1)], _all_ids(vocab, added))
    return _specification(model, added, normalizer, pre_tokenizer, post)


def kept_words(tokenizer: Instance) -> frozenset[str]:
    """What a BERT tokenizer's user told it never to split; empty in the rounds.

    Raises:
        Objection: not a bounded list of texts.
    """
    basic = tokenizer.get("basic_tokenizer")
    if not isinstance(basic, Instance) or tokenizer.get("do_basic_tokenize", True) is False:
        return frozenset()
    words = basic.get("never_split")
    items = words.items if isinstance(words, SetNode) else () if words is None else words
    if not isinstance(items, (list, tuple)) or len(items) > MOST_ADDED or not all(map(is_token, items)):
        raise Objection(f"never_split is no list of up to {MOST_ADDED} texts")
    return frozenset(item for item in items if is_token(item) and item)


def byte_level_specification(tokenizer: Instance, roberta: bool) -> dict[str, Json]:
    """``GPT2Tokenizer``, which adds no special tokens, and ``RobertaTokenizer``, which does.

    Raises:
        Objection: an attribute is missing or out of range.
    """
    pattern = tokenizer.get("pat")
    if pattern is not None and not (
        isinstance(pattern, Call) and pattern.args and pattern.args[0] == _GPT2_PATTERN  # flags: none but Unicode
    ):
        raise Objection("a byte-level tokenizer that splits words by another pattern than GPT-2's")
    vocab = _vocabulary(tokenizer.get("encoder"))
    ranks = tokenizer.get("bpe_ranks")
    if not isinstance(ranks, DictNode) or not all(type(rank) is int for _, rank in ranks.pairs):
        raise Objection("a byte-level tokenizer without its bpe_ranks")
    merges = [pair for pair, _ in sorted(ranks.pairs, key=_rank)]
    unknown = token_text(special_token(tokenizer, "unk_token"))
    model = byte_pairs(vocab, merges, unknown if unknown in vocab else None)
    prefix = _flag(tokenizer, "add_prefix_space", False)
    added = _added_tokens(tokenizer, vocab, False, ())
    ids = _all_ids(vocab, added)
    post: Json = None
    if roberta:
        cls, sep = (_required(tokenizer, name) for name in ("cls_token", "sep_token"))
        single = [(cls, 0), ("$A", 0), (sep, 0)]
        post = _template(single, [*single, (sep, 0), ("$B", 0), (sep, 0)], ids)
    elif _flag(tokenizer, "add_bos_token", False):
        bos = _required(tokenizer, "bos_token")
        single = [(bos, 0), ("$A", 0)]
        post = _template(single, [*single, (bos, 1), ("$B", 1)], ids)
    byte_level = {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": True}
    return _specification(model, added, None, byte_level, post)


def _specification(model: Json, added: Json, normalizer: Json, pre_tokenizer: Json, post: Json) -> dict[str, Json]:
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": post, "decoder": decoder(model), "model": model,
    }  # fmt: skip


_TEXTS: Final = {"$A": "A", "$B": "B"}


def _template(single: list[tuple[str, int]], pair: list[tuple[str, int]], ids: dict[str, int]) -> Json:
    """Post-processor from pieces (``"$A"``, ``"$B"`` or a special token, token type id)."""

    def pieces(named: list[tuple[str, int]]) -> list[Json]:
        return [
            {"Sequence" if name in _TEXTS else "SpecialToken": {"id": _TEXTS.get(name, name), "type_id": side}}
            for name, side in named
        ]

    used = {name for name, _ in (*single, *pair) if name not in _TEXTS}
    if missing := sorted(used - ids.keys()):
        raise Objection(f"the special token {shown(missing[0], 40)} is not in the vocabulary")
    specials = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in sorted(used)}
    return {
        "type": "TemplateProcessing", "single": pieces(single), "pair": pieces(pair), "special_tokens": specials,
    }  # fmt: skip


def _all_ids(vocab: dict[str, int], added: list[dict[str, Json]]) -> dict[str, int]:
    return {**vocab, **{token["content"]: token["id"] for token in added}}


def _rank(entry: tuple[Inert, Inert]) -> int:
    rank = entry[1]
    return rank if isinstance(rank, int) else 0


def _vocabulary(node: Inert) -> dict[str, int]:
    if not isinstance(node, DictNode):
        raise Objection("a slow tokenizer without its vocabulary")
    return vocabulary(node.pairs)


def _names(node: Instance) -> Iterable[str]:
    return node.state.strings() if isinstance(node.state, DictNode) else ()


def _flag(node: Instance, name: str, default: bool) -> bool:
    value = node.get(name, default)
    if not isinstance(value, bool):
        raise Objection(f"{name} is neither true nor false")
    return value


def _required(tokenizer: Instance, name: str) -> str:
    text = token_text(special_token(tokenizer, name))
    if text is None:
        raise Objection(f"a tokenizer without a {name}")
    return text


def _added_tokens(
    tokenizer: Instance, vocab: dict[str, int], lower: bool, more: Iterable[str]
) -> list[dict[str, Json]]:
    """The tokens that are cut out of a text before anything else, with their numbers, in the order of these."""
    options = {text: _options(node) for text, node in _special_nodes(tokenizer)}
    special = set(options)
    table = tokenizer.get("_added_tokens_decoder")
    numbers: dict[str, int] = {}
    if isinstance(table, DictNode):  # transformers 4.34 and later
        for number, node in table.pairs:
            text = token_text(node)
            if text is None or not isinstance(node, Instance) or not is_id(number):
                raise Objection("an added token without a text and a number")
            numbers[text], options[text] = number, _options(node)
            if not _flag(node, "special", False):
                special.discard(text)
    else:
        encoder = tokenizer.get("added_tokens_encoder")
        beyond = encoder.strings() if isinstance(encoder, DictNode) else {}
        wanted = tokenizer.get("unique_no_split_tokens")
        for text in wanted if isinstance(wanted, list) else ():
            number = beyond.get(text, vocab.get(text)) if is_token(text) and text else None
            if is_id(number):
                numbers[text] = number
    for text in sorted(more):
        if text in vocab:
            numbers.setdefault(text, vocab[text])
    if len(numbers) > MOST_ADDED:
        raise Objection(f"more than {MOST_ADDED} added tokens")
    made: list[dict[str, Json]] = [
        {
            "id": number,
            "content": text,
            **options.get(text, _BARE),
            "normalized": lower and text not in special,
            "special": text in special,
        }
        for text, number in numbers.items()
    ]
    return sorted(made, key=lambda token: int(token["id"]))


#: Tokens given as plain text lose the blanks on both sides.
_BARE: Final = {"single_word": False, "lstrip": True, "rstrip": True}


def _special_nodes(tokenizer: Instance) -> list[tuple[str, Inert]]:
    nodes = [special_token(tokenizer, name) for name in SPECIAL_NAMES]
    additional = tokenizer.get("_additional_special_tokens")
    nodes += additional if isinstance(additional, list) else []
    return [(text, node) for node in nodes if (text := token_text(node)) is not None]


def _options(node: Inert) -> dict[str, bool]:
    if not isinstance(node, Instance):
        return dict(_BARE)
    return {name: _flag(node, name, False) for name in _BARE}
