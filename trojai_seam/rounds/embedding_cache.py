"""Vectors of texts on disk, by the hash of everything that they depend on.

Thousands of heads share a few frozen embeddings and many texts. Every entry carries a digest of its content, so a torn
or changed file is found out and computed again; entries are written beside and renamed, so that writers need not wait
for each other.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageProblem, shown

VARIABLE = "TROJAI_SEAM_CACHE"
MOST_NUMBERS = 2**20
_MAGIC = b"trojai-seam vector 1\n"
_DIGEST = 32


def cache_folder(given: Path | None, dataset: Path, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Where to cache, absolute: ``given``, else ``TROJAI_SEAM_CACHE``, else the platform's place for caches.

    None if the platform's place is within the dataset: nothing is ever written there.

    Raises:
        UsageProblem: the folder that was asked for is within the dataset.
    """
    asked = given if given is not None else Path(environment[VARIABLE]) if environment.get(VARIABLE) else None
    folder = asked if asked is not None else _platform_folder(environment)
    inside = Path(os.path.realpath(dataset)) in (resolved := Path(os.path.realpath(folder)), *resolved.parents)
    if inside and asked is not None:
        raise UsageProblem(f"--cache {shown(str(asked))}: is within the dataset, where nothing is written; use another")
    return None if inside else Path(os.path.abspath(folder))


def _platform_folder(environment: Mapping[str, str]) -> Path:
    home = Path(environment.get("HOME") or environment.get("USERPROFILE") or tempfile.gettempdir())
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        # The XDG specification says to ignore a path that is not absolute.
        wanted = environment.get("XDG_CACHE_HOME", "")
        base = Path(wanted) if os.path.isabs(wanted) else home / ".cache"
    return base / "trojai-seam"


class VectorCache:
    """Vectors by key. Without a folder it holds nothing.

    ``problem`` says why nothing more is written, once a write has failed; reading goes on.
    """

    def __init__(self, folder: Path | None, group: str) -> None:
        """``group`` is the hash of what all keys have in common, such as network and tokenizer."""
        self.folder = None if folder is None else folder / "embeddings" / group
        self.problem: str | None = None

    def get(self, key: str) -> NDArray[np.float32] | None:
        """The vector of ``key``; None if there is none, or none that is whole."""
        if self.folder is None:
            return None
        try:
            with self._path(key).open("rb") as file:
                content = file.read(len(_MAGIC) + _DIGEST + 4 * MOST_NUMBERS + 1)
        except OSError:
            return None
        digest, body = content[len(_MAGIC) : len(_MAGIC) + _DIGEST], content[len(_MAGIC) + _DIGEST :]
        whole = content.startswith(_MAGIC) and digest == _digest(key, body) and len(body) % 4 == 0 and len(body) > 0
        return np.frombuffer(body, dtype="<f4").astype(np.float32) if whole else None

    def put(self, key: str, vector: NDArray[np.float32]) -> None:
        """Keep ``vector``. A cache that cannot be written is no error: see ``problem``."""
        if self.folder is None or self.problem is not None:
            return
        path, body = self._path(key), np.ascontiguousarray(vector, dtype="<f4").tobytes()
        partial = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + _digest(key, body) + body)
            os.replace(partial, path)
        except OSError as problem:
            self.problem = f"{self.folder}: cannot be written: {problem.strerror or problem}"
            if partial is not None:
                _remove(partial)

    def _path(self, key: str) -> Path:
        assert self.folder is not None  # noqa: S101
        return self.folder / key[:2] / key


def _digest(key: str, body: bytes) -> bytes:
    """Of the key too: a vector that was copied to another's place is no vector of that text."""
    return hashlib.sha256(key.encode() + b"\0" + body).digest()


def _remove(partial: str) -> None:
    try:
        os.unlink(partial)
    except OSError:
        return  # what is left is a dot file that nobody reads
