"""NIST's own small networks: malware classifiers and sentiment heads, against formulas written out here."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.networks.pickles import bare, saved, shaken
from trojai_seam.errors import StateMismatch, UnsupportedModel
from trojai_seam.loading import read_model
from trojai_seam.networks import identify, rebuild
from trojai_seam.networks.modules import FullyConnectedHead, LinearHead, RecurrentHead, SharedBatchNormNet

ACTIVATIONS = {"": torch.tanh, "r": torch.relu, "s": torch.sigmoid}
X = torch.randn(6, 135, generator=torch.Generator().manual_seed(0))


class Layers(nn.Module):
    """fc1…fcK and nothing else, as the pickles of ``archs`` and ``drebinnn`` have it."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        for k, (a, b) in enumerate(pairwise(sizes), start=1):
            self.add_module(f"fc{k}", nn.Linear(a, b))


def computed(module: nn.Module, count: int, activation, x: torch.Tensor = X) -> torch.Tensor:
    for k in range(1, count + 1):
        layer = module.get_submodule(f"fc{k}")
        x = x @ layer.weight.T + layer.bias
        x = activation(x) if k < count else x
    return x


@pytest.mark.parametrize("suffix", ACTIVATIONS)
@pytest.mark.parametrize("layers", range(1, 8))
def test_pdf_networks(layers: int, suffix: str, tmp_path: Path) -> None:
    if suffix and layers == 1:
        pytest.skip("NIST has no Net1r, Net1s: one layer has no activation")
    original = Layers([135] + [100] * (layers - 1) + [2])
    file = saved(original, tmp_path, f"archs.Net{layers}{suffix}")
    network = rebuild(file)
    torch.testing.assert_close(network(X), computed(original, layers, ACTIVATIONS[suffix]))
    facts = identify(file)
    assert (facts.architecture, facts.num_classes, facts.input_shape) == (f"Net{layers}{suffix}", 2, (135,))
    assert type(network) is nn.Sequential  # opens where trojai_seam is not installed


def test_pdf_network_with_dropout(tmp_path: Path) -> None:
    original = Layers([135, 100, 100, 2])
    original.dropout = nn.Dropout(0.1)
    network = rebuild(saved(original, tmp_path, "archs.Net3tdrop"))
    torch.testing.assert_close(network(X), computed(original, 3, torch.tanh))
    assert network.dropout.p == 0.1
    assert [name for name, _ in network.named_children()].index("dropout") == 4  # just before fc3


def test_pdf_network_with_one_shared_batchnorm(tmp_path: Path) -> None:
    original = shaken(SharedBatchNormNet((135, 100, 100, 2)), X)
    original.batchnorm.eps = 0.25
    network = rebuild(saved(original, tmp_path, "archs.Net3tbatch"))

    def norm(x: torch.Tensor) -> torch.Tensor:
        b = original.batchnorm
        return (x - b.running_mean) / torch.sqrt(b.running_var + 0.25) * b.weight + b.bias

    hidden = norm(torch.tanh(norm(torch.tanh(original.fc1(X))) @ original.fc2.weight.T + original.fc2.bias))
    torch.testing.assert_close(network(X), original.fc3(hidden))


def test_pdf_network_whose_tensors_contradict_its_class(tmp_path: Path) -> None:
    file = saved(Layers([135, 100, 100, 2]), tmp_path, "archs.Net6")
    with pytest.raises(StateMismatch, match="Net6 has 6 Linear layers, the file has 3"):
        rebuild(file)


def test_layers_that_do_not_follow_each_other(tmp_path: Path) -> None:
    original = Layers([135, 100, 2])
    original.fc2 = nn.Linear(90, 2)
    with pytest.raises(StateMismatch, match=r"fc2\.weight is 2×90, but fc1 has 100 outputs"):
        identify(saved(original, tmp_path, "archs.Net2"))


def test_config_of_pdf_round_is_checked(tmp_path: Path) -> None:
    file = saved(Layers([135, 100, 2]), tmp_path, "archs.Net2")
    assert identify(file, {"nn_layers": 2, "nn_activation_function": "tanh"}).notes == ()
    assert identify(file, {"nn_layers": 4}).notes == ("config says nn_layers 4, Net2 has 2",)


CONFIG = {"num_layers": 3, "activation_function": "sigmoid", "fc1": 40, "fc2": 20, "fc3": 36, "fc4": 70, "fc5": 160}


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("family", [{}, {"architecture_family": "drebin"}])
def test_drebin_state_dict(activation: str, family: dict[str, str], tmp_path: Path) -> None:
    original = Layers([135, 40, 20, 36, 2])
    file = bare(original.state_dict(), tmp_path)
    hints = {**CONFIG, "activation_function": activation, **family}
    torch.testing.assert_close(rebuild(file, hints)(X), computed(original, 4, getattr(torch, activation)))
    facts = identify(file, hints)
    assert (facts.architecture, facts.num_classes, facts.input_shape) == ("DrebinNet3", 2, (135,))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_layers": 5}, r"num_layers 5 \(tensors: 3\)"),
        ({"fc2": 21}, r"fc2 21 \(tensors: 20\)"),
        ({"activation_function": None}, "put the model's config.json"),
        ({"activation_function": "gelu"}, "none of tanh, relu, sigmoid"),
        ({"architecture_family": "drebbin"}, r"no network is registered for state dicts of 'drebbin' \(near: drebin"),
    ],
)
def test_drebin_config_that_cannot_be(changes: dict[str, object], says: str, tmp_path: Path) -> None:
    file = bare(Layers([135, 40, 20, 36, 2]).state_dict(), tmp_path)
    for use in (identify, rebuild):
        with pytest.raises(UnsupportedModel, match=says):
            use(file, {**CONFIG, **changes})


@pytest.mark.parametrize("module", ["drebinnn", "utils.drebinnn"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_drebin_whole_module_carries_its_activation(activation: str, module: str, tmp_path: Path) -> None:
    original = Layers([135, 40, 20, 36, 2])
    original.act_func = getattr(torch, activation)
    file = saved(original, tmp_path, f"{module}.DrebinNet3")
    torch.testing.assert_close(rebuild(file)(X), computed(original, 4, getattr(torch, activation)))


def test_our_own_sequential_reads_back(tmp_path: Path) -> None:
    network = rebuild(saved(Layers([135, 100, 100, 2]), tmp_path, "archs.Net3r"))
    torch.testing.assert_close(rebuild(saved(network, tmp_path))(X), network(X))


def test_a_foreign_sequential_is_refused(tmp_path: Path) -> None:
    foreign = nn.Sequential(OrderedDict(fc1=nn.Linear(135, 9), act1=nn.GELU(), fc2=nn.Linear(9, 2)))
    with pytest.raises(UnsupportedModel, match="one kind of activation"):
        rebuild(saved(foreign, tmp_path))


# Sentiment heads ------------------------------------------------------------------------------------------------------

E = torch.randn(4, 3, 20, generator=torch.Generator().manual_seed(1))


def test_linear_head_uses_the_first_step(tmp_path: Path) -> None:
    original = LinearHead(20, 2)
    original.dropout.p = 0.25
    network = rebuild(saved(original, tmp_path, "model_factories.LinearModel"))
    torch.testing.assert_close(network(E), original.linear(E[:, 0]))
    assert network.dropout.p == 0.25


@pytest.mark.parametrize("relu", [False, True])
def test_fully_connected_head_with_and_without_relu(relu: bool, tmp_path: Path) -> None:
    original = FullyConnectedHead((20, 16, 16), 2, relu)
    if not relu:
        del original.relu  # NIST's first version never had the attribute
    network = rebuild(saved(original, tmp_path, "model_factories.FCLinearModel"))
    x = E[:, 0]
    for layer in original.fc_layers:
        x = layer(x).clamp(min=0) if relu else layer(x)
    torch.testing.assert_close(network(E), original.linear(x))


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_recurrent_heads(kind: type[nn.LSTM], bidirectional: bool, layers: int, tmp_path: Path) -> None:
    rnn = kind(20, 8, layers, batch_first=True, bidirectional=bidirectional)
    rnn.dropout = 0.5
    original = RecurrentHead(rnn, 2).eval()
    name = kind.__name__.capitalize()
    file = saved(original, tmp_path, f"model_factories.{name}LinearModel")
    network = rebuild(file)
    outputs = rnn(E)[0]  # [N, T, directions × H]: the last step forwards, the first backwards
    last = torch.cat((outputs[:, -1, :8], outputs[:, 0, 8:]), 1)
    torch.testing.assert_close(network(E), original.linear(last))
    assert network.rnn.dropout == 0.5
    facts = identify(file, {"model_architecture": f"{name}Linear"})
    assert (facts.architecture, facts.num_classes, facts.input_shape, facts.notes) == (f"{name}Linear", 2, (1, 20), ())


def test_an_lstm_of_one_step_was_slow_because_onednn_reordered_its_weights() -> None:
    network = RecurrentHead(nn.LSTM(32, 8, batch_first=True), 2)
    steps = {}
    for length in (1, 2):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            network(torch.randn(4, length, 32))
        steps[length] = {event.key for event in seen.key_averages()}
    assert "aten::mkldnn_rnn_layer" not in steps[1]
    assert torch.backends.mkldnn.enabled  # type: ignore[truthy-bool]
    if torch.backends.mkldnn.is_available():
        assert "aten::mkldnn_rnn_layer" in steps[2]


def test_recurrent_head_that_is_not_batch_first(tmp_path: Path) -> None:
    original = RecurrentHead(nn.LSTM(20, 8), 2)
    with pytest.raises(StateMismatch, match="rnn: LSTM has batch_first False in the file, True in the network"):
        rebuild(saved(original, tmp_path, "model_factories.LstmLinearModel"))


def test_hostile_head_of_the_wrong_width_names_the_tensor(era_model) -> None:
    folder = era_model("wrong-shape-linear", "hostile-models")
    with pytest.raises(StateMismatch, match=r"wrong shape linear\.weight \(file 2×20, network 2×16\)"):
        rebuild(read_model(folder / "model.pt"))
