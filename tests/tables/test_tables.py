"""Tables hold what the records hold: declared columns, missing values empty, summaries that pandas confirms."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from tests.made_rounds import write_round
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.tables import COLUMNS, csv_bytes, failures_frame, render, render_summary, results_frame, summary_frame
from trojai_seam.tables.columns import NAMES, TIMINGS

TYPES = {"text": "string", "flag": "boolean", "count": "Int64", "number": "Float64"}
RATES = ("acc_before", "acc_after", "asr_before", "asr_after", "ra_after", "fidelity", "nist_fidelity", "kept_accuracy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    folder = tmp_path_factory.mktemp("tables")
    dataset = write_round(folder / "round", 5)
    (dataset / "models" / "id-00000002" / "model.pt").write_bytes(b"")
    options = Options(round="r12", device="cpu", options={"forget.max_epochs": "3", "recover.max_epochs": "3"})
    return folder / "run", evaluate(dataset, folder / "run", options)


def test_columns_are_declared_once_and_explained():
    assert len(set(NAMES)) == len(NAMES)
    for column in COLUMNS:
        assert column.kind in TYPES
        assert column.meaning
        assert column.name.isidentifier()
    asked_for = ("model_id", "round", "architecture", "poisoned", "status", "acc_before", "acc_after", "asr_before",
                 "asr_after", "ra_after", "fidelity", "nist_fidelity", "preset", "protocol", "seed")  # fmt: skip
    assert set(asked_for) <= set(NAMES)
    for rate in ("acc_before", "acc_after", "asr_before", "asr_after", "ra_after"):
        assert {f"n_{rate}", f"{rate}_low", f"{rate}_high"} <= set(NAMES)
    assert {"fidelity_low", "fidelity_high", "seconds_forget", "seconds_recover"} <= set(NAMES)
    assert all(name.startswith("seconds_") or name == "peak_memory" for name in TIMINGS)


def test_the_header_and_the_types_are_the_declared_ones(finished):
    run_dir, results = finished
    with (run_dir / "results.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == NAMES
    parquet = pd.read_parquet(run_dir / "results.parquet")
    for frame in (results, parquet):
        assert tuple(frame.columns) == NAMES
        for column in COLUMNS:
            assert str(frame[column.name].dtype).lower().startswith(TYPES[column.kind].lower()), column.name


def test_everything_that_a_scored_row_can_have_is_there(finished):
    _, results = finished
    poisoned = results[results["poisoned"].fillna(False)].iloc[0]
    # Of models outside of stacks, of images that are made of clean ones, of another protocol, of other tasks.
    forgotten = ("acc_forgotten", "n_acc_forgotten", "asr_forgotten", "n_asr_forgotten")
    made = tuple(f"{count}asr_{when}_all" for count in ("", "n_") for when in ("before", "after"))
    elsewhere = (
        *forgotten,
        *made,
        "promised_",
        "fit_per_class",
        "fit_total",
        "recover_threshold",
        "oracle_",
        "trigger_",
        "units_",
        "entity_f1",
        "n_entity_f1",
        "exact",
        "n_exact",
        "ap50",
        "n_ap50",
        "foreign_boxes",
        *("retuned_", "n_retuned_", "asr_moved", "n_asr_moved", "asr_scaled", "n_asr_scaled"),  # where asked for
        *("asr_fainter", "n_asr_fainter"),
        "suspected_",  # where a search has found something
        "seconds_start",  # in rows of a worker process
    )
    numbers = [c.name for c in COLUMNS if c.kind != "text" and not c.name.startswith(elsewhere)]
    texts = ["model_id", "round", "architecture", "status", "preset", "changed_options", "protocol", "measured_on",
             "forget_status", "recover_status", "poisoned_origin", "device", "model_sha256"]  # fmt: skip
    assert [name for name in (*numbers, *texts) if pd.isna(poisoned[name])] == []
    assert poisoned[["error", "error_kind", "oracle_epoch", "oracle_fidelity"]].isna().all()


def test_csv_and_parquet_hold_the_same(finished):
    run_dir, results = finished
    parquet = pd.read_parquet(run_dir / "results.parquet")
    pd.testing.assert_frame_equal(parquet, results)
    parse = {"text": str, "flag": {"True": True, "False": False}.__getitem__, "count": int, "number": float}
    with (run_dir / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column in COLUMNS:
        read = [parse[column.kind](row[column.name]) if row[column.name] else None for row in rows]
        assert read == [None if pd.isna(value) else value for value in results[column.name]], column.name


def test_missing_is_empty_never_zero_or_a_word(finished):
    run_dir, _ = finished
    with (run_dir / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    failed = next(row for row in rows if row["status"] == "failed")
    clean = next(row for row in rows if row["poisoned"] == "False" and row["status"] == "done")
    assert [failed[n] for n in ("acc_before", "n_acc_before", "fidelity", "num_classes", "folds")] == [""] * 5
    assert [clean[n] for n in ("asr_before", "asr_after", "asr_after_low", "fidelity", "oracle_epoch", "error")] == [
        ""
    ] * 6
    assert clean["n_asr_after"] == "0"  # a count of nothing is nothing
    for row in rows:
        assert not {"nan", "NaN", "<NA>", "None", "inf"} & set(row.values())


def test_failures_are_the_failed_rows(finished):
    run_dir, results = finished
    failures = pd.read_csv(run_dir / "failures.csv")
    assert list(failures.columns) == [
        "model_id", "round", "poisoned", "architecture", "model_architecture", "trigger_type", "error_kind", "error",
    ]  # fmt: skip
    assert list(failures["model_id"]) == ["id-00000002"]
    assert list(failures["error"]) == list(results.loc[results["status"] == "failed", "error"])


def test_the_summary_is_what_pandas_says(finished):
    run_dir, _ = finished
    summary = pd.read_csv(run_dir / "summary.csv").set_index("group")
    raw = pd.read_csv(run_dir / "results.csv")
    for group, part in (("all", raw), ("poisoned", raw[raw["poisoned"] == True]),  # noqa: E712
                        ("clean", raw[raw["poisoned"] == False])):  # noqa: E712  # fmt: skip
        line = summary.loc[group]
        assert (line["models"], line["done"], line["failed"]) == (
            len(part), (part["status"] == "done").sum(), (part["status"] == "failed").sum(),
        )  # fmt: skip
        for name in RATES:
            values = part[name].dropna()
            assert line[f"n_{name}"] == len(values)
            if len(values):
                assert line[f"mean_{name}"] == pytest.approx(values.mean())
                assert line[f"median_{name}"] == pytest.approx(values.median())
            else:
                assert pd.isna(line[f"mean_{name}"])
        assert line["median_seconds_total"] == pytest.approx(
            part.loc[part["status"] == "done", "seconds_total"].median()
        )
    assert summary.loc["clean", "n_fidelity"] == 0


def row(model_id: str = "id-1", **values) -> dict:
    return {"model_id": model_id, "status": "done", **values}


def test_no_rows():
    results = results_frame([])
    assert tuple(results.columns) == NAMES
    assert len(failures_frame(results)) == 0
    summary = summary_frame(results)
    assert summary["models"].tolist() == [0, 0, 0]
    assert summary["mean_fidelity"].isna().all()
    assert isinstance(render(results), str)
    assert "all" in render_summary(summary)


def test_failures_only():
    results = results_frame([row(status="failed", error_kind="x", error="why", seconds_total=1.0)])
    assert len(failures_frame(results)) == 1
    assert summary_frame(results)["failed"].tolist() == [1, 0, 0, 1]  # neither poisoned nor clean: nobody said
    assert summary_frame(results)["group"].tolist() == ["all", "poisoned", "clean", "unknown"]
    assert render(results) == "id-1  failed (x): why"
    assert results["acc_before"].isna().all()
    render_summary(summary_frame(results))


def test_rows_are_sorted_and_unknown_keys_left_out():
    results = results_frame([row("b", something=1), row("a", fidelity=None), row("c", fidelity=0.5)])
    assert results["model_id"].tolist() == ["a", "b", "c"]
    assert "something" not in results
    assert results["fidelity"].isna().tolist() == [True, True, False]


def test_text_stays_text_and_numbers_exact(tmp_path):
    values = ["=cmd|'/c calc'!A0", "+1", "@x", 'a "quote", comma', "two\nlines", "007", "1e5", "True", "NULL?", "ü☃"]
    results = results_frame(
        [row(f"id-{n}", error=v, fidelity=0.1 + 0.2, parameters=2**53 + 1) for n, v in enumerate(values)]
    )
    (tmp_path / "x.csv").write_bytes(csv_bytes(results))
    with (tmp_path / "x.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    harmless = [f"'{v}" if v[0] in "=+@" else v for v in values]
    assert [line["error"] for line in back] == harmless
    assert {float(line["fidelity"]) for line in back} == {0.1 + 0.2}
    assert {int(line["parameters"]) for line in back} == {2**53 + 1}
    assert pd.read_csv(tmp_path / "x.csv", dtype={"error": "string"})["error"].tolist() == harmless
    results.to_parquet(tmp_path / "x.parquet")
    assert pd.read_parquet(tmp_path / "x.parquet")["error"].tolist() == values


def test_the_text_table_has_one_line_per_model_whatever_its_name():
    results = results_frame([row("a\nb\x1b[31m", architecture="x\ny", poisoned=True, acc_before=0.5, n_acc_before=6),
                             row("c", poisoned=False, kept_accuracy=0.9), row("d")])  # fmt: skip
    text = render(results)
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert "0.50 (n=6)" in text
    assert "kept 0.90" in text
    assert "?" in lines[3]
    assert "more in results.csv" in render(results_frame([row(f"{n}") for n in range(70)]))


def test_mean_over_a_number_column_never_counts_missing_as_zero():
    results = results_frame([row("a", fidelity=1.0, poisoned=True), row("b", poisoned=True), row("c", poisoned=False)])
    line = summary_frame(results).set_index("group").loc["poisoned"]
    assert (line["n_fidelity"], line["mean_fidelity"]) == (1, 1.0)
    assert json.loads(summary_frame(results).to_json(orient="records"))[2]["mean_fidelity"] is None


def test_in_sample_rows_are_shown_as_such() -> None:
    row = {
        "model_id": "id-00000000", "status": "done", "poisoned": True, "measured_on": "in-sample",
        "architecture": "Net2",
        "fit_acc_before": 1.0, "n_fit_acc_before": 20, "fit_acc_after": 0.95, "n_fit_acc_after": 20,
        "asr_before": 1.0, "n_asr_before": 10, "asr_after": 0.1, "n_asr_after": 10, "fit_fidelity": 0.85,
    }  # fmt: skip
    text = render(results_frame([row]))
    assert "0.95 (n=20 in-sample)" in text
    assert "- (0.85 in-sample)" in text
    assert "- (oracle 0.90)" in render(results_frame([{**row, "oracle_fidelity": 0.9}]))


def test_doubtful_figures_are_marked_and_explained() -> None:
    why = "accuracy before is 0.40 on all 50 clean examples, far below 0.80"
    first = row("a", poisoned=False, kept_accuracy=2.5, fidelity=None, doubts=why)
    text = render(results_frame([first, row("b", poisoned=False, kept_accuracy=0.9)]))
    assert f"a  doubtful: {why}" in text
    assert "(kept 2.50!)" in text
    assert "! above 1" in text
    assert "(kept 0.90)" in text
    assert "!" not in render(results_frame([row("b", poisoned=False, kept_accuracy=1.0)]))
    assert "1.700!" in render_summary(summary_frame(results_frame([first, row("b", kept_accuracy=0.9)])))
