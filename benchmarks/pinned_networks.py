"""Tiny files of old libraries that the tests keep: one for every renamed class that can be made here.

    OLD/bin/python benchmarks/pinned_networks.py tests/networks/old_files [WORD]

writes ``NAME-torchVERSION.pt.xz`` and, in ``NAME-torchVERSION.json``, the inputs' recipe, the class paths that it is
there for and the outputs that the old library computed. The environments are those of ``old_pickles.py``.
"""

import inspect
import json
import lzma
import sys
import tempfile
from pathlib import Path

import old_networks
import torch
from torch import nn


def small(network):
    """Weights that repeat after few numbers, with statistics of about unit size: the file compresses to nothing."""
    statistics = [pair for pair in network.named_buffers() if pair[0].endswith(("running_mean", "running_var"))]
    for name, tensor in list(network.named_parameters()) + statistics:
        if tensor.numel():
            wave = torch.linspace(0, 8, 127).sin().repeat(tensor.numel() // 127 + 1)[: tensor.numel()]
            if name.endswith(("running_var",)) or (tensor.dim() == 1 and name.endswith("weight")):
                wave = 1 + 0.3 * wave
            elif tensor.dim() > 1:
                wave = wave / max(1, tensor[0].numel()) ** 0.5 * 1.4
            else:
                wave = 0.1 * wave
            tensor.data.copy_(wave.reshape(tensor.shape))
    return network.eval()


def transformers_here():
    import transformers

    tiny = {
        "vocab_size": 23, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 16, "num_labels": 3,
    }  # fmt: skip
    for prefix, options in (
        ("Bert", {"hidden_act": "gelu_new"}),
        ("Roberta", {"pad_token_id": 1}),
        ("Electra", {"embedding_size": 6}),
        ("MobileBert", {"intra_bottleneck_size": 8, "true_hidden_size": 8, "embedding_size": 8,
                        "num_feedforward_networks": 2}),
    ):  # fmt: skip
        config = getattr(transformers, prefix + "Config")(**{**tiny, **options})
        yield prefix.lower(), getattr(transformers, prefix + "ForTokenClassification")(config)
    config = transformers.DistilBertConfig(vocab_size=23, dim=8, n_layers=1, n_heads=2, hidden_dim=12,
                                           max_position_embeddings=16, num_labels=3)  # fmt: skip
    yield "distilbert", transformers.DistilBertForTokenClassification(config)
    config = transformers.GPT2Config(vocab_size=23, n_positions=16, n_ctx=16, n_embd=8, n_layer=1, n_head=2)
    yield "gpt2", transformers.GPT2Model(config)


def vision_transformer(**options):
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(img_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=2, num_classes=3, **options)


class Attending(nn.Module):
    """A network of the user's own with torch's attention."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(0))


def recipes():
    """(name, network, inputs) of whatever this environment has."""
    old_networks.foreign("their_networks", "Attending", Attending)
    Attending.__module__ = "their_networks"
    sys.modules["their_networks"].Attending = Attending
    yield "attention", Attending(), torch.linspace(-1, 1, 3 * 2 * 8).reshape(3, 2, 8)
    from torchvision import models

    for name in ("mobilenet_v2", "mobilenet_v3_small"):
        if hasattr(models, name):
            yield name, getattr(models, name)(pretrained=False, num_classes=4), old_networks.pictures(32, 2)
    try:
        yield "vit", vision_transformer(drop_path_rate=0.1), old_networks.pictures(16, 2)
        yield "vit-layerscale", vision_transformer(init_values=0.1), old_networks.pictures(16, 2)
    except (ImportError, TypeError) as problem:
        print("left out:", problem)


def no_source(kind):
    raise OSError("left out")


def main(folder, only):
    torch.manual_seed(0)
    tag = "torch" + torch.__version__.split("+")[0]
    found = list(recipes())
    ids = {"input_ids": torch.tensor([[2, 5, 9, 14], [2, 8, 3, 1]]),
           "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])}  # fmt: skip
    found += [(name, network, ids) for name, network in transformers_here()]
    for name, network, inputs in found:
        if only not in name:
            continue
        small(network)
        with torch.no_grad():
            outputs = network(**inputs) if isinstance(inputs, dict) else network(inputs)
        outputs = outputs if torch.is_tensor(outputs) else outputs[0]
        kinds = {f"{type(part).__module__}.{type(part).__qualname__}" for part in network.modules()}
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "model.pt"
            kept = inspect.getsourcelines, inspect.getsourcefile  # torch 1.2 puts every class's source into the file
            inspect.getsourcelines = inspect.getsourcefile = no_source
            torch.save(network, str(file))
            inspect.getsourcelines, inspect.getsourcefile = kept
            packed = lzma.compress(file.read_bytes(), preset=9)
        (folder / f"{name}-{tag}.pt.xz").write_bytes(packed)
        told = {
            "classes": sorted(kinds),
            "outputs": [[round(v, 6) for v in row] for row in outputs.flatten(1).tolist()],
        }
        (folder / f"{name}-{tag}.json").write_text(json.dumps(told))
        print(name, len(packed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(sys.argv[2:] or [""]))
