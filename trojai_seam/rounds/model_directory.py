"""One ``id-XXXXXXXX`` folder: where its files are and what its small text files say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DatasetProblem, shown
from .regular_files import read_bounded

CONFIG_NAMES = ("reduced-config.json", "config.json")
MOST_JSON_BYTES = 2**22
"""Of configs and side-cars, which have kilobytes. A megabyte of JSON can be half a million objects."""
MOST_RECORD_BYTES = 2**24
"""Of a file with many examples."""


@dataclass(frozen=True, eq=False)
class ModelDirectory:
    """Facts only; nothing is opened before it is asked for.

    Attributes:
        path: the folder.
        model_id: its name, or its path below the dataset where names repeat.
        root: the dataset folder that it was found in.
        metadata: its row of METADATA.csv, empty without one.
        file: name of the model's file below ``path``.
        settings: what a user's round says of this model, on top of its config.
    """

    path: Path
    model_id: str
    root: Path
    metadata: Mapping[str, Any] = field(default_factory=dict)
    file: str = "model.pt"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """JSON values that :meth:`from_document` makes the same directory of, in another process."""
        paths = {"path": str(self.path), "root": str(self.root)}
        return {
            **paths,
            "model_id": self.model_id,
            "metadata": dict(self.metadata),
            "file": self.file,
            "settings": dict(self.settings),
        }

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> ModelDirectory:
        """What :meth:`document` describes."""
        paths = {name: Path(document[name]) for name in ("path", "root")}
        return ModelDirectory(**{**document, **paths})

    @property
    def model_path(self) -> Path:
        """Where the model's file is, or would be."""
        return self.path / self.file

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """``config.json`` over ``reduced-config.json``, with jsonpickle's ``py/state`` levels taken away, and
        :attr:`settings` over both.

        On NIST's server only the reduced one survives, sometimes under the full one's name.

        Raises:
            DatasetProblem: a file is there but is no JSON object.
        """
        merged: dict[str, Any] = {}
        for name in CONFIG_NAMES:
            path = self.path / name
            if path.exists():
                document = read_json(path)
                try:
                    document = unwrapped(document)
                except RecursionError:
                    raise DatasetProblem(f"{path}: JSON is nested too deeply") from None
                if not isinstance(document, dict):
                    raise DatasetProblem(f"{path}: expected a JSON object, found {type(document).__name__}")
                merged.update(document)
        merged.update(self.settings)
        return merged

    @cached_property
    def poisoned(self) -> bool | None:
        """Whether the model is trojaned: ``ground_truth.csv``, else METADATA.csv, else the config; ``None`` if unknown.

        Raises:
            DatasetProblem: ``ground_truth.csv`` holds neither 0 nor 1.
        """
        path = self.path / "ground_truth.csv"
        if path.exists():
            text = _read(path, 4096).strip()
            truth = as_truth(text.splitlines()[0].strip() if text else "")
            if truth is None:
                raise DatasetProblem(f"{path}: expected 0 (clean) or 1 (poisoned), found {shown(text, 40)!r}")
            return truth
        for source in (self.metadata, self.config):
            for key in ("poisoned", "ground_truth", "POISONED", "model_type"):
                truth = as_truth(source.get(key))
                if truth is not None:
                    return truth
        return None

    def first_folder(self, names: Sequence[str]) -> Path | None:
        """The first of ``names`` that exists as a folder in the directory."""
        return next((self.path / name for name in names if (self.path / name).is_dir()), None)

    def first_file(self, names: Sequence[str]) -> Path | None:
        """The first of ``names`` that exists as a file in the directory."""
        return next((self.path / name for name in names if (self.path / name).is_file()), None)

    def find_upwards(self, name: str) -> Path | None:
        """``name`` (or an absolute path) in the model directory or a folder above it, no higher than the dataset."""
        if Path(name).is_absolute():
            return Path(name) if Path(name).is_file() else None
        top = self.root.resolve()
        for folder in (self.path.resolve(), *self.path.resolve().parents):
            if (folder / name).is_file():
                return folder / name
            if folder == top:
                return None
        return None


def as_truth(value: Any) -> bool | None:
    """``True``/``False`` for the many ways NIST writes it, ``None`` for anything else."""
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        words = {"1": True, "true": True, "poisoned": True, "1.0": True}
        words |= {"0": False, "false": False, "clean": False, "0.0": False}
        return words.get(value.strip().lower())
    return None


def unwrapped(document: Any) -> Any:
    """A jsonpickle document without its ``py/state`` levels and ``py/object`` marks, as one would have written it.

    A design factor (``dex.Factor``, QA round of 2023) is the value that was used.
    """
    if isinstance(document, dict):
        inner = document.get("py/state", document)
        if str(document.get("py/object", "")).endswith(".Factor") and isinstance(inner, dict) and "value" in inner:
            return unwrapped(inner["value"])
        if inner is not document:
            return unwrapped(inner)
        return {key: unwrapped(value) for key, value in document.items() if key != "py/object"}
    if isinstance(document, list):
        return [unwrapped(item) for item in document]
    return document


def read_json(path: Path, most: int = MOST_JSON_BYTES) -> Any:
    """The JSON document in ``path``, of at most ``most`` bytes.

    Raises:
        DatasetProblem: unreadable, too large, or no JSON.
    """
    text = _read(path, most)
    try:
        return json.loads(text)
    except RecursionError:
        raise DatasetProblem(f"{path}: JSON is nested too deeply") from None
    except ValueError as problem:
        raise DatasetProblem(f"{path}: is not valid JSON: {problem}") from None


def _read(path: Path, most: int) -> str:
    try:
        return read_bounded(path, most).decode("utf-8")
    except OSError as problem:
        raise DatasetProblem(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise DatasetProblem(f"{path}: is not a text file (not UTF-8)") from None
