"""Comparisons of hand-made runs in which every figure is known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.tables.made_runs import HOSTILE, failed_row, made_row
from trojai_seam.errors import UsageProblem
from trojai_seam.tables import csv_bytes, results_frame
from trojai_seam.tables.comparison import changed_models, compare, overview_texts
from trojai_seam.tables.formats import FORMATS, formatted
from trojai_seam.tables.frames import with_expected
from trojai_seam.tables.side_by_side import line_texts, sign_test
from trojai_seam.tables.statistics import mean_intervals


def poisoned(number: int, fidelity: float | None, **values) -> dict:
    return made_row(2 * number + 1, **{"fidelity": fidelity, "asr_after": 0.0, "seconds_total": 1.0, **values})


def line(comparison, measure: str, group: str = "poisoned", run: str = "b"):
    frame = comparison.differences
    (found,) = frame[(frame["measure"] == measure) & (frame["group"] == group) & (frame["run"] == run)].to_dict(
        "records"
    )
    return found


A = [
    poisoned(0, 0.5),
    poisoned(1, 0.2, asr_after=0.5),
    poisoned(2, 0.9),
    failed_row(7),
    made_row(8, kept_accuracy=0.75),
]
B = [poisoned(0, 0.7), poisoned(1, 0.6, asr_after=0.1), failed_row(5), poisoned(3, 0.4), made_row(8, kept_accuracy=0.5)]


def test_pairs_are_the_models_that_both_scored():
    comparison = compare({"a": results_frame(A), "b": results_frame(B)})
    fidelity = line(comparison, "fidelity")
    assert fidelity["n"] == 2
    assert (fidelity["mean_first"], fidelity["mean_run"]) == (pytest.approx(0.35), pytest.approx(0.65))
    assert fidelity["difference"] == pytest.approx(0.3)
    assert (fidelity["better"], fidelity["worse"], fidelity["same"]) == (2, 0, 0)
    assert pd.isna(fidelity["low"])  # two pairs say nothing about how sure it is
    attack = line(comparison, "asr_after")
    assert attack["difference"] == pytest.approx(-0.2)
    assert (attack["better"], attack["worse"], attack["same"]) == (1, 0, 1)  # lower is better
    kept = line(comparison, "kept_accuracy", "clean")
    assert (kept["n"], kept["difference"], kept["worse"]) == (1, -0.25, 1)


def test_every_model_has_a_verdict():
    verdicts = compare({"a": results_frame(A), "b": results_frame(B)}).models.set_index("model_id")["verdict"]
    assert verdicts.to_dict() == {
        "id-00000001": "better",
        "id-00000003": "better",
        "id-00000005": "lost",
        "id-00000007": "gained",
        "id-00000008": "worse",
    }


def test_pairing_makes_intervals_narrower_than_the_runs_differ():
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 1, 60)
    first = results_frame(poisoned(n, float(v)) for n, v in enumerate(base))
    second = results_frame(poisoned(n, float(v) + 0.05 + rng.normal(0, 0.01)) for n, v in enumerate(base))
    fidelity = line(compare({"a": first, "b": second}), "fidelity")
    assert 0.04 < fidelity["low"] < 0.05 < fidelity["high"] < 0.06
    low, high = mean_intervals({"x": base})["x"]
    assert (fidelity["high"] - fidelity["low"]) < (high - low) / 5


def test_another_file_under_the_same_name_is_no_pair():
    swapped = [{**row, "model_sha256": "f" * 64} if row["model_id"] == "id-00000001" else row for row in A]
    comparison = compare({"a": results_frame(A), "b": results_frame(swapped)})
    assert comparison.models.set_index("model_id")["verdict"]["id-00000001"] == "another file"
    assert line(comparison, "fidelity")["n"] == 2


def test_losing_a_model_never_improves_a_rank():
    rng = np.random.default_rng(1)
    rows = [poisoned(n, float(rng.uniform(-0.5, 1.1))) for n in range(8)]
    other = [poisoned(n, float(rng.uniform(-0.5, 1.1))) for n in range(8)]
    whole = compare({"a": results_frame(rows), "b": results_frame(other)}).runs.set_index("run")
    for lost in range(8):
        kept = [row for n, row in enumerate(rows) if n != lost]
        part = compare({"a": results_frame(kept), "b": results_frame(other)}).runs.set_index("run")
        assert part.loc["a", "models"] == 8  # the other run knows that there is one more
        assert part.loc["a", "coverage"] == 7 / 8
        assert part.loc["a", "rank_fidelity"] <= whole.loc["a", "rank_fidelity"]
        assert part.loc["a", "rank"] >= whole.loc["a", "rank"]
        assert part.loc["b", "rank_fidelity"] == whole.loc["b", "rank_fidelity"]


def test_what_differs_is_said_in_a_word_each():
    first = [{**row, "seed": 0, "protocol": "held-out", "changed_options": "forget.epochs=3 a=1"} for row in A]
    changed = {"seed": 1, "preset": "finetune", "measured_on": "held-out", "changed_options": "forget.epochs=5 a=1"}
    both = {"a": results_frame(first), "b": results_frame([{**row, **changed} for row in first])}
    comparison = compare(both, {"a": "/data/x", "b": "/data/x"})
    assert comparison.notes[-1] == "settings that differ: preset, seed, forget.epochs"
    assert "seed (other examples are held out): a = 0; b = 1" in comparison.differing
    assert "forget.epochs: a = 3; b = 5" in comparison.differing
    assert compare(both, {"a": "/data/x", "b": "/data/y"}).notes[-1].endswith("forget.epochs, dataset")
    kfold = [{**row, "protocol": "kfold", "measured_on": "folds"} for row in first]
    assert compare({"a": results_frame(first), "b": results_frame(kfold)}).notes[-1] == "settings that differ: protocol"


def run_of(fidelities: list[float | None], **values) -> pd.DataFrame:
    rows = [
        poisoned(n, value, **values) if value is not None else failed_row(2 * n + 1)
        for n, value in enumerate(fidelities)
    ]
    return results_frame([*rows, made_row(100, kept_accuracy=0.75)])


def test_every_run_is_one_line():
    base = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]
    better = [0.3, 0.3, 0.5, 0.4, 0.8, 0.7, 0.8, 0.7]
    found = compare({"a": run_of(base), "b": run_of(better), "c": run_of([*base[:5], None, None, None])})
    assert list(found.lines["run"]) == ["a", "b", "c"]
    first, second, third = found.lines.to_dict("records")
    assert first["models"] == second["models"] == third["models"] == 5  # those that every run scored
    assert first["mean"] == pytest.approx(0.3)
    assert (second["pairs"], third["pairs"]) == (8, 5)
    assert second["difference"] == pytest.approx(0.1125)
    assert second["difference_low"] < 0.1125 < second["difference_high"]
    assert (second["better"], second["worse"]) == (6, 1)
    assert second["sign_test"] == pytest.approx(2 * (1 + 7) / 2**7)
    assert pd.isna(third["sign_test"])  # all the same
    assert third["kept_accuracy"] == 0.75
    assert pd.isna(first["pairs"])
    texts = line_texts(found.lines)
    assert list(texts["pairs"]) == ["-", "8", "5 (few)"]
    assert texts["difference [95 %]"][1].startswith("+0.11")
    assert texts["difference [95 %]"][2] == "0.000"
    assert any(note.startswith("few: fewer than 6 pairs") for note in found.notes)


@pytest.mark.parametrize("pairs", [4, 8])
def test_equal_pairs_give_no_certainty(pairs):
    found = compare({"a": run_of([0.5] * pairs), "b": run_of([0.7] * pairs)})
    (line_,) = found.lines.to_dict("records")[1:]
    assert line_["difference"] == pytest.approx(0.2)
    assert pd.isna(line_["difference_low"])
    assert pd.isna(line_["low"])
    assert pd.isna(line(found, "fidelity")["low"])


def test_sign_test_against_scipy():
    from scipy.stats import binomtest

    for better, worse in ((4, 0), (5, 0), (6, 0), (7, 2), (3, 3), (40, 12)):
        assert sign_test(better, worse) == pytest.approx(binomtest(better, better + worse).pvalue)
    assert sign_test(0, 0) is None


def test_clean_models_alone_are_judged_by_kept_accuracy():
    first = results_frame([made_row(2 * n, kept_accuracy=0.8) for n in range(3)])
    second = results_frame([made_row(2 * n, kept_accuracy=0.9) for n in range(3)])
    found = compare({"a": first, "b": second})
    assert set(found.lines["measure"]) == {"kept_accuracy"}
    assert "kept accuracy [95 %]" in line_texts(found.lines)


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(UsageProblem, match="at least two"):
        compare({"a": results_frame(A)})
    other = {"a": results_frame(A), "b": results_frame([made_row(1, round="another")])}
    with pytest.raises(UsageProblem, match="no model in common: no id is in both; their datasets are /x and /y"):
        compare(other, {"a": "/x", "b": "/y"})


def test_runs_that_share_ids_but_no_file_are_refused():
    others = [{**row, "model_sha256": "f" * 64} for row in A if row["status"] == "done"]
    with pytest.raises(UsageProblem, match=r"4 ids are in both, but of another model\.pt"):
        compare({"a": results_frame(A), "b": results_frame(others)})
    one = [*others[:3], A[4]]  # a single model is the same
    notes = compare({"a": results_frame(A), "b": results_frame(one)}).notes
    assert any(note.startswith("paired: 1 of 5 models of a and b (3 with another model.pt)") for note in notes)


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_names_stay_in_their_cells(form):
    rows = [poisoned(n, 0.5, model_id=text, round="r") for n, text in enumerate(HOSTILE)]
    better = [{**row, "fidelity": 0.7} for row in rows]
    comparison = compare({HOSTILE[0]: results_frame(rows), HOSTILE[3]: results_frame(with_expected(better, {}))})
    for table in (line_texts(comparison.lines), overview_texts(comparison), changed_models(comparison)):
        text = formatted(table, form)
        assert len(text.splitlines()) == len(table) + {"text": 1, "markdown": 2, "latex": 6}[form]
        assert all(row.isprintable() for row in text.splitlines())
    assert b"\n=1+1" not in csv_bytes(comparison.models).replace(b",=1", b"\n=1")
