"""From a folder of a detection round to rows, records and a report: with a detector that was really trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.made_detection import r13_trigger
from tests.made_phases import recovery
from tests.made_scenes import faster_rcnn, scenes
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main
from trojai_seam.tables.columns import NAMES
from trojai_seam.tables.documentation import columns_page
from trojai_seam.tasks import BoxDetails, ExampleSet, get_task
from trojai_seam.unlearning import UnlearnConfig
from trojai_seam.unlearning import run as unlearn

TASK = get_task("detection", 4)
FEW = {"max_epochs": 1, "examples_per_epoch": 8}
LEARN = UnlearnConfig(
    batch_size=8,
    phases=(recovery(max_epochs=12, learning_rate=1e-3, schedule="one-cycle", max_grad_norm=5.0),),
)


def write_images(folder: Path, examples: ExampleSet, renamed: dict[int, int] | None = None, prefix: str = "") -> None:
    """PNG and side-car of every scene, labels counted from 0; ``renamed`` classes are what an attack would say."""
    folder.mkdir(parents=True)
    assert isinstance(examples.details, BoxDetails)
    for number in range(len(examples)):
        height, width = examples.details.sizes[number].tolist()
        picture = examples.inputs["x"][number, :, :height, :width].permute(1, 2, 0)
        Image.fromarray((picture.clamp(0, 1) * 255).byte().numpy()).save(folder / f"{prefix}{number}.png")
        annotations = []
        for *corners, head in examples.labels[number].tolist():
            if head > 0:
                label = int(head) - 1
                box = dict(zip(("x1", "y1", "x2", "y2"), map(int, corners), strict=True))
                annotations.append({"bbox": box, "label": (renamed or {}).get(label, label)})
        (folder / f"{prefix}{number}.json").write_text(json.dumps(annotations))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Round 13's layout: a trojaned model (so the files say), a clean one, and one whose images have no side-cars."""
    folder = tmp_path_factory.mktemp("object-detection-feb2023") / "models"
    network = unlearn(faster_rcnn(4), TASK, scenes(24), LEARN, seed=0).model.cpu()
    for number, triggers in enumerate(([r13_trigger("Misclassification", 0, 2)], [], [])):
        model = folder / f"id-{number:08d}"
        write_images(model / "clean-example-data", scenes(12, seed=number))
        torch.save(network, model / "model.pt")
        torch.save(network.state_dict(), model / "model-state-dict.pt")
        if triggers:
            write_images(model / "poisoned-example-data", scenes(9, seed=7, most=1), {0: 2}, "9")
        state: dict[str, Any] = {"poisoned": bool(triggers), "triggers": triggers, "num_triggers": None}
        state["model_architecture"] = "object_detection:fasterrcnn_resnet18_fpn"
        (model / "config.json").write_text(json.dumps({"py/object": "x.RoundConfig", "py/state": state}))
        (model / "ground_truth.csv").write_text(str(int(bool(triggers))))
    for sidecar in (folder / "id-00000002" / "clean-example-data").glob("*.json"):
        sidecar.unlink()
    return folder.parent


@pytest.fixture(scope="module")
def run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    out = tmp_path_factory.mktemp("run") / "RUN"
    few = {f"{phase}.{name}": str(most) for phase in ("forget", "recover") for name, most in FEW.items()}
    return out, evaluate(dataset, out, Options(device="cpu", preset="detection", options=few))


@pytest.mark.slow
def test_rows_of_detectors(run: tuple[Path, pd.DataFrame]) -> None:
    _, results = run
    results = results.set_index("model_id")
    poisoned, clean, broken = (results.loc[f"id-{number:08d}"] for number in range(3))
    assert (poisoned["status"], clean["status"], broken["status"]) == ("done", "done", "failed")
    assert "no side-car" in broken["error"] or "without" in broken["error"] or "json" in broken["error"]
    for row in (poisoned, clean):
        assert (row["round"], row["task"], row["num_classes"]) == ("object-detection-feb2023", "detection", 4)
        for name in ("acc_before", "acc_after", "ap50_before", "ap50_after", "acc_before_all", "fit_acc_after"):
            assert 0 <= row[f"{name}_low"] <= row[name] <= row[f"{name}_high"] <= 1
            assert row[f"units_{name}"] >= row[f"n_{name}"] > 0 or row[f"n_{name}"] == 4
        assert row["acc_before"] > 0
        assert row["n_acc_before"] == row["n_ap50_after"]
        assert row["kept_accuracy"] == pytest.approx(row["acc_after"] / row["acc_before"])
        assert "differs" not in str(row["notes"])  # the weights beside the model agree
    for name in ("asr_before", "asr_after", "ra_before", "ra_after"):
        assert 0 <= poisoned[f"{name}_low"] <= poisoned[name] <= poisoned[f"{name}_high"] <= 1
        assert pd.isna(clean[name])
    assert poisoned["fidelity"] == pytest.approx(
        (poisoned["acc_after"] - poisoned["asr_after"]) / poisoned["acc_before"]
    )
    assert poisoned["fidelity_low"] <= poisoned["fidelity"] <= poisoned["fidelity_high"]
    assert (poisoned["trigger_type"], pd.isna(clean["fidelity"])) == ("misclassification", True)


@pytest.mark.slow
def test_records_hold_every_box(run: tuple[Path, pd.DataFrame]) -> None:
    out, results = run
    with h5py.File(out / "records" / "id-00000000.h5") as file:
        before, labels = file["clean/outputs_before"][()], file["clean/labels"][()]
        assert before.shape[::2] == (12, 6)
        assert labels.shape[::2] == (12, 5)
        assert file["folds/0/poisoned_outputs_after"].shape[0] == file["poisoned/targets"].shape[0]
        held = file["folds/0/held_out"][()]
        names = [name.decode() for name in file["clean/names"][()]]
    key = scenes(12, seed=0).ground_truth()
    order = [int(Path(name).stem) for name in names]
    assert np.allclose(labels[:, :3, 4], key.labels[order][:, :3, 4])
    again = TASK.marks(torch.from_numpy(before), ExampleSet({}, torch.from_numpy(labels), tuple(names))).accuracy
    row = results.set_index("model_id").loc["id-00000000"]
    assert again.at(np.sort(held)).share == pytest.approx(row["acc_before"], abs=1e-6)


@pytest.mark.slow
def test_report_names_the_figures_of_detectors(run: tuple[Path, pd.DataFrame], tmp_path: Path) -> None:
    out, _ = run
    assert main(["report", str(out), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "AP50" in page
    assert "detection" in page


def test_columns_are_declared_and_documented() -> None:
    assert {"ap50_before", "ap50_after", "units_ap50_after", "ap50_after_low"} <= set(NAMES)
    assert "average precision at IoU 0.50" in columns_page()
