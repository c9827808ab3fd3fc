"""The conformance list of the container reference, section 7: each item by its number."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import made_images
from tests.container.conftest import hidden, without_sidecars, write_values
from tests.container.schema_rules import draw, issues
from tests.made_rounds import trained_round
from trojai_seam.container.arguments import parse_detection, parse_mitigation
from trojai_seam.container.dynamics import FEATURES, dynamics, dynamics_config
from trojai_seam.container.metaparameters import KINDS, names_of, packaged, read_metaparameters
from trojai_seam.container.mitigate import mitigation_config
from trojai_seam.container.subjects import given_model, open_given, with_examples
from trojai_seam.rounds import get_round
from trojai_seam.tables.nist import Submission, metrics_csv
from trojai_seam.unlearning import preset_names
from trojai_seam.unlearning import run as unlearn

TOP = Path(__file__).resolve().parents[2]

# Runs the container's entry point where trojai_seam comes from this checkout, as a process of its own.
PROCESS = [sys.executable, "-m", "trojai_seam.container"]


def run(*words: object, wrap: tuple[str, ...] = (), code: str | None = None, **environment: str):
    command = PROCESS if code is None else [sys.executable, "-c", code]
    return subprocess.run(
        [*wrap, *command, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def options(**named: object) -> list[str]:
    return [str(part) for name, value in named.items() for part in (f"--{name}", value)]


@pytest.fixture(scope="module")
def learned(tmp_path_factory) -> Path:
    """A calibration that knows the PDF round and answers with the share of stamped examples; no training needed."""
    folder = tmp_path_factory.mktemp("learned")
    document = {
        "format": 1,
        "round": "cyber-pdf-dec2022",
        "features": list(FEATURES),
        "mean": [0.0] * len(FEATURES),
        "scale": [1.0] * len(FEATURES),
        "weights": [1.0 if name == "stamped_share" else 0.0 for name in FEATURES],
        "intercept": -0.2,
        "settings": {},
        "measured": {},
    }
    (folder / "seam_detector.json").write_text(json.dumps(document))
    shutil.copy(trained_round() / "scale_params.npy", folder)
    return folder


# 1 -------------------------------------------------------------------------------------------------------------------


def test_1_infer_with_and_without_the_word_gives_the_same_file(active, container, learned, tmp_path):
    results = []
    for number, words in enumerate(([], ["infer"])):
        results.append(tmp_path / f"result-{number}.txt")
        assert (
            container(
                *words,
                model_filepath=active / "model.pt",
                result_filepath=results[-1],
                scratch_dirpath=tmp_path / "scratch",
                examples_dirpath=active / "clean-example-data",
                learned_parameters_dirpath=learned,
                infer_probes=50,
                infer_recover_epochs=4,
            )
            == 0
        )
    first, second = (path.read_text() for path in results)
    assert first == second
    assert len(first.splitlines()) == 1
    assert 0.01 <= float(first) <= 0.99
    assert float(first) != 0.5  # it was computed: 0.5 is what every failure leaves


def test_1_unknown_options_are_warned_about(active, container, tmp_path, capsys):
    status = container(
        "--brand_new_flag",
        model_filepath=active / "model.pt",
        result_filepath=tmp_path / "r.txt",
        scratch_dirpath=tmp_path / "scratch",
        learned_parameters_dirpath=tmp_path,
        from_the_future=7,
    )
    assert status == 0
    assert "ignored, not known here: --brand_new_flag --from_the_future 7" in capsys.readouterr().err
    assert (tmp_path / "r.txt").read_text() == "0.500000\n"


# 2 -------------------------------------------------------------------------------------------------------------------

# What the server appends, in its order (usnistgov/trojai-test-harness, vm_scripts and leaderboards/tasks.py).
DETECTION_LINE = [
    "--model_filepath", "/a/model.pt", "--result_filepath", "/a/result.txt",
    "--scratch_dirpath", "/s/container-scratch", "--examples_dirpath", "/a/clean-example-data",
    "--metaparameters_filepath", "/metaparameters.json", "--schema_filepath", "/metaparameters_schema.json",
    "--learned_parameters_dirpath", "/learned_parameters", "--tokenizer_filepath", "/t/google-electra.pt",
    "--round_training_dataset_dirpath", "/train", "--source_dataset_dirpath", "/source",
]  # fmt: skip
MITIGATE_LINE = [
    "--metaparameters_filepath", "/metaparameters.json", "--schema_filepath", "/metaparameters_schema.json",
    "--model_filepath", "/a/model.pt", "--dataset", "/a/mitigate-example-data", "--output_dirpath", "/a/output",
    "--model_output_name", "mitigated.pt", "--scratch_dirpath", "/s", "--round_training_dataset_dirpath", "/train",
]  # fmt: skip
TEST_LINE = [
    "--metaparameters_filepath", "/metaparameters.json", "--schema_filepath", "/metaparameters_schema.json",
    "--model_filepath", "/a/output/mitigated.pt", "--dataset", "/a/test-example-data",
    "--output_dirpath", "/a/output", "--scratch_dirpath", "/s",
]  # fmt: skip
FLAT_LINES = {
    "R1-R4": ["--model_filepath", "/m.pt", "--result_filepath", "/o", "--scratch_dirpath", "/s",
              "--examples_dirpath", "/e"],
    "R5-R6": ["--model_filepath", "/m.pt", "--cls_token_is_first", "--tokenizer_filepath", "/t.pt",
              "--embedding_filepath", "/em.pt", "--result_filepath", "/o", "--scratch_dirpath", "/s",
              "--examples_dirpath", "/e"],
    "R7-R8": ["--model_filepath", "/m.pt", "--tokenizer_filepath", "/t.pt", "--result_filepath", "/o",
              "--scratch_dirpath", "/s", "--examples_dirpath", "/e"],
    "R9-R11": ["--model_filepath", "/m.pt", "--result_filepath", "/o", "--scratch_dirpath", "/s",
               "--examples_dirpath", "/e", "--round_training_dataset_dirpath", "/tr", "--source_dataset_dirpath", "/so",
               "--metaparameters_filepath", "/mp.json", "--schema_filepath", "/sc.json",
               "--learned_parameters_dirpath", "/l", "--features_filepath", "/f.csv", "--infer_probes", "300"],
    "R9-R11 configure": ["--configure_mode", "--configure_models_dirpath", "/c", "--scratch_dirpath", "/s",
                         "--metaparameters_filepath", "/mp.json", "--schema_filepath", "/sc.json",
                         "--learned_parameters_dirpath", "/l"],
    "EX-pdf": ["--scale_parameters_filepath", "/scale.npy", *DETECTION_LINE],
}  # fmt: skip


@pytest.mark.parametrize("line", [DETECTION_LINE, *FLAT_LINES.values()], ids=["server", *FLAT_LINES])
def test_2_detection_lines_parse(line):
    given, unknown = parse_detection(line, names_of("detection"), configure=False)
    assert unknown == []
    for name, value in pairwise(line):
        if name.startswith("--") and not value.startswith("--") and not name.startswith("--infer_"):
            assert str(getattr(given, name[2:])) == value
    assert given.configure_mode == ("--configure_mode" in line)


@pytest.mark.parametrize("dataset", ["--dataset", "--dataset_dirpath"])
@pytest.mark.parametrize(("line", "test"), [(MITIGATE_LINE, False), (TEST_LINE, True)], ids=["mitigate", "test"])
def test_2_mitigation_lines_parse(line, test, dataset):
    words = [dataset if word == "--dataset" else word for word in line]
    words += ["--batch_size", "16", "--device", "cuda", "--num_workers", "2"]
    given, unknown = parse_mitigation(words, names_of("mitigation"), test)
    assert unknown == []
    assert given.dataset_dirpath == Path(line[line.index("--dataset") + 1])
    assert (given.output_dirpath, given.batch_size, given.device) == (Path("/a/output"), 16, "cuda")


def test_2_no_other_option_begins_with_dataset():
    # The template's parser completes --dataset; a second option that begins so would make it ambiguous there and here.
    import trojai_seam.container.arguments as module

    text = Path(module.__file__).read_text()
    assert text.count('"--dataset') == 2


# 3, 4 ----------------------------------------------------------------------------------------------------------------

OPENS_ANYWHERE = """
import sys, torch
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "trojai_seam":
            raise ImportError("trojai_seam is not here")
sys.meta_path.insert(0, Refused())
model = torch.load(sys.argv[1], weights_only=False)
model.eval()
answers = model(torch.zeros(2, *map(int, sys.argv[2:])))
print(sorted({type(m).__module__.split(".")[0] for m in model.modules()}), answers.shape)
"""


def mitigate_and_test(model: Path, clean: Path, test: Path, output: Path, *more: str):
    """As the server does: two processes, the mitigated file handed from one to the other."""
    shared = options(output_dirpath=output, scratch_dirpath=output.parent / "scratch")
    mitigated = run("mitigate", *options(model_filepath=model, dataset=clean), *shared, *more)
    assert mitigated.returncode == 0, mitigated.stderr
    tested = run("test", *options(model_filepath=output / "mitigated.pt", dataset=test), *shared, *more)
    assert tested.returncode == 0, tested.stderr
    return json.loads((output / "results.json").read_text())


@pytest.mark.slow
def test_3_and_4_mitigate_then_test_in_two_processes_on_the_real_pdf_model(shared, tmp_path):
    source = shared / "trojai-examples" / "cyber-pdf-dec2022"
    model = source / "models" / "id-00000002"
    active = tmp_path / "active"
    active.mkdir()
    shutil.copy(model / "model.pt", active)
    shutil.copy(model / "reduced-config.json", active / "config.json")
    poisoned = without_sidecars(model / "poisoned-example-data", tmp_path / "test-example-data")
    results = mitigate_and_test(
        active / "model.pt",
        model / "clean-example-data",
        poisoned,
        active / "output",
        *options(scale_parameters_filepath=source / "scale_params.npy"),
    )
    assert list(results) == sorted(path.name for path in poisoned.iterdir())
    assert all(len(row) == 2 and all(math.isfinite(value) for value in row) for row in results.values())
    fooled = sum(row[0] > row[1] for row in results.values())
    assert fooled <= 1  # all ten before: the trojan is gone
    opened = run(active / "output" / "mitigated.pt", 135, code=OPENS_ANYWHERE)
    assert opened.stdout.strip() == "['torch'] torch.Size([2, 2])", opened.stderr


def test_3_the_order_of_files_does_not_matter(active, container, scale, tmp_path):
    vectors = trained_round() / "models" / "id-00000001" / "clean-example-data"
    answers = []
    for number, order in enumerate((sorted, lambda paths: sorted(paths, reverse=True))):
        folder = tmp_path / f"set-{number}"
        folder.mkdir()
        for path in order(vectors.glob("*.npy")):
            shutil.copy(path, folder)
        out = tmp_path / f"out-{number}"
        assert container(
            "test", model_filepath=active / "model.pt", dataset=folder, output_dirpath=out,
            scratch_dirpath=tmp_path / "scratch", scale_parameters_filepath=scale, batch_size=3 + number,
        ) == 0  # fmt: skip
        answers.append(json.loads((out / "results.json").read_text()))
    assert list(answers[0]) == list(answers[1]) == sorted(path.name for path in vectors.glob("*.npy"))
    for name, row in answers[0].items():
        assert row == pytest.approx(answers[1][name], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r11-resnet50"])
def test_3_and_4_one_unlabelled_image_and_a_period_model(name, era_model, shared, tmp_path):
    active = tmp_path / "active"
    active.mkdir()
    shutil.copy(era_model(name) / "model.pt", active)
    golden = json.loads((shared / "era-models" / name / "golden.json").read_text())
    # The architecture is real, its weights are not: small images and one short epoch are enough to see the way through.
    config = {**made_images.R11, "img_size_pixels": 64, "number_classes": golden["num_classes"]}
    (active / "config.json").write_text(json.dumps(config))
    clean, test = active / "mitigate-example-data", active / "test-example-data"
    for folder, count in ((clean, 1), (test, 3)):
        folder.mkdir()
        for number in range(count):
            Image.fromarray(made_images.picture(number, 64)).save(folder / f"{305 + number}.png")
    (test / "notes.txt").write_text("not an image")
    results = mitigate_and_test(
        active / "model.pt", clean, test, active / "output",
        *options(forget_epochs_factor=0.01, recover_epochs_factor=0.01, least_kept_accuracy=0),
        "--device", "cpu",
    )  # fmt: skip
    assert list(results) == ["305.png", "306.png", "307.png"]
    assert {len(row) for row in results.values()} == {golden["num_classes"]}
    opened = run(active / "output" / "mitigated.pt", 3, 64, 64, code=OPENS_ANYWHERE)
    assert opened.stdout.strip() == f"['torch', 'torchvision'] torch.Size([2, {golden['num_classes']}])", opened.stderr


# 5 -------------------------------------------------------------------------------------------------------------------


def broken(active: Path, what: str) -> None:
    if what == "no examples":
        shutil.rmtree(active / "clean-example-data")
    elif what == "no model":
        (active / "model.pt").unlink()
    elif what == "unreadable model":
        (active / "model.pt").write_bytes((active / "model.pt").read_bytes()[:999])
    elif what == "no config":
        (active / "config.json").unlink()
    elif what == "broken example":
        (active / "clean-example-data" / "0000.npy").write_bytes(b"nothing")


WAYS = ["no examples", "no model", "unreadable model", "broken example"]


@pytest.mark.parametrize("what", [*WAYS, "broken calibration", "broken metaparameters"])
def test_5_infer_answers_whatever_is_missing(what, active, container, learned, tmp_path, capsys):
    broken(active, what)
    values = write_values(tmp_path / "values.json", infer_probes=50)
    if what == "broken calibration":
        learned = tmp_path / "learned"
        learned.mkdir()
        (learned / "seam_detector.json").write_text('{"format": 1}')
    if what == "broken metaparameters":
        values.write_text("{")
        shutil.rmtree(active / "clean-example-data")  # quick
    result = tmp_path / "deep" / "er" / "result.txt"
    status = container(
        model_filepath=active / "model.pt", result_filepath=result, scratch_dirpath=tmp_path / "scratch",
        examples_dirpath=active / "clean-example-data", metaparameters_filepath=values,
        schema_filepath=tmp_path / "none.json", learned_parameters_dirpath=learned,
    )  # fmt: skip
    assert status == 0
    assert result.read_text() == "0.500000\n"
    assert list(result.parent.iterdir()) == [result]
    said = capsys.readouterr().err
    assert "answering 0.5" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("what", WAYS)
def test_5_mitigate_leaves_nothing_half_written(what, active, container, scale, tmp_path, capsys):
    clean = active / "clean-example-data"
    broken(active, what)
    output = tmp_path / "output"
    output.mkdir()
    (output / "mitigated.pt").write_bytes(b"of the model before")
    status = container(
        "mitigate", model_filepath=active / "model.pt", dataset=clean, output_dirpath=output,
        scratch_dirpath=tmp_path / "scratch", scale_parameters_filepath=scale,
    )  # fmt: skip
    assert status in (1, 2)
    assert list(output.iterdir()) == []
    said = capsys.readouterr().err
    assert "no mitigated.pt was written, so the original stands" in said
    assert "Traceback" not in said


def test_5_hostile_files_get_half_and_no_mitigation(active, container, learned, shared, era_model, tmp_path, capsys):
    for name in sorted(path.name for path in (shared / "hostile-models").iterdir() if path.is_dir()):
        model = era_model(name, "hostile-models") / "model.pt"
        result, output = tmp_path / f"{name}.txt", tmp_path / f"{name}-output"
        assert container(
            model_filepath=model, result_filepath=result, scratch_dirpath=tmp_path / "scratch",
            examples_dirpath=active / "clean-example-data", learned_parameters_dirpath=learned,
        ) == 0  # fmt: skip
        assert result.read_text() == "0.500000\n"
        assert container(
            "mitigate", model_filepath=model, dataset=active / "clean-example-data", output_dirpath=output,
            scratch_dirpath=tmp_path / "scratch", round="cyber-pdf-dec2022",
        ) != 0  # fmt: skip
        assert list(output.iterdir()) == []
    assert "Traceback" not in capsys.readouterr().err


def test_5_a_full_disk_leaves_no_partial_file(active, container, scale, tmp_path, monkeypatch):
    from trojai_seam.batch import files

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    output = tmp_path / "output"
    status = container(
        "mitigate", model_filepath=active / "model.pt", dataset=active / "clean-example-data", output_dirpath=output,
        scratch_dirpath=tmp_path / "scratch", scale_parameters_filepath=scale,
        forget_epochs_factor=0.05, recover_epochs_factor=0.05, least_kept_accuracy=0,
    )  # fmt: skip
    assert status == 1
    assert list(output.iterdir()) == []


def test_5_home_and_tmp_cannot_be_written(active, learned, tmp_path):
    """Not root's privilege: neither exists, and scratch is a file."""
    (tmp_path / "scratch").write_text("a file")
    gone = str(tmp_path / "gone")
    done = run(
        *options(
            model_filepath=active / "model.pt",
            result_filepath=tmp_path / "r.txt",
            scratch_dirpath=tmp_path / "scratch",
            examples_dirpath=active / "clean-example-data",
            learned_parameters_dirpath=learned,
            infer_probes=50,
            infer_recover_epochs=2,
        ),
        HOME=gone,
        TMPDIR=gone,
    )
    assert done.returncode == 0, done.stderr
    assert "is not writable; caches go to the system's temporary folder" in done.stderr
    assert 0.01 <= float((tmp_path / "r.txt").read_text()) <= 0.99


def test_5_language_models_are_refused_in_one_line(container, tmp_path, capsys):
    assert container("mitigate", "-j", tmp_path / "m.json", "-s", tmp_path / "s.json", model=tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "language models are not supported" in line


# 6 -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_6_packaged_files_pass_the_servers_rules(kind):
    schema, values = packaged(kind, "metaparameters_schema"), packaged(kind, "metaparameters")
    assert issues(schema, values) == []
    assert read_metaparameters(kind, None, {}) == values
    preset = next(name for name in values if name.endswith("preset"))
    assert set(schema["properties"][preset]["enum"]) - {"auto"} <= set(preset_names())
    for name, one in schema["properties"].items():
        if "minimum" in one:
            assert one["minimum"] <= one["suggested_minimum"] <= values[name] <= one["suggested_maximum"]
            assert one["suggested_maximum"] <= one["maximum"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"type": "number"}, "without bounds"),
        ({"type": "string"}, "without an enum"),
        ({"type": "array", "items": {"type": "number"}}, "not flat"),
        ({"type": "object", "properties": {}}, "not flat"),
    ],
)
def test_6_the_local_copy_of_the_rules_can_refuse(change, complaint):
    schema, values = dict(packaged("detection", "metaparameters_schema")), packaged("detection", "metaparameters")
    schema["properties"] = {**schema["properties"], "infer_clip": {"description": "x", **change}}
    assert any(complaint in issue for issue in issues(schema, values))
    assert issues({**schema, "commit_id": ""}, values)
    assert issues(packaged("detection", "metaparameters_schema"), {**values, "infer_clip": 0.9})
    assert issues(packaged("detection", "metaparameters_schema"), {**values, "more": 1})


@pytest.fixture(scope="module")
def subjects(tmp_path_factory):
    """A feature-vector model with twelve examples, and an image model with a single one, which has BatchNorm."""
    work = tmp_path_factory.mktemp("subjects")
    vectors = hidden(trained_round() / "models" / "id-00000001", work / "pdf")
    pdf = with_examples(
        get_round("cyber-pdf-dec2022"), vectors / "clean-example-data", trained_round() / "scale_params.npy"
    )
    image = made_images.write_model(work / "image", made_images.R11 | {"img_size_pixels": 32})
    made_images.write_sidecars(image / "mitigate-example-data", [{"clean_label": 1, "poisoned_label": None}])
    signs = with_examples(get_round("mitigation"), image / "mitigate-example-data", None)
    return [
        (open_given(given_model(vectors / "model.pt", None, None), pdf, "cpu")[0], get_round("cyber-pdf-dec2022")),
        (open_given(given_model(image / "model.pt", None, None), signs, "cpu")[0], get_round("mitigation")),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_6_two_hundred_draws_validate_and_start_the_engine(kind, subjects, tmp_path):
    schema, rng = packaged(kind, "metaparameters_schema"), np.random.default_rng(7)
    for number in range(200):
        drawn = draw(schema, rng)
        assert issues(schema, drawn) == []
        values = read_metaparameters(kind, write_values(tmp_path / "values.json", **drawn), {})
        assert values == drawn
        images_only = drawn.get("preset") == "images-one-example"  # the mitigation round has nothing else
        subject, round_config = subjects[1 if images_only or (number < 40 and number % 2) else 0]
        preset = round_config.preset_for(len(subject.clean))
        if kind == "mitigation":
            config = mitigation_config(preset, values, len(subject.clean), None, 60.0)
        else:
            config = dynamics_config(preset, values, 60.0)
        config = config.with_options({"max_steps": "1"})
        if config.preset == "images-one-example":
            config = config.with_options({"label.count": "16"})
        if kind == "mitigation":
            outcome = unlearn(subject.model, subject.task, subject.clean, config, 0)
            assert sum(phase.steps for phase in outcome.phases) >= 1
        elif number < 40:
            assert all(math.isfinite(v) for v in dynamics(subject, config, {**values, "infer_probes": 10}).values())
        else:
            unlearn(subject.model, subject.task, subject.clean, config, 0)


# 7 -------------------------------------------------------------------------------------------------------------------

WATCHED = """
import os, sys
seen = []
def hook(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        seen.append(event)
    if event == "import" and arguments[0] == "torch" and not seen.count("torch"):
        seen.append("torch")
        scratch = os.path.abspath(os.environ["SCRATCH"])
        caches = ["TMPDIR", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "TRITON_CACHE_DIR",
                  "TORCHINDUCTOR_CACHE_DIR", "CUDA_CACHE_PATH"]
        wrong = [name for name in caches if not os.environ.get(name, "").startswith(scratch + "/")]
        print("caches elsewhere:", wrong, "offline:", os.environ.get("HF_HUB_OFFLINE"), flush=True)
sys.addaudithook(hook)
from trojai_seam.container.entry import main
status = main(sys.argv[1:])
print("sockets:", [event for event in seen if event != "torch"], "torch:", "torch" in seen)
sys.exit(status)
"""


def lines(active: Path, learned: Path, work: Path) -> dict[str, list[str]]:
    """One line per mode, each a short run."""
    model, clean, scratch = active / "model.pt", active / "clean-example-data", work / "scratch"
    scale = learned / "scale_params.npy"
    return {
        "infer": options(model_filepath=model, result_filepath=work / "r.txt", scratch_dirpath=scratch,
                         examples_dirpath=clean, learned_parameters_dirpath=learned, infer_probes=20,
                         infer_recover_epochs=2),
        "configure": ["configure", *options(configure_models_dirpath=trained_round() / "models",
                                            scratch_dirpath=scratch, learned_parameters_dirpath=work / "l",
                                            infer_recover_epochs=2)],
        "mitigate": ["mitigate", *options(model_filepath=model, dataset=clean, output_dirpath=work / "o",
                                          scratch_dirpath=scratch, scale_parameters_filepath=scale,
                                          recover_epochs_factor=0.05, least_kept_accuracy=0)],
        "test": ["test", *options(model_filepath=model, dataset=clean, output_dirpath=work / "o",
                                  scratch_dirpath=scratch, scale_parameters_filepath=scale)],
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["infer", "configure", "mitigate", "test"])
def test_7_caches_under_scratch_before_torch_and_no_socket(mode, active, learned, tmp_path):
    line = lines(active, learned, tmp_path)[mode]
    unshare = shutil.which("unshare")
    may = unshare is not None and subprocess.run([unshare, "--net", "true"], capture_output=True).returncode == 0
    no_network = ("unshare", "--net") if may else ()  # where we may not: the audit hook still watches
    done = run(*line, wrap=no_network, code=WATCHED, SCRATCH=str(tmp_path / "scratch"))
    # configure refuses: two models of each kind are too few to learn from. It has looked at all of them by then.
    assert done.returncode == (2 if mode == "configure" else 0), done.stderr
    assert "caches elsewhere: [] offline: 1" in done.stdout
    assert "sockets: [] torch: True" in done.stdout


# 8 -------------------------------------------------------------------------------------------------------------------


def test_8_fidelity_by_hand_in_both_definitions_and_a_missing_model():
    def row(number: int, **values: object) -> dict[str, object]:
        return {"model_id": f"id-{number:08}", "round": "mitigation", "status": "done", **values}

    # One poisoned model: accuracy 0.8 -> 0.6, attack 1.0 -> 0.25; one clean model: 1.0 -> 0.5; one that has no results.
    right = (1.0 - 0.25) / 1.0 * (0.6 / 0.8)
    rows = [
        row(1, poisoned=True, acc_before=0.8, acc_after=0.6, asr_before=1.0, asr_after=0.25, nist_fidelity=right),
        row(2, poisoned=False, acc_before=1.0, acc_after=0.5, nist_fidelity=0.5),
    ]
    missing = row(3, poisoned=True, status="failed", error_kind="refused-file")
    who = Submission("team", "test", "20260101T000000", "20260101T000000")
    whole, part = (metrics_csv(who, some).set_index("metric") for some in (rows, [*rows, missing]))
    published = (0.8 - 0.25) / 0.8 * (0.6 / 1.0)  # the harness takes the two accuracies before for each other
    assert whole["value"]["Fidelity"] == pytest.approx((right + 0.5) / 2)
    assert whole["value"]["Fidelity (nist_compat)"] == pytest.approx((published + 0.5) / 2)
    for name in whole.index:
        assert part["value"][name] == pytest.approx(whole["value"][name])  # not 0, the best poisoned accuracy
        assert part["n_expected"][name] - whole["n_expected"][name] == (0 if "clean model" in name else 1)
        assert part["n_scored"][name] == whole["n_scored"][name]
