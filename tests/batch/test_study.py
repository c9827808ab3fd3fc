"""Studies: every combination once, resumed and extended, one table that follows from the rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.made_rounds import trained_copy
from trojai_seam.batch import study as batch_study
from trojai_seam.batch.executors.process import WorkerProcess
from trojai_seam.batch.options import Options
from trojai_seam.batch.paths import StudyPaths
from trojai_seam.batch.progress import NoProgress, Tally
from trojai_seam.batch.records import read_row
from trojai_seam.batch.runner import evaluate
from trojai_seam.batch.study import Grid, run_study
from trojai_seam.cli import main
from trojai_seam.errors import ConfigProblem, RunDirectoryProblem, TooManyFailures, UsageProblem
from trojai_seam.study_reporting import read_study_table
from trojai_seam.tables.study_texts import measure_texts
from trojai_seam.unlearning import get_preset

QUICK = ["--set", "recover.max_epochs=2", "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Four models, one of them broken; two presets, two seeds."""
    folder = tmp_path_factory.mktemp("study")
    dataset = trained_copy(folder / "pdf", 4)
    (dataset / "models" / "id-00000003" / "model.pt").write_bytes(b"")
    line = ["study", dataset, "--presets", "no-op,finetune", "--seeds", 2, "--fit-per-class", 5, *QUICK]
    assert main([*map(str, line), "--out", str(folder / "out")]) == 1  # a model fails, and is a row
    return folder


def records(study: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (study / "out" / "runs").rglob("*.h5")}


def test_every_combination_is_a_run(study):
    plan = json.loads(StudyPaths(study / "out").plan.read_text())
    assert len(plan["runs"]) == 4
    assert {name.rpartition("pdf-")[2] for name in plan["runs"]} >= {"no-op-5-seed0", "finetune-5-seed1"}
    assert len(records(study)) == 16
    rows = pd.read_csv(StudyPaths(study / "out").rows)
    assert len(rows) == 16
    assert not rows.duplicated(["preset", "examples", "seed", "model_id"]).any()
    # An option that only one preset has is for this one.
    assert set(rows.loc[rows["preset"] == "finetune", "changed_options"]) == {"recover.max_epochs=2"}
    assert rows.loc[rows["preset"] == "no-op", "changed_options"].isna().all()


def test_the_same_command_repeats_nothing_and_a_killed_study_goes_on(study):
    before = records(study)
    line = ["study", study / "pdf", "--presets", "no-op,finetune", "--seeds", 2, "--fit-per-class", 5, *QUICK]
    lost = StudyPaths(study / "out").run("pdf-finetune-5-seed1").record("id-00000001")
    lost.unlink()
    assert main([*map(str, line), "--out", str(study / "out")]) == 1
    after = records(study)
    assert set(after) == set(before)
    assert [path for path in after if after[path] != before[path]] == [lost]


def test_a_study_grows_but_keeps_its_settings(study, tmp_path):
    shutil.copytree(study / "out", tmp_path / "out")
    paths = StudyPaths(tmp_path / "out")
    grid = Grid((study / "pdf",), ("no-op", "finetune"), (2,), (5,))
    with pytest.raises(RunDirectoryProblem, match="protocol was"):
        run_study(grid, paths.folder, Options(options={"recover.max_epochs": "2"}, protocol="kfold", device="cpu"))
    grid = Grid((study / "pdf",), ("no-op",), (2,), (5,))
    with pytest.raises(ConfigProblem, match=r"recover\.max_epochs"):  # none of its presets has that
        run_study(grid, paths.folder, Options(options={"recover.max_epochs": "2"}, device="cpu"))
    grid = Grid((study / "pdf",), ("no-op", "finetune"), (0,), (2,))
    with pytest.raises(UsageProblem, match="given twice"):
        Grid((study / "pdf",), ("no-op", "no-op"))
    made = run_study(grid, paths.folder, Options(options={"recover.max_epochs": "2"}, device="cpu", limit=1))
    assert sorted(made) == ["pdf-finetune-2-seed0", "pdf-no-op-2-seed0"]
    assert len(json.loads(paths.plan.read_text())["runs"]) == 6
    table = read_study_table([paths.folder])
    assert list(table.overall["examples"]) == ["5 per class", "5 per class", "2 per class", "2 per class"]
    assert "examples" in measure_texts(table)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(RunDirectoryProblem, match="is not empty"):
        run_study(grid, tmp_path / "other", Options(options={"recover.max_epochs": "2"}, device="cpu"))


class Heard(NoProgress):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def start(self, *values) -> None:
        self.told.append(("start", *values[:3]))

    def before(self, finished, failed) -> None:
        self.told.append(("before", finished, failed))

    def stop(self) -> None:
        self.told.append(("stop",))


def test_progress_is_of_the_whole_study(study):
    heard = Heard()
    grid = Grid((study / "pdf",), ("no-op", "finetune"), (0, 1), (5,))
    run_study(grid, study / "out", Options(options={"recover.max_epochs": "2"}, device="cpu"), heard)
    tally = Tally(16, 4, 1)
    tally.before(4, 1)
    assert tally.line() == "8/16 models, 2 failed, 8 from before"
    assert heard.told == [("start", 16, 4, 1), *[("before", 4, 1)] * 3, ("stop",)]


def test_the_table_is_what_the_rows_say(study):
    paths = StudyPaths(study / "out")
    rows, lines = pd.read_csv(paths.rows), pd.read_csv(paths.table)
    overall = lines[lines["by"].isna()].set_index(["preset", "examples"])
    assert len(overall) == 2
    part = rows[(rows["preset"] == "finetune") & (rows["examples"] == "5 per class")]
    line = overall.loc[("finetune", "5 per class")]
    attacked = part[part["poisoned"] & (part["status"] == "done")]
    assert set(attacked["model_id"]) == {"id-00000001"}
    assert line["mean_fidelity"] == pytest.approx(attacked["fidelity"].mean())
    assert (line["n_fidelity"], line["attacked"], line["clean"]) == (1, 1, 2)  # seeds are no further models
    assert (line["rows"], line["done"], line["failed"], line["missing"]) == (8, 6, 2, 0)
    assert np.isnan(line["low_fidelity"])  # of so few models nothing is sure
    first = rows[(rows["preset"] == "no-op") & (rows["examples"] == "5 per class")]
    keys = ["model_id", "seed"]
    pairs = part.set_index(keys)["fidelity"] - first.set_index(keys)["fidelity"]
    assert line["difference_fidelity"] == pytest.approx(pairs.mean())
    assert line["pairs_fidelity"] == 1
    clean = part[~part["poisoned"].astype(bool)]
    assert line["mean_clean_kept_accuracy"] == pytest.approx(clean["kept_accuracy"].mean())
    assert line["rank_fidelity"] <= line["mean_fidelity"]  # the broken model counts there
    assert set(lines["by"].dropna()) == {"model_architecture"}


def test_page_and_files(study, capsys):
    paths = StudyPaths(study / "out")
    page = paths.page.read_text("utf-8")
    for words in ("A study of 2 presets", "Differences to no-op", "Fidelity against cost", "ACC against ASR",
                  "Every model", "Failed rows", "the file is empty", "--presets</span> no-op,finetune"):  # fmt: skip
        assert words in page
    assert "<script" not in page
    assert "| preset | models |" in paths.markdown.read_text()
    assert r"\begin{tabular}" in paths.latex.read_text()
    assert main(["tables", str(paths.folder)]) == 0
    assert "1 (few)" in capsys.readouterr().out
    assert main(["report", str(paths.folder)]) == 0
    assert capsys.readouterr().out == f"written to {paths.page}\n"


def test_runs_that_exist_are_tabulated(study, tmp_path):
    runs = [str(StudyPaths(study / "out").run(f"pdf-{preset}-5-seed0").run_dir) for preset in ("no-op", "finetune")]
    assert main(["study", "--from", *runs, "--baseline", "finetune", "--out", str(tmp_path / "t"), "--quiet"]) == 0
    assert {path.name for path in (tmp_path / "t").iterdir()} == {
        "study.csv", "study.md", "study.tex", "study.html", "rows.csv",
    }  # fmt: skip
    table = read_study_table(runs)
    assert table.baseline == "no-op"
    assert len(table.rows) == 8
    with pytest.raises(UsageProblem, match="given twice"):
        read_study_table([*runs, study / "out"])
    with pytest.raises(UsageProblem, match="did you mean finetune"):
        read_study_table(runs, "fintune")


def test_a_preset_that_always_fails_stops_no_other(study, tmp_path):
    grid = Grid((study / "pdf",), ("anp", "clp", "no-op"))
    with pytest.raises(TooManyFailures, match=r"2 of 3 runs.*: pdf-anp-all-seed0, pdf-clp-all-seed0;"):
        run_study(grid, tmp_path / "s", Options(device="cpu", max_failures=1))
    counts = read_study_table([tmp_path / "s"]).rows.groupby(["preset", "status"]).size()
    assert counts["anp", "failed"] == counts["anp", "missing"] == counts["clp", "failed"] == 2
    assert (counts["no-op", "done"], counts["no-op", "failed"]) == (3, 1)


def test_a_study_of_failures_alone_has_its_table_and_says_so(study, tmp_path, capsys):
    line = ["study", study / "pdf", "--presets", "anp", "--max-failures", 1, "--device", "cpu", "--out", tmp_path / "s"]
    assert main(list(map(str, line))) == 1
    told = capsys.readouterr()
    assert "anp" in told.out
    assert "pdf-anp-all-seed0: stopped after 2 failed models" in told.err.splitlines()[-1]
    assert "no BatchNorm layer" in StudyPaths(tmp_path / "s").page.read_text("utf-8")


def test_whatever_ends_a_study_its_table_is_written(study, tmp_path, monkeypatch):
    real = batch_study.evaluate_models

    def full_disk(dataset, directories, round_config, run_dir, own, progress):
        if own.preset == "no-op":
            raise RunDirectoryProblem("no space left")
        return real(dataset, directories, round_config, run_dir, own, progress)

    monkeypatch.setattr(batch_study, "evaluate_models", full_disk)
    monkeypatch.setattr("trojai_seam.tables.report.methods.render_methods", lambda page: "")  # figures take long
    line = ["study", study / "pdf", "--presets", "finetune,no-op", "--limit", 1, "--baseline", "no-op", *QUICK]
    assert main([*map(str, line), "--out", str(tmp_path / "s")]) == 2
    assert set(pd.read_csv(StudyPaths(tmp_path / "s").rows)["preset"]) == {"finetune"}


def preset_file(path: Path, name: str, epochs: int) -> Path:
    document = get_preset("finetune").model_dump(mode="json", exclude_unset=True)
    document["settings"] = {"batch_size": 8, "phases": [{"name": "recover", "kind": "train", "max_epochs": epochs}]}
    path.write_text(json.dumps({**document, "name": name}))
    return path


def test_the_baseline_may_be_a_file_or_of_an_earlier_command_and_is_kept(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("trojai_seam.tables.report.methods.render_methods", lambda page: "")  # figures take long
    mine, out = preset_file(tmp_path / "mine.json", "own", 1), tmp_path / "s"
    start = ["study", study / "pdf", "--out", out, "--limit", 1, "--device", "cpu", "--quiet", "--presets"]

    def asked(*words) -> int:
        return main(list(map(str, [*start, *words])))

    assert asked("no-op", "--baseline", "own") == 2  # there is no such study yet
    assert not out.exists()
    assert asked(f"no-op,{mine}", "--baseline", mine) == 0
    assert json.loads((out / "study.json").read_text())["baseline"] == "own"
    assert "Differences to own" in (out / "study.md").read_text()
    assert asked("finetune", "--baseline", "no-op", "--set", "recover.max_epochs=1") == 2  # a study keeps its settings
    assert main(["tables", str(out)]) == main(["report", str(out)]) == 0
    assert "Differences to own" in (out / "study.md").read_text()
    assert read_study_table([out]).baseline == "own"
    assert read_study_table([out], str(mine)).baseline == "own"
    assert asked("clp", "--baseline", "no-op") == 1  # refuses such networks; the baseline is of the first command
    assert "Differences to no-op" in (out / "study.md").read_text()
    before = (out / "study.json").read_text()
    capsys.readouterr()
    assert asked("clp", "--baseline", "fintune") == 2
    other = preset_file(tmp_path / "other.json", "own", 2)
    assert asked(other) == 2
    assert asked(f"{other},{mine}") == 2
    first, *same = capsys.readouterr().err.splitlines()
    assert "no preset of the study called 'fintune'" in first
    assert len(same) == 2
    assert all("have one name, own" in line for line in same)
    assert (out / "study.json").read_text() == before


def test_runs_of_two_presets_of_one_name_are_not_pooled(study, tmp_path):
    for epochs in (1, 2):
        mine = preset_file(tmp_path / f"{epochs}.json", "own", epochs)
        evaluate(study / "pdf", tmp_path / f"run{epochs}", Options(preset=str(mine), device="cpu", limit=1))
    with pytest.raises(UsageProblem, match="preset own is not the same in all runs"):
        read_study_table([tmp_path / "run1", tmp_path / "run2"])


def test_several_presets_of_evaluate_are_a_study(study, tmp_path, capsys):
    line = ["evaluate", study / "pdf", "--preset", "no-op,finetune", "--out", tmp_path / "s", "--limit", 1, *QUICK]
    assert main(list(map(str, line))) == 0
    assert capsys.readouterr().out == ""
    assert len(json.loads((tmp_path / "s" / "study.json").read_text())["runs"]) == 2


def test_a_study_of_clean_models_is_judged_by_kept_accuracy(study, tmp_path):
    grid = Grid((study / "pdf",), ("no-op", "finetune"))
    run_study(
        grid, tmp_path / "clean", Options(options={"recover.max_epochs": "2"}, device="cpu", where="not poisoned")
    )
    table = read_study_table([tmp_path / "clean"])
    assert table.judged == "clean_kept_accuracy"
    assert list(table.overall["n_acc"]) == [2, 2]
    assert table.overall["mean_clean_kept_accuracy"].iloc[0] == 1


def test_runs_of_a_study_hand_their_processes_on(study, tmp_path, monkeypatch):
    started = []
    begin = WorkerProcess.__init__
    monkeypatch.setattr(WorkerProcess, "__init__", lambda self, *given: started.append(self) or begin(self, *given))
    grid = Grid((study / "pdf",), ("no-op", "finetune"), (0,), (5,))
    options = Options(options={"recover.max_epochs": "2"}, device="cpu", executor="pool", workers=1, limit=2)
    made = run_study(grid, tmp_path / "out", options)
    assert len(made) == 2
    assert [worker.stage for worker in started] == ["gone"]  # one for all, and it is no more
    for name in made:
        rows = [read_row(StudyPaths(out).run(name).record("id-00000001")) for out in (study / "out", tmp_path / "out")]
        for column in ("status", "acc_after", "asr_after", "fit_acc_after", "preset"):
            assert rows[0].get(column) == rows[1].get(column)
