"""A fuzz of the comparison: files whose class names and plain attributes are not what they were.

    python benchmarks/mutated_files.py FOLDER_OF_MODEL_DIRS [--mutations 2000] [--seed 0] [--only WORD]

Each mutation changes one class name or one plain attribute of one module of the inert tree (removed, doubled, negated,
None, text, a function, an unknown one added) and rebuilds. Either the file is refused, or the outputs are those of the
original network, in which a number that the file decides (eps, p …) was set likewise. Anything else is printed, and the
exit code is 1. ``MODEL_DIR`` holds ``model.pt`` and, where there is one, ``golden.json`` with text ids as input.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trojai_seam.errors import TrojaiSeamError
from trojai_seam.loading import SavedModel, read_model
from trojai_seam.loading.nodes import Global
from trojai_seam.networks import rebuild
from trojai_seam.networks.attribute_rules import rules_of

CLASSES = (
    "our_blocks.Block", "torch.nn.modules.linear.Linear", "torch.nn.modules.linear.Identity",
    "torch.nn.modules.activation.ReLU", "torch.nn.modules.activation.GELU", "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.batchnorm.BatchNorm2d", "torch.nn.modules.batchnorm.SyncBatchNorm",
    "torch.nn.modules.container.Sequential", "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.pooling.AvgPool2d", "torch.nn.modules.normalization.LayerNorm",
    "timm.layers.drop.DropPath", "torchvision.ops.misc.FrozenBatchNorm2d",
    "transformers.models.roberta.modeling_roberta.RobertaLayer",
)  # fmt: skip


def outputs(network: nn.Module, folder: Path) -> list[torch.Tensor]:
    golden = json.loads((folder / "golden.json").read_text()) if (folder / "golden.json").exists() else {"input": {}}
    described = golden["input"]
    ids = {key: torch.tensor(value) for key, value in described.items() if key.endswith(("ids", "mask"))}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        if ids:
            found = network(**ids)
        elif described.get("kind") == "embedding":
            found = network(torch.rand(described["shape"], generator=generator) - 0.5)
        elif hasattr(network, "roi_heads") or hasattr(network, "anchor_generator"):
            found = network([torch.rand(3, 64, 64, generator=generator)])
        else:
            side = network.patch_embed.img_size[0] if hasattr(network, "patch_embed") else 96
            found = network(torch.rand(2, 3, side, side, generator=generator))
    return [value for value in flat(found) if torch.is_tensor(value)]


def flat(found: Any) -> list[Any]:
    if isinstance(found, dict):
        found = list(found.values())
    return [one for part in found for one in flat(part)] if isinstance(found, (list, tuple)) else [found]


def changed(value: Any, draw: random.Random) -> Any:
    choices: list[Any] = [None, "other", 3, 0.37, True, False, Global("torch.nn.functional", "relu"), [1, 2]]
    if isinstance(value, bool):
        choices += [not value] * 4
    elif isinstance(value, (int, float)):
        choices += [value + 1, value * 2, -value, float(value), value / 3 if value else 0.5] * 2
    elif isinstance(value, (tuple, list)) and value:
        choices += [value[:-1], value + value[:1], type(value)(reversed(value)), [*value]] * 2
    elif isinstance(value, str):
        choices += [value.upper(), "circular", "tanh"]
    return draw.choice(choices)


def mutate(saved: SavedModel, draw: random.Random) -> tuple[str, str, Any, Any]:
    """Change one thing in place; (path, name, the node, what it was)."""
    path = draw.choice(list(saved.modules))
    node = saved.modules[path]
    before = (node.class_path, node.attributes)
    names = [name for name in node.attributes if name != "config"]
    kind = draw.random()
    if kind < 0.3 or not names:
        node.class_path = draw.choice((*CLASSES, node.class_path + "2", f"own.{node.class_path.rpartition('.')[2]}"))
        return path, f"class {node.class_path}", node, before
    name = draw.choice(names)
    attributes = dict(node.attributes)
    if kind < 0.4:
        del attributes[name]
    elif kind < 0.5:
        name = draw.choice(("scale_outputs", "pool_include_prefix", "act", "forward", "norm_first", "use_res_connect"))
        attributes[name] = changed(1.0, draw)
    else:
        attributes[name] = changed(attributes[name], draw)
    node.attributes = attributes
    return path, name, node, before


def expected(original: nn.Module, path: str, name: str, node: Any, folder: Path) -> list[torch.Tensor]:
    """What the original computes with the number that the file decides."""
    module = original.get_submodule(path) if path else original
    if name in rules_of(type(module)).follow and name in node.attributes:
        original = copy.deepcopy(original)
        setattr(original.get_submodule(path), name, node.attributes[name])
    return outputs(original, folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folders = sorted(file.parent for file in given.folder.glob(f"*{given.only}*/model.pt"))
    counts: Counter[str] = Counter()
    for k, folder in enumerate(folders):
        draw = random.Random(f"{given.seed} {folder.name}")  # noqa: S311
        saved = read_model(folder / "model.pt")
        original = rebuild(saved)
        plain = outputs(original, folder)
        for _ in range(given.mutations // len(folders) + (k < given.mutations % len(folders))):
            path, name, node, before = mutate(saved, draw)
            try:
                found = outputs(rebuild(saved), folder)
            except TrojaiSeamError:
                counts["refused"] += 1
            else:
                known = hasattr(original.get_submodule(path), name) if not name.startswith("class ") else False
                want = expected(original, path, name, node, folder) if known else plain
                same = len(found) == len(want) and all(
                    a.shape == b.shape and torch.allclose(a.float(), b.float(), rtol=1e-4, atol=1e-5)
                    for a, b in zip(found, want, strict=True)
                )
                counts["same outputs" if same else "OTHER OUTPUTS"] += 1
                if not same:
                    print(f"{folder.name}: {path}: {name}", flush=True)
            node.class_path, node.attributes = before
        print(f"{folder.name}: {dict(counts)}", flush=True)
    return int(counts["OTHER OUTPUTS"] > 0)


if __name__ == "__main__":
    sys.exit(main())
