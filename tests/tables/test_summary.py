"""Summaries of hand-made results in which every figure is known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from trojai_seam.errors import UsageProblem
from trojai_seam.tables import csv_bytes, results_frame, summary_frame
from trojai_seam.tables.formats import formatted
from trojai_seam.tables.frames import grouping_columns, with_expected
from trojai_seam.tables.layout import overview, share, statistics
from trojai_seam.tables.statistics import distributions, mean_intervals
from trojai_seam.tables.summary import rank_fidelity, repaired


def scored(number: int, fidelity: float | None = None, **values) -> dict:
    poisoned = {} if fidelity is None else {"fidelity": fidelity, "asr_before": 1.0}
    return {"model_id": f"id-{number:08}", "status": "done", "poisoned": fidelity is not None, **poisoned, **values}


def failed(number: int, kind: str = "refused", **values) -> dict:
    return {"model_id": f"id-{number:08}", "status": "failed", "error_kind": kind, "error": "why", **values}


FOUR = [
    scored(0, 1.0, model_architecture="resnet18", acc_before=1.0, acc_after=1.0, asr_after=0.0),
    scored(1, 0.5, model_architecture="resnet18", acc_before=1.0, acc_after=0.75, asr_after=0.25),
    scored(2, -0.25, model_architecture="vgg11bn", acc_before=0.8, acc_after=0.8, asr_after=1.0),
    scored(3, None, model_architecture="vgg11bn", acc_before=1.0, acc_after=0.5, kept_accuracy=0.5),
    failed(4, model_architecture="vgg11bn", poisoned=True),
    failed(5, "timeout", model_architecture="resnet18", poisoned=False),
]
EXPECTED = {f"id-{n:08}": {"poisoned": n % 2 == 0, "model_architecture": "densenet121"} for n in range(8)}


def lines(summary: pd.DataFrame) -> dict:
    keys = list(summary.columns[: list(summary.columns).index("group") + 1])
    return {tuple(row[key] for key in keys): row for row in summary.to_dict("records")}


def test_counts_coverage_and_failures_by_kind():
    summary = lines(summary_frame(results_frame(with_expected(FOUR, EXPECTED))))
    whole, poisoned, clean = summary[("all",)], summary[("poisoned",)], summary[("clean",)]
    assert [whole[name] for name in ("models", "done", "failed", "missing")] == [8, 4, 2, 2]
    assert [poisoned[name] for name in ("models", "done", "failed", "missing")] == [5, 3, 1, 1]
    assert [clean[name] for name in ("models", "done", "failed", "missing")] == [3, 1, 1, 1]
    assert (whole["coverage"], poisoned["coverage"], clean["coverage"]) == (0.5, 0.6, pytest.approx(1 / 3))
    assert whole["failures"] == "1 refused, 1 timeout"


def test_the_distribution_of_fidelity_by_hand():
    poisoned = lines(summary_frame(results_frame(FOUR)))[("poisoned",)]
    assert poisoned["n_fidelity"] == 3
    assert poisoned["mean_fidelity"] == pytest.approx(1.25 / 3)
    assert poisoned["median_fidelity"] == 0.5
    assert poisoned["q05_fidelity"] == pytest.approx(-0.25 + 0.1 * 0.75)  # 0.05 · (3 - 1) = 0.1 of the first step
    assert poisoned["q95_fidelity"] == pytest.approx(1.0 - 0.1 * 0.5)
    # The least mean of three draws is the least value; the interval lies between the extremes and holds the mean.
    assert -0.25 <= poisoned["low_fidelity"] < poisoned["mean_fidelity"] < poisoned["high_fidelity"] <= 1.0
    assert pd.isna(lines(summary_frame(results_frame(FOUR)))[("clean",)]["mean_fidelity"])


def test_repaired_needs_both_a_dead_attack_and_a_kept_accuracy():
    cases = [
        (0.04, 1.0, 0.99, True),
        (0.05, 1.0, 1.0, False),  # below 5 %, not at
        (0.0, 1.0, 0.98, False),  # less than two points, not two
        (0.0, 0.9, 0.95, True),  # gaining accuracy is fine
        (None, 1.0, 1.0, False),
        (0.0, None, None, False),
    ]
    rows = [scored(n, 0.0, asr_after=a, acc_before=b, acc_after=c) for n, (a, b, c, _) in enumerate(cases)]
    assert repaired(results_frame(rows)).tolist() == [wanted for *_, wanted in cases]
    line = lines(summary_frame(results_frame([*rows, failed(9, poisoned=True), failed(10, poisoned=False)])))
    assert line[("poisoned",)]["repaired"] == 2
    assert line[("poisoned",)]["share_repaired"] == pytest.approx(2 / 7)  # the failed one was not repaired
    low, high = line[("poisoned",)]["low_repaired"], line[("poisoned",)]["high_repaired"]
    assert (low, high) == (pytest.approx(0.0822, abs=1e-4), pytest.approx(0.6411, abs=1e-4))  # Wilson, 2 of 7
    assert pd.isna(line[("clean",)]["repaired"])


def test_groups_are_named_by_their_values_and_split_by_kind():
    summary = lines(summary_frame(results_frame(FOUR), ["model_architecture"]))
    assert list(summary) == [
        ("resnet18", "poisoned"),
        ("resnet18", "clean"),
        ("vgg11bn", "poisoned"),
        ("vgg11bn", "clean"),
    ]
    assert summary[("resnet18", "poisoned")]["mean_fidelity"] == 0.75
    assert summary[("resnet18", "clean")]["coverage"] == 0.0
    assert summary[("vgg11bn", "poisoned")]["coverage"] == 0.5
    two = lines(summary_frame(results_frame(FOUR), ["model_architecture", "trigger_type"]))
    assert ("resnet18", "(not said)", "poisoned") in two


def test_a_missing_model_lowers_coverage_and_never_improves_a_rank():
    rng = np.random.default_rng(0)
    rows = [scored(n, float(rng.uniform(-0.6, 1.2))) for n in range(12)]
    expected = {row["model_id"]: {"poisoned": True} for row in rows}
    whole = summary_frame(results_frame(with_expected(rows, expected))).iloc[1]
    for lost in range(len(rows)):
        for instead in ([], [failed(lost, poisoned=True)]):
            kept = [row for n, row in enumerate(rows) if n != lost] + instead
            part = summary_frame(results_frame(with_expected(kept, expected))).iloc[1]
            assert part["models"] == whole["models"]
            assert part["coverage"] < whole["coverage"]
            assert part["rank_fidelity"] <= whole["rank_fidelity"]
            assert part["share_repaired"] <= whole["share_repaired"]
    assert rank_fidelity(results_frame([scored(0, 1.5), scored(1, -3.0), failed(2, poisoned=True)])) == (
        pytest.approx(1 / 3)
    )


def test_intervals_of_means_shrink_with_models_and_need_two():
    few = distributions({"none": [], "one": [0.5]})
    assert few["none"] == (0, None, None, None, None, None, None)
    assert few["one"] == (1, 0.5, None, None, 0.5, 0.5, 0.5)
    rng = np.random.default_rng(1)
    for count in (20, 400):
        values = rng.normal(0.7, 0.2, count)
        ((low, high),) = mean_intervals({"x": values}).values()
        exact = 1.96 * values.std() / np.sqrt(count)
        assert (high - low) / 2 == pytest.approx(exact, rel=0.1)
        assert low < values.mean() < high
        others = {"x": values[::-1], "y": values + 1, "z": values[:7]}
        assert mean_intervals(others)["x"] == pytest.approx((low, high))
        assert mean_intervals(others)["y"] == pytest.approx((low + 1, high + 1))


def test_two_values_have_the_three_means_that_two_draws_can_give():
    assert mean_intervals({"x": np.array([1.0, 3.0])})["x"] == (1.0, 3.0)
    assert mean_intervals({"x": np.array([2.0, 2.0, 2.0])})["x"] == pytest.approx((2.0, 2.0))


def test_unknown_columns_are_refused_with_near_names():
    with pytest.raises(UsageProblem, match="did you mean model_architecture"):
        grouping_columns(["model_architectur"])
    rows = [{**scored(0, 1.0), "nist_config": '{"number_classes": 5, "triggers.0.type": "polygon"}'}, scored(1, 0.0)]
    with pytest.raises(UsageProblem, match=r"known: number_classes, triggers\.0\.type"):
        grouping_columns(["config.nothing"], rows)
    further = grouping_columns(["config.number_classes", "poisoned"], rows)
    assert further == ("config.number_classes",)
    summary = lines(summary_frame(results_frame(rows, further), ["config.number_classes"]))
    assert list(summary) == [("(not said)", "poisoned"), ("5", "poisoned")]


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_tables_stay_tables_whatever_the_names_say(form):
    names = [
        "<script>alert(1)</script>",
        "=1+1",
        "a,b|c & d_e % $x$ \\end{tabular}",
        "two\nlines\x1b[31m",
        "\u202eevil",
    ]
    rows = [scored(n, 1.0, model_architecture=name, acc_before=1.0) for n, name in enumerate(names)]
    summary = summary_frame(results_frame(rows), ["model_architecture"])
    for table in (overview(summary, ["model_architecture"]), statistics(summary, ["model_architecture"])):
        text = formatted(table, form)
        extra = {"text": 1, "markdown": 2, "latex": 6}[form]
        assert len(text.splitlines()) == len(table) + extra
        assert all(line.isprintable() for line in text.splitlines())
        if form == "latex":
            assert text.count("\\end{tabular}") == 1
            body = text.splitlines()[4:-2]
            assert {line.replace("\\&", "").count("&") for line in body} == {len(table.columns) - 1}
        if form == "markdown":
            assert "<script" not in text.replace("\\<script", "")
            assert {line.replace("\\|", "").count("|") for line in text.splitlines()} == {len(table.columns) + 1}


def test_formulas_are_harmless_in_every_csv():
    rows = [scored(n, 1.0, model_architecture=name) for n, name in enumerate(["=1+1", "@x", "+1", "-1", "\t=1", "ok"])]
    text = csv_bytes(summary_frame(results_frame(rows), ["model_architecture"])).decode()
    for line in text.splitlines()[1:]:
        assert not line.lstrip('"').startswith(("=", "@", "+", "-", "\t"))
    assert "-0.5" in csv_bytes(pd.DataFrame({"x": pd.array([-0.5], "Float64")})).decode()  # a number stays one


def test_shares_are_not_rounded_to_all_or_nothing():
    assert [share(v) for v in (0.0, 0.001, 0.5, 0.999, 1.0, None)] == ["0 %", "< 1 %", "50 %", "> 99 %", "100 %", "-"]
