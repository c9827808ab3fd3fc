"""NIST's command lines, one parser each. Options that we do not know are handed back, to be warned about.

No abbreviations: with them, an option that NIST adds tomorrow could be taken for one of ours. ``--dataset`` is what the
server really says for ``--dataset_dirpath`` (usnistgov/trojai-test-harness, leaderboards/tasks.py), so both are spelt.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

METAPARAMETER = "metaparameter:"


def parse_detection(
    words: Sequence[str], metaparameters: Iterable[str], configure: bool
) -> tuple[argparse.Namespace, list[str]]:
    """``infer`` (all flat forms included) or ``configure``, and the words that are no option of ours.

    Args:
        words: what follows the sub-command, if there is one.
        metaparameters: names that may be given as options too, as in rounds 9 to 11.
        configure: which of the two; the flat form says it by ``--configure_mode``.
    """
    parser = _parser("configure" if configure else "infer", "a probability that the model is poisoned")
    parser.add_argument("--model_filepath", type=Path, default=Path("model.pt"))
    parser.add_argument("--result_filepath", type=Path)
    parser.add_argument("--examples_dirpath", type=Path)
    parser.add_argument("--source_dataset_dirpath", type=Path)
    parser.add_argument("--learned_parameters_dirpath", type=Path, default=Path("/learned_parameters"))
    parser.add_argument("--configure_models_dirpath", type=Path)
    parser.add_argument("--scale_parameters_filepath", type=Path)
    parser.add_argument("--tokenizer_filepath", type=Path)
    parser.add_argument("--tokenizers_dirpath", type=Path, help="of configure: a tokenizer per architecture")
    parser.add_argument("--embedding_filepath", type=Path)
    parser.add_argument("--features_filepath", type=Path)
    parser.add_argument("--cls_token_is_first", action="store_true")
    parser.add_argument("--configure_mode", action="store_true", default=configure)
    parser.add_argument("--automatic_configuration", action="store_true")
    parser.add_argument("--device", default="auto")
    _add_shared(parser, metaparameters)
    given, unknown = parser.parse_known_args(list(words))
    if given.result_filepath is None:  # texts have their model in a folder, and another default
        in_folder = not given.model_filepath.exists() and Path("model/model.pt").is_file()
        given.result_filepath = Path("output.txt" if in_folder else "output")
    return given, unknown


def parse_mitigation(
    words: Sequence[str], metaparameters: Iterable[str], test: bool
) -> tuple[argparse.Namespace, list[str]]:
    """``mitigate`` or ``test``, and the words that are no option of ours."""
    what = "raw logits of every example" if test else "unlearn one model with SEAM"
    parser = _parser("test" if test else "mitigate", what)
    parser.add_argument("--model_filepath", type=Path, default=Path("model.pt"))
    parser.add_argument("--dataset_dirpath", "--dataset", type=Path, dest="dataset_dirpath")
    parser.add_argument("--output_dirpath", type=Path, default=Path("out"))
    parser.add_argument("--model_output_name", default="mitigated.pt")
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--num_workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--scale_parameters_filepath", type=Path)
    parser.add_argument("--model", help="the language-model form, which is refused")
    _add_shared(parser, metaparameters)
    return parser.parse_known_args(list(words))


def _parser(command: str, summary: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"trojai-seam-container {command}",
        description=summary,
        allow_abbrev=False,
        argument_default=None,
    )


def _add_shared(parser: argparse.ArgumentParser, metaparameters: Iterable[str]) -> None:
    parser.add_argument("--scratch_dirpath", type=Path, default=Path("scratch"))
    parser.add_argument("--round_training_dataset_dirpath", type=Path)
    parser.add_argument("--metaparameters_filepath", "-j", type=Path)
    parser.add_argument("--schema_filepath", "-s", type=Path)
    parser.add_argument("--round", metavar="NAME", help="ours: the round, where folder and config do not tell it")
    group = parser.add_argument_group("metaparameters, instead of what the file says")
    for name in metaparameters:
        group.add_argument(f"--{name}", dest=METAPARAMETER + name, metavar="VALUE")


def overrides(given: argparse.Namespace) -> dict[str, str]:
    """The metaparameters that were given as options."""
    found = ((name.removeprefix(METAPARAMETER), value) for name, value in vars(given).items() if METAPARAMETER in name)
    return {name: value for name, value in found if value is not None}


def first_path(given: Path | None, candidates: Iterable[str]) -> Path | None:
    """``given``, else the first of ``candidates`` that exists: the defaults differed from round to round."""
    return given or next((path for path in map(Path, candidates) if path.exists()), None)
