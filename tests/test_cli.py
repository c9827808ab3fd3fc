"""The command line: every user mistake is one clear line and exit code 2, and what it prints is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.made_rounds import trained_copy, trained_round, write_model, write_round
from trojai_seam import __version__
from trojai_seam.cli import main
from trojai_seam.rounds import list_rounds
from trojai_seam.unlearning import preset_names

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("demo", "evaluate", "unlearn", "inspect", "tables", "rounds", "presets", "synthesize")


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as ended:  # argparse
        code = ended.code
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def refused(capsys, *arguments: object) -> str:
    """The command ends with exit 2, prints no result, and says why in one printable line, which is returned."""
    code, out, err = run(capsys, *arguments)
    assert code == 2, err
    assert out == ""
    assert err.endswith("\n")
    line = err.removesuffix("\n")
    assert line.isprintable(), err
    assert line.startswith("trojai-seam: error: ")
    return line


def fresh(*arguments: object, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, **options)


@pytest.fixture
def model() -> Path:
    return trained_round() / "models" / "id-00000001"


# help and usage -------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_the_exit_codes(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(f"  {name}" in out for name in COMMANDS)
    assert "130 interrupted" in out
    assert run(capsys, "--version")[1] == f"trojai-seam {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(capsys, command):
    code, out, err = run(capsys, command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: trojai-seam {command}")


def test_nothing_asked_for_shows_the_help(capsys):
    code, out, _ = run(capsys)
    assert code == 2
    assert out.startswith("usage: trojai-seam")


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["evaluate"],
        ["evaluate", "x", "--out", "y", "--shard", "1"],
        ["evaluate", "x", "--out", "y", "--shard", "a/b"],
        ["evaluate", "x", "--out", "y", "--shard", "²/³"],
        ["evaluate", "x", "--out", "y", "--seed", "one"],
        ["evaluate", "x", "--out", "y", "--seed", "9" * 5000],
        ["evaluate", "x", "--out", "y", "--limit", "1.5"],
        ["unlearn", "x", "--out", "y", "--format", "onnx"],
        ["synthesize", "r12", "--out", "x"],
    ],
)
def test_wrong_usage_is_exit_2_and_no_traceback(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "error: " in err


# rounds ---------------------------------------------------------------------------------------------------------------


def test_rounds(capsys):
    code, out, err = run(capsys, "rounds")
    assert (code, err) == (0, "")
    assert [line.split(" ")[0] for line in out.splitlines()] == [r.name for r in list_rounds()]
    _, verbose, _ = run(capsys, "rounds", "--verbose")
    for one in list_rounds():
        assert one.source in verbose
        assert all(quirk in verbose for quirk in one.quirks)


def test_rounds_as_json(capsys):
    documents = json.loads(run(capsys, "rounds", "--json")[1])
    assert documents == [dict(r.document) for r in list_rounds()]


def test_presets(capsys):
    code, out, err = run(capsys, "presets")
    assert (code, err) == (0, "")
    named = [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert named == preset_names()
    assert "preset of bdb, mitigation, r0, r1, r2, r3, r4, r11" in out
    assert "settings: as published" in out
    documents = {one["name"]: one for one in json.loads(run(capsys, "presets", "--json")[1])}
    assert documents["text-spans"]["rounds"] == ["qa23", "r8", "r9"]
    assert documents["authors-cifar"]["source"]["file"] == "seam.py"
    verbose = run(capsys, "presets", "--verbose")[1]
    assert all(one["chosen"]["confirmed"] in verbose for one in documents.values() if isinstance(one["chosen"], dict))


# evaluate -------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default::FutureWarning")
def test_an_old_name_of_an_option_is_a_note_without_a_line_of_code(capsys, tmp_path):
    arguments = ["--set", "forget.draws_per_epoch=8", "--limit", "1", "--quiet", "--set", "max_epochs=1"]
    code, out, err = run(capsys, "evaluate", trained_round(), "--out", tmp_path / "run", *arguments)
    assert (code, out) == (0, "")
    assert err == (
        "trojai-seam: note: option forget.draws_per_epoch is now called forget.examples_per_epoch; the old name goes "
        "with the next release\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--round", "cyber-pdf-dec2021"], "did you mean cyber-pdf-dec2022"),
        (["--preset", "author-trojai"], "did you mean authors-trojai"),
        (["--set", "forget.learning_rte=1"], "forget.learning_rte: no such option"),
        (["--set", "forget.learning_rate=fast"], "forget.learning_rate: 'fast' should be a valid number"),
        (["--set", "forget.learning_rate=nan"], "forget.learning_rate"),
        (
            ["--set", "batch_size=0", "--set", "trainable=tail"],
            "batch_size: '0' should be greater than or equal to 1; trainable: 'tail' should be 'all', 'head'",
        ),
        (["--set", "batch_size"], "expected name=value"),
        (["--set", "=3"], "expected name=value"),
        (["--set", "forget=3"], "is a phase"),
        (["--round-set", "colour=blue"], "colour"),
        (["--round-set", "examples.features=0", "--round-set", "attack.target_label=x"], "attack.target_label"),
        (["--budget", "opcodes=none"], "opcodes"),
        (["--budget", "patience=1"], "patience"),
        (["--scale-params", "/nowhere/scale.npy"], "/nowhere/scale.npy: no such file"),
        (["--networks", "/nowhere/mine.py"], "/nowhere/mine.py"),
        (["--protocol", "cv"], "held-out, kfold, paper"),
        (["--executor", "rya"], "executor"),
        (["--device", "tpu"], "expected auto, cpu, cuda, cuda:N or cuda:N,M"),
        (["--shard", "5/4"], "--shard 5/4"),
        (["--ids", "id-1,id-00000000"], "id-1 not in the dataset"),
        (["--limit", "0"], "--limit 0"),
        (["--threads", "0"], "--threads 0"),
        (["--seed", "99999999999999999999"], "--seed"),
        (["--retry", "everything"], "all, failed, timeout"),
    ],
    ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else "",
)
def test_a_mistake_in_the_options_is_one_line(capsys, tmp_path, arguments, words):
    line = refused(capsys, "evaluate", trained_round(), "--out", tmp_path / "run", *arguments)
    assert words in line
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_none_is_one_line(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    none = "no such folder"
    mistakes = {"absent": none, "file": "is a file", "empty": "holds no model directory", "x" * 300: none}
    mistakes |= {"x" * 5000: "xxx", "\x1b[31m\n": none, "file/x": none}
    for name, words in mistakes.items():
        assert words in refused(capsys, "evaluate", tmp_path / name, "--out", tmp_path / "run")


def test_a_round_that_cannot_be_told_asks_for_it(capsys, tmp_path):
    write_model(tmp_path / "set" / "id-00000001")
    (tmp_path / "set" / "id-00000001" / "config.json").write_text("{}")
    assert "say which with --round" in refused(capsys, "evaluate", tmp_path / "set", "--out", tmp_path / "run")


def test_evaluate_prints_the_table_and_writes_it(capsys, tmp_path):
    code, out, err = run(
        capsys, "evaluate", trained_round(), "--out", tmp_path / "run", "--set", "recover.max_epochs=5"
    )
    assert code == 0
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    assert list(results["model_id"]) == [f"id-{n:08}" for n in range(4)]
    assert set(results["round"]) == {"cyber-pdf-dec2022"}
    assert list(results["changed_options"]) == ["recover.max_epochs=5"] * 4
    assert (results["acc_before"] == 1).all()
    assert (results.loc[results["poisoned"], "asr_before"] == 1).all()
    for row in results.itertuples():
        assert f"{row.model_id}  {row.architecture}" in out
    assert out.endswith(f"written to {tmp_path / 'run' / 'results.csv'} and beside it\n")
    assert err.splitlines()[0] == "0/4 models, 0 failed"
    told = [line for line in err.splitlines() if not line.startswith("trojai-seam evaluate: ")]  # on a busy machine
    assert told[-1].startswith("4/4 models, 0 failed, mean fidelity ")
    code, again, _ = run(capsys, "tables", tmp_path / "run")
    assert code == 0
    assert out.startswith(again.rstrip("\n"))


def test_a_run_needs_a_run_directory(capsys):
    assert "evaluate needs --out RUN" in refused(capsys, "evaluate", "x")


def test_quiet_is_silent_and_failures_are_exit_1(capsys, tmp_path):
    dataset = write_round(tmp_path / "round", 2)
    arguments = ["evaluate", dataset, "--out", tmp_path / "run", "--quiet", "--preset", "no-op", "--round", "r12"]
    assert run(capsys, *arguments) == (0, "", "")
    assert run(capsys, *arguments) == (0, "", "")  # its records are there already
    (dataset / "models" / "id-00000001" / "model.pt").write_bytes(b"")
    assert run(capsys, *arguments) == (1, "", "")  # the record is of another model.pt
    assert run(capsys, *arguments, "--retry", "all") == (1, "", "")
    assert run(capsys, *arguments) == (1, "", "")  # still a failed row


def test_scale_parameters_from_elsewhere(capsys, tmp_path):
    dataset = trained_copy(tmp_path / "round", 2)
    (dataset / "scale_params.npy").rename(tmp_path / "elsewhere.npy")
    arguments = ["evaluate", dataset, "--preset", "no-op", "--quiet"]
    assert "--scale-params" in refused(capsys, *arguments, "--out", tmp_path / "a")
    assert run(capsys, *arguments, "--out", tmp_path / "b", "--scale-params", tmp_path / "elsewhere.npy")[0] == 0
    assert (pd.read_csv(tmp_path / "b" / "results.csv")["acc_before_all"] == 1).all()


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_text("")])
def test_tables_of_no_run(capsys, tmp_path, make):
    make(tmp_path / "run")
    assert "is not a run directory" in refused(capsys, "tables", tmp_path / "run")


# inspect --------------------------------------------------------------------------------------------------------------


def test_inspect_a_model_directory(capsys, model):
    code, out, err = run(capsys, "inspect", model)
    assert (code, err) == (0, "")
    assert "id-00000001, poisoned, round cyber-pdf-dec2022" in out
    assert "Net2, 2 classes, input 135" in out
    assert "13,802" in out  # 135·100 + 100 + 100·2 + 2
    assert "archs.Net2" in out
    assert "fc1.weight" not in out
    assert "fc1.weight  float32  100x135" in run(capsys, "inspect", model, "--tensors")[1]


def test_inspect_as_json(capsys, model):
    for path in (model, model / "model.pt"):
        findings = json.loads(run(capsys, "inspect", path, "--json")[1], parse_constant=pytest.fail)
        assert findings["network"]["architecture"] == "Net2"
        assert findings["model_directory"]["poisoned"] is True
        assert findings["parameters"] == 13802
        assert not findings["tensors"]
    findings = json.loads(run(capsys, "inspect", model, "--json", "--tensors")[1])
    assert {t["name"]: t["shape"] for t in findings["tensors"]}["fc2.weight"] == [2, 100]


def test_inspect_a_state_dict_and_a_file_that_is_no_network(capsys, tmp_path):
    torch.save({"a": torch.full((2, 3), float("nan"), dtype=torch.bfloat16)}, tmp_path / "state.pt")
    torch.save([1.5, float("nan"), {"x": float("inf")}], tmp_path / "other.pt")
    _, out, _ = run(capsys, "inspect", tmp_path / "state.pt", "--tensors")
    assert "a state dict" in out
    assert "a  bfloat16  2x3" in out
    assert "cannot be rebuilt" in out
    for name in ("state.pt", "other.pt"):
        json.loads(run(capsys, "inspect", tmp_path / name, "--json", "--tensors")[1], parse_constant=pytest.fail)


def test_inspect_takes_nan_in_a_module_as_json(capsys, tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.LayerNorm(3, eps=float("nan"))), tmp_path / "x.pt")
    json.loads(run(capsys, "inspect", tmp_path / "x.pt", "--json")[1], parse_constant=pytest.fail)


def test_inspect_hostile_files(capsys, shared, era_model):
    for folder in sorted((shared / "hostile-models").iterdir()):
        if not folder.is_dir():
            continue
        unpacked = era_model(folder.name, "hostile-models")
        code, out, err = run(capsys, "inspect", unpacked)
        assert code in (0, 2), folder.name
        assert "Traceback" not in err
        if code == 2:
            assert out == ""
            assert err.count("\n") == 1
            assert err.removesuffix("\n").isprintable()
        if json.loads((folder / "expected.json").read_text())["expect"] == "loads":
            assert code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello", ""),
        (b"\x80\x02cos\nsystem\nX\x0f\x00\x00\x00touch /tmp/neverq\x01\x85R.", ""),
        (b"PK\x03\x04" + b"\0" * 100, ""),
        (b"\x80\x05." * 3, ""),
    ],
)
def test_inspect_what_is_no_model(capsys, tmp_path, content, words):
    (tmp_path / "x\n\x1b[31m.pt").write_bytes(content)
    assert words in refused(capsys, "inspect", tmp_path / "x\n\x1b[31m.pt")


def test_inspect_nothing(capsys, tmp_path):
    refused(capsys, "inspect", tmp_path / "absent.pt")
    refused(capsys, "inspect", tmp_path)
    refused(capsys, "inspect", "x" * 5000)
    refused(capsys, "inspect", tmp_path / "model.pt")


def test_inspect_does_not_fall_over_the_files_beside(capsys, tmp_path, model):
    folder = trained_copy(tmp_path / "round", 2) / "models" / "id-00000001"
    (folder / "ground_truth.csv").write_text("who knows")
    code, out, _ = run(capsys, "inspect", folder)
    assert code == 0
    assert "not said whether poisoned" in out
    (folder / "config.json").write_text("{")
    assert "config.json: is not valid JSON" in refused(capsys, "inspect", folder)


# unlearn --------------------------------------------------------------------------------------------------------------

STAND_ALONE = """
import sys, torch
path, inputs, kind = sys.argv[1:]
x, expected = torch.load(inputs, weights_only=True)
if kind == "module":
    model = torch.load(path, weights_only=False)
else:
    state = torch.load(path, weights_only=True)
    layers = []
    for k in range(1, len(state) // 2 + 1):
        layers += [torch.nn.Linear(*reversed(state[f"fc{k}.weight"].shape)), torch.nn.Tanh()]
        layers[-2].load_state_dict({p: state[f"fc{k}.{p}"] for p in ("weight", "bias")})
    model = torch.nn.Sequential(*layers[:-1])
assert not model.training or kind != "module"
torch.testing.assert_close(model.eval()(x), expected, rtol=1e-6, atol=1e-6)  # other threads sum in another order
assert not any(name.split(".")[0] in ("trojai_seam", "archs") for name in sys.modules)
print("the same")
"""


@pytest.mark.parametrize("kind", ["state-dict", "module"])
def test_what_unlearn_writes_opens_without_us(capsys, tmp_path, model, kind):
    from trojai_seam import load_model

    out = tmp_path / "mitigated.pt"
    code, text, err = run(capsys, "unlearn", model, "--out", out, "--format", kind, "--device", "cpu", "--seed", 1)
    assert (code, err) == (0, "")
    assert "attack success on 10 poisoned: 1.000 -> " in text
    assert text.endswith(f"{kind} written to {out}\n")
    original = load_model(model)
    x = torch.randn(9, 135)
    if kind == "module":
        assert torch.load(out, weights_only=False).state_dict().keys() == original.state_dict().keys()
        unlearned = torch.load(out, weights_only=False)
    else:
        state = torch.load(out, weights_only=True)
        assert state.keys() == original.state_dict().keys()
        unlearned = load_model(model)
        unlearned.load_state_dict(state, strict=True)
    assert not torch.equal(original(x), unlearned(x))
    torch.save((x, unlearned(x).detach()), tmp_path / "expected.pt")
    script = tmp_path / "alone.py"
    script.write_text(STAND_ALONE)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = fresh("-I", "-S", "-c", _without_us(script, out, tmp_path / "expected.pt", kind), cwd=tmp_path, env=clean)
    assert (done.returncode, done.stdout) == (0, "the same\n"), done.stderr


def _without_us(script: Path, *arguments: object) -> str:
    """Python text that runs ``script`` where torch can be imported and trojai_seam cannot."""
    return "\n".join(
        (
            "import sys",
            f"sys.path.append({str(Path(torch.__file__).parents[1])!r})",
            "class Absent:",
            "    def find_spec(name, path=None, target=None):",
            "        if name.split('.')[0] in ('trojai_seam', 'archs'):",
            "            raise ImportError(name)",
            "sys.meta_path.insert(0, Absent)",
            f"sys.argv = {['alone', *map(str, arguments)]!r}",
            f"exec(open({str(script)!r}).read())",
        )
    )


def test_unlearn_twice_is_the_same_and_another_seed_is_not(capsys, tmp_path, model):
    states = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        arguments = ["--set", "recover.max_epochs=3", "--seed", seed, "--device", "cpu"]
        assert run(capsys, "unlearn", model, "--out", tmp_path / name, *arguments)[0] == 0
        states.append(torch.load(tmp_path / name, weights_only=True))
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    assert not all(torch.equal(states[0][k], states[2][k]) for k in states[0])


@pytest.mark.parametrize("out", ["absent/x.pt", "file/x.pt", "folder", "x" * 300])
def test_unlearn_into_a_place_that_cannot_be_written(capsys, tmp_path, model, out):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    line = refused(capsys, "unlearn", model, "--out", tmp_path / out, "--preset", "no-op")
    assert "cannot be written" in line
    assert (tmp_path / "file").read_text() == "mine"
    assert list((tmp_path / "folder").iterdir()) == []


def test_unlearn_what_is_no_model(capsys, tmp_path, model):
    out = ["--out", tmp_path / "x.pt"]
    assert "no such model directory" in refused(capsys, "unlearn", tmp_path / "absent", *out)
    folder = trained_copy(tmp_path / "round", 1) / "models" / "id-00000000"
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[:-100])
    refused(capsys, "unlearn", folder, *out)
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        archive.writestr("x/data.pkl", b'cbuiltins\nexec\n(S\'open("/tmp/never", "w")\'\ntR.')
    refused(capsys, "unlearn", folder, *out)
    assert not (tmp_path / "x.pt").exists()
    assert not Path("/tmp/never").exists()  # noqa: S108


# synthesize and demo --------------------------------------------------------------------------------------------------


def test_synthesize_refuses_what_it_cannot_do(capsys, tmp_path):
    (tmp_path / "mine").write_text("")
    assert "not empty" in refused(capsys, "synthesize", "r12", "--models", 1, "--out", tmp_path)
    assert "--models 0" in refused(capsys, "synthesize", "r12", "--models", 0, "--out", tmp_path / "x")
    assert "cyber-pdf-dec2022" in refused(
        capsys, "synthesize", "cyber-apk-nov2023", "--models", 1, "--out", tmp_path / "x"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_demo(capsys, tmp_path):
    code, out, _ = run(capsys, "demo", "--models", 2, "--out", tmp_path / "demo", "--quiet")
    assert code == 0
    assert out.count("id-00000001") == 1
    for preset in ("default", "authors-trojai", "finetune", "no-op"):
        results = pd.read_csv(tmp_path / "demo" / f"run-2-models-seed-0-{preset}" / "results.csv")
        assert list(results["status"]) == ["done", "done"]
        assert set(results["preset"]) == {preset}
        assert f"preset {preset}" in out
    records = sorted((tmp_path / "demo").rglob("*.h5"))
    before = [path.stat().st_mtime_ns for path in records]
    assert len(records) == 8
    code, again, _ = run(capsys, "demo", "--models", 2, "--out", tmp_path / "demo", "--quiet")
    assert [path.stat().st_mtime_ns for path in records] == before
    assert "making" not in again
    assert again.splitlines()[-8:] == out.splitlines()[-8:]


def test_demo_where_nothing_can_be_made(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    code, _, err = run(capsys, "demo", "--models", 1, "--out", tmp_path / "file")
    assert code == 2
    assert err.count("\n") == 1
    code, _, err = run(capsys, "demo", "--models", 0, "--out", tmp_path / "x")
    assert (code, err) == (2, "trojai-seam: error: --models 0: expected 1 to 100000\n")


# as a program ---------------------------------------------------------------------------------------------------------


def test_as_a_program_with_a_terminal_that_knows_only_ascii(tmp_path):
    write_model(tmp_path / "set" / "naïve ☃")
    write_round(tmp_path / "other", 1)
    (tmp_path / "set" / "scale_params.npy").write_bytes((tmp_path / "other" / "scale_params.npy").read_bytes())
    arguments = ["evaluate", tmp_path / "set", "--round", "r12", "--preset", "no-op", "--out", tmp_path / "ü"]
    done = fresh("-m", "trojai_seam.cli", *arguments, cwd=ROOT, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "na\\xefve \\u2603" in done.stdout
    assert "written to" in done.stdout


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} -m trojai_seam.cli rounds --json | head -c 1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.stdout == "["
    assert "Traceback" not in done.stderr
