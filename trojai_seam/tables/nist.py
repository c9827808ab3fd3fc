"""Results under the names that NIST's test harness writes, so that notebooks made for its files read ours.

Names are those of usnistgov/trojai-test-harness (leaderboards/ and data_science/), and so is what is counted; what we
count stands beside it under our own names. Where the harness is at fault, the figures here are right, and the published
ones stand beside them as ``nist_compat``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from ..rounds.raw_values import flat
from .frames import Row, raw_document, results_frame
from .summary import kind_of

_LEFT_OUT = ("converged", "nonconverged_reason", "Unnamed: 0")
_HARNESS = (
    "harness_clean_acc_before",
    "harness_clean_acc_after",
    "harness_poisoned_acc_before",
    "harness_poisoned_acc_after",
    "harness_fidelity",
)


class Submission(NamedTuple):
    """Who claims which results: what NIST's files say in every row. Time stamps are ``YYYYMMDDTHHMMSS``, UTC."""

    team: str
    split: str
    submitted: str
    executed: str


def results_csv(submission: Submission, answers: Iterable[tuple[str, Sequence[Any]]]) -> pd.DataFrame:
    """``<leaderboard>_RESULTS.csv`` of mitigation: one row per model and example, ``prediction`` is the class answered.

    Args:
        submission: what every row repeats.
        answers: per model id, tuples of example, prediction, true label and attacker's label.
    """
    columns = [
        "model_name",
        "team_name",
        "submission_timestamp",
        "data_split",
        "example_name",
        "prediction",
        "ground_truth_clean_entry",
        "ground_truth_poisoned_entry",
    ]
    head = (submission.team, submission.submitted, submission.split)
    lines = [(model_id, *head, *answer) for model_id, listed in answers for answer in listed]
    return pd.DataFrame(lines, columns=columns).astype(dict.fromkeys(columns[5:], "Int64"))


def metadata_csv(submission: Submission, rows: Iterable[Row]) -> pd.DataFrame:
    """``<leaderboard>_METADATA.csv``: one row per expected model with METADATA.csv column by column, as it is written
    there: own names, own order, every cell whole, empty columns too. Without a METADATA.csv: what config.json says.

    As the harness does, ``converged``, ``nonconverged_reason`` and ``Unnamed: 0`` are left out, ``ground_truth`` and
    ``data_split`` are those of the models and the submission.
    """
    columns: dict[str, None] = dict.fromkeys(("model_name", "ground_truth", "data_split"))
    lines = []
    for row in sorted(rows, key=lambda row: str(row["model_id"])):
        facts = raw_document(row, "metadata") or _texts(flat(raw_document(row, "config")))
        columns |= dict.fromkeys(name for name in facts if name not in _LEFT_OUT)
        truth = None if row.get("poisoned") is None else int(bool(row["poisoned"]))
        ours = {"model_name": row["model_id"], "ground_truth": truth, "data_split": submission.split}
        lines.append({**facts, **ours})
    return pd.DataFrame(lines, columns=list(columns)).astype({"ground_truth": "Int64"})


def global_results_csv(submission: Submission, rows: Sequence[Row]) -> pd.DataFrame:
    """``<split>-global-results.csv``: per model the head of the harness, all metadata, then our measures.

    ``predicted`` and ``cross_entropy`` belong to detection; unlearning gives none, so they are empty.
    """
    metadata = metadata_csv(submission, rows)
    head = pd.DataFrame(
        {
            "team_name": submission.team,
            "submission_time_stamp": submission.submitted,
            "execution_time_stamp": submission.executed,
            "ground_truth": metadata["ground_truth"],
            "predicted": pd.Series(pd.NA, index=metadata.index, dtype="Float64"),
            "cross_entropy": pd.Series(pd.NA, index=metadata.index, dtype="Float64"),
        },
        index=metadata.index,
    )
    results = results_frame(rows)
    measures = ["status", "acc_before", "acc_after", "asr_before", "asr_after", "ra_after", "fidelity", "nist_fidelity"]
    ours = results[[*measures, *_HARNESS]].add_prefix("trojai_seam_")
    return pd.concat([head, metadata.drop(columns="ground_truth"), ours], axis=1)


def metrics_csv(submission: Submission, rows: Sequence[Row]) -> pd.DataFrame:
    """The metrics of the mitigation leaderboard, then ours, each with how many models it should be over and is over.

    ``counted`` says which is which. ``as the harness``: from the same logits and labels as ours, but every image with a
    label of the kind counts, triggered ones in the clean accuracy too. ``as results.csv``: accuracy on clean images,
    attack success on those whose true class is another one. The harness gives a model without results an accuracy of 0,
    which is the best poisoned accuracy there is; here it is left out and lowers ``n_scored``.

    ``Fidelity (nist_compat)`` is what the harness publishes of a poisoned model: it takes the two accuracies before
    mitigation for each other, ((clean - poisoned after) / clean) * (clean after / poisoned), and has both from
    METADATA.csv; where that lacks them, they are those of the model as shipped.
    """
    results = results_frame(rows)
    kinds = kind_of(results)
    poisoned, clean = results[kinds == "poisoned"], results[kinds == "clean"]
    harness = {
        "Avg Poisoned Acc (psn model)": poisoned["harness_poisoned_acc_after"],
        "Avg Clean Acc (psn model)": poisoned["harness_clean_acc_after"],
        "Avg Acc (clean model)": clean["harness_clean_acc_after"],
        "Overall Acc": results["harness_clean_acc_after"],
        "Fidelity": results["harness_fidelity"],
        "Fidelity (nist_compat)": _as_published(results, rows),
    }
    ours = {
        "asr_after (psn model)": poisoned["asr_after"],
        "acc_after (psn model)": poisoned["acc_after"],
        "acc_after (clean model)": clean["acc_after"],
        "acc_after": results["acc_after"],
        "nist_fidelity": results["nist_fidelity"],
    }
    lines = [
        {
            "team_name": submission.team,
            "submission_timestamp": submission.submitted,
            "data_split": submission.split,
            "metric": name,
            "value": values.mean() if values.notna().any() else None,
            "n_expected": len(values),
            "n_scored": int(values.notna().sum()),
            "better": "lower" if name in ("Avg Poisoned Acc (psn model)", "asr_after (psn model)") else "higher",
            "counted": counted,
        }
        for counted, figures in (("as the harness", harness), ("as results.csv", ours))
        for name, values in figures.items()
    ]
    return pd.DataFrame(lines).astype({"value": "Float64"})


def _as_published(results: pd.DataFrame, rows: Sequence[Row]) -> pd.Series:
    said = [raw_document(row, "metadata") for row in sorted(rows, key=lambda row: str(row["model_id"]))]

    def before(kind: str) -> pd.Series:
        cells = [facts.get(f"average_{kind}_test_example_accuracy") for facts in said]
        told = pd.Series(pd.to_numeric(pd.Series(cells, dtype="object"), errors="coerce"), index=results.index)
        known = told.astype("Float64").fillna(results[f"harness_{kind}_acc_before"])
        return known.mask(known == 0)

    clean, triggered = before("clean"), before("poisoned")
    kept = results["harness_clean_acc_after"]
    of_poisoned = (clean - results["harness_poisoned_acc_after"]) / clean * (kept / triggered)
    kinds = kind_of(results)
    return of_poisoned.where(kinds == "poisoned", (kept / clean).where(kinds == "clean"))


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
