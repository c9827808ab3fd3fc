"""Words that a slow BERT tokenizer was told never to split: the one rule that no component of ``tokenizers`` knows.

Source: huggingface/transformers 4.2, ``tokenization_bert.py``: ``BasicTokenizer`` keeps such a word as it is if blanks
stand around it, or if splitting off punctuation leaves it; ``BertTokenizer`` then looks it up as a whole.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tokenizers import NormalizedString, PreTokenizedString, Tokenizer


def keep_words(backend: Tokenizer, words: frozenset[str], strip: bool) -> None:
    """Make ``backend``, a WordPiece tokenizer that leaves accents in place, keep ``words`` whole.

    Words outside the vocabulary become the unknown token. A backend with a Python part cannot be serialised.
    """
    from tokenizers import pre_tokenizers

    unknown = {word for word in words if backend.token_to_id(word) is None}
    part = _KeptWords(words, unknown, backend.model.unk_token, strip)
    backend.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(part)


#: BERT's notion: every printable ASCII sign that is neither letter nor digit counts, ``$`` and ``^`` too.
_PUNCTUATION: Final = r"[!-/:-@\[-`{-~]|\p{P}"


class _KeptWords:
    """A pre-tokenizer on text whose control characters are gone, and that is lower-cased if it shall be."""

    def __init__(self, words: frozenset[str], unknown: set[str], marker: str, strip: bool) -> None:
        from tokenizers import Regex

        self._words, self._unknown, self._marker = words, unknown, marker
        self._strip = strip
        self._blank, self._punctuation = Regex(r"\s+"), Regex(_PUNCTUATION)

    def pre_tokenize(self, text: PreTokenizedString) -> None:
        text.split(self._split)

    def _split(self, _: int, text: NormalizedString) -> list[NormalizedString]:
        found: list[NormalizedString] = []
        for word in text.split(self._blank, "removed"):
            if str(word) not in self._words:
                if self._strip:
                    word.nfd()
                    word.filter(lambda character: unicodedata.category(character) != "Mn")
                pieces = word.split(self._punctuation, "isolated")
            else:
                pieces = [word]
            found += [self._known(piece) for piece in pieces]
        return found

    def _known(self, piece: NormalizedString) -> NormalizedString:
        text = str(piece)
        if text in self._unknown:
            piece.replace(text, self._marker)
        return piece
