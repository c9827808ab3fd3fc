"""Comparisons of hand-made runs in which every figure is known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.tables.made_runs import HOSTILE, failed_row, made_row
from trojai_seam.errors import UsageProblem
from trojai_seam.tables import csv_bytes, results_frame
from trojai_seam.tables.comparison import changed_models, compare, difference_texts, overview_texts
from trojai_seam.tables.formats import FORMATS, formatted
from trojai_seam.tables.frames import with_expected
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
    # Two differences, 0.2 and 0.4: a resampled mean is 0.2, 0.3 or 0.4.
    assert (fidelity["low"], fidelity["high"]) == (pytest.approx(0.2), pytest.approx(0.4))
    attack = line(comparison, "asr_after")
    assert attack["difference"] == pytest.approx(-0.2)
    assert (attack["better"], attack["worse"], attack["same"]) == (1, 0, 1)  # lower is better
    kept = line(comparison, "kept_accuracy", "clean")
    assert (kept["n"], kept["difference"], kept["worse"]) == (1, -0.25, 1)
    assert pd.isna(kept["low"])  # one pair says nothing about how sure it is


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


def test_what_differs_is_said():
    changed = [{**row, "seed": 1, "protocol": "kfold", "preset": "finetune"} for row in A]
    notes = compare({"a": results_frame([{**r, "seed": 0, "protocol": "held-out"} for r in A]),
                     "b": results_frame(changed)}).notes  # fmt: skip
    assert [note.split(" differs")[0] for note in notes if " differs" in note] == ["preset", "protocol", "seed"]
    assert "other examples are held out" in notes[-1]
    assert notes[0].startswith("paired: 4 of 5 models of a and b")  # the fifth failed
    assert notes[1].startswith("few pairs: 4 of a and b")


def test_runs_that_cannot_be_compared_are_refused():
    with pytest.raises(UsageProblem, match="at least two"):
        compare({"a": results_frame(A)})
    with pytest.raises(UsageProblem, match="no model in common"):
        compare({"a": results_frame(A), "b": results_frame([made_row(1, round="another")])})


def test_runs_that_share_ids_but_no_file_are_refused():
    others = [{**row, "model_sha256": "f" * 64} for row in A if row["status"] == "done"]
    with pytest.raises(UsageProblem, match=r"4 ids are in both, but of another model\.pt"):
        compare({"a": results_frame(A), "b": results_frame(others)})
    one = [*others[:3], A[4]]  # a single model is the same
    notes = compare({"a": results_frame(A), "b": results_frame(one)}).notes
    assert "paired: 1 of 5 models of a and b (3 with another model.pt)" in notes[0]


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_names_stay_in_their_cells(form):
    rows = [poisoned(n, 0.5, model_id=text, round="r") for n, text in enumerate(HOSTILE)]
    better = [{**row, "fidelity": 0.7} for row in rows]
    comparison = compare({HOSTILE[0]: results_frame(rows), HOSTILE[3]: results_frame(with_expected(better, {}))})
    for table in (overview_texts(comparison), difference_texts(comparison), changed_models(comparison)):
        text = formatted(table, form)
        assert len(text.splitlines()) == len(table) + {"text": 1, "markdown": 2, "latex": 6}[form]
        assert all(row.isprintable() for row in text.splitlines())
    assert b"\n=1+1" not in csv_bytes(comparison.models).replace(b",=1", b"\n=1")
