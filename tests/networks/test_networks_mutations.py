"""A few dozen seeded changes of class names and attributes of old files: refused, or what the library computes.

``benchmarks/mutated_files.py`` does thousands of them on the rounds' models; it judges here too.
"""

from __future__ import annotations

import importlib
import lzma
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.networks.test_networks_old_files import FOLDER, IDS, INPUTS
from trojai_seam.errors import TrojaiSeamError
from trojai_seam.loading import read_model
from trojai_seam.networks import rebuild

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", ["bert-torch1.7.1", "gpt2-torch1.2.0", "vit-torch1.13.1"])
def test_a_changed_file_is_refused_or_computes_what_the_library_computes_from_it(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    fuzz, mutations = importlib.import_module("mutated_files"), importlib.import_module("mutations")
    (tmp_path / "model.pt").write_bytes(lzma.decompress((FOLDER / f"{name}.pt.xz").read_bytes()))
    saved, draw = read_model(tmp_path / "model.pt"), random.Random(name)
    original, inputs = rebuild(saved), INPUTS.get(name.partition("-")[0], IDS)
    plain = mutations.computed(original, inputs)
    verdicts: Counter[str] = Counter()
    for _ in range(40):
        mutation, _node, undo = fuzz.mutate(saved, draw)
        try:
            rebuilt = rebuild(saved)
        except TrojaiSeamError:
            verdicts["refused"] += 1
        else:
            found = mutations.computed(rebuilt, inputs)
            verdict = fuzz.judged(original, rebuilt, found, plain, inputs, mutation)
            assert not verdict.partition(" (")[0].isupper(), (mutation, verdict)
            verdicts[verdict.partition(" (")[0]] += 1
        undo()
    assert 15 <= verdicts["refused"] < 40  # neither all nor none
    assert mutations.same(mutations.computed(rebuild(saved), inputs), plain)  # all were taken back
