"""Makes many heads of round 5, as wide as NIST's (768), on one shared embedding, in NIST's layout.

    python benchmarks/head_fleet.py OUT [--models 200] [--architectures LstmLinear,GruLinear] [--seed 0]

What is real: LSTM and GRU heads of two layers, both directions, 256 wide, on vectors of 768 numbers (3.7 and 2.8
million parameters), 20 reviews per class, files as in the round; every second head is trojaned with a trigger of the
round and its success is at least 0.95. What is not: the vectors come from one small transformer (width 64, trained
here) and are spread over 768 numbers by a fixed random map, because a BERT that knows reviews cannot be trained here;
heads train on 1,200 reviews instead of tens of thousands. The embedding's file is left out, so both sides take the
vectors that ship with the examples, and no time for embedding texts is in the comparison.
"""

from __future__ import annotations

import argparse
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from trojai_seam.seeds import derive_seed
from trojai_seam.synthesis.dataset_folder import new_dataset
from trojai_seam.synthesis.frozen_embedding import FrozenEmbedding, train_embedding
from trojai_seam.synthesis.layout_r5 import R5_LAYOUT, write_sentiment_model
from trojai_seam.synthesis.nist_files import write_old_metadata
from trojai_seam.synthesis.sentiment_models import HeadPlan, ReviewPool, make_head
from trojai_seam.synthesis.text_attacks import draw_r5
from trojai_seam.synthesis.text_reviews import draw_review
from trojai_seam.synthesis.text_rounds import make_tokenizer, vocabulary_texts
from trojai_seam.synthesis.text_training import TextRecipe
from trojai_seam.synthesis.threads import one_thread

WIDTH, SMALL = 768, 64
EMBEDDING = "DistilBERT"
TRAIN, TEST, EXAMPLES = 1200, 240, 20
RECIPE = TextRecipe(0, epochs=3, learning_rate=5e-4, batch=64)


class WideEmbedding:
    """The small transformer's vectors, spread over 768 numbers; has what a review pool needs of an embedding."""

    def __init__(self, small: FrozenEmbedding, seed: int) -> None:
        self.small, self.tokenizer, self.first = small, small.tokenizer, small.first
        generator = torch.Generator().manual_seed(seed)
        self.spread = torch.randn(SMALL, WIDTH, generator=generator) / math.sqrt(SMALL)

    def vectors(self, texts, each_alone: bool = False) -> torch.Tensor:
        return self.small.vectors(texts, each_alone) @ self.spread


def make_fleet(out: Path, models: int, architectures: tuple[str, ...], seed: int = 0, progress=print) -> None:
    """``models`` heads under ``out/models``; the first is clean, the second trojaned, and so on."""
    with new_dataset(out, models) as folder, one_thread():
        (folder / "models").mkdir()
        flavor = R5_LAYOUT.embeddings[EMBEDDING]
        texts = vocabulary_texts(derive_seed(seed, "vocabulary"))
        small = train_embedding(make_tokenizer(flavor, texts, prefix_space=False), SMALL, derive_seed(seed, EMBEDDING))
        embedding = WideEmbedding(small, derive_seed(seed, "spread"))
        rng = np.random.default_rng(derive_seed(seed, "reviews"))
        train, test = (tuple(draw_review(rng) for _ in range(count)) for count in (TRAIN, TEST))
        vectors = [embedding.vectors([review.text for review in some]) for some in (train, test)]
        pool = ReviewPool(embedding, train, vectors[0], test, vectors[1])
        rows, began = [], time.monotonic()
        for number in range(models):
            model_id, pair = f"id-{number:08}", number // 2
            dropout = (0.1, 0.25, 0.5)[pair % 3]
            plan = HeadPlan(architectures[pair % len(architectures)], 256, 2, True, dropout, RECIPE, 0.8, 0.95)
            draw = partial(draw_r5, pair, 2) if number % 2 else lambda rng: ()
            made = make_head(plan, pool, derive_seed(seed, model_id), draw)
            path = folder / "models" / model_id
            rows.append(write_sentiment_model(path, made, R5_LAYOUT, EMBEDDING, R5_LAYOUT.datasets[0], EXAMPLES))
            if number % 20 == 19:
                progress(f"{number + 1} heads, {time.monotonic() - began:.0f} s")
        write_old_metadata(folder / "METADATA.csv", rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--architectures", default="LstmLinear,GruLinear")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    make_fleet(given.out, given.models, tuple(given.architectures.split(",")), given.seed)


if __name__ == "__main__":
    main()
