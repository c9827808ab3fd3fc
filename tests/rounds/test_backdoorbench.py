"""Records of BackdoorBench: a made-up one in its form, and the genuine one."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import trojai_seam
from trojai_seam.cli import main
from trojai_seam.errors import TrojaiSeamError
from trojai_seam.loading.arrays import array_of, read_batch
from trojai_seam.loading.nodes import DictNode
from trojai_seam.rounds import detect_models
from trojai_seam.rounds.opening import open_directory
from trojai_seam.scoring import predict, predict_attacks

COUNT = 40


class LeNet(nn.Module):
    """As the tensors of ``lenet5`` are called."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = torch.max_pool2d(self.conv1(x).relu(), 2)
        x = torch.max_pool2d(self.conv2(x).relu(), 2).flatten(1)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def container(folder: str, entries) -> dict:
    indicator = np.zeros(COUNT)
    indicator[[index for index, *_ in entries]] = 1
    return {
        "bd_data_container": {
            "save_folder_path": folder,
            "save_file_format": ".png",
            "data_dict": {
                np.int64(index): {"path": f"{folder}/{label}/{index}.png", "other_info": [target, label]}
                for index, target, label in entries
            },
        },
        "getitem_all": True,
        "getitem_all_switch": False,
        "original_index_array": np.array([index for index, *_ in entries]),
        "poison_indicator": indicator,
        "save_folder_path": folder,
    }


@pytest.fixture
def root(tmp_path) -> Path:
    """``data`` and ``record`` side by side, as BackdoorBench has them; paths in the file begin where it was made."""
    torch.manual_seed(1)
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (COUNT, 3072), dtype=np.uint8)
    labels = [index % 10 for index in range(COUNT)]
    batch = tmp_path / "data" / "cifar10" / "cifar-10-batches-py" / "test_batch"
    batch.parent.mkdir(parents=True)
    batch.write_bytes(pickle.dumps({"data": images, "labels": labels, "batch_label": "test"}, protocol=2))
    record = tmp_path / "record" / "badnet_0_1"
    entries = [(index, 0, label) for index, label in enumerate(labels) if label != 0]
    for index, _, label in entries:
        path = record / "bd_test_dataset" / str(label) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = images[index].reshape(3, 32, 32).transpose(1, 2, 0).copy()
        picture[28:, 28:] = 255
        Image.fromarray(picture).save(path)
    network = LeNet()
    result = {
        "model_name": "lenet5",
        "num_classes": 10,
        "model": OrderedDict((f"module.{name}", tensor) for name, tensor in network.state_dict().items()),
        "data_path": "./data/cifar10",
        "img_size": (32, 32, 3),
        "clean_data": "cifar10",
        "bd_train": None,
        "bd_test": container("/home/them/BackdoorBench/record/badnet_0_1/bd_test_dataset", entries),
    }
    torch.save(result, record / "attack_result.pt")
    torch.save({"attack": "badnet", "attack_label_trans": "all2one", "attack_target": 0}, record / "info.pickle")
    (record / "defense" / "ft").mkdir(parents=True)
    repaired = {"model_name": "lenet5", "num_classes": 10, "model": LeNet().state_dict()}
    torch.save(repaired, record / "defense" / "ft" / "defense_result.pt")
    return tmp_path


def change(root: Path, **values) -> Path:
    path = root / "record" / "badnet_0_1" / "attack_result.pt"
    content = torch.load(path, weights_only=False)
    torch.save({**content, **values}, path)
    return path


def test_a_folder_of_records_is_a_dataset(root):
    directories, round_config = detect_models(root)
    assert [one.model_id for one in directories] == ["badnet_0_1", "badnet_0_1/defense/ft"]
    subject = open_directory(directories[0], round_config)
    assert (subject.facts["architecture"], subject.facts["trigger_type"]) == ("lenet5", "badnet")
    assert subject.poisoned.made_from == tuple(index for index in range(COUNT) if index % 10)
    assert subject.poisoned.targets.tolist() == [0] * 36
    batch = read_batch(root / "data" / "cifar10" / "cifar-10-batches-py" / "test_batch")
    assert isinstance(batch, DictNode)
    raw = torch.from_numpy(array_of(batch.get("data"))).view(-1, 3, 32, 32).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)))
    torch.testing.assert_close(subject.clean.prepared().inputs["x"], (raw - mean) / std)
    stamped = subject.poisoned.prepared().inputs["x"][:, :, 28:, 28:]
    torch.testing.assert_close(stamped, ((1 - mean) / std).expand(36, 3, 4, 4))


def test_a_row_written_back_and_read_again(root, tmp_path, capsys):
    run = ["--device", "cpu", "--preset", "no-op"]
    assert main(["evaluate", str(root), "--out", str(tmp_path / "run"), *run]) == 0
    rows = trojai_seam.read_results(tmp_path / "run").set_index("model_id")
    attack = rows.loc["badnet_0_1"]
    assert (attack["round"], attack["status"], attack["source_dataset"]) == ("backdoorbench", "done", "cifar10")
    assert attack["n_asr_before_all"] == 36  # BackdoorBench's rule: all of bd_test
    assert attack["n_asr_before"] < 36  # ours: what was made of nothing that may be trained on
    record = root / "record" / "badnet_0_1"
    out = record / "defense" / "seam" / "defense_result.pt"
    out.parent.mkdir()
    assert main(["unlearn", str(record), "--out", str(out), "--format", "backdoorbench", *run]) == 0
    theirs = torch.load(out, weights_only=True)
    assert (theirs["model_name"], theirs["num_classes"]) == ("lenet5", 10)
    LeNet().load_state_dict(theirs["model"])
    assert main(["evaluate", str(root), "--out", str(tmp_path / "again"), *run]) == 0
    again = trojai_seam.read_results(tmp_path / "again").set_index("model_id")
    assert len(again) == 3
    for column in ("acc_before_all", "asr_before_all"):  # nothing was done to it
        assert again.loc["badnet_0_1/defense/seam", column] == attack[column]


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"bd_test": None}, "bd_test is missing"),
        ({"bd_test": {"x": 1}}, "bd_data_container is missing"),
        ({"num_classes": 43}, "says 43 classes, the network has 10"),
        ({"clean_data": "svhn"}, "'svhn' is none of"),
        ({"clean_data": "gtsrb"}, "give the test set of gtsrb"),
        ({"data_path": "./data/elsewhere"}, "there is no data/elsewhere/cifar-10-batches-py/test_batch"),
        ({"img_size": "32"}, "img_size: expected"),
        ({"bd_test": container("/r/bd_test_dataset", [(3, 0, 4)])}, "3.png: no such image; 1 of 1"),
        ({"bd_test": container(None, [(3, 0, 4)])}, "inside the file are not supported"),
        (
            {"bd_test": container("/r/bd_test_dataset", [(3, 12, 3)])},
            "label 12, but the network has only classes 0 to 9",
        ),
    ],
)
def test_what_is_wrong_with_a_record_is_one_line(root, values, problem):
    change(root, **values)
    directories, round_config = detect_models(root)
    with pytest.raises(TrojaiSeamError, match=problem) as caught:
        open_directory(directories[0], round_config)
    assert "\n" not in str(caught.value)


def test_the_test_set_has_to_be_the_one_that_was_poisoned(root):
    batch = root / "data" / "cifar10" / "cifar-10-batches-py" / "test_batch"
    content = pickle.loads(batch.read_bytes())  # noqa: S301 - our own
    batch.write_bytes(pickle.dumps({**content, "labels": content["labels"][::-1]}, protocol=2))
    directories, round_config = detect_models(root)
    with pytest.raises(TrojaiSeamError, match="differ from those of the clean test set"):
        open_directory(directories[0], round_config)


def test_names_are_not_paired_by_position(root):
    path = root / "record" / "badnet_0_1" / "attack_result.pt"
    state = torch.load(path, weights_only=False)["model"]
    change(root, model=OrderedDict((name.replace("fc1", "dense"), tensor) for name, tensor in state.items()))
    directories, round_config = detect_models(root)
    with pytest.raises(TrojaiSeamError, match="has not exactly the weights"):
        open_directory(directories[0], round_config)


def test_the_genuine_record_measures_as_its_tool_did(tmp_path, shared):
    """Figures of BackdoorBench itself, from the README beside the record."""
    folder = shared / "public-trojaned" / "backdoorbench"
    if not folder.is_dir():
        pytest.skip(f"needs the record of BackdoorBench in {folder}")
    directories, round_config = detect_models(folder)
    for directory, expected in zip(directories, ((0.417, 1.0, 0.0), (0.384, 0.195, 0.105)), strict=True):
        subject = open_directory(directory, round_config)
        attack = predict_attacks(subject.model, subject.task, subject.poisoned)
        clean = predict(subject.model, subject.task, subject.clean).accuracy.share
        assert (clean, attack.attack_success.share, attack.robust.share) == pytest.approx(expected, abs=6e-4)
