"""Files under NIST's names: headers as the reference lists them, figures by hand."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest

from tests.tables.made_runs import HOSTILE, failed_row, made_row
from trojai_seam.tables import csv_bytes
from trojai_seam.tables.nist import Submission, global_results_csv, metadata_csv, metrics_csv, results_csv

WHO = Submission("us", "test", "20240601T000000", "20240602T000000")
METADATA = {"model_name": "id-00000001", "poisoned": "True", "model_architecture": "resnet50", "converged": "1",
            "nonconverged_reason": "", "Unnamed: 0": "7", "val_clean_Accuracy": "0.9", "trigger_3.type": "",
            "weight_decay": "none", "test_mar": "-1.0", "PerClassAccuracy": str([0.5] * 400)}  # fmt: skip
ROWS = [
    made_row(1, asr_before=1.0, asr_after=0.25, acc_before=0.8, acc_after=0.6, nist_fidelity=0.75 * 0.75,
             nist_metadata=json.dumps(METADATA), harness_clean_acc_before=0.7, harness_clean_acc_after=0.35,
             harness_poisoned_acc_before=0.9, harness_poisoned_acc_after=0.3, harness_fidelity=2 / 3 * 0.5),
    made_row(2, acc_before=1.0, acc_after=0.5, nist_fidelity=0.5, nist_config='{"arch": "nn", "layers": [1, 2]}',
             harness_clean_acc_before=1.0, harness_clean_acc_after=0.5, harness_fidelity=0.5),
    failed_row(3),
    {"model_id": "id-00000004", "status": "missing", "poisoned": False},
]  # fmt: skip


def test_results_have_a_row_per_example_with_the_harness_s_names():
    frame = results_csv(WHO, [("id-00000001", [("a.png", 3, 3, None), ("b.png", None, 3, 0)]), ("id-00000002", [])])
    text = csv_bytes(frame).decode().splitlines()
    assert text[0] == (
        "model_name,team_name,submission_timestamp,data_split,example_name,prediction,"
        "ground_truth_clean_entry,ground_truth_poisoned_entry"
    )
    assert text[1:] == [
        "id-00000001,us,20240601T000000,test,a.png,3,3,",
        "id-00000001,us,20240601T000000,test,b.png,,3,0",
    ]


def test_metadata_lists_every_expected_model():
    frame = metadata_csv(WHO, ROWS)
    assert list(frame.columns[:3]) == ["model_name", "ground_truth", "data_split"]
    assert {"poisoned", "model_architecture", "arch"} <= set(frame.columns)
    assert not {"converged", "nonconverged_reason", "Unnamed: 0"} & set(frame.columns)
    assert frame["model_name"].tolist() == [f"id-{n:08}" for n in (1, 2, 3, 4)]
    assert frame["ground_truth"].tolist() == [1, 0, 1, 0]


def test_metadata_is_copied_column_by_column_whole():
    text = csv_bytes(metadata_csv(WHO, [ROWS[0]]), signed_numbers=True).decode()
    first, second = csv.reader(io.StringIO(text))
    assert first == ["model_name", "ground_truth", "data_split", "poisoned", "model_architecture", "val_clean_Accuracy",
                     "trigger_3.type", "weight_decay", "test_mar", "PerClassAccuracy"]  # fmt: skip
    assert second == ["id-00000001", "1", "test", "True", "resnet50", "0.9", "", "none", "-1.0", str([0.5] * 400)]
    assert metadata_csv(WHO, [ROWS[1]]).loc[0, "layers"] == "[1, 2]"  # without a METADATA.csv: the config


def test_global_results_have_the_harness_s_head_and_no_made_up_prediction():
    frame = global_results_csv(WHO, ROWS)
    head = ["team_name", "submission_time_stamp", "execution_time_stamp", "ground_truth", "predicted", "cross_entropy"]
    assert list(frame.columns[:6]) == head
    assert frame["predicted"].isna().all()
    assert len(frame) == 4
    assert frame.loc[0, "trojai_seam_asr_after"] == 0.25
    assert frame.loc[0, "model_architecture"] == "resnet50"
    assert frame.columns.is_unique


def test_metrics_by_hand():
    values = metrics_csv(WHO, ROWS).set_index("metric")
    assert values["value"].to_dict() == {
        "Avg Poisoned Acc (psn model)": 0.3,  # the failed model does not count as 0, which would be best
        "Avg Clean Acc (psn model)": 0.35,
        "Avg Acc (clean model)": 0.5,
        "Overall Acc": pytest.approx(0.425),
        "Fidelity": pytest.approx((2 / 3 * 0.5 + 0.5) / 2),
        # published: ((0.7 - 0.3) / 0.7) * (0.35 / 0.9) for the poisoned model
        "Fidelity (nist_compat)": pytest.approx((0.4 / 0.7 * 0.35 / 0.9 + 0.5) / 2),
        "asr_after (psn model)": 0.25,
        "acc_after (psn model)": 0.6,
        "acc_after (clean model)": 0.5,
        "acc_after": pytest.approx(0.55),
        "nist_fidelity": pytest.approx((0.75 * 0.75 + 0.5) / 2),
    }
    assert values["counted"].tolist() == ["as the harness"] * 6 + ["as results.csv"] * 5
    assert values["n_expected"].tolist() == [2, 2, 2, 4, 4, 4, 2, 2, 2, 4, 4]
    assert values["n_scored"].tolist() == [1, 1, 1, 2, 2, 2, 1, 1, 1, 2, 2]
    nothing = metrics_csv(WHO, [made_row(1, harness_poisoned_acc_before=0.0)]).set_index("metric")["value"]
    assert pd.isna(nothing["Fidelity (nist_compat)"])


def test_published_fidelity_takes_what_metadata_says_of_the_model_before():
    told = {"average_clean_test_example_accuracy": "0.8", "average_poisoned_test_example_accuracy": "0.5"}
    row = {**ROWS[0], "nist_metadata": json.dumps(told)}
    value = metrics_csv(WHO, [row]).set_index("metric")["value"]["Fidelity (nist_compat)"]
    assert value == pytest.approx((0.8 - 0.3) / 0.8 * (0.35 / 0.5))


def test_no_rows_and_hostile_ones():
    for make in (metadata_csv, global_results_csv, metrics_csv):
        csv_bytes(make(WHO, []))
        rows = [made_row(1, model_id=text, nist_metadata=json.dumps({text: text})) for text in HOSTILE]
        for line in csv_bytes(make(WHO, rows)).decode().splitlines():
            assert not line.startswith("=")
            assert ",=" not in line
