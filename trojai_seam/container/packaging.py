"""Files that a TrojAI server wants at fixed paths of an image: ``python -m trojai_seam.container.packaging``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .. import __version__
from .metaparameters import KINDS, packaged

PLACEHOLDER = """Nothing was learned yet: `infer` answers 0.5.

`configure --learned_parameters_dirpath FOLDER …` fills a folder that belongs here (see docs/container.md).
"""


def write_fixed_files(task: str, root: Path, commit: str) -> None:
    """``metaparameters.json``, its schema and ``learned_parameters`` below ``root``.

    Args:
        task: ``detection`` or ``mitigation``.
        root: a folder that becomes the top of the image.
        commit: for the schema's ``commit_id``; the version when empty, as the server refuses an empty one.
    """
    schema = {**packaged(task, "metaparameters_schema"), "commit_id": commit or __version__}
    for name, document in (
        ("metaparameters", packaged(task, "metaparameters")),
        ("metaparameters_schema", schema),
    ):
        (root / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    learned = root / "learned_parameters"
    learned.mkdir(exist_ok=True)
    (learned / "README").write_text(PLACEHOLDER, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in KINDS:
        sys.exit(f"usage: python -m trojai_seam.container.packaging {'|'.join(KINDS)} ROOT COMMIT")
    write_fixed_files(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
