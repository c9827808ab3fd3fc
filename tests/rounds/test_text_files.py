"""Example texts in files: what they are read as, and one clear line for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from trojai_seam.errors import ExampleProblem
from trojai_seam.rounds.text_files import Text, classes_in_name, not_utf8, read_sentence, read_text


def written(folder: Path, content: bytes, name: str = "class_0_example_1.txt") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Très bon.\n".encode(), Text("Très bon.\n", True)),
        (b"\xef\xbb\xbfGood.", Text("Good.", True)),
        ("Très bon.".encode("latin-1"), Text("Très bon.", False)),
        (b"\xfd\xfe odd \x80", Text("\xfd\xfe odd \x80", False)),
    ],
)
def test_utf_8_else_latin_1(tmp_path, content, text):
    assert read_text(written(tmp_path, content)) == text


def test_what_was_not_utf_8_is_told():
    assert not_utf8([Text("a", True)]) is None
    assert not_utf8([Text("a", False), Text("b", True), Text("c", False)]) == (
        "2 texts are not UTF-8 and were read as Latin-1"
    )


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n", "\u00a0".encode()])
def test_an_empty_text_is_refused(tmp_path, content):
    with pytest.raises(ExampleProblem, match=r"class_0_example_1\.txt: holds no text"):
        read_text(written(tmp_path, content))


def test_a_text_that_cannot_be_read_or_is_far_too_large(tmp_path):
    with pytest.raises(ExampleProblem, match="cannot be read"):
        read_text(tmp_path / "absent.txt")
    with (tmp_path / "large.txt").open("wb") as file:
        file.truncate(2**25)
    with pytest.raises(ExampleProblem, match="larger than"):
        read_text(tmp_path / "large.txt")


def test_a_sentence_keeps_quotes_and_odd_blanks():
    text = "\"\tO\t0\nB\u2028ritain\tB-GPE\t1\r\n' s\tI-GPE\t2\n\n"
    sentence = read_sentence(Text(text, True), Path("s.txt"))
    assert sentence.words == ('"', "B\u2028ritain", "' s")
    assert sentence.names == ("O", "B-GPE", "I-GPE")
    assert sentence.numbers == (0, 1, 2)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Britain\tB-GPE", "line 2: expected word, label and label number with tabs between, found 2 columns"),
        ("Britain", "found 1 columns"),
        ("Britain B-GPE 1", "found 1 columns"),
        ("petrol\tO\t0\t1", "found 4 columns"),
        ("\tO\t0", "line 2: holds a label, but no word"),
        ("  \tO\t0", "no word"),
        ("Britain\tB-GPE\tone", "expected a label number, found 'one'"),
        ("Britain\tB-GPE\t-1", "expected a label number"),
        ("Britain\tB-GPE\t1.0", "expected a label number"),
        ("Britain\tB-GPE\t99999999", "expected a label number"),
    ],
)
def test_a_sentence_with_other_columns_is_one_clear_line(line, says):
    with pytest.raises(ExampleProblem, match=says) as caught:
        read_sentence(Text(f"In\tO\t0\n{line}\n", True), Path("here.txt"))
    assert str(caught.value).startswith("here.txt: line 2: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("class_0_example_1.txt", {"class": 0}),
        ("class_11_example_19.txt", {"class": 11}),
        ("source_class_1_target_class_0_example_20.txt", {"class": 1, "target": 0}),
        ("example_0.txt", None),
        ("class_0.txt", None),
        ("class_x_example_1.txt", None),
        ("source_class_1_example_2.txt", None),
        ("class_1_target_class_0_example_2.txt", None),
        ("class_1_example_2_tokenized.txt", None),
        ("class_99999999999999999999_example_1.txt", None),
    ],
)
def test_classes_in_names(name, classes):
    assert classes_in_name(Path(name)) == classes
