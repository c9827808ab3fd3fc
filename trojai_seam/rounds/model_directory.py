"""One ``id-XXXXXXXX`` folder: where its files are and what its small text files say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DatasetProblem, shown
from .regular_files import decoded, read_bounded

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
        metadata: its row of METADATA.csv, every column as it is written there; empty without one.
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
    def told(self) -> Mapping[str, Any]:
        """:attr:`metadata` without the cells that say nothing: empty, ``None``, ``none`` or ``nan``."""
        return {name: value for name, value in self.metadata.items() if not says_nothing(value)}

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """``config.json`` over ``reduced-config.json``, with jsonpickle's ``py/state`` levels taken away, and
        :attr:`settings` over both.

        On NIST's server only the reduced one survives, sometimes under the full one's name.

        Raises:
            DatasetProblem: a file is there but is no JSON object.
        """
        return self._read_config(keep_classes=False)

    @cached_property
    def config_with_classes(self) -> Mapping[str, Any]:
        """:attr:`config`, whose objects say under ``py/object`` of which class they were.

        Raises:
            DatasetProblem: as for :attr:`config`.
        """
        return self._read_config(keep_classes=True)

    @cached_property
    def _documents(self) -> Sequence[tuple[Path, Any]]:
        paths = [self.path / name for name in CONFIG_NAMES]
        return [(path, read_json(path)) for path in paths if path.exists()]

    def _read_config(self, keep_classes: bool) -> Mapping[str, Any]:
        merged: dict[str, Any] = {}
        for path, document in self._documents:
            try:
                found = unwrapped(document, keep_classes)
            except RecursionError:
                raise DatasetProblem(f"{path}: JSON is nested too deeply") from None
            if not isinstance(found, dict):
                raise DatasetProblem(f"{path}: expected a JSON object, found {type(found).__name__}")
            merged.update(found)
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
        for source in (self.told, self.config):
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


def says_nothing(value: Any) -> bool:
    """Whether a value of a config or a cell of METADATA.csv stands for none: null, empty, ``None``, ``nan``."""
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "none", "nan", "null"))


def unwrapped(document: Any, keep_classes: bool = False) -> Any:
    """A jsonpickle document without its ``py/state`` levels and ``py/object`` marks, as one would have written it.

    A design factor (``dex.Factor``, QA round of 2023) is the value that was used, a tuple (``py/tuple``) a list.

    Args:
        document: as parsed.
        keep_classes: leave ``py/object`` in every object that has it.
    """
    if isinstance(document, dict):
        inner = document.get("py/state", document)
        if str(document.get("py/object", "")).endswith(".Factor") and isinstance(inner, dict) and "value" in inner:
            return unwrapped(inner["value"], keep_classes)
        if inner is not document:
            found = unwrapped(inner, keep_classes)
            marked = keep_classes and isinstance(found, dict) and "py/object" in document
            return {"py/object": document["py/object"], **found} if marked else found
        if set(document) == {"py/tuple"}:
            return unwrapped(document["py/tuple"], keep_classes)
        return {
            key: unwrapped(value, keep_classes) for key, value in document.items() if keep_classes or key != "py/object"
        }
    if isinstance(document, list):
        return [unwrapped(item, keep_classes) for item in document]
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
        return decoded(read_bounded(path, most))
    except OSError as problem:
        raise DatasetProblem(f"{path}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise DatasetProblem(f"{path}: is not a text file (neither UTF-8 nor with a byte-order mark)") from None
