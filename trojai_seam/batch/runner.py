"""Run a batch: plan, claim the run directory, hand out what is left, tabulate."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import RefusedArchive, TooManyFailures, listed, shown
from ..heartbeat import beat, listening
from ..networks import UserCode, code_hash, named
from ..rounds import (
    ModelDirectory,
    RoundConfig,
    detect_models,
    find_models,
    get_round,
    is_own_round,
    read_own_round,
    round_beside,
    with_network,
    with_settings,
)
from ..rounds.adapters import ADAPTERS
from ..rounds.embedding_cache import cache_folder
from ..rounds.file_stamps import file_sha256, model_stamp
from ..rounds.shared_parts import check_scale_file
from ..tasks.task import TASKS
from ..unlearning import resolve_each
from .check import check_models
from .claims import Claims, wait_for
from .devices import resolve_device as resolve_device
from .devices import resolve_devices
from .executors import EXECUTORS, Spread
from .expected import expect
from .interrupts import two_step_interrupt
from .options import Options as Options
from .options import executor_for, most_failures, together_of
from .paths import RunPaths
from .plan import Plan, claim_run_directory
from .progress import Logged, NoProgress, Progress
from .records import finished
from .selection import part_of, select
from .units import Assignment, WorkUnit, stamp
from .work import Work

if TYPE_CHECKING:
    import pandas as pd

_EXPECTED = "=expected"  # no model's record is called so: "=" is quoted there


class Checked(NamedTuple):
    """What :func:`check` found: the models that would not open, of how many, and how many were looked at for what."""

    findings: list[dict[str, Any]]
    models: int
    looked_at: Mapping[str, int]


def evaluate(dataset: Path, run_dir: Path, options: Options, progress: Progress | None = None) -> pd.DataFrame:
    """Evaluate every selected model of ``dataset`` that has no record in ``run_dir`` yet.

    Running the same command again continues. Tables are written at the end, also when interrupted.

    Returns:
        The results frame of all records in the run directory, one row per model.

    Raises:
        TrojaiSeamError: a user's mistake about the run as a whole. A bad model is a failed row instead.
        KeyboardInterrupt: after the tables of what is finished were written.
    """
    dataset = Path(os.path.abspath(dataset))  # messages and other machines are told the same path
    beat(f"looking for models in {shown(str(dataset))}")
    directories, round_config = found_models(dataset, options)
    return evaluate_models(dataset, directories, round_config, run_dir, options, progress)


def evaluate_models(
    dataset: Path,
    directories: Sequence[ModelDirectory],
    round_config: RoundConfig,
    run_dir: Path,
    options: Options,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """:func:`evaluate` for models that were found already: ``directories`` of ``dataset``, as ``round_config`` says."""
    from .run_tables import rebuild_tables  # and with it pandas, which looking at models does without

    progress = progress or NoProgress()
    taught = _teach(options.networks)
    if round_config.network is not None:
        named(round_config.network)  # likewise a mistake about the run
    names = (options.preset,) if options.preset else round_config.presets
    presets = resolve_each(names, options.options)
    # A name that nobody knows is a mistake about the run, not about each of its models.
    for case in round_config.cases.values():
        ADAPTERS.check(case.adapter)
        TASKS.check(case.task)
    cache = cache_folder(options.cache, dataset)
    on_cluster = executor_for(options)[0] == "ray"
    devices = resolve_devices(options.device, elsewhere=on_cluster)
    executor_name, settings = executor_for(options, len(devices))
    executor = EXECUTORS.get(executor_name)
    kind = devices[0].partition(":")[0]
    on_gpu = kind != "cpu"
    together = together_of(options, on_gpu)
    spread = Spread(devices, settings.per_device(len(devices)), max(1, together))
    plan = Plan(
        dataset=str(dataset.resolve()),
        round_config=round_config,
        unlearning=presets[names[0]],
        presets=presets if len(presets) > 1 else {},
        protocol=options.protocol,
        seed=options.seed,
        device=kind,
        threads=options.threads,
        networks=taught,
        stacked=together if on_gpu else min(together, 1),
        fit_per_class=options.fit_per_class,
        fit_total=options.fit_total,
        retune=options.retune,
        trigger_variants=options.trigger_variants,
        trace_attack=options.trace_attack,
        changed_options=options.options,
    )
    wanted = select(directories, round_config, options)
    check_scale_file(wanted, round_config)
    selected = part_of(wanted, options.shard)
    paths = RunPaths(Path(os.path.abspath(run_dir)))
    claim_run_directory(plan, paths)
    known = finished(paths, [d.model_id for d in selected], plan.fingerprint)
    again = {model_id for model_id, row in known.items() if _is_again(row, options.retry)}
    swapped = [d.model_id for d in selected if d.model_id in known and _was_swapped(d, known[d.model_id])]
    again.update(swapped)
    networks = None if options.networks is None else str(UserCode.parse(options.networks))
    assignment = Assignment(plan, paths, options.budget, networks, cache)
    units = [
        WorkUnit(directory, assignment, stamp(paths.record(directory.model_id)))
        for directory in selected
        if directory.model_id not in known or directory.model_id in again
    ]
    kept = [row["status"] for model_id, row in known.items() if model_id not in again]
    with closing(Claims(paths.claims)) as claims:
        wait_for(claims, _EXPECTED)
        expect(paths, wanted, round_config)
        claims.release(_EXPECTED)
        progress = Logged(progress, paths.log)
        work = Work(assignment, units, claims, progress, most_failures(options, len(selected)))
        progress.start(len(selected), len(kept), kept.count("failed"), spread.slots)
        if swapped:
            progress.note(f"evaluated again, because another model.pt lies there now: {listed(swapped)}")
        try:
            with listening(lambda text: None), two_step_interrupt(work.interrupt):  # progress tells, and nobody else
                if units:
                    executor.run(work, spread, settings)
        finally:
            progress.stop()
            beat("writing the tables")
            results = rebuild_tables(paths, claims)
    if work.ending.interrupted:
        raise KeyboardInterrupt
    if work.ending.too_many_failures:
        raise TooManyFailures(
            f"stopped after {work.failures} failed models (--max-failures {options.max_failures:g}); see "
            f"{paths.failures}; what is finished is kept, and the same command goes on"
        )
    return results


def check(dataset: Path, options: Options, progress: Progress | None = None) -> Checked:
    """Look at every selected model as far as that goes without computing; see :mod:`trojai_seam.batch.check`.

    Returns:
        What was looked at in how many of the models, and a row for each that would not open: ``model_id``,
        ``error_kind``, ``error``, ….

    Raises:
        TrojaiSeamError: a user's mistake about the whole.
    """
    progress = progress or NoProgress()
    directories, round_config = found_models(Path(os.path.abspath(dataset)), options)
    selected = part_of(select(directories, round_config, options), options.shard)
    check_scale_file(selected, round_config)
    _teach(options.networks)
    networks = None if options.networks is None else str(UserCode.parse(options.networks))
    progress.start(len(selected), 0, 0)
    findings = []
    looked_at: Counter[str] = Counter()
    try:
        with listening(lambda text: None):
            for row in check_models(selected, options.budget, networks, round_config=round_config):
                progress.update(row)
                if row["status"] == "failed":
                    findings.append(row)
                looked_at.update(row.get("looked_at", ()))
    finally:
        progress.stop()
    return Checked(sorted(findings, key=lambda row: str(row["model_id"])), len(selected), looked_at)


def found_models(dataset: Path, options: Options) -> tuple[list[ModelDirectory], RoundConfig]:
    """The models of ``dataset``, and the round that they are of.

    Raises:
        TrojaiSeamError: there are none, or the round is unknown.
    """
    if options.round and is_own_round(options.round):
        round_config: RoundConfig | None = read_own_round(Path(options.round))
    else:
        round_config = get_round(options.round) if options.round else round_beside(dataset)
    if round_config is None:
        directories, round_config = detect_models(dataset)
        round_config = round_config.with_options(options.round_options)
    else:
        round_config = round_config.with_options(options.round_options)
        directories = find_models(dataset, round_config)
    if options.network is not None:
        directories = [with_settings(directory, {"network": options.network}) for directory in directories]
        round_config = with_network(round_config, options.network)
    return directories, round_config


def _is_again(row: Mapping[str, Any], retry: str | None) -> bool:
    failed = row["status"] == "failed"
    return retry == "all" or (
        failed and (retry == "failed" or (retry == "timeout" and row["error_kind"] == "time-limit"))
    )


def _was_swapped(directory: ModelDirectory, row: Mapping[str, Any]) -> bool:
    """Whether a done row is about another model.pt than the one that lies there now. The hash is only computed where
    size or time of the file say that it may be."""
    now = model_stamp(directory.model_path)
    if row["status"] != "done" or row.get("model_stamp") in (None, now):
        return False
    try:
        return file_sha256(directory.model_path) != row.get("model_sha256")
    except RefusedArchive:
        # Gone or out of reach for now is no reason to throw a good row away; an empty file is another one.
        return now is not None and now.startswith("0:")


def _teach(path: str | Path | None) -> str:
    return "" if path is None else code_hash(path)
