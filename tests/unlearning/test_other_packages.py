"""A method that another package brings: no edit of ours, and the same rights."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path

import h5py
import pandas as pd
import pytest

from tests.made_rounds import trained_copy
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main
from trojai_seam.errors import ConfigProblem, UsageProblem
from trojai_seam.unlearning import resolve
from trojai_seam.unlearning.phase_kinds import PHASES

SOURCE = Path(__file__).parents[1] / "packages"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package and its metadata, as an installer leaves them."""
    site, project = tmp_path / "site", tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    shutil.copytree(SOURCE / "fst_like", site / "fst_like")
    about = site / f"fst_like-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, points in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setattr(PHASES, "_entries", dict(PHASES._entries))  # what is found here is forgotten afterwards
    for name in [name for name in sys.modules if name.partition(".")[0] == "fst_like"]:
        monkeypatch.delitem(sys.modules, name)  # of another test's folder, which is gone
    return site


def test_without_the_package_there_is_no_such_preset() -> None:
    with pytest.raises(UsageProblem, match="no preset called 'fst-like'"):
        resolve("fst-like")


def test_a_package_brings_a_phase_and_a_preset(installed: Path, tmp_path: Path, capsys) -> None:
    assert len((SOURCE / "fst_like" / "head.py").read_text().splitlines()) <= 60
    dataset = trained_copy(tmp_path / "data", 2)
    options = Options(device="cpu", preset="fst-like", options={"shift.max_epochs": "12", "alpha": "0.2"})
    row = evaluate(dataset, tmp_path / "run", options).to_dict("records")[1]
    assert (row["status"], row["phases"], row["preset"]) == ("done", "shift", "fst-like"), row["error"]
    assert row["acc_after"] >= 0.5
    assert row["seconds_unlearn"] > 0
    assert pd.isna(row["forget_status"])
    assert not row["stacked"]  # nobody knows how to do that to many networks at once
    with h5py.File(tmp_path / "run" / "records" / f"{row['model_id']}.h5") as record:
        assert record["folds/0/phases/shift/epochs"][()] == 12
        assert set(record["folds/0/trace/phase"].asstr()[:]) == {"shift"}
    assert main(["presets", "--json"]) == 0
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed["fst-like"]["chosen"]["confirmed"] == "not at all"


def test_its_settings_are_checked_like_ours(installed: Path) -> None:
    with pytest.raises(ConfigProblem) as caught:
        resolve("fst-like", {"shift.alpha": "-1", "shift.beta": "1", "shift.stop.patience": "0"})
    assert len(caught.value.findings) == 3


def test_a_package_that_cannot_be_imported_is_one_line(installed: Path, tmp_path: Path) -> None:
    points = installed / "fst_like-1.0.dist-info" / "entry_points.txt"
    points.write_text("[trojai_seam.phases]\nbroken = fst_like.missing:KIND\n")
    document = json.loads((SOURCE / "fst_like" / "fst-like.json").read_text())
    document["settings"]["phases"] = [{"kind": "broken"}]
    (tmp_path / "own.json").write_text(json.dumps(document))
    with pytest.raises(ConfigProblem, match=r"from fst_like\.missing:KIND cannot be imported: ModuleNotFoundError"):
        resolve(str(tmp_path / "own.json"))
