"""Checkpoints as training scripts write them: the network under any key, beside anything else."""

from __future__ import annotations

import datetime
import uuid
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from trojai_seam.errors import RefusedArchive, UnsupportedModel
from trojai_seam.loading import SavedModel, describe, read_model
from trojai_seam.networks import identify

NETWORK = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
STATE = NETWORK.state_dict()
OTHER = {name: value + 1 for name, value in STATE.items()}


def optimizer() -> dict[str, Any]:
    """With moments, as after a step."""
    adam = torch.optim.Adam(NETWORK.parameters())
    NETWORK(torch.rand(5, 3)).sum().backward()
    adam.step()
    return adam.state_dict()


def back(value: Any, folder: Path, entry: str | None = None) -> SavedModel:
    torch.save(value, folder / "x.pt")
    return read_model(folder / "x.pt", entry=entry)


def assert_is(model: SavedModel, state: dict[str, torch.Tensor], entry: str | None) -> None:
    found = model.state_dict()
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert (model.entry, model.obstacle) == (entry, None)


@pytest.mark.parametrize("key", ["model", "net", "state_dict", "model_state_dict", "ema", "weights", "params", "G"])
def test_state_dict_under_any_key(key: str, tmp_path: Path) -> None:
    beside = {"epoch": 3, "acc": torch.tensor(0.5), "history": [1.0], "lr": numpy.float64(0.1), "args": None}
    model = back({**beside, key: STATE, "optimizer": optimizer()}, tmp_path)
    assert_is(model, STATE, key)
    assert (model.kind, model.root) == ("state-dict", None)


@pytest.mark.parametrize("wrap", [nn.Sequential, nn.DataParallel])
def test_a_whole_network_inside_a_dict_is_a_network(wrap: type[nn.Module], tmp_path: Path) -> None:
    inner = nn.Sequential(nn.Linear(3, 2))
    model = back({"net": wrap(inner), "epoch": 1}, tmp_path)
    assert (model.kind, model.entry) == ("module", "net")
    assert model.class_path == "torch.nn.modules.container.Sequential"


def test_entries_of_entries(tmp_path: Path) -> None:
    statistics = {"mean": torch.rand(3), "std": torch.rand(3)}
    assert_is(
        back({"state": {"model": STATE, "optimizer": optimizer()}, "stats": statistics}, tmp_path), STATE, "state.model"
    )
    nested = back({"model": STATE, "ema": {"shadow": OTHER, "decay": 0.9}}, tmp_path)
    assert_is(nested, STATE, "model")  # the outer one, and the inner one on demand
    assert set(nested.entries) == {"model", "ema.shadow"}
    assert_is(
        back({"model": STATE, "ema": {"shadow": OTHER, "decay": 0.9}}, tmp_path, "ema.shadow"), OTHER, "ema.shadow"
    )
    assert_is(back([STATE, {"lr": 0.1}], tmp_path), STATE, "0")


def test_neighbours_of_tensors_are_no_second_network(tmp_path: Path) -> None:
    images = {"x": torch.rand(5, 3, 8, 8), "y": torch.arange(5)}
    losses = {"train": torch.tensor(0.1), "test": torch.tensor(0.2)}
    assert_is(
        back({"bd_test": images, "loss": losses, "model": STATE, "img_size": (32, 32, 3)}, tmp_path), STATE, "model"
    )


def test_a_network_and_its_own_state_dict_are_one(tmp_path: Path) -> None:
    model = back({"state_dict": NETWORK.state_dict(), "module": NETWORK}, tmp_path)
    assert (model.kind, model.entry) == ("module", "module")
    assert_is(back({"state_dict": STATE, "model_state_dict": dict(STATE)}, tmp_path), STATE, "state_dict")


def test_of_two_networks_one_must_be_chosen(tmp_path: Path) -> None:
    both = {"model": STATE, "ema": OTHER, "epoch": 1}
    model = back(both, tmp_path)
    assert (model.kind, model.entries) == ("other", ("model", "ema"))
    with pytest.raises(UnsupportedModel, match=r"2 networks, under 'model', 'ema'; choose one with --entry KEY"):
        identify(model)
    assert_is(back(both, tmp_path, "ema"), OTHER, "ema")
    with pytest.raises(UnsupportedModel, match=r"no entry 'emo' .*there are 'model', 'ema'"):
        identify(back(both, tmp_path, "emo"))


def test_an_entry_of_a_file_without_entries(tmp_path: Path) -> None:
    for value in (STATE, NETWORK, torch.ones(2)):
        with pytest.raises(UnsupportedModel, match="has no entry 'model': it is no checkpoint"):
            identify(back(value, tmp_path, "model"))


def test_a_checkpoint_without_a_network_names_its_keys(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"a dict of 2 entries \('epoch', 'acc'\), neither a network nor"):
        identify(back({"epoch": 1, "acc": torch.tensor(0.3)}, tmp_path))


def test_one_large_dict_under_many_keys_costs_no_more(tmp_path: Path) -> None:
    large = {f"{k}.weight": torch.ones(1, 1) for k in range(300)}
    shared = {"a": large}
    value = {f"k{k}": {f"j{j}": large for j in range(300)} | shared for k in range(300)}
    assert back(value, tmp_path).kind == "state-dict"


def test_plain_data_beside_the_weights(tmp_path: Path) -> None:
    beside = {
        "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC), "run": uuid.UUID(int=7),
        "rng": numpy.random.default_rng(3), "old": numpy.random.RandomState(3), "state": numpy.random.get_state(),
        "took": datetime.timedelta(seconds=3),
    }  # fmt: skip
    assert_is(back({**beside, "model": STATE}, tmp_path), STATE, "model")


class Loads:
    """Pickled as a call that is not known to be data."""

    def __reduce__(self) -> tuple[Any, ...]:
        return numpy.load, ("nowhere.npy",)


def test_what_cannot_be_rebuilt_can_be_described(tmp_path: Path) -> None:
    agent = nn.Sequential(nn.Linear(3, 2))
    agent.chooser = numpy.random.default_rng(7)
    torch.save(agent, tmp_path / "agent.pt")
    assert read_model(tmp_path / "agent.pt").kind == "module"  # NumPy's generators are data
    agent.data = Loads()
    torch.save(agent, tmp_path / "agent.pt")
    with pytest.raises(RefusedArchive, match=r"calls numpy\.load"):
        read_model(tmp_path / "agent.pt")
    described = read_model(tmp_path / "agent.pt", describing=True)
    facts = describe(described)
    assert (facts["parameters"], facts["class_path"]) == (8, "torch.nn.modules.container.Sequential")
    assert "numpy.load" in facts["globals"]
    with pytest.raises(UnsupportedModel, match=r"calls numpy.load, .*nothing was run"):
        identify(described)


def test_names_of_the_standard_library_are_refused_in_any_case(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": STATE, "x": Runs()}, tmp_path / "x.pt")
    for describing in (False, True):
        with pytest.raises(RefusedArchive, match="standard library"):
            read_model(tmp_path / "x.pt", describing=describing)
    assert not (tmp_path / "ran").exists()
