"""``--where`` selects as pandas does where pandas is plain, says so where it is odd, and runs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.made_rounds import write_round
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.batch.where import Condition
from trojai_seam.errors import UsageProblem

ROWS = [
    {"arch": "resnet50", "epochs": 3, "loss": 0.5, "poisoned": True, "triggers": ["filter", "polygon"]},
    {"arch": "vgg16bn", "epochs": 10, "loss": None, "poisoned": False, "triggers": []},
    {"arch": None, "epochs": None, "loss": float("nan"), "poisoned": None, "triggers": None},
    {"arch": "resnet18", "epochs": 7, "loss": 2.0, "poisoned": True, "triggers": ["filter"]},
]
COLUMNS = [*ROWS[0], "odd name", "group.key"]


def chosen(text: str) -> list[int]:
    condition = Condition(text, COLUMNS)
    return [number for number, row in enumerate(ROWS) if condition.holds(row)]


AS_PANDAS = [
    "arch == 'resnet50'",
    "arch != 'resnet50'",
    "arch in ['resnet50', 'vgg16bn']",
    "arch not in ['resnet50', 'vgg16bn']",
    "arch == ['resnet50', 'vgg16bn']",
    "loss < 1",
    "loss >= 0.5",
    "loss != 2",
    "not loss < 1",
    "epochs > 3 and epochs < 10",
    "3 < epochs <= 10",
    "epochs == 3 | epochs == 7",
    "epochs == 3 or loss > 1 & epochs > 100",
    "~(epochs == 3)",
    "epochs % 2 == 1",
    "-epochs < -3",
    "epochs * 2 + 1 == 7",
    "loss.isna()",
    "loss.notna() and epochs.between(3, 7)",
    "epochs.isin([3, 10])",
    "arch.str.contains('net5', na=False)",
    "arch.str.startswith('res', na=False)",
    "arch.str.len() == 7",
    "arch.str.upper() == 'VGG16BN'",
    "arch == '&'",
    'arch == "it\'s ` | ~"',
]


@pytest.mark.parametrize("text", AS_PANDAS)
def test_as_pandas(text):
    frame = pd.DataFrame(ROWS)
    frame["odd name"] = 1
    expected = list(frame.query(text, engine="python").index)
    assert chosen(text.replace(", na=False", "")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("poisoned", [0, 3]),
        ("not poisoned", [1, 2]),
        ("poisoned == False", [1]),
        ("poisoned == None", [2]),
        ("poisoned is not None", [0, 1, 3]),
        ("arch == None", [2]),
        ("'filter' in triggers", [0, 3]),
        ("'filter' not in triggers", [1, 2]),
        ("['polygon', 'other'] in triggers", [0]),
        ("triggers == ['filter']", [3]),
        ("triggers.isna()", [2]),
        ("'net' in arch", [0, 3]),
        ("`odd name` == None", [0, 1, 2, 3]),
        ("group.key != 3", [0, 1, 2, 3]),
        ("loss / 0 > 1", []),
        ("arch.str.fullmatch('resnet[0-9]+')", [0, 3]),
    ],
)
def test_missing_values_truth_values_and_lists(text, expected):
    assert chosen(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no expression"),
        ("arch ==", "is no expression"),
        ("arch = 'x'", "is no expression"),
        ("@evil", "is no expression"),
        ("arhc == 'x'", "did you mean arch?"),
        ("colour == 'x'", "known: arch"),
        ("__import__('os').system('touch /tmp/ran')", "not allowed"),
        ("arch.__class__.__mro__", "no column"),
        ("().__class__", "no column"),
        ("arch.apply(1)", "not allowed"),
        ("arch.str.replace('a', 'b') == 'x'", "not allowed"),
        ("[x for x in triggers]", "not allowed"),
        ("lambda: 1", "not allowed"),
        ("(lambda: 1)()", "not allowed"),
        ("f'{arch}' == 'x'", "not allowed"),
        ("epochs ** 99 > 1", "not allowed"),
        ("arch if poisoned else loss", "not allowed"),
        ("arch[0] == 'r'", "not allowed"),
        ("(x := 3) == epochs", "not allowed"),
        ("b'x' == arch", "not allowed"),
        ("arch < 3", "text and a number have no order"),
        ("epochs", "neither true nor false"),
        ("arch + 1 == 2", "cannot calculate"),
        ("arch.str.contains('(')", "no regular expression"),
        ("epochs.str.contains('3')", ".str needs text"),
        ("3 in epochs", "nothing is in a number"),
        ("(" * 5000 + "1" + ")" * 5000, "--where"),
        ("not " * 2000 + "poisoned", "--where"),
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
        ("learning_rate > 0.05 and 'a' in triggers", [1, 2]),
        ("group.key >= 1", [1, 2]),
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
