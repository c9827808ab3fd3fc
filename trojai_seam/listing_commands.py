"""The subcommands that list what there is: ``rounds``, ``presets``."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from .result_commands import OK, Add

if TYPE_CHECKING:
    from .unlearning import Preset


def add_listing_commands(add: Add) -> None:
    """Declare them; ``add`` takes a name, the function that runs it, and a summary."""
    rounds = add("rounds", _rounds, "list the rounds that can be evaluated (--verbose: with sources and quirks)")
    rounds.add_argument("--json", action="store_true", help="whole configs as JSON")

    presets = add("presets", _presets, "list the unlearning presets (--verbose: with sources and confirmations)")
    presets.add_argument("--json", action="store_true", help="whole presets as JSON")

    completion = add("completion", _completion, "print a script that completes commands and options in your shell")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"), help='eval "$(trojai-seam completion bash)"')


def _completion(given: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(given.parser, shell=given.shell))
    return OK


def _rounds(given: argparse.Namespace) -> int:
    from .rounds import list_rounds

    if given.json:
        print(json.dumps([dict(r.document) for r in list_rounds()], indent=2))
        return OK
    for one in list_rounds():
        print(f"{one.name} ({', '.join(one.aliases)}): {one.title}")
        if given.verbose:
            for value, case in one.cases.items():
                which = f"{one.variants['key']} {value}: " if value else ""
                print(f"    {which}adapter {case.adapter}, task {case.task}")
            print(f"    preset {one.preset}; source: {one.source}")
            print("\n".join(f"    - {quirk}" for quirk in (one.reading, *one.quirks)))
    return OK


def _presets(given: argparse.Namespace) -> int:
    from .rounds import list_rounds
    from .unlearning import get_preset, preset_names

    presets = [get_preset(name) for name in preset_names()]
    rounds = {
        name: sorted((one.aliases[0] for one in list_rounds() if name in one.presets), key=_natural)
        for name in preset_names()
    }
    if given.json:
        documents = [{**one.model_dump(mode="json"), "rounds": rounds[one.name]} for one in presets]
        print(json.dumps(documents, indent=2, ensure_ascii=False))
        return OK
    for one in presets:
        print(f"{one.name}: {one.summary}")
        phases = ", ".join(f"{phase.name} ({phase.kind})" for phase in one.settings.phases) or "none"
        taken = f"; preset of {', '.join(rounds[one.name])}" if rounds[one.name] else ""
        print(f"    phases: {phases}{taken}")
        print(f"    {_known(one)}")
        if given.verbose:
            source = [value for value in one.source.model_dump().values() if value]
            print(f"    source: {', '.join(source) or 'ours'}")
            if not isinstance(one.chosen, str):
                print(f"    confirmed: {one.chosen.confirmed}\n    hardware: {one.chosen.hardware}")
    return OK


def _natural(alias: str) -> tuple[str, int]:
    """r2 before r12."""
    letters = alias.rstrip("0123456789")
    return letters, int(alias[len(letters) :] or 0)


def _known(preset: Preset) -> str:
    if isinstance(preset.chosen, str):
        return f"settings: {preset.chosen}"
    tried = "" if preset.chosen.tried is None else f" ({preset.chosen.tried} settings tried)"
    return f"chosen on {preset.chosen.on}{tried}"
