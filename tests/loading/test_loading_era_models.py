from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from trojai_seam.loading import SavedModel, read_model, read_object
from trojai_seam.loading.nodes import DictNode, Instance

SMALL = [
    "r1-resnet50", "r2-inceptionv3", "r3-densenet121", "r4-mobilenetv2", "r4-resnet18", "r4-squeezenetv1_1",
    "r5-embedding-distilbert", "r5-embedding-gpt2", "r5-gru", "r5-lstm", "r6-linear", "r6-linear-relu", "r7-ner-bert",
    "r7-ner-roberta", "r8-qa-electra", "r9-ner-roberta", "r9-qa-electra", "r9-sc-distilbert", "r11-resnet50",
    "qa23-mobilebert",
]  # fmt: skip
LARGE = [
    "r2-vgg11bn", "r4-wideresnet50", "r10-fasterrcnn_resnet50_fpn", "r10-ssd300_vgg16", "r11-vit_base_patch32_224",
    "r13-fasterrcnn_resnet50_fpn_v2", "r13-ssd300_vgg16",
]  # fmt: skip
MODELS = SMALL + [pytest.param(name, marks=pytest.mark.slow) for name in LARGE]


def state_dict_sha256(model: SavedModel) -> str:
    digest = hashlib.sha256()
    for key, value in model.state_dict().items():
        shape = ",".join(str(extent) for extent in value.shape)
        digest.update(f"{key}|{str(value.dtype).removeprefix('torch.')}|{shape}\n".encode())
        digest.update(value.reshape(-1).numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", MODELS)
def test_period_model_is_read_bit_for_bit(name: str, era_model: Callable[..., Path]) -> None:
    folder = era_model(name)
    golden = json.loads((folder / "golden.json").read_text())
    model = read_model(folder / "model.pt")
    assert (model.kind, model.format, model.class_path) == ("module", golden["format"], golden["class_path"])
    assert list(model.globals) == sorted(golden["pickle_globals"])
    assert len(model.tensors) == golden["state_dict_key_count"]
    assert state_dict_sha256(model) == golden["state_dict_sha256"]
    assert next(iter(model.modules.items())) == ("", model.root)


def test_the_lists_above_are_all_there_is(shared: Path) -> None:
    present = {folder.name for folder in (shared / "era-models").iterdir() if folder.is_dir()}
    assert present == set(SMALL) | set(LARGE)


def test_attributes_of_modules_are_plain_values(era_model: Callable[..., Path]) -> None:
    model = read_model(era_model("r4-mobilenetv2") / "model.pt")
    assert model.root is not None
    assert model.modules["classifier.0"].get("p") == 0.2
    assert model.modules["features.0.0"].get("stride") == (2, 2)
    assert model.modules["features.0.1"].get("eps") == 1e-5
    assert model.modules["features.0.1"].get("invented later", "absent") == "absent"
    assert model.modules["features.0"] is model.root.children["features"].children["0"]
    assert not any(key.startswith(("_parameters", "_forward_hooks")) for key in model.root.attributes)
    assert model.shape("classifier.1.weight")[1] == 1280
    with pytest.raises(KeyError):
        model.shape("classifier.1.weights")


def test_a_config_object_can_be_asked(era_model: Callable[..., Path]) -> None:
    model = read_model(era_model("r9-ner-roberta") / "model.pt")
    assert model.root is not None
    config = model.root.get("config")
    assert isinstance(config, Instance)
    assert config.cls.path == "transformers.models.roberta.configuration_roberta.RobertaConfig"
    assert config.get("layer_norm_eps") == 1e-5
    labels = config.get("id2label")
    assert isinstance(labels, DictNode)
    assert len(labels) == model.shape("classifier.weight")[0]


def test_no_unpickler_of_python_or_torch_is_ever_used(
    era_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import _pickle

    import torch

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an unpickler was called")

    for owner, attribute in (
        (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (pickle, "_Unpickler"), (_pickle, "load"),
        (_pickle, "loads"), (_pickle, "Unpickler"), (torch, "load"), (torch.serialization, "load"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, attribute, refuse)
    for name in ("r4-squeezenetv1_1", "r2-inceptionv3"):
        assert read_model(era_model(name) / "model.pt").state_dict()


def test_real_models_of_nist(shared: Path) -> None:
    examples = shared / "trojai-examples"
    pdf = read_model(examples / "cyber-pdf-dec2022/models/id-00000002/model.pt")
    assert (pdf.kind, pdf.class_path, pdf.shape("fc1.weight")) == ("module", "archs.Net6", (100, 135))
    assert len(pdf.state_dict()) == 12
    apk = read_model(examples / "cyber-apk-nov2023/models/id-00000001/model.pt")
    assert (apk.kind, apk.class_path, apk.root, apk.modules) == ("state-dict", None, None, {})
    assert {name: tuple(value.shape) for name, value in apk.state_dict().items()}["fc1.weight"] == (400, 991)


def test_real_tokenizers_of_nist(shared: Path) -> None:
    files = sorted(shared.glob("trojai-examples/*/tokenizers/*.pt"))
    assert len(files) == 4
    for file in files:
        root = read_object(file)
        assert isinstance(root, Instance)
        assert root.cls.path.startswith("transformers.models.")
        assert root.cls.path.endswith("TokenizerFast")
        inner = root.get("_tokenizer")
        assert isinstance(inner, Instance)
        assert inner.cls.path == "tokenizers.Tokenizer"
        assert isinstance(inner.state, bytes)
        assert json.loads(inner.state)["model"]["vocab"]["[PAD]"] == 0
        model = read_model(file)
        assert (model.kind, model.root, dict(model.tensors)) == ("other", None, {})
