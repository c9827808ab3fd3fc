"""Detectors behind NIST's command lines: learned from, answered, mitigated; ``test`` has nothing to write for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.made_detection import CLASSES, Made, detector, r10_trigger, r13_trigger, write_examples, write_model
from trojai_seam.rounds import discover, get_round
from trojai_seam.rounds.opening import open_directory

QUICK = {"infer_forget_epochs": 1, "infer_recover_epochs": 1, "infer_probes": 100}
QUICK_MITIGATION = {"forget_epochs_factor": 0.1, "recover_epochs_factor": 0.1, "least_kept_accuracy": 0.1}


def write_detector(folder: Path, *, coco: bool = False, poisoned: bool = False) -> Path:
    triggers = [r10_trigger("misclassification", 1, 2) if coco else r13_trigger("Misclassification", 1, 2)]
    write_model(folder, coco=coco, triggers=triggers if poisoned else [] if not coco else None)
    suffix = "jpg" if coco else "png"
    images = {f"{n}.{suffix}": [Made(1 + n % 3, (6 + n, 5, 30 + n, 28))] for n in range(4)}
    write_examples(folder / "clean-example-data", images, coco=coco)
    return folder


@pytest.fixture
def active(tmp_path: Path) -> Path:
    """As the server shows a model of round 13: no id, no ground truth, a config of two keys."""
    made = write_detector(tmp_path / "made" / "id-00000000")
    folder = tmp_path / "active"
    folder.mkdir()
    shutil.copy(made / "model.pt", folder)
    shutil.copytree(made / "clean-example-data", folder / "clean-example-data")
    reduced = {"model_architecture": "object_detection:ssd300_vgg16", "source_dataset_background": "cityscapes"}
    (folder / "config.json").write_text(json.dumps(reduced))
    return folder


@pytest.mark.slow
def test_detectors_are_learned_from_and_answered(
    active: Path, container: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(6):
        write_detector(tmp_path / "models" / f"id-{number:08}", poisoned=bool(number % 2))
    common = {"scratch_dirpath": tmp_path / "scratch", "learned_parameters_dirpath": tmp_path / "learned"}
    values = tmp_path / "values.json"
    values.write_text(json.dumps(QUICK))
    common["metaparameters_filepath"] = values
    assert container("configure", configure_models_dirpath=tmp_path / "models", **common) == 0
    assert "learned from 6 models" in capsys.readouterr().err
    result = tmp_path / "result.txt"
    line = {"model_filepath": active / "model.pt", "examples_dirpath": active / "clean-example-data"}
    assert container("infer", result_filepath=result, **line, **common) == 0
    assert "answering" not in capsys.readouterr().err
    assert 0.01 <= float(result.read_text()) <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("coco", [False, True])
def test_a_mitigated_detector_is_a_plain_one_that_opens_again(coco: bool, container: Any, tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "round" / "models" / "id-00000000", coco=coco)
    values = tmp_path / "values.json"
    values.write_text(json.dumps(QUICK_MITIGATION))
    code = container(
        "mitigate", model_filepath=folder / "model.pt", dataset_dirpath=folder / "clean-example-data",
        output_dirpath=tmp_path / "out", scratch_dirpath=tmp_path / "scratch", metaparameters_filepath=values,
    )  # fmt: skip
    assert code == 0
    mitigated = torch.load(tmp_path / "out" / "mitigated.pt", weights_only=False)  # written by us a moment ago
    assert type(mitigated).__module__ == "torchvision.models.detection.ssd"
    changed = [not torch.equal(a, b) for a, b in zip(mitigated.parameters(), detector().parameters(), strict=True)]
    assert any(changed)
    shutil.copy(tmp_path / "out" / "mitigated.pt", folder / "model.pt")
    subject = open_directory(discover(tmp_path / "round")[0], get_round("r10" if coco else "r13"))
    assert subject.facts["num_classes"] == CLASSES + 1
    image = subject.clean.inputs["x"][0, :, :60, :64]
    with torch.no_grad():
        expected, found = (network([image])[0]["boxes"] for network in (mitigated, subject.model))
    assert torch.equal(expected, found)


def test_logits_of_boxes_are_refused_in_one_line(
    active: Path, container: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = {"model_filepath": active / "model.pt", "dataset_dirpath": active / "clean-example-data"}
    scratch = {"output_dirpath": tmp_path / "out", "scratch_dirpath": tmp_path / "scratch"}
    assert container("test", **line, **scratch) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "detection has no row of logits per example, which is all that test can write; use evaluate" in told
    assert str(active / "model.pt") in told
    assert not (tmp_path / "out" / "results.json").exists()


def test_boxes_are_needed_to_mitigate(
    active: Path, container: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for sidecar in (active / "clean-example-data").glob("*.json"):
        sidecar.unlink()
    line = {"model_filepath": active / "model.pt", "dataset_dirpath": active / "clean-example-data"}
    scratch = {"output_dirpath": tmp_path / "out", "scratch_dirpath": tmp_path / "scratch"}
    assert container("mitigate", **line, **scratch) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "0.png: has no label; expected 0.json or 0.png.json beside it" in told
    assert not (tmp_path / "out" / "mitigated.pt").exists()
