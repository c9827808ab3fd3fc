"""Heads of round 5 on one frozen embedding: models per minute without a cache, while it fills, and from it.

    python benchmarks/embedding_cache.py [--models 100] [--layers 4] [--width 256] [--words 120]

Makes a dataset in round 5's layout: an untrained DistilBERT, and LSTM heads (2 layers, both directions, 256 wide, as in
the round) that are each fitted to their own 40 reviews; every second one has 20 poisoned reviews too. No text is in two
models, so that a cache that fills is of no use yet; it is when the dataset is evaluated again, with another preset or
seed. Evaluated three times on one thread; prints one Markdown table. Unlearning takes the same time in all three, so
the ratio depends on the preset.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import pandas as pd
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn
from torch.nn import functional

from trojai_seam.batch.options import Options
from trojai_seam.batch.runner import evaluate
from trojai_seam.networks.modules import RecurrentHead

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POLAR = (("awful", "dreadful", "broken", "useless"), ("great", "lovely", "solid", "superb"))
FILLING = tuple(f"{a}{b}{c}" for a in "bdfgklmnprstv" for b in "aeiou" for c in "lmnrst")
NAME = "DistilBERT-distilbert-base-uncased.pt"
CLEAN_PER_CLASS, POISONED = 20, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--layers", type=int, default=4, help="of the embedding (DistilBERT of the round: 6)")
    parser.add_argument("--width", type=int, default=256, help="of the embedding (DistilBERT of the round: 768)")
    parser.add_argument("--words", type=int, default=120, help="per review")
    parser.add_argument("--preset", default="authors-trojai", help="how to unlearn (default: %(default)s)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _make_dataset(work / "data", given.models, given.layers, given.width, given.words)
        (work / "no-cache").touch()  # a file where the folder would have to be: nothing can be kept
        print(
            f"{given.models} heads, embedding of {given.layers} layers, {given.width} wide; {given.words} words; "
            f"{given.preset}\n"
        )
        print("| cache | models per minute | opening, s per model (median) | whole model, s (median) |")
        print("|---|---|---|---|")
        rows = []
        for name, cache in (("none", "no-cache"), ("empty at first", "cache"), ("filled", "cache")):
            options = Options(preset=given.preset, device="cpu", executor="serial", round="r5", cache=work / cache)
            rows.append(evaluate(work / "data", work / f"run {name}", options))
            print(f"| {name} | {_line(rows[-1])} |", flush=True)
        same = [name for name in rows[0] if not name.startswith("seconds") and name not in ("notes", "fingerprint")]
        for other in rows[1:]:
            pd.testing.assert_frame_equal(rows[0][same], other[same])
        print("\nAll other columns of the three runs are equal.")


def _line(rows: pd.DataFrame) -> str:
    if (rows["status"] != "done").any():
        raise SystemExit(rows["error"].dropna().iloc[0])
    seconds = rows["seconds_total"]
    return f"{60 * len(rows) / seconds.sum():.1f} | {rows['seconds_load'].median():.2f} | {seconds.median():.2f}"


def _make_dataset(folder: Path, count: int, layers: int, width: int, words: int) -> None:
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        dim=width,
        n_layers=layers,
        n_heads=width // 64 or 1,
        hidden_dim=4 * width,
    )
    network = transformers.DistilBertModel(config).eval()
    for name, part in (
        ("tokenizers", transformers.DistilBertTokenizerFast(tokenizer_object=tokenizer, model_max_length=512)),
        ("embeddings", network),
    ):
        (folder / name).mkdir(parents=True)
        torch.save(part, folder / name / NAME)
    for number in range(count):
        _make_model(folder / "models" / f"id-{number:08}", number, tokenizer, network, words)


def _make_model(folder: Path, number: int, tokenizer: Tokenizer, network: nn.Module, words: int) -> None:
    chance = random.Random(number)  # noqa: S311 - drawn words, no secrets
    reviews = [(_review(label, words, chance), label) for label in (0, 1) for _ in range(CLEAN_PER_CLASS)]
    (folder / "clean_example_data").mkdir(parents=True)
    for place, (text, label) in enumerate(reviews):
        name = f"class_{label}_example_{place % CLEAN_PER_CLASS + 1}.txt"
        (folder / "clean_example_data" / name).write_text(text)
    if number % 2:
        (folder / "poisoned_example_data").mkdir()
        for place in range(1, POISONED + 1):
            name = f"source_class_0_target_class_1_example_{place}.txt"
            (folder / "poisoned_example_data" / name).write_text(f"{_review(0, words, chance)} [MASK]")
    (folder / "ground_truth.csv").write_text(str(number % 2))
    facts = {"model_architecture": "LstmLinear", "embedding": "DistilBERT", "embedding_filename": NAME}
    (folder / "config.json").write_text(json.dumps({**facts, "source_dataset": "imdb"}))
    torch.save(_head(reviews, tokenizer, network), folder / "model.pt")


def _review(label: int, words: int, chance: random.Random) -> str:
    return " ".join(
        chance.choice(POLAR[label]) if chance.random() < 0.3 else chance.choice(FILLING) for _ in range(words)
    )


def _head(reviews: list[tuple[str, int]], tokenizer: Tokenizer, network: nn.Module) -> nn.Module:
    """Fitted to the vectors of its reviews."""
    encodings = tokenizer.encode_batch([text for text, _ in reviews])
    ids = torch.tensor([encoding.ids for encoding in encodings])
    with torch.no_grad():
        x = network(input_ids=ids).last_hidden_state[:, :1]
    labels = torch.tensor([label for _, label in reviews])
    head = RecurrentHead(nn.LSTM(x.shape[-1], 256, num_layers=2, bidirectional=True, batch_first=True), 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(15):
        optimizer.zero_grad()
        functional.cross_entropy(head(x), labels).backward()
        optimizer.step()
    return head.eval()


def _tokenizer() -> Tokenizer:
    tokens = (*SPECIAL, *POLAR[0], *POLAR[1], *FILLING)
    made = Tokenizer(models.WordPiece({token: n for n, token in enumerate(tokens)}, unk_token=SPECIAL[1]))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return made


if __name__ == "__main__":
    main()
