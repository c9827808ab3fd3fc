"""Tokenizers with a vocabulary of our own, for the texts that are made here.

The pieces of words come from byte-pair merges, whose training is deterministic; that of WordPiece is not, so its
vocabulary is made of the same pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

UNKNOWN = "[UNK]"
WORD_PIECES = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
ROBERTA_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
GPT2_TOKENS = ("<|endoftext|>",)
WORD_PIECE_VOCABULARY, BYTE_PAIR_VOCABULARY = 600, 900  # byte pairs: 256 of them are single bytes


@dataclass(frozen=True)
class MadeTokenizer:
    """A backend, and what the transformers class around it says.

    Attributes:
        family: ``bert``, ``roberta`` or ``gpt2``.
        name: hub name, which NIST's code looks the maximum length up with.
        backend: with special tokens added by its post-processor, without truncation and padding.
        lower_case: words lose their capitals.
        pad_id: what texts are filled up with; GPT-2 takes its end token.
        prefix_space: byte pairs only: a text, and each word given on its own, gets a blank in front.
    """

    family: str
    name: str
    backend: Tokenizer
    lower_case: bool
    pad_id: int
    prefix_space: bool = False

    @property
    def vocabulary(self) -> int:
        return int(self.backend.get_vocab_size())


def word_piece_tokenizer(
    name: str, texts: Iterable[str], lower_case: bool, size: int = WORD_PIECE_VOCABULARY
) -> MadeTokenizer:
    """As BERT's: pieces of words that begin with ``##``."""
    splitter = Tokenizer(models.BPE())
    splitter.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    splitter.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    texts = list(texts)
    splitter.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    pieces = {f"{sharp}{character}" for character in map(chr, range(33, 127)) for sharp in ("", "##")}
    for encoding in splitter.encode_batch(texts):
        words = [None, *encoding.word_ids]
        for before, word, piece in zip(words, words[1:], encoding.tokens, strict=False):
            pieces.add(piece if word != before else f"##{piece}")
    vocabulary = {piece: number for number, piece in enumerate((*WORD_PIECES, *sorted(pieces)))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=100))
    backend.normalizer, backend.pre_tokenizer = splitter.normalizer, splitter.pre_tokenizer
    backend.add_special_tokens(list(WORD_PIECES))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    backend.decoder = decoders.WordPiece(prefix="##")
    return MadeTokenizer("bert", name, backend, lower_case, vocabulary["[PAD]"])


def byte_pair_tokenizer(
    name: str, texts: Iterable[str], family: str, prefix_space: bool = False, size: int = BYTE_PAIR_VOCABULARY
) -> MadeTokenizer:
    """As RoBERTa's or GPT-2's: byte pairs, and blanks are part of the words that follow them."""
    specials = ROBERTA_TOKENS if family == "roberta" else GPT2_TOKENS
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(list(texts), trainer)
    backend.decoder = decoders.ByteLevel()
    if family == "roberta":
        ends = {token: (token, ROBERTA_TOKENS.index(token)) for token in ("<s>", "</s>")}
        backend.post_processor = processors.RobertaProcessing(
            ends["</s>"], ends["<s>"], trim_offsets=True, add_prefix_space=prefix_space
        )
    else:
        backend.post_processor = processors.ByteLevel(trim_offsets=True)
    pad = specials.index("<pad>") if family == "roberta" else 0  # special tokens come first
    return MadeTokenizer(family, name, backend, False, pad, prefix_space)


def with_prefix_space(backend: Tokenizer) -> Tokenizer:
    """The same byte pairs, with a blank in front of every word that is given on its own."""
    document = json.loads(backend.to_str())
    document["pre_tokenizer"]["add_prefix_space"] = document["post_processor"]["add_prefix_space"] = True
    changed: Tokenizer = Tokenizer.from_str(json.dumps(document))
    return changed
