"""One command measures all parts on tiny pictures, goes on where it was, and says whether verdicts stay."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from trojai_seam.cli import main
from trojai_seam.reproduction import attacks, data_size, forgetting, parts, speed
from trojai_seam.reproduction.bench import Bench, Scale
from trojai_seam.reproduction.datasets import ImageData
from trojai_seam.reproduction.page import verdict_table, write_reproduction
from trojai_seam.reproduction.storage import Store
from trojai_seam.synthesis.picture_attacks import Pictures

TINY = Scale(
    pool=60, train=160, epochs=2, full_epochs=1, measured=60, repeats=2, sizes=(3, 0), steps=3, kernel=4,
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
    """Methods of one step, since what they do is tested elsewhere."""
    for module in (speed, data_size):
        monkeypatch.setattr(module, "PRESETS", ("finetune", "no-op"))
    monkeypatch.setattr(attacks, "SEAM", ("finetune",))
    monkeypatch.setattr(attacks, "OTHERS", ("no-op",))
    monkeypatch.setattr(attacks, "PRESETS", ("finetune", "no-op"))


@pytest.fixture
def data():
    return ImageData("mnist", pictures(300, 0), pictures(90, 1), 6000)


@pytest.mark.slow  # on a busy core
def test_all_parts_from_data_to_page(data, quick, tmp_path):
    told: list[str] = []
    made = parts.reproduce(data, tmp_path, list(parts.PARTS), 0, told.append, TINY)
    assert set(made.rows) == {"speed", "data", "forgetting", "ntk", "attacks"}
    assert len(told) == 2 + 2 + 3 * 2
    table = verdict_table(made)
    assert len(table) == 6
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
    assert sorted(repeated) == ["not repeated"] * 5 + ["stays"]
    assert both.rows["ntk"]["seed"].unique().tolist() == [0, 7]


def test_results_of_other_sizes_are_measured_again(data, tmp_path):
    told: list[str] = []
    parts.reproduce(data, tmp_path, ["ntk"], 0, told.append, TINY)
    larger = Scale(**{**TINY.__dict__, "kernel_steps": 3})
    parts.reproduce(data, tmp_path, ["ntk"], 0, told.append, larger)
    assert len(told) == 4


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
    from trojai_seam.errors import RunDirectoryProblem
    from trojai_seam.reproduction.storage import Unit

    with pytest.raises(RunDirectoryProblem, match=r"u\.json: is no result"):
        store.rows("ntk", [Unit("u", list)], "", lambda text: None)


def test_missing_data_is_one_line_and_code_2(tmp_path, capsys):
    assert main(["reproduce", "mnist", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no such folder (--data)" in line
    assert "https://" in line
    assert not (tmp_path / "out").exists()
