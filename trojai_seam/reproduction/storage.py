"""What was measured, one JSON file per unit of work, written beside and renamed: the same command goes on where it was.

``OUT/seed-N/PART/UNIT.json`` holds rows; ``OUT/seed-N/models/NAME.npz`` a trained network and its triggered pictures.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..batch.files import make_folder, write_atomic
from ..errors import RunDirectoryProblem, shown
from ..heartbeat import beat

Row = dict[str, Any]


class Unit(NamedTuple):
    """Work that is done or not done as a whole; ``methods`` says with what settings, so that others are not taken."""

    name: str
    measure: Callable[[], list[Row]]
    methods: str


@dataclass(frozen=True)
class Store:
    """The results of one seed.

    Attributes:
        folder: of this seed.
        data: digest of the data set.
    """

    folder: Path
    data: str

    def rows(self, part: str, units: Iterable[Unit], sizes: str, tell: Callable[[str], None]) -> list[Row]:
        """Of all ``units``, measured only if they are not stored yet.

        Args:
            part: name of the part.
            units: of it.
            sizes: that decide its results, beside the methods of each unit; what was stored with others is measured
                again.
            tell: is told what is measured now.

        Raises:
            RunDirectoryProblem: a file cannot be written, is no result, or holds one of other data.
        """
        units, found = list(units), []
        make_folder(self.folder / part)
        for number, unit in enumerate(units, start=1):
            path, identity = self._place(part, unit, sizes)
            rows = self._stored(path, identity)
            if rows is None:
                at = f"{part}: {unit.name} ({number} of {len(units)})"
                tell(at)
                beat(at)
                rows = [finite(row) for row in unit.measure()]
                content = {"data": self.data, "identity": identity, "rows": rows}
                write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode())
            found += rows
        return found

    def stored_rows(self, part: str, units: Iterable[Unit], sizes: str) -> tuple[list[Row], int]:
        """Of those of ``units`` that are stored, and how many are not."""
        found = [self._stored(*self._place(part, unit, sizes)) for unit in units]
        return [row for rows in found if rows is not None for row in rows], found.count(None)

    def refuse_others(self) -> None:
        """Look at all results of this seed, of every part, before hours are spent on more.

        Raises:
            RunDirectoryProblem: one is of other data, or is no result.
        """
        for path in sorted(self.folder.glob("*/*.json")):
            self._stored(path, "")

    def _place(self, part: str, unit: Unit, sizes: str) -> tuple[Path, str]:
        """Its file, and what this says of where its rows come from."""
        return self.folder / part / f"{unit.name}.json", identity_of(self.data, sizes, unit.methods)

    def _stored(self, path: Path, identity: str) -> list[Row] | None:
        try:
            content = json.loads(path.read_text("utf-8"))
            data, rows = content["data"], list(content["rows"]) if content["identity"] == identity else None
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise RunDirectoryProblem(f"{path}: is no result ({problem}); remove it to measure it again") from None
        if data != self.data:
            raise RunDirectoryProblem(
                f"{self.folder.parent}: holds results of other data ({path.relative_to(self.folder.parent)} is of "
                f"digest {shown(str(data))}, --data has {self.data}); choose another --out or remove it"
            )
        return rows

    def tensors(self, name: str, sizes: str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Those that ``make`` gives, made only once; ``sizes`` decide them.

        Raises:
            RunDirectoryProblem: the file cannot be written or read.
        """
        path = self.folder / "models" / f"{name}-{identity_of(self.data, sizes)}.npz"
        if not path.exists():
            make_folder(path.parent)
            buffer = io.BytesIO()
            np.savez(buffer, **{key: tensor.numpy() for key, tensor in make().items()})  # type: ignore[arg-type]
            write_atomic(path, buffer.getvalue())
        try:
            with np.load(path) as stored:
                return {key: torch.from_numpy(stored[key]) for key in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as problem:
            raise RunDirectoryProblem(f"{path}: cannot be read ({problem}); remove it to train again") from None


def finite(row: Mapping[str, Any]) -> Row:
    """NaN never enters JSON; it is missing."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


def identity_of(*parts: object) -> str:
    """A short hash."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:12]


def seeds_in(folder: Path) -> list[int]:
    """Of which there are results, in order."""
    found = (re.fullmatch(r"seed-(-?\d+)", path.name) for path in folder.glob("seed-*") if path.is_dir())
    return sorted(int(match[1]) for match in found if match)
