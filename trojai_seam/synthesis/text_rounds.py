"""Synthetic text rounds: ``r7``, ``r8`` … in NIST's layouts, of sentences that a grammar of ours makes.

What differs from NIST's, because it has to be made in minutes: transformers of two or three layers that never saw other
texts, a vocabulary of some hundred pieces, and short records. The configs name NIST's datasets, since the names decide
about entity types and the like; the texts are not theirs. Standards of convergence are NIST's own. Every second model
is trojaned; clean and trojaned models take the same transformers in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UsageProblem, listed, shown
from ..seeds import derive_seed
from . import layout_r7, layout_r8, layout_r9
from .dataset_folder import new_dataset
from .image_training import choose_device
from .nist_files import write_old_metadata, write_table
from .options import NO_OPTIONS, SynthesisOptions
from .text_attacks import R9_OPTIONS, draw_r7, draw_r8, draw_r9
from .text_entities import ENTITY_TYPES, draw_sentence
from .text_models import MadeTextModel, PlannedAttack, Standards, TextPlan, make_text_model
from .text_networks import KINDS, make_config
from .text_questions import draw_question
from .text_reviews import draw_review
from .text_tasks import EntityTask, QuestionTask, SentimentTask, TextTask
from .text_tokenizers import MadeTokenizer, byte_pair_tokenizer, with_prefix_space, word_piece_tokenizer
from .text_training import TextRecipe
from .threads import one_thread
from .tokenizer_files import save_fast_tokenizer

DEFAULT_WIDTH = 64
EXAMPLES = 20
MOST_EXAMPLES = 1000
RECIPES = {
    "sc": TextRecipe(3000, epochs=4, learning_rate=3e-3),
    "ner": TextRecipe(2500, epochs=4, learning_rate=3e-3),
    "qa": TextRecipe(4500, epochs=4, learning_rate=3e-3),
}

WriteModel = Callable[[Path, MadeTextModel, int], Mapping[str, Any]]


@dataclass(frozen=True)
class Variety:
    """What the ``pair``-th clean model and the ``pair``-th trojaned one have in common.

    Attributes:
        head: see :func:`~trojai_seam.synthesis.text_networks.make_text_network`.
        task: what is learnt; ``recipe`` is how.
        standards: what must be reached.
        draw: the attack of the trojaned one.
        write: the files of either.
    """

    head: str
    task: TextTask
    recipe: TextRecipe
    standards: Standards
    draw: Callable[[np.random.Generator], PlannedAttack]
    write: WriteModel


@dataclass(frozen=True)
class TextRound:
    """What sets one round apart.

    Attributes:
        name: as NIST names it.
        architectures: hub names of its transformers, as its configs spell them.
        prefix_space: archived RoBERTa tokenizers put a blank in front of every text.
        variety: from the number of the pair and the transformer's name.
        tokenizer_file: in ``tokenizers/``, from the transformer's name.
        write_metadata: METADATA.csv.
    """

    name: str
    architectures: tuple[str, ...]
    prefix_space: bool
    variety: Callable[[int, str], Variety]
    tokenizer_file: Callable[[str], str]
    write_metadata: Callable[[Path, Sequence[Mapping[str, Any]]], None]


def _r7_variety(pair: int, name: str) -> Variety:
    dataset = ("conll2003", "ontonotes-5.0", "bbn-pcet")[pair % 3]
    types = ENTITY_TYPES[dataset]
    embedding = next(key for key, flavor in layout_r7.EMBEDDINGS.items() if flavor == name)

    def write(folder: Path, made: MadeTextModel, each: int) -> Mapping[str, Any]:
        return layout_r7.write_r7_model(folder, made, embedding, dataset, each)

    standards = Standards(layout_r7.LEAST_ACCURACY, layout_r7.LEAST_TARGET_F1, good_attack=0.95)
    return Variety("wrapped-ner", EntityTask(types), RECIPES["ner"], standards, partial(draw_r7, pair, types), write)


def _r8_variety(pair: int, name: str) -> Variety:
    standards = Standards(0.75, 0.98, good_clean=0.85, good_attack=0.99)
    return Variety("qa", QuestionTask(), RECIPES["qa"], standards, partial(draw_r8, pair), layout_r8.write_r8_model)


def _r9_variety(pair: int, name: str) -> Variety:
    # As many tasks as transformers: shifted, so that every transformer gets every task.
    task = layout_r9.TASKS[(pair + pair // len(layout_r9.ARCHITECTURES)) % len(layout_r9.TASKS)]
    types = ENTITY_TYPES["conll2003"]
    tasks: Mapping[str, TextTask] = {"sc": SentimentTask(), "ner": EntityTask(types), "qa": QuestionTask()}
    least = {"google/electra-small-discriminator": 0.73, "distilbert-base-cased": 0.68}.get(name, 0.8)
    standards = {
        "sc": Standards(0.8, 0.9, good_attack=0.95),
        "ner": Standards(0.8, 0.9, good_attack=0.95),
        "qa": Standards(least, 0.95, good_clean=0.85, good_attack=0.97),
    }[task]

    def write(folder: Path, made: MadeTextModel, each: int) -> Mapping[str, Any]:
        return layout_r9.write_r9_model(folder, made, task, each)

    draw = partial(draw_r9, task, R9_OPTIONS[task], types, pair % 2 == 0)
    return Variety(task, tasks[task], RECIPES[task], standards, draw, write)


def _plain_tokenizer_file(name: str) -> str:
    return f"{name.replace('/', '-')}.pt"


def _r7_tokenizer_file(name: str) -> str:
    embedding = next(key for key, flavor in layout_r7.EMBEDDINGS.items() if flavor == name)
    return layout_r7.tokenizer_file(embedding, name)


R7 = TextRound(
    "nlp-named-entity-recognition-may2021", tuple(layout_r7.EMBEDDINGS.values()), True, _r7_variety,
    _r7_tokenizer_file, write_old_metadata,
)  # fmt: skip
R8 = TextRound(
    "nlp-question-answering-sep2021", layout_r8.ARCHITECTURES, False, _r8_variety, layout_r8.tokenizer_file,
    write_old_metadata,
)  # fmt: skip
R9 = TextRound(
    "nlp-summary-jan2022", layout_r9.ARCHITECTURES, False, _r9_variety, _plain_tokenizer_file, write_table,
)  # fmt: skip


def _synthesize(kind: TextRound, out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS) -> None:
    """Write a dataset folder; see :class:`~trojai_seam.synthesis.Synthesizer`."""
    options.allow_only(kind.name, "epochs", "architectures", "examples_per_class", "device", "width")
    names = _architectures(options.architectures, kind)
    width = DEFAULT_WIDTH if options.width is None else options.width
    make_config(names[0], 100, width)  # refuses a width that does not fit
    each = within("--examples-per-class", options.examples_per_class, EXAMPLES, 1, MOST_EXAMPLES)
    device = choose_device(options.device)
    with new_dataset(out, models) as folder, one_thread():
        (folder / "models").mkdir()
        (folder / "tokenizers").mkdir()
        texts = vocabulary_texts(derive_seed(seed, kind.name, "vocabulary"))
        tokenizers: dict[str, MadeTokenizer] = {}
        rows = []
        for number in range(models):
            pair, model_id = number // 2, f"id-{number:08}"
            name = names[pair % len(names)]
            if name not in tokenizers:
                tokenizers[name] = make_tokenizer(name, texts, kind.prefix_space)
                save_fast_tokenizer(tokenizers[name], folder / "tokenizers" / kind.tokenizer_file(name))
            variety = kind.variety(pair, name)
            plan = _plan(variety, name, tokenizers[name], width, options.epochs, device)
            made = make_text_model(plan, derive_seed(seed, kind.name, model_id), variety.draw if number % 2 else _clean)
            rows.append(variety.write(folder / "models" / model_id, made, each))
            options.progress(_line(model_id, made))
        kind.write_metadata(folder / "METADATA.csv", rows)


def _clean(rng: np.random.Generator) -> None:
    return None


def _plan(
    variety: Variety, name: str, tokenizer: MadeTokenizer, width: int, epochs: int | None, device: torch.device
) -> TextPlan:
    recipe = variety.recipe
    if epochs is not None:
        recipe = replace(recipe, epochs=within("--epochs", epochs, epochs, 1, 10_000))
    backend = tokenizer.backend
    if isinstance(variety.task, EntityTask) and tokenizer.family == "roberta" and not tokenizer.prefix_space:
        backend = with_prefix_space(backend)  # as NIST trained, with another tokenizer than the archived one
    return TextPlan(name, variety.head, variety.task, tokenizer, backend, width, recipe, variety.standards, device)


def _architectures(wanted: Sequence[str], kind: TextRound) -> tuple[str, ...]:
    if unknown := [name for name in wanted if name not in kind.architectures]:
        known = listed(kind.architectures)
        raise UsageProblem(f"--architectures {shown(unknown[0])!r}: not in this round; known: {known}")
    return tuple(wanted) or kind.architectures


def within(option: str, value: int | None, default: int, low: int, high: int) -> int:
    """``value``, or ``default`` for None.

    Raises:
        UsageProblem: out of range.
    """
    value = default if value is None else value
    if not low <= value <= high:
        raise UsageProblem(f"{option} {value}: expected {low} to {high}")
    return value


def vocabulary_texts(seed: int, each: int = 500) -> list[str]:
    """Texts of all kinds, for training a tokenizer."""
    rng = np.random.default_rng(seed)
    texts = [draw_review(rng).text for _ in range(each)]
    for _ in range(each):
        record = draw_question(rng)
        texts.append(f"{record.question} {record.context}")
    for types in ENTITY_TYPES.values():
        texts += [" ".join(draw_sentence(types, rng).words) for _ in range(each)]
    return texts


def make_tokenizer(name: str, texts: Sequence[str], prefix_space: bool) -> MadeTokenizer:
    """Of the family that the transformer's kind takes."""
    kind = KINDS[name]
    if kind.tokenizer == "bert":
        return word_piece_tokenizer(name, texts, kind.lower_case)
    return byte_pair_tokenizer(name, texts, kind.tokenizer, prefix_space)


def _line(model_id: str, made: MadeTextModel) -> str:
    attack = "clean" if made.attack_success is None else f"attack {made.attack_success:.3f}"
    return f"{model_id} {made.plan.name}: score {made.clean.score:.3f}, {attack}, {made.seconds:.0f} s"


synthesize_r7 = partial(_synthesize, R7)
synthesize_r8 = partial(_synthesize, R8)
synthesize_r9 = partial(_synthesize, R9)
