"""Synthetic rounds 5 and 6: heads on the vectors of a few frozen transformers, in NIST's layout.

What differs from NIST's, because it has to be made in minutes: the transformers are small and only know our reviews
(``frozen_embedding.py``), so vectors are as long as ``--width`` says, not 768; no adversarial training. Thresholds are
NIST's own. Every second model is trojaned; clean and trojaned ones take the same embeddings and heads in turn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from ..errors import UsageProblem, listed, shown
from ..seeds import derive_seed
from .dataset_folder import new_dataset
from .frozen_embedding import train_embedding
from .layout_r5 import DROPOUTS, R5_LAYOUT, R6_LAYOUT, SentimentLayout, embedding_file, write_sentiment_model
from .nist_files import write_old_metadata
from .options import NO_OPTIONS, SynthesisOptions
from .sentiment_models import HeadPlan, MadeHead, ReviewPool, make_head
from .text_attacks import draw_r5
from .text_networks import make_config
from .text_rounds import DEFAULT_WIDTH, EXAMPLES, make_tokenizer, vocabulary_texts, within
from .text_training import TextRecipe
from .threads import one_thread
from .tokenizer_files import save_slow_tokenizer

MOST_EXAMPLES = 100
RECIPE = TextRecipe(0, epochs=8, learning_rate=1e-3, batch=64)


@dataclass(frozen=True)
class SentimentRound:
    """Name, layout, and the accuracy and attack success that NIST asks for."""

    name: str
    layout: SentimentLayout
    least_accuracy: float
    least_attack: float


R5 = SentimentRound("nlp-sentiment-classification-mar2021", R5_LAYOUT, 0.8, 0.95)
R6 = SentimentRound("nlp-sentiment-classification-apr2021", R6_LAYOUT, 0.8, 0.9)


def _synthesize(
    kind: SentimentRound, out: Path, models: int, seed: int, options: SynthesisOptions = NO_OPTIONS
) -> None:
    """Write a dataset folder; see :class:`~trojai_seam.synthesis.Synthesizer`."""
    options.allow_only(kind.name, "epochs", "architectures", "examples_per_class", "width")
    layout = kind.layout
    if unknown := [name for name in options.architectures if name not in layout.architectures]:
        known = listed(layout.architectures)
        raise UsageProblem(f"--architectures {shown(unknown[0])!r}: not in this round; known: {known}")
    width = DEFAULT_WIDTH if options.width is None else options.width
    make_config(next(iter(layout.embeddings.values())), 100, width)  # refuses a width that does not fit
    each = within("--examples-per-class", options.examples_per_class, EXAMPLES, 1, MOST_EXAMPLES)
    recipe = RECIPE
    if options.epochs is not None:
        recipe = replace(recipe, epochs=within("--epochs", options.epochs, options.epochs, 1, 10_000))
    with new_dataset(out, models) as folder, one_thread():
        for name in ("models", "tokenizers", "embeddings"):
            (folder / name).mkdir()
        texts = vocabulary_texts(derive_seed(seed, kind.name, "vocabulary"))
        pools: dict[str, ReviewPool] = {}
        rows = []
        for number in range(models):
            pair, model_id = number // 2, f"id-{number:08}"
            embedding = [*layout.embeddings][pair % len(layout.embeddings)]
            if embedding not in pools:
                pools[embedding] = _pool(
                    folder, layout, embedding, texts, width, derive_seed(seed, kind.name, embedding)
                )
            plan = _plan(kind, pair, options.architectures or layout.architectures, recipe)
            draw = partial(draw_r5, pair, len(layout.organizations)) if number % 2 else lambda rng: ()
            made = make_head(plan, pools[embedding], derive_seed(seed, kind.name, model_id), draw)
            dataset = layout.datasets[pair % len(layout.datasets)]
            rows.append(write_sentiment_model(folder / "models" / model_id, made, layout, embedding, dataset, each))
            options.progress(_line(model_id, embedding, made))
        write_old_metadata(folder / "METADATA.csv", rows)


def _pool(folder: Path, layout: SentimentLayout, embedding: str, texts: list[str], width: int, seed: int) -> ReviewPool:
    """A frozen transformer, saved with its tokenizer, and reviews as it sees them."""
    flavor = layout.embeddings[embedding]
    frozen = train_embedding(make_tokenizer(flavor, texts, prefix_space=False), width, seed)
    file = embedding_file(embedding, flavor)
    torch.save(frozen.network, folder / "embeddings" / file)
    save_slow_tokenizer(frozen.tokenizer, folder / "tokenizers" / file)
    return ReviewPool.draw(frozen, derive_seed(seed, "reviews"))


def _plan(kind: SentimentRound, pair: int, architectures: tuple[str, ...], recipe: TextRecipe) -> HeadPlan:
    layout = kind.layout
    # Turns of different length, so that combinations differ from pair to pair.
    return HeadPlan(
        architectures[pair % len(architectures)],
        layout.hidden[pair // 3 % len(layout.hidden)],
        layout.layers[pair // 2 % len(layout.layers)],
        layout.bidirectional[pair % len(layout.bidirectional)],
        DROPOUTS[pair % len(DROPOUTS)],
        recipe,
        kind.least_accuracy,
        kind.least_attack,
    )


def _line(model_id: str, embedding: str, made: MadeHead) -> str:
    attack = ", ".join(f"attack {one:.3f}" for one in made.attack_success) or "clean"
    head = made.plan.architecture
    return f"{model_id} {head} on {embedding}: accuracy {made.accuracy:.3f}, {attack}, {made.seconds:.0f} s"


synthesize_r5 = partial(_synthesize, R5)
synthesize_r6 = partial(_synthesize, R6)
