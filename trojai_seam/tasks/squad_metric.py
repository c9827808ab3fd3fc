"""Exact match and token F1 of answers, as the official SQuAD 2.0 evaluation computes them.

Rajpurkar, Jia, Liang, "Know What You Don't Know", ACL 2018, arXiv 1806.03822, and its script ``evaluate-v2.0.py``.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLE = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, single blanks."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(said: str, answers: Sequence[str]) -> bool:
    """Whether ``said`` equals any of ``answers`` after normalisation. No answer is the right one where none is given
    or all normalise to nothing."""
    return any(normalised(said) == normalised(answer) for answer in _gold(answers))


def token_f1(said: str, answers: Sequence[str]) -> float:
    """The best F1 of words over ``answers``, 0 … 1; right or wrong where either side has no words."""
    return max(_f1(normalised(said).split(), normalised(answer).split()) for answer in _gold(answers))


def _gold(answers: Sequence[str]) -> Sequence[str]:
    return [answer for answer in answers if normalised(answer)] or [""]


def _f1(said: list[str], gold: list[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    same = sum((Counter(said) & Counter(gold)).values())
    return 2 * same / (len(said) + len(gold))
