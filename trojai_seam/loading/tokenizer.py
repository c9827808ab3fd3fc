"""From a pickled transformers tokenizer to one of today's ``tokenizers`` library. Nothing in the file is run.

Fast tokenizers carry their own ``tokenizer.json``; slow ones (Python code in their day) are described from their
vocabulary and merges. Both come out as one :class:`TextTokenizer`. Needs neither torch nor transformers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from ..errors import RefusedArchive, UnsupportedModel, listed, shown
from .budget import Budget
from .nodes import Inert, Instance, Objection
from .state import read_object
from .tokenizer_json import Json, checked_specification
from .tokenizer_slow import (
    SPECIAL_NAMES,
    byte_level_specification,
    kept_words,
    special_token,
    token_text,
    word_piece_specification,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Class names without ``Fast`` → family. What is inside decides whether it is fast: transformers 5 dropped the suffix.
_FAMILIES: Final = {
    "BertTokenizer": "bert",
    "DistilBertTokenizer": "bert",
    "ElectraTokenizer": "bert",
    "MobileBertTokenizer": "bert",
    "GPT2Tokenizer": "byte-bpe",
    "RobertaTokenizer": "byte-bpe",
}
_GENERIC: Final = ("PreTrainedTokenizerFast", "TokenizersBackend")
_MODULE: Final = re.compile(r"transformers\.(models\.\w+\.)?tokenization_\w+", re.ASCII)
_BACKENDS: Final = {"WordPiece": "bert", "BPE": "byte-bpe"}
#: transformers writes int(1e30) where nobody set a length.
_UNSET_LENGTH: Final = 10**29


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer of a round, in today's library.

    Attributes:
        class_path: as pickled, such as ``transformers.models.electra.tokenization_electra_fast.ElectraTokenizerFast``.
        family: ``"bert"`` (WordPiece) or ``"byte-bpe"`` (GPT-2, RoBERTa).
        backend: encodes; truncation and padding are off. ``backend.encode(text, pair, is_pretokenized=…)``.
        model_max_length: in tokens, as stored; None where nobody set one.
        special_tokens: such as ``{"pad_token": "[PAD]"}``; those that the tokenizer has.
        lower_case: whether text is lower-cased.
        prefix_space: byte-level only: whether a text gets a blank in front, which word-by-word input needs; else None.
        fast: whether the file held a fast tokenizer.
        notes: what a reader of the results should know.
    """

    path: Path
    class_path: str
    family: str
    backend: Tokenizer
    model_max_length: int | None
    special_tokens: Mapping[str, str]
    lower_case: bool
    prefix_space: bool | None
    fast: bool
    notes: tuple[str, ...] = field(default=())

    def id_of(self, name: str) -> int | None:
        """The number of a special token by role, such as ``"pad_token"``; None if there is none."""
        text = self.special_tokens.get(name)
        return None if text is None else self.backend.token_to_id(text)

    @property
    def pad_id(self) -> int | None:
        """None for GPT-2, which has no padding token; rounds 5 and 6 pad it with :attr:`eos_id`."""
        return self.id_of("pad_token")

    @property
    def cls_id(self) -> int | None:
        """``[CLS]`` or ``<s>``."""
        return self.id_of("cls_token")

    @property
    def sep_id(self) -> int | None:
        """``[SEP]`` or ``</s>``."""
        return self.id_of("sep_token")

    @property
    def unk_id(self) -> int | None:
        """The token for what the vocabulary lacks."""
        return self.id_of("unk_token")

    @property
    def eos_id(self) -> int | None:
        """``<|endoftext|>`` or ``</s>``; BERT has none."""
        return self.id_of("eos_token")

    @property
    def pad_token(self) -> str | None:
        """The text behind :attr:`pad_id`."""
        return self.special_tokens.get("pad_token")

    @property
    def vocabulary_size(self) -> int:
        """Numbers of tokens, added ones included."""
        return self.backend.get_vocab_size(with_added_tokens=True)

    def with_prefix_space(self) -> TextTokenizer:
        """The same with ``add_prefix_space=True``, as rounds 7 and 9 tokenised words for RoBERTa; others as they are.

        Source: trojai-round-generation, branch nlp-summary-jan2022, ``main.py``: one archived tokenizer, made anew
        with the option for named entities.
        """
        if self.prefix_space is not False:
            return self
        specification = json.loads(self.backend.to_str())
        for part in (specification["pre_tokenizer"], specification["post_processor"]):
            _set_prefix_space(part)
        return replace(self, backend=_backend(specification), prefix_space=True)


def read_tokenizer(path: str | PathLike[str], budget: Budget | None = None) -> TextTokenizer:
    """The tokenizer in a file of ``torch.save``, without unpickling.

    Raises:
        RefusedArchive: the file is missing, damaged, hostile or beyond ``budget``, or its tokenizer makes no sense.
        UnsupportedModel: it holds no tokenizer, or one of a class that no round has.
    """
    path = Path(path)
    return tokenizer_from(path, read_object(path, budget))


def tokenizer_from(path: Path, root: Inert) -> TextTokenizer:
    """The same from an inert root that was already read.

    Raises:
        RefusedArchive, UnsupportedModel: as for :func:`read_tokenizer`.
    """
    family = _family(path, root)
    assert isinstance(root, Instance)  # noqa: S101
    try:
        pickled = root.get("_tokenizer")
        if pickled is not None:
            specification = checked_specification(_stored_json(pickled))
        elif family == "bert":
            specification = word_piece_specification(root)
        elif family == "byte-bpe":
            specification = byte_level_specification(root, roberta="Roberta" in root.cls.name)
        else:
            raise Objection("a fast tokenizer without its tokenizers.Tokenizer")
        found = _BACKENDS[specification["model"]["type"]]
        if family not in (None, found):
            raise Objection(f"a {root.cls.name} with a {specification['model']['type']} vocabulary")
        words = kept_words(root) if pickled is None and family == "bert" else frozenset()
        notes = (f"{len(words)} words are kept whole (never_split), which is slow",) if words else ()
        specials = {name: token_text(special_token(root, name)) for name in SPECIAL_NAMES}
        made = TextTokenizer(
            path=path,
            class_path=root.cls.path,
            family=found,
            backend=_keeping(specification, words) if words else _backend(specification),
            model_max_length=_length(root.get("model_max_length")),
            special_tokens=MappingProxyType({name: text for name, text in specials.items() if text is not None}),
            lower_case=_lowers(specification["normalizer"]),
            prefix_space=_prefix_space(specification["pre_tokenizer"]) if found == "byte-bpe" else None,
            fast=pickled is not None,
            notes=notes,
        )
        missing = [text for text in made.special_tokens.values() if made.backend.token_to_id(text) is None]
        if missing:
            made = replace(made, notes=(*notes, f"special tokens without a number: {listed(missing)}"))
        return made
    except Objection as problem:
        raise RefusedArchive(path, f"the tokenizer cannot be rebuilt: {problem}") from None


def describe_tokenizer(tokenizer: TextTokenizer) -> dict[str, Any]:
    """JSON-safe facts for ``trojai-seam inspect``."""
    return {
        "family": tokenizer.family,
        "fast": tokenizer.fast,
        "vocabulary": tokenizer.vocabulary_size,
        "model_max_length": tokenizer.model_max_length,
        "lower_case": tokenizer.lower_case,
        "prefix_space": tokenizer.prefix_space,
        "special_tokens": {
            name: {"text": text, "id": tokenizer.id_of(name)} for name, text in tokenizer.special_tokens.items()
        },
        "notes": list(tokenizer.notes),
    }


def _family(path: Path, root: Inert) -> str | None:
    """Family by class name; None for the generic classes, whose model decides."""
    if not isinstance(root, Instance):
        raise UnsupportedModel(f"{path}: holds no tokenizer")
    name = root.cls.name
    if _MODULE.fullmatch(root.cls.module):
        if name in _GENERIC:
            return None
        family = _FAMILIES.get(name.removesuffix("Fast"))
        if family is not None:
            return family
    raise UnsupportedModel(
        f"{path}: a {shown(root.cls.path, 120)}, which is no tokenizer of a TrojAI round; known are "
        f"{', '.join(_FAMILIES)}, slow and fast"
    )


def _stored_json(node: Inert) -> bytes | str:
    """What ``tokenizers.Tokenizer.__getstate__`` gave: the tokenizer.json as bytes."""
    if isinstance(node, Instance) and node.cls.path == "tokenizers.Tokenizer" and isinstance(node.state, (bytes, str)):
        return node.state
    raise Objection("a fast tokenizer without its tokenizer.json")


def _backend(specification: Json) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        backend: Tokenizer = Tokenizer.from_str(json.dumps(specification))
    except MemoryError:
        raise
    except BaseException as problem:  # pyo3's PanicException derives from BaseException
        if isinstance(problem, (KeyboardInterrupt, SystemExit, GeneratorExit)):
            raise
        raise Objection(f"the tokenizers library refuses it: {shown(problem, 120)}") from None
    for token in specification["added_tokens"]:
        if backend.token_to_id(token["content"]) != token["id"]:
            raise Objection(f"the added token {shown(token['content'], 40)} cannot keep its number {token['id']}")
    return backend


def _keeping(specification: Json, words: frozenset[str]) -> Tokenizer:
    from .tokenizer_words import keep_words

    parts = specification["normalizer"]
    bert = parts["normalizers"][-1] if parts["type"] == "Sequence" else parts
    strip, bert["strip_accents"] = bert["strip_accents"], False  # not in the words themselves
    backend = _backend(specification)
    keep_words(backend, words, strip)
    return backend


def _length(value: Inert) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (type(value) is int and value >= _UNSET_LENGTH):
        return None
    if type(value) is int and 0 < value < 2**31:
        return value
    raise Objection("model_max_length is no number of tokens")


def _lowers(normalizer: Json) -> bool:
    if normalizer is None:
        return False
    if normalizer["type"] == "Sequence":
        return any(map(_lowers, normalizer["normalizers"]))
    return normalizer["type"] == "Lowercase" or normalizer.get("lowercase", False) is True


def _prefix_space(pre_tokenizer: Json) -> bool:
    if pre_tokenizer is None:
        return False
    if pre_tokenizer["type"] == "Sequence":
        return any(map(_prefix_space, pre_tokenizer["pretokenizers"]))
    return pre_tokenizer["type"] == "ByteLevel" and pre_tokenizer.get("add_prefix_space", True) is True


def _set_prefix_space(part: Json) -> None:
    if part is None:
        return
    for inner in ("pretokenizers", "processors"):
        for each in part.get(inner, ()):
            _set_prefix_space(each)
    if part["type"] in ("ByteLevel", "RobertaProcessing"):
        part["add_prefix_space"] = True
