from __future__ import annotations

import argparse
import collections
import functools
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from trojai_seam.errors import RefusedArchive
from trojai_seam.loading import Budget, read_model, read_object
from trojai_seam.loading.nodes import Call, DictNode, Global, SetNode, TensorRef

BASE = torch.arange(60, dtype=torch.float32).reshape(5, 12)
TENSORS: dict[str, Callable[[], dict[str, torch.Tensor]]] = {
    "plain": lambda: {"x": torch.randn(3, 5)},
    "transposed": lambda: {"x": torch.randn(3, 5).T, "y": torch.randn(2, 3, 4).permute(2, 0, 1)},
    "channels-last": lambda: {"x": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)},
    "slices of one storage": lambda: {"a": BASE[1], "b": BASE[:, 3], "c": BASE[1:4, ::3], "d": BASE},
    "whole storage twice": lambda: {"a": BASE, "b": BASE.view(12, 5), "c": BASE.view(-1)[7:9]},
    "expanded": lambda: {"x": torch.randn(4, 1).expand(4, 6), "y": torch.tensor(2.0).expand(3, 3)},
    "empty": lambda: {"x": torch.empty(0), "y": torch.empty(3, 0, 2), "z": BASE[5:]},
    "scalar": lambda: {"x": torch.tensor(7), "y": torch.tensor(1.5), "z": BASE[2, 3]},
    "half": lambda: {"x": torch.randn(7).half(), "y": torch.randn(7).bfloat16()},
    "bool": lambda: {"x": torch.tensor([True, False, True]), "y": torch.ones(3, 3).bool().triu().T},
    "integers": lambda: {
        str(t): torch.arange(9).to(t) for t in (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
    },
    "doubles": lambda: {"x": torch.randn(4).double()},
    "complex": lambda: {"x": torch.randn(4, dtype=torch.complex64), "y": torch.randn(4, dtype=torch.complex128)},
    "extremes": lambda: {"x": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])},
}
NEW_DTYPES = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]


def equal_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    same = (left.dtype, left.shape) == (right.dtype, right.shape)
    raw = [value.contiguous().reshape(-1).view(torch.uint8) for value in (left, right)]
    return same and torch.equal(*raw)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", TENSORS)
def test_tensors_come_back_bit_for_bit(case: str, zipped: bool, tmp_path: Path) -> None:
    tensors = TENSORS[case]()
    torch.save(tensors, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    model = read_model(tmp_path / "x.pt")
    assert (model.kind, model.format) == ("state-dict", "zip" if zipped else "legacy")
    back = model.state_dict()
    assert list(back) == list(tensors)
    for name, value in back.items():
        assert equal_bits(value, tensors[name])
        assert value.is_contiguous()
        assert model.shape(name) == tuple(value.shape)
        assert not value._is_view()
        assert value.numel() == 0 or value.data_ptr() % 16 == 0
    pointers = [value.data_ptr() for value in back.values() if value.numel()]
    assert len(set(pointers)) == len(pointers)


@pytest.mark.parametrize("dtype", NEW_DTYPES, ids=str)
def test_dtypes_without_a_storage_class(dtype: torch.dtype, tmp_path: Path) -> None:
    value = torch.arange(12).float().reshape(3, 4).to(dtype)
    torch.save({"x": value, "row": value[1]}, tmp_path / "x.pt")
    back = read_model(tmp_path / "x.pt").state_dict()
    assert equal_bits(back["x"], value)
    assert equal_bits(back["row"], value[1])


def test_tensors_are_fresh_each_time_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    torch.save({"x": BASE, "y": BASE}, tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()
    model = read_model(tmp_path / "x.pt")
    first = model.state_dict()
    first["x"].zero_()
    assert torch.equal(first["y"], BASE)
    assert torch.equal(model.state_dict()["x"], BASE)
    assert (tmp_path / "x.pt").read_bytes() == before


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 3)
        self.head = torch.nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.twice = torch.nn.ModuleList([self.head, self.head])
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("scratch", torch.arange(4), persistent=False)
        self.register_buffer("absent", None)
        self.register_parameter("none", None)
        self.activation = torch.nn.functional.relu
        self.squash = torch.tanh
        self.norm = functools.partial(torch.nn.LayerNorm, eps=1e-6)
        self.anchors = [torch.ones(2, 2) * 3]
        self.add_module("nothing", None)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_module_with_ties_and_odd_attributes(zipped: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Tied().eval()
    torch.save(network, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    model = read_model(tmp_path / "x.pt")
    expected, back = network.state_dict(), model.state_dict()
    assert list(back) == list(expected)
    assert all(torch.equal(back[name], expected[name]) for name in expected)
    assert len({value.data_ptr() for value in back.values()}) == len(back)
    assert [name for name, _ in network.named_modules(remove_duplicate=False)] == list(model.modules)
    assert model.root is not None
    assert model.modules["twice.1"] is model.modules["head"]
    assert "nothing" not in model.root.children
    assert model.root.get("training") is False
    squash, activation, norm = (model.root.get(name) for name in ("squash", "activation", "norm"))
    assert isinstance(squash, Global)
    assert squash.name == "tanh"
    assert isinstance(activation, Global)
    assert activation.path == "torch.nn.functional.relu"
    assert isinstance(norm, Call)
    assert isinstance(norm.state, tuple)
    bound = norm.state[2]
    assert isinstance(bound, DictNode)
    assert bound.get("eps") == 1e-6
    anchors = model.root.get("anchors")
    assert isinstance(anchors, list)
    assert torch.equal(model.tensor(anchors[0]), torch.ones(2, 2) * 3)


@pytest.mark.parametrize("network", [
    torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True), torch.nn.MultiheadAttention(8, 2),
    torch.nn.TransformerEncoderLayer(8, 2), torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2)),
], ids=["lstm", "attention", "transformer", "parametrised"])  # fmt: skip
def test_modules_of_torch(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "state.pt")
    assert list(read_model(tmp_path / "state.pt").state_dict()) == list(network.state_dict())
    if type(network).__module__ == "torch.nn.utils.parametrize":
        return  # torch cannot pickle these whole
    torch.save(network, tmp_path / "x.pt")
    back = read_model(tmp_path / "x.pt").state_dict()
    assert all(torch.equal(value, back[name]) for name, value in network.state_dict().items())
    assert list(back) == list(network.state_dict())


def test_state_dict_keeps_its_metadata_apart(tmp_path: Path) -> None:
    state = torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict()
    torch.save(state, tmp_path / "x.pt")
    model = read_model(tmp_path / "x.pt")
    assert list(model.tensors) == ["0.weight", "0.bias"]
    assert isinstance(model.content, DictNode)
    assert model.content.attributes is not None
    assert isinstance(model.content.attributes.get("_metadata"), DictNode)


def test_later_assignments_of_a_key_win(tmp_path: Path) -> None:
    node = DictNode("dict", [("a", 1), (3, 2), ("b", 3), ("a", 4)])
    assert (node.get("a"), list(node.strings()), len(node)) == (4, ["a", "b"], 4)
    node.pairs.append(("b", 5))
    assert node.get("b") == 5


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict"])
def test_checkpoint_with_a_state_dict_inside(key: str, tmp_path: Path) -> None:
    options = argparse.Namespace(lr=0.1, out=pathlib.Path("here"))
    torch.save({"epoch": 3, "args": options, key: {"w": BASE}}, tmp_path / "x.pt")
    model = read_model(tmp_path / "x.pt")
    assert (model.kind, list(model.tensors)) == ("state-dict", ["w"])


def test_mixtures_are_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save({"w": BASE, "epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(RefusedArchive, match=r"mixes tensors with other values \(under epoch\)"):
        read_model(tmp_path / "x.pt")
    torch.save({"w": BASE, 3: BASE}, tmp_path / "x.pt")
    with pytest.raises(RefusedArchive, match="keys that are not text"):
        read_model(tmp_path / "x.pt")


def test_values_that_are_not_models(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "int": -5, "big": 2**70, "float": 0.5, "text": "ünï", "bytes": b"a\xff", "empty": b"", "array": bytearray(b"q"),
        "complex": 3j, "set": {1}, "frozen": frozenset([2]), "tuple": (1, (2,)), "size": torch.Size([2, 3]),
        "device": torch.device("cuda:1"), "dtype": torch.float16, "layout": torch.strided, "numpy": numpy.float64(3),
        "matrix": numpy.ones(3), "path": pathlib.Path("a/b"), "default": collections.defaultdict(list, {"k": [2]}),
        "counts": collections.Counter("aab"), "queue": collections.deque([1], 3), "range": range(3), "slice": slice(1),
        "storage": torch.ones(3).untyped_storage(), "none": None, "no": False,
    }  # fmt: skip
    torch.save(values, tmp_path / "x.pt")
    root = read_object(tmp_path / "x.pt")
    assert isinstance(root, DictNode)
    for name in ("int", "big", "float", "text", "bytes", "empty", "complex", "tuple", "none", "no"):
        assert root.get(name, "absent") == values[name]
        assert type(root.get(name)) is type(values[name])
    assert root.get("size") == (2, 3)
    assert root.get("array") == b"q"
    dtype, device, counts, unordered = (root.get(name) for name in ("dtype", "device", "counts", "set"))
    assert isinstance(dtype, Global)
    assert dtype.path == "torch.float16"
    assert isinstance(device, Call)
    assert device.args == ("cuda:1",) or device.args == ("cuda", 1)
    assert isinstance(counts, DictNode)
    assert counts.get("a") == 2
    assert isinstance(unordered, SetNode)
    assert unordered.items == [1]
    assert read_model(tmp_path / "x.pt").kind == "other"


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pickle_protocols(protocol: int, zipped: bool, tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    torch.save(network, tmp_path / "x.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    back = read_model(tmp_path / "x.pt").state_dict()
    assert all(torch.equal(back[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda: torch.ones(3, dtype=torch.complex64).conj(), "resolve_conj"),
        (lambda: torch.eye(3).to_sparse(), "sparse"),
        (lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), "quantised"),
        (lambda: torch.ones(3, device="meta"), "meta"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_supported_are_named(
    value: Callable[[], torch.Tensor], words: str, tmp_path: Path
) -> None:
    torch.save({"x": value()}, tmp_path / "x.pt")
    with pytest.raises(RefusedArchive, match=words):
        read_model(tmp_path / "x.pt")


def test_tensors_with_python_attributes(tmp_path: Path) -> None:
    plain, parameter = torch.arange(3.0), torch.nn.Parameter(torch.arange(4.0))
    plain.note, parameter.note = "a", ["b"]  # type: ignore[attr-defined]
    torch.save({"plain": plain, "parameter": parameter}, tmp_path / "x.pt")
    model = read_model(tmp_path / "x.pt")
    assert "torch._tensor._rebuild_from_type_v2" in model.globals
    assert {name: ref.is_parameter for name, ref in model.tensors.items()} == {"plain": False, "parameter": True}
    assert model.state_dict()["parameter"].tolist() == [0, 1, 2, 3]


def test_a_tensor_beyond_the_budget(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(1).expand(1000, 1000)}, tmp_path / "bomb.pt")
    with pytest.raises(RefusedArchive, match="tensor_bytes=3999999"):
        read_model(tmp_path / "bomb.pt", Budget(tensor_bytes=3_999_999))
    assert read_model(tmp_path / "bomb.pt", Budget(tensor_bytes=4_000_000)).shape("x") == (1000, 1000)
    torch.save([torch.ones(1).expand(2**20, 2**20)], tmp_path / "list.pt")
    model = read_model(tmp_path / "list.pt")
    assert isinstance(model.content, list)
    ref = model.content[0]
    assert isinstance(ref, TensorRef)
    with pytest.raises(RefusedArchive, match=r"4096\.0 GiB"):
        model.tensor(ref)


def test_bytes_of_booleans_become_zero_or_one(tmp_path: Path) -> None:
    odd = torch.tensor([0, 1, 2, 255], dtype=torch.uint8).view(torch.bool)
    torch.save({"x": odd}, tmp_path / "x.pt")
    assert read_model(tmp_path / "x.pt").state_dict()["x"].view(torch.uint8).tolist() == [0, 1, 1, 1]


def test_running_out_of_memory_is_a_refusal_and_other_faults_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"x": BASE}, tmp_path / "x.pt")
    model = read_model(tmp_path / "x.pt")
    faults: list[tuple[Exception, type[Exception]]] = [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), RefusedArchive),
        (MemoryError(), RefusedArchive),
        (RuntimeError("some bug"), RuntimeError),
    ]
    for raised, expected in faults:

        def fail(*_: object, fault: Exception = raised, **__: object) -> None:
            raise fault

        with monkeypatch.context() as patch:
            patch.setattr(torch, "empty", fail)
            with pytest.raises(expected, match=r"not enough memory|some bug"):
                model.state_dict()
    assert torch.equal(model.state_dict()["x"], BASE)
