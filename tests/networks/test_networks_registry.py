"""Registering, finding and describing networks; the user's own file; nothing of it imports torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tests.networks.pickles import bare, saved
from trojai_seam.errors import StateMismatch, UnsupportedModel, UsageProblem
from trojai_seam.networks import identify, load_user_networks, rebuild, register_network
from trojai_seam.networks.registry import keep_only, registered

TEACHES = """
from trojai_seam.networks import register_network
@register_network("mine", ["lab.nets.Mine"])
def build(saved, hints):
    from torch import nn
    out, size = saved.shape("layer.weight")
    net = nn.Module()
    net.layer = nn.Linear(size, out)
    return net
"""


@pytest.fixture(autouse=True)
def _only_built_in_networks() -> Iterator[None]:
    before = [network.name for network in reversed(registered())]
    yield
    keep_only(before)


class Mine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)


def test_unknown_class_path_lists_near_ones_and_how_to_teach_it(tmp_path: Path) -> None:
    file = saved(Mine(), tmp_path, "torchvision.models.resnet.ResNeXt")
    with pytest.raises(UnsupportedModel, match=r"near: torchvision\.models\.resnet\.ResNet.*--networks FILE\.py") as e:
        identify(file)
    assert "torchvision.models.resnet.ResNeXt" in str(e.value)


def test_a_state_dict_that_fits_nothing(tmp_path: Path) -> None:
    words = r"fits no registered network: layer\.weight, layer\.bias; say which with --network NAME, or teach it"
    with pytest.raises(UnsupportedModel, match=words):
        identify(bare(Mine().state_dict(), tmp_path))


def test_a_file_that_holds_no_network(tmp_path: Path) -> None:
    torch.save(["no", "network"], tmp_path / "model.pt")
    from trojai_seam.loading import read_model

    with pytest.raises(UnsupportedModel, match="neither a network nor a state dict"):
        identify(read_model(tmp_path / "model.pt"))


def test_user_networks(tmp_path: Path) -> None:
    file = saved(Mine(), tmp_path, "lab.nets.Mine")
    teach = tmp_path / "nets.py"
    teach.write_text(TEACHES)
    assert load_user_networks(teach) == ("mine",)
    assert load_user_networks(str(tmp_path / "." / "nets.py")) == ("mine",)  # once per process
    assert rebuild(file).layer.weight.shape == (2, 3)
    assert identify(file).architecture == "mine"


def test_user_networks_win_over_ours(tmp_path: Path) -> None:
    @register_network("other-resnet", ["torchvision.models.resnet.ResNet"])
    def build(saved, hints):
        return torchvision.models.resnet18(num_classes=3)

    assert identify(saved(torchvision.models.resnet18(num_classes=3), tmp_path)).architecture == "other-resnet"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no such file"),
        ("x = 1", "registers no network"),
        ("1 / 0", "importing it failed: ZeroDivisionError"),
        ("def (", "importing it failed: SyntaxError"),
        (TEACHES.replace('"mine"', '"drebin"'), "registered twice"),
        (TEACHES.replace('["lab.nets.Mine"]', "[]"), "needs a class path or a state-dict name"),
    ],
)
def test_user_files_that_teach_nothing(text: str | None, says: str, tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageProblem, match=says) as caught:
        load_user_networks(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_user_file_can_be_mended_and_loaded_again(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text(TEACHES + "raise RuntimeError('half way')")
    with pytest.raises(UsageProblem, match="half way"):
        load_user_networks(file)
    file.write_text(TEACHES)
    assert load_user_networks(file) == ("mine",)


def test_a_builder_that_fails_is_reported_with_its_name(tmp_path: Path) -> None:
    @register_network("broken", ["lab.nets.Mine"])
    def build(saved, hints):
        raise ValueError("cannot")

    with pytest.raises(UnsupportedModel, match="builder of broken failed: ValueError: cannot"):
        rebuild(saved(Mine(), tmp_path, "lab.nets.Mine"))


class Scaled(nn.Module):
    """With tensors outside the state dict: a non-persistent buffer and a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.register_buffer("scale", torch.arange(3.0), persistent=False)
        self.anchors = [torch.full((3,), 2.0)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * self.scale + self.anchors[0])


def test_tensors_outside_the_state_dict_are_computed_for_real(tmp_path: Path) -> None:
    @register_network("scaled", ["lab.nets.Scaled"])
    def build(saved, hints):
        return Scaled()

    original = Scaled()
    network = rebuild(saved(original, tmp_path, "lab.nets.Scaled"))
    torch.testing.assert_close(network(torch.ones(4, 3)), original(torch.ones(4, 3)))


def test_a_constructor_that_cannot_run_on_meta(tmp_path: Path) -> None:
    @register_network("items", ["lab.nets.Mine"])
    def build(saved, hints):
        torch.ones(1).item()
        return Mine()

    assert not rebuild(saved(Mine(), tmp_path, "lab.nets.Mine")).layer.weight.is_meta


def test_a_mistake_in_a_constructor_is_raised_at_once_with_its_cause(tmp_path: Path) -> None:
    calls = []

    @register_network("mistaken", ["lab.nets.Mine"])
    def build(saved, hints):
        calls.append(hints)
        raise ValueError("no such width")

    with pytest.raises(UnsupportedModel, match="builder of mistaken failed: ValueError: no such width") as caught:
        rebuild(saved(Mine(), tmp_path, "lab.nets.Mine"))
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(calls) == 1


def test_what_looks_like_a_missing_value_is_tried_with_values_and_both_failures_are_kept(tmp_path: Path) -> None:
    @register_network("mistaken", ["lab.nets.Mine"])
    def build(saved, hints):
        raise RuntimeError("on meta" if torch.ones(1).is_meta else "for real")

    with pytest.raises(UnsupportedModel, match="RuntimeError: for real") as caught:
        rebuild(saved(Mine(), tmp_path, "lab.nets.Mine"))
    assert "on meta" in str(caught.value.__context__.__context__)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    @register_network("tied", ["lab.nets.Tied"])
    def build(saved, hints):
        return Tied()

    network = rebuild(saved(Tied(), tmp_path, "lab.nets.Tied"))
    assert network.a.weight is network.b.weight
    assert len(list(network.parameters())) == 1
    untied = Tied()
    untied.b.weight = nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(StateMismatch, match="one tensor in the network, two in the file"):
        rebuild(saved(untied, tmp_path, "lab.nets.Tied"))


def test_ignored_keys_may_be_in_the_file(tmp_path: Path) -> None:
    @register_network("old", ["lab.nets.Mine"], ignored_keys=[r".*position_ids"])
    def build(saved, hints):
        return Mine()

    old = Mine()
    old.register_buffer("position_ids", torch.arange(5))
    assert "position_ids" not in rebuild(saved(old, tmp_path, "lab.nets.Mine")).state_dict()


def test_describing_needs_no_torch(tmp_path: Path) -> None:
    saved(torchvision.models.resnet18(num_classes=3), tmp_path)
    code = (
        "import sys; from trojai_seam.loading import read_model; from trojai_seam.networks import identify\n"
        "facts = identify(read_model(sys.argv[1]))\n"
        "assert facts.architecture == 'resnet18' and facts.num_classes == 3, facts\n"
        "assert not {'torch', 'torchvision', 'timm', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.pt")], check=True)
