"""A record holds the whole truth about one model: its rates follow from what is stored in it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.made_rounds import write_round
from trojai_seam.batch import evaluation
from trojai_seam.batch.files import write_atomic
from trojai_seam.batch.paths import RunPaths
from trojai_seam.batch.records import read_row, read_rows, write_record
from trojai_seam.batch.runner import Options, evaluate
from trojai_seam.cli import main
from trojai_seam.errors import RunDirectoryProblem

FEW = {"forget.max_epochs": "4", "forget.stop.chance_margin": "none", "recover.max_epochs": "5"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, dict]:
    """One poisoned model, under all three protocols."""
    folder = tmp_path_factory.mktemp("records")
    dataset = write_round(folder / "round", 2)
    rows = {}
    for protocol in ("held-out", "kfold", "paper"):
        options = Options(round="r12", device="cpu", protocol=protocol, options=FEW, ids=["id-00000001"])
        rows[protocol] = evaluate(dataset, folder / protocol, options).iloc[0]
    return folder, rows


@pytest.mark.parametrize("protocol", ["held-out", "kfold", "paper"])
def test_the_rates_follow_from_the_stored_outputs(runs, protocol):
    folder, rows = runs
    row = rows[protocol]
    with h5py.File(folder / protocol / "records" / "id-00000001.h5") as record:
        labels = record["clean/labels"][:]
        clean_before = record["clean/outputs_before"][:].argmax(1) == labels
        targets, truth = record["poisoned/targets"][:], record["poisoned/labels"][:]
        poisoned_before = record["poisoned/outputs_before"][:].argmax(1)
        assert set(truth) == {1}
        assert set(targets) == {0}
        names = [name.decode() for name in record["clean/names"][:]]
        assert names == [f"{n:04}.npy" for n in range(20)]
        before, after, fit_after = [], [], [[] for _ in range(20)]
        hits, rights = [], []
        folds = record["folds"]
        assert len(folds) == row["folds"] == (5 if protocol == "kfold" else 1)
        for fold in folds.values():
            fit, held = fold["fit"][:], fold["held_out"][:]
            assert sorted([*fit, *held]) == list(range(20))
            right = fold["clean_outputs_after"][:].argmax(1) == labels
            before += list(clean_before[held.astype(int)])
            after += list(right[held.astype(int)])
            for index in fit:
                fit_after[index].append(right[index])
            answers = fold["poisoned_outputs_after"][:].argmax(1)
            hits.append(np.mean(answers == targets))
            rights.append(np.mean(answers == truth))
            trace = fold["trace"]
            assert [p.decode() for p in trace["phase"][:]] == ["forget"] * 4 + ["recover"] * 5
            assert list(trace["epoch"][:]) == [*range(4), *range(5)]
            for phase, epochs in (("forget", slice(0, 4)), ("recover", slice(4, 9))):
                stored = fold[f"phases/{phase}"]
                assert stored["status"][0] == b"no-rule"
                assert stored["end_accuracy"][()] == pytest.approx(trace["fit_accuracy"][epochs][-1])
                assert stored["steps"][()] == trace["steps"][epochs].sum()
                assert stored["epochs"][()] == len(trace["steps"][epochs])
    if protocol == "paper":
        assert pd.isna(row["acc_after"])
    else:
        assert row["acc_before"] == pytest.approx(np.mean(before))
        assert row["acc_after"] == pytest.approx(np.mean(after))
        assert row["n_acc_after"] == len(after) == (20 if protocol == "kfold" else 6)
    assert row["acc_before_all"] == pytest.approx(clean_before.mean())
    assert row["asr_before"] == pytest.approx(np.mean(poisoned_before == targets))
    assert row["ra_before"] == pytest.approx(np.mean(poisoned_before == truth))
    assert row["asr_after"] == pytest.approx(np.mean(hits))
    assert row["ra_after"] == pytest.approx(np.mean(rights))
    used = [np.mean(right) for right in fit_after if right]
    assert row["fit_acc_after"] == pytest.approx(np.mean(used))
    assert row["n_fit_acc_after"] == len(used)


def test_the_attributes_are_the_row(runs):
    folder, rows = runs
    (stored,) = read_rows(RunPaths(folder / "held-out"))
    row = rows["held-out"]
    for name, value in row.items():
        if name in stored:
            assert value == stored[name], name
        elif name != "model_architecture":  # the table falls back on what the file itself says
            assert pd.isna(value), name
    assert all(type(value) in (str, int, float, bool) for value in stored.values())


def test_the_row_in_front_is_the_row_in_the_attributes(runs, tmp_path):
    folder, _ = runs
    path = folder / "held-out" / "records" / "id-00000001.h5"
    with h5py.File(path) as file:
        assert file.userblock_size >= 512
        attributes = {name: getattr(value, "item", lambda v=value: v)() for name, value in file.attrs.items()}
    assert attributes == read_row(path)
    row = {"model_id": "x", "status": "done", "fingerprint": "f", "notes": "ü" * 40_000, "error": None, "fidelity": 0.5}
    for changes in (
        {},
        {"acc_after": float("inf")},
        {"notes": ""},
    ):  # JSON has no infinity: then the attributes are read
        write_record(tmp_path / "x.h5", {**row, **changes}, {"numbers": [1, 2]})
        assert read_row(tmp_path / "x.h5") == {k: v for k, v in {**row, **changes}.items() if v is not None}
        with h5py.File(tmp_path / "x.h5") as file:
            assert list(file["numbers"][:]) == [1, 2]


def test_a_record_that_was_cut_or_changed_is_not_believed(tmp_path):
    write_record(tmp_path / "x.h5", {"model_id": "x", "status": "done", "fingerprint": "f"}, {"numbers": range(1000)})
    content = (tmp_path / "x.h5").read_bytes()
    at = content.index(b'"done"') + 1
    for damaged in (content[:-1], content[:700], content[:60], content[:at] + b"D" + content[at + 1 :]):
        (tmp_path / "x.h5").write_bytes(damaged)
        with pytest.raises(RunDirectoryProblem, match="not a readable record"):
            read_row(tmp_path / "x.h5")


def test_a_column_that_no_table_would_show_is_refused(tmp_path):
    row = {"model_id": "x", "status": "done", "fingerprint": "f", "log_tail": "kept in the record only"}
    write_record(tmp_path / "x.h5", row, {})
    with pytest.raises(ValueError, match=r"my_metric: no such column; declare it"):
        write_record(tmp_path / "x.h5", {**row, "my_metric": 1.0}, {})


def test_a_metric_that_is_not_declared_is_a_failed_row_that_names_it(runs, tmp_path, monkeypatch):
    genuine = evaluation.score
    monkeypatch.setattr(evaluation, "score", lambda *given, **more: {**genuine(*given, **more), "my_metric": 0.5})
    options = Options(round="r12", device="cpu", preset="no-op", limit=1)
    (row,) = evaluate(runs[0] / "round", tmp_path / "run", options).to_dict("records")
    assert (row["status"], row["error_kind"]) == ("failed", "internal")
    assert "my_metric: no such column" in row["error"]


def test_what_hdf5_cannot_hold_is_written_so_that_it_can_be_read(tmp_path):
    row = {
        "model_id": "a\0b",
        "status": "\ud800",
        "fingerprint": "€" * 100_000,
        "error": None,
        "poisoned": True,
        "notes": "",
    }
    write_record(tmp_path / "x.h5", row, {"names": ["n\0", "\udcff", ""], "folds/0/fit": (), "numbers": [1, 2]})
    stored = read_row(tmp_path / "x.h5")
    assert stored["model_id"] == "a\\x00b"
    assert stored["status"] == "\\ud800"
    assert stored["fingerprint"].startswith("€€€")
    assert "error" not in stored
    assert stored["poisoned"] is True
    assert stored["notes"] == ""
    with h5py.File(tmp_path / "x.h5") as record:
        assert [n.decode() for n in record["names"][:]] == ["n\\x00", "\\udcff", ""]
        assert record["folds/0/fit"].shape == (0,)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + b"\xff" * 4000, b"text"])
def test_an_unreadable_record_says_what_to_do(runs, tmp_path, content, capsys):
    folder, _ = runs
    arguments = [
        "evaluate",
        str(folder / "round"),
        "--out",
        str(tmp_path / "run"),
        "--round",
        "r12",
        "--preset",
        "no-op",
    ]
    assert main([*arguments, "--quiet"]) == 0
    path = tmp_path / "run" / "records" / "id-00000000.h5"
    path.write_bytes(content)
    for command in (arguments, ["tables", str(tmp_path / "run")]):
        capsys.readouterr()
        assert main(command) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "id-00000000.h5: is not a readable record" in err
        assert "remove it" in err
    path.unlink()
    assert main([*arguments, "--quiet"]) == 0


def test_an_hdf5_file_that_is_no_record(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["model_id"] = "id"
    with pytest.raises(RunDirectoryProblem, match="not a readable record"):
        read_row(tmp_path / "x.h5")
    with pytest.raises(RunDirectoryProblem):
        read_row(tmp_path / "absent.h5")
    (tmp_path / "folder.h5").mkdir()
    with pytest.raises(RunDirectoryProblem):
        read_row(tmp_path / "folder.h5")


def test_damaged_records_are_refused_or_read_never_a_crash(runs, tmp_path):
    folder, _ = runs
    content = (folder / "held-out" / "records" / "id-00000001.h5").read_bytes()
    chance = random.Random(0)
    for number in range(60):
        damaged = bytearray(content[: chance.randrange(1, len(content))] if number % 4 == 0 else content)
        for _ in range(30):
            damaged[chance.randrange(min(len(damaged), 9000))] = chance.randrange(256)
        path = tmp_path / f"{number}.h5"
        path.write_bytes(damaged)
        with suppress(RunDirectoryProblem):
            read_row(path)


@pytest.mark.parametrize(
    "name", ["id-00000001", "a/b", "..", ".", ".x", "a b", "%2F", "ü", "new\nline", "bad\udcff", "a%b"]
)
def test_every_id_has_a_file_of_its_own_in_the_folder(tmp_path, name):
    path = RunPaths(tmp_path).record(name)
    assert path.parent == RunPaths(tmp_path).records
    assert path.name.isascii()
    assert path.name.isprintable()
    assert not path.name.startswith(".")


def test_ids_that_look_alike_do_not_share_a_file(tmp_path):
    names = ["a/b", "a%2Fb", "a%252Fb", "a b", "a%20b", ".a", "%2Ea", "bad\udcff", "bad%FF"]
    assert len({RunPaths(tmp_path).record(name) for name in names}) == len(names)


def test_long_ids_get_names_that_a_file_system_takes(tmp_path):
    names = ["模型" * 40, "模型" * 40 + "x", "n" * 255, "n" * 254, "a/" * 300]
    paths = [RunPaths(tmp_path).record(name) for name in names]
    assert len(set(paths)) == len(names)
    paths[0].parent.mkdir()
    for path in paths:
        write_atomic(path, b"x")


def test_atomic_writing_leaves_the_old_file_when_it_fails(tmp_path):
    write_atomic(tmp_path / "x", b"old")
    with pytest.raises(RunDirectoryProblem, match="cannot be written"):
        write_atomic(tmp_path / "x" / "y", b"new")
    (tmp_path / "d").mkdir()
    with pytest.raises(RunDirectoryProblem, match="cannot be written"):
        write_atomic(tmp_path / "d", b"new")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d", "x"]
