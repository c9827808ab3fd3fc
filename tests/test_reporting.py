"""``tables``, ``compare`` and ``report`` on a run that was really evaluated."""

from __future__ import annotations

import csv
import shlex
import shutil
from pathlib import Path

import h5py
import pandas as pd
import pytest

from tests.made_rounds import trained_copy
from trojai_seam import reporting
from trojai_seam.batch.curves import read_curves
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main
from trojai_seam.errors import RunDirectoryProblem, UsageProblem
from trojai_seam.tables import COLUMNS

FEW = {"forget.max_epochs": "3", "recover.max_epochs": "3"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """``default`` and ``other`` in one folder: six models, of which one is broken, one not evaluated in ``default``."""
    folder = tmp_path_factory.mktemp("reporting")
    dataset = trained_copy(folder / "a data set", 6)
    (dataset / "models" / "id-00000002" / "model.pt").write_bytes(b"")
    evaluate(dataset, folder / "default", Options(round="r12", device="cpu", options=FEW))
    evaluate(dataset, folder / "other", Options(round="r12", device="cpu", preset="no-op", protocol="kfold"))
    RunPaths(folder / "default").record("id-00000005").unlink()
    return folder


def test_tables_by_anything(runs, capsys):
    assert main(["tables", str(runs / "default"), "--by", "architecture,config.nn_layers", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["config.nn_layers"] for row in rows} == {"2", "4"}  # also of models without a result
    assert sum(int(row["models"]) for row in rows) == 6
    assert sum(int(row["done"]) for row in rows) == 4
    assert sum(int(row["failed"]) for row in rows) == 1
    assert sum(int(row["missing"]) for row in rows) == 1
    for form, sign in (("text", "fidelity"), ("markdown", "| --- |"), ("latex", "\\toprule")):
        assert main(["tables", str(runs / "default"), "--by", "trigger_type", "--format", form]) == 0
        assert sign in capsys.readouterr().out
    assert main(["tables", str(runs / "default"), "--by", "triger_type"]) == 2
    assert "did you mean trigger_type" in capsys.readouterr().err


def test_every_value_is_where_its_column_says(runs):
    results = reporting.read_run(runs / "default").set_index("model_id")
    with h5py.File(RunPaths(runs / "default").record("id-00000001"), "r") as record:
        for column in COLUMNS:
            value = results.loc["id-00000001"].get(column.name)
            if column.name in ("model_id", "model_architecture") or pd.isna(value):
                continue
            assert record.attrs[column.name] == value, column.name
            for name in column.made_from:
                assert name.replace("*", "0") in record, (column.name, name)


def test_the_command_in_the_report_continues_the_very_run(runs, capsys):
    for name in ("default", "other"):
        command = shlex.split(reporting.load_run(runs / name).command)
        assert command[:2] == ["trojai-seam", "evaluate"]
        before = RunPaths(runs / name).plan.read_bytes()
        again = runs / f"{name}-again"
        shutil.copytree(runs / name, again)
        command[command.index("--out") + 1] = str(again)
        assert main([*command[1:], "--quiet"]) == 1, capsys.readouterr().err  # one model fails; the plan was accepted
        assert (again / "plan.json").read_bytes() == before
        shutil.rmtree(again)


def test_the_report_and_its_plots_are_written(runs, tmp_path, capsys):
    assert main(["report", str(runs / "default"), "--plots", str(tmp_path / "plots")]) == 0
    html = (runs / "default" / "report.html").read_text("utf-8")
    assert "4 of 6" in html
    assert "the file is empty" in html
    plots = {path.name for path in (tmp_path / "plots").iterdir()}
    assert {"fidelity-distribution.svg", "fidelity-distribution.png", "phase-curves.svg", "time-split.png"} <= plots
    assert main(["report", str(runs / "default"), "--out", str(tmp_path / "new" / "x.html"), "--by", "seed"]) == 0
    assert "By seed" in (tmp_path / "new" / "x.html").read_text("utf-8")


def test_compare_writes_what_it_prints(runs, tmp_path, capsys):
    arguments = ["compare", str(runs / "default"), str(runs / "other")]
    assert main([*arguments, "--out", str(tmp_path / "c")]) == 0
    text = capsys.readouterr().out
    assert "settings that differ: preset, protocol" in text
    assert "gained" not in text
    assert text.splitlines()[0].startswith("run ")
    assert main([*arguments, "--details"]) == 0
    assert "gained" in capsys.readouterr().out
    models = pd.read_csv(tmp_path / "c" / "models.csv").set_index("model_id")["verdict"]
    assert models["id-00000005"] == "gained"
    assert models["id-00000002"] == "in neither"
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "lines.csv",
        "runs.csv",
        "differences.csv",
        "models.csv",
    }
    for form in ("csv", "markdown", "latex"):
        assert main([*arguments, "--format", form]) == 0
    assert main([*arguments, "--html", str(tmp_path / "study.html")]) == 0
    assert main(["report", *arguments[1:], "--out", str(tmp_path / "same.html")]) == 0
    page = (tmp_path / "study.html").read_text("utf-8")
    assert page == (tmp_path / "same.html").read_text("utf-8")
    assert "Differences to the first run" in page
    assert main(["compare", str(runs / "default"), str(runs / "default")]) == 2
    assert "given twice" in capsys.readouterr().err


def test_nist_files_count_held_out_and_poisoned_examples(runs, tmp_path):
    reporting.write_nist_tables(runs / "default", tmp_path / "held-out")
    reporting.write_nist_tables(runs / "other", tmp_path / "folds", team="=me")
    results = pd.read_csv(tmp_path / "held-out" / "cyber-pdf-dec2022_RESULTS.csv")
    counted = reporting.read_run(runs / "default").set_index("model_id")
    for model_id, rows in results.groupby("model_name"):
        clean, triggered = rows[rows["ground_truth_poisoned_entry"].isna()], rows.dropna()
        assert len(clean) == counted.loc[model_id, "n_acc_after"]
        right = (clean["prediction"] == clean["ground_truth_clean_entry"]).mean()
        assert right == pytest.approx(counted.loc[model_id, "acc_after"])
        if len(triggered):
            hits = (triggered["prediction"] == triggered["ground_truth_poisoned_entry"]).mean()
            assert hits == pytest.approx(counted.loc[model_id, "asr_after"])
    whole = pd.read_csv(tmp_path / "folds" / "cyber-pdf-dec2022_RESULTS.csv")
    assert (whole[whole["ground_truth_poisoned_entry"].isna()].groupby("model_name").size() == 20).all()
    assert set(whole["team_name"]) == {"'=me"}
    names = {path.name for path in (tmp_path / "folds").iterdir()}
    assert names == {"cyber-pdf-dec2022_RESULTS.csv", "cyber-pdf-dec2022_METADATA.csv", "train-global-results.csv",
                     "cyber-pdf-dec2022-metrics.csv"}  # fmt: skip


def test_curves_begin_before_the_first_epoch(runs):
    curves = read_curves(RunPaths(runs / "default").record("id-00000001"))
    assert {phase: len(curve) for phase, curve in curves.items()} == {"forget": 4, "recover": 4}
    assert curves["forget"][-1] == curves["recover"][0]
    assert read_curves(RunPaths(runs / "default").record("id-00000002")) == {}


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunDirectoryProblem):
        reporting.read_run(tmp_path / "nothing")
    (tmp_path / "records").mkdir()
    with pytest.raises(RunDirectoryProblem, match=r"plan\.json"):
        reporting.load_run(tmp_path)
    assert len(reporting.read_run(tmp_path)) == 0
    with pytest.raises(UsageProblem):
        reporting.compare_runs([tmp_path])


def test_long_names_of_runs_lose_what_they_begin_with_alike():
    def called(*names):
        return list(reporting._named([Path("runs") / name for name in names]))

    assert called("run-8-models-seed-0-default", "run-8-models-seed-0-no-op") == ["default", "no-op"]
    assert called("run-8-models-seed-0-finetune", "run-8-models-seed-0-fixed") == ["finetune", "fixed"]
    assert called("a-default", "a-no-op") == ["a-default", "a-no-op"]
    alike = ("run-of-the-third-fleet-default", "run-of-the-third-fleet-")
    assert called(*alike) == list(alike)
