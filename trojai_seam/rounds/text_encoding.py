"""Texts as token numbers, within what tokenizer and network can take.

Encoding is that of transformers' fast tokenizers in the versions of the rounds: truncation from the right to a length
that counts special tokens, padding on the right, windows over long contexts that share ``stride`` tokens.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ExampleProblem, UnsupportedModel
from ..loading import Budget, read_tokenizer
from .adapter_keys import LOGITS, PLACES, SUFFIXES, AdapterKeys, Group, Schema, choice
from .adapters import ShippedNetwork
from .config import RoundConfig
from .model_directory import ModelDirectory
from .shared_parts import need_part

if TYPE_CHECKING:
    import tokenizers

    from ..loading import TextTokenizer

NO_BOUND = 1_000_000
"""Tokenizers without a length of their own say 1e30."""
MOST_WINDOWS = 1000
"""Windows over one context; more are no question about a text, but an attack on the memory."""


@dataclass(frozen=True)
class Limits:
    """What a transformer can be given, read from its embedding tables; ``None`` where it has no such table.

    Attributes:
        vocabulary: rows of the table of tokens.
        positions: longest input.
        types: rows of the table of token types.
    """

    vocabulary: int | None
    positions: int | None
    types: int | None


def limits_of(model: nn.Module) -> Limits:
    """Limits of a transformer of any of the rounds' families."""
    modules = reversed(list(model.named_modules()))  # of several, the first one
    tables = {name.rpartition(".")[2]: module for name, module in modules if isinstance(module, nn.Embedding)}
    words = tables.get("word_embeddings", tables.get("wte"))
    places = tables.get("position_embeddings", tables.get("wpe"))
    types = tables.get("token_type_embeddings")
    positions = None
    if places is not None:
        # RoBERTa's positions begin behind that of the padding token.
        positions = places.num_embeddings - (0 if places.padding_idx is None else places.padding_idx + 1)
    return Limits(
        None if words is None else words.num_embeddings, positions, None if types is None else types.num_embeddings
    )


class Window(NamedTuple):
    """A question with a part of its context. ``offsets[t]`` are the characters of the context that token t stands for,
    (−1, −1) for all other tokens."""

    encoding: tokenizers.Encoding
    offsets: list[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A tokenizer fitted to a network.

    Attributes:
        path: the tokenizer's file, for messages.
        backend: encodes; without truncation and padding.
        max_length: most tokens of one input, special ones included.
        pad_id: fills up shorter inputs.
        arguments: the text inputs that the network takes, by name.
        limits: of the network.
    """

    path: Path
    backend: tokenizers.Tokenizer
    max_length: int
    pad_id: int
    arguments: tuple[str, ...]
    limits: Limits

    def one(self, text: str | Sequence[str]) -> tokenizers.Encoding:
        """A text, or words that are already apart, cut to ``max_length``."""
        words = not isinstance(text, str)
        encoding = self.backend.encode(text, is_pretokenized=words, add_special_tokens=False)
        encoding.truncate(max(1, self.max_length - self.backend.num_special_tokens_to_add(False)))
        return self.backend.post_process(encoding, None, True)

    def windows(self, question: str, context: str, stride: int, where: str) -> list[Window]:
        """Question and context as often as it takes to see all of the context, neighbours sharing ``stride`` tokens.

        Where a window has no room for twice the stride (networks far shorter than the rounds'), neighbours share half
        of a window.

        Raises:
            ExampleProblem: the question leaves no room, or the context is out of all proportion; names ``where``.
        """
        asked = self.backend.encode(question, add_special_tokens=False)
        text = self.backend.encode(context, add_special_tokens=False)
        room = self.max_length - self.backend.num_special_tokens_to_add(True) - len(asked)
        if room < 2:
            raise ExampleProblem(
                f"{where}: a question of {len(asked)} tokens leaves no room for the context within {self.max_length}"
            )
        shared = min(stride, room // 2)
        if len(text) > room + (MOST_WINDOWS - 1) * (room - shared):
            raise ExampleProblem(f"{where}: a context of {len(text)} tokens, more than {MOST_WINDOWS} windows")
        text.truncate(room, stride=shared)
        found = []
        for part in (text, *text.overflowing):
            encoding = self.backend.post_process(asked, part, True)
            # Not the offsets of ``encoding``: RoBERTa's post-processor cuts blanks off them, and did so before.
            places = iter(part.offsets)
            found.append(Window(encoding, [next(places) if s == 1 else (-1, -1) for s in encoding.sequence_ids]))
        return found

    def tensors(self, encodings: Sequence[tokenizers.Encoding]) -> dict[str, Tensor]:
        """The network's inputs ``int64 [N, L]``, padded to the longest.

        Raises:
            ExampleProblem: a token that the network has no row for.
        """
        longest = max(len(encoding) for encoding in encodings)
        rows: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "token_type_ids": []}
        for encoding in encodings:
            missing = longest - len(encoding)
            rows["input_ids"].append([*encoding.ids, *[self.pad_id] * missing])
            rows["attention_mask"].append([*[1] * len(encoding), *[0] * missing])
            # RoBERTa has a single row of token types, and NIST passed zeros.
            several = self.limits.types is None or self.limits.types > 1
            types = encoding.type_ids if several else [0] * len(encoding)
            rows["token_type_ids"].append([*types, *[0] * missing])
        inputs = {name: torch.tensor(rows[name], dtype=torch.int64) for name in self.arguments}
        most = int(inputs["input_ids"].max())
        if self.limits.vocabulary is not None and most >= self.limits.vocabulary:
            raise ExampleProblem(
                f"{self.path}: gives token numbers up to {most}, but the network has {self.limits.vocabulary} rows for "
                "tokens: this is another model's tokenizer"
            )
        return inputs


def text_encoder(
    directory: ModelDirectory,
    round_config: RoundConfig,
    network: ShippedNetwork,
    model: nn.Module | None = None,
    split_words: bool = False,
) -> TextEncoder:
    """The tokenizer of a model, fitted to the network that reads its tokens.

    Args:
        directory: the model directory.
        round_config: where tokenizers are, and how long inputs may be.
        network: the network as shipped.
        model: the network that reads the tokens, where it is not the shipped one (a frozen embedding).
        split_words: texts come as words: every word then begins as one within a sentence.

    Raises:
        ExampleProblem: no tokenizer.
        RefusedArchive: its file is damaged or hostile.
        UnsupportedModel: its class is not known, or the network takes no tokens.
    """
    path = need_part(directory, round_config.preprocessing["tokenizer"], "tokenizer")
    tokenizer = open_tokenizer(path, network.workplace.budget, split_words)
    reader = network.model if model is None else model
    limits = limits_of(reader)
    bound = round_config.preprocessing["max_length"]
    own = tokenizer.model_max_length
    lengths = [bound["unset"] if own is None or own > NO_BOUND else own]
    lengths += [length for length in (bound.get("cap"), limits.positions) if length is not None]
    return TextEncoder(
        path=path,
        backend=tokenizer.backend,
        max_length=max(8, min(lengths) - bound.get("reserve", 0)),
        pad_id=next((i for i in (tokenizer.pad_id, tokenizer.eos_id) if i is not None), 0),
        arguments=_arguments(reader, directory),
        limits=limits,
    )


def _arguments(reader: nn.Module, directory: ModelDirectory) -> tuple[str, ...]:
    taken = inspect.signature(reader.forward).parameters
    arguments = tuple(name for name in ("input_ids", "attention_mask", "token_type_ids") if name in taken)
    if "input_ids" not in arguments:
        raise UnsupportedModel(
            f"{directory.path}: the network, a {type(reader).__name__}, takes no input_ids; expected one that reads "
            "tokens"
        )
    return arguments


def open_tokenizer(path: Path, budget: Budget, split_words: bool = False) -> TextTokenizer:
    """The tokenizer in ``path``. Thousands of models share a few, so the last ones stay in memory.

    With ``split_words``, byte-level tokenizers begin every word with a blank: R9 archived one RoBERTa tokenizer
    without that setting, and trained its entity models with it.
    """
    status = path.stat()
    return _open(path, status.st_size, status.st_mtime_ns, budget, split_words)


@lru_cache(maxsize=4)
def _open(path: Path, size: int, changed: int, budget: Budget, split_words: bool) -> TextTokenizer:
    tokenizer = read_tokenizer(path, budget)
    return tokenizer.with_prefix_space() if split_words else tokenizer


PART: Schema = {"$ref": "#/definitions/part"}
MAX_LENGTH: Schema = {
    "description": "texts: most tokens, special ones included: the tokenizer's own bound (unset where it has none), at "
    "most cap and the network's positions, less reserve",
    "type": "object",
    "additionalProperties": False,
    "required": ["unset"],
    "properties": {
        "unset": {"type": "integer", "minimum": 8, "maximum": 1_000_000},
        "cap": {"type": "integer", "minimum": 8, "maximum": 1_000_000},
        "reserve": {"type": "integer", "minimum": 0, "maximum": 1000},
    },
}
TEXTS: Schema = {"tokenizer": PART, "max_length": MAX_LENGTH, "logits": LOGITS}
RECORDS = Group(
    {
        "suffixes": SUFFIXES,
        "records": choice(
            "texts: files of one sentence each (word, label and label number, tab-separated), or JSON files of many "
            "records",
            *("token-files", "json"),
        ),
    },
    ("records",),
)
RECORD_KEYS = AdapterKeys(
    layout=Group(PLACES),
    examples=RECORDS,
    preprocessing=Group(TEXTS, ("tokenizer", "max_length")),
    required=("preprocessing",),
)
"""Of adapters that read whole texts."""
