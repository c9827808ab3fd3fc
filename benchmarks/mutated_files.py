"""A fuzz of the comparison: files whose class names and plain attributes are not what they were.

    python benchmarks/mutated_files.py FOLDER_OF_MODEL_DIRS [--mutations 2000] [--seed 0] [--only WORD] [--keep KEPT]
    OLD/bin/python benchmarks/mutated_files_then.py FOLDER_OF_MODEL_DIRS KEPT [--only WORD]

Each mutation changes one class name or one plain attribute of one module, of one of its helpers (a box coder) or of its
config (removed, doubled, negated, None, text, a function, an old or foreign name, an unknown one added), and the file
is rebuilt. It is *refused*, or its outputs are those of:

* *as the library*: today's library with the same change made on the live network (attribute set, ``__class__`` set);
* *as its version*: an attribute is missing that old versions lacked: the network with what those versions did;
* *nothing*: the library fails on the changed network, so no output is another one (ours are the unmutated ones, or
  it fails likewise);
* *old versions only*: an attribute that today's class has no more, which alters no output of ours; *followed*: it does,
  because the builder looks at it. The second command asks the old library what it computes from the changed file, for
  these and for all other accepted ones.

Anything else is printed, and the exit code is 1. ``MODEL_DIR`` holds ``model.pt`` and, where there is one,
``golden.json`` with text ids as input. KEPT gets the accepted mutations with their outputs.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mutations import SMALL, apply, computed, same, written
from torch import nn

from trojai_seam.errors import TrojaiSeamError
from trojai_seam.loading import ModuleNode, SavedModel, read_model
from trojai_seam.loading.nodes import DictNode, Global, Instance
from trojai_seam.networks import rebuild
from trojai_seam.networks.attribute_rules import rules_of

CLASSES = (
    "our_blocks.Block", "torch.nn.modules.linear.Linear", "torch.nn.modules.linear.Identity",
    "torch.nn.modules.activation.ReLU", "torch.nn.modules.activation.GELU", "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.batchnorm.BatchNorm2d", "torch.nn.modules.batchnorm.SyncBatchNorm",
    "torch.nn.modules.instancenorm.InstanceNorm2d", "torch.nn.modules.pooling.MaxPool2d",
    "torch.nn.modules.container.Sequential", "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.pooling.AvgPool2d", "torch.nn.modules.normalization.LayerNorm",
    "torch.nn.modules.linear.NonDynamicallyQuantizableLinear", "torch.nn.modules.rnn.GRU",
    "timm.layers.drop.DropPath", "timm.models.layers.drop.DropPath", "torchvision.ops.misc.FrozenBatchNorm2d",
    "torchvision.models.mobilenet.ConvBNReLU", "torchvision.ops.misc.Conv2d", "torchvision.models.resnet.BasicBlock",
    "torchvision.models.resnet.Bottleneck", "transformers.models.roberta.modeling_roberta.RobertaLayer",
    "transformers.models.bert.modeling_bert.BertSdpaSelfAttention", "transformers.modeling_bert.BertSelfAttention",
)  # fmt: skip
ADDED = ("scale_outputs", "pool_include_prefix", "act", "forward", "norm_first", "use_res_connect", "scaling", "eps")


def inputs_of(network: nn.Module, folder: Path) -> Any:
    golden = json.loads((folder / "golden.json").read_text()) if (folder / "golden.json").exists() else {"input": {}}
    described = golden["input"]
    ids = {key: torch.tensor(value) for key, value in described.items() if key.endswith(("ids", "mask"))}
    generator = torch.Generator().manual_seed(0)
    if ids:
        return ids
    if described.get("kind") == "embedding":
        return torch.rand(described["shape"], generator=generator) - 0.5
    if hasattr(network, "roi_heads") or hasattr(network, "anchor_generator"):
        return [torch.rand(3, 64, 64, generator=generator)]
    side = network.patch_embed.img_size[0] if hasattr(network, "patch_embed") else 96
    return torch.rand(2, 3, side, side, generator=generator)


def shrunk(saved: SavedModel) -> None:
    """Detectors that enlarge every picture to 800 pixels take ten seconds for one."""
    transform = saved.modules.get("transform")
    if transform is not None and transform.attributes.get("min_size") in ((800,), [800]):
        transform.attributes = {**transform.attributes, "min_size": (SMALL,), "max_size": SMALL}


def changed(value: Any, draw: random.Random) -> Any:
    choices: list[Any] = [None, "other", 3, 0.37, True, False, Global("torch.nn.functional", "relu"), [1, 2]]
    if isinstance(value, bool):
        choices += [not value] * 8
    elif isinstance(value, (int, float)):
        choices += [value + 1, value * 2, -value, float(value), value / 3 if value else 0.5] * 3
    elif isinstance(value, (tuple, list)) and value:
        choices += [value[:-1], value + value[:1], type(value)(reversed(value)), [*value]] * 3
    elif isinstance(value, str):
        choices += [value.upper(), "circular", "tanh", "relative_key", "gelu_new"] * 2
    return draw.choice(choices)


def mutate(saved: SavedModel, draw: random.Random) -> tuple[dict[str, Any], ModuleNode, Any]:
    """Change one thing in place; what it is, the node, and what takes it back."""
    path = draw.choice(list(saved.modules))
    node = saved.modules[path]
    class_path, held = node.class_path, node.attributes

    def undo() -> None:
        node.class_path, node.attributes = class_path, held
        if not path:
            saved.class_path = class_path

    kind, names = draw.random(), [name for name in held if name != "training"]  # which measuring sets
    if kind < 0.3 or not names:
        leaf = class_path.rpartition(".")[2]
        others = [other.class_path for other in saved.modules.values()]
        near = (f"{class_path}2", f"own.{leaf}", f"torch.nn.modules.linear.{leaf}", draw.choice(others))
        node.class_path = draw.choice((*CLASSES, *near, *near))
        if not path:
            saved.class_path = node.class_path
        return {"path": path, "name": node.class_path, "deed": "class"}, node, undo
    name = draw.choice(names)
    helpers = [name for name in names if isinstance(held[name], Instance) and isinstance(held[name].state, DictNode)]
    if helpers and kind > 0.75:
        name = draw.choice(helpers)
        state = held[name].state
        at = draw.randrange(len(state.pairs))
        pairs, pair = state.pairs, state.pairs[at]
        value = changed(pair[1], draw)
        state.pairs, state._strings = [*pairs[:at], (pair[0], value), *pairs[at + 1 :]], None

        def undo_helper() -> None:
            state.pairs, state._strings = pairs, None

        return {"path": path, "name": f"{name}.{pair[0]}", "deed": "helper", "value": value}, node, undo_helper
    attributes = dict(held)
    mutation = {"path": path, "name": name, "deed": "set"}
    if kind < 0.4:
        mutation["deed"] = "remove"
        del attributes[name]
    else:
        if kind < 0.5:
            name = draw.choice(ADDED)
        mutation |= {"name": name, "value": changed(attributes.get(name, 1.0), draw)}
        attributes[name] = mutation["value"]
    node.attributes = attributes
    return mutation, node, undo


def judged(original: nn.Module, rebuilt: nn.Module, found: Any, plain: Any, inputs: Any, mutation: Any) -> str:
    """The verdict on a mutation that was accepted; see above."""
    path, name = mutation["path"], mutation["name"]
    module = original.get_submodule(path)
    rules = rules_of(type(module))
    if mutation["deed"] == "remove" and (name in rules.young or name not in vars(module)):
        if name not in vars(module):
            return "old versions only" if same(found, plain) else "OTHER OUTPUTS"
        then = rules.young[name]
        mutation = {**mutation, "deed": "set", "value": then}
        if not isinstance(then, (bool, int, float, str, type(None))):  # it follows from others
            return "as its version" if same(found, plain) else "OTHER OUTPUTS"
        return "as its version" if same(found, live(original, inputs, mutation)) else "OTHER OUTPUTS"
    if (
        mutation["deed"] == "set"
        and name in rules.follow
        and getattr(rebuilt.get_submodule(path), name, None) != (mutation["value"])
    ):
        return "NOT FOLLOWED"
    if mutation["deed"] == "set" and not hasattr(module, name):
        followed = name in rules.gone and not same(found, plain)  # such as GPT-2's scale, which has another name now
        return "followed" if followed else "old versions only" if same(found, plain) else "OTHER OUTPUTS"
    if mutation["deed"] == "helper" and not hasattr(getattr(module, name.partition(".")[0]), name.partition(".")[2]):
        return "old versions only" if same(found, plain) else "OTHER OUTPUTS"
    try:
        wanted = live(original, inputs, mutation)
    except ImportError:  # an old name
        return "old versions only" if same(found, plain) else "OTHER OUTPUTS"
    except Exception as problem:
        alike = found is None or same(found, plain)
        return f"{'nothing' if alike else 'OTHER OUTPUTS'} ({type(problem).__name__}: {str(problem)[:60]})"
    if found is None:
        return "FAILS"
    return "as the library" if same(found, wanted) else "OTHER OUTPUTS"


def live(original: nn.Module, inputs: Any, mutation: dict[str, Any]) -> Any:
    """What today's library computes with the change made on the live network."""
    if "value" in mutation:
        mutation = {**mutation, "value": written(mutation["value"])}
    undo = apply(original, mutation)
    try:
        return computed(original, inputs)
    finally:
        undo()


class Keeper:
    """Writes accepted mutations and their outputs for the old libraries."""

    def __init__(self, folder: Path | None, model: str, inputs: Any) -> None:
        self.folder, self.model = folder, model
        self.lines: list[dict[str, Any]] = []
        given = inputs if isinstance(inputs, dict) else {"": inputs[0] if isinstance(inputs, list) else inputs}
        self.arrays = {f"in_{name}": value.numpy() for name, value in given.items()}

    def add(self, mutation: dict[str, Any], found: list[torch.Tensor], verdict: str) -> None:
        if "value" in mutation:
            try:
                mutation = {**mutation, "value": written(mutation["value"])}
            except TypeError:
                return
        self.arrays |= {f"out_{len(self.lines)}_{k}": value.numpy() for k, value in enumerate(found)}
        self.lines.append({**mutation, "verdict": verdict})

    def close(self) -> None:
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True, parents=True)
            (self.folder / f"{self.model}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in self.lines))
            np.savez_compressed(self.folder / f"{self.model}.npz", **self.arrays)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    folders = sorted(file.parent for file in given.folder.glob("*/model.pt"))
    counts: Counter[str] = Counter()
    for k, folder in enumerate(folders):
        if given.only not in folder.name:
            continue
        draw = random.Random(f"{given.seed} {folder.name}")  # noqa: S311
        saved = read_model(folder / "model.pt")
        shrunk(saved)
        original = rebuild(saved)
        inputs = inputs_of(original, folder)
        plain = computed(original, inputs)
        keeper = Keeper(given.keep, folder.name, inputs)
        for _ in range(given.mutations // len(folders) + (k < given.mutations % len(folders))):
            mutation, _node, undo = mutate(saved, draw)
            what = "class" if mutation["deed"] == "class" else "attribute"
            try:
                rebuilt = rebuild(saved)
            except TrojaiSeamError:
                counts[f"{what}: refused"] += 1
            else:
                try:
                    found = computed(rebuilt, inputs)
                except ValueError:  # bounds that cross
                    found = None
                verdict = judged(original, rebuilt, found, plain, inputs, mutation)
                if found is not None:
                    keeper.add(mutation, found, verdict)
                counts[f"{what}: {verdict.partition(' (')[0]}"] += 1
                if verdict.partition(" (")[0].isupper() or "(" in verdict:
                    print(f"{folder.name}: {mutation}: {verdict}", flush=True)
            undo()
        keeper.close()
        print(f"{folder.name}: {dict(sorted(counts.items()))}", flush=True)
    return int(any(word.partition(": ")[2].isupper() for word in counts))


if __name__ == "__main__":
    sys.exit(main())
