"""Files of old libraries: how many load, and do they compute what the old library computed?

    OLD/bin/python benchmarks/old_pickles.py make FOLDER            once per old environment, into the same FOLDER
    python benchmarks/old_pickles.py compare FOLDER --out FOUND.jsonl [--only WORD]
    python benchmarks/old_pickles.py table FOLDER BEFORE.jsonl AFTER.jsonl

``make`` needs torch and whichever of torchvision, timm and transformers the environment has; the environments used were
Python 3.7 with torch 1.2.0, torchvision 0.4.0, transformers 3.0.2, pillow < 7; Python 3.7 with torch 1.7.1, torchvision
0.8.2, timm 0.4.12, transformers 4.2.2; Python 3.8 with torch 1.10.2, torchvision 0.11.3, timm 0.5.4, transformers
4.12.5; Python 3.9 with torch 1.13.1, torchvision 0.14.1, timm 0.6.13, transformers 4.37.2. Every file gets a folder
with ``model.pt`` (``model.pt.gz`` above 4 MB), ``arrays.npz`` with the inputs and what the old library computed
from them in eval mode, and a line in ``FOLDER/index.jsonl``.

``compare`` rebuilds each file with the installed trojai-seam and says *same* (every output within 1e-4 of the largest),
*refused* with the reason, *rounding* (further apart than that, but both the old library and today's network are about
as far from what the network computes in float64), or *different*.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

TOLERANCE = 1e-4
LARGE = 4 * 2**20
LIBRARIES = ("torch", "torchvision", "timm", "transformers")


def outputs(network, inputs, call, boxes=20):
    """What ``network`` computes, as a dict of arrays whose names do not depend on the library's version."""
    with torch.no_grad():
        if call == "detector":
            found = network(list(inputs))
        elif isinstance(inputs, dict):
            found = network(**inputs)
        else:
            found = network(inputs)
    if call == "detector":
        kept = {}
        for k, one in enumerate(found):
            order = torch.argsort(one["scores"], descending=True)[:boxes]
            kept.update({f"{name}_{k}": one[name][order] for name in ("boxes", "labels", "scores")})
            kept[f"count_{k}"] = torch.tensor(len(one["scores"]))
        return {name: value.numpy() for name, value in kept.items()}
    if torch.is_tensor(found):
        return {"logits": found.numpy()}
    if call == "entities":
        return {"logits": found[1].numpy()}
    names = {
        "Model": ("last_hidden_state",),
        "ForQuestionAnswering": ("start_logits", "end_logits"),
        "detr": ("logits", "pred_boxes"),
    }.get(call, ("logits",))
    return {
        name: (found[k] if isinstance(found, tuple) else getattr(found, name)).numpy() for k, name in enumerate(names)
    }


def version_of(library):
    try:
        return import_module(library).__version__
    except ImportError:
        return None


def make(folder, only):
    import foreign_networks
    import old_networks

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    versions = {library: version_of(library) for library in LIBRARIES}
    versions["python"] = platform.python_version()
    tag = "torch" + versions["torch"].split("+")[0]
    folder.mkdir(parents=True, exist_ok=True)
    for recipe in old_networks.EVERYTHING + (foreign_networks.FOREIGN if "foreign" in only else ()):
        if only not in recipe.__name__:
            continue
        try:
            for case in recipe():
                write(case, folder, tag, versions)
        except ImportError as problem:
            print("left out", recipe.__name__, problem, flush=True)
        except Exception:
            print("BROKEN", recipe.__name__, flush=True)
            traceback.print_exc()


def write(case, folder, tag, versions):
    name = "-".join([tag, case.family, case.kind, case.name]).replace(" ", "_").replace("'", "")
    place = folder / name
    if (place / "arrays.npz").exists():
        return
    place.mkdir(exist_ok=True)
    expected = outputs(case.network.eval(), case.inputs, case.call)
    if any(not np.isfinite(value).all() for value in expected.values()):
        raise ValueError(name + " computes no finite numbers")
    options = dict(case.options)
    if options.pop("training", False):
        case.saved.train()
    file = place / "model.pt"
    torch.save(case.saved, str(file), **options)
    if file.stat().st_size > LARGE:
        with open(str(file), "rb") as plain, gzip.open(str(file) + ".gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed, 2**20)
        file.unlink()
    if case.config is not None:
        (place / "config.json").write_text(json.dumps(case.config))
    given = case.inputs if isinstance(case.inputs, dict) else {"": case.inputs}
    arrays = {"in_" + key: value.numpy() for key, value in given.items()}
    arrays.update({"out_" + key: value for key, value in expected.items()})
    np.savez_compressed(str(place / "arrays.npz"), **arrays)
    line = {"name": name, "family": case.family, "kind": case.kind, "call": case.call, "versions": versions}
    with open(str(folder / "index.jsonl"), "a") as index:
        index.write(json.dumps(line) + "\n")
    print(name, flush=True)


def compare(folder, out, only):
    import trojai_seam
    from trojai_seam.errors import TrojaiSeamError

    torch.set_num_threads(1)
    lines = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    known = set()
    if Path(out).exists():  # the same command goes on
        known = {json.loads(line)["name"] for line in Path(out).read_text().splitlines()}
    with open(out, "a") as results:
        for line in lines:
            if only not in line["name"] or line["name"] in known:
                continue
            verdict, detail = "same", ""
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    network = trojai_seam.load_model(unpacked(folder / line["name"], Path(scratch)))
                except TrojaiSeamError as problem:
                    verdict, detail = "refused", str(problem).replace(scratch, "")
                except Exception as problem:
                    verdict, detail = "crashed", f"{type(problem).__name__}: {problem}"
                else:
                    verdict, detail = judged(network, folder / line["name"], line["call"])
            results.write(json.dumps({"name": line["name"], "verdict": verdict, "detail": detail}) + "\n")
            results.flush()
            if verdict != "same":
                print(verdict, line["name"], detail, flush=True)


def unpacked(place, scratch):
    """A folder with ``model.pt`` as NIST calls it."""
    target = scratch / "id-00000000"
    target.mkdir()
    if (place / "model.pt.gz").exists():
        with gzip.open(place / "model.pt.gz", "rb") as packed, open(target / "model.pt", "wb") as plain:
            shutil.copyfileobj(packed, plain, 2**20)
    else:
        shutil.copy(place / "model.pt", target / "model.pt")
    if (place / "config.json").exists():
        shutil.copy(place / "config.json", target / "config.json")
    return target


def judged(network, place, call):
    """``same`` or ``different``, and the largest difference as a share of the largest output."""
    with np.load(place / "arrays.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    given = {name[3:]: torch.from_numpy(value) for name, value in stored.items() if name.startswith("in_")}
    given = {name: value.float() if value.is_floating_point() else value for name, value in given.items()}
    wanted = {name[4:]: value for name, value in stored.items() if name.startswith("out_")}
    given = given if list(given) != [""] else given[""]
    try:
        found = outputs(network, given, call, boxes=60)
    except Exception as problem:
        return "crashed", f"{type(problem).__name__}: {problem}"
    if call == "detector":
        return same_boxes(wanted, found)
    worst = 0.0
    for name, want in wanted.items():
        if found[name].shape != want.shape:
            return "different", f"{name} has shape {found[name].shape}, not {want.shape}"
        worst = max(worst, gap(found[name], want))
    if worst <= TOLERANCE:
        return "same", f"{worst:.2g}"
    exact = outputs(network.double(), given.double() if torch.is_tensor(given) else given, call)
    rounding = max(gap(found[name], exact[name]) for name in wanted)
    theirs = max(gap(want, exact[name]) for name, want in wanted.items())
    alike = theirs <= 3 * rounding < 1e-2
    told = f"{worst:.2g}; from float64: {rounding:.2g} now, {theirs:.2g} then"
    return ("rounding" if alike else "different"), told


def gap(found, wanted):
    """Largest difference as a share of the largest wanted value."""
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12)) if wanted.size else 0.0


def same_boxes(wanted, found):
    """Every box of the old detector must be there, with its label and score; equal scores may stand in any order."""
    for k in range(sum(name.startswith("count") for name in wanted)):
        if abs(int(wanted[f"count_{k}"]) - int(found[f"count_{k}"])) > 1:
            return "different", f"{found[f'count_{k}']} boxes, not {wanted[f'count_{k}']}"
        boxes, labels, scores = (wanted[f"{name}_{k}"] for name in ("boxes", "labels", "scores"))
        for box, label, score in zip(boxes, labels, scores, strict=True):
            near = np.abs(found[f"boxes_{k}"] - box).max(axis=1) <= TOLERANCE * boxes.max()
            near &= (found[f"labels_{k}"] == label) & (np.abs(found[f"scores_{k}"] - score) <= TOLERANCE)
            if not near.any():
                return "different", f"no {label} with score {score:.4f} at {box.round(2)}"
    return "same", ""


def table(folder, files):
    """Per family and kind: files, and how many of each verdict in each of ``files``, as a Markdown table."""
    lines = {json.loads(line)["name"]: json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()}
    columns = [
        {one["name"]: one["verdict"] for one in map(json.loads, Path(f).read_text().splitlines())} for f in files
    ]
    lines = {name: line for name, line in lines.items() if all(name in column for column in columns)}
    groups = sorted({(line["family"], line["kind"]) for line in lines.values()})
    heads = ["family", "saved as", "files"]
    heads += [f"{Path(f).stem}: {verdict}" for f in files for verdict in ("same", "rounding", "refused", "other")]
    rows = [[*group, *counts(lines, columns, group)] for group in groups]
    rows.append(["**all**", "", *counts(lines, columns, None)])
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


def counts(lines, columns, group):
    names = [name for name, line in lines.items() if group in (None, (line["family"], line["kind"]))]
    cells = [len(names)]
    for column in columns:
        found = Counter(column.get(name, "missing") for name in names)
        told = [found[verdict] for verdict in ("same", "rounding", "refused")]
        cells += [*told, len(names) - sum(told)]
    return cells


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    for command in ("make", "compare", "table"):
        one = commands.add_parser(command)
        one.add_argument("folder", type=Path)
        if command == "table":
            one.add_argument("files", nargs="+")
        else:
            one.add_argument("--only", default="", help="only those whose name has this in it")
        if command == "compare":
            one.add_argument("--out", required=True)
    given = parser.parse_args()
    if given.command == "make":
        make(given.folder, given.only)
    elif given.command == "compare":
        compare(given.folder, given.out, given.only)
    elif given.command == "table":
        table(given.folder, given.files)
    else:
        parser.print_help()
        sys.exit(2)


if __name__ == "__main__":
    main()
