"""How the preprocessing is found out where NIST's sources disagree, and what the record then says."""

from __future__ import annotations

import numpy as np
import pytest

import trojai_seam
from tests.made_images import CLASSES, UPPER, logits_of, picture, write_model, write_named
from trojai_seam.errors import ConfigProblem
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.opening import open_directory
from trojai_seam.rounds.shipped_logits import read_logits

ANY = {"preprocessing.channel_order": "auto", "preprocessing.scaling": "auto"}
WAYS = [("rgb", "/255"), ("rgb", "min-max"), ("bgr", "/255"), ("bgr", "min-max")]
R4_FORM, R3_FORM = "r4", "r3"


def write_logits(folder, form, order, scaling, noise=0.0):
    from PIL import Image

    rng, rows = np.random.default_rng(0), []
    for path in sorted((folder / "clean_example_data").iterdir()):
        values = logits_of(np.asarray(Image.open(path)), order, scaling)
        values = values * (1 + noise * rng.uniform(-1, 1, values.shape))
        with np.printoptions(linewidth=30):
            text = str(values) if form == R3_FORM else ",".join(str(v) for v in values)
        rows.append(f"{path.name}, {text}")
    (folder / "clean-example-logits.csv").write_text("\n".join(["Example, Logits", *rows]) + "\n")


@pytest.mark.parametrize(("order", "scaling"), WAYS)
@pytest.mark.parametrize("name", ["r2", "r3"])
def test_found_out_by_the_clean_examples_alone(tmp_path, name, order, scaling):
    folder = write_model(tmp_path / "id-00000001", UPPER)
    write_named(folder / "example_data", 4, order, scaling)
    subject = open_directory(model_directory(folder), get_round(name).with_options(ANY))
    assert subject.facts["preprocessing"] == f"{order} {scaling} 32"
    evidence = subject.facts["preprocessing_evidence"]
    assert evidence.startswith(f"accuracy on {2 * CLASSES} clean examples, never held out: ")
    assert f"{order} {scaling} 1" in evidence
    assert (subject.model(subject.clean.inputs["x"]).argmax(1) == subject.clean.labels).all()


@pytest.mark.parametrize("protocol", ["held-out", "kfold"])
def test_what_measures_has_chosen_nothing(tmp_path, protocol):
    """All clean examples, held-out ones too, had a say in the preprocessing."""
    folder = write_model(tmp_path / "data" / "id-00000001", UPPER)
    for order, scaling, numbers in (("bgr", "/255", range(2)), ("rgb", "min-max", range(2, 6))):
        write_named(tmp_path / order, 6, order, scaling)
        for path in (tmp_path / order).iterdir():
            if int(path.stem.split("_")[3]) in numbers:
                path.rename(folder / path.name)
    (folder / "example_data").mkdir()
    for path in folder.glob("class_*"):
        path.rename(folder / "example_data" / path.name)
    (row,) = trojai_seam.evaluate(
        tmp_path / "data", tmp_path / "run", round="r2", preset="no-op", protocol=protocol, round_options=ANY
    ).to_dict("records")
    # Four of six images speak for min-max, but two of the three that may decide for BGR.
    assert row["preprocessing"] == "bgr /255 32"
    assert row["n_acc_before"] == {"held-out": 2, "kfold": 3}[protocol] * CLASSES
    assert row["acc_before"] < 0.5


@pytest.mark.parametrize("form", [R4_FORM, R3_FORM])
@pytest.mark.parametrize(("order", "scaling"), WAYS)
def test_shipped_logits_decide_before_accuracy_does(tmp_path, form, order, scaling):
    folder = write_model(tmp_path / "id-00000001", UPPER)
    write_named(folder / "clean_example_data", 2, "rgb", "/255")  # labels speak for another way
    write_logits(folder, form, order, scaling, noise=0.01)  # half precision
    subject = open_directory(model_directory(folder), get_round("r3"))
    assert subject.facts["preprocessing"] == f"{order} {scaling} 32"
    assert subject.facts["preprocessing_evidence"].startswith(f"error against {2 * CLASSES} shipped logits: ")


def test_logits_that_nothing_reproduces_are_said_and_accuracy_decides(tmp_path):
    folder = write_model(tmp_path / "id-00000001", UPPER)
    write_named(folder / "clean_example_data", 2, "bgr", "min-max")
    write_logits(folder, R4_FORM, "rgb", "/255", noise=2.0)
    facts = open_directory(model_directory(folder), get_round("r3")).facts
    assert facts["preprocessing"] == "bgr min-max 32"
    assert "(none fits); accuracy on 5 clean examples" in facts["preprocessing_evidence"]


def test_equals_are_settled_by_the_order_of_the_config(tmp_path):
    from PIL import Image

    for name, expected in (("r2", "rgb min-max 32"), ("r3", "rgb /255 32")):
        folder = write_model(tmp_path / name / "id-00000001", UPPER)
        (folder / "example_data").mkdir()
        image = picture(0)
        image[4, 4], image[5, 5] = 0, 255
        grey = np.repeat(image[..., :1], 3, axis=2)  # neither order nor scaling changes anything
        Image.fromarray(grey).save(folder / "example_data" / "class_0_example_0.png")
        assert open_directory(model_directory(folder), get_round(name)).facts["preprocessing"] == expected


def test_what_a_round_fixes_is_not_tried_and_auto_can_be_asked_for(tmp_path):
    folder = write_model(tmp_path / "id-00000001")
    write_named(folder / "example_data", 2, "rgb", "/255")
    size = {"preprocessing.size": "32"}
    fixed = open_directory(model_directory(folder), get_round("r1").with_options(size)).facts
    assert fixed["preprocessing"] == "bgr min-max 32"
    assert fixed.get("preprocessing_evidence") is None
    asked = open_directory(model_directory(folder), get_round("r1").with_options({**size, **ANY})).facts
    assert asked["preprocessing"] == "rgb /255 32"
    half = get_round("r1").with_options({**size, "preprocessing.scaling": "auto"})
    assert open_directory(model_directory(folder), half).facts["preprocessing"].startswith("bgr ")
    with pytest.raises(ConfigProblem, match=r"preprocessing\.scaling"):
        get_round("r1").with_options({"preprocessing.scaling": "z-score"})


# the logits file ------------------------------------------------------------------------------------------------------


def test_both_forms_and_quotes(tmp_path):
    text = (
        "Example, Logits\n"
        "class_0_example_0.png, 1.5,-2e-1,3\n"
        "class_0_example_1.png, [ 1.5  -0.2\n   3.  ]\n"
        '"class_1_example_0.PNG","[1.5, -0.2, 3]"\n'
        "some/folder/class_2_example_0.jpg, 1.5, -.2, 3.0\n"
        "class_3_example_0.png, 1.5, 2\n"
        "class_3_example_1.png, nan, 1, 2\n"
        "class_3_example_2.png, 1e999, 1, 2\n"
        "class_3_example_3.png\n"
    )
    (tmp_path / "l.csv").write_text(text)
    found = read_logits(tmp_path / "l.csv", 3)
    assert sorted(found) == [
        "class_0_example_0.png", "class_0_example_1.png", "class_1_example_0.PNG", "class_2_example_0.jpg"
    ]  # fmt: skip
    assert all(values.tolist() == pytest.approx([1.5, -0.2, 3]) for values in found.values())


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"no header", b"a.png, " + b"[" * 1000, b"\n" * 10])
def test_rubbish_holds_no_logits(tmp_path, content):
    (tmp_path / "l.csv").write_bytes(content)
    assert read_logits(tmp_path / "l.csv", 3) == {}
    assert read_logits(tmp_path / "absent.csv", 3) == {}


def test_means_and_deviations_come_after_the_scaling():
    from trojai_seam.rounds.image_preprocessing import Preprocessing

    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 255
    way = Preprocessing(8, "bgr", "/255", (0.1, 0.2, 0.5), (0.5, 0.5, 0.25))
    assert way.apply([image])[0, :, 0, 0].tolist() == pytest.approx([-0.2, -0.4, 2.0])
    assert str(way) == "bgr /255 8 mean 0.1 0.2 0.5 std 0.5 0.5 0.25"
