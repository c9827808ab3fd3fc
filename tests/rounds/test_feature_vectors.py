"""The cyber rounds' example files: the real ones, and every way in which one can be broken."""

from __future__ import annotations

import io
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.made_rounds import FEATURES, write_examples, write_scale
from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds import get_round, model_directory
from trojai_seam.rounds.feature_vectors import read_examples
from trojai_seam.rounds.opening import open_directory

CLEAN, POISONED = "clean-example-data", "poisoned-example-data"


@pytest.fixture
def real_pdf(shared) -> Path:
    return shared / "trojai-examples" / "cyber-pdf-dec2022" / "models" / "id-00000002"


@pytest.fixture
def broken(tmp_path) -> Path:
    """A model directory (without model) with four clean and two poisoned vectors, to be broken."""
    folder = tmp_path / "round" / "id-00000001"
    write_examples(folder / CLEAN, np.arange(4 * FEATURES, dtype=float).reshape(4, FEATURES), [0, 1, 0, 1])
    write_examples(folder / POISONED, np.ones((2, FEATURES)), [1, 1])
    write_scale(tmp_path / "round")
    return folder


def read(folder: Path, **options: str):
    return read_examples(model_directory(folder), get_round("r12").with_options(options), 2)


def refusal(folder: Path) -> str:
    with pytest.raises(ExampleProblem) as caught:
        read(folder)
    text = str(caught.value)
    assert text.isprintable()
    return text


# the real data --------------------------------------------------------------------------------------------------------


def test_real_pdf_examples(real_pdf):
    subject = open_directory(model_directory(real_pdf), get_round("r12"))
    clean, poisoned = subject.clean, subject.poisoned
    assert clean.inputs["x"].shape == (20, 135)
    assert clean.inputs["x"].dtype == torch.float32
    assert torch.bincount(clean.labels).tolist() == [10, 10]
    assert clean.targets is None
    assert poisoned.inputs["x"].shape == (10, 135)
    assert poisoned.labels.tolist() == [1] * 10
    assert poisoned.targets.tolist() == [0] * 10
    assert list(clean.names) == sorted(p.name for p in (real_pdf / CLEAN).glob("*.npy"))
    # As measured outside of this package: scaled, 20 of 20 clean right and 10 of 10 poisoned called benign.
    with torch.no_grad():
        assert (subject.model(clean.inputs["x"]).argmax(1) == clean.labels).sum() == 20
        assert (subject.model(poisoned.inputs["x"]).argmax(1) == 0).sum() == 10
    assert subject.facts["poisoned"] is True
    assert subject.facts["trigger_type"] == "argmin_Nv_sum_abs_shap"
    assert (subject.facts["architecture"], subject.facts["num_classes"], subject.facts["parameters"]) == (
        "Net6",
        2,
        54202,
    )


def test_real_pdf_examples_are_scaled_with_the_rounds_own_parameters(real_pdf):
    clean = read(real_pdf).clean
    scale = np.load(real_pdf.parents[1] / "scale_params.npy")
    for number in (0, 7, 19):
        raw = np.load(real_pdf / CLEAN / clean.names[number]).reshape(-1).astype(np.float64)
        by_hand = [(raw[k] - scale[0, k]) / (scale[1, k] if scale[1, k] != 0 else 1.0) for k in range(135)]
        np.testing.assert_allclose(clean.inputs["x"][number].numpy(), np.array(by_hand, np.float32), rtol=1e-6)


def test_real_pdf_labels_follow_the_side_cars(real_pdf):
    clean = read(real_pdf).clean
    for name, label in zip(clean.names, clean.labels.tolist(), strict=True):
        assert json.loads((real_pdf / CLEAN / f"{name}.json").read_text()) == label


def test_without_scale_file_the_real_model_is_refused(real_pdf, tmp_path):
    shutil.copytree(real_pdf, tmp_path / "id-00000002")
    text = refusal(tmp_path / "id-00000002")
    assert "scale_params.npy" in text
    assert "--scale-params" in text
    scale = str(real_pdf.parents[1] / "scale_params.npy")
    given = read(tmp_path / "id-00000002", **{"preprocessing.scale_file": scale})
    assert torch.equal(given.clean.inputs["x"], read(real_pdf).clean.inputs["x"])


def test_real_apk_examples(shared):
    folder = shared / "trojai-examples" / "cyber-apk-nov2023" / "models" / "id-00000001"
    stored = [np.load(path) for path in sorted((folder / CLEAN).glob("*.npy"))]
    assert [a.shape for a in stored] == [(1, 991)] * 3
    subject = open_directory(model_directory(folder), get_round("r16"))
    assert subject.clean.inputs["x"].shape == (3, 991)
    np.testing.assert_array_equal(subject.clean.inputs["x"].numpy(), np.concatenate(stored).astype(np.float32))
    assert subject.clean.labels.tolist() == [0, 0, 0]
    assert subject.poisoned is None
    assert subject.facts["poisoned"] is False
    assert subject.facts["source_dataset"] == "drebin-lasso"


# right in form --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4", "i1", "u8", ">i8", "?"])
@pytest.mark.parametrize("shape", [(FEATURES,), (1, FEATURES)])
def test_every_number_type_and_both_shapes(broken, dtype, shape):
    np.save(broken / CLEAN / "0000.npy", np.ones(shape, dtype=dtype))
    assert read(broken).clean.inputs["x"][0].tolist() == [1.0] * FEATURES


def test_a_feature_that_never_varied_is_left_unscaled(broken):
    scale = np.stack([np.full(FEATURES, 2.0), np.full(FEATURES, 4.0)])
    scale[1, 5] = 0
    np.save(broken.parent / "scale_params.npy", scale)
    np.save(broken / CLEAN / "0000.npy", np.full(FEATURES, 10.0))
    vector = read(broken).clean.inputs["x"][0]
    assert vector[4] == 2.0
    assert vector[5] == 8.0


def test_other_spellings_of_folder_and_side_car(broken):
    (broken / CLEAN).rename(broken / "clean_example_data")
    for path in (broken / "clean_example_data").glob("*.npy.json"):
        path.rename(path.with_name(path.name.replace(".npy.json", ".json")))
    assert read(broken).clean.labels.tolist() == [0, 1, 0, 1]


def test_no_poisoned_examples_is_none_not_empty(broken):
    shutil.rmtree(broken / POISONED)
    assert read(broken).poisoned is None
    (broken / POISONED).mkdir()
    assert read(broken).poisoned is None


def test_what_a_mac_leaves_beside_a_file_is_no_example(broken):
    (broken / CLEAN / "._0000.npy").write_bytes(b"\0\5\x16\7Mac OS X")
    (broken / CLEAN / "folder.npy").mkdir()
    assert len(read(broken).clean) == 4


# broken ---------------------------------------------------------------------------------------------------------------


def npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def header(shape: str, descr: str = "'<f8'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


def zipped() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(FEATURES))
    return buffer.getvalue()


def stored(array: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        stored(np.ones(134)),
        stored(np.ones(136)),
        stored(np.ones((135, 1))),
        stored(np.ones((2, 135))),
        stored(np.float64(1)),
        stored(np.ones(0)),
        stored(np.full(FEATURES, np.nan)),
        stored(np.r_[np.ones(FEATURES - 1), -np.inf]),
        stored(np.array([{"a": 1}] * FEATURES, dtype=object)),
        stored(np.array(["1"] * FEATURES)),
        stored(np.ones(FEATURES, dtype=complex)),
        stored(np.zeros(FEATURES, dtype="M8[s]")),
        stored(np.zeros(FEATURES, dtype=[("a", "f8")])),
        b"",
        b"\x93NUMPY",
        b"cos\nsystem\n(S'touch /tmp/never'\ntR.",
        stored(np.ones(FEATURES))[:-1],
        npy(header("(1000000000000,)")),
        npy(header("(99999999999999999999999,)")),
        npy(header("(-1,)")),
        npy(header("(1.5,)")),
        npy(header("135")),
        npy(header("(135,)", "5")),
        npy(header("(135,)", "'|O'"), b"x" * 2000),
        npy("((("),
        npy("{'descr': [[[\n"),
        npy("\x00"),
        npy("[" * 9000),
        npy("1 +" * 3000 + "1"),
        npy("-" * 9000 + "1"),
        npy(header("(True,)")),
        zipped(),
        b"PK\x03\x04garbage",
    ],
)
def test_broken_vector(broken, content):
    (broken / CLEAN / "0002.npy").write_bytes(content)
    text = refusal(broken)
    assert "0002.npy" in text
    assert not Path("/tmp/never").exists()  # noqa: S108


def test_a_vector_that_is_really_endless_is_refused_by_its_shape(broken):
    with (broken / CLEAN / "0002.npy").open("wb") as file:
        file.write(npy(header(f"({2**40},)", "'|u1'")))
        file.truncate(2**40 + 200)  # a hole: takes no disk, but would take 8 TiB of memory
    assert "expected 135 features, found an array of shape (1099511627776,)" in refusal(broken)


@pytest.mark.parametrize(
    "content",
    [b'"1"', b"1.0", b"true", b"null", b"[1]", b"{}", b"2", b"-1", b"", b"NaN", b"1e400", b"\xff", b"1" * 5000],
)
def test_broken_label(broken, content):
    (broken / CLEAN / "0002.npy.json").write_bytes(content)
    assert "0002.npy.json" in refusal(broken)


def test_missing_label(broken):
    (broken / POISONED / "0001.npy.json").unlink()
    text = refusal(broken)
    assert "0001.npy: has no label; expected 0001.npy.json or 0001.json beside it" in text


def test_target_that_the_network_does_not_have(broken):
    with pytest.raises(ExampleProblem, match="label 7"):
        read(broken, **{"attack.target_label": "7"})


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), lambda p: None], ids=["empty", "absent"])
def test_no_clean_example(broken, make):
    shutil.rmtree(broken / CLEAN)
    make(broken / CLEAN)
    assert "no clean example" in refusal(broken)


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (np.ones((135, 2)), "shape (2, 135)"),
        (np.ones((2, 134)), "shape (2, 135)"),
        (np.ones(135), "shape (2, 135)"),
        (np.full((2, 135), np.nan), "finite"),
        (np.stack([np.zeros(135), np.full(135, -1.0)]), "not negative"),
        (np.array([[None] * 135] * 2, dtype=object), "not a readable"),
    ],
)
def test_broken_scale(broken, scale, words):
    np.save(broken.parent / "scale_params.npy", scale, allow_pickle=True)
    text = refusal(broken)
    assert "scale_params.npy" in text
    assert words in text


def test_values_too_large_for_float32_are_refused(broken):
    np.save(broken / CLEAN / "0002.npy", np.full(FEATURES, 1e300))
    assert "0002.npy" in refusal(broken)
