"""What old libraries compute from the mutated files that today's loader accepted; see ``mutated_files.py``.

    OLD/bin/python benchmarks/mutated_files_then.py FOLDER_OF_MODEL_DIRS KEPT [--only WORD]

Unpickles each ``model.pt`` (of the development files; nothing else should be unpickled), makes each change on the live
network, and compares the outputs. Needs the libraries that wrote the file, or some of nearly their age.
"""

import argparse
import inspect
import json
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import old_networks
import torch
from mutations import SMALL, apply, computed, same


def stand_ins():
    """The classes of NIST's own modules, as :mod:`old_networks` has them."""
    for recipe in (old_networks.sentiment_heads, old_networks.entity_networks):
        for case in recipe():
            print("stands in:", type(case.network).__module__, type(case.network).__name__, case.name)
            if type(case.network).__name__ == "NerLinearModel":
                return  # one for all bodies


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kept", type=Path)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    stand_ins()
    try:
        from torchvision.models import detection

        for name, base in (("FasterRCNN", detection.FasterRCNN), ("SSD", getattr(detection.ssd, "SSD", None))):
            base and old_networks.foreign("models", name, base)
        for name, base in (("RegionProposalNetwork", detection.rpn.RegionProposalNetwork),
                           ("RoIHeads", detection.roi_heads.RoIHeads)):  # fmt: skip
            old_networks.foreign("models", name, base)
    except (ImportError, AttributeError):
        pass
    counts, asked = Counter(), {}
    if "weights_only" in inspect.signature(torch.load).parameters:
        asked["weights_only"] = False
    for file in sorted(given.kept.glob("*.jsonl")):
        if given.only not in file.stem:
            continue
        arrays = np.load(str(file.with_suffix(".npz")))
        stored = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        inputs = {name[3:]: value for name, value in stored.items() if name.startswith("in_")}
        try:
            network = torch.load(str(given.folder / file.stem / "model.pt"), map_location="cpu", **asked).eval()
            inputs = inputs[""] if list(inputs) == [""] else inputs
            if hasattr(network, "roi_heads") or hasattr(network, "anchor_generator"):
                inputs = [inputs]
                if tuple(network.transform.min_size) == (800,):
                    network.transform.min_size, network.transform.max_size = (SMALL,), SMALL
            plain = computed(network, inputs)
        except Exception as problem:
            print(file.stem, "cannot be unpickled here:", type(problem).__name__, str(problem)[:200], flush=True)
            continue
        for k, line in enumerate(map(json.loads, file.read_text().splitlines())):
            found = [stored[f"out_{k}_{j}"] for j in range(9) if f"out_{k}_{j}" in stored]
            try:
                undo = apply(network, line)
            except (ImportError, AttributeError, KeyError, TypeError) as problem:
                counts["cannot be said in this version"] += 1
                print(file.stem, line, "cannot be said:", type(problem).__name__, problem, flush=True)
                continue
            try:
                wanted = computed(network, inputs)
            except Exception as problem:
                counts["the old library fails"] += 1
                print(file.stem, line, "fails then:", type(problem).__name__, str(problem)[:120], flush=True)
                continue
            finally:
                undo()
            equal = same(found, wanted)
            counts["same outputs" if equal else "OTHER OUTPUTS"] += 1
            if not equal:
                told = "no more than unmutated" if same(wanted, plain) else "another than unmutated"
                print(file.stem, line, "OTHER OUTPUTS,", told, flush=True)
        print(file.stem, dict(counts), flush=True)
    return int(counts["OTHER OUTPUTS"] > 0)


if __name__ == "__main__":
    sys.exit(main())
