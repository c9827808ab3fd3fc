"""Small rounds whose METADATA.csv has the columns and forms of values of NIST's: groups and selections counted by hand.

No model file can be read here: what stands in a group is known from NIST's files alone, whether a model failed, or was
never reached.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from tests.made_rounds import write_round
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.batch.selection import select
from trojai_seam.reporting import read_run, summarize
from trojai_seam.rounds import discover, get_round

POLYGON, FILTER = "ClassificationPolygonTriggerExecutor", "InstagramTriggerExecutor"


def of_r0(poisoned: bool) -> dict[str, object]:
    told = {"triggered_classes": "[0 1 2 3 4]", "trigger_color": "[200 0 0]", "trigger_size": 25,
            "trigger_target_class": 3, "trigger_behavior": "WrapTo"}  # fmt: skip
    none = {"triggered_classes": "[]", "trigger_color": "None", "trigger_size": "None", "trigger_target_class": "None",
            "trigger_behavior": "None"}  # fmt: skip
    return {"ground_truth": str(poisoned).upper(), "model_architecture": "resnet50", **(told if poisoned else none)}


def of_r3(kind: str | None) -> dict[str, object]:
    return {"poisoned": kind is not None, "model_architecture": "densenet121", "trigger_type": kind,
            "trigger_target_class": None if kind is None else 2, "triggered_classes": None if kind is None else "[0 1]",
            "polygon_side_count": 4 if kind == "polygon" else None,
            "instagram_filter_type": "LomoFilterXForm" if kind == "instagram" else None}  # fmt: skip


def of_r5(*kinds: str) -> dict[str, object]:
    row: dict[str, object] = {"poisoned": bool(kinds), "model_architecture": "GruLinear", "number_triggers": len(kinds)}
    for number in range(2):
        there = number < len(kinds)
        row |= {f"triggers_{number}_type": kinds[number] if there else None,
                f"triggers_{number}_source_class": number if there else None,
                f"triggers_{number}_condition": None}  # fmt: skip
    return row


def of_r11(*executors: str) -> dict[str, object]:
    row: dict[str, object] = {"task_type": "classification", "poisoned": bool(executors),
                              "model_architecture": "classification:mobilenet_v2",
                              "num_triggers": len(executors) or 4}  # fmt: skip
    for number in range(2):
        name = executors[number] if number < len(executors) else ""
        row |= {f"trigger_{number}.trigger_executor": name,
                f"trigger_{number}.type": "LomoFilterXForm" if name == FILTER else "",
                f"trigger_{number}.trigger_polygon_side_count": "5.0" if name == POLYGON else "",
                f"trigger_{number}.options": "spatial" if name == POLYGON else ""}  # fmt: skip
    return row


def of_r13(kind: str | None) -> dict[str, object]:
    return {"poisoned": kind is not None, "model_architecture": "object_detection:detr",
            "triggers": "[]" if kind is None else "",
            "num_triggers": "" if kind is None else 1, "trigger_0.trigger_color": "" if kind is None else "[0, 200, 0]",
            "trigger_0.trigger_executor": f"ObjectDetection{kind}PolygonTriggerExecutor" if kind else ""}  # fmt: skip


def of_r12(strategy: str | None) -> dict[str, object]:
    return {"data_split": "train", "ground_truth": int(strategy is not None), "poisoned": strategy is not None,
            "model_type": "clean" if strategy is None else "poisoned", "arch": "nn", "trigger_size": 4,
            "attack_strategy": strategy, "watermarked-accuracy": 0.5}  # fmt: skip


TABLES = {
    "r0": [of_r0(True), of_r0(False), of_r0(True)],
    "r3": [of_r3("polygon"), of_r3("instagram"), of_r3(None), of_r3("polygon"), of_r3("instagram"), of_r3("polygon")],
    "r5": [of_r5("phrase"), of_r5("word", "character"), of_r5(), of_r5("character", "word"), of_r5("phrase", "phrase")],
    "r11": [of_r11(FILTER, POLYGON), of_r11(POLYGON), of_r11(), of_r11(POLYGON, FILTER), of_r11(FILTER),
            of_r11(POLYGON, POLYGON)],
    "r13": [of_r13("Evasion"), of_r13("Localization"), of_r13(None), of_r13("Misclassification"), of_r13("Injection"),
            of_r13("Evasion")],
    "r12": [of_r12("min_population_new"), of_r12(None), of_r12("argmin_Nv_sum_abs_shap"), of_r12("min_population_new")],
}  # fmt: skip
BY_HAND = {
    "r0": {"polygon": 2},
    "r3": {"polygon": 3, "instagram": 2},
    "r5": {"phrase": 2, "character and word": 2},
    "r11": {"instagram and polygon": 2, "polygon": 2, "instagram": 1},
    "r13": {"evasion": 2, "localisation": 1, "misclassification": 1, "injection": 1},
    "r12": {"min_population_new": 2, "argmin_Nv_sum_abs_shap": 1},
}


def made(folder: Path, alias: str) -> Path:
    """The folder of a round whose models cannot be read."""
    rows = [{"model_name": f"id-{n:08}", **row} for n, row in enumerate(TABLES[alias])]
    for row in rows:
        path = folder / "models" / str(row["model_name"])
        path.mkdir(parents=True)
        (path / "model.pt").write_bytes(b"no model")
        (path / "ground_truth.csv").write_text(
            str(int(str(row.get("poisoned", row.get("ground_truth"))).lower() in ("true", "1")))
        )
    (folder / "scale_params.npy").touch()
    with (folder / "METADATA.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(
            {k: "None" if v is None and alias in ("r0", "r3", "r5") else v for k, v in row.items()} for row in rows
        )
    return folder


@pytest.mark.parametrize("alias", list(TABLES))
def test_groups_and_selections_are_those_counted_by_hand(tmp_path: Path, alias: str) -> None:
    dataset, run = made(tmp_path / "data", alias), tmp_path / "run"
    evaluate(dataset, run, Options(round=alias, device="cpu", preset="no-op", executor="serial", shard=(1, 2)))
    rows = read_run(run)
    assert set(rows["status"]) == {"failed", "missing"}
    summary = summarize(run, ["trigger_type"])
    poisoned = summary[summary["group"] == "poisoned"].set_index("trigger_type")["models"].to_dict()
    assert poisoned == BY_HAND[alias]
    known = discover(dataset)
    for kind, count in BY_HAND[alias].items():
        chosen = select(known, get_round(alias), Options(round=alias, where=f"trigger_type == '{kind}'"))
        assert len(chosen) == count, kind
    architectures = Counter(
        str(row["model_architecture"]).rpartition(":")[2] for row in TABLES[alias] if "model_architecture" in row
    )
    for name, count in architectures.items():
        assert len(select(known, get_round(alias), Options(where=f"model_architecture == '{name}'"))) == count


def test_what_files_say_can_be_asked_of_models_that_were_never_reached(tmp_path: Path) -> None:
    dataset, run = made(tmp_path / "data", "r11"), tmp_path / "run"
    long = {f"key_{n}": "y" * 100 for n in range(900)} | {"zz_last_key": "last"}
    (dataset / "models" / "id-00000001" / "config.json").write_text(json.dumps(long))  # of a model of the other part
    (dataset / "models" / "id-00000002" / "config.json").write_text(json.dumps(long))
    evaluate(dataset, run, Options(round="r11", device="cpu", preset="no-op", executor="serial", shard=(1, 2)))
    told = {"config.zz_last_key": 2, "zz_last_key": 2, "metadata.num_triggers": 6, "num_triggers": 6}
    for name, count in told.items():
        summary = summarize(run, [name])
        assert summary[summary[name] != "(not said)"]["models"].sum() == count, name


def test_a_failed_twin_stands_in_the_group_of_its_sibling(tmp_path: Path) -> None:
    dataset, run = write_round(tmp_path / "round", 4), tmp_path / "run"
    (dataset / "models" / "id-00000003" / "model.pt").write_bytes(b"no model")
    lines = ["model_name,attack_strategy,Arch", *(f"id-{n:08},min_population_new,nn" for n in range(4))]
    (dataset / "METADATA.csv").write_text("\n".join(lines))
    evaluate(dataset, run, Options(round="r12", device="cpu", preset="no-op", executor="serial"))
    for names in (["trigger_type"], ["Arch"], ["metadata.arch"]):
        summary = summarize(run, names)
        poisoned = summary[summary["group"] == "poisoned"]
        assert poisoned[["models", "done", "failed"]].to_numpy().tolist() == [[2, 1, 1]]
