"""One command measures all parts on tiny pictures, goes on where it was, and says whether verdicts stay."""

from __future__ import annotations

import argparse
import ast
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from trojai_seam.cli import main
from trojai_seam.command_checks import check_command
from trojai_seam.errors import DatasetProblem, RunDirectoryProblem
from trojai_seam.reproduction import attacks, bench, data_size, forgetting, kernels, parts, sources, speed
from trojai_seam.reproduction.bench import Bench, Scale
from trojai_seam.reproduction.datasets import ImageData
from trojai_seam.reproduction.page import verdict_table, write_reproduction
from trojai_seam.reproduction.storage import Store, Unit, seeds_in
from trojai_seam.synthesis.picture_attacks import Pictures
from trojai_seam.unlearning import resolve

TINY = Scale(
    pool=60, train=160, seen=9600, full_epochs=40, measured=60, repeats=2, sizes=(3, 0), steps=3, kernel=4,
    kernel_steps=2, networks=("convnet",), kinds=("patch", "anchored-weights"), data_kinds=("patch",),
)  # fmt: skip


def pictures(count: int, seed: int) -> Pictures:
    """Three classes: where a bright bar lies."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    images = torch.randint(0, 60, (count, 1, 16, 16), generator=generator, dtype=torch.uint8)
    for label in range(3):
        images[labels == label, :, 4 * label + 1 : 4 * label + 4] = 220
    return Pictures(images, labels)


@pytest.fixture
def quick(monkeypatch):
    """Methods of few steps, since what they do is tested elsewhere."""
    short = {"finetune": resolve("finetune", {"recover.max_epochs": "2"}), "no-op": resolve("no-op")}
    for module in (speed, data_size, attacks):
        monkeypatch.setattr(module, "resolve", short.__getitem__)
        monkeypatch.setattr(module, "PRESETS", ("finetune", "no-op"))
    monkeypatch.setattr(attacks, "SEAM", ("finetune",))
    monkeypatch.setattr(attacks, "OTHERS", ("no-op",))


@pytest.fixture
def data():
    return ImageData("mnist", pictures(300, 0), pictures(90, 1), 6000)


@pytest.mark.slow  # on a busy core
def test_all_parts_from_data_to_page(data, quick, tmp_path):
    told: list[str] = []
    made = parts.reproduce(data, tmp_path, list(parts.PARTS), 0, told.append, TINY)
    assert set(made.rows) == {"speed", "data", "forgetting", "ntk", "attacks"}
    assert len(told) == 2 + 2 + 2 * 2 + 2 * 2
    table = verdict_table(made)
    assert table["statement"].nunique() == 6
    assert len(table) > 6
    assert not table["verdict"].str.contains("nan").any()
    page = write_reproduction(made, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"speed.csv", "data.csv", "forgetting.csv", "ntk.csv", "attacks.csv", "claims.csv", "verdicts.csv"} <= names
    text = page.read_text()
    for finding in made.findings:
        assert finding.statement in text
        assert finding.statement in (tmp_path / "reproduction.md").read_text()
        for drawing in finding.drawings:
            assert f"figures/{drawing.name}.svg" in (tmp_path / "reproduction.md").read_text()
            assert (tmp_path / "figures" / f"{drawing.name}.svg").stat().st_size > 1000
    rows = pd.read_csv(tmp_path / "attacks.csv")
    nothing = rows[rows["preset"] == "no-op"]
    assert (nothing["asr_after"] == nothing["asr_before"]).all()
    steps = made.rows["forgetting"]
    assert set(steps["target"]) == set(forgetting.TARGETS)
    assert set(steps["step"]) == {0, 1, 2, 3}
    assert (steps.loc[steps["step"] > 0, "distance"] > 0).all()

    # The same again measures nothing; what is missing, and a further seed, is measured.
    told.clear()
    again = parts.reproduce(data, tmp_path, ["speed", "ntk"], 0, told.append, TINY)
    assert told == []
    pd.testing.assert_frame_equal(verdict_table(again), table)
    (tmp_path / "seed-0" / "ntk" / "convnet-patch.json").unlink()
    parts.reproduce(data, tmp_path, ["ntk"], 0, told.append, TINY)
    assert told == ["ntk: convnet-patch (1 of 2)"]
    both = parts.reproduce(data, tmp_path, ["ntk"], 7, told.append, TINY)
    repeated = verdict_table(both).set_index("statement")["repeated"]
    again = repeated[repeated != "not repeated"]
    assert set(again.index) == {"Forgetting is continual learning as the Neural Tangent Kernel describes it"}
    assert set(again) <= {"stays", "does not stay"}
    assert both.rows["ntk"]["seed"].unique().tolist() == [0, 7]


def test_results_of_other_sizes_are_measured_again(data, tmp_path):
    told: list[str] = []
    parts.reproduce(data, tmp_path, ["ntk"], 0, told.append, TINY)
    larger = Scale(**{**TINY.__dict__, "kernel_steps": 3})
    made = parts.reproduce(data, tmp_path, ["ntk"], 0, told.append, larger, threads=2)
    assert len(told) == 4
    write_reproduction(made, tmp_path)
    assert "--seed 0 --part ntk --threads 2 --out" in (tmp_path / "reproduction.md").read_text()


def test_networks_without_a_trojan_are_in_no_figure(data, tmp_path, monkeypatch):
    first = parts.reproduce(data, tmp_path, ["ntk"], 0, scale=TINY)
    before = first.rows["ntk"].set_index("model")["asr_before"]
    assert first.notes == []
    monkeypatch.setattr(parts, "LEAST_ASR", float(before.max()) + 0.01)
    made = parts.reproduce(data, tmp_path, ["ntk"], 0, scale=TINY)
    assert made.findings == []
    assert made.by_seed == {0: {}}
    (note,) = made.notes
    assert "convnet-patch-0 of seed 0" in note
    assert len(made.rows["ntk"]) == 2
    assert "In no figure" in write_reproduction(made, tmp_path).read_text()


def other_method(monkeypatch, part: str) -> None:
    if part == "forgetting":
        monkeypatch.setattr(forgetting, "RATE", 1e-3)
    elif part == "ntk":
        monkeypatch.setattr(kernels, "RATE", 0.25)
    else:
        was = bench.resolve
        monkeypatch.setattr(bench, "resolve", lambda name: was(name, {"batch_size": "31"}))


def methods_in(part: str, data: ImageData, folder: Path) -> dict[str, str]:
    made = Bench(data, 0, TINY, Store(folder, data.digest))
    return {unit.name: unit.methods for unit in parts.PARTS[part].units(made)}


@pytest.mark.parametrize("part", parts.PARTS)
def test_results_of_other_methods_are_not_taken(part, data, tmp_path, monkeypatch):
    before = methods_in(part, data, tmp_path)
    assert methods_in(part, data, tmp_path) == before
    other_method(monkeypatch, part)
    after = methods_in(part, data, tmp_path)
    assert all(after[name] != before[name] for name in before)
    store, told = Store(tmp_path, data.digest), []
    for methods in ("one", "one", "another"):
        store.rows(part, [Unit("u", lambda: [{"a": 1}], methods)], "", told.append)
    assert len(told) == 2


def test_a_changed_preset_has_only_its_own_rows_measured_again(data, tmp_path, monkeypatch):
    before = methods_in("attacks", data, tmp_path)
    was = bench.resolve
    monkeypatch.setattr(bench, "resolve", lambda name: was(name, {"batch_size": "31"} if name == "nad" else {}))
    after = methods_in("attacks", data, tmp_path)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {name for name in before if name.endswith("-nad")} != set()


@pytest.mark.parametrize("missing", ["images-refit", "nad"])
def test_what_was_measured_is_told_while_a_preset_is_missing(missing, data, tmp_path):
    names = [name for name in attacks.PRESETS if name != missing]
    same = {"kind": "patch", "family": "poisoned data", "clean": 60, "acc_before": 1.0, "asr_before": 1.0, "seed": 0}
    same |= {"asr_after": 0.1, "seconds": 1.0, "error": None}
    rows = pd.DataFrame(
        {**same, "model": f"m{number}", "preset": name, "acc_after": 0.9 - number / 20, "fidelity": 0.8 - number / 20}
        for number in range(3)
        for name in names
    )
    both, against = attacks.findings(rows, Bench(data, 0, TINY, Store(tmp_path, "")))
    assert {line["preset"] for line in against.table.to_dict("records")} == set(names)
    assert not any(missing in claim.about for finding in (both, against) for claim in finding.claims)
    for drawing in both.drawings:
        assert drawing.draw() is not None


def test_results_of_other_data_are_never_overwritten(data, tmp_path):
    Store(tmp_path / "seed--1", "other").rows("ntk", [Unit("u", lambda: [{"a": 1}], "")], "", lambda text: None)
    for seed in (-1, 0):
        with pytest.raises(RunDirectoryProblem, match=r"holds results of other data .*choose another --out"):
            parts.reproduce(data, tmp_path, ["speed"], seed, scale=TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["seed--1"]


def test_seeds_may_be_negative(tmp_path):
    for name in ("seed--1", "seed-7", "seed-", "seed-x", "models"):
        (tmp_path / name).mkdir()
    assert seeds_in(tmp_path) == [-1, 7]


def test_the_commands_say_what_was_given(tmp_path):
    assert parts._command("mnist", tmp_path / "out", 3, ["speed"], 2) == (
        "trojai-seam reproduce mnist --data DIR --seed 3 --part speed --threads 2 --out out"
    )
    assert "--part" not in parts._command("mnist", tmp_path, 3, list(parts.PARTS), 1)


def forgotten(target: str, asr: list[float], model: str = "a", error: str | None = None) -> list[dict]:
    """Rows after 0, 1, 2 and 4 steps, or fewer."""
    return [
        {"seed": 0, "model": model, "target": target, "step": step, "acc": 0.9, "asr": left, "distance": float(step),
         "error": error if step == 0 else None}
        for step, left in zip((0, 1, 2, 4), asr, strict=False)
    ]  # fmt: skip


def test_what_fails_early_is_compared_over_its_own_steps(data, tmp_path):
    rows = []
    for model in ("a", "b"):
        for target in forgetting.TARGETS:
            rows += forgotten(target, [1.0, 0.9, 0.5, 0.1], model)
    rows = [row for row in rows if (row["model"], row["target"]) not in {("a", "gradient ascent"), ("b", "label + 1")}]
    rows += forgotten("gradient ascent", [1.0, 0.9], error="not finite")
    rows += forgotten("label + 1", [1.0], "b", error="not finite")
    (found,) = forgetting.findings(pd.DataFrame(rows), Bench(data, 0, TINY, Store(tmp_path, "")))
    values = {(claim.about, claim.figure): claim.estimate for claim in found.claims}
    ascent = values["more than gradient ascent", "ASR over steps, that target less random"]
    assert (ascent.n, ascent.value) == (2, 0.0)
    assert values["more than label + 1", "ASR over steps, that target less random"].n == 1
    assert values["more than label + 1", "ASR at the same distance, likewise"].n == 1
    assert values["forgetting at all", "fall of attack success in 4 steps"].value == pytest.approx(0.9)
    assert found.table.set_index("target")["failed"].to_dict() == {
        target: "1" if target in {"gradient ascent", "label + 1"} else "0" for target in forgetting.TARGETS
    }
    for drawing in found.drawings:
        drawing.draw()


def test_attack_success_is_told_once_the_task_is_lost(data, tmp_path):
    rows = [row for target in forgetting.TARGETS for row in forgotten(target, [1.0, 0.9, 0.5, 0.1])]
    for row in rows:  # two of three classes is 0.67, which random labels pass after two steps
        row["acc"] = 0.5 if row["target"] == forgetting.RANDOM and row["step"] >= 2 else 0.9
    (found,) = forgetting.findings(pd.DataFrame(rows), Bench(data, 0, TINY, Store(tmp_path, "")))
    told = found.table.set_index("target")["ASR once ACC is below 0.67"]
    assert told[forgetting.RANDOM] == "0.50 of 1"
    assert set(told.drop(forgetting.RANDOM)) == {"never"}


def test_forgetting_that_failed_itself_let_nothing_fall(data, tmp_path):
    rows = [row for target in forgetting.TARGETS for row in forgotten(target, [1.0, 0.9, 0.5, 0.1], "a")]
    rows = [row for row in rows if row["target"] != forgetting.RANDOM or row["step"] < 2]
    (found,) = forgetting.findings(pd.DataFrame(rows), Bench(data, 0, TINY, Store(tmp_path, "")))
    assert found.claims[0].estimate.value == 0.0


def test_a_method_that_fails_at_once_is_not_fast(data, tmp_path):
    same = {"network": "n", "preset": "p", "acc_before": 0.9, "asr_before": 1.0, "acc_after": 0.9, "asr_after": 0.0,
            "training_seconds": 30.0}  # fmt: skip
    good = {**same, "ratio": 30.0, "ratio_to_same_acc": 20.0, "seconds": 1.0, "fidelity": 1.0, "error": None}
    bad = {**same, "ratio": 3e4, "ratio_to_same_acc": 3e4, "seconds": 1e-3, "fidelity": 0.0, "error": "failed"}
    where = Bench(data, 0, TINY, Store(tmp_path, ""))
    (found,) = speed.findings(pd.DataFrame([good, good, bad]), where)
    ratio, fidelity = (claim.estimate for claim in found.claims)
    assert (ratio.n, ratio.value) == (2, pytest.approx(30.0))
    assert (fidelity.n, found.table["failed"][0]) == (3, "1")
    (found,) = speed.findings(pd.DataFrame([bad, bad]), where)
    assert (found.claims[0].verdict, found.table["ratio"][0], found.table["unlearning, s"][0]) == (
        "undecided",
        "-",
        "-",
    )
    found.drawings[0].draw()


def test_pictures_to_unlearn_with_are_not_trained_on_and_those_that_measure_neither(data, tmp_path):
    bench = Bench(data, 0, TINY, Store(tmp_path, ""))
    trained = {image.numpy().tobytes() for image in bench.training_pictures(None, "x").images}
    fit = bench.fit(30, "x")
    assert np.bincount(fit.labels.numpy()).tolist() == [10, 10, 10]
    assert not trained & {(image * 255).round().byte().numpy().tobytes() for image in fit.inputs["x"]}
    smaller = bench.fit(9, "x")
    assert all((smaller.inputs["x"][n] == fit.inputs["x"][n]).all() for n in range(9))


def test_a_damaged_result_is_named(data, tmp_path):
    store = Store(tmp_path, "")
    (tmp_path / "ntk").mkdir()
    (tmp_path / "ntk" / "u.json").write_text(json.dumps({"rows": 3})[:-2])
    with pytest.raises(RunDirectoryProblem, match=r"u\.json: is no result"):
        store.rows("ntk", [Unit("u", list, "")], "", lambda text: None)


def test_missing_data_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["reproduce", "mnist", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such folder (--data)" in line
    assert "https://" in line
    assert not (tmp_path / "out").exists()


def test_missing_data_is_said_before_anything_of_weight_is_imported(tmp_path):
    given = argparse.Namespace(command_name="reproduce", dataset="cifar10", data=tmp_path / "file")
    given.data.write_bytes(b"")
    with pytest.raises(DatasetProblem, match=r"is no folder \(--data\); .*https://"):
        check_command(given)
    tree = ast.parse(Path(sources.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "pathlib", "errors"}
