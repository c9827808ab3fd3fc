"""``--where`` selects as pandas does where pandas is plain, says so where it is odd, and runs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.made_rounds import write_round
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.batch.where import holding
from trojai_seam.errors import UsageProblem

ROWS = [
    {"arch": "resnet50", "epochs": 3, "loss": 0.5, "poisoned": True, "triggers": ["filter", "polygon"], "group.key": 3},
    {"arch": "vgg16bn", "epochs": 10, "loss": None, "poisoned": False, "triggers": [], "group.key": None},
    {"arch": None, "epochs": None, "loss": float("nan"), "poisoned": None, "triggers": None, "odd name": "x"},
    {"arch": "resnet18", "epochs": 7, "loss": 2.0, "poisoned": True, "triggers": [{"type": "filter"}]},
]


def chosen(text: str) -> list[int]:
    return [number for number, holds in enumerate(holding(text, ROWS)) if holds]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arch == 'resnet50'", [0]),
        ("arch != 'resnet50'", [1, 2, 3]),
        ("arch in ['resnet50', 'vgg16bn']", [0, 1]),
        ("loss < 1", [0]),
        ("not loss < 1", [3]),
        ("3 < epochs <= 10", [1, 3]),
        ("epochs == 3 or loss > 1 & epochs > 100", [0]),
        ("epochs * 2 + 1 == 7", [0]),
        ("loss.isna()", [1, 2]),
        ("loss.notna() and epochs.between(3, 7)", [0, 3]),
        ("epochs.isin([3, 10])", [0, 1]),
        ("arch.str.contains('net5')", [0]),
        ("arch.str.len() == 7", [1]),
        ("arch == '@'", []),
        ("poisoned", [0, 3]),
        ("not poisoned", [1]),
        ("poisoned == False", [1]),
        ("poisoned and arch == 'resnet18'", [3]),
        ("triggers.str.contains('filter')", [0, 3]),
        ("triggers == 'filter polygon'", [0]),
        ("`odd name` == 'x'", [2]),
        ("`group.key` >= 3", [0]),
    ],
)
def test_as_pandas(text, expected):
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "--where"),
        ("arch ==", "--where"),
        ("arch = 'x'", "--where"),
        ("@evil", "@ is not allowed"),
        ("arch == @pd", "@ is not allowed"),
        ("arhc == 'x'", "did you mean arch?"),
        ("colour == 'x'", "known: arch"),
        ("group.key > 1", "did you mean `group.key`?"),
        ("__import__('os').system('touch /tmp/ran')", "--where"),
        ("lambda: 1", "--where"),
        ("arch < 3", "--where"),
        ("epochs", "neither true nor false"),
        ("1", "neither true nor false"),
        ("arch + 1 == 2", "--where"),
        ("arch.str.contains('(')", "--where"),
        ("epochs.str.contains('3')", "--where"),
        ("(" * 4000 + "1" + ")" * 4000, "--where"),
        ("1" * 20_000, "longer than"),
        ("poisoned\0", "--where"),
    ],
)
def test_what_is_refused_and_what_is_said(text, words):
    with pytest.raises(UsageProblem) as caught:
        chosen(text)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200


# on a dataset ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described(tmp_path_factory) -> Path:
    """Four models with METADATA of text and configs with types."""
    dataset = write_round(tmp_path_factory.mktemp("where") / "round", 4)
    lines = ["model_name,epochs,adversarial,comment", "id-00000000,3,True,None", "id-00000001,10,False,x",
             "id-00000002,,True,007", "id-00000003,7,False,"]  # fmt: skip
    (dataset / "METADATA.csv").write_text("\n".join(lines))
    for number in range(4):
        path = dataset / "models" / f"id-{number:08}" / "config.json"
        config = json.loads(path.read_text())
        config |= {"learning_rate": 0.1 * number, "triggers": ["a"] * number, "group": {"key": number or None}}
        path.write_text(json.dumps(config))
    (dataset / "models" / "id-00000003" / "config.json").write_text("{")  # selected by METADATA, and failed
    return dataset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs > 3", [1, 3]),
        ("adversarial and epochs.isna()", [2]),
        ("comment == 'x' or comment == '007'", [1, 2]),
        ("learning_rate > 0.05 and triggers.str.contains('a')", [1, 2]),
        ("`group.key` >= 1", [1, 2]),
        ("poisoned", [1, 3]),
        ("model_id.str.endswith('3')", [3]),
    ],
)
def test_over_metadata_and_config(described, tmp_path, text, expected):
    results = evaluate(described, tmp_path / "a", Options(round="r12", device="cpu", preset="no-op", where=text))
    assert results["model_id"].tolist() == [f"id-{number:08}" for number in expected]


def test_a_condition_that_holds_for_nothing(described, tmp_path):
    with pytest.raises(UsageProblem, match="holds for none of 4 models"):
        evaluate(described, tmp_path / "a", Options(round="r12", device="cpu", where="epochs > 1000"))
    assert not (tmp_path / "a").exists()


def test_a_sample_depends_on_the_seed_alone_and_grows(tmp_path):
    dataset = write_round(tmp_path / "round", 8)

    def drawn(name: str, **options) -> set[str]:
        options = Options(round="r12", device="cpu", preset="no-op", **options)
        return set(evaluate(dataset, tmp_path / name, options)["model_id"])

    three = drawn("a", sample=3)
    assert len(three) == 3
    assert three < drawn("b", sample=5)
    assert three != drawn("c", sample=3, seed=1)
    parts = [drawn(f"d{part}", sample=3, shard=(part, 2)) for part in (1, 2)]
    assert parts[0] | parts[1] == three
    assert not parts[0] & parts[1]
