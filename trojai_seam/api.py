"""The public Python interface, re-exported lazily by :mod:`trojai_seam`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from .batch.paths import RunPaths
from .batch.records import read_rows
from .batch.reproducible import reproducible
from .batch.runner import Options, resolve_device
from .batch.runner import evaluate as run_batch
from .errors import UsageProblem, listed
from .networks import load_user_networks
from .rounds import get_round, is_own_round, locate, model_directory, one_model, with_settings
from .rounds.embedding_cache import cache_folder
from .rounds.opening import open_directory, open_network
from .seeds import derive_seed
from .tables import results_frame
from .tasks import Subject
from .unlearning import UnlearnConfig, resolve
from .unlearning import run as run_phases
from .unlearning.outcome import Outcome


def load_model(
    model_dir: str | PathLike[str],
    round: str | None = None,
    device: str | torch.device = "cpu",
    entry: str | None = None,
    network: str | None = None,
) -> torch.nn.Module:
    """Rebuild the network of a model directory without running anything in its file.

    Args:
        model_dir: a model directory, or a model's file (the configs beside it are used as hints).
        round: name or alias of the round; only checked, since the file itself says what to build.
        device: where the weights go.
        entry: key of the network where the file is a checkpoint of several.
        network: name of the network, where the file does not tell; ``FILE.py:function`` is one of your own.

    Returns:
        The network in eval mode, called as NIST's own was (``float32 [N, 3, H, W]`` images in the round's scaling,
        ``[N, features]`` vectors, …) and giving the same kind of output (raw logits for classifiers).

    Raises:
        RefusedArchive: the file is missing, damaged or hostile.
        UnsupportedModel: no constructor knows the network, or (StateMismatch) its tensors do not fit.
        DatasetProblem: no such directory, or an unreadable config.
        UsageProblem: no such round, or no such device here.
    """
    if round is not None and not is_own_round(round):
        get_round(round)
    path = Path(model_dir)
    directory = one_model(path) if path.is_file() and path.name != "model.pt" else model_directory(path)
    asked = Options(network=network)
    if asked.networks is not None:
        load_user_networks(asked.networks)
    if asked.network is not None:
        directory = with_settings(directory, {"network": asked.network})
    model, _ = open_network(directory, resolve_device(str(device)), entry=entry)
    return model


def open_subject(
    model_dir: str | PathLike[str],
    round: str | None = None,
    device: str | torch.device = "cpu",
    entry: str | None = None,
) -> Subject:
    """A model directory ready to be unlearned: network, task, clean and poisoned examples, facts.

    Embeddings of texts (rounds 5 and 6) are kept in ``TROJAI_SEAM_CACHE``, else in the platform's cache folder.

    Args:
        model_dir: a model directory, or the file of a model of your own.
        round: name or alias, or a ``round.json`` of your own; found from the directory's path and config when unset.
        device: where network and examples go.
        entry: key of the network where ``model.pt`` is a checkpoint of several.

    Raises:
        TrojaiSeamError: as :func:`load_model`; also ExampleProblem for unusable examples, and DatasetProblem when the
            round cannot be told.
    """
    directory, round_config = locate(Path(model_dir), round)
    if entry is not None:
        round_config = round_config.with_options({"checkpoint_entry": json.dumps(entry)})
    cache = cache_folder(None, directory.root)
    return open_directory(directory, round_config, resolve_device(str(device)), cache=cache)


def unlearn(subject: Subject, config: UnlearnConfig | None = None, seed: int = 0) -> Outcome:
    """Unlearn a copy of ``subject.model`` on *all* its clean examples (but a test set of its own), to use the result.

    To measure what unlearning does, use :func:`evaluate`, which holds examples out.

    Args:
        subject: from :func:`open_subject`; it is not changed.
        config: what to do; unset: the preset that the round has for such a model. ``trojai_seam.unlearning.resolve``
            makes one from a preset.
        seed: the same seed gives the same network on the same machine.

    Raises:
        EngineFailure: the loss or a weight became non-finite, or there is nothing to train on.
    """
    config = config or resolve(subject.preset)
    own_seed = derive_seed(seed, subject.model_id, "unlearn", 0)
    measured = set(subject.only_measured)
    fit = subject.clean.subset([i for i in range(len(subject.clean)) if i not in measured])
    with reproducible():
        return run_phases(subject.model, subject.task, fit.prepared(), config, own_seed)


def evaluate(
    dataset_dir: str | PathLike[str], run_dir: str | PathLike[str], round: str | None = None, **options: Any
) -> pd.DataFrame:
    """Evaluate every model of a dataset and return the results frame; the run directory holds records and tables.

    Args:
        dataset_dir: a dataset folder, or one model directory.
        run_dir: new, empty, or a run of the same settings, which is continued.
        round: name or alias; found from the dataset when unset.
        **options: fields of :class:`trojai_seam.batch.runner.Options`: ``preset``, ``options``, ``protocol``, ``seed``,
            ``device``, ``ids``, ``limit``, ``shard``, ``retry``, …

    Raises:
        TrojaiSeamError: a mistake about the run as a whole. A bad model is a failed row instead.
    """
    return run_batch(Path(dataset_dir), Path(run_dir), known_options({"round": round, **options}))


def known_options(options: Mapping[str, Any]) -> Options:
    """Keyword arguments as options of a batch.

    Raises:
        UsageProblem: one is no option, or has a value that makes no sense.
    """
    known = [f.name for f in fields(Options)]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UsageProblem(f"evaluate() has no option {listed(unknown)}; known: {listed(known, most=40)}")
    texts = {  # values as the command line gives them, or plain Python ones
        name: {key: str(value) for key, value in options[name].items()}
        for name in ("options", "round_options")
        if name in options
    }
    return Options(**{**options, **texts})


def read_results(run_dir: str | PathLike[str]) -> pd.DataFrame:
    """The results frame of a run directory, read from its records (one row per model, nullable dtypes).

    Raises:
        RunDirectoryProblem: no such run, or an unreadable record.
    """
    return results_frame(read_rows(RunPaths(Path(run_dir))))
