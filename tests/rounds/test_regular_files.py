"""Files of a model directory that are no files: nothing waits for a pipe or reads a device to its end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.made_rounds import write_model, write_round, write_scale
from trojai_seam import evaluate
from trojai_seam.rounds.regular_files import open_regular, read_bounded

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes and devices in the file system")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(name: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(name)


@pytest.mark.parametrize("odd", [pipe, device("/dev/zero"), device("/dev/urandom")], ids=["pipe", "zero", "urandom"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.pt", "refused-file"),
        ("config.json", "dataset"),
        ("reduced-config.json", "dataset"),
        ("ground_truth.csv", "dataset"),
        ("clean-example-data/0000.npy.json", "examples"),
    ],
)
def test_what_is_no_file_is_a_failed_row_at_once(name: str, kind: str, odd: Callable[[Path], None], tmp_path) -> None:
    dataset = write_round(tmp_path / "round", models=1)
    path = dataset / "models" / "id-00000000" / name
    path.unlink(missing_ok=True)
    odd(path)
    table = evaluate(dataset, tmp_path / "run", round="cyber-pdf-dec2022", preset="no-op")
    assert list(table["status"]) == ["failed"]
    assert list(table["error_kind"]) == [kind]
    assert f"{path}: " in table["error"][0]
    assert "not a regular file" in table["error"][0]
    # A thread that reads on would keep the process from ending.
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_the_table_of_a_dataset_is_not_read_without_end(tmp_path: Path) -> None:
    dataset = write_round(tmp_path / "round", models=1)
    with (dataset / "METADATA.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(Exception, match=r"METADATA\.csv: .*larger than 67108864 bytes"):
        evaluate(dataset, tmp_path / "run", round="cyber-pdf-dec2022", preset="no-op")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_bounded(path, 4)
    with pytest.raises(OSError, match="larger than 10 bytes"):  # /proc calls its files empty
        read_bounded(Path("/proc/self/status"), 10)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


def test_millions_of_values_in_a_config_are_not_made(tmp_path: Path) -> None:
    write_model(tmp_path / "id-00000000")
    write_scale(tmp_path)
    (tmp_path / "id-00000000" / "config.json").write_text('{"a":[' + "[]," * 2**21 + "[]]}")
    table = evaluate(tmp_path, tmp_path / "run", round="cyber-pdf-dec2022", preset="no-op")
    assert "config.json: cannot be read: larger than" in table["error"][0]
