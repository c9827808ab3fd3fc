"""Which models of a dataset a command is about."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageProblem, listed, shown
from ..rounds import ModelDirectory, RoundConfig
from ..seeds import derive_seed
from .known_facts import known_facts
from .options import Options


def select(directories: Sequence[ModelDirectory], round_config: RoundConfig, options: Options) -> list[ModelDirectory]:
    """The chosen ones: ``ids``, then ``where``, ``sample`` and ``limit``.

    Raises:
        UsageProblem: an id that does not exist, a faulty expression, or nothing is left.
    """
    chosen = list(directories)
    if options.ids:
        wanted = set(options.ids)
        missing = wanted - {d.model_id for d in chosen}
        if missing:
            raise UsageProblem(f"--ids: {listed(sorted(missing))} not in the dataset ({len(chosen)} models)")
        chosen = [d for d in chosen if d.model_id in wanted]
    if options.where is not None:
        from .where import holding  # and with it pandas

        rows = known_facts(chosen, round_config)
        chosen = [d for d, holds in zip(chosen, holding(options.where, rows), strict=True) if holds]
        if not chosen:
            raise UsageProblem(f"--where {shown(options.where, 80)!r}: holds for none of {len(rows)} models")
    if options.sample is not None:
        # By a number of each model's own: more models in the dataset, or a larger sample, keep those drawn before.
        drawn = sorted(chosen, key=lambda d: derive_seed(options.seed, d.model_id, "sample"))[: options.sample]
        drawn_ids = {d.model_id for d in drawn}
        chosen = [d for d in chosen if d.model_id in drawn_ids]
    return chosen[: options.limit]


def part_of(wanted: list[ModelDirectory], shard: tuple[int, int] | None) -> list[ModelDirectory]:
    """The part of a selection that this command is about: what the others of an array job leave."""
    if shard is None:
        return wanted
    part, parts = shard
    return wanted[part - 1 :: parts]
