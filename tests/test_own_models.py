"""A trojaned model of somebody's own: from the command line, as a round, from Python; and ten ways to get it wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

import trojai_seam
from tests import made_own_models as made
from trojai_seam.cli import main
from trojai_seam.errors import ConfigProblem, DatasetProblem, RunDirectoryProblem, UsageProblem

NORM = ["--mean", "0.5,0.4,0.35", "--std", "0.25,0.25,0.2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    return made.write_all(tmp_path_factory.mktemp("own"))


def network(files) -> list[str]:
    return ["--network", f"{files['code']}:make"]


def own(files, *more, model="model", out=None) -> int:
    line = ["evaluate-model", str(files[model]), *map(str, more), "--device", "cpu"]
    return main([*line, *([] if out is None else ["--out", str(out)])])


def row(out) -> pd.Series:
    (only,) = [row for _, row in trojai_seam.read_results(out).iterrows()]
    return only


def rates(found) -> list[float]:
    return [found["acc_before"], found["acc_after"], found["asr_before"], found["asr_after"]]


def test_one_command_for_one_model(files, tmp_path, capsys):
    given = ["--clean", files["clean"], "--poisoned", files["poisoned"], "--target", 0, "--preset", "no-op"]
    assert own(files, *given, *network(files), *NORM, out=tmp_path / "run") == 0
    assert "their_networks.py:make" in capsys.readouterr().out
    found = row(tmp_path / "run")
    assert rates(found) == [1, 1, 1, 1]
    assert found["poisoned"]
    assert "mean 0.5 0.4 0.35" in found["preprocessing"]
    assert pd.isna(found["doubts"])
    # 48 clean images, 30 % of each class held out; poisoned ones of the same path count only if theirs is held out.
    assert (found["n_acc_before"], found["n_asr_before"], found["n_asr_before_all"]) == (16, 12, 36)


def test_every_form_of_images_and_the_trigger_as_data_say_the_same(files, tmp_path):
    base = ["--trigger", files["trigger"], "--target", 0, "--preset", "no-op", *network(files), *NORM]
    assert own(files, "--clean", files["clean"], *base, out=tmp_path / "folders") == 0
    assert own(files, "--clean", files["npz"], *base, out=tmp_path / "npz") == 0
    first, second = row(tmp_path / "folders"), row(tmp_path / "npz")
    assert rates(first) == rates(second) == [1, 1, 1, 1]
    assert (first["trigger_type"], first["poisoned_origin"]) == ("patch", "synthesised")
    inline = json.dumps(made.SQUARE)
    images, labels = made.pictures(5, 9)
    np.savez(tmp_path / "test.npz", x=images.permute(0, 2, 3, 1).numpy(), y=labels.numpy())
    more = [
        "--held-out",
        tmp_path / "test.npz",
        "--trigger",
        inline,
        "--target",
        0,
        "--preset",
        "no-op",
        *network(files),
    ]
    assert own(files, "--clean", files["npz"], *more, *NORM, out=tmp_path / "apart") == 0
    apart = row(tmp_path / "apart")
    assert (apart["n_acc_before"], apart["n_asr_before"], apart["n_fit_acc_before"]) == (20, 15, 48)


def test_few_examples_by_option(files, tmp_path):
    base = ["--clean", files["npz"], "--trigger", files["trigger"], "--target", 0, *network(files), *NORM]
    quick = ["--preset", "images-finetune", "--set", "recover.max_epochs=2", "--set", "recover.examples_per_epoch=16"]
    assert own(files, *base, *quick, "--fit-per-class", 3, out=tmp_path / "three") == 0
    found = row(tmp_path / "three")
    assert (found["n_fit_acc_before"], found["n_acc_before"], found["n_asr_before"]) == (12, 36, 27)
    assert (found["fit_per_class"], pd.isna(found["fit_total"])) == (3, True)
    assert json.loads((tmp_path / "three" / "plan.json").read_text())["fit_per_class"] == 3
    assert own(files, *base, "--preset", "no-op", "--fit-total", 6, out=tmp_path / "six") == 0
    assert (row(tmp_path / "six")["n_fit_acc_before"], row(tmp_path / "six")["n_acc_before"]) == (6, 42)
    arguments = {"clean": files["npz"], "trigger": files["trigger"], "target": 0, "network": f"{files['code']}:make"}
    with pytest.raises(RunDirectoryProblem, match="fit_per_class was 3, now null"):
        trojai_seam.evaluate_model(files["model"], tmp_path / "three", **arguments)
    assert own(files, *base, "--fit-per-class", 0, out=tmp_path / "none") == 2


def test_all_to_all_and_whole_modules(files, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(files["code"].parent))
    import their_networks

    whole = their_networks.make()
    whole.load_state_dict(made.network().state_dict())
    torch.save(whole, tmp_path / "whole.pt")
    base = ["--clean", files["npz"], *NORM, "--preset", "no-op", "--trigger", files["trigger"]]
    options = ["--all-to-all", *network(files)]
    assert own({**files, "whole": tmp_path / "whole.pt"}, *base, *options, model="whole", out=tmp_path / "a") == 0
    found = row(tmp_path / "a")
    assert found["acc_before"] == 1
    assert found["n_asr_before_all"] == 48  # every class is attacked; only 3 -> 0 is what this trigger does
    assert found["asr_before_all"] == pytest.approx(0.25)


@pytest.fixture
def wrong(files, tmp_path, capsys):
    """Runs a command that must end with 2 and one line; gives the line."""

    def run(*more, model="model", code="make", **files_instead):
        here = {**files, **files_instead}
        capsys.readouterr()
        named = ["--network", f"{here['code']}:{code}"] if code else []
        assert own(here, *more, *named, model=model, out=tmp_path / "run") == 2
        captured = capsys.readouterr()
        (line,) = captured.err.strip().splitlines()[-1:]
        assert line.startswith("trojai-seam: error: ")
        assert captured.out == ""
        return line.removeprefix("trojai-seam: error: ")

    return run


def test_ten_ways_of_getting_it_wrong(files, tmp_path, wrong, capsys):
    clean, trigger = ["--clean", files["npz"]], ["--trigger", files["trigger"], "--target", 0]
    # 1 wrong mean: a row, and a warning
    assert own(files, *clean, *trigger, *network(files), "--mean", "5", "--preset", "no-op", out=tmp_path / "mean") == 0
    assert "doubtful: accuracy before is" in capsys.readouterr().out
    assert row(tmp_path / "mean")["doubts"].startswith("accuracy before is")
    # 2 wrong order of classes: likewise, and what it looks like
    renamed = ["--classes", "blue,amber,coral,grass"]
    folders = ["--clean", files["clean"], *renamed, *trigger, *network(files), *NORM, "--preset", "no-op"]
    assert own(files, *folders, out=tmp_path / "order") == 0
    assert "another order (answered: class 0 as 1, 1 as 0" in row(tmp_path / "order")["doubts"]
    # 3 target out of range
    assert "target 4, but the network has only classes 0 to 3" in wrong(*clean, *trigger[:2], "--target", 4)
    # 4 trigger larger than the image
    large = json.dumps({"kind": "patch", "size": [20, 20]})
    assert "trigger of 20×20 pixels" in wrong(*clean, "--trigger", large, "--target", 0)
    # 5 folder without classes
    flat = tmp_path / "flat"
    flat.mkdir()
    Image.new("RGB", (16, 16)).save(flat / "a.png")
    assert "nothing tells its class" in wrong("--clean", flat)
    # 6 16-bit images; grey ones are fine
    deep = tmp_path / "deep"
    for label in range(4):
        (deep / str(label)).mkdir(parents=True)
        Image.fromarray(np.full((16, 16), 40 * label, np.uint8)).save(deep / str(label) / "grey.png")
    assert own(files, "--clean", deep, *network(files), "--preset", "no-op", out=tmp_path / "grey") == 0
    Image.fromarray(np.full((16, 16), 4000, np.uint16)).save(deep / "1" / "deep.png")
    assert "16 bits per channel" in wrong("--clean", deep)
    # 7 images of several sizes
    mixed = tmp_path / "mixed"
    made.write_folders(mixed, *made.pictures(2, 4))
    Image.new("RGB", (20, 18)).save(mixed / "amber" / "odd.png")
    assert "several sizes (16×16, and amber/odd.png with 18×20)" in wrong("--clean", mixed)
    assert own(files, "--clean", mixed, *network(files), "--size", 16, "--preset", "no-op", out=tmp_path / "fit") == 0
    assert "1 images of another size were fitted to 16×16" in row(tmp_path / "fit")["notes"]
    # 8 missing network, and a function or file that is not there
    assert "fits no registered network" in wrong(*clean, *trigger, code="")
    assert "no function or class absent" in wrong(*clean, *trigger, code="absent")
    # 9 a constructor that raises, or makes something else
    assert "the builder of their_networks.py:broken failed: ValueError: no such width" in wrong(*clean, code="broken")
    assert "returned a str, expected the network" in wrong(*clean, code="not_a_network")
    assert "needs the arguments width" in wrong(*clean, code="needs_more")
    # 10 the checkpoint of another network
    torch.save(nn.Linear(3, 4).state_dict(), tmp_path / "other.pt")
    assert "missing 0.0.weight" in wrong(*clean, model="other", other=tmp_path / "other.pt")


def test_a_failed_try_does_not_stand_in_the_way(files, tmp_path, wrong):
    clean = ["--clean", files["npz"], *NORM, "--preset", "no-op"]
    wrong(*clean, "--trigger", files["trigger"], "--target", 9)
    more = ["--trigger", files["trigger"], "--target", 0, *network(files)]
    assert own(files, *clean, *more, out=tmp_path / "run") == 0
    assert own(files, *clean, *more[:2], "--target", 1, *network(files), out=tmp_path / "run") == 2  # that one counts
    assert rates(row(tmp_path / "run")) == [1, 1, 1, 1]


def test_mistakes_in_what_is_asked(files, tmp_path):
    base = {"clean": files["npz"], "network": f"{files['code']}:make"}
    for more, problem in (
        ({"trigger": files["trigger"]}, "--target N, or --all-to-all"),
        ({"trigger": "{", "target": 0}, "is not valid JSON"),
        ({"trigger": tmp_path / "absent.json", "target": 0}, "cannot be read"),
        ({"poisoned": files["poisoned"], "trigger": files["trigger"], "target": 0}, "only one of them"),
        ({"preprocess": "cifar10", "mean": [1.0]}, "only one of them"),
        ({"preprocess": "cifar11"}, "no normalisation called 'cifar11'; did you mean"),
        ({"clean": tmp_path / "absent"}, "--clean .*absent: no such file or folder"),
        ({"networks": "other.py"}, "only one of them"),
        ({"network": "their.py"}, "name the function too"),
        ({"colour": 3}, "no option colour"),
    ):
        with pytest.raises(UsageProblem, match=problem):
            trojai_seam.evaluate_model(files["model"], tmp_path / "run", **{**base, **more})
    sticker = {"trigger": {"kind": "sticker"}, "target": 0}
    with pytest.raises(ConfigProblem, match=r"attack.trigger: .*sticker"):
        trojai_seam.evaluate_model(files["model"], tmp_path / "run", **base, **sticker)
    with pytest.raises(DatasetProblem, match="no such model file"):
        trojai_seam.evaluate_model(tmp_path / "absent.pt", tmp_path / "run", **base)
    assert not (tmp_path / "run").exists()


def write_round(folder: Path, files, **more) -> Path:
    """Two models: one whose trigger works, one that is clean; with images shared by both."""
    folder.mkdir()
    for name in ("first.pth", "second.pth"):
        os.link(files["model"], folder / name)
    document = {
        "name": "their-models",
        "layout": {"clean": [str(files["npz"])]},
        "preprocessing": {"scaling": "/255", "mean": made.MEAN, "std": made.STD},
        "models": {
            "first": {"file": "first.pth", "attack": {"target_label": 0, "trigger": made.SQUARE}},
            "second": {"file": "second.pth", "poisoned": False, "facts": {"model_architecture": "tiny"}},
        },
        **more,
    }
    path = folder / "round.json"
    path.write_text(json.dumps(document))
    return path


def test_a_folder_of_models_is_a_round(files, tmp_path):
    write_round(tmp_path / "theirs", files)
    given = ["--out", str(tmp_path / "run"), "--device", "cpu", "--preset", "no-op", "--fit-per-class", "4"]
    assert main(["evaluate", str(tmp_path / "theirs"), *given, *network(files)]) == 0
    first, second = (one for _, one in trojai_seam.read_results(tmp_path / "run").iterrows())
    assert (first["model_id"], first["round"], first["asr_before"]) == ("first", "their-models", 1)
    assert (second["poisoned"], pd.isna(second["asr_before"]), second["kept_accuracy"]) == (False, True, 1)
    assert second["model_architecture"] == "tiny"
    # The same described elsewhere, and in worker processes: the same rows.
    elsewhere = tmp_path / "elsewhere.json"
    (tmp_path / "theirs" / "round.json").rename(elsewhere)
    given[1] = str(tmp_path / "pool")
    line = ["evaluate", str(tmp_path / "theirs"), "--round", str(elsewhere), "--workers", "2", *given, *network(files)]
    assert main(line) == 0
    columns = ["model_id", "acc_before", "acc_after", "asr_before", "asr_after", "n_acc_before", "architecture"]
    again = trojai_seam.read_results(tmp_path / "pool")
    pd.testing.assert_frame_equal(trojai_seam.read_results(tmp_path / "run")[columns], again[columns])


def test_a_round_of_ones_own_is_checked_like_ours(files, tmp_path):
    path = write_round(tmp_path / "theirs", files, preprocessing={"scale": "/255"}, network="sub/their.py:make")
    with pytest.raises(ConfigProblem, match=r"network: .*their.py.*preprocessing: 'scale'"):
        trojai_seam.evaluate(tmp_path / "theirs", tmp_path / "run")
    path.write_text("[]")
    with pytest.raises(ConfigProblem, match="expected a JSON object, found list"):
        trojai_seam.evaluate(tmp_path / "theirs", tmp_path / "run")
    path.write_text(json.dumps({"models": {"first": {"file": "absent.pth"}}}))
    with pytest.raises(DatasetProblem, match=r"absent.pth: no such model file"):
        trojai_seam.evaluate(tmp_path / "theirs", tmp_path / "run")


def test_a_round_never_names_code(files, tmp_path):
    """A dataset may come from anywhere: only the command line names files that are run."""
    write_round(tmp_path / "theirs", files, network="their_networks.py:make")
    (tmp_path / "theirs" / "their_networks.py").write_text("raise SystemExit('was run')")
    from trojai_seam.networks.user import _loaded

    if any(name.endswith("their_networks.py:make") for name in _loaded):
        pytest.skip("the name is registered in this process already")
    with pytest.raises(trojai_seam.errors.TrojaiSeamError, match="no network is called"):
        trojai_seam.evaluate(tmp_path / "theirs", tmp_path / "run")


def test_from_python_with_tensors():
    images, labels = made.pictures(15, 5)
    clean, attacked = made.normalised(images), labels != 0
    poisoned = made.normalised(made.stamped(images[attacked]))
    options = {"recover.max_epochs": 3}
    outcome = trojai_seam.unlearn_model(
        made.network(), clean[:40], labels[:40], preset="images-finetune", options=options
    )
    attack = {"poisoned": poisoned, "true_labels": labels[attacked], "targets": 0}
    before = trojai_seam.measure_model(made.network(), clean[40:], labels[40:], **attack)
    after = trojai_seam.measure_model(outcome.model, clean[40:], labels[40:], **attack)
    assert before == {"acc": 1, "asr": 1, "ra": 0}
    assert after["acc"] > 0.8
    assert after["asr"] < 1
    again = trojai_seam.unlearn_model(
        made.network(), clean[:40], labels[:40], preset="images-finetune", options=options
    )
    state = again.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in outcome.model.state_dict().items())
    assert trojai_seam.measure_model(made.network(), clean, labels) == {"acc": 1, "asr": None, "ra": None}
    for call, problem in (
        (lambda: trojai_seam.unlearn_model(made.network(), images, labels), "images of torch.uint8"),
        (lambda: trojai_seam.unlearn_model(made.network(), clean, labels[:3]), r"shape \[3\]"),
        (lambda: trojai_seam.unlearn_model(made.network(), clean, labels + 1), "labels from 1 to 4, the network has 4"),
        (lambda: trojai_seam.measure_model(made.network(), clean, labels, poisoned=poisoned), "need targets"),
    ):
        with pytest.raises(UsageProblem, match=problem):
            call()


def test_one_model_of_a_round_opens_and_is_repaired(files, tmp_path):
    write_round(tmp_path / "theirs", files)
    model = tmp_path / "theirs" / "first.pth"
    rebuilt = trojai_seam.load_model(model, network=f"{files['code']}:make")
    assert torch.equal(rebuilt[3].weight, made.network()[3].weight)
    line = ["unlearn", str(model), "--out", str(tmp_path / "repaired.pt"), *network(files), "--device", "cpu"]
    assert main([*line, "--preset", "images-finetune", "--set", "recover.max_epochs=1"]) == 0
    assert torch.load(tmp_path / "repaired.pt", weights_only=True).keys() == made.network().state_dict().keys()
