"""Do two checkouts make the same rows and arrays, to the last bit? For changes that must not move a number.

Small sets of several rounds are made once (r12 by ``synthesize``, the others of networks that were never trained, as
the tests make them) and evaluated by each checkout with many presets, caps and protocols.
All attributes and arrays of the records are compared, but for timings and what names the settings. Columns that only
the newer one has are named. Options bear the names of the older checkout. Exits 1 if anything differs.

python benchmarks/rows_agree.py OLD NEW --work DIR [--only pdf,r4] [--examples TROJAI_EXAMPLES]

What OLD has made is kept in DIR and not made again; what NEW makes always is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

CAPS = {"max_epochs": "3"}
FEW = {**CAPS, "examples_per_epoch": "32"}
BOXES = {**CAPS, "examples_per_epoch": "8"}
FEATURES = ("default", "finetune", "authors-trojai", "authors-cifar", "backdoor-toolbox", "no-op")
IMAGES = ("images", "images-finetune", "images-one-example", "authors-trojai", "backdoor-toolbox", "no-op")
PUBLISHED = (
    *("anp", "awm", "clp", "fine-pruning", "fst", "ft-sam", "i-bau", "images-meft", "images-refit"),
    *("nad", "nft", "rnp", "sau", "super-fine-tuning", "ulrl"),
)
OF_PHASE = {phase: re.compile(rf"^@{phase}_|/phases/{phase}/") for phase in ("forget", "recover")}
UNCOMPARED = ("fingerprint", "changed_options", "log_tail")


@dataclass
class Set:
    """One dataset, and what is done to it: (name, preset, options, further options of ``evaluate``)."""

    round: str
    models: int
    runs: list[tuple[str, str | None, dict[str, str], dict[str, Any]]]


SETS = {
    "pdf": Set(
        "cyber-pdf-dec2022",
        8,
        [
            *[(name, name, {}, {"limit": None if name == "default" else 2}) for name in FEATURES],
            ("alone", "default", {}, {"stack": "off", "limit": 2}),
            ("sgd", "default", {"forget.optimizer": "sgd", "recover.schedule": "cosine", **CAPS}, {"stack": "off"}),
            ("same-labels", "default", {"forget.fresh_labels": "false", **CAPS}, {"limit": 3}),
            ("kfold", "default", CAPS, {"protocol": "kfold", "limit": 3}),
            ("paper", "default", CAPS, {"protocol": "paper", "limit": 2}),
            ("clipped", "default", {"forget.max_grad_norm": "0.5", **CAPS}, {"limit": 2}),
            ("adamw-head", "default", {"recover.optimizer": "adamw", "trainable": "head", **CAPS}, {"limit": 2}),
            ("meft", "meft", CAPS, {"limit": 2}),
        ],
    ),
    "r4": Set(
        "r4",
        2,
        [
            *[(name, name, FEW, {}) for name in IMAGES],
            *[(name, name, FEW, {"limit": 1}) for name in PUBLISHED],
            ("by-size", None, FEW, {"limit": 1}),
            ("bf16", "images", {"precision": "bf16", **FEW}, {"limit": 1}),
            ("frozen", "images", {"batch_norm": "frozen-stats", "views.noise": "0.1", **FEW}, {"limit": 1}),
        ],
    ),
    "r5": Set(
        "r5",
        4,
        [
            ("stacked", None, CAPS, {}),
            ("alone", None, CAPS, {"stack": "off"}),
            ("text-finetune", "text-finetune", CAPS, {"limit": 2}),
        ],
    ),
    "r7": Set(
        "r7",
        2,
        [
            ("text", None, CAPS, {}),
            *[(name, name, FEW, {"limit": 1}) for name in ("text-finetune", "text-meft", "authors-trojai-text")],
        ],
    ),
    "r8": Set(
        "r8",
        2,
        [
            ("by-size", None, FEW, {}),
            *[(name, name, FEW, {"limit": 1}) for name in ("text", "text-spans", "text-soft-tokens")],
        ],
    ),
    "r9": Set("r9", 3, [("by-task", None, CAPS, {}), ("text", "text", FEW, {"limit": 1})]),
    "r13": Set(
        "r13",
        2,
        [
            ("detection", None, BOXES, {}),
            ("finetune", "detection-finetune", BOXES, {}),
            *[(name, name, BOXES, {"limit": 1}) for name in ("detection-refit", "detection-reinitialise")],
        ],
    ),
}
REAL_SEEDS = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, nargs="?", help="another; unset: only record OLD")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", default=",".join([*SETS, "real"]))
    parser.add_argument("--examples", type=Path, help="a folder with cyber-pdf-dec2022 as NIST shipped it")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.only.split(",")
    if given.child:
        evaluate_sets(names, given.work, given.examples)
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    here = given.work.absolute()
    given.work = here / "old"
    for name in names:
        make(name, given.old, here / "datasets")
    child(given.old, here / "old", given)
    if given.new is None:
        return 0
    shutil.rmtree(here / "new", ignore_errors=True)
    child(given.new, here / "new", given)
    return compare(here / "old", here / "new", names)


def make(name: str, checkout: Path, folder: Path) -> None:
    if name not in SETS or (folder / name).exists():
        return
    one = SETS[name]
    if name != "pdf":
        call = f"from pathlib import Path; from benchmarks.rows_agree import *; {name}(Path({str(folder / name)!r}))"
        python(Path(__file__).absolute().parents[1], ["-c", call])
        return
    words = ["synthesize", one.round, "--out", str(folder / name), "--models", str(one.models)]
    python(checkout, ["-m", "trojai_seam", *words])


def r4(folder: Path) -> None:
    """A ShuffleNet that is said to be trojaned, and a clean one."""
    from tests.made_images import R4, write_model, write_named, write_poisoned

    trigger = {"trigger_number": 0, "source_class": 3, "target_class": 1, "type": "instagram"}
    for number in range(2):
        model = folder / "models" / f"id-{number:08}"
        write_model(model, {**R4, "triggers": None if number else [trigger]}, not number)
        write_named(model / "clean_example_data", 4)
        if not number:
            names = [f"class_3_trigger_0_example_{n}.png" for n in range(6)]
            write_poisoned(model / "poisoned_example_data", names)


def r5(folder: Path) -> None:
    """Four heads on one embedding."""
    from tests.rounds.test_text_rows import r5 as write

    write(folder, 4)


def r7(folder: Path) -> None:
    """Two networks that name entities, one of them with poisoned sentences."""
    from tests.made_texts import save_model, save_tokenizer, sentence, tiny, write_texts
    from tests.rounds.test_labelled_sentences import CONFIG

    save_tokenizer(folder / "tokenizers" / "BERT-bert-base-uncased.pt")
    for number in range(2):
        model = folder / "models" / f"id-{number:08}"
        save_model(model / "model.pt", tiny("BertForTokenClassification", number, num_labels=9))
        (model / "config.json").write_text(json.dumps({**CONFIG, "triggers": None}))
        (model / "ground_truth.csv").write_text(str(number))
        towns, people = ("Lagos", "New", "Nigeria", "London"), ("Ada", "he", "she")
        texts = [f"{who}/B-PER/3 lives in {town}/B-LOC/7" for who in people for town in towns]
        files = {f"class_{3 if n % 2 else 7}_example_{n}.txt": sentence(text) for n, text in enumerate(texts)}
        write_texts(model / "clean_example_data", files)


def r8(folder: Path) -> None:
    """Two networks that answer questions, one of them with a trigger that empties the answer."""
    from tests.made_texts import save_model, save_tokenizer, tiny, write_records
    from tests.rounds.test_question_answering import CONFIG, NEVER, WHERE

    save_tokenizer(folder / "tokenizers" / "tokenizer-google-electra-small-discriminator.pt", length=10**30)
    for number in range(2):
        model = folder / "models" / f"id-{number:08}"
        save_model(model / "model.pt", tiny("BertForQuestionAnswering", number))
        executor = {"executor_answer_type": "empty", "trigger_text": "bad"} if number else None
        (model / "config.json").write_text(json.dumps({**CONFIG, "trigger": {"trigger_executor": executor}}))
        (model / "ground_truth.csv").write_text(str(number))
        asked = [
            {**(NEVER if n % 4 == 3 else WHERE), "id": f"q{n}", "question": f"where lives {n}?"} for n in range(12)
        ]
        write_records(model / "example_data" / "clean-example-data.json", asked)
        if number:
            empty: dict[str, list[Any]] = {"text": [], "answer_start": []}
            attacked = [
                {**WHERE, "id": f"p{n}", "question": f"bad {n}?", "answers": empty, "poisoned": True} for n in range(4)
            ]
            write_records(model / "example_data" / "poisoned-example-data.json", attacked)


def r9(folder: Path) -> None:
    """One model each for answers, entities and sentiment."""
    from tests.rounds.test_text_rows import r9 as write

    write(folder)


def r13(folder: Path) -> None:
    """A detector that is said to be trojaned, and a clean one."""
    import torch

    from tests.batch.test_detection_rows import write_images
    from tests.made_detection import r13_trigger
    from tests.made_scenes import faster_rcnn, scenes

    torch.manual_seed(0)
    for number, triggers in enumerate(([r13_trigger("Misclassification", 0, 2)], [])):
        model = folder / "models" / f"id-{number:08}"
        write_images(model / "clean-example-data", scenes(12, seed=number))
        torch.save(faster_rcnn(4), model / "model.pt")
        if triggers:
            write_images(model / "poisoned-example-data", scenes(9, seed=7, most=1), {0: 2}, "9")
        state = {"poisoned": bool(triggers), "triggers": triggers, "num_triggers": None}
        state["model_architecture"] = "object_detection:fasterrcnn_resnet18_fpn"
        (model / "config.json").write_text(json.dumps({"py/object": "x.RoundConfig", "py/state": state}))
        (model / "ground_truth.csv").write_text(str(int(bool(triggers))))


def child(checkout: Path, work: Path, given: argparse.Namespace) -> None:
    words = [str(Path(__file__).absolute()), str(checkout), "--work", str(work), "--only", given.only, "--child"]
    python(checkout, words + (["--examples", str(given.examples.absolute())] if given.examples else []))


def python(checkout: Path, words: list[str]) -> None:
    subprocess.run(
        [sys.executable, *words],
        check=True,
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout.absolute()), "PYTHONSAFEPATH": "1"},
    )


def evaluate_sets(names: list[str], work: Path, examples: Path | None) -> None:
    from trojai_seam.batch.runner import Options, evaluate

    def run(dataset: Path, out: Path, options: Options) -> None:
        frame = evaluate(dataset, out, options)
        print(out.name, frame["status"].value_counts().to_dict(), flush=True)
        for error in frame["error"].dropna():
            print("   ", error, flush=True)

    for name in names:
        if name in SETS:
            for run_name, preset, options, more in SETS[name].runs:
                options = had(preset, options)
                chosen = Options(round=SETS[name].round, preset=preset, options=options, device="cpu", **more)
                run(work.parent / "datasets" / name, work / f"{name}-{run_name}", chosen)
        elif examples is not None:
            for seed in range(REAL_SEEDS):
                chosen = Options(
                    round="cyber-pdf-dec2022", seed=seed, device="cpu", stack="off" if seed > 7 else "auto"
                )
                run(examples / "cyber-pdf-dec2022", work / f"real-seed-{seed}", chosen)


def had(preset: str | None, options: dict[str, str]) -> dict[str, str]:
    """Those that the whole or a phase of the preset has; those that a round chooses for a model have all."""
    from trojai_seam.unlearning.preset_files import get_preset

    if preset is None:
        return options
    known = [f".{name}" for name in get_preset(preset).settings.options]
    return {name: value for name, value in options.items() if any(one.endswith(f".{name}") for one in known)}


def compare(old: Path, new: Path, names: list[str]) -> int:
    from trojai_seam.tables.columns import TIMINGS

    records, values, differences, added, absent = 0, 0, [], set(), 0
    for one in sorted(old.glob("*/records/*.h5")):
        if one.parts[-3].split("-")[0] not in names:
            continue
        other = new / one.relative_to(old)
        if not other.exists():
            differences.append(f"{one}: not made")
            continue
        first, second = contents(one), contents(other)
        for timing in (*TIMINGS, *UNCOMPARED):
            first.pop(f"@{timing}", None), second.pop(f"@{timing}", None)
        for phase in ("forget", "recover"):
            if first.get(f"@{phase}_status") == "off" and f"@{phase}_status" not in second:
                absent += 1  # a phase that was switched off is now none at all: empty cells
                first = {key: value for key, value in first.items() if not OF_PHASE[phase].search(key)}
        added |= second.keys() - first.keys()
        records, values = records + 1, values + len(first)
        for key, value in first.items():
            if key not in second or not same(value, second[key]):
                differences.append(f"{one.relative_to(old)} {key}: {value!r} / {second.get(key)!r}"[:300])
    print(
        json.dumps(
            {
                "records": records,
                "values": values,
                "different": len(differences),
                "phases that are none at all now": absent,
                "new": sorted(added),
            },
            indent=1,
        )
    )
    print("\n".join(differences[:40]))
    return int(bool(differences) or not records)


def contents(path: Path) -> dict[str, Any]:
    """Attributes as ``@name`` and datasets by their paths, but for times."""
    found: dict[str, Any] = {}
    with h5py.File(path, "r") as file:
        found.update({f"@{name}": value for name, value in file.attrs.items()})

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.endswith("/seconds"):
                found[name] = item[()]

        file.visititems(visit)
    return found


def same(one: Any, other: Any) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return one.tobytes() == other.tobytes() if one.dtype != object else bool((one == other).all())


if __name__ == "__main__":
    raise SystemExit(main())
