"""Text files as editors and PowerShell on Windows save them: the mark is no part of what they say."""

from __future__ import annotations

import json

import pytest

from trojai_seam.rounds import ModelDirectory
from trojai_seam.rounds.example_files import sidecar
from trojai_seam.rounds.metadata import read_metadata
from trojai_seam.rounds.model_directory import read_json
from trojai_seam.rounds.regular_files import decoded
from trojai_seam.rounds.shipped_logits import read_logits
from trojai_seam.rounds.text_files import read_text

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]  # Python writes a mark for all but the first


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_kind_of_text_file(tmp_path, encoding):
    def write(name: str, text: str):
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    write("config.json", json.dumps({"arch": "nü"}))
    write("ground_truth.csv", "1\r\n")
    directory = ModelDirectory(tmp_path, "id-0", tmp_path)
    assert directory.config == {"arch": "nü"}
    assert directory.poisoned is True
    assert read_metadata(write("METADATA.csv", "model_name,x\nid-0,ü\n"))["id-0"]["x"] == "ü"
    assert read_text(write("a.txt", "schön\n")) == ("schön\n", True)
    write("a.json", "7")
    assert sidecar(tmp_path / "a.png", ["{stem}.json"])[1] == 7
    assert read_json(write("lookup.json", '{"a.png": {"clean_label": 1}}')) == {"a.png": {"clean_label": 1}}
    assert read_logits(write("logits.csv", "Example, Logits\na.png, 1.5, -2\n"), 2)["a.png"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-be"])
def test_marks_of_either_byte_order(encoding):
    assert decoded(("\ufeff" + "ab").encode(encoding)) == "ab"


def test_a_mark_alone_is_empty_and_half_a_character_is_no_text():
    assert decoded(b"\xef\xbb\xbf") == ""
    with pytest.raises(UnicodeDecodeError):
        decoded(b"\xff\xfea")
