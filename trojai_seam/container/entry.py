"""From the words after the image's name to one of NIST's commands, or on to the ordinary command line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from .arguments import overrides, parse_detection, parse_mitigation
from .environment import prepare_environment
from .messages import fail, warn
from .metaparameters import names_of

DETECTION, MITIGATION = ("infer", "configure"), ("mitigate", "test")
OK, FAILED, BAD_INPUT = 0, 1, 2

HELP = f"""trojai-seam {__version__} in a container

  evaluate DATASET --out RUN …   and every other command of trojai-seam: see `--help` after it
  infer, configure               NIST's detection interface (without a word: infer, as the server calls it)
  mitigate, test                 NIST's mitigation interface
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    A line that begins with an option is ``infer``: the server never says the word. Any other first word that is not
    NIST's is handed to ``python -m trojai_seam``, which takes this process's place.

    Returns:
        0 done (for ``infer`` also whenever 0.5 is all that can be said), 1 it could not be done, 2 bad usage.
    """
    began = time.monotonic()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] in (["--help"], ["-h"]) or (not words and not Path("model.pt").is_file()):
        print(HELP, end="")
        return OK if words else BAD_INPUT
    if words[:1] == ["--version"]:
        print(f"trojai-seam {__version__}")
        return OK
    first = words[0] if words else ""
    if first in MITIGATION:
        return _mitigation(first, words[1:], began)
    if first in DETECTION or first.startswith("-") or not words:
        return _detection(words[1:] if first in DETECTION else words, first == "configure", began)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "trojai_seam", *words])  # noqa: S606


def _detection(words: Sequence[str], configure: bool, began: float) -> int:
    given, unknown = parse_detection(words, names_of("detection"), configure)
    _warn_of(unknown)
    prepare_environment(given.scratch_dirpath)
    if given.configure_mode:
        from .configure import configure as learn

        return learn(given, overrides(given))
    from .infer import infer

    return infer(given, overrides(given), began)


def _mitigation(command: str, words: Sequence[str], began: float) -> int:
    given, unknown = parse_mitigation(words, names_of("mitigation"), test=command == "test")
    _warn_of(unknown)
    if given.model is not None:
        fail(f"{command} --model: language models are not supported, only the image-classification mitigation round")
        return BAD_INPUT
    if given.dataset_dirpath is None:
        fail(f"{command}: needs --dataset_dirpath (or --dataset), a folder of examples")
        return BAD_INPUT
    prepare_environment(given.scratch_dirpath)
    if command == "test":
        from .answers import test

        return test(given, overrides(given))
    from .mitigate import mitigate

    return mitigate(given, overrides(given), began)


def _warn_of(unknown: Sequence[str]) -> None:
    if unknown:
        warn(f"ignored, not known here: {' '.join(unknown)}")
